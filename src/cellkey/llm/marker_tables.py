"""Marker tables of the common tools, read into one form.

The form has one row per cluster and gene, with the columns of :data:`MARKER_COLUMNS`; numbers that a source
does not give are NaN. Clusters are text from here on.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellkey.errors import CellkeyWarning, InputError, Problem, did_you_mean
from cellkey.llm.identifiers import cluster_id, natural_key
from cellkey.llm.marker_files import read_frame
from cellkey.llm.spreadsheets import neutral_cell, original_cell
from cellkey.records.schema import Column, TableSchema

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

__all__ = ["MARKERS", "MARKER_COLUMNS", "cluster_tissues", "marker_table", "read_marker_table", "written_markers"]

MARKERS = TableSchema(
    "markers.csv",
    "Every tested gene of every cluster, best first.",
    (
        Column("cluster", "string", "cluster identifier"),
        Column("gene", "string", "gene name as in the input"),
        Column("avg_log2FC", "float", "log2 fold change of the mean, cluster against all other cells"),
        Column("pct.1", "float", "fraction of cells of the cluster with any expression, 0 to 1"),
        Column("pct.2", "float", "the same fraction of all other cells"),
        Column("p_val", "float", "two-sided p-value of the rank-sum test"),
        Column("p_val_adj", "float", "p-value adjusted within the cluster (Benjamini-Hochberg)"),
        Column("score", "float", "test statistic; positive where the cluster is higher"),
    ),
)

MARKER_COLUMNS = tuple(MARKERS.names)
_NUMBERS = MARKER_COLUMNS[2:]

_ALIASES = {
    "cluster": ("cluster", "group", "leiden", "louvain", "seurat_clusters"),
    "gene": ("gene", "names", "gene_name", "gene_symbol", "gene_symbols", "genes", "feature_name", "feature", "symbol"),
    "avg_log2FC": ("avg_log2fc", "logfoldchanges", "log2fc", "avg_logfc", "logfc"),
    "pct.1": ("pct.1", "pct_1", "pct_nz_group", "pts"),
    "pct.2": ("pct.2", "pct_2", "pct_nz_reference", "pts_rest"),
    "p_val": ("p_val", "pvals", "pval", "pvalue", "p_value"),
    "p_val_adj": ("p_val_adj", "pvals_adj", "padj", "fdr", "qval"),
    "score": ("score", "scores", "statistic", "wilcoxon_score"),
}
_FIELDS = {"n": "names", "s": "scores", "p": "pvals", "l": "logfoldchanges"}
_FORMS = (
    "Seurat FindAllMarkers (cluster, gene, avg_log2FC, p_val_adj, ...)",
    "scanpy rank_genes_groups_df (group, names, logfoldchanges, pvals_adj, ...)",
    "two columns (cluster, genes separated by commas, semicolons or blanks)",
    "one column of genes per cluster, best first (scanpy's rank_genes_groups names)",
)
_DATE = re.compile(
    r"\d{1,2}-[A-Z][a-z]{2,3}|[A-Z][a-z]{2,3}-\d{1,2}|\d{4}-\d\d-\d\d(?: 00:00:00)?|"
    r"\d{1,2}[/.]\d{1,2}[/.]\d{2,4}|4\d{4}"
)
"""What spreadsheet programs make of SEPT2 or MARCH1: ``2-Sep``, ``Mar-01``, ``2021-09-02``, or the number of a day."""
_ENSEMBL = re.compile(r"ENS[A-Z]*G\d{11}(?:\.\d+)?")
_GENE = re.compile(r"[A-Za-z0-9][\w.:/@()-]*")
_DECIMAL_COMMA = r"^\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*$"


def read_marker_table(path: str | Path) -> pd.DataFrame:
    """Return the marker table in ``path`` in the common form.

    Parameters
    ----------
    path
        ``.csv``, ``.tsv``, ``.txt`` (each also ``.gz``) or ``.parquet``; see
        :func:`cellkey.llm.marker_files.read_frame`.

    Raises
    ------
    InputError
        If the file cannot be read or has none of the known forms.
    """
    file = Path(path)
    return marker_table(read_frame(file), name=str(file))


def marker_table(source: pd.DataFrame | Mapping[str, Any], *, name: str = "the marker table") -> pd.DataFrame:
    """Return a marker table in the common form.

    Parameters
    ----------
    source
        A frame of one of the known forms, scanpy's structured ``rank_genes_groups`` mapping, or a mapping
        from cluster to genes. The source is not changed.
    name
        How to call the table in messages.

    Returns
    -------
    DataFrame
        Columns :data:`MARKER_COLUMNS`; clusters in natural order, rows in the order of the source, each gene
        once per cluster (its best row). Cells that are not numbers become NaN. A cluster for which no gene is listed
        keeps one row, whose gene is empty.

    Warns
    -----
    CellkeyWarning
        If genes are called by dates, which is what spreadsheet programs make of some, or by Ensembl identifiers.

    Raises
    ------
    InputError
        If the form is not known or no cluster is left.
    """
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        frame = _without_index_columns(source)
    elif "names" in source and getattr(source["names"], "dtype", None) is not None:
        frame = _from_structured(source)
    else:
        frame = pd.DataFrame({"cluster": list(source), "genes": [_joined(v) for v in source.values()]})
    table = _checked(_from_lists(frame) if _is_two_columns(frame) else _from_long(_stacked(frame), name), name)
    if tuple(frame.columns) != MARKER_COLUMNS:  # tables that were read before are not judged again
        _warn_of_names(table["gene"].drop_duplicates(), name)
    return table


def cluster_tissues(path: str | Path) -> dict[str, str]:
    """Return the tissue of every cluster of a marker table that has a column ``tissue``; none without one.

    Raises
    ------
    InputError
        If a cluster has several.
    """
    frame = read_frame(Path(path))
    columns = {_folded(c): c for c in frame.columns}
    cluster = next((columns[a] for a in _ALIASES["cluster"] if a in columns), None)
    if "tissue" not in columns or cluster is None:
        return {}
    names = frame[cluster].map(lambda c: original_cell(cluster_id(c)))
    found: dict[str, str] = {}
    for name, tissue in dict.fromkeys(zip(names, frame[columns["tissue"]].map(_plain), strict=True)):
        if name and tissue and found.setdefault(name, tissue) != tissue:
            msg = f"{path}: cluster {name!r} is of {found[name]} and of {tissue}; give each its own identifier"
            raise InputError(msg)
    return found


def _without_index_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame without columns of row numbers, and of tissues, which :func:`cluster_tissues` reads."""
    keep = [c for c in frame.columns if str(c).strip() and not re.fullmatch(r"Unnamed: \d+|[Tt]issue", str(c))]
    return frame[keep]


