"""The passes over the matrix: the four things that need all values. They run in this process or on Dask workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from cellkey.profiles.profile import POSITIVE_QUANTILES, profile_clusters
from cellkey.profiles.tiles import TileStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from cellkey.clustering import Clustering, ClusteringParameters, MatrixReport
    from cellkey.device import Device
    from cellkey.profiles.expression import Expression
    from cellkey.profiles.profile import ClusterProfiles, PositiveBasis
    from cellkey.profiles.resampling import Resampler
    from cellkey.workers.passes import DaskPasses

__all__ = ["LocalPasses", "Passes"]

Passes: TypeAlias = "LocalPasses | DaskPasses"
"""Check of the values, factors per cell, clusters and profiles; ``device`` says where profiles are computed."""


class LocalPasses:
    """The passes in this process, on the matrix in memory or on disk.

    Parameters
    ----------
    device
        Where profiles and resamples are computed; clustering has a setting of its own.
    """

    def __init__(self, device: Device = "cpu") -> None:
        self.device = device

    def inspect(
        self, X: Any, *, var_names: Sequence[str] | None = None, assume: str | None = None, name: str = "X"
    ) -> MatrixReport:
        """See :func:`~cellkey.clustering.inspect.inspect_matrix`; sweeps the matrix once."""
        from cellkey.clustering import inspect_matrix

        scan = X.survey if isinstance(X, TileStore) else None
        return inspect_matrix(X, var_names=var_names, assume=assume, name=name, scan=scan)

    def scale(self, X: Any, report: MatrixReport | None) -> NDArray[np.float64] | None:
        """Return the factor of each cell; None for ``report`` leaves values as they are.

        Sweeps the matrix once if its cells are to be normalised; tiles know the totals already.
        """
        from cellkey.clustering import working_scale
        from cellkey.profiles.expression import factors_from_totals

        if report is not None and report.transform == "normalise" and isinstance(X, TileStore):
            return factors_from_totals(X.survey.totals)
        return None if report is None else working_scale(X, report)

    def cluster(
        self,
        expression: Expression,
        var_names: Sequence[str],
        *,
        params: ClusteringParameters,
        always_use: Iterable[str] = (),
        allowed: NDArray[np.bool_] | None = None,
    ) -> Clustering:
        """See :func:`~cellkey.clustering.pipeline.cluster_cells`."""
        from cellkey.clustering import cluster_cells

        return cluster_cells(expression, list(var_names), params=params, allowed=allowed, always_use=always_use)

    def profiles(
        self,
        expression: Expression,
        labels: Sequence[str | None] | NDArray[np.object_],
        var_names: Sequence[str] | NDArray[np.object_],
        *,
        quantiles: Sequence[float] = POSITIVE_QUANTILES,
        basis: PositiveBasis = "auto",
        n_jobs: int = 1,
        resampler: Resampler | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> ClusterProfiles:
        """See :func:`~cellkey.profiles.profile.profile_clusters`; ``n_jobs`` threads, or a GPU that they feed."""
        return profile_clusters(
            expression, labels, var_names, quantiles=quantiles, basis=basis, n_jobs=n_jobs, resampler=resampler,
            progress=progress, device=self.device,
        )
