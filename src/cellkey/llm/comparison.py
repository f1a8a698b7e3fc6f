"""Candidate cell types of a cluster, scored by several models, which may discuss until enough of them agree."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from cellkey.errors import InputError, ServiceError
from cellkey.llm.answers import AnswerModel, ClusterAnswer, Names, Score, cut_text, empty_if_null
from cellkey.llm.asking import Role, Turn, ask_role
from cellkey.llm.client import ModelClient, Origin, side_by_side
from cellkey.llm.evidence import Detail, plain_text
from cellkey.llm.failures import ends_run
from cellkey.llm.prompts import data_block
from cellkey.llm.terms import normalised_label
from cellkey.parameters import Parameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cellkey.llm.evidence import ClusterEvidence
    from cellkey.llm.messages import ChatRequest

__all__ = [
    "COMPARER",
    "Comparison",
    "ComparisonParameters",
    "Opinion",
    "ScoredCandidate",
    "checked_candidates",
    "compare_candidates",
]

_MOST_CANDIDATES = 8


class ScoredCandidate(AnswerModel):
    """What a model says about one candidate."""

    cell_type: str
    score: Score
    supporting_genes: Names = ()
    contradicting_genes: Names = ()
    reason: Annotated[str, cut_text(600)] = ""


class ComparisonAnswer(ClusterAnswer):
    """Scores of all candidates, each once."""

    scores: Annotated[tuple[ScoredCandidate, ...], BeforeValidator(empty_if_null)]
    abstain: Annotated[bool, BeforeValidator(lambda v: False if v is None else v)] = False

    @model_validator(mode="after")
    def _scores_every_candidate_once(self, info: ValidationInfo) -> Self:
        due = (info.context or {}).get("candidates")
        if due is None or self.abstain:
            return self
        given = sorted(normalised_label(s.cell_type) for s in self.scores)
        if given != sorted(map(normalised_label, due)):
            msg = f"score exactly these candidates, each once: {'; '.join(due)}"
            raise ValueError(msg)
        return self


COMPARER = Role("comparer", "comparison-1", ComparisonAnswer, 2048)


class ComparisonParameters(Parameters):
    """When models agree, and how long they may discuss."""

    threshold: float = Field(
        default=2 / 3, gt=0.5, le=1, description="share of the models that must prefer one candidate, to two decimals"
    )
    rounds: int = Field(default=3, ge=1, le=6, description="rounds at most; 1: no discussion")


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one model said about one cluster in one round.

    Parameters
    ----------
    model, provider
        Who.
    round
        From 1.
    scores
        By candidate, in the order of the candidates; empty after an abstention or a failure.
    status
        ``ok``, ``abstained`` or ``failed``.
    error
        Why there is no answer.
    """

    model: str
    provider: str
    round: int
    status: Literal["ok", "abstained", "failed"]
    scores: tuple[ScoredCandidate, ...] = ()
    error: str = ""

    @property
    def choice(self) -> str:
        """The candidate with the highest score; empty without one, or where several share it."""
        best = max((s.score for s in self.scores), default=0)
        first = [s.cell_type for s in self.scores if s.score == best]
        return first[0] if len(first) == 1 and best > 0 else ""


@dataclass(frozen=True)
class Comparison:
    """The candidates of one cluster and every opinion about them, by round and model."""

    evidence: ClusterEvidence
    candidates: tuple[str, ...]
    parameters: ComparisonParameters
    rounds: tuple[tuple[Opinion, ...], ...] = ()
    turns: tuple[Turn, ...] = field(default=(), repr=False)

    @property
    def cluster(self) -> str:
        """Identifier."""
        return self.evidence.cluster

    @property
    def last(self) -> tuple[Opinion, ...]:
        """The latest opinion of every model; one that failed later still has that of the round before."""
        by_model = zip(*self.rounds, strict=True)
        return tuple(next((o for o in reversed(own) if o.status != "failed"), own[-1]) for own in by_model)

    @property
    def votes(self) -> dict[str, int]:
        """Models that prefer each candidate, by their latest opinions."""
        return {c: sum(o.choice == c for o in self.last) for c in self.candidates}

    @property
    def share(self) -> float:
        """Share of all models, silent and undecided ones included, that prefer the leading candidate."""
        return max(self.votes.values()) / len(self.last) if self.last else 0.0

    @property
    def leaders(self) -> tuple[str, ...]:
        """Candidates with the most votes; several where they are tied, none without votes."""
        most = max(self.votes.values())
        return tuple(c for c, n in self.votes.items() if n == most) if most else ()

    @property
    def status(self) -> Literal["consensus", "no_consensus", "unanswered"]:
        """Whether enough models prefer one candidate; ``unanswered`` if none gave scores."""
        if not any(o.status == "ok" for o in self.last):
            return "unanswered"
        reached = len(self.leaders) == 1 and round(self.share, 2) >= round(self.parameters.threshold, 2)
        return "consensus" if reached else "no_consensus"

    @property
    def verdict(self) -> str:
        """The candidate that the models agree on; empty without a consensus."""
        return self.leaders[0] if self.status == "consensus" else ""

    def mean_score(self, candidate: str) -> float:
        """Mean of the latest scores of a candidate over the models that scored it, 0 to 100; NaN without one."""
        scores = [s.score for o in self.last for s in o.scores if s.cell_type == candidate]
        return sum(scores) / len(scores) if scores else float("nan")

    def reasons(self) -> str:
        """Return the verdict in words: who prefers what, by how much, and the reasons of the strongest advocates."""
        if self.status == "unanswered":
            return "; ".join(dict.fromkeys(o.error or "abstained" for o in self.last)) or "nobody was asked"
        means = ", ".join(
            f"{c} {self.mean_score(c):.0f}" for c in sorted(self.candidates, key=lambda c: -self.mean_score(c))
        )
        votes = ", ".join(f"{n} of {len(self.last)} models prefer {c}" for c, n in self.votes.items() if n)
        told = [self._advocate(c) for c in self.leaders]
        return ". ".join(filter(None, [votes or "No model prefers one candidate", f"Mean scores: {means}", *told]))

    def _advocate(self, candidate: str) -> str:
        said = [(s.score, s.reason) for o in self.last for s in o.scores if s.cell_type == candidate and s.reason]
        return f"For {candidate}: {max(said)[1]}".rstrip(".") if said else ""


