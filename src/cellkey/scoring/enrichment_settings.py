"""Parameters of enrichment scoring, and what they come to on a panel of a given size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field

from cellkey.parameters import Parameters
from cellkey.scoring.marker_sets import MarkerStrategy
from cellkey.scoring.panel_presets import PRESETS, ControlExclusion, Preset, choose_preset, low_expression
from cellkey.scoring.specificity import OnlyChild, ScaleOf

if TYPE_CHECKING:
    from cellkey.profiles.means import ClusterMeans

__all__ = ["RELEASED", "EnrichmentScoring", "PanelSettings", "resolve_panel"]

Share = Annotated[float, Field(ge=0.0, le=1.0)]
RELEASED = "hierannot-0.7"


class EnrichmentScoring(Parameters):
    """Parameters of enrichment scoring.

    Settings that are None follow from the size of the panel; see
    :data:`~cellkey.scoring.panel_presets.PRESETS`.

    Attributes
    ----------
    preset
        ``auto`` chooses by the number of measured genes.
    n_bins, control_exclusion, collapse_low_tail, clip_quantile
        Replace those of the preset. A ``clip_quantile`` of 1 switches clipping off.
    controls
        ``all`` genes of the bin (no random draw), or ``drawn``: as many as ``control_sizes`` allow.
    control_sizes
        Numbers of controls to draw, tried in order.
    min_control_mean
        Least mean expression of a control gene.
    low_expression_limit
        Mean expression up to which genes share the lowest bin.
    detection_floor
        Value above which a marker counts as detected, where the share of expressing cells is unknown.
    min_detecting_share
        Share of a cluster's cells that must express a marker for it to count as detected, where it is known.
        0.10 is the field's usual limit for marker tables. None always uses ``detection_floor``.
    min_markers_present, min_marker_fraction
        Measured markers that a type needs, and their least share.
    root_marker_strategy, child_marker_strategy
        Which markers are taken away because relatives list them too.
    fall_back_to_listed, controls_for_fallback
        Score all listed markers where too few others are measured, and with controls of their own.
    negative_weight
        Weight of the anti-markers.
    floor_negative
        Whether anti-markers below their controls count as zero instead of as support.
    scale_floor
        Least scale of the robust z. Without it, types that score alike in all clusters get huge z.
    scale_of
        Whether siblings share the scale of the robust z, so that they are compared in one unit, or each
        ``type`` has its own, as published.
    only_child
        What a node without siblings is compared with.
    sampling_errors
        Raw enrichment must support a type even when it is lowered by this many standard errors, those of
        counting transcripts in the cells of the group; 2 is the usual limit of 95 per cent. It matters in
        small groups of shallow cells only, and not where the number of cells is unknown.
    raw_weight
        Weight alpha of raw enrichment against sibling specificity.
    weak_raw_score
        Raw enrichment from which specificity counts in full.
    child_rescue, root_child_rescue
        Share of the best child in the support of its parent, and of a root.
    rescue_by_level
        Whether ``root_child_rescue`` is used for roots only (one table of scores), or, as published, at all
        depths while choosing a root and nowhere else.
    marker_factor
        The factor s: ``count`` (m / (m + 2) for m scored markers) or ``detection`` (0.5 + 0.5 f).
    seed
        Of drawn controls.
    """

    preset: Preset = "auto"
    n_bins: Annotated[int, Field(ge=1)] | None = None
    controls: Literal["all", "drawn"] = "all"
    control_sizes: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    control_exclusion: ControlExclusion | None = None
    min_control_mean: float | None = None
    collapse_low_tail: bool | None = None
    low_expression_limit: float | None = None
    detection_floor: float | None = None
    min_detecting_share: Share | None = 0.10
    clip_quantile: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    min_markers_present: Annotated[int, Field(ge=1)] = 2
    min_marker_fraction: Share = 0.3
    root_marker_strategy: MarkerStrategy = "none"
    child_marker_strategy: MarkerStrategy = "subtract_direct_parent"
    fall_back_to_listed: bool = True
    controls_for_fallback: bool = True
    negative_weight: Annotated[float, Field(ge=0.0)] = 0.5
    floor_negative: bool = True
    scale_floor: Annotated[float, Field(ge=0.0)] = 0.25
    scale_of: ScaleOf = "siblings"
    only_child: OnlyChild = "parent"
    sampling_errors: Annotated[float, Field(ge=0.0)] = 2.0
    raw_weight: Share = 0.60
    weak_raw_score: float = 0.10
    child_rescue: Share = 0.35
    root_child_rescue: Share = 0.40
    rescue_by_level: bool = True
    marker_factor: Literal["count", "detection"] = "count"
    seed: int | None = 0

    @classmethod
    def released(cls, **changes: object) -> Self:
        """Return the settings under which the scores equal those of HierAnnot 0.7."""
        published: dict[str, object] = {
            "controls": "drawn", "controls_for_fallback": False, "floor_negative": False, "scale_floor": 0.0,
            "only_child": "none", "rescue_by_level": False, "marker_factor": "detection",
            "min_detecting_share": None, "sampling_errors": 0.0, "scale_of": "type",
        }
        return cls.parse({**published, **changes})


@dataclass(frozen=True, slots=True)
class PanelSettings:
    """What the presets resolved to on a panel."""

    preset: str
    n_genes: int
    low_share: float
    low_limit: float
    n_bins: int
    control_sizes: tuple[int, ...]
    control_exclusion: ControlExclusion
    collapse_low_tail: bool
    detection_quantile: float
    detection_floor: float
    clip_quantile: float


def resolve_panel(means: ClusterMeans, parameters: EnrichmentScoring) -> PanelSettings:
    """Return the settings for a panel: those given, else those of the preset for its size."""
    bulk = means.bulk
    limit, share = low_expression(bulk, parameters.preset, parameters.low_expression_limit)
    name = choose_preset(len(bulk), share) if parameters.preset == "auto" else parameters.preset
    preset = PRESETS[name]

    def given(field: str) -> Any:
        value = getattr(parameters, field)
        return getattr(preset, field) if value is None else value

    floor = parameters.detection_floor
    if floor is None:
        floor = float(np.quantile(bulk, preset.detection_quantile)) if len(bulk) else 0.0
    return PanelSettings(
        preset=name, n_genes=len(bulk), low_share=share, low_limit=limit, n_bins=given("n_bins"),
        control_sizes=given("control_sizes"), control_exclusion=given("control_exclusion"),
        collapse_low_tail=given("collapse_low_tail"), detection_quantile=preset.detection_quantile,
        detection_floor=floor, clip_quantile=given("clip_quantile"),
    )