def _joined(genes: Any) -> str:
    return genes if isinstance(genes, str) else ",".join(str(g) for g in genes)


def _is_two_columns(frame: pd.DataFrame) -> bool:
    """Whether the table is cluster and gene list: never because one cell of a wide table has commas."""
    if frame.shape[1] != 2 or frame.empty:
        return False
    names = {_folded(c) for c in frame.columns}
    if names == {"cluster", "gene"} or names == {"group", "names"}:
        # One gene per row is a long table, unless the cells hold lists.
        return bool(frame.iloc[:, 1].astype(str).str.contains(r"[,;]").any())
    return not (_has_genes_only(frame) and len(frame) > 2 and frame.iloc[:, 0].is_unique)  # two clusters side by side


def _from_lists(frame: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    rows = [
        (cluster_id(cluster), gene)
        for cluster, genes in frame.itertuples(index=False, name=None)
        for gene in [g for g in re.split(r"[,;\s]+", _plain(genes)) if g] or [""]
    ]
    return pd.DataFrame(rows, columns=["cluster", "gene"]).reindex(columns=list(MARKER_COLUMNS))


def _plain(value: Any) -> str:
    return "" if value is None or value != value else str(value).strip()


def _has_genes_only(frame: pd.DataFrame) -> bool:
    """Whether no column has a name that is known here, and every cell is the name of one gene, or empty."""
    known = {alias for aliases in _ALIASES.values() for alias in aliases}
    words = [word for column in frame.columns for value in frame[column] if (word := _plain(value))]
    if known & {_folded(c) for c in frame.columns} or not words:
        return False
    return all(_GENE.fullmatch(w) and not w.replace(".", "").isdigit() for w in words)


def _stacked(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per cluster and gene, where the frame has one column of genes per cluster; else the frame.

    With further columns ``CLUSTER_p`` and the like (the usual way to print scanpy's arrays side by side), the genes are
    in ``CLUSTER_n``.
    """
    import pandas as pd

    parts = [re.fullmatch(r"(.+)_([nspl])", str(c)) for c in frame.columns]
    by_cluster: dict[str, dict[str, Any]] = {}
    for column, part in zip(frame.columns, parts, strict=True):
        cluster, field = (part[1], _FIELDS[part[2]]) if part is not None and all(parts) else (str(column), "names")
        by_cluster.setdefault(cluster, {})[field] = frame[column]
    if not _has_genes_only(pd.DataFrame({c: fields.get("names", "?") for c, fields in by_cluster.items()})):
        return frame
    return pd.concat([pd.DataFrame({"cluster": c, **f}) for c, f in by_cluster.items()], ignore_index=True)


def _from_structured(source: Mapping[str, Any]) -> pd.DataFrame:
    """Scanpy's structured arrays, one field per group; ``pts`` are frames by gene."""
    import pandas as pd

    parts = []
    for group in source["names"].dtype.names:
        genes = [str(g) for g in source["names"][group]]
        part = pd.DataFrame({"cluster": cluster_id(group), "gene": genes})
        for column in _NUMBERS:
            key = next((k for k in _ALIASES[column] if k in source), None)
            if key in ("pts", "pts_rest"):
                part[column] = source[key][group].reindex(genes).to_numpy()
            elif key is not None and group in (source[key].dtype.names or ()):
                part[column] = source[key][group]
        parts.append(part)
    return pd.concat(parts, ignore_index=True).reindex(columns=list(MARKER_COLUMNS))


def _from_long(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    import pandas as pd

    by_folded = {_folded(c): c for c in frame.columns}
    found = {
        column: next((by_folded[a] for a in aliases if a in by_folded), None) for column, aliases in _ALIASES.items()
    }
    missing = [column for column in ("cluster", "gene") if found[column] is None]
    if missing:
        problems = [Problem(f"no column for {m}{did_you_mean(m, map(str, frame.columns))}") for m in missing]
        problems.extend(Problem(form, "known form") for form in _FORMS)
        shown = [str(c) if len(str(c)) <= 40 else f"{str(c)[:37]}..." for c in frame.columns[:12]]
        columns = ", ".join(shown) + (f", ... ({frame.shape[1]} in all)" if frame.shape[1] > 12 else "")
        msg = f"{name} has none of the known forms; its columns are: {columns}"
        raise InputError(msg, problems)
    found["gene"] = _symbols(frame, [by_folded[a] for a in _ALIASES["gene"] if a in by_folded])
    table = pd.DataFrame(
        {
            "cluster": frame[found["cluster"]].map(lambda c: original_cell(cluster_id(c))),
            "gene": frame[found["gene"]].map(lambda g: original_cell(_plain(g))),
        }
    )
    for column in _NUMBERS:
        source = found[column]
        table[column] = _numbers(frame[source]) if source is not None else float("nan")
    return _scaled(table, found["avg_log2FC"])


def _symbols(frame: pd.DataFrame, columns: list[Any]) -> Any:
    """The column of gene names; where it holds Ensembl identifiers, another that holds names, if there is one."""
    return next((c for c in columns if not _are_identifiers(frame[c])), columns[0])


def _are_identifiers(genes: pd.Series) -> bool:
    names = genes.astype(str)
    return bool(len(names)) and bool(names.str.fullmatch(_ENSEMBL).mean() > 0.5)


def written_markers(table: pd.DataFrame) -> pd.DataFrame:
    """Return a marker table as it goes into files: in the common form, names never read as formulas."""
    names = {column: table[column].map(neutral_cell) for column in ("cluster", "gene")}
    return MARKERS.conform(table.assign(**names))


def _numbers(values: pd.Series) -> pd.Series:
    """Numbers of a column; what is none is NaN. Texts are read to the last digit, so that writing gives them again."""
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce")
    if pd.api.types.is_numeric_dtype(values):
        return numbers
    if numbers.isna().any():  # 0,25 for a quarter
        texts = values.astype(str)
        values = texts.where(~texts.str.match(_DECIMAL_COMMA), texts.str.replace(",", "."))
        numbers = pd.to_numeric(values, errors="coerce")
    try:
        return values.where(numbers.notna(), "nan").astype(float)
    except (ValueError, TypeError):  # truth values and the like
        return numbers


def _scaled(table: pd.DataFrame, fold_column: Any) -> pd.DataFrame:
    """Bring natural-log fold changes (``avg_logFC`` of old Seurat) and percentages to the common scale."""
    if fold_column is not None and _folded(fold_column) in ("avg_logfc",):
        table["avg_log2FC"] = table["avg_log2FC"] / 0.6931471805599453
    for column in ("pct.1", "pct.2"):
        if table[column].max(skipna=True) > 1.0:
            table[column] = table[column] / 100.0
    return table


def _folded(name: Any) -> str:
    return str(name).strip().casefold()


def _checked(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The table with each gene once per cluster, and a row for every cluster."""
    import numpy as np
    import pandas as pd

    named = table[table["cluster"] != ""]
    for column in _NUMBERS:
        named = named.assign(**{column: named[column].astype(np.float64)})
    kept = _best_rows(named[named["gene"] != ""])
    if kept.empty:
        msg = f"{name} holds no cluster with a gene"
        raise InputError(msg)
    bare = named[~named["cluster"].isin(kept["cluster"])].drop_duplicates("cluster")
    if len(bare):
        kept = pd.concat([kept, bare.assign(gene="")])
    order = {c: i for i, c in enumerate(sorted(kept["cluster"].unique(), key=natural_key))}
    return kept.sort_values("cluster", key=lambda c: c.map(order), kind="stable", ignore_index=True)


def _best_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Each gene once per cluster: of several rows the best by statistic, fold change and p-value; else the first."""
    if not table.duplicated(["cluster", "gene"]).any():
        return table
    order = {"score": False, "avg_log2FC": False, "p_val_adj": True, "p_val": True}
    ranked = table.sort_values(list(order), ascending=list(order.values()), kind="stable")
    return table.loc[ranked.drop_duplicates(["cluster", "gene"]).index.sort_values()]


def _warn_of_names(genes: pd.Series, name: str) -> None:
    dates = genes[genes.str.fullmatch(_DATE)]
    if len(dates):
        msg = (
            f"{name}: {len(dates)} genes have names that a spreadsheet program made ({', '.join(dates[:3])}); "
            f"they count as unknown genes: write the table again without opening it there"
        )
        warnings.warn(msg, CellkeyWarning, stacklevel=3)
    if _are_identifiers(genes):
        msg = (
            f"{name}: genes are Ensembl identifiers ({genes.iloc[0]}), which markers are not known by: "
            f"add a column 'gene_name' with their symbols"
        )
        warnings.warn(msg, CellkeyWarning, stacklevel=3)
