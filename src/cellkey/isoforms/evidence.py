"""How much of a module is more than chance: coherence against random genes, stability, preservation elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellkey.isoforms.correlation import bh, unit_rows
from cellkey.isoforms.eigengenes import eigengene
from cellkey.isoforms.feature_matrix import FeatureMatrix
from cellkey.isoforms.tables import MODULE_EVIDENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellkey.isoforms.modules import ModuleSet
    from cellkey.isoforms.settings import EvidenceParameters

__all__ = ["coherence_null", "preservation", "resampled_stability", "select_feature_samples"]

Array = NDArray[np.float64]


def coherence_null(modules: ModuleSet, features: FeatureMatrix, n_null: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return the coherence of every module against random gene sets of its size.

    Coherence is the root mean square correlation between the features of different rows of the module (0 to 1). The
    p value counts random sets that are at least as coherent; it cannot be smaller than ``1 / (n_null + 1)``.
    """
    rows = unit_rows(features.values)
    names, numbers = features.gene_numbers()
    rows_of = np.split(np.argsort(numbers, kind="stable"), np.cumsum(np.bincount(numbers, minlength=len(names)))[:-1])
    place = {g: i for i, g in enumerate(names)}
    records = []
    for (module, genes), generator in zip(modules.members.items(), rng.spawn(len(modules)), strict=True):
        own = np.concatenate([rows_of[place[g]] for g in genes if g in place] or [np.array([], dtype=np.intp)])
        observed = _coherence(rows[own])
        n_draws = n_null if len(genes) <= len(names) else 0
        draws = (generator.choice(len(names), len(genes), replace=False) for _ in range(n_draws))
        null = np.array([_coherence(rows[np.concatenate([rows_of[i] for i in drawn])]) for drawn in draws])
        sd = float(null.std()) if len(null) else np.nan
        records.append(
            {
                "module_id": module,
                "n_genes": len(genes),
                "coherence": observed,
                "mean_abs_kme": float(np.abs(eigengene(features.values[own]).kme).mean()) if own.size else np.nan,
                "null_mean": float(null.mean()) if len(null) else np.nan,
                "null_sd": sd,
                "zscore": (observed - float(null.mean())) / sd if len(null) and sd > 0 else np.nan,
                "pvalue": (1 + int((null >= observed).sum())) / (1 + len(null)) if len(null) else np.nan,
            }
        )
    columns = MODULE_EVIDENCE.names
    table = pd.DataFrame(records, columns=columns[: columns.index("qvalue") + 1])
    return table.assign(qvalue=bh(table["pvalue"].to_numpy(dtype=np.float64)))


def _coherence(rows: Array) -> float:
    """Root mean square off-diagonal correlation, from the smaller Gram matrix."""
    m = len(rows)
    if m < 2:
        return 0.0
    gram = rows @ rows.T if m <= rows.shape[1] else rows.T @ rows
    diagonal = np.einsum("ij,ij->i", rows, rows)
    off = float(np.einsum("ij,ij->", gram, gram)) - float(diagonal @ diagonal)
    return float(np.sqrt(max(off, 0.0) / (m * (m - 1))))


def select_feature_samples(features: FeatureMatrix, positions: NDArray[np.intp]) -> FeatureMatrix:
    """Return the features of some samples, with the removed design taken out again among them."""
    left, sizes, _ = np.linalg.svd(features.basis[positions], full_matrices=False)
    basis = left[:, sizes > 1e-8]
    values = features.values[:, positions]
    values = values - (values @ basis) @ basis.T
    ids = tuple(features.sample_ids[i] for i in positions)
    return FeatureMatrix(values, features.features, ids, basis, features.covariates)


