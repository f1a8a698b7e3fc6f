"""Which genes of a cluster are shown to a model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from cellkey.parameters import Parameters

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MarkerSelection", "SelectionParameters", "ShownGene", "select_markers"]

_HOUSEKEEPING = re.compile(
    r"MT-.*|RP[LS]\d+[A-Z]?\d*(?:L\d*)?|RPL?P[0-2]|RPSA|MRP[LS]\d+|MALAT1|NEAT1|XIST|AC\d{6}\.\d+|AL\d{6}\.\d+|"
    r"LINC\d+|LOC\d+|.+-AS\d|GM\d+|.+RIK|RP\d+-\d+.*|CT[ABCD]-\d+.*",
    re.IGNORECASE,
)
_HAEMOGLOBIN = re.compile(r"HB[ABDEGMQZ]\d?|HBA-A\d|HBB-B[ST\d]", re.IGNORECASE)
_BLOODY = re.compile(r"blood|marrow|spleen|pbmc|haemato|hemato|cord|liver|yolk", re.IGNORECASE)


class SelectionParameters(Parameters):
    """How genes are chosen and ordered.

    The rule ``balanced`` ranks by test statistic and never loses a cluster; ``cassia`` repeats the rule of
    the
    original program: filters, then fold change, and a cluster without a passing gene has none.
    """

    rule: Literal["balanced", "cassia"] = "balanced"
    n_genes: int = Field(default=50, ge=3, le=500, description="genes shown per cluster")
    max_p_adj: float = Field(default=0.05, gt=0, le=1, description="adjusted p-value must be below")
    min_log2fc: float = Field(default=0.25, description="log2 fold change must be above")
    min_fraction: float = Field(default=0.10, ge=0, le=1, description="fraction of expressing cells at least")
    order: Literal["statistic", "fold_change", "p_adj", "fraction_difference"] | None = Field(
        default=None, description="None: statistic for balanced, fold_change for cassia"
    )


@dataclass(frozen=True, slots=True)
class ShownGene:
    """A gene with its numbers in one cluster; NaN where the table has none."""

    name: str
    log2fc: float
    fraction: float
    fraction_elsewhere: float
    p_adj: float

    def described(self) -> str:
        """Return ``GENE (log2FC 2.4, 81% vs 6%)``, with the parts that are known."""
        parts = [] if np.isnan(self.log2fc) else [f"log2FC {self.log2fc:.1f}"]
        if not np.isnan(self.fraction):
            other = "" if np.isnan(self.fraction_elsewhere) else f" vs {self.fraction_elsewhere:.0%}"
            parts.append(f"{self.fraction:.0%}{other}")
        return f"{self.name} ({', '.join(parts)})" if parts else self.name


@dataclass(frozen=True, slots=True)
class MarkerSelection:
    """Genes chosen for one cluster.

    Parameters
    ----------
    cluster
        Identifier.
    genes
        Best first.
    negative
        Genes that the cluster lacks most clearly, strongest first.
    n_dropped
        Housekeeping genes that passed the filters and are not shown.
    low_markers
        Whether filters had to be relaxed, or fewer than ten genes are left.
    """

    cluster: str
    genes: tuple[ShownGene, ...]
    negative: tuple[ShownGene, ...] = ()
    n_dropped: int = 0
    low_markers: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Gene names, best first."""
        return tuple(g.name for g in self.genes)


def select_markers(
    table: pd.DataFrame,
    parameters: SelectionParameters | None = None,
    *,
    tissue: str = "",
) -> dict[str, MarkerSelection]:
    """Return the genes to show for each cluster of ``table``.

    Parameters
    ----------
    table
        Marker table in the form of :func:`cellkey.llm.marker_table`.
    parameters
        Rule and thresholds.
    tissue
        Haemoglobin genes are shown only where the tissue is one that makes or carries blood.

    Notes
    -----
    The result does not depend on the order of rows, except in tables without any number (gene lists), where
    the
    order of the list is the ranking.
    """
    chosen = parameters or SelectionParameters()
    return {
        str(cluster): _select(str(cluster), rows, chosen, tissue)
        for cluster, rows in table.groupby("cluster", sort=False)
    }


def _select(
    cluster: str, rows: pd.DataFrame, parameters: SelectionParameters, tissue: str
) -> MarkerSelection:
    if rows[["avg_log2FC", "p_val_adj", "score"]].isna().all(axis=None):
        genes = _shown(rows.head(parameters.n_genes))
        return MarkerSelection(cluster, genes, low_markers=len(genes) < 10)
    ranked = _ranked(_with_finite_folds(rows), parameters)
    if parameters.rule == "cassia":
        passing = ranked[_passes(ranked, parameters, either_fraction=True)]
        genes = _shown(passing.head(parameters.n_genes))
        return MarkerSelection(cluster, genes, low_markers=len(genes) < 10)
    return _balanced(cluster, ranked, parameters, tissue)


