"""Calls of a marker hierarchy from a marker table alone, where the cells are not at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from cellkey.hierarchy import Hierarchy
    from cellkey.hierarchy.cell_type import CellType

__all__ = ["TableCall", "call_marker_table"]

_FEWEST_HITS = 2
_MARGIN = 0.1
_LARGEST_FOLD = 3.0


@dataclass(frozen=True, slots=True)
class TableCall:
    """The type that a cluster's genes speak for: path from the top, score, and the markers that were found.

    An empty path means that no type has enough of its markers among the genes, or that two were too close.
    ``reason`` says why the walk ended; ``runner_up`` is the type that came second at the last step, with its score.
    """

    cluster: str
    path: tuple[str, ...] = ()
    ontology_id: str = ""
    score: float = 0.0
    markers: tuple[str, ...] = ()
    reason: str = ""
    runner_up: str = ""
    runner_up_score: float = 0.0

    @property
    def label(self) -> str:
        """Name of the type, or ``Unknown``."""
        return self.path[-1] if self.path else "Unknown"


def call_marker_table(table: pd.DataFrame, hierarchy: Hierarchy) -> dict[str, TableCall]:
    """Return the call of every cluster of a marker table; the same whatever the order of rows.

    A gene weighs ``log2 fold change x fraction of expressing cells`` (fold changes cut to -3..3; 1 where the table
    has no numbers); genes that the table lists for other clusters only weigh 0. The score of a type is the sum of
    the weights of its markers minus that of its anti-markers, over the number of its markers that the table knows
    plus one, which favours types with several. A subtree counts with its best type of at least two markers (one
    if the table knows no more). From the top, the best subtree is entered while it leads the next by a tenth of
    its score; types that are too close end the walk above them.

    Parameters
    ----------
    table
        In the common form of :func:`cellkey.llm.marker_tables.marker_table`.
    hierarchy
        Types and their markers; names of genes are compared without regard to case.
    """
    known = frozenset(str(g).casefold() for g in table["gene"] if g)
    return {
        str(cluster): _call(str(cluster), _Genes(_weights(rows), known), hierarchy)
        for cluster, rows in table.groupby("cluster", sort=False)
    }


def _weights(rows: pd.DataFrame) -> dict[str, float]:
    fold = np.nan_to_num(rows["avg_log2FC"].to_numpy(dtype=float), nan=1.0).clip(-_LARGEST_FOLD, _LARGEST_FOLD)
    fraction = np.nan_to_num(rows["pct.1"].to_numpy(dtype=float), nan=1.0)
    names = [str(g).casefold() for g in rows["gene"]]
    return {name: weight for name, weight in zip(names, (fold * fraction).tolist(), strict=True) if name}


@dataclass(frozen=True, slots=True)
class _Genes:
    """Weights of the genes of a cluster, and all genes of the table."""

    weights: Mapping[str, float]
    known: frozenset[str]

    def hits(self, node: CellType) -> tuple[str, ...]:
        return tuple(g for g in sorted(node.markers) if self.weights.get(g.casefold(), 0.0) > 0)

    def score(self, node: CellType) -> float:
        """Score of a type; 0 without enough of its markers."""
        listed = sorted({g.casefold() for g in node.markers} & self.known)
        if len(self.hits(node)) < max(min(_FEWEST_HITS, len(listed)), 1):
            return 0.0
        against = sum(max(self.weights.get(g.casefold(), 0.0), 0.0) for g in sorted(node.anti_markers))
        return (sum(self.weights.get(g, 0.0) for g in listed) - against) / (len(listed) + 1)


def _call(cluster: str, genes: _Genes, hierarchy: Hierarchy) -> TableCall:
    if not genes.weights:
        return TableCall(cluster, reason="no gene is listed for this cluster")
    path: tuple[str, ...] = ()
    score, second = 0.0, (0.0, "")
    while True:
        ranked = sorted((-_best(genes, node, hierarchy), node.path) for node in hierarchy.children(path))
        candidates = [(-value, candidate) for value, candidate in ranked if value < 0]
        if not candidates:
            reason = "no type below has enough of its markers" if ranked else "at the end of the hierarchy"
            break
        best, chosen = candidates[0]
        rivals = [(value, candidate[-1]) for value, candidate in candidates[1:]]
        if rivals and rivals[0][0] > best * (1 - _MARGIN):
            reason, second = f"{chosen[-1]} and {rivals[0][1]} are too close", rivals[0]
            break
        score, path, second = best, chosen, rivals[0] if rivals else (0.0, "")
    chain = [hierarchy[path[: i + 1]] for i in range(len(path))]
    term = next((n.ontology_id for n in reversed(chain) if n.ontology_id), "")
    hits = genes.hits(chain[-1]) if chain else ()
    return TableCall(cluster, path, term or "", score, hits, reason, second[1], second[0])


def _best(genes: _Genes, node: CellType, hierarchy: Hierarchy) -> float:
    return max(genes.score(n) for n in (node, *hierarchy.descendants(node.path)))
