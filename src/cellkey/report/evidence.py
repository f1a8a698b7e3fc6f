"""Marker evidence as matrices, clusters x markers, and which markers each cell type lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.report.packing import fixed_point, packed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

__all__ = ["evidence_matrices", "score_matrix"]

ENRICHMENT_STEPS, POSITIVE_STEPS, SCORE_STEPS = 500, 250, 1000
_DIFFERENTIAL = 7
_DEEPEST = 6


def evidence_matrices(evidence: pd.DataFrame, clusters: Sequence[str], paths: Sequence[str]) -> dict[str, Any]:
    """Return the table ``marker_evidence`` in the form that the page reads.

    Parameters
    ----------
    evidence
        Rows for cluster, cell type and marker.
    clusters, paths
        Clusters and paths of cell types; the page names both by position.

    Returns
    -------
    ``markers`` (names), ``enrichment`` (int16, value x 500), ``positive`` (uint8, share x 250) and ``flags`` (uint8:
    bit 0 to 6 is on at that level, 6 also for deeper ones; bit 7 is among the most differential genes), each clusters
    x markers in base64; ``types``: position of the path, markers for, markers against. Empty without rows.
    """
    import pandas as pd

    wanted = evidence[evidence["cluster_id"].isin(list(clusters)) & evidence["path"].isin(list(paths))]
    if wanted.empty:
        return {}
    markers = sorted(set(wanted["marker"]))
    row = pd.Index(list(clusters)).get_indexer(pd.Index(wanted["cluster_id"]))
    column = pd.Index(markers).get_indexer(pd.Index(wanted["marker"]))
    shape = (len(clusters), len(markers))
    enrichment, positive = np.full(shape, np.nan), np.full(shape, np.nan)
    enrichment[row, column] = wanted["enrichment"].to_numpy()
    positive[row, column] = wanted["pos_frac"].to_numpy()
    bit = np.minimum(wanted["level"].to_numpy(np.int64).clip(0), _DEEPEST)
    raised = (wanted["is_on"].to_numpy(bool) << bit) | (wanted["is_de_hit"].to_numpy(bool).astype(int) << _DIFFERENTIAL)
    flags = np.zeros(shape, dtype=np.uint8)
    np.bitwise_or.at(flags, (row, column), raised.astype(np.uint8))
    return {
        "markers": markers,
        "types": _lists(wanted, {m: i for i, m in enumerate(markers)}, paths),
        "enrichment": fixed_point(enrichment, "i2", ENRICHMENT_STEPS),
        "positive": fixed_point(positive, "u1", POSITIVE_STEPS),
        "flags": packed(flags, "u1"),
    }


def _lists(rows: pd.DataFrame, place: dict[str, int], paths: Sequence[str]) -> list[list[Any]]:
    """Markers for and against of every listed path, in the order in which the hierarchy lists them."""
    pairs = rows.drop_duplicates(["path", "marker", "role"])
    found: dict[str, tuple[list[int], list[int]]] = {}
    for path, marker, role in zip(pairs["path"], pairs["marker"], pairs["role"], strict=True):
        found.setdefault(path, ([], []))[role == "anti"].append(place[marker])
    return [[i, *found[path]] for i, path in enumerate(paths) if path in found]


def score_matrix(scores: pd.DataFrame, clusters: Sequence[str], paths: Sequence[str]) -> str:
    """Return the score of every cell type in every cluster: int16, value x 1000, clusters x paths, in base64."""
    import pandas as pd

    table = np.full((len(clusters), len(paths)), np.nan)
    row = pd.Index(list(clusters)).get_indexer(pd.Index(scores["cluster_id"]))
    column = pd.Index(list(paths)).get_indexer(pd.Index(scores["path"]))
    known = (row >= 0) & (column >= 0)
    table[row[known], column[known]] = scores["score"].to_numpy(np.float64)[known]
    return fixed_point(table, "i2", SCORE_STEPS)
