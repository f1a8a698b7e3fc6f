"""Marker tables of the common tools, read into one form.

The form has one row per cluster and gene, with the columns of :data:`MARKER_COLUMNS`; numbers that a source
does
not give are NaN. Clusters are text from here on.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellkey.errors import InputError, Problem, did_you_mean
from cellkey.llm.identifiers import cluster_id, natural_key
from cellkey.llm.spreadsheets import neutral_cell, original_cell
from cellkey.records.schema import Column, TableSchema

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

__all__ = ["MARKERS", "MARKER_COLUMNS", "marker_table", "read_marker_table", "written_markers"]

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
    "gene": ("gene", "names", "gene_name", "genes", "feature", "symbol"),
    "avg_log2FC": ("avg_log2fc", "logfoldchanges", "log2fc", "avg_logfc", "logfc"),
    "pct.1": ("pct.1", "pct_1", "pct_nz_group", "pts"),
    "pct.2": ("pct.2", "pct_2", "pct_nz_reference", "pts_rest"),
    "p_val": ("p_val", "pvals", "pval", "pvalue", "p_value"),
    "p_val_adj": ("p_val_adj", "pvals_adj", "padj", "fdr", "qval"),
    "score": ("score", "scores", "statistic", "wilcoxon_score"),
}
_FORMS = (
    "Seurat FindAllMarkers (cluster, gene, avg_log2FC, p_val_adj, ...)",
    "scanpy rank_genes_groups_df (group, names, logfoldchanges, pvals_adj, ...)",
    "two columns (cluster, genes separated by commas, semicolons or blanks)",
)


def read_marker_table(path: str | Path) -> pd.DataFrame:
    """Return the marker table in ``path`` in the common form.

    Parameters
    ----------
    path
        ``.csv``, ``.tsv``, ``.txt`` (each also ``.gz``) or ``.parquet``.

    Raises
    ------
    InputError
        If the file cannot be read or has none of the known forms.
    """
    file = Path(path)
    if not file.is_file():
        msg = f"marker table {file} does not exist"
        raise InputError(msg)
    return marker_table(_read_frame(file), name=str(file))


def _read_frame(file: Path) -> pd.DataFrame:
    import pandas as pd

    endings = [s.casefold() for s in file.suffixes]
    kind = endings[-2] if len(endings) > 1 and endings[-1] == ".gz" else (endings or [""])[-1]
    if kind in (".xlsx", ".xls"):
        msg = f"{file} is a spreadsheet, which may have turned gene names into dates: save it as CSV"
        raise InputError(msg)
    try:
        if kind == ".parquet":
            return pd.read_parquet(file)
        separator = "\t" if kind in (".tsv", ".txt") else ","
        return pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError, ImportError) as error:  # ValueError covers parser and encoding errors
        msg = f"marker table {file} cannot be read: {error}"
        raise InputError(msg) from None


def marker_table(source: pd.DataFrame | Mapping[str, Any], *, name: str = "the marker table") -> pd.DataFrame:
    """Return a marker table in the common form.

    Parameters
    ----------
    source
        A frame of one of the known forms, scanpy's structured ``rank_genes_groups`` mapping, or a mapping
        from
        cluster to genes. The source is not changed.
    name
        How to call the table in messages.

    Returns
    -------
    DataFrame
        Columns :data:`MARKER_COLUMNS`; clusters in natural order, rows in the order of the source, each gene
        once per cluster (its first row). Cells that are not numbers become NaN.

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
    return _checked(_from_lists(frame) if _is_two_columns(frame) else _from_long(frame, name), name)


def _without_index_columns(frame: pd.DataFrame) -> pd.DataFrame:
    keep = [c for c in frame.columns if str(c).strip() and not re.fullmatch(r"Unnamed: \d+", str(c))]
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
    return True


def _from_lists(frame: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    rows = [
        (cluster_id(cluster), gene)
        for cluster, genes in frame.itertuples(index=False, name=None)
        for gene in re.split(r"[,;\s]+", str(genes).strip())
        if gene
    ]
    return pd.DataFrame(rows, columns=["cluster", "gene"]).reindex(columns=list(MARKER_COLUMNS))


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
        columns = ", ".join(map(str, frame.columns))
        msg = f"{name} has none of the known forms; its columns are: {columns}"
        raise InputError(msg, problems)
    table = pd.DataFrame(
        {
            "cluster": frame[found["cluster"]].map(lambda c: original_cell(cluster_id(c))),
            "gene": frame[found["gene"]].map(lambda g: "" if g is None or g != g else original_cell(str(g).strip())),
        }
    )
    for column in _NUMBERS:
        source = found[column]
        table[column] = _numbers(frame[source]) if source is not None else float("nan")
    return _scaled(table, found["avg_log2FC"])


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
    import numpy as np

    kept = table[(table["cluster"] != "") & (table["gene"] != "")]
    if kept.empty:
        msg = f"{name} holds no cluster with a gene"
        raise InputError(msg)
    kept = kept.drop_duplicates(["cluster", "gene"], keep="first")
    for column in _NUMBERS:
        kept = kept.assign(**{column: kept[column].astype(np.float64)})
    order = {c: i for i, c in enumerate(sorted(kept["cluster"].unique(), key=natural_key))}
    return kept.sort_values("cluster", key=lambda c: c.map(order), kind="stable", ignore_index=True)
