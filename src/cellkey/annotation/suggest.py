"""Which built-in hierarchies explain a data set: all of them judged by their fit beyond chance, and ordered.

Trees that share a branch fit data of that branch alike, so the fit alone cannot choose among them. All whose fit is
within a margin of the best count as comparable; of those, maps of tissues go first, then trees with the least that the
data do not hold: those of whose types the largest share is seen.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cellkey.annotation.hierarchy_fit import hierarchy_fit
from cellkey.errors import NothingToDoError
from cellkey.hierarchy.catalogue import DEFAULT, builtin_names, get_builtin
from cellkey.profiles.means import means_from_profiles
from cellkey.routing.branch_support import route_branches
from cellkey.scoring.enrichment import score_enrichment
from cellkey.scoring.key import MeasuredKey, measure_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from anndata import AnnData

    from cellkey.hierarchy.tree import Hierarchy
    from cellkey.profiles.means import ClusterMeans
    from cellkey.profiles.profile import ClusterProfiles
    from cellkey.records.schema import TableSchema

__all__ = ["candidates_for", "data_suggestions_schema", "suggest_for_cells", "suggest_for_profiles"]

_SCREENS: Final = frozenset({"tissue_origin"})
_PROTEIN: Final = "protein"
_COMPARABLE: Final = 0.1
_SIGNIFICANT: Final = 0.05
_VERDICTS: Final = ("comparable to the best", "fits less well", "no better than chance", "not measured")
_KIND_ORDER: Final = {"tissue": 0, "general": 1}


def candidates_for(values: str) -> dict[str, Hierarchy]:
    """Return the built-in hierarchies to judge for ``counts``, ``log-normalised`` or ``intensity`` values.

    Screens for the tissue of origin are left out, and the map of protein names where genes were counted.
    """
    names = [n for n in builtin_names() if n not in _SCREENS and (n != _PROTEIN or values == "intensity")]
    return {name: get_builtin(name) for name in names}


def suggest_for_profiles(
    profiles: ClusterProfiles,
    hierarchies: Mapping[str, Hierarchy] | None = None,
    *,
    var_columns: Mapping[str, Sequence[str]] | None = None,
    n_permutations: int = 20,
    comparable: float = _COMPARABLE,
    seed: int = 0,
    progress: Callable[[str, float | None], None] | None = None,
) -> pd.DataFrame:
    """Return the hierarchies in the order in which to try them, with the columns of :func:`data_suggestions_schema`.

    Parameters
    ----------
    profiles
        Of the clusters.
    hierarchies
        By name; all built-in ones that suit the values if None.
    var_columns
        Further names of the variables, such as ``gene_symbols``, as long as ``profiles.var_names``.
    n_permutations
        Permutations of gene labels for the null of the fit; 20 can show p = 0.05.
    comparable
        How far below the best a fit may lie to count as comparable; 0.1 is about what one more or less
        cluster of ten changes.
    seed
        Of the permutations.
    progress
        Called with a hierarchy's name and the share done.

    Raises
    ------
    NothingToDoError
        If there are no clusters.

    See Also
    --------
    cellkey.annotation.hierarchy_fit.hierarchy_fit : the criterion.
    """
    if profiles.n_groups == 0:
        msg = "there are no clusters to compare hierarchies on"
        raise NothingToDoError(msg)
    trees = candidates_for(str(profiles.info.get("values", ""))) if hierarchies is None else dict(hierarchies)
    means = means_from_profiles(profiles)
    columns = _columns_of(means, profiles, var_columns or {})
    rows = []
    for i, (name, tree) in enumerate(sorted(trees.items())):
        if progress is not None:
            progress(name, i / len(trees))
        key = measure_key(tree, means.genes, var_columns=columns)
        rows.append(_judged(name, tree, key, means, n_permutations, seed))
    best = max((r["fit"] for r in rows if r["p_value"] <= _SIGNIFICANT), default=np.inf)
    for row in rows:
        row["verdict"] = _verdict(row, best - comparable)
    rows.sort(key=_order)
    return data_suggestions_schema().frame([{**row, "rank": i} for i, row in enumerate(rows, 1)])


def _columns_of(
    means: ClusterMeans, profiles: ClusterProfiles, var_columns: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    first: dict[str, int] = {}
    for i, name in enumerate(profiles.var_names):
        first.setdefault(str(name), i)
    kept = [first[str(g)] for g in means.genes]
    return {column: [str(values[i]) for i in kept] for column, values in var_columns.items()}


def _judged(
    name: str, tree: Hierarchy, key: MeasuredKey, means: ClusterMeans, n_permutations: int, seed: int
) -> dict[str, Any]:
    about = {"name": name, "category": str(tree.metadata.get("category", "general")), "n_cell_types": len(tree)}
    if not any(key.markers):
        zeros = dict.fromkeys(("fit", "explained", "explained_by_chance", "fraction_resolved"), 0.0)
        return {**about, **zeros, "p_value": 1.0, "measured_markers": 0.0, "fraction_types_seen": 0.0,
                "n_types_seen": 0, "types_seen": ()}  # fmt: skip
    fit = hierarchy_fit(means, tree, key=key, n_permutations=n_permutations, seed=seed)
    routed = route_branches(score_enrichment(means, key)).node
    seen = [tree.nodes[i] for i in sorted({int(n) for n in routed if n >= 0})]
    return {
        **about,
        **{k: getattr(fit, k) for k in ("fit", "p_value", "explained", "explained_by_chance", "fraction_resolved",
                                        "measured_markers")},
        "fraction_types_seen": len(seen) / len(tree),
        "n_types_seen": len(seen),
        "types_seen": [n.name for n in seen],
    }  # fmt: skip


def _verdict(row: Mapping[str, Any], limit: float) -> str:
    if row["measured_markers"] == 0:
        return _VERDICTS[3]
    if row["p_value"] > _SIGNIFICANT:
        return _VERDICTS[2]
    return _VERDICTS[0] if round(row["fit"], 10) >= round(limit, 10) else _VERDICTS[1]


def _order(row: Mapping[str, Any]) -> tuple[object, ...]:
    verdict = _VERDICTS.index(row["verdict"])
    fit = -round(row["fit"], 10)
    if verdict:
        return verdict, fit, 0, 0.0, row["name"]
    kind = _KIND_ORDER.get(row["category"], 2)
    return verdict, 0.0, kind, -round(row["fraction_types_seen"], 10), fit, row["name"]


def data_suggestions_schema() -> TableSchema:
    """Return the schema of hierarchies suggested for data."""
    from cellkey.records.schema import Column, TableSchema

    return TableSchema(
        "suggested_for_data.csv",
        "Hierarchies in the order in which to try them on a data set.",
        (
            Column("rank", "int", "Order in which to try them."),
            Column("name", "string", "Hierarchy."),
            Column("category", "string", "Kind of hierarchy."),
            Column("verdict", "string", "How its fit compares with the best one and with chance.", _VERDICTS),
            Column("fit", "float", "Explained support beyond chance, 0 (no more than with permuted genes) to 1."),
            Column("p_value", "float", "Share of permutations that explain as much, counting the data themselves."),
            Column("explained", "float", "Mean support (0 to 1) of the clusters' calls; unresolved clusters count 0."),
            Column("explained_by_chance", "float", "Mean of the same over the permutations."),
            Column("fraction_resolved", "float", "Share (0 to 1) of clusters with a type."),
            Column("measured_markers", "float", "Share (0 to 1) of the listed markers that are measured."),
            Column("n_cell_types", "int", "Number of its types."),
            Column("n_types_seen", "int", "Number of different types the clusters are called by enrichment."),
            Column("fraction_types_seen", "float", "Their share of all its types (0 to 1)."),
            Column("types_seen", "list", "Those types."),
        ),
    )


def suggest_for_cells(
    source: AnnData | str | Path,
    *,
    groupby: str | None = None,
    layer: str | None = None,
    query: str | None = None,
    n_permutations: int = 20,
    progress: Callable[[str, float | None], None] | None = None,
) -> pd.DataFrame:
    """Return the built-in hierarchies in the order in which to try them on cells; nothing is written.

    Parameters
    ----------
    source
        Cells, or a file of them.
    groupby
        Column of ``obs`` with clusters; None clusters the cells with default settings.
    layer
        Layer to use; chosen as by :func:`~cellkey.annotation.cells.annotate` if None.
    query
        Compare only the hierarchies that fit these words, such as ``"colon cancer"``, and the default one.
    n_permutations, progress
        As in :func:`suggest_for_profiles`.
    """
    from cellkey.annotation.cells import annotate
    from cellkey.annotation.inputs import symbol_columns
    from cellkey.hierarchy.matching import match_hierarchy, suggest_hierarchies
    from cellkey.io import read_cells

    wanted: list[str] | None = None
    if query is not None:
        match_hierarchy(query)  # says why where nothing fits
        wanted = [*suggest_hierarchies(query, top_k=len(builtin_names()))["name"], DEFAULT]
    adata = read_cells(source) if isinstance(source, str | Path) else source
    result = annotate(adata, None, groupby=groupby, layer=layer, votes=False, copy=True, progress=progress)
    profiles = result.annotation.profiles
    trees = candidates_for(str(profiles.info.get("values", "")))
    if wanted is not None:
        trees = {name: tree for name, tree in trees.items() if name in wanted}
    return suggest_for_profiles(
        profiles, trees, var_columns=symbol_columns(adata), n_permutations=n_permutations, progress=progress
    )
