"""From similarities of features to a graph of genes and its modules, shared by the backends that threshold.

Rules for two features of different genes: two abundance features join only where that is asked for; features of
different channels join only when one of the genes has no switch feature; the threshold depends on the channels; the
strongest pair of features stands for the pair of genes. Negative edges are listed and never form modules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellkey.isoforms.backends.communities import connected_components, core_members, leiden_communities
from cellkey.isoforms.backends.interface import Network, edge_frame
from cellkey.isoforms.backends.pairs import strongest_per_gene_pair
from cellkey.isoforms.feature_matrix import ABUNDANCE, SWITCH, FeatureMatrix
from cellkey.isoforms.modules import ModuleSet

if TYPE_CHECKING:
    from cellkey.isoforms.backend_settings import GeneGraphParameters

__all__ = ["Candidates", "candidate_pairs", "dense_similarity", "gene_graph_network"]

Array = NDArray[np.float64]
Ints = NDArray[np.intp]
SimilarityBlock = Callable[[int, int], Array]
"""``block(start, stop)`` returns rows ``start:stop`` of the similarity (rows x features)."""

BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Candidates:
    """Feature pairs that the rules allow, before the threshold between abundance features is chosen."""

    first: Ints
    second: Ints
    weight: Array
    both_abundance: NDArray[np.bool_]
    both_switch: NDArray[np.bool_]

    def __getitem__(self, keep: NDArray[np.bool_] | Ints) -> Candidates:
        return Candidates(*(getattr(self, name)[keep] for name in _CANDIDATE_FIELDS))


_CANDIDATE_FIELDS = ("first", "second", "weight", "both_abundance", "both_switch")


def dense_similarity(matrix: Array) -> SimilarityBlock:
    """Return the block reader of a similarity held in memory."""
    return lambda start, stop: matrix[start:stop]


def candidate_pairs(
    features: FeatureMatrix, similarity: SimilarityBlock, parameters: GeneGraphParameters, reliability: pd.Series
) -> Candidates:
    """Return all feature pairs that pass the rules; abundance pairs at the lowest threshold in question."""
    _, genes = features.gene_numbers()
    types = features.feature_types
    switch, abundance = types == SWITCH, types == ABUNDANCE
    owns_switch = np.zeros(genes.max(initial=-1) + 1, dtype=bool)
    owns_switch[genes[switch]] = True
    trust = np.sqrt(reliability.reindex(features.gene_ids).fillna(1.0).to_numpy(dtype=np.float64))
    alphas = (
        _lowest(parameters.alpha_switch_grid, parameters.alpha_switch, parameters.alpha),
        _lowest(parameters.alpha_abundance_grid, parameters.alpha_abundance, parameters.alpha),
        parameters.alpha,
    )
    parts = []
    for start in range(0, len(genes), BLOCK):
        stop = min(start + BLOCK, len(genes))
        block = similarity(start, stop)
        i, j = np.nonzero(np.abs(block) >= min(alphas))
        weight, i = block[i, j], i + start
        both_switch, both_abundance = switch[i] & switch[j], abundance[i] & abundance[j]
        mixed = types[i] != types[j]
        weight = np.where(both_switch, weight * trust[i] * trust[j], weight)
        needed = np.where(both_switch, alphas[0], np.where(both_abundance, alphas[1], alphas[2]))
        allowed = (i < j) & (genes[i] != genes[j]) & np.isfinite(weight) & (np.abs(weight) >= needed)
        allowed &= ~(mixed & owns_switch[genes[i]] & owns_switch[genes[j]])
        if not parameters.joins_abundance:
            allowed &= ~both_abundance
        parts.append(Candidates(i, j, weight, both_abundance, both_switch)[allowed])
    return Candidates(*(np.concatenate([getattr(p, name) for p in parts]) for name in _CANDIDATE_FIELDS))


def _lowest(grid: tuple[float, ...] | None, value: float | None, default: float) -> float:
    """The lowest threshold in question: of a grid, else the one of the channel, else the common one."""
    if grid:
        return min(grid)
    return default if value is None else value


def gene_graph_network(
    features: FeatureMatrix,
    similarity: SimilarityBlock,
    parameters: GeneGraphParameters,
    reliability: pd.Series,
    *,
    seed: int,
    calibration: dict[str, Any] | None = None,
) -> Network:
    """Return the gene graph of a similarity and its modules."""
    genes, numbers = features.gene_numbers()
    candidates = candidate_pairs(features, similarity, parameters, reliability)
    report = dict(calibration or {})
    if parameters.alpha_switch_grid:
        alpha, sweep = _select_switch_alpha(candidates, numbers, len(genes), parameters.alpha_switch_grid)
        report |= {"selected_alpha_switch": alpha, "alpha_switch_sweep": sweep}
        candidates = candidates[~candidates.both_switch | (np.abs(candidates.weight) >= alpha)]
    if parameters.alpha_abundance_grid:
        alpha = _select_abundance_alpha(candidates, numbers, len(genes), parameters.alpha_abundance_grid)
        report["selected_alpha_abundance"] = alpha
        candidates = candidates[~candidates.both_abundance | (np.abs(candidates.weight) >= alpha)]
    pairs = candidates[strongest_per_gene_pair(numbers, candidates.first, candidates.second, candidates.weight)]
    positive = pairs[pairs.weight > 0]
    first, second = numbers[positive.first], numbers[positive.second]
    membership, selection = _membership(first, second, positive.weight, len(genes), parameters, seed)
    alive = np.bincount(np.r_[first, second], minlength=len(genes)) > 0
    if parameters.grey_min_intra_degree is not None:
        alive &= core_members(first, second, membership, parameters.grey_min_intra_degree)
    communities = [[genes[g] for g in np.flatnonzero(alive & (membership == c))] for c in np.unique(membership)]
    communities = [c for c in communities if c]
    modules = ModuleSet.ranked(communities, min_size=parameters.min_module_size)
    largest = max((len(c) for c in communities), default=0)
    report["leiden_selection"] = selection | {
        "n_modules": len(communities),
        "giant_fraction": largest / max(int(alive.sum()), 1),
        "seed": seed,
    }
    edges = edge_frame(features, pairs.first, pairs.second, pairs.weight)
    nodes = _nodes(genes, numbers, features, modules, pairs, reliability)
    return Network(modules, edges, report, nodes)


def _membership(
    first: Ints, second: Ints, weight: Array, n_genes: int, parameters: GeneGraphParameters, seed: int
) -> tuple[Ints, dict[str, Any]]:
    if parameters.leiden_resolution is None:
        return connected_components(first, second, n_nodes=n_genes), {
            "mode": "connected_components",
            "resolution": None,
        }
    found = leiden_communities(
        first, second, weight, n_nodes=n_genes, resolution=parameters.leiden_resolution, seed=seed
    )
    return found, {"mode": "fixed", "resolution": parameters.leiden_resolution}


def _select_abundance_alpha(candidates: Candidates, genes: Ints, n_genes: int, grid: tuple[float, ...]) -> float:
    """The smallest candidate at which no component joins genes of two components without abundance edges."""
    without = _components(candidates[~candidates.both_abundance], genes, n_genes)
    sizes = np.bincount(without, minlength=n_genes)
    grouped = np.flatnonzero(sizes[without] >= 2)
    ordered = sorted(grid)
    if not grouped.size:
        return ordered[-1]
    for alpha in ordered:
        kept = candidates[~candidates.both_abundance | (np.abs(candidates.weight) >= alpha)]
        joined = _components(kept, genes, n_genes)
        if len({(int(joined[g]), int(without[g])) for g in grouped}) == len({int(joined[g]) for g in grouped}):
            return alpha
    return ordered[-1]


GIANT = 0.30
"""A component with this share of the connected genes is no module but a graph that has run together."""


def _select_switch_alpha(
    candidates: Candidates, genes: Ints, n_genes: int, grid: tuple[float, ...]
) -> tuple[float, list[dict[str, Any]]]:
    """The smallest candidate at which no component of the switch graph is a giant, else the largest; and the sweep."""
    switch = candidates[candidates.both_switch]
    sweep = []
    for alpha in sorted(grid):
        kept = switch[switch.weight >= alpha]
        connected = np.unique(np.r_[genes[kept.first], genes[kept.second]])
        sizes = np.bincount(_components(kept, genes, n_genes)[connected]) if connected.size else np.zeros(1, dtype=int)
        giant = int(sizes.max())
        sweep.append(
            {
                "alpha_switch": alpha,
                "n_switch_connected": len(connected),
                "giant_size": giant,
                "giant_fraction": round(giant / max(len(connected), 1), 4),
                "n_modules_ge30": int((sizes >= 30).sum()),
            }
        )
    passing = [s["alpha_switch"] for s in sweep if s["n_switch_connected"] and s["giant_fraction"] < GIANT]
    return float(passing[0] if passing else sweep[-1]["alpha_switch"]), sweep


def _components(candidates: Candidates, genes: Ints, n_genes: int) -> Ints:
    positive = candidates[candidates.weight > 0]
    return connected_components(genes[positive.first], genes[positive.second], n_nodes=n_genes)


def _nodes(
    genes: list[str],
    numbers: Ints,
    features: FeatureMatrix,
    modules: ModuleSet,
    pairs: Candidates,
    reliability: pd.Series,
) -> pd.DataFrame:
    owner = modules.module_of
    degree = np.bincount(numbers[np.r_[pairs.first, pairs.second]], minlength=len(genes))
    strongest = np.zeros(len(genes))
    np.maximum.at(strongest, numbers[np.r_[pairs.first, pairs.second]], np.abs(np.r_[pairs.weight, pairs.weight]))
    flags = {}
    for channel in (SWITCH, ABUNDANCE):
        flags[channel] = np.zeros(len(genes), dtype=bool)
        flags[channel][numbers[features.feature_types == channel]] = True
    assigned = np.array([g in owner for g in genes], dtype=bool)
    fate = np.where(assigned, "assigned", np.where(degree > 0, "sub_min_module_size", "isolated_below_alpha"))
    return pd.DataFrame(
        {
            "gene_id": genes,
            "fate": fate,
            "module_id": [owner.get(g, "") for g in genes],
            "has_switch": flags[SWITCH],
            "has_abundance": flags[ABUNDANCE],
            "reliability": reliability.reindex(genes).fillna(1.0).to_numpy(),
            "max_abs_assoc": strongest,
            "degree": degree,
        }
    )
