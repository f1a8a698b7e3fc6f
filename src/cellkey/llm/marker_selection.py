"""Which genes of a cluster are shown to a model."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from cellkey.parameters import Parameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

__all__ = ["MarkerSelection", "SelectionParameters", "ShownGene", "is_housekeeping", "select_markers"]

_HOUSEKEEPING = re.compile(
    r"MT-.*|RP[LS]\d+[A-Z]?\d*(?:L\d*)?|RPL?P[0-2]|RPSA|MRP[LS]\d+|MALAT1|NEAT1|XIST|A[CFLP]\d{6}\.\d+|"
    r"EEF1[ABG]\d?|EEF1D|EEF2|TPT1|FAU|UBA52|NACA|BTF3|"  # translation, which follows the ribosome
    r"LINC\d+|LOC\d+|.+-AS\d|GM\d+|.+RIK|RP\d+-\d+.*|CT[ABCD]-\d+.*",
    re.IGNORECASE,
)
_HAEMOGLOBIN = re.compile(r"HB[ABDEGMQZ]\d?|HBA-A\d|HBB-B[ST\d]", re.IGNORECASE)
_BLOODY = re.compile(r"blood|marrow|spleen|pbmc|haemato|hemato|cord|liver|yolk", re.IGNORECASE)

_SHOWN_FOLD = 10.0
"""Largest log2 fold change that is shown as a number."""


class SelectionParameters(Parameters):
    """How genes are chosen and ordered.

    The rule ``balanced`` ranks by test statistic and never loses a cluster; ``cassia`` repeats the rule of the
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
        # Where the gene is absent elsewhere, the ratio has no upper limit; ten doublings say as much.
        above = ">" if self.log2fc > _SHOWN_FOLD else ""
        parts = [] if np.isnan(self.log2fc) else [f"log2FC {above}{min(self.log2fc, _SHOWN_FOLD):.1f}"]
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
    tissues: Mapping[str, str] | None = None,
) -> dict[str, MarkerSelection]:
    """Return the genes to show for each cluster of ``table``.

    Parameters
    ----------
    table
        Marker table in the form of :func:`cellkey.llm.marker_table`.
    parameters
        Rule and thresholds.
    tissue, tissues
        Haemoglobin genes are shown only where the tissue is one that makes or carries blood; ``tissues`` tells that of
        single clusters.

    Notes
    -----
    The result does not depend on the order of rows, except in tables without any number (gene lists), where
    the order of the list is the ranking.
    """
    chosen, own = parameters or SelectionParameters(), tissues or {}
    arrays = {field: table[column].to_numpy(dtype=float) for column, field in _NUMBERS.items()}
    genes = table["gene"].to_numpy(dtype=str)
    return {
        str(cluster): _select(
            str(cluster), _Rows(genes, **arrays).take(np.asarray(rows)), chosen, own.get(str(cluster), tissue)
        )
        for cluster, rows in table.groupby("cluster", sort=False).indices.items()
    }


