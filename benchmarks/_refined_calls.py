"""Calls of refined clusters on labelled data: what was measured of each, for which share of its cells it is right, and
how well the confidence that calibration gives it says so.

Every data set is clustered at the default resolution and at a coarse one that leaves several types in one cluster;
annotated by each scorer; and refined by the automatic policy. Clusters of the same type are then united by
a plan, as a reviewer would. Clusters that refinement left alone are told apart from parts of a split, united clusters
and clusters that got another label.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from _observations import rows_of_call
from _truth import Truth, load
from cellkey.annotation.cells import annotate
from cellkey.calls.calibration import expected_calibration_error
from cellkey.hierarchy.catalogue import get_builtin
from cellkey.refinement import refine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cellkey.hierarchy.tree import Hierarchy
    from cellkey.refinement.state import State

__all__ = ["BORN", "LEFT", "error_of", "observe_refined", "refined_by_data", "refined_errors", "weighted_as_refined"]

BORN, LEFT = ("split", "united", "renamed"), "left alone"
_CALL = ["data", "family", "map", "resolution", "panel", "cluster", "born"]
_RESOLUTIONS = (0.6, 0.1)
_MIN_CELLS = 60  # the data sets are small; as in benchmarks/refinement.py


def observe_refined(name: str, families: Sequence[str], tissue: str | None) -> list[dict[str, Any]]:
    """Return one row per level of the call of every refined cluster of a data set."""
    adata, truth = load(name)
    layer = "rescaled" if "rescaled" in adata.layers else None
    rows: list[dict[str, Any]] = []
    for resolution in _RESOLUTIONS:
        first = annotate(adata, layer=layer, clustering={"resolution": resolution}, resamples=0, copy=True)
        adata.obs["clusters"] = first.labels
        trees = [first.annotation.key.hierarchy, *([get_builtin(tissue)] if tissue else [])]
        for tree in trees:
            for family in families:
                cells = adata.copy()
                annotate(cells, tree, layer=layer, groupby="clusters", method=family)
                done = refine(cells, parameters={"min_cells": _MIN_CELLS})
                shared = {"data": name, "map": tree.name, "resolution": resolution}
                rows += [{**shared, **row} for row in _rows(done, tree, truth)]
                plan = _uniting(done)
                if plan:
                    done = refine(cells, plan={"merge": plan})
                    rows += [{**shared, **r} for r in _rows(done, tree, truth) if r["born"] == "united"]
        print(name, resolution, len(rows), flush=True)
    return rows


def _rows(done: Any, tree: Hierarchy, truth: Truth) -> Iterator[dict[str, Any]]:
    state: State = done.refinement.last
    annotation = replace(state.verdict.annotation, calls=tuple(state.calls[c] for c in state.clusters))
    for cluster in state.clusters:
        stability = done.confidence.stability.get(cluster)
        if stability is not None:
            for row in rows_of_call(annotation, stability, state.rows(cluster), tree, truth):
                yield {**row, "born": _born(state, cluster)}


def _uniting(done: Any) -> list[dict[str, Any]]:
    """Plan that unites clusters with the same label."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for cluster, call in done.refinement.last.calls.items():
        if call.path:
            alike.setdefault(call.path, []).append(cluster)
    return [
        {"source_clusters": clusters, "target_label": " / ".join(path)}
        for path, clusters in alike.items() if len(clusters) > 1
    ]


def _born(state: State, cluster: str) -> str:
    """How a cluster came to be what it is."""
    if cluster.endswith("+m"):
        return "united"
    if ":" in cluster:
        return "split"
    return "renamed" if cluster in state.touches and state.touches[cluster].action == "RELABEL" else LEFT


def refined_errors(rows: pd.DataFrame) -> pd.DataFrame:
    """Calibration error of refined clusters by scorer and by how they came to be."""
    found = []
    for family, own in rows.groupby("family", sort=False):
        born = own[own["born"].isin(BORN)]
        parts = {"split, united or renamed": born, **{b: born[born["born"] == b] for b in BORN},
                 LEFT: own[own["born"] == LEFT]}
        found += [{"method": family, "kind": name, **error_of(part)} for name, part in parts.items() if len(part)]
    return pd.DataFrame(found).round(3)


def error_of(rows: pd.DataFrame) -> dict[str, Any]:
    """Calibration error of observations, with how many there are and how they are on the mean."""
    p, right = rows["confidence"].to_numpy(), rows["right"].to_numpy()
    each = 1.0 / rows.groupby("data")["right"].transform("size").to_numpy()
    return {
        "clusters called": rows.groupby(_CALL).ngroups, "levels of calls": len(rows),
        "error, data set held out": expected_calibration_error(p, right),
        "every data set with one weight": expected_calibration_error(p, right, each),
        "mean confidence": p.mean(), "right": right.mean(),
    }


def refined_by_data(first: pd.DataFrame, refined: pd.DataFrame) -> pd.DataFrame:
    """Mean of confidence minus truth for first and for new clusters of each data set."""
    kinds = {"first": first, "new": refined[refined["born"].isin(BORN)]}
    gaps = {}
    for family in first["family"].unique():
        for kind, rows in kinds.items():
            own = rows[rows["family"] == family]
            gaps[f"{family}: {kind}"] = (own["confidence"] - own["right"]).groupby(own["data"]).mean()
    return pd.DataFrame(gaps).reindex(first["data"].unique()).round(2).rename_axis("data").reset_index()


def weighted_as_refined(first: pd.DataFrame, refined: pd.DataFrame) -> dict[str, float]:
    """Calibration error of first clusterings by scorer, each data set weighted as among the new clusters."""
    found = {}
    for family, own in first.groupby("family", sort=False):
        new = refined[(refined["family"] == family) & refined["born"].isin(BORN)]
        weight = own["data"].map(new["data"].value_counts()).fillna(0) / own.groupby("data")["right"].transform("size")
        found[str(family)] = expected_calibration_error(
            own["confidence"].to_numpy(), own["right"].to_numpy(), weight.to_numpy())
    return found
