"""The subspace that the rows of one channel share, and which rows belong to it.

Components are counted against row-permuted copies. A row belongs when a subspace fitted on other rows explains more
of it than chance allows. A second pass on the rows that belong adds the components of small modules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellkey.isoforms.correlation import bh, unit_rows

if TYPE_CHECKING:
    from cellkey.isoforms.backend_settings import SpectralParameters

__all__ = ["ChannelSubspace", "channel_subspace", "project"]

Array = NDArray[np.float64]
Restrict = Callable[[Array], Array]


@dataclass(frozen=True, slots=True)
class ChannelSubspace:
    """Result for one channel.

    Parameters
    ----------
    rank
        Components that beat the permuted copies.
    kept
        Positions of the rows that belong.
    basis
        Samples x components of the final subspace.
    extra_components
        Components added in the second pass.
    """

    rank: int
    kept: NDArray[np.intp]
    basis: Array
    extra_components: int = 0


def channel_subspace(
    rows: Array, parameters: SpectralParameters, rng: np.random.Generator, *, effective_samples: int, restrict: Restrict
) -> ChannelSubspace:
    """Return the shared subspace of feature rows (features x samples, centred, unit norm).

    Parameters
    ----------
    effective_samples
        Samples that tests may count on (fewer than columns when covariates were removed).
    restrict
        Removes the design from permuted rows, so that they have the freedom of the real ones.
    """
    count_rng, fold_rng, extra_rng = rng.spawn(3)
    none = ChannelSubspace(0, np.array([], dtype=np.intp), np.zeros((rows.shape[1], 0)))
    if len(rows) < 2:
        return none
    limit = min(parameters.max_rank, effective_samples - 3, len(rows))
    rank = _count_components(rows, limit, parameters.n_permutations, count_rng, restrict)
    if rank == 0:
        return none
    repeats = parameters.n_fold_repeats or max(5, min(25, 100_000 // len(rows)))
    pvalues = _communality_pvalues(rows, rank, parameters.n_folds, repeats, effective_samples, fold_rng)
    kept = np.flatnonzero(bh(pvalues) <= parameters.row_fdr)
    if len(kept) < 2:
        return ChannelSubspace(rank, kept, np.zeros((rows.shape[1], 0)))
    basis, extra = _second_pass(rows[kept], rank, parameters, extra_rng, effective_samples, restrict)
    return ChannelSubspace(rank, kept, basis, extra)


def _gram(rows: Array) -> Array:
    return rows.T @ rows


def _eigenvalues(rows: Array) -> Array:
    """Eigenvalues of ``rows.T @ rows``, largest first, from the smaller of the two products."""
    small = rows @ rows.T if rows.shape[0] < rows.shape[1] else rows.T @ rows
    return np.asarray(np.linalg.eigvalsh(small.astype(np.float64))[::-1])


def _top_vectors(gram: Array, k: int) -> Array:
    from scipy.linalg import eigh

    n = len(gram)
    _, vectors = eigh(gram, subset_by_index=[n - k, n - 1])
    return np.asarray(vectors[:, ::-1])


def _permuted(rows: Array, rng: np.random.Generator, restrict: Restrict) -> Array:
    """A copy with every row permuted on its own; single precision is enough for a null."""
    shuffled = rng.permuted(rows.astype(np.float32), axis=1)
    return restrict(shuffled)


def _count_components(rows: Array, limit: int, copies: int, rng: np.random.Generator, restrict: Restrict) -> int:
    observed = _eigenvalues(rows)
    null = np.max([_eigenvalues(_permuted(rows, g, restrict)) for g in rng.spawn(copies)], axis=0)
    failed = np.flatnonzero(observed[:limit] <= null[:limit])
    return int(failed[0]) if failed.size else max(limit, 0)


def _communality(rows: Array, rank: int, n_folds: int, rng: np.random.Generator) -> Array:
    """Share of every row in the leading subspace of the rows of other folds."""
    order = rng.permutation(len(rows))
    shuffled = rows[order]
    folds = np.array_split(shuffled, n_folds)
    grams = [_gram(part) for part in folds]
    total = np.sum(grams, axis=0)
    shares = [
        ((part @ _top_vectors(total - gram, rank)) ** 2).sum(axis=1) for part, gram in zip(folds, grams, strict=True)
    ]
    communality = np.empty(len(rows))
    communality[order] = np.concatenate(shares)
    return communality


def _communality_pvalues(
    rows: Array, rank: int, n_folds: int, n_repeats: int, effective_samples: int, rng: np.random.Generator
) -> Array:
    """P value of the communality, averaged over random folds so that no single partition decides.

    The mean of equally distributed shares has less spread than each of them, so its upper tail is the lighter one and
    the test errs on the safe side.
    """
    from scipy.stats import beta

    communality = np.mean([_communality(rows, rank, n_folds, g) for g in rng.spawn(n_repeats)], axis=0)
    # Under independence a unit row meets a fixed subspace of dimension k in Beta(k/2, (n-1-k)/2).
    pvalues = beta.sf(np.clip(communality, 0, 1), rank / 2, (effective_samples - 1 - rank) / 2)
    constant = np.einsum("ij,ij->i", rows, rows) < 0.5
    return np.where(constant, 1.0, pvalues)


def _second_pass(
    rows: Array,
    rank: int,
    parameters: SpectralParameters,
    rng: np.random.Generator,
    effective_samples: int,
    restrict: Restrict,
) -> tuple[Array, int]:
    start = min(rank, len(rows) - 1)
    widest = min(start + parameters.max_extra_components, effective_samples - 2, len(rows) - 1)
    vectors = _top_vectors(_gram(rows), max(widest, start))
    dimension = start
    while dimension < widest:
        basis = vectors[:, :dimension]
        residual = rows - (rows @ basis) @ basis.T
        leading = _eigenvalues(residual)[0]
        null = max(_eigenvalues(_permuted(residual, g, restrict))[0] for g in rng.spawn(parameters.n_permutations))
        # Permuted residuals spread over all directions, the residual itself only over those that are left.
        if leading <= null * (effective_samples - 1) / (effective_samples - 1 - dimension):
            break
        dimension += 1
    return vectors[:, :dimension], dimension - start


def project(rows: Array, basis: Array) -> Array:
    """Return rows projected on a basis, centred, with unit norm."""
    return unit_rows((rows @ basis) @ basis.T)
