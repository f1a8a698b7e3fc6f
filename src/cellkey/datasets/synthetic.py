"""Generated cells with known labels: RNA counts and protein intensities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellkey.datasets.known_tree import Leaf, leaves, marker_map
from cellkey.errors import ParameterError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

__all__ = ["SyntheticCells", "synthetic_protein", "synthetic_rna"]

_BLOCK_CELLS = 2000


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticCells:
    """Generated cells and the truth about them.

    Parameters
    ----------
    adata
        Cells x variables. ``obs`` has ``true_label``, ``true_path`` and ``true_root`` (text),
        ``true_cluster`` (ids of the leaves, merged where asked for), ``is_doublet`` and ``sample_id``.
    marker_map
        The hierarchy the cells were made from, as a plain dictionary.
    labels
        True leaf of each cell, shape (cells,).
    """

    adata: AnnData
    marker_map: dict[str, Any]
    labels: NDArray[np.str_]


def synthetic_rna(
    n_cells: int = 2000,
    n_genes: int = 1000,
    *,
    density: float = 0.15,
    marker_level: float = 4.0,
    leak: float = 0.005,
    thin: float = 1.0,
    doublets: float = 0.0,
    merged: Sequence[Sequence[str]] = (),
    gates: bool = False,
    proportions: Sequence[float] | None = None,
    seed: int = 0,
) -> SyntheticCells:
    """Return counts of cells of thirteen types in a tree of four roots, with exclusive markers.

    A marker of a node has mean count ``marker_level`` in the cells of its subtree and ``leak`` elsewhere.
    All other genes have levels from a gamma distribution, the same in all types but for a tenth of them,
    which differ between types by a factor of two (standard deviation of the log2) as in real tissue. Counts
    are gamma-Poisson with dispersion 0.4; totals per cell vary log-normally by 0.35.

    Parameters
    ----------
    n_cells, n_genes
        Size; the markers (76) are among the genes.
    density
        Share of counts that are not zero, reached within a tenth of its value before thinning.
    thin
        Share of the molecules kept, drawn binomially from the full counts of the same seed.
    doublets
        Share of cells made of two cells of different leaves; their truth is the first one.
    merged
        Groups of leaf labels that share an id in ``true_cluster``, for tests of refinement.
    gates
        Whether the marker map carries requirements and vetoes for its roots.
    proportions
        Of the leaves, in the order of the map; None takes the same for all.
    seed
        Same seed, same cells.

    Raises
    ------
    ParameterError
        For too few genes, shares out of range or unknown labels.
    """
    import anndata as ad

    nodes = marker_map(gates=gates)
    types = leaves(nodes)
    names = list(dict.fromkeys(m for leaf in types for m in leaf.markers))
    _check(
        n_cells=(n_cells, 1, None), n_genes=(n_genes, len(names) + 10, None), density=(density, 0.001, 0.9)
    )
    _check(thin=(thin, 0.0, 1.0), doublets=(doublets, 0.0, 1.0))
    var_names = [*names, *(f"GENE{i:05d}" for i in range(n_genes - len(names)))]
    rng = np.random.default_rng(seed)
    level = _levels(types, var_names, marker_level, leak, density, rng)
    kind = _kinds(len(types), n_cells, proportions, rng)
    partner = _partners(kind, len(types), doublets, rng)
    # The work is split into blocks with their own randomness, so that more cells leave the first ones as
    # they are.
    blocks = [
        _draw(level, kind[a : a + _BLOCK_CELLS], partner[a : a + _BLOCK_CELLS], thin, block_rng)
        for a, block_rng in zip(
            range(0, n_cells, _BLOCK_CELLS), rng.spawn(-(-n_cells // _BLOCK_CELLS)), strict=True
        )
    ]
    obs = _truth(types, kind, merged)
    obs["is_doublet"] = partner >= 0
    obs["sample_id"] = pd.Categorical(rng.choice(["S1", "S2", "S3"], n_cells))
    adata = ad.AnnData(sp.vstack(blocks, format="csr"), obs=obs, var=pd.DataFrame(index=var_names))
    return SyntheticCells(adata, nodes, obs["true_label"].to_numpy(dtype=str))


def _levels(
    types: list[Leaf],
    names: list[str],
    marker_level: float,
    leak: float,
    density: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Mean counts, types x genes."""
    n_genes = len(names)
    base = rng.gamma(0.5, 1.0, n_genes)
    level = np.tile(base, (len(types), 1))
    varies = rng.random(n_genes) < 0.1
    level[:, varies] *= 2 ** rng.standard_normal((len(types), int(varies.sum())))
    level *= _scale_for_density(level, density)
    all_markers = {m for leaf in types for m in leaf.markers}
    place = {name: i for i, name in enumerate(names)}
    level[:, [place[m] for m in all_markers]] = leak
    for row, leaf in enumerate(types):
        level[row, [place[m] for m in leaf.markers]] = marker_level
    return level


