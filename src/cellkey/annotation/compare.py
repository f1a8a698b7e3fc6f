"""What changed between two runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellkey.records.schema import Column, TableSchema

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

__all__ = ["COMPARISON", "compare_runs", "comparison_text", "draw_comparison"]

COMPARISON = TableSchema(
    "comparison",
    "One row per cluster that two runs share: both labels and what changed.",
    (
        Column("cluster_id", "string", "Identifier of the cluster."),
        Column("n_cells", "int", "Number of cells in the first run."),
        Column("label_1", "string", "Final label in the first run."),
        Column("label_2", "string", "Final label in the second run."),
        Column("path_1", "string", "Path in the first run."),
        Column("path_2", "string", "Path in the second run."),
        Column("confidence_1", "float", "Confidence in the first run."),
        Column("confidence_2", "float", "Confidence in the second run."),
        Column("stop_reason_1", "string", "Why the walk stopped in the first run."),
        Column("stop_reason_2", "string", "Why the walk stopped in the second run."),
        Column("change", "string", "How the second label relates to the first.",
               ("same", "deeper", "shallower", "gained", "lost", "different", "only_in_1", "only_in_2")),
    ),
)

_UNASSIGNED = frozenset({"Unassigned", "unknown"})


def compare_runs(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Return the comparison of two ``cluster_annotations`` tables, or two from ``run_calls``, by cluster id.

    ``deeper`` and ``shallower`` mean that one path starts with the other; ``gained`` and ``lost`` that the
    cluster was Unassigned in the first or the second run.

    Examples
    --------
    >>> coarse = cellkey.annotate(adata, made.marker_map, groupby="true_cluster", gating={"max_depth": 0}, copy=True)
    >>> cellkey.compare_runs(result.cluster_annotations, coarse.cluster_annotations)["change"].unique().tolist()
    ['shallower']
    """
    import pandas as pd

    columns = ["cluster_id", "n_cells", "final_annotation", "assigned_path", "confidence", "stop_reason"]
    merged = first[columns].merge(
        second[columns], on="cluster_id", how="outer", suffixes=("_1", "_2"), sort=False, indicator=True
    )
    text = [c for c in merged.columns if c.startswith(("final_annotation", "assigned_path", "stop_reason"))]
    merged[text] = merged[text].fillna("")
    sizes = merged["n_cells_1"].fillna(merged["n_cells_2"])
    frame = pd.DataFrame({
        "cluster_id": merged["cluster_id"],
        "n_cells": sizes.astype(int),
        "label_1": merged["final_annotation_1"], "label_2": merged["final_annotation_2"],
        "path_1": merged["assigned_path_1"], "path_2": merged["assigned_path_2"],
        "confidence_1": merged["confidence_1"], "confidence_2": merged["confidence_2"],
        "stop_reason_1": merged["stop_reason_1"], "stop_reason_2": merged["stop_reason_2"],
        "change": [_change(row) for row in merged.to_dict("records")],
    })
    from cellkey.profiles.profile import natural_key

    order = sorted(range(len(frame)), key=lambda i: natural_key(str(frame["cluster_id"].iloc[i])))
    return COMPARISON.conform(frame.iloc[order].reset_index(drop=True))


def _change(row: Mapping[Any, object]) -> str:
    if row["_merge"] != "both":
        return "only_in_1" if row["_merge"] == "left_only" else "only_in_2"
    a, b = str(row["assigned_path_1"]), str(row["assigned_path_2"])
    first, second = row["final_annotation_1"], row["final_annotation_2"]
    if (first, a) == (second, b):
        return "same"
    if first in _UNASSIGNED or second in _UNASSIGNED:
        if first in _UNASSIGNED and second in _UNASSIGNED:
            return "same"
        return "gained" if first in _UNASSIGNED else "lost"
    if a and b.startswith(f"{a} / "):
        return "deeper"
    if b and a.startswith(f"{b} / "):
        return "shallower"
    return "different"


def comparison_text(table: pd.DataFrame) -> str:
    """Return the comparison as text: totals, then the clusters that changed."""
    counts = table["change"].value_counts()
    cells = table.groupby("change")["n_cells"].sum()
    lines = [", ".join(f"{counts[c]} {c} ({cells[c]:,} cells)" for c in counts.index)]
    changed = table[table["change"] != "same"]
    if len(changed):
        first, width = (max(len(str(x)) for x in changed[c]) for c in ("cluster_id", "label_1"))
        lines += [
            f"  {r.cluster_id:>{first}}  {r.n_cells:>8,}  {r.label_1:<{width}} -> {r.label_2}  ({r.change})"
            for r in changed.itertuples()
        ]
    return "\n".join(lines)


def draw_comparison(table: pd.DataFrame, path: Path, *, names: tuple[str, str] = ("first run", "second run")) -> None:
    """Draw which labels of two runs go together, weighted by cells; labels follow their paths.

    Parameters
    ----------
    table
        From :func:`compare_runs`.
    path
        PNG file to write.
    names
        Of the two runs.
    """
    from cellkey.plots._style import figure_of, save
    from cellkey.plots.confusion import confusion

    both = table[~table["change"].isin(["only_in_1", "only_in_2"])]
    paths = dict(zip([*both["label_1"], *both["label_2"]], [*both["path_1"], *both["path_2"]], strict=True))
    ax = confusion(both["label_1"].tolist(), both["label_2"].tolist(), both["n_cells"].tolist(), names=names,
                   order=sorted(paths, key=lambda label: (paths[label], label)))
    save(figure_of(ax), path, 150)
