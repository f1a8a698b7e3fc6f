"""Consensus of several methods on labelled data, beside each method alone; writes a table for the documentation.

    python benchmarks/consensus.py [--rows FILE] [--output docs/reference/consensus.md]

All methods see the same clusters and the same hierarchy: both scorers, ``scanpy.tl.score_genes`` and decoupler's
univariate linear model, with the built-in map that fits and, where there is one, with the map of the tissue. The
confidence of the scorers comes from maps fitted without the data set. Hierarchical F1 as in ``accuracy.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from _truth import judge, load
from accuracy import _TISSUES, _id, _log_normalised, _score_genes, _ulm
from cellkey.annotation.cells import annotate
from cellkey.annotation.confidence import confidence_table
from cellkey.calls.calibration import Calibration
from cellkey.calls.consensus import Vote
from cellkey.hierarchy.catalogue import get_builtin

if TYPE_CHECKING:
    from cellkey.hierarchy.tree import Hierarchy

_ROOT = Path(__file__).parents[1]


def votes_on(name: str, calibration: Calibration) -> list[dict[str, Any]]:
    """Return, for each hierarchy, the clusters of a data set, its truth and the votes of all methods."""
    adata, truth = load(name)
    layer = "rescaled" if "rescaled" in adata.layers else None
    first = annotate(adata, layer=layer, resamples=0, copy=True)
    adata.obs["clusters"] = first.labels
    trees = [("general", first.annotation.key.hierarchy)]
    trees += [("tissue", get_builtin(_TISSUES[name]))] if name in _TISSUES else []
    found = []
    for kind, tree in trees:
        result = annotate(adata, tree, layer=layer, groupby="clusters", method="both", copy=True)
        table = confidence_table(result.annotation, 50, calibration)
        votes: dict[str, list[Vote]] = {g: [] for g in result.annotation.profiles.groups}
        for (group, method), rows in table.groupby(["cluster_id", "method"]):
            path = tuple(rows["path"].iloc[-1].split(" / ")) if rows["level"].iloc[-1] >= 0 else ()
            votes[group].append(Vote(method, path, tuple(rows["confidence"]) if path else ()))
        for peer, best in _peers(adata, result, layer, tree).items():
            for group, path in best.items():
                votes[str(group)].append(Vote(peer, tuple(path.split(" / "))))
        found.append({"data": name, "map": kind, "tree": tree, "truth": truth, "votes": votes,
                      "labels": np.asarray(result.labels, dtype=object)})
    return found


def _peers(adata: Any, result: Any, layer: str | None, tree: Hierarchy) -> dict[str, pd.Series]:
    """The best terminal type of each cluster by methods of other packages."""
    values = _log_normalised(adata, result.facts, layer)
    names = result.annotation.key.resolution.found
    sets = {n.path_text: sorted({names[m] for m in n.markers if m in names}) for n in tree.leaves}
    sets = {k: v for k, v in sets.items() if len(v) >= 2}
    scores = {"score_genes": _score_genes(values, sets), "ULM": _ulm(values, sets)}
    clusters = np.asarray(result.labels, dtype=str)
    return {k: s.groupby(clusters).mean().idxmax(axis=1) for k, s in scores.items() if s is not None}


def f1(case: dict[str, Any], paths: dict[str, tuple[str, ...]]) -> float:
    """Hierarchical F1 of one path per cluster."""
    ids = {g: _id(case["tree"], " / ".join(p)) if p else "" for g, p in paths.items()}
    return judge(case["truth"], np.array([ids[g] for g in case["labels"]], dtype=object)).f1