def _scale_for_density(level: NDArray[np.float64], density: float) -> float:
    """Factor that gives gamma-Poisson counts of these means the density wanted, by bisection."""
    low, high = 1e-6, 1e6
    for _ in range(60):
        middle = np.sqrt(low * high)
        # Probability of a zero count is (1 + dispersion * mean) ** (-1 / dispersion).
        found = float((1 - (1 + 0.4 * level * middle) ** -2.5).mean())
        low, high = (middle, high) if found < density else (low, middle)
    return float(np.sqrt(low * high))


def _kinds(
    n_types: int, n_cells: int, proportions: Sequence[float] | None, rng: np.random.Generator
) -> NDArray[np.int64]:
    if proportions is not None and len(proportions) != n_types:
        msg = f"proportions must hold {n_types} numbers, one per leaf, but hold {len(proportions)}"
        raise ParameterError(msg)
    share = np.full(n_types, 1.0) if proportions is None else np.asarray(proportions, dtype=float)
    edges = np.round(np.cumsum(share) / share.sum() * n_cells).astype(int)
    kind = np.searchsorted(edges, np.arange(n_cells), side="right")
    return rng.permutation(kind).astype(np.int64)


def _partners(
    kind: NDArray[np.int64], n_types: int, share: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Type of the second cell of a doublet, -1 for single cells."""
    chosen = rng.random(len(kind)) < share
    other = (kind + rng.integers(1, n_types, len(kind))) % n_types
    return np.where(chosen, other, -1)


def _draw(
    level: NDArray[np.float64],
    kind: NDArray[np.int64],
    partner: NDArray[np.int64],
    thin: float,
    rng: np.random.Generator,
) -> sp.csr_matrix:
    mean = level[kind]
    double = partner >= 0
    mean[double] = (mean[double] + level[partner[double]]) / 1.4  # two cells, not fully captured
    mean *= np.exp(0.35 * rng.standard_normal(len(kind)) - 0.06)[:, None]
    counts = rng.poisson(mean * rng.gamma(2.5, 0.4, mean.shape))
    if thin < 1:
        counts = rng.binomial(counts, thin)
    return sp.csr_matrix(counts.astype(np.float32))


def _truth(types: list[Leaf], kind: NDArray[np.int64], merged: Sequence[Sequence[str]]) -> pd.DataFrame:
    label = np.array([leaf.label for leaf in types])
    cluster = np.arange(len(types))
    for group in merged:
        unknown = [name for name in group if name not in label]
        if unknown:
            msg = f"{unknown[0]!r} is no leaf of the tree{did_you_mean(unknown[0], label)}"
            raise ParameterError(msg)
        members = np.flatnonzero(np.isin(label, list(group)))
        cluster[members] = members.min()
    path = np.array([" / ".join(leaf.path) for leaf in types])
    root = np.array([leaf.path[0] for leaf in types])
    columns = {
        "true_label": label[kind],
        "true_path": path[kind],
        "true_root": root[kind],
        "true_cluster": cluster[kind].astype(str),
    }
    index = pd.Index([f"cell{i:07d}" for i in range(len(kind))])
    return pd.DataFrame({name: pd.Categorical(values) for name, values in columns.items()}, index=index)


def _check(**limits: tuple[float, float, float | None]) -> None:
    for name, (value, low, high) in limits.items():
        if value < low or (high is not None and value > high):
            msg = f"{name} must be at least {low}" + (f" and at most {high}" if high is not None else "")
            msg = f"{msg}, but is {value}"
            raise ParameterError(msg)


def synthetic_protein(
    n_cells: int = 3000,
    n_markers: int = 40,
    *,
    ciliated_purity: float = 0.97,
    ciliated_share: float = 0.15,
    noise: float = 0.35,
    seed: int = 0,
) -> SyntheticCells:
    """Return normalised intensities of a protein panel, dense float32, as from multiplexed imaging.

    The panel holds the markers of the map, ``DAPI``, ``Collagen IV`` and ``Beta-actin`` (measured in every
    cell), and further proteins without meaning. Background is about 0.3, a marker in its cells about 2.5.

    ``obs["true_cluster"]`` puts all epithelial cells into one cluster; one half of it, given in
    ``obs["epithelial_half"]`` as ``"ciliated"``, is ciliated to ``ciliated_purity`` (the rest of it are
    cells of other lineages that imaging mixed in), the other half, ``"rest"``, holds secretory and basal
    cells. Statistics taken inside that cluster show no epithelial marker as enriched, since all its cells
    have it: a splitting method must still call the ciliated half epithelial.

    Parameters
    ----------
    n_markers
        20 to 100; the map takes 19 and the technical markers 3.
    ciliated_share
        Ciliated cells among all; as many others are epithelial.
    noise
        Standard deviation of the intensity.
    """
    import anndata as ad

    nodes = marker_map(protein=True)
    types = leaves(nodes)
    technical = ["DAPI", "Collagen IV", "Beta-actin"]
    listed = list(dict.fromkeys(m for leaf in types for m in leaf.markers))
    _check(
        n_markers=(n_markers, 20, 100), ciliated_purity=(ciliated_purity, 0, 1), n_cells=(n_cells, 1, None)
    )
    listed = listed[: n_markers - len(technical)]
    names = [*listed, *technical]
    names += [f"Protein {i + 1}" for i in range(n_markers - len(names))]
    rng = np.random.default_rng(seed)
    label = [leaf.label for leaf in types]
    kind, half = _protein_kinds(n_cells, label, ciliated_purity, ciliated_share, rng)
    level = np.full((len(types), n_markers), 0.3)
    place = {name: i for i, name in enumerate(names)}
    for row, leaf in enumerate(types):
        level[row, [place[m] for m in leaf.markers if m in place]] = 2.5
    level[:, [place[m] for m in technical]] = [2.0, 1.0, 1.5]
    X = level[kind] * np.exp(0.15 * rng.standard_normal((n_cells, 1)))
    X = np.maximum(X + noise * rng.standard_normal((n_cells, n_markers)), 0).astype(np.float32)
    obs = _truth(types, kind, ())
    epithelial = half != ""
    cluster = obs["true_label"].astype(str).to_numpy(dtype=object)
    cluster[epithelial] = "Epithelium"
    obs["true_cluster"] = pd.Categorical(cluster.astype(str))
    obs["epithelial_half"] = pd.Categorical(half)
    obs["is_doublet"] = False
    obs["sample_id"] = pd.Categorical(rng.choice(["S1", "S2"], n_cells))
    adata = ad.AnnData(X, obs=obs, var=pd.DataFrame(index=names))
    adata.obsm["spatial"] = rng.uniform(0, 1000, (n_cells, 2))
    return SyntheticCells(adata, nodes, obs["true_label"].to_numpy(dtype=str))


def _protein_kinds(
    n_cells: int, label: list[str], purity: float, share: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    ciliated = label.index("Ciliated Epithelium")
    rest = [label.index("Secretory Epithelium"), label.index("Basal Cells")]
    others = [i for i in range(len(label)) if i != ciliated and i not in rest]
    n_half = round(n_cells * share)
    n_pure = round(n_half * purity)
    kind = np.concatenate(
        [
            np.full(n_pure, ciliated),
            np.resize(others, n_half - n_pure),
            np.resize(rest, n_half),
            np.resize(others, max(0, n_cells - 2 * n_half)),
        ]
    )[:n_cells]
    half = np.array(["ciliated"] * n_half + ["rest"] * n_half + [""] * max(0, n_cells - 2 * n_half))[:n_cells]
    order = rng.permutation(n_cells)
    return kind[order].astype(np.int64), half[order]
