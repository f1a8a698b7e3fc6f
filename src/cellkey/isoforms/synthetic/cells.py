"""Single cells with transcript counts: cell types whose isoform modules are known, each in its own type only."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["MARKERS", "simulate_cells"]

MARKERS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "B cell": ("MS4A1", "CD79A", "CD79B", "CD19", "BANK1", "CD22", "PAX5", "TNFRSF13C"),
        "Monocyte": ("CD14", "LYZ", "FCN1", "S100A8", "S100A9", "VCAN", "CSF1R", "MS4A6A"),
        "T cell": ("CD3D", "CD3E", "CD3G", "CD2", "TRAC", "CD5", "CD247", "IL7R"),
    }
)
"""Genes that the cells of a type express most."""

MARKER_FOLD = 12.0
EFFECT = 1.8
"""Change of the log odds of the first transcript per unit of the module's latent value."""


def simulate_cells(
    *,
    n_donors: int = 24,
    cells_per_donor: int = 12,
    module_size: int = 12,
    n_background: int = 150,
    reads: float = 6.0,
    markers: Mapping[str, Sequence[str]] = MARKERS,
    seed: int = 7,
) -> Any:
    """Return an AnnData of cells x transcripts with two transcripts per gene.

    Every cell type has two modules: genes whose usage follows a value of the donor, and its markers, whose expression
    follows another. In cells of other types neither does. Half of the donors are treated, which moves the first.

    Parameters
    ----------
    cells_per_donor
        Cells of every type and donor.
    module_size, n_background
        Genes of the switching module of every type, and genes without a module.
    reads
        Mean reads per gene and cell.
    markers
        Marker genes by cell type.

    Returns
    -------
    Counts in ``X`` (sparse); ``obs`` with ``donor``, ``treatment`` and ``cell_type``; ``var`` with ``gene_id``,
    ``gene_name`` and ``module``, the type and kind of the gene's module (empty for none).
    """
    import anndata
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(seed)
    types = sorted(markers)
    genes, module = _genes(types, markers, module_size, n_background)
    base = rng.normal(0.0, 0.7, len(genes))
    level = reads * rng.lognormal(0.0, 0.4, len(genes))
    treated = np.arange(n_donors) % 2
    blocks, records = [], []
    for kind in types:
        switching = rng.normal(size=n_donors) + 1.2 * treated
        expressed = rng.normal(size=n_donors)
        for d in range(n_donors):
            odds = base + EFFECT * switching[d] * (module == f"{kind}: switch")
            mean = level * np.where(np.isin(genes, list(markers[kind])), MARKER_FOLD, 1.0)
            mean = mean * np.exp(0.6 * expressed[d] * (module == f"{kind}: markers"))
            mean = np.where(np.isin(genes, _others(kind, markers)), 0.05, mean)
            share = 1 / (1 + np.exp(-odds))
            means = np.column_stack([mean * share, mean * (1 - share)]).ravel()
            depth = rng.gamma(8.0, 1 / 8.0, cells_per_donor)
            blocks.append(rng.poisson(depth[:, None] * means[None, :]))
            records += [(f"D{d:02d}", "treated" if treated[d] else "control", kind)] * cells_per_donor
    names = [f"{g}-{i}" for g in genes for i in (201, 202)]
    obs = pd.DataFrame(records, columns=["donor", "treatment", "cell_type"])
    obs.index = [f"cell{i:04d}" for i in range(len(obs))]
    var = pd.DataFrame({"gene_id": np.repeat(genes, 2), "gene_name": np.repeat(genes, 2)}, index=names)
    var["module"] = np.repeat(module, 2)
    return anndata.AnnData(csr_matrix(np.vstack(blocks).astype(np.float32)), obs, var)


def _genes(
    types: Sequence[str], markers: Mapping[str, Sequence[str]], module_size: int, n_background: int
) -> tuple[np.ndarray, np.ndarray]:
    """Names of genes and their modules."""
    genes: list[str] = []
    module: list[str] = []
    for kind in types:
        genes += [*markers[kind], *(f"{kind[0]}SW{i:02d}" for i in range(module_size))]
        module += [*[f"{kind}: markers"] * len(markers[kind]), *[f"{kind}: switch"] * module_size]
    genes += [f"BG{i:03d}" for i in range(n_background)]
    return np.array(genes), np.array([*module, *[""] * n_background])


def _others(kind: str, markers: Mapping[str, Sequence[str]]) -> list[str]:
    return [g for other, genes in markers.items() if other != kind for g in genes]
