"""The roles: who is asked what, with which evidence, and in which form the answer comes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from cellkey.llm.answers import (
    AnnotationAnswer,
    AnswerModel,
    BoostAnswer,
    MergeAnswer,
    ScoreAnswer,
    SubclusterAnswer,
    ValidationAnswer,
)
from cellkey.llm.asking import Asked, Role, Turn, ask_role
from cellkey.llm.client import ModelClient, Origin
from cellkey.llm.evidence import ClusterEvidence, Detail, plain_text
from cellkey.llm.failures import UnreadableAnswerError
from cellkey.llm.prompts import CONCLUDE, GO_ON, MANNERS, data_block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cellkey.llm.gene_queries import GeneQueries
    from cellkey.llm.messages import ChatRequest
    from cellkey.llm.rule_checks import Finding

__all__ = [
    "ANNOTATOR",
    "BOOSTER",
    "MERGER",
    "REVISER",
    "ROLES",
    "SCORER",
    "SUBCLUSTER_ANNOTATOR",
    "VALIDATOR",
    "ClusterTalk",
]

A = TypeVar("A", bound=AnswerModel)

ANNOTATOR = Role("annotator", "annotation-1", AnnotationAnswer, 2048)
REVISER = Role("reviser", "annotation-1", AnnotationAnswer, 2048)
VALIDATOR = Role("validator", "validation-1", ValidationAnswer, 1024)
SCORER = Role("scorer", "score-1", ScoreAnswer, 768)
BOOSTER = Role("booster", "boost-1", BoostAnswer, 1536)
MERGER = Role("merger", "merge-1", MergeAnswer, 4096)
SUBCLUSTER_ANNOTATOR = Role("subcluster_annotator", "subclusters-1", SubclusterAnswer, 4096)

ROLES: tuple[Role[Any], ...] = (ANNOTATOR, REVISER, VALIDATOR, SCORER, BOOSTER, MERGER, SUBCLUSTER_ANNOTATOR)
"""All roles. A new one is one line here and one text in :mod:`cellkey.llm.prompts`."""


def _shown(answer: AnnotationAnswer) -> dict[str, Any]:
    """A proposal as other roles see it: the known fields only, as data."""
    return answer.model_dump(mode="json", include=set(AnnotationAnswer.model_fields))


class ClusterTalk:
    """All that is said about one cluster in one run.

    Parameters
    ----------
    clients
        Client by role name; ``""`` is the client of roles that are not named.
    evidence
        What is known about the cluster.
    repeat
        Number of the repeated run; 0 for the first.
    temperature
        Sampling temperature; the first run uses 0.
    """

    def __init__(
        self,
        clients: dict[str, ModelClient],
        evidence: ClusterEvidence,
        *,
        repeat: int = 0,
        temperature: float = 0.0,
    ) -> None:
        self._clients = clients
        self.evidence = evidence.jittered(repeat)
        self.turns: list[Turn] = []
        self._repeat = repeat
        self._temperature = temperature

    def annotate(self) -> AnnotationAnswer:
        """Ask for a first proposal."""
        return self._ask(ANNOTATOR, {}).answer

    def revise(
        self,
        proposal: AnnotationAnswer,
        findings: Iterable[Finding],
        validation: ValidationAnswer | None,
    ) -> AnnotationAnswer:
        """Ask for a better proposal, with the latest objections only."""
        objections = [
            i.model_dump(mode="json", include={"kind", "text", "genes"})
            for i in (validation.objections if validation else ())
        ]
        extra = {"proposal": _shown(proposal), "objections": objections, "findings": _texts(findings)}
        return self._ask(REVISER, extra).answer

    def validate(self, proposal: AnnotationAnswer, findings: Iterable[Finding]) -> ValidationAnswer:
        """Ask for a verdict on a proposal."""
        return self._ask(VALIDATOR, {"proposal": _shown(proposal), "findings": _texts(findings)}).answer

    def score(self, proposal: AnnotationAnswer) -> ScoreAnswer:
        """Ask how well the data support a proposal."""
        return self._ask(SCORER, {"proposal": _shown(proposal)}).answer

    def boost(
        self,
        proposal: AnnotationAnswer | None,
        objections: Sequence[str],
        queries: GeneQueries,
        rounds: int,
        task: str = "",
        strategy: str = "free",
    ) -> BoostAnswer:
        """Let the model ask for the numbers of genes until it is sure.

        The talk ends early when no new gene is asked for, and after ``rounds`` rounds the model is made to
        conclude; the answer always holds ``final``. In ``depth`` a conclusion before the second request is put off.

        Parameters
        ----------
        proposal
            The label in doubt; None withholds it.
        objections
            What speaks against it.
        queries, rounds
            Where the numbers are from, and requests at most.
        task
            A question of the user.
        strategy
            ``free``, ``breadth`` or ``depth``.

        Raises
        ------
        UnreadableAnswerError
            If the model goes on asking when it is told to conclude.
        """
        extra: dict[str, Any] = {}
        if proposal is not None:
            extra = {"proposal": _shown(proposal), "objections": list(objections)}
        if task:
            extra["question"] = plain_text(task, 1000)
        manner = [MANNERS[name] for name in (strategy, "unseen" if proposal is None else "") if name in MANNERS]
        asked = self._ask(BOOSTER, extra, manner)
        least = min(2, rounds - 1) if strategy == "depth" else 0
        known: set[tuple[str, tuple[str, ...]]] = set()
        for number in range(rounds):
            request = asked.answer.request
            if request is None and number >= least:
                return asked.answer
            if request is None:
                asked = self._continue(asked, GO_ON)
                continue
            beside = tuple(request.clusters)
            wanted = [g for g in request.genes if (g.casefold(), beside) not in known]
            known.update((g.casefold(), beside) for g in wanted)
            conclude = not wanted or number == rounds - 1
            numbers = data_block(
                {"cluster": self.evidence.cluster, "numbers": queries.numbers(self.evidence.cluster, wanted, beside)}
            )
            asked = self._continue(asked, f"{numbers}\n{CONCLUDE}" if conclude else numbers)
            if conclude:
                break
        if asked.answer.final is None:
            msg = "booster: went on asking for genes when it was told to conclude"
            raise UnreadableAnswerError(msg)
        return asked.answer

    def _ask(self, role: Role[A], extra: dict[str, Any], manner: Sequence[str] = ()) -> Asked[A]:
        def request_of(detail: Detail) -> ChatRequest:
            text = "\n".join([data_block({**self.evidence.described(detail), **extra}), *manner])
            return role.request(text, temperature=self._temperature, seed=self._repeat, repeat=self._repeat)

        return self._run(role, request_of)

    def _continue(self, asked: Asked[BoostAnswer], text: str) -> Asked[BoostAnswer]:
        request = asked.continued(text)
        return self._run(BOOSTER, lambda _detail: replace(request))

    def _run(self, role: Role[A], request_of: Callable[[Detail], ChatRequest]) -> Asked[A]:
        study = self.evidence.study
        client = self._clients.get(role.name, self._clients[""])
        origin = Origin(role.name, study.dataset, study.tissue, self.evidence.cluster)
        context = {"cluster": self.evidence.cluster, "blind": study.is_blind}
        return ask_role(client, role, origin, request_of, context, self.turns.append)


def _texts(findings: Iterable[Finding]) -> list[str]:
    return [str(f) for f in findings]
