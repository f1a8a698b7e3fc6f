"""How well found modules, roles and edges agree with a known truth."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cellkey.isoforms.backends.communities import connected_components
from cellkey.isoforms.bundle import Bundle, FeatureKind
from cellkey.isoforms.correlation import unit_rows
from cellkey.isoforms.feature_matrix import CHANNELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellkey.isoforms.feature_matrix import FeatureMatrix
    from cellkey.isoforms.modules import ModuleSet

__all__ = [
    "agreement",
    "background_assigned",
    "edge_ranking",
    "edge_report",
    "giant_component_fraction",
    "matched_recovery",
    "recovery_null",
    "role_accuracy",
    "role_recall",
    "score_against_truth",
    "true_modules",
]

Sets = Sequence[frozenset[str]]


def true_modules(bundle: Bundle) -> list[frozenset[str]] | None:
    """Return the planted modules of a bundle, or None where it has no truth or plants nothing."""
    truth = bundle.truth(FeatureKind.TRUTH_MODULE)
    if truth is None or not len(truth):
        return None
    return [frozenset(map(str, g)) for _, g in truth.groupby("module_id")["gene_id"]]


def module_recovery(truth: Sets, found: Sets) -> float:
    """Return the mean over true modules of the best Jaccard index with any found module; 0 if either is empty.

    It does not charge for extra modules: read it with :func:`matched_recovery` and the agreement measures.
    """
    if not truth or not found:
        return 0.0
    return float(np.mean([max(_jaccard(t, f) for f in found) for t in truth]))


def matched_recovery(truth: Sets, found: Sets) -> float:
    """Return the mean Jaccard index under the best one-to-one matching of true to found modules."""
    from scipy.optimize import linear_sum_assignment

    if not truth or not found:
        return 0.0
    table = np.array([[_jaccard(t, f) for f in found] for t in truth])
    rows, columns = linear_sum_assignment(-table)
    return float(table[rows, columns].sum() / len(truth))


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b)


def agreement(truth: Sets, modules: ModuleSet, *, assigned_only: bool = False) -> dict[str, float]:
    """Return ARI, AMI, homogeneity, completeness and V over planted genes; unassigned genes are modules of one."""
    from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, homogeneity_completeness_v_measure

    owner = modules.module_of
    labels = [
        (i, owner.get(g, f"\0{g}"))
        for i, genes in enumerate(truth)
        for g in sorted(genes)
        if not assigned_only or g in owner
    ]
    if not labels:
        return dict.fromkeys(("ari", "ami", "homogeneity", "completeness", "v_measure"), 0.0)
    true, found = [t for t, _ in labels], [f for _, f in labels]
    homogeneity, completeness, v = homogeneity_completeness_v_measure(true, found)
    return {
        "ari": float(adjusted_rand_score(true, found)),
        "ami": float(adjusted_mutual_info_score(true, found)),
        "homogeneity": float(homogeneity),
        "completeness": float(completeness),
        "v_measure": float(v),
    }


def background_assigned(truth: Sets, modules: ModuleSet, genes: Sequence[str]) -> float:
    """Return the share of genes outside the truth that are in a module."""
    planted = frozenset().union(*truth) if truth else frozenset()
    background = [g for g in genes if g not in planted]
    owner = modules.module_of
    return sum(g in owner for g in background) / len(background) if background else 0.0


def recovery_null(
    truth: Sets, found: Sets, genes: Sequence[str], *, n: int = 100, rng: np.random.Generator
) -> dict[str, float | None]:
    """Return the recovery of random modules of the found sizes, and how far the observed one exceeds it."""
    observed = module_recovery(truth, found)
    names, sizes = np.array(sorted(genes), dtype=object), [len(f) for f in found]
    draws = []
    for generator in rng.spawn(n):
        order = names[generator.permutation(len(names))]
        cuts = np.cumsum([0, *sizes])
        draws.append(module_recovery(truth, [frozenset(order[a:b]) for a, b in itertools.pairwise(cuts)]))
    mean, sd = float(np.mean(draws)), float(np.std(draws))
    return {
        "mean": mean,
        "sd": sd,
        "excess": observed - mean,
        "zscore": (observed - mean) / sd if sd > 0 else None,
        "pvalue": (1 + sum(d >= observed for d in draws)) / (1 + n),
    }


def role_recall(bundle: Bundle, modules: ModuleSet) -> dict[str, float] | None:
    """Return, per role, the share of its genes that are in the best-matching module of their true module."""
    roles = bundle.truth(FeatureKind.TRUTH_CHANNEL_ROLE)
    if roles is None:
        return None
    planted = roles[roles["module_id"].notna()]
    found = [frozenset(g) for g in modules.members.values()]
    inside: set[str] = set()
    for _, part in planted.groupby("module_id"):
        genes = frozenset(part["gene_id"].astype(str))
        inside |= genes & _best_match(genes, found)
    recall = {}
    for role in ("switch_only", "abundance_only", "coupled", "discordant"):
        own = planted["gene_id"].astype(str)[planted["truth_role"] == role]
        recall[role] = float(own.isin(inside).mean()) if len(own) else 0.0
    return recall


def _best_match(genes: frozenset[str], found: Sets) -> frozenset[str]:
    return max(found, key=lambda f: _jaccard(genes, f)) if found else frozenset()


def role_accuracy(bundle: Bundle, roles: pd.DataFrame, column: str = "module_role") -> dict[str, Any] | None:
    """Return the share of planted module genes with the right role, and the confusion table (truth, then called)."""
    truth = bundle.truth(FeatureKind.TRUTH_CHANNEL_ROLE)
    if truth is None:
        return None
    planted = truth[truth["module_id"].notna()]
    joined = planted.assign(gene_id=planted["gene_id"].astype(str)).merge(roles, on="gene_id", how="inner")
    confusion: dict[str, dict[str, int]] = {}
    for true, part in joined.groupby("truth_role"):
        confusion[str(true)] = {str(called): int(n) for called, n in part[column].value_counts().sort_index().items()}
    correct = float((joined["truth_role"] == joined[column]).mean()) if len(joined) else 0.0
    return {"accuracy": correct, "n_genes": len(joined), "confusion": confusion}


def giant_component_fraction(edges: pd.DataFrame, n_genes: int) -> float:
    """Return the share of genes in the largest connected component of the edge table."""
    if not len(edges) or not n_genes:
        return 0.0
    codes, names = pd.factorize(pd.concat([edges["source"], edges["target"]]))
    half = len(edges)
    component = connected_components(codes[:half], codes[half:], n_nodes=len(names))
    return float(np.bincount(component).max() / n_genes)


def edge_report(edges: pd.DataFrame, truth: Sets) -> dict[str, Any]:
    """Return precision, recall and F1 of edges inside true modules, mean weights, and the ten best-connected genes."""
    module = {g: i for i, genes in enumerate(truth) for g in genes}
    source, target = edges["source"].map(module), edges["target"].map(module)
    inside = (source.notna() & (source == target)).to_numpy()
    pairs = sum(len(t) * (len(t) - 1) / 2 for t in truth)
    precision = float(inside.mean()) if len(edges) else 0.0
    recall = float(inside.sum() / pairs) if pairs else 0.0
    weight = edges["weight"].abs().to_numpy()
    within = float(weight[inside].mean()) if inside.any() else None
    between = float(weight[~inside].mean()) if (~inside).any() else None
    degree = pd.concat([edges["source"], edges["target"]]).value_counts()
    top = sorted(degree.items(), key=lambda item: (-item[1], item[0]))[:10]
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "mean_abs_weight_within": within,
        "mean_abs_weight_between": between,
        "weight_ratio": within / between if within is not None and between else None,
        "top_degree_genes": [{"gene_id": str(g), "degree": int(d)} for g, d in top],
    }


def edge_ranking(features: FeatureMatrix, truth: Sets, *, max_genes: int = 2000) -> dict[str, float] | None:
    """Return AUROC, AUPR and precision at the number of true pairs, ranking all gene pairs by correlation.

    A pair of genes scores the largest absolute correlation of their features. None above ``max_genes``.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    genes = features.genes
    if len(genes) > max_genes or not truth:
        return None
    score = _gene_similarity(features, genes)
    module = {g: i for i, members in enumerate(truth) for g in members}
    label = np.array([module.get(g, -1) for g in genes])
    upper = np.triu_indices(len(genes), 1)
    positive = (label[upper[0]] == label[upper[1]]) & (label[upper[0]] >= 0)
    if not positive.any() or positive.all():
        return None
    values = score[upper]
    best = np.argsort(-values, kind="stable")[: int(positive.sum())]
    return {
        "auroc": float(roc_auc_score(positive, values)),
        "aupr": float(average_precision_score(positive, values)),
        "precision_at_true_pairs": float(positive[best].mean()),
    }