def checked_candidates(names: Sequence[str]) -> tuple[str, ...]:
    """Return candidates as they are asked about.

    Raises
    ------
    InputError
        Unless there are two to eight different ones.
    """
    by_key = {normalised_label(n): plain_text(n, 120) for n in names if n.strip()}
    if not 2 <= len(by_key) <= _MOST_CANDIDATES:
        found = f": {', '.join(map(repr, by_key.values()))}" if by_key else ""
        msg = f"two to {_MOST_CANDIDATES} different candidates are compared, got {len(by_key)}{found}"
        raise InputError(msg)
    return tuple(by_key.values())


def compare_candidates(
    evidence: Sequence[ClusterEvidence],
    candidates: Mapping[str, Sequence[str]],
    models: Sequence[ModelClient],
    parameters: ComparisonParameters | None = None,
    *,
    workers: int = 4,
) -> list[Comparison]:
    """Let models score the candidates of clusters, and discuss those that they do not agree on.

    In the first round every model scores alone. While fewer than ``threshold`` of the models prefer the same candidate,
    all see the scores and reasons of the others, without their names, and score again; at most ``rounds`` times, and
    not after a round in which nobody changed a score. An abstention or a failure is no vote, but counts as a model.

    Parameters
    ----------
    evidence
        Clusters.
    candidates
        Names of cell types by cluster.
    models
        Who is asked. With one model its choice is the consensus.
    parameters
        Threshold and rounds.
    workers
        Calls at once.

    Returns
    -------
    list of Comparison
        In the order of ``evidence``.

    Raises
    ------
    InputError
        If a cluster has fewer than two or more than eight candidates.
    """
    rules = parameters or ComparisonParameters()
    found = [Comparison(e, checked_candidates(candidates[e.cluster]), rules) for e in evidence]
    for number in range(1, rules.rounds + 1):
        places = [i for i, comparison in enumerate(found) if _goes_on(comparison)]
        tasks = [(found[i], client, number) for i in places for client in models]
        said = side_by_side(lambda task: _ask(*task), tasks, workers, models)
        for k, i in enumerate(places):
            own = said[k * len(models) : (k + 1) * len(models)]
            opinions, turns = tuple(o for o, _ in own), tuple(t for _, more in own for t in more)
            found[i] = replace(found[i], rounds=(*found[i].rounds, opinions), turns=(*found[i].turns, *turns))
    return found


def _goes_on(comparison: Comparison) -> bool:
    """Whether another round can change something."""
    if not comparison.rounds:
        return True
    if comparison.status != "no_consensus" or len(comparison.last) < 2:
        return False
    if all(o.status == "failed" for o in comparison.rounds[-1]):
        return False
    scores = [[{s.cell_type: s.score for s in o.scores} for o in opinions] for opinions in comparison.rounds[-2:]]
    return len(scores) < 2 or scores[0] != scores[1]


def _ask(comparison: Comparison, client: ModelClient, number: int) -> tuple[Opinion, list[Turn]]:
    evidence, turns = comparison.evidence, list[Turn]()
    extra: dict[str, Any] = {}
    if comparison.last:
        asked = (client.model, client.provider.name)
        own = [o for o in comparison.last if (o.model, o.provider) == asked]
        others = [o for o in comparison.last if (o.model, o.provider) != asked and o.status == "ok"]
        extra["your_last_scores"] = _shown(own[0]) if own else []
        extra["other_reviewers"] = [_shown(o) for o in others]

    def request_of(detail: Detail) -> ChatRequest:
        candidates = list(comparison.candidates)
        return COMPARER.request(data_block({**evidence.described(detail), "candidates": candidates, **extra}))

    study = evidence.study
    origin = Origin(COMPARER.name, study.dataset, study.tissue, evidence.cluster)
    context = {"cluster": evidence.cluster, "candidates": comparison.candidates}
    try:
        answer = ask_role(client, COMPARER, origin, request_of, context, turns.append).answer
    except ServiceError as error:
        text = f"no further calls: {error}" if ends_run(error) else str(error)
        return Opinion(client.model, client.provider.name, number, "failed", error=text), turns
    if answer.abstain:
        return Opinion(client.model, client.provider.name, number, "abstained"), turns
    by_key = {normalised_label(s.cell_type): s for s in answer.scores}
    scores = tuple(
        by_key[normalised_label(c)].model_copy(update={"cell_type": c}) for c in comparison.candidates
    )
    return Opinion(client.model, client.provider.name, number, "ok", scores), turns


def _shown(opinion: Opinion) -> list[dict[str, Any]]:
    names = {"cell_type", "score", "supporting_genes", "contradicting_genes", "reason"}
    return [s.model_dump(mode="json", include=names) for s in opinion.scores]
