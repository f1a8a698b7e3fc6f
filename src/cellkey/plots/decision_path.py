"""The walk of one cluster down the hierarchy: who was considered at each step, and why one was chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellkey.errors import InputError, did_you_mean
from cellkey.plots._run_data import with_columns
from cellkey.plots._style import INK, MUTED, drawing_style, new_axes, plural, shorten, signed, title
from cellkey.plots.colours import lineage_colours, path_colour
from cellkey.records.vocabulary import FailReason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["Candidate", "Step", "decision_path", "walk_steps"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One candidate of a step: its path, score, what happened to it and why."""

    path: tuple[str, ...]
    score: float
    passed: bool
    selected: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the walk: parent, candidates from best to worst, margin, and how many are not shown."""

    parent: str
    candidates: tuple[Candidate, ...]
    margin: float | None
    n_hidden: int


def walk_steps(steps: pd.DataFrame, cluster: str, *, most: int = 6) -> list[Step]:
    """Return the steps of the walk of ``cluster``, each with at most ``most`` candidates.

    Candidates are ordered by score; those that passed their gate are kept before those that did not.

    Raises
    ------
    InputError
        If the table holds no step of the cluster.
    """
    ids = steps["cluster_id"].astype(str)
    rows = steps[ids == str(cluster)]
    if rows.empty:
        msg = f"no decision of cluster {cluster!r}{did_you_mean(str(cluster), set(ids))}"
        raise InputError(msg)
    return [_step(group, most) for _, group in rows.groupby("step_idx", sort=True)]


def _step(rows: pd.DataFrame, most: int) -> Step:
    everyone = [
        Candidate(
            path=tuple(str(r["child_path"]).split(" / ")),
            score=float(r["child_score"]),
            passed=bool(r["child_passed_gate"]),
            selected=bool(r["selected"]),
            reason=_reason(str(r["fail_reason"]), str(r["fail_detail"])),
        )
        for r in rows.to_dict("records")
    ]
    everyone.sort(key=lambda c: (-c.score, c.path))
    kept = sorted(everyone, key=lambda c: (not c.selected, not c.passed))[:most]
    margins = rows["margin_to_runner_up"].dropna()
    return Step(
        parent=str(rows["parent_label"].iloc[0]),
        candidates=tuple(c for c in everyone if c in kept),
        margin=float(margins.iloc[0]) if len(margins) else None,
        n_hidden=len(everyone) - len(kept),
    )


def _reason(fail_reason: str, detail: str) -> str:
    """Say in words why a candidate was not chosen."""
    if fail_reason in ("", "nan"):
        return ""
    if fail_reason == FailReason.OUTSCORED:
        return "passed, not chosen"
    kind, _, marker = detail.partition(":")
    known = {
        "required_pos_frac": f"required {marker} in too few cells",
        "required_enrichment": f"required {marker} not enriched",
        "veto": f"vetoed by {marker}",
        "anti_not_off": "anti-markers not off",
    }
    if kind in known:
        return known[kind]
    words = {"pos_frac": "positive fraction", "anti_penalty": "anti-marker penalty"}
    for sign in ("<", ">"):
        name, found, limit = detail.partition(sign)
        if found:
            return f"{words.get(name, name.replace('_', ' '))} {sign} {limit}"
    return (detail or fail_reason).replace("_", " ")


def decision_path(
    steps: pd.DataFrame,
    annotations: pd.DataFrame,
    cluster: str,
    *,
    most: int = 6,
    lineages: Iterable[str] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw the walk of one cluster: the candidates of every step with scores, gates and reasons.

    Filled bars passed their gate, the chosen one is dark and bold; hollow bars failed, with the check that
    failed.

    Parameters
    ----------
    steps, annotations
        Tables ``decision_steps`` and ``cluster_annotations``.
    cluster
        Identifier of the cluster.
    most
        Most candidates to show per step.
    lineages
        All top-level types of the hierarchy, so that colours agree between samples; by default the candidates
        of the first step.
    ax
        Axes to draw on; a new figure, sized by the number of candidates, by default.

    Raises
    ------
    InputError
        If the tables hold nothing about the cluster.
    """
    with_columns(
        steps,
        "decision_steps",
        [
            "cluster_id",
            "step_idx",
            "parent_label",
            "child_path",
            "child_score",
            "child_passed_gate",
            "selected",
            "margin_to_runner_up",
            "fail_reason",
            "fail_detail",
        ],
    )
    with_columns(
        annotations,
        "cluster_annotations",
        ["cluster_id", "assigned_label", "assigned_path", "stop_reason", "confidence", "n_cells"],
    )
    walk = walk_steps(steps, cluster, most=most)
    ids = annotations["cluster_id"].astype(str)
    if not (ids == str(cluster)).any():
        msg = f"no annotation of cluster {cluster!r}{did_you_mean(str(cluster), set(ids))}"
        raise InputError(msg)
    note = annotations[ids == str(cluster)].iloc[0]
    roots = steps.loc[steps["step_idx"] == 0, "child_path"]
    colours = lineage_colours([*lineages, *map(str, roots)])
    n_lines = sum(len(s.candidates) + 1.9 + (s.n_hidden > 0) for s in walk)
    with drawing_style():
        ax = new_axes(ax, (7.8, 1.3 + 0.3 * n_lines))
        _draw_walk(ax, walk, colours)
        title(ax, f"Cluster {cluster} → {shorten(_goal(note), 64)}", _summary(note))
        return ax


