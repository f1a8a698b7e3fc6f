"""What an annotation will take, before anything is sent: calls, tokens, money and time as ranges."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellkey.llm.prompts import role_text
from cellkey.llm.roles import ROLES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cellkey.llm.accounting import Price
    from cellkey.llm.messages import ChatRequest
    from cellkey.llm.workflow import WorkflowParameters

__all__ = ["Estimate", "Question", "Range", "estimate_annotation", "estimate_questions", "guess_clusters"]

_TOKENS_PER_GENE = 14
_OVERVIEW_PER_CLUSTER = 16
_ANSWER = {"annotator": 1000, "validator": 200, "scorer": 350, "booster": 600, "merger": 30}
_LATENCY = 12.0


@dataclass(frozen=True, slots=True)
class Range:
    """A lower, an expected and an upper value."""

    low: float
    point: float
    high: float

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.point + other.point, self.high + other.high)

    def times(self, factor: float) -> Range:
        """Return the range multiplied by ``factor``."""
        return Range(self.low * factor, self.point * factor, self.high * factor)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Expected use of a model.

    ``cost`` is in USD and ``seconds`` is time spent waiting for answers.
    """

    n_clusters: Range
    calls: Range
    input_tokens: Range
    output_tokens: Range
    cost: Range
    seconds: Range

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(
            self.n_clusters + other.n_clusters,
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost + other.cost,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True, slots=True)
class Question:
    """A question as it would be sent, its price, and the calls of the talk that it opens: least, expected, most."""

    request: ChatRequest
    price: Price
    calls: tuple[float, float, float]


def guess_clusters(n_cells: int, resolution: float = 0.5) -> Range:
    """Return how many clusters a dataset of ``n_cells`` cells will have: a guess between 4 and 40."""
    point = 6 + 4 * math.log10(max(n_cells, 1) / 500) * (resolution / 0.5) ** 0.7
    clipped = min(max(round(point), 4), 40)
    return Range(max(4, round(0.6 * clipped)), clipped, min(60, round(1.6 * clipped)))


def estimate_annotation(
    n_clusters: Range | int,
    workflow: WorkflowParameters,
    price_of: Callable[[str], Price],
    *,
    n_genes: int = 50,
    workers: int = 4,
) -> Estimate:
    """Return calls, tokens, money and time for one dataset.

    Parameters
    ----------
    n_clusters
        Known or guessed number of clusters.
    workflow
        Which roles take part.
    price_of
        Price of the model that plays a role.
    n_genes
        Genes shown per cluster.
    workers
        Clusters worked on at once.

    Notes
    -----
    Per cluster: one proposal and 15% revisions, one verdict for each, one score, and for 20% of the clusters
    two to five rounds of boosting with a second score. The texts are counted as they are; a gene with numbers is
    taken as 14 tokens, a proposal as 1000.
    """
    rates = _calls_per_cluster(workflow)
    count = n_clusters if isinstance(n_clusters, Range) else Range(n_clusters, n_clusters, n_clusters)
    fixed = {role.name: (len(role.system) + len(role_text(role.name))) // 4 for role in ROLES}
    per_prompt = n_genes * _TOKENS_PER_GENE + count.point * _OVERVIEW_PER_CLUSTER + 150

    def needs(n: float, which: int) -> tuple[float, float, float, float]:
        calls = read = written = cost = 0.0
        for role, rate in rates.items():
            times, price = n * rate[which], price_of(role)
            shown = 30 * n if role == "merger" else per_prompt + (0 if role == "annotator" else _ANSWER["annotator"])
            own_read = times * (fixed[role] + shown)
            own_written = times * _ANSWER[role] * (n if role == "merger" else 1)
            calls, read, written = calls + times, read + own_read, written + own_written
            cost += (own_read * price.input_per_million + own_written * price.output_per_million) / 1e6
        return calls, read, written, cost

    low, point, high = needs(count.low, 0), needs(count.point, 1), needs(count.high, 2)
    calls, read, written, cost = (Range(*values) for values in zip(low, point, high, strict=True))
    lanes = max(min(workers, count.point), 1)
    return Estimate(count, calls, read, written, cost, _waiting(calls, lanes))


def estimate_questions(questions: Sequence[Question], *, workers: int = 4) -> Estimate:
    """Return what questions take that are known to the letter.

    An answer is taken as 15%, 45% and all of the room that it is given, a token as four characters; each later
    call of a talk reads what was said before.
    """

    def needs(which: int, filled: float) -> tuple[float, float, float, float]:
        calls = read = written = cost = 0.0
        for q in questions:
            n, answer = q.calls[which], filled * q.request.max_tokens
            opening = (len(q.request.system) + sum(len(m.text) for m in q.request.messages)) / 4
            own_read, own_written = n * opening + answer * n * max(n - 1, 0) / 2, n * answer
            calls, read, written = calls + n, read + own_read, written + own_written
            cost += (own_read * q.price.input_per_million + own_written * q.price.output_per_million) / 1e6
        return calls, read, written, cost

    ranges = zip(needs(0, 0.15), needs(1, 0.45), needs(2, 1.0), strict=True)
    calls, read, written, cost = (Range(*values) for values in ranges)
    return Estimate(Range(*3 * (len(questions),)), calls, read, written, cost, _waiting(calls, workers))


def _waiting(calls: Range, lanes: float) -> Range:
    return Range(calls.low * 2 / lanes, calls.point * _LATENCY / lanes, calls.high * 30 / lanes)


def _calls_per_cluster(workflow: WorkflowParameters) -> dict[str, tuple[float, float, float]]:
    """Calls per cluster by role: at least, expected, at most to be reckoned with."""
    n = workflow.repeats if workflow.repeat_below is None else 1 + 0.3 * (workflow.repeats - 1)
    proposals = (1.0 * n, 1.15 * n, 1.6 * n)
    rates = {"annotator": proposals}
    if workflow.validator in ("llm", "both"):
        rates["validator"] = proposals
    if workflow.score:
        rates["scorer"] = (1.0, 1.2, 1.5) if workflow.boost else (1.0, 1.0, 1.1)
    if workflow.boost:
        rates["booster"] = (0.0, 0.6, 0.5 * (workflow.boost_rounds + 1))
    if workflow.merge in ("model", "auto"):
        rates["merger"] = (0.0, 1 / 20, 1 / 10)
    return rates
