"""Figures of modules: traits, eigengenes, roles, network, soft threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.isoforms.figures.prepare import FIXED_COLUMNS, module_trait_matrix, sample_groups
from cellkey.plots._style import MUTED, drawing_style, new_axes, shorten, title
from cellkey.plots.colours import PALETTE, UNASSIGNED

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cellkey.isoforms.figures.prepare import NetworkView

__all__ = [
    "NEGATIVE",
    "POSITIVE",
    "ROLE_COLOURS",
    "eigengene_by_trait",
    "eigengene_heatmap",
    "module_network",
    "module_trait_heatmap",
    "role_scatter",
    "soft_threshold_diagnostics",
]

POSITIVE, NEGATIVE = "#B2182B", "#2166AC"
ROLE_COLOURS = {
    "coupled": "#44AA99",
    "discordant": "#882255",
    "switch_only": "#E69F00",
    "abundance_only": "#4477AA",
    "inactive": UNASSIGNED,
}
MAX_MODULES = 40


def module_trait_heatmap(traits: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw how strongly every module goes with every trait; stars mark q <= 0.05, 0.01 and 0.001.

    Parameters
    ----------
    traits
        Table ``traits`` of a fit.
    """
    strength, q = module_trait_matrix(traits)
    levels = q.to_numpy(dtype=np.float64)
    shown = strength.iloc[:MAX_MODULES]
    with drawing_style():
        ax = new_axes(ax, (2.2 + 0.9 * max(shown.shape[1], 2), 1.6 + 0.34 * max(len(shown), 2)))
        detail = "r; for more than two levels the root of eta squared, without sign"
        if len(strength) > len(shown):
            detail = f"the {len(shown)} largest of {len(strength)} modules; {detail}"
        title(ax, "Modules and traits", detail)
        if not shown.size:
            return _empty(ax, "no trait was tested")
        image = ax.imshow(shown.to_numpy(), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        for i, j in np.ndindex(*shown.shape):
            value, significance = shown.to_numpy(dtype=np.float64)[i, j], levels[i, j]
            if np.isfinite(value):
                stars = "*" * sum(significance <= level for level in (0.05, 0.01, 0.001))
                colour = "white" if abs(value) > 0.6 else "#222222"
                ax.text(
                    j, i, f"{value:.2f}{stars}".replace("-", "−"), ha="center", va="center", color=colour, fontsize=8
                )
        ax.set_xticks(range(shown.shape[1]), [shorten(c, 18) for c in shown.columns], rotation=40, ha="right")
        ax.set_yticks(range(len(shown)), list(shown.index))
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.figure.colorbar(image, ax=ax, shrink=0.8, pad=0.02, label="strength")
    return ax


def eigengene_heatmap(
    eigengenes: pd.DataFrame, samples: pd.DataFrame | None = None, trait: str | None = None, *, ax: Axes | None = None
) -> Axes:
    """Draw the eigengenes (rows) over samples, sorted by a trait if given and by the first module.

    Parameters
    ----------
    eigengenes
        Table ``eigengenes`` of a fit.
    samples
        Sample table with ``sample_id``.
    """
    names = [c for c in eigengenes.columns if c not in FIXED_COLUMNS]
    values = eigengenes[names].to_numpy(dtype=np.float64)[:MAX_MODULES]
    with drawing_style():
        ax = new_axes(ax, (8.5, 1.8 + 0.3 * max(len(values), 2)))
        if not len(values):
            title(ax, "Eigengenes")
            return _empty(ax, "no module was found")
        keys, ends = [values[0]], []
        if samples is not None and trait is not None:
            column = samples.set_index(samples["sample_id"].astype(str))[trait].reindex(names)
            groups = sample_groups(column)
            if groups is None:
                order = np.argsort(column.rank().to_numpy(), kind="stable")
            else:
                codes = np.full(len(names), len(groups))
                for i, (_, at) in enumerate(groups):
                    codes[at] = i
                order = np.lexsort((values[0], codes))
                sizes = np.cumsum([len(at) for _, at in groups])
                ends = [(g, b) for (g, _), b in zip(groups, sizes, strict=True)]
        else:
            order = np.lexsort(keys)
        size = float(np.abs(values).max()) or 1.0
        image = ax.imshow(
            values[:, order], cmap="RdBu_r", vmin=-size, vmax=size, aspect="auto", interpolation="nearest"
        )
        ax.set_yticks(range(len(values)), list(eigengenes["module_id"][:MAX_MODULES]))
        ax.set_xticks([])
        ax.set_xlabel(f"{len(names)} samples" + (f", by {shorten(trait, 30)}" if trait else ", by the first module"))
        start = 0
        for label, end in ends:
            ax.axvline(end - 0.5, color="white", linewidth=2)
            ax.annotate(
                shorten(label, 16), ((start + end - 1) / 2, 1), xycoords=("data", "axes fraction"),
                xytext=(0, 3), textcoords="offset points", ha="center", fontsize=8, color=MUTED,
            )  # fmt: skip
            start = end
        title(ax, "Eigengenes", pad=12 if ends else 0)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.figure.colorbar(image, ax=ax, shrink=0.8, pad=0.02)
    return ax


def eigengene_by_trait(
    profile: np.ndarray, trait: pd.Series, *, module: str, detail: str = "", ax: Axes | None = None
) -> Axes:
    """Draw an eigengene against a trait: points and a line for numbers, boxes and points for groups.

    Parameters
    ----------
    profile
        Eigengene, one value per sample.
    trait
        Sample column in the same order; its name is the label.
    """
    groups = sample_groups(trait)
    with drawing_style():
        ax = new_axes(ax, (max(4.0, 1.0 + 0.75 * len(groups or [])), 3.6))
        title(ax, f"{module} and {shorten(trait.name, 24)}", detail)
        if groups is None:
            x = (
                trait.astype(float).to_numpy()
                if trait.dtype != object
                else trait.astype("category").cat.codes.to_numpy()
            )
            present = np.isfinite(x) & np.isfinite(profile)
            ax.scatter(x[present], profile[present], s=18, color=PALETTE[0], alpha=0.8, linewidth=0)
            if present.sum() > 2 and np.ptp(x[present]) > 0:
                slope, start = np.polyfit(x[present], profile[present], 1)
                ends = np.array([x[present].min(), x[present].max()])
                ax.plot(ends, start + slope * ends, color="#222222", linewidth=1.2)
        else:
            strip_boxes(ax, [(g, profile[at]) for g, at in groups])
        ax.set_xlabel(shorten(trait.name, 40))
        ax.set_ylabel("eigengene")
    return ax


def strip_boxes(ax: Axes, groups: list[tuple[str, np.ndarray]], colours: tuple[str, ...] = PALETTE) -> None:
    """Draw a box and all points per group; the place of a point within its group follows its rank."""
    for i, (_, values) in enumerate(groups):
        y = values[np.isfinite(values)]
        if not len(y):
            continue
        colour = colours[i % len(colours)]
        ax.boxplot(
            [y], positions=[i], widths=0.55, showfliers=False, medianprops={"color": "#222222"},
            boxprops={"color": MUTED}, whiskerprops={"color": MUTED}, capprops={"color": MUTED}, manage_ticks=False,
        )  # fmt: skip
        shift = ((np.argsort(np.argsort(y, kind="stable")) * 0.618034) % 1 - 0.5) * 0.4
        ax.scatter(i + shift, y, s=14, color=colour, alpha=0.8, linewidth=0, zorder=3)
    turn = len(groups) > 4
    labels = [f"{shorten(g, 16)}\nn = {len(v)}" if not turn else shorten(g, 20) for g, v in groups]
    ax.set_xticks(range(len(groups)), labels, rotation=40 if turn else 0, ha="right" if turn else "center")
    ax.set_xlim(-0.6, len(groups) - 0.4)


def role_scatter(roles: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw switch against abundance membership of module genes, coloured by role.

    Genes with one channel only lie on the axis of that channel.
    """
    with drawing_style():
        ax = new_axes(ax, (5.2, 4.6))
        title(ax, "Roles", f"{len(roles):,} genes")
        for level in (-0.2, 0.2):
            ax.axhline(level, color="#DDDDDD", linewidth=0.8)
            ax.axvline(level, color="#DDDDDD", linewidth=0.8)
        for role, colour in ROLE_COLOURS.items():
            own = roles[roles["module_role"].astype(str) == role]
            if len(own):
                x = own["abundance_r"].astype(float).fillna(0.0)
                y = own["switch_r"].astype(float).fillna(0.0)
                ax.scatter(x, y, s=14, color=colour, alpha=0.75, linewidth=0, label=f"{role} ({len(own):,})")
        ax.set_xlim(-1.05, 1.05)
        ax.set_ylim(-1.05, 1.05)
        ax.set_xlabel("r of abundance with the eigengene")
        ax.set_ylabel("r of switch with the eigengene")
        if len(roles):
            ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handletextpad=0.2)
    return ax


def module_network(view: NetworkView, *, module: str, ax: Axes | None = None) -> Axes:
    """Draw the strongest genes of a module: size is membership, colour the role, blue edges are negative."""
    from matplotlib.collections import LineCollection

    nodes, edges = view.nodes, view.edges
    with drawing_style():
        ax = new_axes(ax, (6.4, 5.6))
        title(ax, f"Network of {module}", f"{len(nodes)} strongest of {view.n_genes} genes, {len(edges)} edges")
        at = nodes[["x", "y"]].to_numpy(dtype=np.float64)
        size = np.abs(edges["weight"].to_numpy(dtype=np.float64))
        lines = [(at[a], at[b]) for a, b in zip(edges["source"], edges["target"], strict=True)]
        colours = [POSITIVE if w > 0 else NEGATIVE for w in edges["weight"]]
        ax.add_collection(LineCollection(lines, colors=colours, linewidths=0.3 + 1.2 * size, alpha=0.25))
        for role, colour in ROLE_COLOURS.items():
            own = (nodes["role"].astype(str) == role).to_numpy()
            if own.any():
                ax.scatter(
                    at[own, 0], at[own, 1], s=30 + 140 * nodes["kme"].abs().to_numpy()[own] ** 2, color=colour,
                    edgecolor="white", linewidth=0.8, zorder=3, label=role,
                )  # fmt: skip
        for _, node in nodes.iterrows():
            ax.annotate(
                shorten(node["label"], 18), (node["x"], node["y"]), xytext=(0, 7), textcoords="offset points",
                ha="center", fontsize=7, zorder=4,
            )  # fmt: skip
        ax.margins(0.08)
        ax.set_axis_off()
        if len(nodes):
            ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), title="role", markerscale=0.7)
    return ax


def soft_threshold_diagnostics(table: pd.DataFrame, *, min_r2: float) -> Figure:
    """Draw the scale-free fit and the mean connectivity of every power; the chosen power is marked.

    Parameters
    ----------
    table
        Table ``soft_threshold`` of a fit with the backend ``wgcna``.
    min_r2
        The fit that was asked for, drawn as a line.
    """
    from matplotlib.figure import Figure as NewFigure
    from matplotlib.ticker import LogLocator

    with drawing_style():
        figure = NewFigure(figsize=(8.4, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        fit = (-np.sign(table["slope"]) * table["sft_r2"]).to_numpy(dtype=np.float64)
        power = table["power"].to_numpy()
        chosen = table["chosen"].to_numpy(dtype=bool)
        left.axhline(min_r2, color="#BBBBBB", linewidth=1, linestyle=(0, (4, 2)))
        for axes, values in ((left, fit), (right, table["mean_k"].to_numpy(dtype=np.float64))):
            axes.plot(power, values, color="#BBBBBB", linewidth=1)
            axes.scatter(power, values, s=22, color=PALETTE[0], zorder=3)
            axes.scatter(power[chosen], values[chosen], s=70, color=PALETTE[1], zorder=4)
            axes.set_xlabel("power")
        left.set_ylabel("fit of a power law (signed r²)")
        right.set_ylabel("mean connectivity")
        right.set_yscale("log")
        right.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        right.yaxis.set_major_formatter("{x:g}")
        right.yaxis.set_minor_formatter("")
        title(
            left, "Scale-free fit", f"power {int(power[chosen][0])} chosen, fit {fit[chosen][0]:.2f}".replace("-", "−")
        )
        title(right, "Connectivity", f"mean {table['mean_k'].to_numpy()[chosen][0]:.3g} at the chosen power")
    return figure


def _empty(ax: Axes, words: str) -> Axes:
    ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center", color=MUTED)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    return ax


def rows_of(ax: Any, labels: list[str]) -> None:
    """Name the rows of a horizontal chart, the first on top."""
    ax.set_yticks(range(len(labels)), labels)
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