_NUMBERS = {
    "avg_log2FC": "fold",
    "pct.1": "inside",
    "pct.2": "outside",
    "p_val": "p_val",
    "p_val_adj": "p_adj",
    "score": "score",
}


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of one cluster as arrays, which select faster than frames."""

    gene: np.ndarray
    fold: np.ndarray
    inside: np.ndarray
    outside: np.ndarray
    p_val: np.ndarray
    p_adj: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.gene)

    def take(self, index: np.ndarray) -> _Rows:
        """Return some rows, by mask or by position."""
        return _Rows(*(getattr(self, f.name)[index] for f in fields(self)))

    def head(self, count: int) -> _Rows:
        """Return the first rows."""
        return self.take(np.arange(min(count, len(self))))

    def shown(self) -> tuple[ShownGene, ...]:
        """Return the rows as values."""
        columns = (self.fold.tolist(), self.inside.tolist(), self.outside.tolist(), self.p_adj.tolist())
        return tuple(map(ShownGene, self.gene.tolist(), *columns))


def _select(cluster: str, rows: _Rows, parameters: SelectionParameters, tissue: str) -> MarkerSelection:
    rows = rows.take(rows.gene != "")  # a cluster without genes has one empty row
    if np.isnan(rows.fold).all() and np.isnan(rows.p_adj).all() and np.isnan(rows.score).all():
        genes = rows.head(parameters.n_genes).shown()
        return MarkerSelection(cluster, genes, low_markers=len(genes) < 10)
    ranked = _ranked(_with_finite_folds(rows), parameters)
    if parameters.rule == "cassia":
        passing = ranked.take(_passes(ranked, parameters, either_fraction=True))
        genes = passing.head(parameters.n_genes).shown()
        return MarkerSelection(cluster, genes, low_markers=len(genes) < 10)
    return _balanced(cluster, ranked, parameters, tissue)


def _balanced(cluster: str, ranked: _Rows, parameters: SelectionParameters, tissue: str) -> MarkerSelection:
    bloody = _BLOODY.search(tissue) is not None
    housekeeping = np.array([is_housekeeping(g, bloody) for g in ranked.gene], dtype=bool)
    passing = _passes(ranked, parameters)
    shown, relaxed = ranked.take(passing & ~housekeeping), False
    if len(shown) < 10:
        relaxed = True
        shown = ranked.take((passing | (ranked.fold > 0.5)) & ~housekeeping)
    if not len(shown):
        shown = ranked.take(~housekeeping).head(10)
    if not len(shown):
        shown = ranked.head(10)
    dropped = int((passing & housekeeping).sum())
    return MarkerSelection(cluster, shown.head(parameters.n_genes).shown(), _lacking(ranked).shown(), dropped, relaxed)


def _with_finite_folds(rows: _Rows) -> _Rows:
    """Replace infinite fold changes by the largest and smallest finite one."""
    finite = rows.fold[np.isfinite(rows.fold)]
    high, low = (finite.max(), finite.min()) if finite.size else (0.0, 0.0)
    fold = np.where(np.isposinf(rows.fold), high, np.where(np.isneginf(rows.fold), low, rows.fold))
    return replace(rows, fold=fold)


def _passes(rows: _Rows, parameters: SelectionParameters, *, either_fraction: bool = False) -> np.ndarray:
    """Mask of rows that pass the filters; a number that the table lacks filters nothing."""
    often = np.isnan(rows.inside) | (rows.inside >= parameters.min_fraction)
    if either_fraction:
        often |= rows.outside >= parameters.min_fraction
    significant = np.isnan(rows.p_adj) | (rows.p_adj < parameters.max_p_adj)
    higher = np.isnan(rows.fold) | (rows.fold > parameters.min_log2fc)
    if np.isnan(rows.fold).all():
        higher = ~(rows.score <= 0)
    mask: np.ndarray = significant & higher & often
    return mask


def _ranked(rows: _Rows, parameters: SelectionParameters) -> _Rows:
    """Rows best first; ties by difference of fractions, fold change and name."""
    order = parameters.order or ("statistic" if parameters.rule == "balanced" else "fold_change")
    fold = np.nan_to_num(rows.fold, nan=-np.inf)
    difference = np.nan_to_num(rows.inside - rows.outside, nan=-1.0)
    first = _first_key(rows, order, fold, difference)
    return rows.take(np.lexsort((rows.gene, -fold, -difference, -first)))  # the last key counts first


def _first_key(rows: _Rows, order: str, fold: np.ndarray, difference: np.ndarray) -> np.ndarray:
    if order == "fold_change":
        return fold
    if order == "fraction_difference":
        return difference
    if order == "p_adj":
        p_adj: np.ndarray = -np.nan_to_num(rows.p_adj, nan=1.0)
        return p_adj
    return _statistic(rows, fold)


def _statistic(rows: _Rows, fold: np.ndarray) -> np.ndarray:
    """The test's statistic, or the signed negative logarithm of p where the table has none."""
    if not np.isnan(rows.score).all():
        known: np.ndarray = np.nan_to_num(rows.score, nan=-np.inf)
        return known
    p_value = np.where(np.isnan(rows.p_val), rows.p_adj, rows.p_val)
    significance = -np.log10(np.clip(np.nan_to_num(p_value, nan=1.0), 1e-300, 1.0))
    signed: np.ndarray = significance * np.sign(np.where(np.isfinite(fold), fold, 0.0))
    return signed


def _lacking(ranked: _Rows, count: int = 8) -> _Rows:
    """Genes that most other cells express and this cluster does not."""
    significant = np.nan_to_num(ranked.p_adj, nan=0.0) < 0.05
    absent = ranked.take((ranked.outside >= 0.25) & (ranked.fold < -1) & significant)
    plain = np.array([not is_housekeeping(g, False) for g in absent.gene], dtype=bool)
    return absent.take(np.flatnonzero(plain)[::-1][:count])


@functools.lru_cache(maxsize=200_000)
def is_housekeeping(gene: str, bloody: bool) -> bool:
    """Return whether a gene says little about a type: mitochondrial, ribosomal, unnamed, haemoglobin outside blood."""
    return bool(_HOUSEKEEPING.fullmatch(gene)) or (not bloody and bool(_HAEMOGLOBIN.fullmatch(gene)))
