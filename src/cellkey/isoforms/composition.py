"""Isoform usage of genes as one coordinate each.

Usage is taken to centred log-ratios; the first principal direction of a gene's log-ratios is its switch
coordinate. All genes with one number of transcripts are decomposed in one batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "GeneBlocks",
    "SwitchCoordinates",
    "centred_log_ratios",
    "gene_blocks",
    "gene_totals",
    "plain_usage",
    "switch_coordinates",
    "transcript_usage",
]

Array = NDArray[np.float64]
Orientation = Literal["reference", "pivot"]

PSEUDOCOUNT = 0.5

NEAR_TIE = 0.1
"""Isoforms whose mean usage is within this of the largest could as well be the largest in other samples."""


@dataclass(frozen=True, slots=True)
class GeneBlocks:
    """Transcripts grouped by gene, both in sorted order.

    Parameters
    ----------
    order
        Positions in the transcript table, sorted by gene id, then transcript id.
    starts, sizes
        First sorted position and number of transcripts of every gene.
    gene_ids, transcript_ids
        Sorted genes, and the transcripts in sorted order.
    """

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    sizes: NDArray[np.intp]
    gene_ids: tuple[str, ...]
    transcript_ids: tuple[str, ...]

    @property
    def gene_of_transcript(self) -> NDArray[np.intp]:
        """Position of the gene of every sorted transcript."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def sums(self, rows: Array) -> Array:
        """Return the sum over the transcripts of every gene (genes x samples) of sorted transcript rows."""
        return np.asarray(np.add.reduceat(rows, self.starts, axis=0))

    def spread(self, rows: Array) -> Array:
        """Return gene rows repeated for every transcript of the gene."""
        return np.repeat(rows, self.sizes, axis=0)


@dataclass(frozen=True, slots=True)
class SwitchCoordinates:
    """Switch coordinates of genes with two transcripts or more.

    Parameters
    ----------
    genes
        Positions in :attr:`GeneBlocks.gene_ids`.
    values
        Genes x samples; not scaled, so that the variance is the size of the isoform change.
    loadings
        Weight of every sorted transcript in the coordinate of its gene; 0 for genes without one.
    variance_share
        Share of the log-ratio variance that the coordinate carries, per entry of ``genes``.
    reference
        Sorted transcript position that fixed the sign, per entry of ``genes``.
    """

    genes: NDArray[np.intp]
    values: Array
    loadings: Array
    variance_share: Array
    reference: NDArray[np.intp]


def gene_blocks(transcripts: pd.DataFrame) -> GeneBlocks:
    """Return the transcripts of a table grouped by gene."""
    genes = transcripts["gene_id"].astype(str).to_numpy(dtype=object)
    ids = transcripts["transcript_id"].astype(str).to_numpy(dtype=object)
    order = np.array(sorted(range(len(ids)), key=lambda i: (genes[i], ids[i])), dtype=np.intp)
    sorted_genes = genes[order]
    first = np.flatnonzero(np.r_[True, sorted_genes[1:] != sorted_genes[:-1]])
    sizes = np.diff(np.r_[first, len(order)])
    return GeneBlocks(order, first, sizes, tuple(sorted_genes[first]), tuple(ids[order]))


def gene_totals(counts: Array, blocks: GeneBlocks) -> Array:
    """Return reads per gene (genes x samples) of counts in table order."""
    return blocks.sums(counts[blocks.order])


def transcript_usage(counts: Array, blocks: GeneBlocks, pseudocount: float = PSEUDOCOUNT) -> Array:
    """Return the share of every sorted transcript in its gene (transcripts x samples), pseudocount added."""
    padded = counts[blocks.order] + pseudocount
    return padded / blocks.spread(blocks.sums(padded))


def plain_usage(counts: Array, blocks: GeneBlocks) -> Array:
    """Return the share without pseudocount; NaN where a gene has no reads in a sample."""
    ordered = counts[blocks.order]
    totals = blocks.spread(blocks.sums(ordered))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(totals > 0, ordered / totals, np.nan))


def centred_log_ratios(usage: Array, blocks: GeneBlocks) -> Array:
    """Return ``ln(usage)`` minus its mean over the transcripts of the gene (transcripts x samples)."""
    logs = np.log(np.clip(usage, 1e-8, 1.0))
    return logs - blocks.spread(blocks.sums(logs) / blocks.sizes[:, None])


