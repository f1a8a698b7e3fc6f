"""Unassigned genes join the module whose eigengene one of their features follows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellkey.isoforms.correlation import bh, correlation_pvalues
from cellkey.isoforms.eigengenes import eigengene

__all__ = ["attach_genes"]

Array = NDArray[np.float64]

MIN_MEMBERSHIP = 0.3
"""Rows below this absolute correlation do not shape the eigengene that genes are attached to."""


def attach_genes(
    rows: Array,
    genes: NDArray[np.intp],
    module_of_gene: NDArray[np.intp],
    n_modules: int,
    *,
    effective_samples: int,
    fdr: float,
    lead: float,
    rounds: int,
) -> tuple[NDArray[np.intp], int]:
    """Return the module of every gene (-1 for none) after attachment, and how many genes joined.

    Parameters
    ----------
    rows, genes
        Unit feature rows and the gene number of each.
    module_of_gene
        Module number of every gene, -1 for unassigned.
    fdr, lead
        A row joins its best module when its p value, times the number of modules, passes this FDR among the rows
        of unassigned genes, and its absolute correlation leads over the second module by more than ``lead``.
    """
    assigned = module_of_gene.copy()
    joined = 0
    for _ in range(rounds if n_modules else 0):
        profiles = np.array([_profile(rows[assigned[genes] == m]) for m in range(n_modules)])
        free = np.flatnonzero(assigned[genes] < 0)
        if not free.size:
            break
        chosen = _joining_rows(np.abs(rows[free] @ profiles.T), effective_samples, fdr, lead)
        new = 0
        for row, module in chosen:
            gene = genes[free[row]]
            if assigned[gene] < 0:
                assigned[gene] = module
                new += 1
        joined += new
        if not new:
            break
    return assigned, joined


def _profile(rows: Array) -> Array:
    first = eigengene(rows)
    strong = np.abs(first.kme) >= MIN_MEMBERSHIP
    return eigengene(rows[strong]).values if strong.sum() >= 3 else first.values


def _joining_rows(size: Array, effective_samples: int, fdr: float, lead: float) -> list[tuple[int, int]]:
    """Rows that join, strongest first, with their module."""
    n_modules = size.shape[1]
    best = size.argmax(axis=1)
    strongest = size[np.arange(len(size)), best]
    second = np.partition(size, -2, axis=1)[:, -2] if n_modules > 1 else np.full(len(size), -np.inf)
    pvalues = np.minimum(correlation_pvalues(strongest, effective_samples) * n_modules, 1.0)
    passing = (bh(pvalues) <= fdr) & (strongest - second > lead)
    rows = np.flatnonzero(passing)
    return [(int(i), int(best[i])) for i in rows[np.argsort(-strongest[rows], kind="stable")]]
