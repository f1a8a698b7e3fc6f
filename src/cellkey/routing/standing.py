"""How siblings stand to each other in every group: what all rules that take the best one share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellkey.routing.lineages import DECIMALS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellkey.routing.gates import Judgement
    from cellkey.routing.walk import Candidate
    from cellkey.scoring.evidence import Evidence

__all__ = ["SiblingRule", "Standing", "standing_of"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How siblings stand in every group.

    Attributes
    ----------
    ranked
        The siblings, those that compete first and by their score, groups x siblings.
    n_competing
        How many of them compete, shape (groups,).
    lead
        Score of the first minus that of each of ``ranked``, groups x siblings.
    near
        Which of ``ranked`` compete and are too close to the first, groups x siblings.
    selected
        The first if it passes and none is too close, else -1; shape (groups,).
    """

    ranked: NDArray[np.int64]
    n_competing: NDArray[np.int64]
    lead: NDArray[np.float64]
    near: NDArray[np.bool_]
    selected: NDArray[np.int64]


def standing_of(
    nodes: NDArray[np.int64],
    scores: NDArray[np.float64],
    competing: NDArray[np.bool_],
    passed: NDArray[np.bool_],
    gap: float,
) -> Standing:
    """Rank siblings, given in the order of their names, by their scores, groups x siblings.

    Ties go to the name that sorts first, so that the order of siblings means nothing.
    """
    order = np.lexsort((-np.round(scores, DECIMALS), ~competing), axis=1)
    by_rank = np.take_along_axis(scores, order, axis=1)
    with np.errstate(invalid="ignore"):  # types without a score come last
        lead = by_rank[:, :1] - by_rank
    ranked, n_competing = nodes[order], competing.sum(axis=1)
    near = (np.round(lead, DECIMALS) < gap) & (np.arange(len(nodes)) < n_competing[:, None])
    wins = (n_competing > 0) & np.take_along_axis(passed, order, axis=1)[:, 0] & ~near[:, 1:2].any(axis=1)
    return Standing(ranked, n_competing, lead, near, np.where(wins, ranked[:, 0], -1))


class SiblingRule(ABC):
    """A rule that takes the best sibling unless another is too close; see :class:`~cellkey.routing.walk.Rule`.

    Parameters
    ----------
    evidence, judgement
        Scores of the types, and who passes the gates.
    scores
        Those that compete, groups x nodes.
    competing
        Which types can be the best or its runner-up, groups x nodes.
    """

    def __init__(
        self, evidence: Evidence, judgement: Judgement, scores: NDArray[np.float64], competing: NDArray[np.bool_]
    ) -> None:
        self.evidence, self.judgement, self.scores = evidence, judgement, scores
        self._competing, self._passed = competing, judgement.passed
        self._names = [n.path_text for n in evidence.key.hierarchy.nodes]
        self._standings: dict[tuple[int, ...], Standing] = {}

    @abstractmethod
    def gap(self, level: int) -> float:
        """Return the least lead over the runner-up at a level."""

    @abstractmethod
    def _row(self, group: int, node: int, selected: int | None) -> Candidate:
        """Return one candidate as it was judged."""

    def selected(self, candidates: Sequence[int], level: int) -> NDArray[np.int64]:
        """Return the candidate that each group goes on with, -1 where it stops; shape (groups,)."""
        return self._standing(candidates, level).selected

    def _standing(self, candidates: Sequence[int], level: int) -> Standing:
        asked = tuple(candidates)
        if asked not in self._standings:
            nodes = np.array(sorted(asked, key=lambda k: self._names[k]))
            self._standings[asked] = standing_of(
                nodes, self.scores[:, nodes], self._competing[:, nodes], self._passed[:, nodes], self.gap(level)
            )
        return self._standings[asked]

    def _rows(self, group: int, candidates: Sequence[int], selected: int | None) -> tuple[Candidate, ...]:
        return tuple(self._row(group, node, selected) for node in candidates)
