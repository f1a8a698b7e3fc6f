"""Confidence of calls: measured stability, turned into the probability that a call is right at each level."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.annotation.registry import METHODS
from cellkey.annotation.stability import Stability, key_columns, stability_of_enrichment, stability_of_markers
from cellkey.calls.calibration import Calibration, bundled_calibration
from cellkey.records.confidence_tables import CONFIDENCE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from cellkey.annotation.core import Annotation
    from cellkey.hierarchy.resolution import Resolution
    from cellkey.profiles.resampling import Resamples
    from cellkey.routing.walk import Walk

__all__ = ["call_measurements", "columns_to_hold", "confidence_by_group", "confidence_table", "measure_stability"]

_SMALL_PANEL = 1000  # up to this many genes all are held, so that the controls of enrichment are resampled as well
_FEW_GENES = 100  # genes that speak half as much for a call as a whole transcriptome


def columns_to_hold(resolution: Resolution, var_names: Sequence[str] | NDArray[np.object_]) -> NDArray[np.int64]:
    """Return the genes that resamples must hold: those that the hierarchy names, or all of a small panel."""
    if len(var_names) <= _SMALL_PANEL:
        return np.arange(len(var_names))
    names = set(resolution.found.values())
    return np.flatnonzero([str(name) in names for name in var_names])


def measure_stability(
    base: Annotation, annotation: Annotation, resamples: Resamples, *, features: NDArray[np.bool_] | None = None
) -> tuple[tuple[Stability, ...], list[str]]:
    """Return the stability of the calls of all methods of an annotation, and what could not be measured.

    Parameters
    ----------
    base
        The calls by marker evidence.
    annotation
        The same with the method that decides and with enrichment, where it was asked for.
    resamples
        Of the profiles.
    features
        Genes that take part in the ranking of differential markers.
    """
    missing = np.setdiff1d(key_columns(base.key), resamples.columns)
    notes = []
    if len(missing):
        names = ", ".join(base.key.names(missing[:5].tolist()))
        notes.append(
            f"The stored resamples do not hold {len(missing)} of the genes that this hierarchy names ({names}): calls"
            " that rest on them have no confidence. Annotate the cells again to measure it."
        )
    found: list[Stability] = []
    if annotation.enrichment is None or annotation.method != annotation.enrichment.method:
        found += stability_of_markers(base, resamples, features=features)
    if annotation.enrichment is not None:
        found += stability_of_enrichment(base.profiles, annotation.enrichment, resamples)
    return tuple(found), notes


def call_measurements(annotation: Annotation, stability: Stability) -> dict[str, NDArray[np.float64]]:
    """Return what calibration looks at, one value per level of a call; all from 0 to 1, higher is firmer.

    ``held`` and ``without_marker`` are those of the stability (1 without markers). ``lead`` is the least margin
    down to the level in proportion, margin / (margin + 1). Where no step had a sibling so far it is that of the next
    step that has one (whoever leads as a T cell leads as an immune cell); 0 where there is none, and where the walk
    did not come by (a label that a person set).
    ``breadth`` is 1 / (1 + level): a broad claim is easier to get right than a narrow one. ``genes`` is
    n / (n + 100) for n genes in the data: a targeted panel leaves more types alike.
    """
    path = stability.path
    n_genes = len(annotation.profiles.var_names)
    group = annotation.profiles.groups.index(stability.group)
    walk = _walk(annotation, stability.method, group)
    least = np.fmin.accumulate([_margin(walk, level, node) for level, node in enumerate(path)])
    known = least[~np.isnan(least)]
    least = np.nan_to_num(least, nan=known[0] if len(known) else 0.0)
    return {
        "held": stability.held,
        "without_marker": np.nan_to_num(stability.without_marker, nan=1.0),
        "lead": least / (least + 1.0),
        "breadth": 1.0 / (1.0 + np.arange(len(path))),
        "genes": np.full(len(path), n_genes / (n_genes + _FEW_GENES)),
    }


def _margin(walk: Walk, level: int, node: int) -> float:
    """Lead of a node in its step of the walk; NaN without a sibling, 0 if the walk does not pass it."""
    choice = walk.steps[level].choice if level < len(walk.steps) else None
    if choice is None or choice.selected != node:
        return 0.0
    return float("nan") if choice.margin is None else max(choice.margin, 0.0)


def _walk(annotation: Annotation, method: str, group: int) -> Walk:
    calls = annotation.enrichment
    if calls is not None and method == calls.method != annotation.method:
        return calls.routes.walks[group]
    return annotation.calls[group].walk


def _probabilities(annotation: Annotation, stability: Stability, calibration: Calibration) -> NDArray[np.float64]:
    """Probability at each level; what speaks for a type speaks for those above it as well."""
    fitted = calibration.maps.get(METHODS[stability.method].family)
    if fitted is None or not stability.path:
        return np.full(max(len(stability.path), 1), np.nan)
    own = fitted.probability(call_measurements(annotation, stability))
    return np.asarray(np.maximum.accumulate(own[::-1])[::-1])


def confidence_table(
    annotation: Annotation, n_resamples: int, calibration: Calibration | None = None
) -> pd.DataFrame:
    """Return the table ``confidence`` of an annotation whose stability was measured.

    Parameters
    ----------
    annotation
        With its stability.
    n_resamples
        How many resamples there were.
    calibration
        Turns measurements into probabilities; that of the package if None.
    """
    calibration = calibration or bundled_calibration()
    rows = [row for s in annotation.stability for row in _rows(annotation, s, n_resamples, calibration)]
    return CONFIDENCE.frame(rows)


def _rows(
    annotation: Annotation, stability: Stability, n_resamples: int, calibration: Calibration
) -> list[dict[str, Any]]:
    shared = {"cluster_id": stability.group, "method": stability.method, "n_resamples": n_resamples}
    if not stability.path:
        return [{
            **shared, "level": -1, "label": "", "path": "", "is_call": True, "share_held": stability.held[0],
            "share_held_without_marker": np.nan, "fragile_marker": "", "confidence": np.nan,
        }]
    nodes = annotation.key.hierarchy.nodes
    probability = _probabilities(annotation, stability, calibration)
    last = len(stability.path) - 1
    return [
        {
            **shared, "level": level, "label": nodes[node].name, "path": nodes[node].path_text,
            "is_call": level == last, "share_held": stability.held[level],
            "share_held_without_marker": stability.without_marker[level],
            "fragile_marker": stability.fragile[level], "confidence": probability[level],
        }
        for level, node in enumerate(stability.path)
    ]


def confidence_by_group(table: pd.DataFrame, method: str) -> Mapping[str, float]:
    """Return the confidence of each cluster's label, by the method that decided; NaN without a call."""
    rows = table[(table["method"] == method) & table["is_call"]]
    return dict(zip(rows["cluster_id"], rows["confidence"], strict=True))
