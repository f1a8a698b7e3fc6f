"""The explanation of one module: its genes and transcripts, and what differs between high and low samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cellkey.isoforms import tables
from cellkey.isoforms.correlation import bh, correlation_pvalues, fisher_interval
from cellkey.parameters import Parameters

if TYPE_CHECKING:
    import pandas as pd

    from cellkey.isoforms.explanation_inputs import ExplanationInputs

__all__ = ["ExplainParameters", "ModuleExplanation", "explain_module", "masked_correlations"]

Array = NDArray[np.float64]


class ExplainParameters(Parameters):
    """How modules are explained.

    Parameters
    ----------
    split_percentile
        Samples at or above this percentile of the eigengene are high.
    min_complete_pairs
        Correlations from fewer samples are missing.
    fdr_method
        ``bh`` (Benjamini-Hochberg) or ``by`` (Benjamini-Yekutieli).
    all_features
        Contrast all features of the table, not only those of module genes.
    plot, output_format
        Draw the figures of every module, as ``png`` or ``pdf``.
    vae_attribution, vae_fdr_threshold, vae_percentile_threshold
        Response of the decoder of a fit of the backend ``vae``, and when a driver counts as high confidence.
    integrated_gradients, ig_n_steps, ig_baseline
        Attribution of its encoder: number of steps, and whether the path starts at zero or at the mean sample.
    """

    split_percentile: float = Field(default=50.0, gt=0, lt=100)
    min_complete_pairs: int = Field(default=3, ge=3)
    fdr_method: Literal["bh", "by"] = "bh"
    all_features: bool = False
    plot: bool = False
    output_format: Literal["png", "pdf"] = "png"
    vae_attribution: bool = False
    vae_fdr_threshold: float = Field(default=0.05, gt=0, le=1)
    vae_percentile_threshold: float = Field(default=90.0, ge=0, le=100)
    integrated_gradients: bool = False
    ig_n_steps: int = Field(default=50, ge=2)
    ig_baseline: Literal["zero", "mean"] = "zero"


@dataclass(frozen=True, slots=True)
class ModuleExplanation:
    """Tables of one module; columns as in the written files of the same names."""

    module_id: str
    gene_drivers: pd.DataFrame
    transcript_polarity: pd.DataFrame
    high_vs_low: pd.DataFrame
    summary: dict[str, Any]
    vae_drivers: pd.DataFrame | None = None
    ig_attributions: pd.DataFrame | None = None


def explain_module(inputs: ExplanationInputs, module_id: str, settings: ExplainParameters) -> ModuleExplanation:
    """Return the tables of one module from aligned inputs."""
    genes = set(inputs.fit.modules.members[module_id])
    profile = inputs.profiles[module_id]
    drivers = _gene_drivers(inputs, genes, profile, settings)
    polarity = _polarity(inputs, genes, profile, settings)
    contrast = _high_vs_low(inputs, genes, profile, settings)
    return ModuleExplanation(module_id, drivers, polarity, contrast, _summary(module_id, genes, drivers, polarity))


def masked_correlations(table: Array, profile: Array, min_pairs: int = 3) -> tuple[Array, NDArray[np.int64]]:
    """Return the correlation of every column (samples x features, NaN missing) with a profile, and complete pairs."""
    present = np.isfinite(table) & np.isfinite(profile)[:, None]
    n = present.sum(axis=0)
    x = np.where(present, table, 0.0)
    e = np.where(present, np.nan_to_num(profile)[:, None], 0.0)
    safe = np.maximum(n, 1)
    xc = np.where(present, x - x.sum(axis=0) / safe, 0.0)
    ec = np.where(present, e - e.sum(axis=0) / safe, 0.0)
    sx, se = np.sqrt((xc**2).sum(axis=0)), np.sqrt((ec**2).sum(axis=0))
    constant = (sx <= 1e-12 * np.maximum(np.abs(x).max(axis=0, initial=0.0), 1e-300)) | (se == 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = np.clip((xc * ec).sum(axis=0) / (sx * se), -1.0, 1.0)
    return np.where(constant | (n < min_pairs), np.nan, r), n


def _correlated(meta: pd.DataFrame, values: Array, profile: Array, settings: ExplainParameters) -> pd.DataFrame:
    """Features (rows of ``meta``, columns of ``values``) with their correlation with a profile."""
    r, n = masked_correlations(values, profile, settings.min_complete_pairs)
    p = correlation_pvalues(r, n)
    q = bh(p, settings.fdr_method)
    return meta.assign(r=r, pvalue=p, qvalue=q, n_complete=n, missingness=1 - n / len(profile))


def _gene_drivers(
    inputs: ExplanationInputs, genes: set[str], profile: Array, settings: ExplainParameters
) -> pd.DataFrame:
    rows = np.flatnonzero(inputs.score_meta["gene_id"].isin(genes).to_numpy())
    table = _correlated(inputs.score_meta.iloc[rows], inputs.scores[rows].T, profile, settings)
    low, high = fisher_interval(table["r"].to_numpy(), table["n_complete"].to_numpy())
    table = table.assign(kme_low=low, kme_high=high)
    # Rounding lets equal correlations tie, and then the id decides, whatever the order of samples was.
    table = table.assign(strength=table["r"].abs().fillna(-1.0).round(12)).sort_values(
        ["strength", "gene_id", "feature_type"], ascending=[False, True, False], kind="stable"
    )
    table = table.drop_duplicates("gene_id").drop(columns="strength")
    return tables.GENE_DRIVERS.conform(table[tables.GENE_DRIVERS.names].reset_index(drop=True))


def _polarity(inputs: ExplanationInputs, genes: set[str], profile: Array, settings: ExplainParameters) -> pd.DataFrame:
    meta = inputs.table_meta
    chosen = np.flatnonzero((meta["gene_id"].isin(genes) & (meta["feature_type"] == "transcript_usage")).to_numpy())
    table = _correlated(meta.iloc[chosen], inputs.table[:, chosen], profile, settings)
    by_gene = table.groupby("gene_id")["r"]
    enough = by_gene.transform("count") >= 2
    strength = (by_gene.transform("max") - by_gene.transform("min")).where(enough, 0.0)
    table = table.assign(switch_strength=strength).sort_values(["gene_id", "transcript_id"], kind="stable")
    return tables.TRANSCRIPT_POLARITY.conform(table[tables.TRANSCRIPT_POLARITY.names].reset_index(drop=True))


def _high_vs_low(
    inputs: ExplanationInputs, genes: set[str], profile: Array, settings: ExplainParameters
) -> pd.DataFrame:
    from scipy.stats import t

    meta = inputs.table_meta
    inside = meta["gene_id"].isin(genes).to_numpy()
    chosen = np.arange(len(meta)) if settings.all_features else np.flatnonzero(inside)
    usable = np.isfinite(profile)
    high = usable & (profile >= np.percentile(profile[usable], settings.split_percentile)) if usable.any() else usable
    means, variances, counts = zip(
        *(_moments(inputs.table[np.ix_(g, chosen)]) for g in (high, usable & ~high)), strict=True
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = [v / c for v, c in zip(variances, counts, strict=True)]
        se = np.sqrt(shares[0] + shares[1])
        statistic = (means[0] - means[1]) / se
        df = se**4 / (shares[0] ** 2 / (counts[0] - 1) + shares[1] ** 2 / (counts[1] - 1))
        p = 2 * t.sf(np.abs(statistic), df)
    testable = (counts[0] >= 2) & (counts[1] >= 2) & (se > 0)
    statistic, p = np.where(testable, statistic, np.nan), np.where(testable, p, np.nan)
    table = meta.iloc[chosen][["feature_id", "gene_id"]].assign(
        mean_high=means[0],
        mean_low=means[1],
        delta=means[0] - means[1],
        se=np.where((counts[0] >= 2) & (counts[1] >= 2), se, np.nan),
        tstat=statistic,
        pvalue=p,
        qvalue=bh(p, settings.fdr_method),
        n_high=counts[0],
        n_low=counts[1],
        missingness=1 - np.isfinite(inputs.table[:, chosen]).mean(axis=0),
        in_module=inside[chosen],
    )
    table = table.sort_values(["pvalue", "feature_id"], kind="stable", na_position="last").reset_index(drop=True)
    return tables.HIGH_VS_LOW.conform(table[tables.HIGH_VS_LOW.names])


def _moments(values: Array) -> tuple[Array, Array, NDArray[np.int64]]:
    """Mean, sample variance and number of present values per column."""
    present = np.isfinite(values)
    n = present.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(present, values, 0.0).sum(axis=0) / n
        variance = (np.where(present, values - mean, 0.0) ** 2).sum(axis=0) / (n - 1)
    return mean, np.where(n >= 2, variance, np.nan), n


def _summary(module_id: str, genes: set[str], drivers: pd.DataFrame, polarity: pd.DataFrame) -> dict[str, Any]:
    significant = polarity[polarity["qvalue"] <= 0.05]
    per_gene = polarity.groupby("gene_id")["switch_strength"].max()
    summary: dict[str, Any] = {
        "module_id": module_id,
        "n_module_genes": len(genes),
        "top_driver_genes": list(drivers["gene_id"].head(5)),
        "n_positive_transcripts": int((significant["r"] > 0).sum()),
        "n_negative_transcripts": int((significant["r"] < 0).sum()),
        "n_switch_genes": int((per_gene > per_gene.median()).sum()) if len(per_gene) else 0,
        "mean_abs_driver_r": float(drivers["r"].abs().mean()),
        "top_switch_gene": None,
        "top_switch_pair": None,
        "top_switch_strength": None,
    }
    if len(per_gene) and per_gene.max() > 0:
        top = str(per_gene.round(12).idxmax())
        part = polarity[polarity["gene_id"] == top].dropna(subset=["r"])
        ends = [int(part["r"].argmin()), int(part["r"].argmax())]
        pair = [str(t) for t in part["transcript_id"].iloc[ends]]
        summary |= {"top_switch_gene": top, "top_switch_pair": pair, "top_switch_strength": float(per_gene[top])}
    return summary
