"""Parameters of refinement: when to act, how to split, when to stop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cellkey.clustering.parameters import SubclusteringParameters
from cellkey.parameters import Parameters
from cellkey.profiles.resampling import N_RESAMPLES

__all__ = ["RefinementParameters"]

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class RefinementParameters(Parameters):
    """When refinement acts on a cluster, how it splits one, and when it stops.

    Attributes
    ----------
    score_threshold
        A cluster is worked on when its heterogeneity score (0 to 3) is greater. Higher is more conservative;
        0.7 to 2.0 are useful.
    min_cells
        Clusters with fewer cells are left alone.
    heterogeneity_gap
        Share (0 to 1) of the deciding cells that may vote against the best subtype when the whole cluster
        takes its label. Higher favours relabelling, lower favours splitting.
    max_iterations
        Most rounds of diagnosis and action.
    policy
        ``guide``: the criteria of the heterogeneity score. ``legacy``: the comparison rules of
        CellType-Refinery, in which a higher ``score_threshold`` and ``heterogeneity_gap`` split more.
    subtype_signal_threshold
        Score from which on a subtype counts as a signal of its own.
    mixed_parent_threshold, mixed_child_threshold
        A type that scores at least the first while all its subtypes score below the second is taken for a
        mixture.
    weak_leaf_score, weak_leaf_heterogeneity
        A terminal type that scores below the first with a marker heterogeneity (0 to 0.25) above the second
        is doubted.
    resolution, n_pcs, neighbors_k
        Of the clustering inside one cluster; the resolution is lower than for the whole, so that a cluster
        is only parted along clear lines.
    min_subcluster_cells
        Parts with fewer cells join the part whose centre is nearest.
    space
        ``subset`` chooses and scales features inside the cluster, where other differences count than between
        clusters; ``stored`` uses the components of the first clustering (quicker, coarser).
    min_split_stability
        A split is only made if it comes out again when cells are resampled: least mean adjusted Rand index
        (0 is chance, 1 is always the same) between the split and splits of random subsets; three quarters of it
        will do where few cells lie between any two parts. 0 accepts every split. Lines through one cloud of cells
        reach 0.2 to 0.75, separate populations 0.9 and more.
    min_separation
        Parts whose labels do not contradict each other stay together unless there are few cells between them:
        least depth (0 to 1) of the valley between the two peaks of density. 0 keeps all parts apart.
    split_resamples
        Random subsets (four fifths of the cells) by which a split is tried; 0 accepts every split.
    call_resamples
        Resamples of the cells from which the confidence of calls is measured where the annotation left none; 50 as
        there. 0 measures no confidence.
    seed
        The one seed of the run.
    device
        ``cpu``, ``gpu`` or ``auto``, for the clustering inside clusters.
    """

    score_threshold: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 1.0
    min_cells: Annotated[int, Field(ge=1)] = 500
    heterogeneity_gap: Fraction = 0.3
    max_iterations: Annotated[int, Field(ge=1, le=100)] = 3
    policy: Literal["guide", "legacy"] = "guide"
    subtype_signal_threshold: Positive = 1.0
    mixed_parent_threshold: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    mixed_child_threshold: Positive = 1.0
    weak_leaf_score: Annotated[float, Field(allow_inf_nan=False)] = 1.5
    weak_leaf_heterogeneity: Positive = 0.12
    resolution: Positive = 0.4
    n_pcs: Annotated[int, Field(ge=2, le=500)] = 30
    neighbors_k: Annotated[int, Field(ge=1, le=1000)] = 15
    min_subcluster_cells: Annotated[int, Field(ge=1)] = 20
    space: Literal["subset", "stored"] = "subset"
    min_split_stability: Fraction = 0.8
    min_separation: Fraction = 0.5
    split_resamples: Annotated[int, Field(ge=0, le=1000)] = 10
    call_resamples: Annotated[int, Field(ge=0, le=1000)] = N_RESAMPLES
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1337
    device: Literal["auto", "cpu", "gpu"] = "auto"

    def subclustering(self, *, min_cells: int, seed: int, resolution: float | None = None, n_pcs: int | None = None,
                      neighbors_k: int | None = None) -> SubclusteringParameters:
        """Return the settings for one split; what is not given is taken from here."""
        return SubclusteringParameters(
            resolution=self.resolution if resolution is None else resolution,
            n_pcs=self.n_pcs if n_pcs is None else n_pcs,
            n_neighbors=self.neighbors_k if neighbors_k is None else neighbors_k,
            min_cells=max(2, min_cells),
            min_subcluster_cells=self.min_subcluster_cells,
            seed=seed,
            device=self.device,
        )