def _gene_similarity(features: FeatureMatrix, genes: list[str]) -> NDArray[np.float64]:
    place = {g: i for i, g in enumerate(genes)}
    rows, types = unit_rows(features.values), features.feature_types
    best = np.zeros((len(genes), len(genes)))
    for a in CHANNELS:
        for b in CHANNELS:
            i, j = np.flatnonzero(types == a), np.flatnonzero(types == b)
            where = np.ix_([place[g] for g in features.gene_ids[i]], [place[g] for g in features.gene_ids[j]])
            # A gene may own several splicing events; every pair counts.
            np.maximum.at(best, where, np.abs(rows[i] @ rows[j].T))
    return best


def score_against_truth(
    bundle: Bundle,
    modules: ModuleSet,
    edges: pd.DataFrame,
    roles: pd.DataFrame,
    features: FeatureMatrix,
    *,
    seed: int = 0,
) -> Mapping[str, Any]:
    """Return all measures for a bundle with truth; an empty mapping for one without."""
    truth = true_modules(bundle)
    if truth is None:
        return {}
    found = [frozenset(g) for g in modules.members.values()]
    assigned = agreement(truth, modules, assigned_only=True)
    return {
        "recovery": module_recovery(truth, found),
        "matched_recovery": matched_recovery(truth, found),
        **agreement(truth, modules),
        **{f"{k}_assigned": v for k, v in assigned.items()},
        "background_assigned": background_assigned(truth, modules, bundle.gene_ids),
        "recovery_null": recovery_null(truth, found, bundle.gene_ids, rng=np.random.default_rng(seed)),
        "edges": edge_report(edges, truth),
        "edge_ranking": edge_ranking(features, truth),
        "role_recall": role_recall(bundle, modules),
        "roles": role_accuracy(bundle, roles),
        "significant_roles": role_accuracy(bundle, roles, "significant_role"),
    }