def resampled_stability(
    modules: ModuleSet,
    features: FeatureMatrix,
    refit: Callable[[FeatureMatrix, np.random.Generator], ModuleSet],
    parameters: EvidenceParameters,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return, per module, how well fits on resampled samples find it again.

    Columns ``module_id``, ``n_resamples``, ``jaccard_mean``, ``jaccard_low``, ``jaccard_high`` (best Jaccard with any
    module of a refit; mean and 95 % range), ``coassignment`` (share of the module's gene pairs that share a module).
    """
    best: dict[str, list[float]] = {m: [] for m in modules}
    together: dict[str, list[float]] = {m: [] for m in modules}
    n = features.n_samples
    for generator in rng.spawn(parameters.n_resamples):
        size = n // 2 if parameters.resample == "split" else round(parameters.fraction * n)
        chosen = np.sort(generator.permutation(n)[:size])
        again = refit(select_feature_samples(features, chosen), generator)
        owner = again.module_of
        sets = [set(g) for g in again.members.values()]
        for m, genes in modules.members.items():
            own = set(genes)
            best[m].append(max((len(own & s) / len(own | s) for s in sets), default=0.0))
            together[m].append(_pairs_together([owner.get(g, "") for g in genes]))
    records = [
        {
            "module_id": m,
            "n_resamples": len(best[m]),
            "jaccard_mean": float(np.mean(best[m])),
            "jaccard_low": float(np.quantile(best[m], 0.025)),
            "jaccard_high": float(np.quantile(best[m], 0.975)),
            "coassignment": float(np.mean(together[m])),
        }
        for m in modules
        if best[m]
    ]
    columns = MODULE_EVIDENCE.names
    return pd.DataFrame(records, columns=["module_id", *columns[columns.index("n_resamples") :]])


def _pairs_together(owners: list[str]) -> float:
    counts = pd.Series([o for o in owners if o]).value_counts()
    total = len(owners) * (len(owners) - 1) / 2
    return float((counts * (counts - 1) / 2).sum() / total) if total else 0.0


def preservation(
    modules: ModuleSet,
    reference: FeatureMatrix,
    test: FeatureMatrix,
    *,
    n_permutations: int = 100,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return how far the modules of a reference data set hold in another (after Langfelder et al. 2011).

    Density: mean correlation signed by the reference, and mean absolute membership. Connectivity: correlation across
    features of intramodular connectivity and of membership in both data sets. Every statistic becomes a z score
    against random feature sets of the same size in the test data; ``z_summary`` is the mean of the density and the
    connectivity z (above 10 strong, 2 to 10 moderate, below 2 no evidence), ``median_rank`` ranks modules without
    regard to their size (1 is preserved best). Features that the test data lack are left out.
    """
    position = {f: i for i, f in enumerate(test.feature_ids)}
    shared = [(i, position[f]) for i, f in enumerate(reference.feature_ids) if f in position]
    ref_rows = unit_rows(reference.values[[i for i, _ in shared]])
    test_rows = unit_rows(test.values[[j for _, j in shared]])
    owner = modules.module_of
    owners = np.array([owner.get(str(reference.gene_ids[i]), "") for i, _ in shared], dtype=object)
    records: list[dict[str, Any]] = []
    for m, generator in zip(modules, rng.spawn(len(modules)), strict=True):
        rows = np.flatnonzero(owners == m)
        record: dict[str, Any] = {"module_id": m, "n_features": len(rows)}
        if len(rows) >= 3:
            observed = _preservation_statistics(ref_rows[rows], test_rows[rows])
            null = np.array(
                [
                    _preservation_statistics(
                        ref_rows[rows], test_rows[generator.choice(len(test_rows), len(rows), replace=False)]
                    )
                    for _ in range(n_permutations)
                ]
            )
            sd = null.std(axis=0)
            z = (observed - null.mean(axis=0)) / np.where(sd > 0, sd, np.nan)
            record |= dict(zip(_STATISTICS, observed, strict=True))
            record |= {"z_density": float(np.nanmedian(z[:2])), "z_connectivity": float(np.nanmedian(z[2:]))}
            record["z_summary"] = (record["z_density"] + record["z_connectivity"]) / 2
        records.append(record)
    table = pd.DataFrame(
        records, columns=["module_id", "n_features", *_STATISTICS, "z_density", "z_connectivity", "z_summary"]
    )
    ranks = table[list(_STATISTICS)].rank(ascending=False)
    return table.assign(
        median_rank=(ranks[list(_STATISTICS[:2])].median(axis=1) + ranks[list(_STATISTICS[2:])].median(axis=1)) / 2
    )


_STATISTICS = ("mean_correlation", "mean_membership", "connectivity_correlation", "membership_correlation")


def _preservation_statistics(reference: Array, test: Array) -> Array:
    r_ref, r_test = reference @ reference.T, test @ test.T
    off = ~np.eye(len(reference), dtype=bool)
    k_ref, k_test = np.abs(r_ref).sum(axis=1) - 1, np.abs(r_test).sum(axis=1) - 1
    kme_ref, kme_test = eigengene(reference).kme, eigengene(test).kme
    signs = np.where(kme_ref < 0, -1.0, 1.0)
    agreement = float((signs * kme_test).mean())
    return np.array(
        [
            float((np.sign(r_ref) * r_test)[off].mean()),
            abs(agreement),
            _r(k_ref, k_test),
            _r(kme_ref, kme_test * (1 if agreement >= 0 else -1)),
        ]
    )


def _r(x: Array, y: Array) -> float:
    return float(unit_rows(x[None, :])[0] @ unit_rows(y[None, :])[0])