def _goal(note: pd.Series) -> str:
    return str(note["assigned_path"] or note["assigned_label"]).replace(" / ", " › ")


def _summary(note: pd.Series) -> str:
    reason = str(note["stop_reason"]).replace("_", " ")
    sure = f"confidence {signed(note['confidence'])}"
    return " · ".join([plural(note["n_cells"], "cell"), sure, f"stopped: {reason}"])


def _draw_walk(ax: Axes, walk: list[Step], colours: Mapping[str, str]) -> None:
    scores = [c.score for s in walk for c in s.candidates]
    low, high = min([*scores, 0.0]), max([*scores, 0.5])
    span = high - low
    y = 0.0
    for number, step in enumerate(walk, start=1):
        heading = "top-level cell types" if number == 1 else f"subtypes of {step.parent}"
        _left_of(ax, f"Step {number}", y, fontweight="bold")
        margin = "" if step.margin is None else f"   margin {signed(step.margin)}"
        ax.annotate(
            heading + margin, (0, y), xycoords=("axes fraction", "data"), va="center", color=MUTED, fontsize=9.5
        )
        y += 1
        ax.vlines(0, y - 0.5, y + len(step.candidates) - 0.5, color="#999999", linewidth=0.8, zorder=1)
        for candidate in step.candidates:
            _draw_candidate(ax, candidate, y, colours, span)
            y += 1
        if step.n_hidden:
            _left_of(ax, f"and {step.n_hidden} more, not passed or lower", y, fontsize=8.5, color=MUTED)
            y += 1
        y += 0.9
    ax.set(xlim=(low - 0.04 * span, high + 0.45 * span), ylim=(y - 0.9, -0.7), yticks=[], xlabel="Score")
    ax.spines["left"].set_visible(False)


def _left_of(ax: Axes, text: str, y: float, **style: Any) -> None:
    """Write beside the axes, at the height of a row."""
    ax.annotate(
        text, (0, y), xycoords=("axes fraction", "data"), xytext=(-6, 0), textcoords="offset points", ha="right",
        va="center", annotation_clip=False, **style,
    )


def _draw_candidate(
    ax: Axes, candidate: Candidate, y: float, colours: Mapping[str, str], span: float
) -> None:
    colour = path_colour(candidate.path[:1], colours)
    filled = candidate.passed
    ax.barh(
        y,
        candidate.score,
        height=0.62,
        color=colour if filled else "white",
        alpha=1.0 if candidate.selected or not filled else 0.45,
        edgecolor=colour,
        linewidth=1.0,
        linestyle="-" if filled else (0, (3, 2)),
        zorder=2,
    )
    weight = "bold" if candidate.selected else "normal"
    ink = INK if filled else MUTED
    _left_of(ax, shorten(candidate.path[-1], 30), y, fontsize=9.5, fontweight=weight, color=ink)
    said = "chosen" if candidate.selected else candidate.reason
    ax.text(
        max(candidate.score, 0) + 0.015 * span,
        y,
        f"{signed(candidate.score)}   {said}".rstrip(),
        va="center",
        fontsize=9,
        fontweight=weight,
        color=ink,
        zorder=3,
    )
