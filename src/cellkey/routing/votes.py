"""Votes of single cells between near-tied candidates: evidence about a group, never its label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellkey.profiles.expression import Expression
    from cellkey.scoring.evidence import Evidence

__all__ = ["UNCERTAIN", "Vote", "cell_support", "vote"]

UNCERTAIN = "Uncertain"
_CLIP = 10.0


@dataclass(frozen=True, slots=True)
class Vote:
    """How the cells of one group vote.

    ``winners`` holds, per cell, the position among ``candidates`` or -1 for Uncertain; ``margins`` the
    difference of mean z between the best and the second candidate.
    """

    candidates: tuple[int, ...]
    names: tuple[str, ...]
    winners: NDArray[np.int64]
    margins: NDArray[np.float64]
    threshold: float

    def composition(self, scores: NDArray[np.float64]) -> dict[str, object]:
        """Return the shares and the circumstances of the vote, for the ``composition`` column."""
        n = len(self.winners)
        shares: dict[str, object] = {}
        for i, name in enumerate(self.names):
            share = round(float((self.winners == i).sum()) / n, 3)
            if share > 0:
                shares[name] = share
        uncertain = round(float((self.winners < 0).sum()) / n, 3)
        if uncertain > 0:
            shares[UNCERTAIN] = uncertain
        ranked = sorted(range(len(self.names)), key=lambda i: (-scores[self.candidates[i]], self.names[i]))
        runner = ranked[1] if len(ranked) > 1 else None
        gap = None if runner is None else scores[self.candidates[ranked[0]]] - scores[self.candidates[runner]]
        return shares | {
            "_evidence_only": True,
            "_top_by_score": self.names[ranked[0]],
            "_runner_up_by_score": "" if runner is None else self.names[runner],
            "_gap": None if gap is None else round(float(gap), 6),
            "_threshold": self.threshold,
            "_cell_margins": {
                "mean_gap": round(float(self.margins.mean()), 6),
                "median_gap": round(float(np.median(self.margins)), 6),
                "pct_uncertain": round(100.0 * float((self.winners < 0).mean()), 3),
            },
        }

    def minority_share(self) -> float:
        """Return 1 minus the winner's share of the decided votes; 1 if every vote is Uncertain."""
        decided = self.winners[self.winners >= 0]
        if len(self.names) < 2:
            return 0.0
        return 1.0 if not len(decided) else 1.0 - float(np.bincount(decided).max()) / len(decided)


def vote(
    expression: Expression,
    rows: NDArray[np.intp],
    candidates: Sequence[int],
    evidence: Evidence,
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
    *,
    threshold: float = 0.1,
) -> Vote:
    """Let the cells of a group vote between candidates.

    A cell's support for a candidate is the mean over its measured markers of the value in standard
    deviations over all cells, clipped at 10; it votes for the best, or Uncertain if the two best are closer
    than ``threshold``. With a single candidate every cell votes for it.

    Parameters
    ----------
    expression
        Cells x genes on the scoring scale.
    rows
        The cells of the group, ascending.
    candidates
        Positions of nodes.
    evidence
        For the markers of the candidates.
    mean, std
        Mean and population standard deviation of each gene over all cells.
    """
    names = tuple(evidence.key.hierarchy.nodes[k].name for k in candidates)
    support = cell_support(expression, rows, candidates, evidence, mean, std)
    if len(candidates) == 1:
        return Vote(tuple(candidates), names, np.zeros(len(rows), np.int64), np.zeros(len(rows)), threshold)
    ordered = np.sort(support, axis=1)
    margins = ordered[:, -1] - ordered[:, -2]
    winners = np.where(margins < threshold, -1, support.argmax(axis=1))
    return Vote(tuple(candidates), names, winners.astype(np.int64), margins, threshold)


def cell_support(
    expression: Expression,
    rows: NDArray[np.intp],
    candidates: Sequence[int],
    evidence: Evidence,
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return what a vote rests on: mean z over each candidate's markers, cells x candidates; see :func:`vote`."""
    markers = [evidence.key.markers[k] for k in candidates]
    columns = np.unique([c for part in markers for c in part]).astype(np.intp)
    support = np.zeros((len(rows), len(candidates)))
    if not len(columns):
        return support
    position = {int(c): i for i, c in enumerate(columns)}
    for start, block in expression.row_blocks(columns=columns, rows=rows):
        dense = block.toarray() if hasattr(block, "toarray") else block
        z = np.clip((dense.astype(np.float64) - mean[columns]) / std[columns], -_CLIP, _CLIP)
        for i, part in enumerate(markers):
            if part:
                support[start : start + len(z), i] = z[:, [position[c] for c in part]].mean(axis=1)
    return support
