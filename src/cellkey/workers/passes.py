"""The passes over a large matrix as graphs of tasks: values, factors, features, components, profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.clustering._sums import add_arrays
from cellkey.clustering.features import Moments, moments_from_sums
from cellkey.clustering.inspect import inspect_matrix
from cellkey.clustering.pca import MAX_FEATURES, Components, FeatureScaling, Products, components_from_products
from cellkey.clustering.pipeline import cluster_features
from cellkey.errors import InputError, ParameterError, RunError
from cellkey.profiles.expression import factors_from_totals
from cellkey.profiles.profile import POSITIVE_QUANTILES, assemble_profiles, cell_groups, group_sizes
from cellkey.workers import tasks
from cellkey.workers.matrix import DiskMatrix, spans
from cellkey.workers.merging import merge_scans, subtree_spans, tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cellkey.clustering.inspect import MatrixReport, Transform
    from cellkey.clustering.parameters import ClusteringParameters
    from cellkey.clustering.pipeline import Clustering
    from cellkey.device import Device
    from cellkey.profiles.expression import Expression
    from cellkey.profiles.profile import ClusterProfiles, PositiveBasis
    from cellkey.profiles.resampling import Resampler
    from cellkey.workers.connection import Workers
    from cellkey.workers.matrix import Span

__all__ = ["DaskPasses"]

PART_VALUES = 8_000_000
"""Values of one task: 64 MB as read, three to five times that at work."""
_FEWEST_VALUES = 100_000
_BYTES_PER_VALUE = 8
_WORK_SPACE = 6


class DaskPasses:
    """The passes over one matrix on disk, on the workers of a Dask cluster.

    Each task opens the file and reads its own slice: cells of a CSR or dense matrix, genes of a CSC matrix.
    Sums of slices are merged in a tree of small arrays. Profiles need all values of a gene
    side by side, so slices of cells are cut into spans of genes, and the pieces of one span are joined where its
    genes are sorted; a matrix larger than half the memory of all workers is handled in several such rounds.

    Parameters
    ----------
    workers
        Connected workers.
    path
        Of an ``.h5ad`` file or Zarr store that all workers see.
    part_values
        Stored values of one slice; None fits them to the memory of a worker.

    Notes
    -----
    Everything is equal, bit for bit, to a run in one process on the same kind of processor, however many workers there
    are and whatever they are given: sums over cells are nodes of one tree (:mod:`cellkey.clustering._sums`). Neighbours
    and communities are found by the caller's process.
    """

    device: Device = "cpu"

    def __init__(self, workers: Workers, path: str | Path, *, part_values: int | None = None) -> None:
        self._workers = workers
        self._path = path
        fits = PART_VALUES if workers.memory is None else workers.memory // (_BYTES_PER_VALUE * 2 * _WORK_SPACE)
        self._part_values = part_values or min(PART_VALUES, max(fits, _FEWEST_VALUES))
        self._matrix: DiskMatrix | None = None
        self._transform: Transform = "none"
        self._totals: NDArray[np.float64] | None = None

    def inspect(
        self, X: Any, *, var_names: Sequence[str] | None = None, assume: str | None = None, name: str = "X"
    ) -> MatrixReport:
        """See :func:`~cellkey.clustering.inspect.inspect_matrix`; ``X`` is the matrix on disk, ``name`` its layer."""
        if min(X.shape) == 0 or np.dtype(X.dtype).kind not in "buif":
            return inspect_matrix(X, var_names=var_names, assume=assume, name=name)
        self._matrix = DiskMatrix.of(self._path, name, X)
        self._require_file()
        found = self._workers.gather([_delayed(tasks.inspected)(part) for part in self._parts()])
        scan = merge_scans([s for s, _ in found], self._matrix.axis)
        report = inspect_matrix(X, var_names=var_names, assume=assume, name=name, scan=scan)
        self._transform = report.transform
        self._totals = self._joined_totals([totals for _, totals in found], report)
        return report

    def scale(self, X: Any, report: MatrixReport | None) -> NDArray[np.float64] | None:
        """See :func:`~cellkey.clustering.normalise.working_scale`; None for ``report`` leaves values as they are."""
        self._transform = "none" if report is None else report.transform
        if self._transform == "normalise":
            return factors_from_totals(self._sums())
        return np.ones(X.shape[0]) if self._transform == "log1p" else None

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
        return cluster_features(
            self.moments(), self._components, var_names, params=params, always_use=always_use, allowed=allowed
        )

    def moments(self) -> Moments:
        """See :func:`~cellkey.clustering.features.gene_moments`."""
        n_cells, n_genes = self._on_disk.shape
        if self._on_disk.axis == 0:
            sums = [_delayed(tasks.sums_of_cells)(self._part(span)) for span in self._subtrees(n_genes)]
            return moments_from_sums(n_cells, self._workers.gather([tree(add_arrays, sums)])[0])
        totals = self._travelling_totals()
        parts = self._workers.gather([_delayed(tasks.moments)(part, totals) for part in self._parts()])
        return Moments(n_cells, np.concatenate([m.mean for m in parts]), np.concatenate([m.sd for m in parts]))

    def components(
        self, features: NDArray[np.intp], moments: Moments, *, n_components: int = 30, clip: float = 10.0
    ) -> Components:
        """See :func:`~cellkey.clustering.pca.principal_components`."""
        if len(features) > MAX_FEATURES:
            msg = f"{len(features):,} features asked for; components are computed for at most {MAX_FEATURES:,}"
            raise ParameterError(msg)
        scaling = FeatureScaling.of(moments, clip)
        blocks = self._workers.keep(self._feature_blocks(features))
        shared = _delayed(scaling)
        products: Products = self._workers.gather([
            tree(Products.add, [_delayed(tasks.products)(block, shared) for block in blocks])
        ])[0]

        def scores_on(mean: NDArray[np.float64], loadings: NDArray[np.float64]) -> NDArray[np.float32]:
            centre, axes = _delayed(mean), _delayed(loadings)
            return np.concatenate(
                self._workers.gather([_delayed(tasks.scores)(block, shared, centre, axes) for block in blocks])
            )

        n_kept = max(1, min(n_components, len(features) - 1, moments.n_cells - 1))
        return components_from_products(products, scaling.offset, moments.n_cells, n_kept, scores_on)

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
        """See :func:`~cellkey.profiles.profile.profile_clusters`; the workers of the cluster are its threads."""
        groups, codes = cell_groups(labels)
        if not groups:
            msg = "no cell has a group"
            raise ValueError(msg)
        sizes = group_sizes(codes, len(groups))
        small = _delayed(codes.astype(np.min_scalar_type(-len(groups) - 1)))
        names = np.asarray(var_names, dtype=object)
        if resampler is not None:
            resampler.begin(codes, groups, names, basis)
        shared = None if resampler is None else _delayed(resampler)
        found: list[dict[str, NDArray[np.float64]]] = []
        rounds = self._rounds()
        for done, blocks in enumerate(rounds):
            read = self._gene_blocks(blocks)
            work = [_delayed(tasks.statistics)(b, small, len(groups), tuple(quantiles), basis) for b in read]
            if resampler is not None:
                spans_read = zip(read, blocks, strict=True)
                work += [_delayed(tasks.resampled)(b, shared, start) for b, (start, _) in spans_read]

            def tell(share: float, done: int = done) -> None:
                if progress is not None:
                    progress((done + share) / len(rounds))

            pieces = self._workers.gather(work, tell)
            found += pieces[: len(read)]
            if resampler is not None:
                for piece in pieces[len(read) :]:
                    resampler.place(piece)
        parts = {name: np.concatenate([f[name] for f in found]).astype(np.float64) for name in found[0]}
        return assemble_profiles(parts, groups, sizes, names, tuple(map(float, quantiles)), basis)

    # --- graphs ---

    def _joined_totals(self, found: list[NDArray[np.float64]], report: MatrixReport) -> NDArray[np.float64]:
        """Totals of cells from those of slices."""
        if self._on_disk.axis == 0:
            return np.concatenate(found)
        if report.integer_valued or report.transform != "normalise":
            whole: NDArray[np.float64] = np.sum(found, axis=0)
            return whole
        # The sum of slices of genes is rounded: add them anew, one after the other.
        totals = _delayed(np.zeros(self._on_disk.shape[0]))
        for part in self._parts():
            totals = _delayed(tasks.totals_after)(part, totals)
        added: NDArray[np.float64] = self._workers.gather([totals])[0]
        return added

    def _components(
        self, features: NDArray[np.intp], moments: Moments, params: ClusteringParameters
    ) -> Components:
        return self.components(features, moments, n_components=params.n_pcs, clip=params.clip)

    def _feature_blocks(self, features: NDArray[np.intp]) -> list[Any]:
        """Tasks that give the chosen features of spans of cells."""
        wanted, cells = _delayed(features), self._subtrees(len(features))
        if self._on_disk.axis == 0:
            return [_delayed(tasks.features_of_cells)(self._part(span), wanted) for span in cells]
        totals = self._travelling_totals()
        cut = [_delayed(tasks.feature_pieces, nout=len(cells))(part, wanted, totals, cells) for part in self._parts()]
        return [_delayed(tasks.joined_genes)([pieces[i] for pieces in cut], wanted) for i in range(len(cells))]

    def _subtrees(self, n_genes: int) -> list[Span]:
        """Spans of cells that are summed by one task each, as far as ``n_genes`` average genes are concerned."""
        n_cells, n_all = self._on_disk.shape
        per_cell = max(self._on_disk.n_values * n_genes / (n_all * n_cells), 1.0)
        return subtree_spans(n_cells, per_cell, self._part_values, self._workers.count)

    def _rounds(self) -> list[list[Span]]:
        """Spans of genes, a few at a time so that their values fit half the memory of all workers."""
        matrix = self._on_disk
        n_genes = matrix.shape[1]
        per_gene = max(matrix.n_values / n_genes, 1.0)
        step = max(1, min(int(self._part_values / per_gene), -(-n_genes // self._workers.count)))
        blocks = spans(n_genes, step)
        memory = self._workers.memory  # asked for once: workers come and go
        if matrix.axis == 1 or memory is None:
            return [blocks]
        room = memory * self._workers.count / 2
        at_once = max(int(room / (2 * _BYTES_PER_VALUE * per_gene * step)), self._workers.count)
        return [blocks[i : i + at_once] for i in range(0, len(blocks), at_once)]

    def _gene_blocks(self, blocks: list[Span]) -> list[Any]:
        """Tasks that give spans of genes over all cells, float32 CSC."""
        if self._on_disk.axis == 1:
            totals = self._travelling_totals()
            return [_delayed(tasks.genes)(self._part(span), totals) for span in blocks]
        cut = [_delayed(tasks.gene_pieces, nout=len(blocks))(part, blocks) for part in self._parts()]
        return [_delayed(tasks.joined_cells)([pieces[i] for pieces in cut]) for i in range(len(blocks))]

    def _parts(self) -> list[tasks.Part]:
        return [self._part(span) for span in self._on_disk.parts(self._part_values, self._workers.count)]

    def _part(self, span: Span) -> tasks.Part:
        return tasks.Part(self._on_disk, span, self._transform)

    def _travelling_totals(self) -> Any:
        """Totals of cells where slices of genes need them, as one task that all share."""
        needed = self._on_disk.axis == 1 and self._transform == "normalise"
        return _delayed(self._sums()) if needed else None

    def _sums(self) -> NDArray[np.float64]:
        if self._totals is None:
            msg = "inspect the matrix first"
            raise RuntimeError(msg)
        return self._totals

    @property
    def _on_disk(self) -> DiskMatrix:
        if self._matrix is None:
            msg = "inspect the matrix first"
            raise RuntimeError(msg)
        return self._matrix

    def _require_file(self) -> None:
        """Compare what the workers see with what is seen here."""
        version, size = tasks.file_seen(self._on_disk.path)
        for worker, (theirs, seen) in self._workers.everywhere(tasks.file_seen, self._on_disk.path).items():
            if seen != size:
                what = "does not see" if seen < 0 else "sees another file at"
                msg = f"the Dask worker {worker} {what} {self._on_disk.path}: all workers must see the same files"
                raise InputError(msg)
            if theirs != version:
                msg = f"the Dask worker {worker} runs cellkey {theirs}, this process {version}: install the same"
                raise RunError(msg)


def _delayed(value: Any, **options: Any) -> Any:
    from dask import delayed

    return delayed(value, **options)
