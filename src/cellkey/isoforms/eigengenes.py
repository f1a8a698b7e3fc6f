"""The eigengene of a module, how strongly features belong to it, and merging of modules that say the same.

There is one definition: the first right singular vector of the module's z-scored feature rows, unit norm, signed so
that the mean membership is positive (when that is zero, so that the first feature's is).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellkey.isoforms.correlation import bh, correlation_pvalues
from cellkey.isoforms.feature_matrix import FeatureMatrix, zscore_rows
from cellkey.isoforms.tables import MEMBERSHIP

if TYPE_CHECKING:
    from cellkey.isoforms.modules import ModuleSet

__all__ = ["Eigengene", "eigengene", "eigengene_table", "membership_table", "merge_close_modules", "module_eigengenes"]

Array = NDArray[np.float64]
Method = Literal["component", "mean"]


@dataclass(frozen=True, slots=True)
class Eigengene:
    """Profile of a module over samples.

    Parameters
    ----------
    values
        One value per sample, mean 0, unit norm.
    variance_share
        Share of the variance of the z-scored rows that it carries.
    kme
        Pearson correlation of every row with it.
    """

    values: Array
    variance_share: float
    kme: Array


def eigengene(rows: Array, method: Method = "component") -> Eigengene:
    """Return the eigengene of feature rows (features x samples)."""
    z = zscore_rows(rows)
    n = z.shape[1]
    total = float(np.einsum("ij,ij->", z, z))
    if total == 0.0:
        return Eigengene(np.zeros(n), 0.0, np.zeros(len(z)))
    vector = z.mean(axis=0) if method == "mean" else _first_right_vector(z)
    size = float(np.linalg.norm(vector))
    vector = vector / size if size > 0 else vector
    scores = z @ vector
    kme = np.clip(scores / np.sqrt(n), -1.0, 1.0)
    mean = float(kme.mean())
    sign = -1.0 if (mean < 0 if abs(mean) > 1e-9 else kme[0] < 0) else 1.0
    return Eigengene(sign * vector, float(scores @ scores) / total, sign * kme)


def _first_right_vector(z: Array) -> Array:
    if z.shape[0] <= z.shape[1]:
        _, vectors = np.linalg.eigh(z @ z.T)
        return np.asarray(vectors[:, -1] @ z)
    _, vectors = np.linalg.eigh(z.T @ z)
    return np.asarray(vectors[:, -1])


def module_eigengenes(
    modules: ModuleSet, features: FeatureMatrix, method: Method = "component"
) -> dict[str, Eigengene]:
    """Return the eigengene of every module from all features of its genes."""
    return {m: eigengene(features.values[rows], method) for m, rows in modules.feature_rows(features).items()}


def eigengene_table(eigengenes: dict[str, Eigengene], sample_ids: tuple[str, ...]) -> pd.DataFrame:
    """Return ``module_id``, ``variance_share`` and one column per sample."""
    values = np.array([e.values for e in eigengenes.values()]).reshape(len(eigengenes), len(sample_ids))
    table = pd.DataFrame(values, columns=list(sample_ids))
    table.insert(0, "variance_share", [e.variance_share for e in eigengenes.values()])
    table.insert(0, "module_id", list(eigengenes))
    return table


def membership_table(
    modules: ModuleSet,
    features: FeatureMatrix,
    eigengenes: dict[str, Eigengene],
    edges: pd.DataFrame,
    *,
    hub_kme: float = 0.8,
    hub_top: int = 5,
) -> pd.DataFrame:
    """Return how strongly every feature of every module gene belongs to its module.

    ``kme`` is the correlation with the eigengene, ``rank`` the place of the gene in its module by its strongest
    feature, ``is_hub`` marks the first ``hub_top`` genes and all with an absolute membership of ``hub_kme`` or more.
    """
    names = list(modules)
    stacked = np.array([eigengenes[m].values for m in names]).reshape(len(names), features.n_samples)
    degree = _intramodular_degree(modules, edges)
    parts = []
    for m, rows in modules.feature_rows(features).items():
        z = zscore_rows(features.values[rows])
        r = np.clip(z @ stacked.T / np.sqrt(features.n_samples), -1, 1)
        own = r[:, names.index(m)]
        other, best = _best_other(r, names, m)
        part = features.features.iloc[rows][["gene_id", "feature_id", "feature_type"]].assign(
            module_id=m,
            kme=own,
            pvalue=correlation_pvalues(own, features.effective_samples),
            best_other_module=other,
            best_other_kme=best,
        )
        part["rank"] = _gene_ranks(part)
        parts.append(part)
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=MEMBERSHIP.names)
    table["qvalue"] = bh(table["pvalue"].to_numpy(dtype=np.float64))
    strongest = table["kme"].abs().groupby([table["module_id"], table["gene_id"]]).transform("max")
    table["is_hub"] = (table["rank"] <= hub_top) | (strongest >= hub_kme)
    table["intramodular_degree"] = [degree.get(g, 0.0) for g in table["gene_id"]]
    return table.sort_values(["module_id", "rank", "feature_type"], kind="stable").reset_index(drop=True)


def _best_other(r: Array, names: list[str], own: str) -> tuple[list[str], Array]:
    if len(names) < 2:
        return [""] * len(r), np.full(len(r), np.nan)
    others = np.array([n for n in names if n != own], dtype=object)
    rest = r[:, [i for i, n in enumerate(names) if n != own]]
    best = np.abs(rest).argmax(axis=1)
    return list(others[best]), rest[np.arange(len(r)), best]


def _gene_ranks(part: pd.DataFrame) -> NDArray[np.int64]:
    strongest = part["kme"].abs().groupby(part["gene_id"]).max()
    order = sorted(strongest.index, key=lambda g: (-round(float(strongest[g]), 12), g))
    place = {g: i + 1 for i, g in enumerate(order)}
    return np.array([place[g] for g in part["gene_id"]], dtype=np.int64)


def _intramodular_degree(modules: ModuleSet, edges: pd.DataFrame) -> dict[str, float]:
    if not len(edges):
        return {}
    owner = modules.module_of
    source, target = edges["source"].map(owner), edges["target"].map(owner)
    inside = edges[source.notna() & (source == target)]
    weight = inside["weight"].abs()
    both = pd.concat([weight.groupby(inside["source"]).sum(), weight.groupby(inside["target"]).sum()])
    return {str(g): float(v) for g, v in both.groupby(level=0).sum().items()}


def merge_close_modules(
    communities: list[list[str]], features: FeatureMatrix, threshold: float
) -> tuple[list[list[str]], list[dict[str, Any]]]:
    """Merge the two communities of the greatest |r| of eigengenes, until none has more than ``threshold``.

    Returns
    -------
    communities, history
        The merged communities and one mapping per merge: ``step``, ``correlation``, ``sizes``, ``first_genes``.
    """
    position: dict[str, list[int]] = {}
    for i, g in enumerate(features.gene_ids):
        position.setdefault(g, []).append(i)
    current = [sorted(c) for c in communities]
    profiles = [_profile(c, features, position) for c in current]
    history: list[dict[str, Any]] = []
    while len(current) > 1:
        r = np.array(profiles) @ np.array(profiles).T
        strength = np.abs(r)
        np.fill_diagonal(strength, -np.inf)
        a, b = sorted(map(int, np.unravel_index(int(np.argmax(strength)), strength.shape)))
        if strength[a, b] <= threshold:
            break
        pair = (current[a], current[b])
        history.append({
            "step": len(history) + 1, "correlation": float(r[a, b]), "sizes": [len(c) for c in pair],
            "first_genes": [c[0] for c in pair],
        })  # fmt: skip
        current[a] = sorted(current[a] + current[b])
        profiles[a] = _profile(current[a], features, position)
        del current[b], profiles[b]
    return current, history


def _profile(genes: list[str], features: FeatureMatrix, position: dict[str, list[int]]) -> Array:
    return eigengene(features.values[[i for g in genes for i in position[g]]]).values
