r"""Hierarchical marker enrichment: matched controls, sibling specificity, branch support.

For cluster :math:`c`, node :math:`n` and its scored markers :math:`i` with controls :math:`K_i`

.. math::
    R = \overline{x_i - \bar x_{K_i}} - w N, \qquad
    D = (Z - \max_{siblings} Z)(0.5 + 0.5 f), \qquad
    L = (\alpha R + (1 - \alpha)\, g(R)\, D)\, s

with the differences clipped at a quantile of their absolute values, :math:`N` the same mean over anti-markers,
:math:`Z` the robust z of :math:`R` over clusters, :math:`f` the share of markers detected, :math:`g` a ramp
from 0 to 1 and :math:`s` a factor for the number of markers. Branch support blends :math:`L` with the best
child, see :mod:`cellkey.scoring.branch_support`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellkey.records.vocabulary import ScoreStatus
from cellkey.scoring.branch_support import branch_support
from cellkey.scoring.controls import (
    BinSums,
    ControlMeans,
    Pairs,
    all_controls,
    drawn_controls,
    eligible_controls,
    expression_bins,
)
from cellkey.scoring.enrichment_settings import EnrichmentScoring, PanelSettings, resolve_panel
from cellkey.scoring.evidence import Evidence
from cellkey.scoring.marker_means import Sign, sign_of
from cellkey.scoring.marker_sets import MarkerSets, choose_marker_sets, effective_markers, excluded_from_controls
from cellkey.scoring.specificity import robust_z, sibling_gap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from cellkey.profiles.means import ClusterMeans
    from cellkey.scoring.key import MeasuredKey

__all__ = ["Background", "EnrichmentDetails", "score_enrichment", "support_gate"]

_SHRINK = 2.0  # s = m / (m + 2): a type scored on two markers keeps half of its score


@dataclass(frozen=True, slots=True)
class EnrichmentDetails:
    """What tables and routers of enrichment need beside the scores.

    ``pairs`` and ``controls`` are those of the markers, then of the anti-markers.
    """

    parameters: EnrichmentScoring
    panel: PanelSettings
    means: ClusterMeans
    sets: MarkerSets
    status: tuple[ScoreStatus, ...]
    positive: Sign
    negative: Sign
    pairs: tuple[Pairs, Pairs]
    controls: tuple[ControlMeans, ControlMeans]


@dataclass(frozen=True, slots=True)
class Background:
    """What scores rest on whatever the markers are; made once for many hierarchies on the same means.

    Attributes
    ----------
    means, panel
        The means, and the settings for their panel.
    positions
        Column of each gene.
    bins, eligible, sums
        Bin of expression of each gene, whether it may be a control, and the sums over those by bin.
    detected
        Groups x genes.
    """

    means: ClusterMeans
    panel: PanelSettings
    positions: Mapping[str, int]
    bins: NDArray[np.int64]
    eligible: NDArray[np.bool_]
    sums: BinSums
    detected: NDArray[np.bool_]

    @classmethod
    def of(cls, means: ClusterMeans, parameters: EnrichmentScoring) -> Background:
        """Return the background of means."""
        bulk, panel = means.bulk, resolve_panel(means, parameters)
        bins = expression_bins(bulk, panel.n_bins, low_limit=panel.low_limit if panel.collapse_low_tail else None)
        eligible = eligible_controls(bulk, parameters.min_control_mean)
        positions = dict(zip(means.genes.tolist(), range(len(means.genes)), strict=True))
        return cls(means, panel, positions, bins, eligible, BinSums.of(means.values, bins, eligible),
                   _detected(means, panel, parameters))


def score_enrichment(
    means: ClusterMeans,
    key: MeasuredKey,
    parameters: EnrichmentScoring | None = None,
    *,
    background: Background | None = None,
) -> Evidence:
    """Score every cell type of the key in every cluster.

    Parameters
    ----------
    means
        Cluster means on a log scale.
    key
        The hierarchy, measured on (at least) the genes of ``means``.
    parameters
        Weights and rules; the defaults if None.
    background
        Of ``means`` and ``parameters``, if it was made before.

    Returns
    -------
    Evidence
        ``score`` is the branch support that siblings compete with. Components, all groups x nodes:
        ``raw`` (R), ``positive`` (P), ``negative`` (N as it entered R), ``z``, ``specificity``, ``decision``
        (D), ``detection`` (f), ``gate`` (g), ``factor`` (s), ``local`` (L), ``best_child``,
        ``best_child_raw``, ``branch_support`` and ``branch_raw`` (as tabulated), ``routing_raw`` (as the walk
        uses it), ``error`` (standard error of R), ``sure_support`` (branch support with R lowered by
        ``sampling_errors`` of them) and ``coverage`` (share of listed markers that are measured). A cell type
        that cannot be scored has NaN.
    """
    parameters = parameters or EnrichmentScoring()
    background = background or Background.of(means, parameters)
    panel = background.panel
    columns = _columns_by_name(key, background.positions)
    sets = choose_marker_sets(
        key, columns,
        effective_markers(key.hierarchy, roots=parameters.root_marker_strategy,
                          children=parameters.child_marker_strategy),
        min_markers=parameters.min_markers_present, min_fraction=parameters.min_marker_fraction,
        fall_back=parameters.fall_back_to_listed, controls_for_fallback=parameters.controls_for_fallback,
    )
    controls = _controls(background, key, columns, sets, parameters)
    positive, negative = (
        sign_of(means, scored, pairs, found, background.detected, panel.clip_quantile)
        for scored, (pairs, found) in zip((sets.scored, sets.negative), controls, strict=True)
    )
    status = _final_status(sets, positive)
    components = _components(positive, negative, status, key, parameters)
    return Evidence(
        groups=means.groups, n_cells=means.n_cells, key=key, method="enrichment",
        score=components.pop("routing_support"), components=components,
        details=EnrichmentDetails(
            parameters, panel, means, sets, status, positive, negative,
            (controls[0][0], controls[1][0]), (controls[0][1], controls[1][1]),
        ),
    )


def support_gate(raw: NDArray[np.float64], end: float) -> NDArray[np.float64]:
    """Return g(R): 0 below zero or where R is missing, 1 from ``end`` on, linear between."""
    known = np.where(np.isfinite(raw), raw, -1.0)
    ramp = np.ones_like(known) if end <= 0 else np.minimum(known / end, 1.0)
    return np.where(known < 0, 0.0, ramp)


def _columns_by_name(key: MeasuredKey, positions: Mapping[str, int]) -> dict[str, int]:
    """Listed name to column of the means, for names that are measured and vary."""
    found = key.resolution.found
    constant = set(map(str, key.var_names[~key.usable]))
    return {n: positions[v] for n, v in found.items() if v in positions and v not in constant}


def _controls(
    background: Background, key: MeasuredKey, columns: Mapping[str, int], sets: MarkerSets,
    parameters: EnrichmentScoring,
) -> list[tuple[Pairs, ControlMeans]]:
    """Controls of the markers and of the anti-markers."""
    means, panel, bins, eligible = background.means, background.panel, background.bins, background.eligible
    excluded = excluded_from_controls(key, columns, panel.control_exclusion, len(bins))
    result = []
    for genes in (sets.with_controls, sets.negative):
        pairs = Pairs.of(genes)
        if parameters.controls == "all":
            found = all_controls(means.values, bins, eligible, pairs, excluded, background.sums)
        else:
            found = drawn_controls(
                means.values, means.genes, bins, eligible, pairs, excluded, panel.control_sizes,
                seed=parameters.seed, node_names=[n.path_text for n in key.hierarchy.nodes],
            )
        result.append((pairs, found))
    return result


def _detected(means: ClusterMeans, panel: PanelSettings, parameters: EnrichmentScoring) -> NDArray[np.bool_]:
    share = parameters.min_detecting_share
    if means.detection is not None and share is not None:
        return means.detection >= share
    with np.errstate(invalid="ignore"):
        return means.values >= panel.detection_floor


def _final_status(sets: MarkerSets, positive: Sign) -> tuple[ScoreStatus, ...]:
    found: list[ScoreStatus] = []
    for i, status in enumerate(sets.status):
        if status is not ScoreStatus.OK:
            found.append(status)
        elif positive.n_controls[i] == 0:
            found.append(ScoreStatus.NO_CONTROLS)
        else:
            found.append(ScoreStatus.FEWER_CONTROLS if positive.fell_back[i] else ScoreStatus.OK)
    return tuple(found)


def _components(
    positive: Sign, negative: Sign, status: Sequence[ScoreStatus], key: MeasuredKey, parameters: EnrichmentScoring
) -> dict[str, NDArray[np.float64]]:
    parents, levels = key.parents, key.levels
    scorable = np.array([s in (ScoreStatus.OK, ScoreStatus.FEWER_CONTROLS) for s in status])
    n = np.nan_to_num(negative.enrichment, nan=0.0)
    n = np.maximum(n, 0.0) if parameters.floor_negative else n
    raw = np.where(scorable, positive.enrichment - parameters.negative_weight * n, np.nan)
    z = robust_z(raw, parameters.scale_floor, parents=parents if parameters.scale_of == "siblings" else None)
    gap = sibling_gap(z, parents, only_child=parameters.only_child)
    f = np.clip(np.nan_to_num(positive.detection, nan=0.0), 0.0, 1.0)
    decision = gap * (0.5 + 0.5 * f)
    factor = 0.5 + 0.5 * f
    if parameters.marker_factor == "count":
        m = positive.n_present.astype(np.float64)
        factor = np.broadcast_to(m / (m + _SHRINK), raw.shape)

    def local_score(raw: NDArray[np.float64]) -> NDArray[np.float64]:
        alpha, gate = parameters.raw_weight, support_gate(raw, parameters.weak_raw_score)
        return (alpha * raw + (1.0 - alpha) * gate * decision) * factor

    local = local_score(raw)
    tables = _branch_tables(local, raw, parents, levels, parameters)
    error = np.sqrt(positive.error**2 + np.where(n > 0, parameters.negative_weight * negative.error, 0.0) ** 2)
    low = raw - parameters.sampling_errors * error
    sure = _branch_tables(local_score(low), low, parents, levels, parameters)["routing_support"]
    measured = np.array([len(m) for m in key.markers]) / np.maximum(key.n_listed, 1)
    coverage = np.broadcast_to(measured, raw.shape)
    return {
        "raw": raw, "positive": np.where(scorable, positive.enrichment, np.nan), "negative": n, "z": z,
        "specificity": gap, "decision": decision, "detection": f,
        "gate": support_gate(raw, parameters.weak_raw_score),
        "factor": np.asarray(factor, dtype=np.float64), "local": local, "coverage": coverage, "error": error,
        "sure_support": sure, **tables,
    }


def _branch_tables(
    local: NDArray[np.float64], raw: NDArray[np.float64], parents: NDArray[np.int64], levels: NDArray[np.int64],
    parameters: EnrichmentScoring,
) -> dict[str, NDArray[np.float64]]:
    """Branch support of scores and of raw enrichment, as tabulated and as the walk uses them."""
    everywhere = np.full(len(parents), parameters.child_rescue)
    roots = np.full(len(parents), parameters.root_child_rescue)
    is_root = parents < 0
    stored = np.where(is_root, roots, everywhere) if parameters.rescue_by_level else everywhere
    support, best = branch_support(local, parents, levels, stored)
    supported_raw, best_raw = branch_support(raw, parents, levels, stored)
    routing, routing_raw = support, supported_raw
    if not parameters.rescue_by_level:
        routing = np.where(is_root, branch_support(local, parents, levels, roots)[0], support)
        routing_raw = np.where(is_root, branch_support(raw, parents, levels, roots)[0], supported_raw)
    return {
        "best_child": best, "best_child_raw": best_raw, "branch_support": support, "branch_raw": supported_raw,
        "routing_support": routing, "routing_raw": routing_raw,
    }
