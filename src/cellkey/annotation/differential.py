"""Differential expression in the structure that the field's tools read, from profiles alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from cellkey.profiles.profile import ClusterProfiles

__all__ = ["adjusted_pvalues", "against_rest", "fits_hdf5", "rank_genes_groups"]

_N_GENES = 100


def fits_hdf5(groups: Iterable[str]) -> bool:
    """Whether a structure with one field per group fits the 64 KiB that HDF5 gives to the header of a dataset."""
    return sum(60 + len(g.encode()) for g in groups) < 2**16 - 512


def rank_genes_groups(profiles: ClusterProfiles, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return rank-sum results of each group against all other cells, as ``rank_genes_groups`` writes them.

    At most 100 genes per group, by falling Z, ties by name: ``names``, ``scores`` (Z), ``pvals`` (two-sided
    normal), ``pvals_adj`` (Benjamini-Hochberg within the group, over all genes), ``logfoldchanges`` (log2 of
    the ratio of means on the count scale), and ``pts``, ``pts_rest`` (share of cells above zero).
    """
    import pandas as pd
    from scipy.special import ndtr

    z = profiles.rank_z
    pvals = 2.0 * ndtr(-np.abs(z))
    adjusted = adjusted_pvalues(pvals)
    change, rest_detected = against_rest(profiles)
    by_name = np.argsort(profiles.var_names.astype(str), kind="stable")
    order = by_name[np.argsort(-np.round(z[:, by_name], 10), axis=1, kind="stable")][:, :_N_GENES]
    names = profiles.var_names.astype(str)
    shown = np.unique(order)
    groups = list(profiles.groups)

    def table(values: NDArray[Any], kind: str) -> NDArray[Any]:
        columns = {g: values[i][order[i]] if values.ndim == 2 else values[order[i]] for i, g in enumerate(groups)}
        dtype = [(g, f"U{max(1, *(len(v) for v in c))}" if kind == "U" else kind) for g, c in columns.items()]
        out = np.empty(order.shape[1], dtype=dtype)
        for g, column in columns.items():
            out[g] = column
        return out.view(np.recarray)

    def shares(values: NDArray[np.float64]) -> pd.DataFrame:
        return pd.DataFrame(values[:, shown].T, index=names[shown], columns=groups)

    return {
        "params": {
            "groupby": "cluster_lvl0", "reference": "rest", "method": "wilcoxon", "use_raw": False,
            "layer": str(facts["layer"]), "corr_method": "benjamini-hochberg", "tie_correct": True,
        },
        "names": table(names, "U"),
        "scores": table(z, "f8"),
        "pvals": table(pvals, "f8"),
        "pvals_adj": table(adjusted, "f8"),
        "logfoldchanges": table(change, "f4"),
        "pts": shares(profiles.detection),
        "pts_rest": shares(rest_detected),
    }


def adjusted_pvalues(pvals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Benjamini-Hochberg adjusted p-values along the last axis."""
    n = pvals.shape[-1]
    order = np.argsort(pvals, axis=-1)[..., ::-1]
    ranked = np.take_along_axis(pvals, order, -1) * (n / np.arange(n, 0, -1))
    adjusted = np.minimum(np.minimum.accumulate(ranked, axis=-1), 1.0)
    out = np.empty_like(pvals)
    np.put_along_axis(out, order, adjusted, -1)
    return out


def against_rest(profiles: ClusterProfiles) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log2 fold change of means on the count scale, and detection in all other cells; groups x genes."""
    n = profiles.n_cells.astype(np.float64)[:, None]
    total = n.sum()
    rest = np.maximum(total - n, 1.0)
    mean_rest = (profiles.overall_mean[None] * total - profiles.mean * n) / rest
    detected = profiles.detection * n
    detected_rest = (detected.sum(axis=0, keepdims=True) - detected) / rest
    small = 1e-9
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        up = np.expm1(np.clip(profiles.mean, None, 700)) + small
        down = np.expm1(np.clip(mean_rest, None, 700)) + small
        change = np.where((up > 0) & (down > 0), np.log2(up / down), np.nan)
    return change, detected_rest
