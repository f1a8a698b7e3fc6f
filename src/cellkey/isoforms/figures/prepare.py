"""What the figures show, computed from tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "NetworkView",
    "gene_usage",
    "module_trait_matrix",
    "moving_average",
    "network_view",
    "polarity_matrix",
    "sample_groups",
    "switch_genes",
]

FIXED_COLUMNS = ("module_id", "variance_share")


def module_trait_matrix(traits: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return strength and q value of every module (rows) with every trait (columns).

    Strength is between -1 and 1: r itself, r of a Welch t (``t / sqrt(t2 + df)``), or the root of eta squared, which
    has no sign. A trait that was tested in two ways keeps its first test.
    """
    t = traits["statistic"].to_numpy(dtype=np.float64)
    df = traits["df"].to_numpy(dtype=np.float64)
    effect = traits["effect"].to_numpy(dtype=np.float64)
    test = traits["test"].astype(str).to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        welch = np.sign(effect) * np.abs(t) / np.sqrt(t**2 + df)
        eta = np.sqrt(np.clip(effect, 0, 1))
    size = np.where(test == "welch_t", welch, np.where(test == "anova", eta, effect))
    table = traits.assign(strength=size).drop_duplicates(["module_id", "trait"])
    order = list(dict.fromkeys(table["trait"]))
    wide = table.set_index(["module_id", "trait"])
    strength, q = (wide[v].unstack("trait")[order] for v in ("strength", "qvalue"))  # noqa: PD010
    return strength, q


def sample_groups(values: pd.Series, *, most: int = 12) -> list[tuple[str, NDArray[np.intp]]] | None:
    """Return the groups of a sample column with their positions, or None for numbers with many values."""
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    distinct = values.dropna().unique()
    if (numeric and len(distinct) > 3) or len(distinct) > most:
        return None
    return [(str(v), np.flatnonzero((values == v).to_numpy())) for v in sorted(distinct, key=str)]


def gene_usage(usage: pd.DataFrame, meta: pd.DataFrame, gene: str, *, most: int = 6) -> pd.DataFrame:
    """Return samples x transcripts fractions of a gene, most used first; further ones are summed as ``other``."""
    own = [t for t in meta.loc[meta["gene_id"] == gene, "feature_id"] if t in usage.columns]
    part = usage[own].astype(float)
    means = part.mean()
    order = sorted(own, key=lambda t: (-round(float(means[t]), 12), t))
    if len(order) > most:
        rest = part[order[most - 1 :]].sum(axis=1)
        return part[order[: most - 1]].assign(other=rest)
    return part[order]


@dataclass(frozen=True, slots=True)
class NetworkView:
    """A module as drawn: genes with position, membership and role, and edges between them.

    Parameters
    ----------
    nodes
        ``gene_id``, ``label``, ``kme``, ``role``, ``x``, ``y``.
    edges
        ``source``, ``target`` (row numbers of ``nodes``), ``weight``.
    n_genes
        Genes of the whole module.
    """

    nodes: pd.DataFrame
    edges: pd.DataFrame
    n_genes: int


def network_view(
    edges: pd.DataFrame,
    membership: pd.DataFrame,
    roles: pd.DataFrame,
    module: str,
    *,
    names: dict[str, str] | None = None,
    most_genes: int = 30,
    most_edges: int = 150,
) -> NetworkView:
    """Return the strongest genes of a module, laid out by their edges; the same tables give the same layout."""
    own = membership[membership["module_id"] == module]
    strongest = own.assign(size=own["kme"].abs().round(9)).sort_values(
        ["size", "gene_id"], ascending=[False, True], kind="stable"
    )
    best = strongest.drop_duplicates("gene_id").head(most_genes).reset_index(drop=True)
    place = {g: i for i, g in enumerate(best["gene_id"])}
    inside = edges[edges["source"].isin(place) & edges["target"].isin(place)]
    order = inside["weight"].abs().round(9).sort_values(ascending=False, kind="stable").index[:most_edges]
    inside = inside.loc[order]
    drawn = pd.DataFrame(
        {
            "source": inside["source"].map(place).to_numpy(dtype=np.intp),
            "target": inside["target"].map(place).to_numpy(dtype=np.intp),
            "weight": inside["weight"].to_numpy(dtype=np.float64),
        }
    )
    position = _layout(len(best), drawn)
    role_of = roles[roles["module_id"] == module].set_index("gene_id")["module_role"]
    nodes = pd.DataFrame(
        {
            "gene_id": best["gene_id"],
            "label": [(names or {}).get(g, g) for g in best["gene_id"]],
            "kme": best["kme"],
            "role": best["gene_id"].map(role_of).fillna("inactive"),
            "x": position[:, 0],
            "y": position[:, 1],
        }
    )
    return NetworkView(nodes, drawn, int(own["gene_id"].nunique()))


def _layout(n: int, edges: pd.DataFrame, rounds: int = 300) -> NDArray[np.float64]:
    """Spring layout (Fruchterman and Reingold 1991) from a circle."""
    angle = 2 * np.pi * np.arange(n) / max(n, 1)
    at = np.column_stack([np.cos(angle), np.sin(angle)])
    if n < 3:
        return at
    pull = np.zeros((n, n))
    i, j = edges["source"].to_numpy(), edges["target"].to_numpy()
    pull[i, j] = pull[j, i] = np.abs(edges["weight"].to_numpy())
    ideal = 1.2 / np.sqrt(n)
    for step in range(rounds):
        away = at[:, None] - at[None]
        distance = np.maximum(np.sqrt((away**2).sum(axis=2)), 1e-3)
        force = ideal**2 / distance**2 - pull * distance / ideal
        move = (away * force[:, :, None]).sum(axis=1) - 0.6 * at
        length = np.maximum(np.sqrt((move**2).sum(axis=1, keepdims=True)), 1e-9)
        at = at + move / length * np.minimum(length, 0.1 * (1 - step / rounds))
    # Half of each coordinate is its rank, so that dense modules stay readable and strays stay near.
    rank = np.argsort(np.argsort(at, axis=0, kind="stable"), axis=0, kind="stable") / (n - 1)
    spread = np.maximum(np.ptp(at, axis=0), 1e-9)
    return np.asarray(0.5 * rank + 0.5 * (at - at.min(axis=0)) / spread)


def polarity_matrix(polarity: pd.DataFrame, *, most_genes: int = 15) -> list[tuple[str, pd.DataFrame]]:
    """Return the transcripts of the genes with the strongest switches, gene by gene, each sorted by r."""
    strength = polarity.groupby("gene_id")["switch_strength"].max().round(9)
    chosen = sorted((g for g in strength.index if strength[g] > 0), key=lambda g: (-float(strength[g]), g))[:most_genes]
    return [
        (g, polarity[polarity["gene_id"] == g].sort_values("r", kind="stable").dropna(subset=["r"])) for g in chosen
    ]


def switch_genes(polarity: pd.DataFrame, most: int = 5) -> list[str]:
    """Return the genes with the strongest switches."""
    return [g for g, _ in polarity_matrix(polarity, most_genes=most)]


def moving_average(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sorted x and the average of y in windows of an eighth of the samples (three at least)."""
    present = np.isfinite(x) & np.isfinite(y)
    order = np.argsort(x[present], kind="stable")
    xs, ys = x[present][order], y[present][order]
    window = min(max(3, len(xs) // 8), max(len(xs), 1))
    kernel = np.ones(window)
    return xs, np.convolve(ys, kernel, "same") / np.convolve(np.ones(len(ys)), kernel, "same")
