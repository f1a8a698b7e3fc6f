"""Parameters of clustering and sub-clustering."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cellkey.parameters import Parameters

__all__ = ["ClusteringParameters", "SubclusteringParameters"]


class ClusteringParameters(Parameters):
    """How cells are grouped.

    Parameters
    ----------
    resolution
        Of the Leiden communities. Too low: types share a cluster (refinement may part them); too high: one
        type falls into many clusters, which costs time but rarely a label.
    n_pcs
        Principal components, at most; fewer for small panels.
    n_neighbors
        Nearest neighbours per cell, the cell itself not counted.
    n_top_genes
        Most genes used when there are more than 500; map markers come on top. 0 uses all.
    clip
        Largest distance of a scaled value from the mean, in standard deviations; 0 does not clip.
    search
        Neighbour search: ``exact``, ``approximate`` (of more than 16,384 cells), or ``auto`` (exact up to 200,000
        cells, on a GPU up to 1,000,000).
    n_iterations
        Passes of the Leiden method; negative runs until nothing changes.
    seed
        The one seed of the run.
    device
        ``cpu``, ``gpu`` (needs the extra ``gpu`` and a CUDA device) or ``auto``: the GPU if there is one. Components
        differ by rounding between the two; the CPU's repeat bit by bit.
    """

    resolution: float = Field(default=0.6, gt=0, allow_inf_nan=False)
    n_pcs: int = Field(default=30, ge=1, le=500)
    n_neighbors: int = Field(default=15, ge=1, le=1000)
    n_top_genes: int = Field(default=2000, ge=0, le=10_000)
    clip: float = Field(default=10.0, ge=0, allow_inf_nan=False)
    search: Literal["auto", "exact", "approximate"] = "auto"
    n_iterations: int = Field(default=2, ge=-1)
    seed: int = Field(default=1337, ge=0, lt=2**31)
    device: Literal["auto", "cpu", "gpu"] = "auto"


class SubclusteringParameters(ClusteringParameters):
    """How the cells of one cluster are parted further.

    Parameters
    ----------
    resolution
        Lower than for the whole, since a single cluster is to be parted only along clear lines.
    min_cells
        Clusters with fewer cells are left whole.
    min_subcluster_cells
        Smaller parts join the part whose centre is nearest.
    """

    resolution: float = Field(default=0.4, gt=0, allow_inf_nan=False)
    min_cells: int = Field(default=500, ge=2)
    min_subcluster_cells: int = Field(default=20, ge=1)
