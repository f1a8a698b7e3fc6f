"""Settings of enrichment scoring that follow from the size of the gene panel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PRESETS", "ControlExclusion", "PanelPreset", "Preset", "choose_preset", "low_expression"]

Preset = Literal["auto", "small", "medium", "large"]
ControlExclusion = Literal["all_markers", "own_markers", "branch"]

_SMALL_BELOW, _LARGE_ABOVE, _LARGE_IF_SPARSE_ABOVE, _SPARSE_SHARE = 2_500, 10_000, 8_000, 0.4
_LOW_QUANTILE, _LOW_LIMIT = 0.15, 0.05


@dataclass(frozen=True, slots=True)
class PanelPreset:
    """What suits a panel of a certain size.

    Attributes
    ----------
    n_bins
        Number of bins of mean expression within which controls are matched.
    control_sizes
        Numbers of controls to draw, tried in order; only used where controls are drawn.
    control_exclusion
        Which markers cannot be controls. Small panels consist of markers, so that only those of the branch
        are left out.
    collapse_low_tail
        Whether barely expressed genes share one bin.
    detection_quantile
        Quantile of mean expression over all genes above which a marker counts as detected.
    clip_quantile
        Quantile of the absolute differences of a type's markers at which they are clipped.
    """

    n_bins: int
    control_sizes: tuple[int, ...]
    control_exclusion: ControlExclusion
    collapse_low_tail: bool
    detection_quantile: float
    clip_quantile: float


PRESETS: Final[dict[str, PanelPreset]] = {
    "small": PanelPreset(12, (25, 10, 5), "branch", collapse_low_tail=False, detection_quantile=0.10,
                         clip_quantile=0.95),
    "medium": PanelPreset(24, (50, 25, 10, 5), "all_markers", collapse_low_tail=True, detection_quantile=0.10,
                          clip_quantile=0.95),
    "large": PanelPreset(32, (100, 50, 25, 10), "all_markers", collapse_low_tail=True, detection_quantile=0.15,
                         clip_quantile=0.90),
}
"""Presets by name, as published with the method."""


def low_expression(bulk: NDArray[np.float64], preset: Preset, given: float | None = None) -> tuple[float, float]:
    """Return the limit of low expression and the share of genes at or below it (at least 0.05 is low)."""
    if given is not None:
        limit = given
    else:
        limit = float(np.quantile(bulk, _LOW_QUANTILE)) if preset == "auto" and len(bulk) else _LOW_LIMIT
    ceiling = max(limit, _LOW_LIMIT) if preset == "auto" else _LOW_LIMIT
    return limit, float((bulk <= ceiling).mean()) if len(bulk) else 0.0


def choose_preset(n_genes: int, low_share: float) -> Literal["small", "medium", "large"]:
    """Return the preset for a panel: small below 2,500 genes; large above 10,000, or above 8,000 if sparse."""
    if n_genes < _SMALL_BELOW:
        return "small"
    sparse = n_genes > _LARGE_IF_SPARSE_ABOVE and low_share >= _SPARSE_SHARE
    return "large" if n_genes > _LARGE_ABOVE or sparse else "medium"