def switch_coordinates(
    log_ratios: Array,
    usage: Array,
    blocks: GeneBlocks,
    *,
    orientation: Orientation = "reference",
    principal: NDArray[np.bool_] | None = None,
) -> SwitchCoordinates:
    """Return the switch coordinate of every gene with two transcripts or more.

    Parameters
    ----------
    log_ratios, usage
        Sorted transcripts x samples.
    orientation
        ``reference``: the reference isoform has a positive loading, so that the coordinate rises with its usage;
        it is the annotated principal isoform, else the first by id of those whose mean usage is within
        :data:`NEAR_TIE` of the largest, so that the sign is the same in other samples of the same population.
        ``pivot``: the first of the largest loadings is positive.
    principal
        Sorted transcripts that are annotated as principal.
    """
    centred = log_ratios - log_ratios.mean(axis=1, keepdims=True)
    genes = np.flatnonzero(blocks.sizes >= 2)
    loadings = np.zeros(len(blocks.order))
    share = np.zeros(len(blocks.sizes))
    for size in np.unique(blocks.sizes[genes]):
        members = genes[blocks.sizes[genes] == size]
        positions = blocks.starts[members][:, None] + np.arange(size)
        loadings[positions], share[members] = _first_directions(centred, positions)
    reference = _reference_isoforms(usage, blocks, genes, principal)
    flip = _signs(loadings, blocks, genes, reference, orientation)
    loadings *= np.repeat(flip, blocks.sizes)
    values = blocks.sums(loadings[:, None] * centred)[genes]
    return SwitchCoordinates(genes, values, loadings, share[genes], reference)


def _first_directions(centred: Array, positions: NDArray[np.intp], batch: int = 2048) -> tuple[Array, Array]:
    directions, shares = np.empty(positions.shape), np.empty(len(positions))
    for start in range(0, len(positions), batch):
        rows = centred[positions[start : start + batch]]
        values, vectors = np.linalg.eigh(rows @ rows.transpose(0, 2, 1))
        total = np.maximum(values, 0).sum(axis=1)
        flat = total <= 1e-20 * rows.shape[2]
        directions[start : start + batch] = np.where(flat[:, None], _contrast(positions.shape[1]), vectors[:, :, -1])
        shares[start : start + batch] = np.where(flat, 0.0, values[:, -1] / np.where(flat, 1.0, total))
    return directions, shares


def _contrast(size: int) -> Array:
    """A fixed direction for genes whose usage never changes: their coordinate is 0 whatever it is."""
    direction = np.zeros(size)
    direction[:2] = np.array([1.0, -1.0]) / np.sqrt(2.0)
    return direction


def _reference_isoforms(
    usage: Array, blocks: GeneBlocks, genes: NDArray[np.intp], principal: NDArray[np.bool_] | None
) -> NDArray[np.intp]:
    mean = usage.mean(axis=1)
    best = np.empty(len(genes), dtype=np.intp)
    for i, g in enumerate(genes):
        block = slice(blocks.starts[g], blocks.starts[g] + blocks.sizes[g])
        marked = principal[block] if principal is not None else np.zeros(blocks.sizes[g], dtype=bool)
        # Rounding keeps the choice independent of the order in which samples were summed.
        near = marked if marked.any() else np.round(mean[block], 9) >= np.round(mean[block].max(), 9) - NEAR_TIE
        best[i] = blocks.starts[g] + int(np.argmax(near))
    return best


def _signs(
    loadings: Array, blocks: GeneBlocks, genes: NDArray[np.intp], reference: NDArray[np.intp], orientation: Orientation
) -> Array:
    signs = np.ones(len(blocks.sizes))
    for g, ref in zip(genes, reference, strict=True):
        block = loadings[blocks.starts[g] : blocks.starts[g] + blocks.sizes[g]]
        size = np.abs(block).max()
        pivot = block[np.argmax(np.abs(block) >= size * (1 - 1e-9))]
        use_reference = orientation == "reference" and abs(loadings[ref]) > 1e-6 * size
        signs[g] = -1.0 if (loadings[ref] if use_reference else pivot) < 0 else 1.0
    return signs