def _balanced(
    cluster: str, ranked: pd.DataFrame, parameters: SelectionParameters, tissue: str
) -> MarkerSelection:
    housekeeping = _housekeeping_mask(ranked["gene"], tissue)
    passing = _passes(ranked, parameters)
    shown, relaxed = ranked[passing & ~housekeeping], False
    if len(shown) < 10:
        relaxed = True
        loose = passing | (ranked["avg_log2FC"] > 0.5).to_numpy()
        shown = ranked[loose & ~housekeeping]
    if shown.empty:
        shown = ranked[~housekeeping].head(10)
    if shown.empty:
        shown = ranked.head(10)
    return MarkerSelection(
        cluster,
        _shown(shown.head(parameters.n_genes)),
        _shown(_lacking(ranked)),
        int((passing & housekeeping).sum()),
        relaxed,
    )


def _with_finite_folds(rows: pd.DataFrame) -> pd.DataFrame:
    """Replace infinite fold changes by the largest and smallest finite one."""
    folds = rows["avg_log2FC"].to_numpy()
    finite = folds[np.isfinite(folds)]
    high, low = (finite.max(), finite.min()) if finite.size else (0.0, 0.0)
    return rows.assign(
        avg_log2FC=np.where(np.isposinf(folds), high, np.where(np.isneginf(folds), low, folds))
    )


def _passes(
    rows: pd.DataFrame, parameters: SelectionParameters, *, either_fraction: bool = False
) -> np.ndarray:
    """Mask of rows that pass the filters; a number that the table lacks filters nothing."""
    p_adj, fold = rows["p_val_adj"].to_numpy(), rows["avg_log2FC"].to_numpy()
    inside, outside = rows["pct.1"].to_numpy(), rows["pct.2"].to_numpy()
    often = np.isnan(inside) | (inside >= parameters.min_fraction)
    if either_fraction:
        often |= outside >= parameters.min_fraction
    significant = np.isnan(p_adj) | (p_adj < parameters.max_p_adj)
    higher = np.isnan(fold) | (fold > parameters.min_log2fc)
    if np.isnan(fold).all():
        higher = ~(rows["score"].to_numpy() <= 0)
    mask: np.ndarray = significant & higher & often
    return mask


def _ranked(rows: pd.DataFrame, parameters: SelectionParameters) -> pd.DataFrame:
    """Rows best first; ties by difference of fractions, fold change and name."""
    order = parameters.order or ("statistic" if parameters.rule == "balanced" else "fold_change")
    fold = np.nan_to_num(rows["avg_log2FC"].to_numpy(), nan=-np.inf)
    difference = np.nan_to_num(rows["pct.1"].to_numpy() - rows["pct.2"].to_numpy(), nan=-1.0)
    first = _first_key(rows, order, fold, difference)
    keys = (rows["gene"].to_numpy(dtype=str), -fold, -difference, -first)  # the last key counts first
    return rows.iloc[np.lexsort(keys)]


def _first_key(rows: pd.DataFrame, order: str, fold: np.ndarray, difference: np.ndarray) -> np.ndarray:
    if order == "fold_change":
        return fold
    if order == "fraction_difference":
        return difference
    if order == "p_adj":
        p_adj: np.ndarray = -np.nan_to_num(rows["p_val_adj"].to_numpy(dtype=float), nan=1.0)
        return p_adj
    return _statistic(rows, fold)


def _statistic(rows: pd.DataFrame, fold: np.ndarray) -> np.ndarray:
    """The test's statistic, or the signed negative logarithm of p where the table has none."""
    score = rows["score"].to_numpy(dtype=float)
    if not np.isnan(score).all():
        known: np.ndarray = np.nan_to_num(score, nan=-np.inf)
        return known
    p_value = rows["p_val"].to_numpy()
    p_value = np.where(np.isnan(p_value), rows["p_val_adj"].to_numpy(), p_value)
    significance = -np.log10(np.clip(np.nan_to_num(p_value, nan=1.0), 1e-300, 1.0))
    signed: np.ndarray = significance * np.sign(np.where(np.isfinite(fold), fold, 0.0))
    return signed


def _lacking(ranked: pd.DataFrame, count: int = 8) -> pd.DataFrame:
    """Genes that most other cells express and this cluster does not."""
    absent = (ranked["pct.2"] >= 0.25) & (ranked["avg_log2FC"] < -1) & (ranked["p_val_adj"].fillna(0) < 0.05)
    return ranked[absent & ~_housekeeping_mask(ranked["gene"], "")].iloc[::-1].head(count)


def _housekeeping_mask(genes: pd.Series, tissue: str) -> np.ndarray:
    patterns = [_HOUSEKEEPING] if _BLOODY.search(tissue) else [_HOUSEKEEPING, _HAEMOGLOBIN]
    return np.array([any(p.fullmatch(g) for p in patterns) for g in genes], dtype=bool)


def _shown(rows: pd.DataFrame) -> tuple[ShownGene, ...]:
    columns = (rows[c] for c in ("gene", "avg_log2FC", "pct.1", "pct.2", "p_val_adj"))
    return tuple(ShownGene(str(g), *map(float, numbers)) for g, *numbers in zip(*columns, strict=True))
