"""Weighted co-expression network with topological overlap, native or through R.

Features are clustered; a gene goes to the module to which one of its features belongs most strongly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cellkey.isoforms.backend_settings import WgcnaParameters
from cellkey.isoforms.backends.interface import Backend, Network, edge_frame
from cellkey.isoforms.backends.pairs import best_gene_pairs
from cellkey.isoforms.correlation import unit_rows
from cellkey.isoforms.eigengenes import eigengene
from cellkey.isoforms.modules import ModuleSet
from cellkey.isoforms.wgcna.adjacency import correlation_of_adjacency, raised
from cellkey.isoforms.wgcna.detection import Detection, detect

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellkey.isoforms.feature_matrix import FeatureMatrix

__all__ = ["BACKEND"]

MIN_FEATURES = 4
MIN_EDGE_CORRELATION = 0.1
"""Low powers give nearly every pair a large adjacency; weaker correlations than this are not listed."""


def infer(
    features: FeatureMatrix, parameters: WgcnaParameters, rng: np.random.Generator, reliability: pd.Series
) -> Network:
    """Return modules of genes from modules of features."""
    seed = int(rng.integers(2**31))
    if len(features.values) < MIN_FEATURES:
        return Network(ModuleSet.ranked([]), edge_frame(features, *_NO_PAIRS), {"wgcna_n_modules": 0})
    if parameters.engine == "r":
        from cellkey.isoforms.wgcna.r_engine import detect_in_r

        found = detect_in_r(features.values, parameters)
    else:
        found = detect(features.values, parameters, seed)
    memberships = feature_memberships(features, found.labels)
    modules = _gene_modules(memberships)
    names = modules.module_of
    feature_modules = memberships.assign(module_id=memberships["gene_id"].map(names))
    return Network(
        modules,
        _edges(features, found, parameters),
        _calibration(found, features, modules, parameters),
        None,
        found.merges,
        {"soft_threshold": found.thresholds, "feature_modules": feature_modules} | _tree(found, features),
    )


_NO_PAIRS = (np.array([], dtype=np.intp), np.array([], dtype=np.intp), np.array([]))


def _tree(found: Detection, features: FeatureMatrix) -> dict[str, pd.DataFrame]:
    """The tree with the ids of its leaves: leaf ``i`` is the feature of row ``i``; the last merge has none."""
    if found.tree is None or found.leaves is None:
        return {}
    table = pd.DataFrame(found.tree, columns=["left", "right", "height", "size"])
    table = table.reindex(range(len(found.leaves))).assign(feature_id=features.feature_ids[found.leaves])
    return {"feature_tree": table}


def feature_memberships(features: FeatureMatrix, labels: NDArray[np.intp]) -> pd.DataFrame:
    """Return ``feature_id``, ``gene_id``, ``feature_type``, ``feature_module`` (0 is grey) and ``kme`` in it."""
    kme = np.full(len(labels), np.nan)
    for c in np.unique(labels[labels > 0]):
        rows = np.flatnonzero(labels == c)
        kme[rows] = eigengene(features.values[rows]).kme
    return features.features[["feature_id", "gene_id", "feature_type"]].assign(feature_module=labels, kme=kme)


def _gene_modules(memberships: pd.DataFrame) -> ModuleSet:
    own = memberships[memberships["feature_module"] > 0]
    own = own.assign(strength=own["kme"].abs().round(12)).sort_values(
        ["gene_id", "strength", "feature_id"], ascending=[True, False, True], kind="stable"
    )
    best = own.drop_duplicates("gene_id")
    return ModuleSet.ranked([list(g) for _, g in best.groupby("feature_module")["gene_id"]])


def _edges(features: FeatureMatrix, found: Detection, parameters: WgcnaParameters) -> pd.DataFrame:
    _, numbers = features.gene_numbers()
    rows = unit_rows(features.values)
    threshold = correlation_of_adjacency(parameters.min_adjacency, found.power, parameters.network_type)
    pairs = best_gene_pairs(rows, numbers, max(threshold, MIN_EDGE_CORRELATION), max_pairs=parameters.max_edges)
    signed = parameters.network_type != "unsigned"
    keep = pairs.weight > 0 if signed else np.ones(len(pairs), dtype=bool)
    r = pairs.weight[keep]
    size = np.abs(r)
    base = (1 + size) / 2 if parameters.network_type == "signed" else size
    weight = np.asarray(np.sign(r) * raised(base.copy(), found.power), dtype=np.float64)
    return edge_frame(features, pairs.first[keep], pairs.second[keep], weight)


def _calibration(
    found: Detection, features: FeatureMatrix, modules: ModuleSet, parameters: WgcnaParameters
) -> dict[str, Any]:
    return {
        "wgcna_engine": parameters.engine,
        "wgcna_soft_threshold_power": found.power,
        "wgcna_sft_r2": found.r2,
        "wgcna_scale_free_reached": found.reached,
        "wgcna_n_modules": len(modules),
        "wgcna_n_unassigned_genes": len(features.genes) - len(modules.module_of),
        "wgcna_n_unassigned_features": int((found.labels == 0).sum()),
        "wgcna_merge_cut_height": parameters.merge_cut_height,
        "wgcna_network_type": parameters.network_type,
        "wgcna_block_sizes": list(found.blocks),
        "soft_threshold_table": found.thresholds.to_dict("records"),
    }


BACKEND = Backend(
    name="wgcna",
    description="weighted co-expression network, topological overlap, dynamic hybrid tree cut",
    parameters=WgcnaParameters,
    infer=infer,
)
