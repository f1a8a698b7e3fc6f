"""The default backend: modules from cross-validated subspaces of both channels.

1. Per channel, components that beat row-permuted copies span a subspace; rows that a subspace fitted on other rows
   explains are kept, and a second pass adds components of small modules (``subspace``).
2. Kept rows are projected; Leiden on the cosines of different genes gives modules.
3. Strongly correlated genes among the rest form further modules (rescue).
4. Remaining genes join the module whose eigengene they follow (``attachment``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellkey.isoforms.backend_settings import SpectralParameters
from cellkey.isoforms.backends.attachment import attach_genes
from cellkey.isoforms.backends.communities import leiden_communities
from cellkey.isoforms.backends.interface import Backend, Network, edge_frame
from cellkey.isoforms.backends.pairs import GenePairs, best_gene_pairs
from cellkey.isoforms.backends.subspace import ChannelSubspace, channel_subspace, project
from cellkey.isoforms.correlation import correlation_at, unit_rows
from cellkey.isoforms.eigengenes import merge_close_modules
from cellkey.isoforms.feature_matrix import CHANNELS
from cellkey.isoforms.modules import ModuleSet

if TYPE_CHECKING:
    from cellkey.isoforms.feature_matrix import FeatureMatrix

__all__ = ["BACKEND", "rescue_threshold"]

Array = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class _Found:
    """Communities of gene numbers and the pairs (global row positions) that made them."""

    communities: list[Ints]
    pairs: GenePairs


def rescue_threshold(n_rows: int, effective_samples: int, expected_false_pairs: float = 1.0) -> float:
    """Return the absolute correlation at which the given number of false pairs is expected among all row pairs."""
    p = expected_false_pairs * 2.0 / (n_rows * (n_rows - 1))
    return correlation_at(min(p, 1.0), effective_samples)


def infer(
    features: FeatureMatrix, parameters: SpectralParameters, rng: np.random.Generator, reliability: pd.Series
) -> Network:
    """Return modules of genes. Reliability weights do not enter; the row gate plays their part."""
    genes, numbers = features.gene_numbers()
    rows = unit_rows(features.values)
    seed = int(rng.integers(2**31))
    channels = _subspaces(features, rows, parameters, rng)
    projected = _modules_of_projected(rows, numbers, channels, parameters, seed)
    rescued = _rescue(rows, numbers, projected, parameters, seed, features.effective_samples)
    communities = [*projected.communities, *rescued.communities]
    module = np.full(len(genes), -1, dtype=np.intp)
    for m, members in enumerate(communities):
        module[members] = m
    module, joined = attach_genes(
        rows,
        numbers,
        module,
        len(communities),
        effective_samples=features.effective_samples,
        fdr=parameters.attach_fdr,
        lead=parameters.attach_lead,
        rounds=parameters.attach_rounds,
    )
    found = [[genes[g] for g in np.flatnonzero(module == m)] for m in range(len(communities))]
    merges: list[dict[str, Any]] = []
    if parameters.merge_correlation is not None:
        found, merges = merge_close_modules(found, features, parameters.merge_correlation)
    modules = ModuleSet.ranked(found, min_size=parameters.min_module_size)
    both = [np.concatenate([getattr(f.pairs, n) for f in (projected, rescued)]) for n in ("first", "second", "weight")]
    calibration = _calibration(channels, projected, rescued, joined, len(merges), features, parameters)
    nodes = _nodes(genes, numbers, modules, channels, projected, rescued)
    return Network(modules, edge_frame(features, *both), calibration, nodes, tuple(merges))


def _subspaces(
    features: FeatureMatrix, rows: Array, parameters: SpectralParameters, rng: np.random.Generator
) -> dict[str, tuple[ChannelSubspace, Ints]]:
    """Subspace of every channel with the global positions of its rows."""
    found = {}
    types = features.feature_types
    varying = np.einsum("ij,ij->i", rows, rows) > 0.5
    # Plain centring is the whole design of most analyses, and permuting keeps a row centred.
    restrict = features.remove_design if features.basis.shape[1] > 1 else lambda shuffled: shuffled
    for channel, channel_rng in zip(CHANNELS, rng.spawn(len(CHANNELS)), strict=True):
        positions = np.flatnonzero((types == channel) & varying)
        if positions.size:
            n = features.effective_samples
            found[channel] = (
                channel_subspace(rows[positions], parameters, channel_rng, effective_samples=n, restrict=restrict),
                positions,
            )
    return found


def _modules_of_projected(
    rows: Array,
    numbers: Ints,
    channels: dict[str, tuple[ChannelSubspace, Ints]],
    parameters: SpectralParameters,
    seed: int,
) -> _Found:
    kept, projections = [], []
    for subspace, positions in channels.values():
        if subspace.basis.shape[1] and len(subspace.kept) >= 2:
            chosen = positions[subspace.kept]
            kept.append(chosen)
            projections.append(project(rows[chosen], subspace.basis))
    if not kept:
        return _Found([], _no_pairs())
    positions, values = np.concatenate(kept), np.vstack(projections)
    order = np.argsort(positions, kind="stable")
    return _communities(values[order], positions[order], numbers, parameters.min_cosine, parameters, seed)


def _rescue(
    rows: Array, numbers: Ints, projected: _Found, parameters: SpectralParameters, seed: int, effective_samples: int
) -> _Found:
    taken = np.concatenate([*projected.communities, np.array([], dtype=np.intp)])
    positions = np.flatnonzero(~np.isin(numbers, taken) & (np.einsum("ij,ij->i", rows, rows) > 0.5))
    if len(positions) < 2:
        return _Found([], _no_pairs())
    threshold = rescue_threshold(len(positions), effective_samples)
    return _communities(rows[positions], positions, numbers, threshold, parameters, seed)


def _communities(
    values: Array, positions: Ints, numbers: Ints, threshold: float, parameters: SpectralParameters, seed: int
) -> _Found:
    local = best_gene_pairs(values, numbers[positions], threshold, max_pairs=parameters.max_edges)
    pairs = GenePairs(positions[local.first], positions[local.second], local.weight, local.capped)
    used, compact = np.unique(numbers[np.r_[pairs.first, pairs.second]], return_inverse=True)
    half = len(pairs)
    community = leiden_communities(
        compact[:half],
        compact[half:],
        np.abs(pairs.weight),
        n_nodes=len(used),
        resolution=parameters.resolution,
        seed=seed,
    )
    members = [used[community == c] for c in np.unique(community)]
    return _Found([m for m in members if len(m) >= parameters.min_module_size], pairs)


def _no_pairs() -> GenePairs:
    empty = np.array([], dtype=np.intp)
    return GenePairs(empty, empty, np.array([], dtype=np.float64))


def _calibration(
    channels: dict[str, tuple[ChannelSubspace, Ints]],
    projected: _Found,
    rescued: _Found,
    joined: int,
    n_merges: int,
    features: FeatureMatrix,
    parameters: SpectralParameters,
) -> dict[str, Any]:
    return {
        "community_algorithm": "leiden",
        "resolution": parameters.resolution,
        "effective_samples": features.effective_samples,
        "channels": {
            name: {
                "n_features": len(positions),
                "rank": s.rank,
                "n_kept": len(s.kept),
                "extra_components": s.extra_components,
            }
            for name, (s, positions) in channels.items()
        },
        "n_projected_edges": len(projected.pairs),
        "n_projected_modules": len(projected.communities),
        "n_rescued_edges": len(rescued.pairs),
        "n_rescued_modules": len(rescued.communities),
        "partners_per_row_kept": max(projected.pairs.capped, rescued.pairs.capped),
        "n_attached_genes": joined,
        "n_merges": n_merges,
    }


def _nodes(
    genes: list[str],
    numbers: Ints,
    modules: ModuleSet,
    channels: dict[str, tuple[ChannelSubspace, Ints]],
    projected: _Found,
    rescued: _Found,
) -> pd.DataFrame:
    owner = modules.module_of
    kept = np.zeros(len(genes), dtype=bool)
    for subspace, positions in channels.values():
        kept[numbers[positions[subspace.kept]]] = True
    origin = np.full(len(genes), "", dtype=object)
    for name, found in (("projected", projected), ("rescued", rescued)):
        for members in found.communities:
            origin[members] = name
    degree = np.zeros(len(genes), dtype=np.int64)
    for found in (projected, rescued):
        degree += np.bincount(numbers[np.r_[found.pairs.first, found.pairs.second]], minlength=len(genes))
    assigned = np.array([g in owner for g in genes])
    fate = np.where(
        assigned,
        np.where(origin == "", "attached", origin),
        np.where(degree > 0, "sub_min_module_size", np.where(kept, "isolated", "below_row_gate")),
    )
    return pd.DataFrame(
        {
            "gene_id": genes,
            "fate": fate,
            "module_id": [owner.get(g, "") for g in genes],
            "passed_row_gate": kept,
            "degree": degree,
        }
    )


BACKEND = Backend(
    name="spectral",
    description="cross-validated subspaces of both channels, Leiden on projected cosines, one setting for all data",
    parameters=SpectralParameters,
    infer=infer,
)
