"""All figures of a fit or an explanation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellkey.isoforms.figures import genes, modules
from cellkey.isoforms.figures.prepare import gene_usage, network_view, sample_groups, switch_genes
from cellkey.isoforms.figures.trees import feature_dendrogram
from cellkey.isoforms.figures.usage import usage_heatmap, usage_violins
from cellkey.isoforms.parquet import read_parquet
from cellkey.plots._style import figure_of, save
from cellkey.records.atomic import safe_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from cellkey.isoforms.explanation import ModuleExplanation
    from cellkey.isoforms.fit_files import FitFiles

__all__ = ["DPI", "explanation_figures", "fit_figures", "main_trait", "write_fit_figures"]

DPI = 150
_TESTS = {"welch_t": "Welch's t", "anova": "analysis of variance", "pearson": "Pearson's r", "spearman": "Spearman's r"}


def main_trait(fit: FitFiles, module: str | None = None) -> str | None:
    """Return the trait with the smallest p value (of one module or all), of those with groups if there is one."""
    samples = _samples(fit)
    traits = fit.table("traits")
    if module is not None:
        traits = traits[traits["module_id"] == module]
    if samples is None or not len(traits):
        return None
    order = traits.sort_values(["pvalue", "trait"], kind="stable")["trait"].drop_duplicates()
    known = [t for t in order if t in samples.columns]
    grouped = [t for t in known if sample_groups(samples[t]) is not None]
    return str((grouped or known)[0]) if known else None


def _samples(fit: FitFiles) -> pd.DataFrame | None:
    path = fit.directory / "samples.parquet"
    if not path.is_file():
        return None
    table = read_parquet(path)
    return table.set_index(table["sample_id"].astype(str)).loc[fit.sample_ids].reset_index(drop=True)


def fit_figures(fit: FitFiles, *, most_modules: int = 6) -> Iterator[tuple[str, Figure]]:
    """Yield name and figure: whole fit first, then the largest modules."""
    samples, trait, names = _samples(fit), main_trait(fit), fit.gene_names
    traits, roles, membership = (fit.table(t) for t in ("traits", "module_gene_roles", "module_membership"))
    yield "module_trait_heatmap", figure_of(modules.module_trait_heatmap(traits))
    yield "eigengene_heatmap", figure_of(modules.eigengene_heatmap(fit.eigengenes, samples, trait))
    yield "role_scatter", figure_of(modules.role_scatter(roles))
    thresholds = fit.directory / "soft_threshold.parquet"
    if thresholds.is_file():
        needed = fit.config()["parameters"]["wgcna"]["min_scale_free_r2"]
        yield "soft_threshold", modules.soft_threshold_diagnostics(read_parquet(thresholds), min_r2=needed)
    tree = fit.directory / "feature_tree.parquet"
    if tree.is_file():
        yield "feature_dendrogram", feature_dendrogram(read_parquet(tree), fit.table("feature_modules"))
    edges = fit.table("edges")
    usage = fit.table("transcript_usage").set_index("sample_id").reindex(fit.sample_ids)
    meta = fit.table("feature_meta")
    for module in list(fit.modules)[:most_modules]:
        view = network_view(edges, membership, roles, module, names=names)
        yield f"{module}_network", figure_of(modules.module_network(view, module=module))
        trait = main_trait(fit, module)
        if samples is not None and trait is not None:
            profile = _profile(fit, module)
            row = traits[(traits["module_id"] == module) & (traits["trait"] == trait)].iloc[0]
            detail = (
                f"{_TESTS.get(str(row['test']), str(row['test']))}, p = {row['pvalue']:.2g}, q = {row['qvalue']:.2g}"
            )
            figure = figure_of(modules.eigengene_by_trait(profile, samples[trait], module=module, detail=detail))
            yield f"{module}_eigengene_by_trait", figure
            gene = _strongest_switch(membership, meta, module)
            if gene is not None:
                yield (
                    f"{module}_switch_plot",
                    genes.switch_plot(gene_usage(usage, meta, gene), samples[trait], gene=names.get(gene, gene)),
                )


def _profile(fit: FitFiles, module: str) -> np.ndarray:
    stored = fit.eigengenes.set_index(fit.eigengenes["module_id"].astype(str))
    return stored.loc[module, fit.sample_ids].to_numpy(dtype=np.float64)


def _strongest_switch(membership: pd.DataFrame, meta: pd.DataFrame, module: str) -> str | None:
    own = membership[(membership["module_id"] == module) & (membership["feature_type"] == "switch")]
    own = own[own["gene_id"].isin(meta["gene_id"])]
    if not len(own):
        return None
    order = own.assign(size=own["kme"].abs().round(9)).sort_values(
        ["size", "gene_id"], ascending=[False, True], kind="stable"
    )
    return str(order["gene_id"].iloc[0])


def explanation_figures(
    explanation: ModuleExplanation,
    usage: pd.DataFrame,
    meta: pd.DataFrame,
    profile: np.ndarray,
    names: dict[str, str] | None = None,
) -> Iterator[tuple[str, Figure]]:
    """Yield name and figure of one explained module.

    Parameters
    ----------
    usage, meta
        Samples x features and their metadata; ``profile`` has the same order of samples.
    """
    drivers, contrast, polarity = explanation.gene_drivers, explanation.high_vs_low, explanation.transcript_polarity
    yield "driver_bar", figure_of(genes.driver_ranking(drivers, names=names))
    yield "high_vs_low", figure_of(genes.high_vs_low(contrast, names=names))
    yield "transcript_polarity", figure_of(genes.transcript_polarity(polarity, names=names))
    yield "switch_pair", figure_of(genes.switch_pairs(polarity, names=names))
    top = switch_genes(polarity)
    usages = {(names or {}).get(g, g): gene_usage(usage, meta, g) for g in top}
    yield "usage_heatmap", figure_of(usage_heatmap(usages, profile))
    yield "usage_violins", figure_of(usage_violins(usages, profile))
    gradient = (top[0], gene_usage(usage, meta, top[0])) if top else None
    if gradient is not None:
        label = (names or {}).get(gradient[0], gradient[0])
        yield "isoform_gradient", figure_of(genes.isoform_gradient(gradient[1], profile, gene=label))
    yield (
        "summary_panel",
        genes.summary_panel(drivers, contrast, polarity, gradient, profile, module=explanation.module_id, names=names),
    )


def write_fit_figures(fit: FitFiles, folder: Path) -> list[Path]:
    """Write all figures of a fit into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in fit_figures(fit):
        paths.append(folder / f"{safe_name(name)}.png")
        save(figure, paths[-1], DPI)
    return paths
