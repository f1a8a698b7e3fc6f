"""Markers for checking names: the genes that tell each group from the rest, and those the hierarchy lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellkey.annotation.differential import adjusted_pvalues, against_rest
from cellkey.records.schema import Column, TableSchema

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from cellkey.hierarchy.tree import Hierarchy
    from cellkey.profiles.profile import ClusterProfiles

__all__ = ["ROBUST_MARKERS", "canonical_markers", "robust_markers"]

ROBUST_MARKERS = TableSchema(
    "robust_markers",
    "Genes that pass all limits in a group against all other cells, best first within each group.",
    (
        Column("group", "string", "Group of cells."),
        Column("names", "string", "Gene."),
        Column("scores", "float", "Rank-sum Z of the group against all other cells."),
        Column("logfoldchanges", "float", "Log2 of the ratio of means on the count scale."),
        Column("pvals", "float", "Two-sided p-value, normal approximation."),
        Column("pvals_adj", "float", "Benjamini-Hochberg adjusted over all genes, within the group."),
        Column("pct_nz_group", "float", "Share (0 to 1) of the group's cells above zero."),
        Column("pct_nz_reference", "float", "Share (0 to 1) of all other cells above zero."),
        Column("meets_padj", "bool", "Whether the adjusted p-value is within its limit."),
        Column("meets_logfc", "bool", "Whether the fold change is."),
        Column("meets_min_pct_expr", "bool", "Whether enough of the group's cells express the gene."),
        Column("robust_rank_within_group", "int", "Rank within the group; 1 is the best."),
    ),
)


def robust_markers(
    profiles: ClusterProfiles,
    *,
    min_cells_per_group: int = 10,
    padj_cutoff: float = 0.05,
    logfc_cutoff: float = 0.25,
    min_pct_expr: float = 0.10,
    n_genes: int | None = None,
) -> pd.DataFrame:
    """Return the genes that mark each group, from profiles alone.

    All cells enter the exact rank-sum test, so no cells are drawn and no seed is needed. Genes are ordered by
    adjusted p-value, then by falling fold change, then by name.

    Parameters
    ----------
    profiles
        On the scale of the scoring layer.
    min_cells_per_group
        Groups with fewer cells get no markers; they still count as other cells.
    padj_cutoff, logfc_cutoff, min_pct_expr
        Limits; a value equal to its limit passes.
    n_genes
        Most genes per group; all that pass if None.

    Returns
    -------
    One row per group and gene, with the columns of :data:`ROBUST_MARKERS`.
    """
    from scipy.special import ndtr

    pvals = 2.0 * ndtr(-np.abs(profiles.rank_z))
    adjusted = adjusted_pvalues(pvals)
    change, rest = against_rest(profiles)
    passes = (adjusted <= padj_cutoff) & (change >= logfc_cutoff) & (profiles.detection >= min_pct_expr)
    passes &= (profiles.n_cells >= min_cells_per_group)[:, None]
    names = profiles.var_names.astype(str)
    group, gene = np.nonzero(passes)
    order = np.lexsort((names[gene], -np.round(change[group, gene], 10), adjusted[group, gene], group))
    group, gene = group[order], gene[order]
    sizes = np.bincount(group, minlength=profiles.n_groups)
    rank = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + 1
    kept = rank <= (n_genes if n_genes is not None else len(rank))
    group, gene, rank = group[kept], gene[kept], rank[kept]
    return ROBUST_MARKERS.frame({
        "group": np.array(profiles.groups, dtype=object)[group], "names": names[gene].astype(object),
        "scores": profiles.rank_z[group, gene], "logfoldchanges": change[group, gene], "pvals": pvals[group, gene],
        "pvals_adj": adjusted[group, gene], "pct_nz_group": profiles.detection[group, gene],
        "pct_nz_reference": rest[group, gene], "meets_padj": np.ones(len(group), dtype=bool),
        "meets_logfc": np.ones(len(group), dtype=bool), "meets_min_pct_expr": np.ones(len(group), dtype=bool),
        "robust_rank_within_group": rank,
    })


def canonical_markers(hierarchy: Hierarchy, var_names: Sequence[str] | Iterable[str]) -> tuple[str, ...]:
    """Return the measured markers of a hierarchy, broad types before fine ones, each where it comes first.

    Parameters
    ----------
    hierarchy
        Cell types and markers.
    var_names
        Names of the measured genes; the result uses these names.
    """
    from cellkey.hierarchy.resolution import resolve_names

    found = resolve_names(hierarchy.all_markers(), [str(v) for v in var_names]).found
    by_level = sorted(hierarchy.nodes, key=lambda n: n.level)  # stable: siblings stay as listed
    return tuple(dict.fromkeys(found[m] for n in by_level for m in n.markers if m in found))
