"""The summary of a run as text and, for notebooks, as HTML; from tables alone, all names escaped."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any, Final

from cellkey.annotation.explain import explain_cluster
from cellkey.hierarchy.cell_type import path_of_text
from cellkey.records.vocabulary import StopReason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

__all__ = ["summary_html", "summary_text"]

_MOST_EXPLAINED: Final = 60
"""Clusters whose walk is folded into the summary; beyond it the notebook would become large."""
_HEADS: Final = ("cluster", "label", "cells", "margin", "closest rival", "probably right", "stopped")


def summary_text(tables: Mapping[str, pd.DataFrame]) -> str:
    """Return one line per cluster: id, cells, label, margin, how probably it is right, and reason."""
    t = tables["cluster_annotations"]
    likely = _probabilities(tables)
    first = max([7, *(len(str(x)) for x in t["cluster_id"])])
    width = max([5, *(len(str(x)) for x in t["assigned_label"])])
    right = f"  {'probably right':>14}" if likely else ""
    lines = [f"{'cluster':>{first}}  {'cells':>8}  {'label':<{width}}  {'margin':>6}{right}  stopped"]
    for r in t.itertuples():
        share = f"  {likely.get(str(r.cluster_id), ''):>14}" if likely else ""
        lines.append(f"{r.cluster_id:>{first}}  {r.n_cells:>8,}  {r.assigned_label:<{width}}  {r.confidence:>6.2f}"
                     f"{share}  {r.stop_reason}")
    return "\n".join(lines)


def summary_html(
    tables: Mapping[str, pd.DataFrame], messages: Sequence[str] = (), *, paths: Iterable[Sequence[str]] = ()
) -> str:
    """Return the summary for notebooks: what was found, a row per cluster, and below the walk of each to unfold.

    Parameters
    ----------
    tables
        ``cluster_annotations``; with ``decision_steps`` the walks are shown.
    messages
        What was found and done, as sentences.
    paths
        All cell types of the hierarchy, for colours that stay with them.
    """
    t = tables["cluster_annotations"]
    colours = _colours([*map(tuple, paths), *(path_of_text(p) for p in t["assigned_path"])])
    largest = max(int(t["n_cells"].max()), 1) if len(t) else 1
    head = "".join(f"<th style='text-align:left'>{h}</th>" for h in _HEADS)
    likely = _probabilities(tables)
    body = "".join(_row(r, colours, largest, likely.get(str(r["cluster_id"]), "")) for r in t.to_dict("records"))
    assigned = t.loc[t["assigned_level"] >= 0, "n_cells"].sum() / max(t["n_cells"].sum(), 1)
    n_types = t.loc[t["assigned_level"] >= 0, "assigned_path"].nunique()
    notes = "".join(f"<li>{html.escape(m)}</li>" for m in messages)
    folded = _folded(f"{len(messages)} message{'s' * (len(messages) > 1)}", f"<ul>{notes}</ul>") if messages else ""
    return (
        "<div style='max-width:70em;overflow-x:auto'>"
        f"<div><b>{len(t)} clusters, {t['n_cells'].sum():,} cells, {n_types} cell types, "
        f"{100 * assigned:.1f} % of cells assigned</b></div>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{_walks(tables)}{folded}"
    )


def _walks(tables: Mapping[str, pd.DataFrame]) -> str:
    """The walk of each cluster, below the table: inside it, one that is unfolded would push columns out of view."""
    t = tables["cluster_annotations"]
    if "decision_steps" not in tables or not 0 < len(t) <= _MOST_EXPLAINED:
        return ""
    texts = [explain_cluster(tables, str(c)).split("\n", 1) for c in t["cluster_id"]]
    style = "text-align:left;font-size:85%;overflow-x:auto;margin-left:1.2em"
    walks = "".join(_folded(html.escape(first), f"<pre style='{style}'>{html.escape(rest)}</pre>")
                    for first, rest in texts)
    return _folded("How each cluster came by its label", f"<div style='margin-left:1.2em'>{walks}</div>")


def _folded(title: str, content: str) -> str:
    return f"<details><summary style='cursor:pointer'>{title}</summary>{content}</details>"


def _probabilities(tables: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """How likely each label is right, as text, where that was measured."""
    table = tables.get("confidence")
    if table is None:
        return {}
    final = table[table["is_call"] & table["confidence"].notna()]
    return {str(c): f"{100 * p:.0f} %" for c, p in zip(final["cluster_id"], final["confidence"], strict=True)}


def _row(r: Mapping[Any, Any], colours: Mapping[tuple[str, ...], str], largest: int, likely: str) -> str:
    path = path_of_text(r["assigned_path"])
    dot = (f"<span style='display:inline-block;width:.8em;height:.8em;border-radius:50%;"
           f"background:{colours.get(path, '#BDBDBD')}'></span> ")
    above = html.escape(" › ".join(path[:-1]))
    label = (f"{dot}<b>{html.escape(str(r['assigned_label']))}</b>"
             + (f"<div style='font-size:85%;opacity:.75;margin-left:1.3em'>{above}</div>" if above else ""))
    reason = str(r["stop_reason"])
    known = {str(s): s.meaning for s in StopReason}
    cells = (
        html.escape(str(r["cluster_id"])), label,
        f"<span style='display:inline-block;height:.7em;width:{4 * int(r['n_cells']) / largest:.2f}em;"
        f"background:#88888888'></span> {int(r['n_cells']):,}",
        f"{r['confidence']:.2f}", html.escape(str(r.get("runner_up_label") or "")), likely,
        f"<span title='{html.escape(known.get(reason, ''))}'>{html.escape(reason.replace('_', ' '))}</span>",
    )
    style = "text-align:left;vertical-align:top;white-space:nowrap"
    return "<tr>" + "".join(f"<td style='{style}'>{c}</td>" for c in cells) + "</tr>"


def _colours(paths: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    from cellkey.plots.colours import hierarchy_colours

    return hierarchy_colours(p for p in paths if p)
