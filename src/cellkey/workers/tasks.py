"""What a worker does with one part of a matrix: plain functions of small values and one slice of the file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from cellkey.clustering._blocks import block_starts
from cellkey.clustering._threads import single_threaded_blas
from cellkey.clustering.features import Moments, gene_moments, moment_sums
from cellkey.clustering.inspect import scan_matrix
from cellkey.clustering.normalise import cell_totals
from cellkey.clustering.pca import FeatureScaling, Products, ScaledBlocks, project, sum_products
from cellkey.io.stored import block_rows
from cellkey.profiles.cell_blocks import canonical_rows
from cellkey.profiles.expression import Expression, factors_from_totals
from cellkey.profiles.profile import gene_statistics, group_sizes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from cellkey.clustering.inspect import Transform
    from cellkey.profiles.profile import PositiveBasis
    from cellkey.profiles.resampling import Piece, Resampler
    from cellkey.profiles.survey import MatrixScan
    from cellkey.workers.matrix import DiskMatrix, Span

__all__ = [
    "Part", "feature_pieces", "features_of_cells", "file_seen", "gene_pieces", "genes", "inspected", "joined_cells",
    "joined_genes", "moments", "products", "resampled", "scores", "statistics", "sums_of_cells", "totals_after",
]


@dataclass(frozen=True, slots=True)
class Part:
    """A slice of a matrix and the way to the scoring scale.

    ``totals`` holds the sum of every cell where a slice of genes is to be normalised; slices of cells find
    their own, so that nothing of the size of the cells travels.
    """

    matrix: DiskMatrix
    span: Span
    transform: Transform = "none"

    def block(self) -> Any:
        """Read the slice: cells as CSR whatever the storage, genes as CSC, as a run in one process reads them."""
        block = self.matrix.read(self.span)
        return block if self.matrix.axis else canonical_rows(block)

    def expression(self, totals: NDArray[np.float64] | None = None) -> Expression:
        """Read the slice and return it on the scoring scale."""
        block = self.block()
        if self.transform == "none":
            return Expression(block)
        if self.transform == "log1p":
            return Expression(block, scale=np.ones(block.shape[0]))
        own = cell_totals(block) if totals is None else totals
        return Expression(block, scale=factors_from_totals(own))

    def blocks(self, features: NDArray[np.intp] | None = None) -> Iterator[Any]:
        """Read a slice of cells a few at a time, on the scoring scale."""
        start, stop = self.span
        for low, high in block_starts(stop - start, block_rows(self.matrix.shape[0], self.matrix.n_values)):
            few = replace(self, span=(start + low, start + high))
            yield from (block for _, block in few.expression().row_blocks(features))


def file_seen(path: str) -> tuple[str, int]:
    """Return the version of cellkey and the size of the file at ``path``, -1 if it is not there."""
    from pathlib import Path

    import cellkey

    source = Path(path)
    found = source.exists()
    return cellkey.__version__, (source.stat().st_size if source.is_file() else 0) if found else -1


def inspected(part: Part) -> tuple[MatrixScan, NDArray[np.float64]]:
    """Return what the values look like, and the total of every cell over this part."""
    block = part.block()
    return scan_matrix(block), cell_totals(block)


def totals_after(part: Part, before: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return totals of cells to which a slice of genes was added, gene by gene."""
    block = part.block()
    totals = before.copy()
    np.add.at(totals, block.indices, block.data)
    return totals


def moments(part: Part, totals: NDArray[np.float64] | None) -> Moments:
    """Return mean and deviation of a slice of genes."""
    return gene_moments(part.expression(totals))


def sums_of_cells(part: Part) -> NDArray[np.float64]:
    """Return sums and sums of squares of all genes over a slice of cells that is a subtree of units."""
    return moment_sums(part.blocks(), part.matrix.shape[1])


def features_of_cells(part: Part, features: NDArray[np.intp]) -> sp.csr_matrix:
    """Return the chosen features of a slice of cells on the scoring scale, float32."""
    return sp.vstack(list(part.blocks(features)), format="csr")


def feature_pieces(
    part: Part, features: NDArray[np.intp], totals: NDArray[np.float64] | None, cells: Sequence[Span]
) -> list[sp.csr_matrix]:
    """Return the chosen features of a slice of genes, cut into spans of cells; features in order of position."""
    start, stop = part.span
    inside = np.sort(features[(features >= start) & (features < stop)]) - start
    turned = sp.csr_matrix(part.expression(totals).columns(inside))
    return [turned[a:b] for a, b in cells]


def joined_genes(pieces: Sequence[sp.csr_matrix], features: NDArray[np.intp]) -> sp.csr_matrix:
    """Return the features of one span of cells in the order asked for, from the pieces of all slices of genes."""
    block = sp.hstack(pieces, format="csr")
    place = np.empty(len(features), dtype=np.int64)
    place[np.argsort(features, kind="stable")] = np.arange(len(features))
    chosen = sp.csr_matrix(block[:, place])
    chosen.sort_indices()
    return chosen


def products(block: Any, scaling: FeatureScaling) -> Products:
    """Return sums and products of scaled features over a block of cells that is a subtree of units."""
    return sum_products(_scaled(block, scaling), block.shape[1])


def scores(
    block: Any, scaling: FeatureScaling, mean: NDArray[np.float64], loadings: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the components of a block of cells."""
    with single_threaded_blas():
        return project(_scaled(block, scaling), scaling.offset, mean, loadings, block.shape[0])


def _scaled(block: Any, scaling: FeatureScaling) -> ScaledBlocks:
    return ScaledBlocks(Expression(block), None, None, block.shape[0], scaling)


def gene_pieces(part: Part, spans: Sequence[Span]) -> list[sp.csc_matrix]:
    """Return a slice of cells cut into spans of genes."""
    expression = part.expression()
    return [expression.columns(np.arange(start, stop)) for start, stop in spans]


def joined_cells(pieces: Sequence[sp.csc_matrix]) -> sp.csc_matrix:
    """Return one span of genes over all cells, from the pieces of all slices of cells in order."""
    return sp.vstack(pieces, format="csc")


def genes(part: Part, totals: NDArray[np.float64] | None) -> sp.csc_matrix:
    """Return a slice of genes over all cells."""
    return part.expression(totals).columns(np.arange(part.span[1] - part.span[0]))


def statistics(
    block: sp.csc_matrix, codes: NDArray[Any], n_groups: int, quantiles: Sequence[float], basis: PositiveBasis
) -> dict[str, NDArray[np.float64]]:
    """See :func:`~cellkey.profiles.profile.gene_statistics`; ``codes`` may be of any integer type."""
    groups = codes.astype(np.int32)
    return gene_statistics(block, groups, group_sizes(groups, n_groups), np.asarray(quantiles, dtype=np.float64), basis)


def resampled(block: sp.csc_matrix, resampler: Resampler, start: int) -> Piece | None:
    """See :meth:`~cellkey.profiles.resampling.Resampler.piece`."""
    return resampler.piece(block, start)
