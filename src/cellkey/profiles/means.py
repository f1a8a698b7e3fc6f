"""Mean expression of groups of cells on a log scale: all that enrichment scoring looks at."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cellkey.errors import CellkeyWarning, InputError, ScaleError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from cellkey.profiles.profile import ClusterProfiles
    from cellkey.profiles.resampling import Resamples
    from cellkey.profiles.sums import GroupSums

__all__ = ["ClusterMeans", "Duplicates", "ResampledMeans", "means_from_profiles", "means_from_table", "normalise_means"]

Duplicates = Literal["sum", "mean"]
InputType = Literal["raw_cluster_means", "normalized"]


@dataclass(frozen=True, slots=True)
class ClusterMeans:
    """Mean expression of groups, without genes that are zero everywhere.

    Attributes
    ----------
    groups
        Names of the groups, in the order of the input.
    genes
        Gene names, object array, shape (genes,), each once.
    values
        Groups x genes, float64, on a log scale. A group with a missing value is missing as a whole (NaN).
    n_cells
        Cells per group, int64; zero where unknown.
    detection
        Share of the group's cells above zero, groups x genes; None where cells were not seen.
    error
        Standard error of ``values`` from counting transcripts, groups x genes; None where it is not known.
    """

    groups: tuple[str, ...]
    genes: NDArray[np.object_]
    values: NDArray[np.float64]
    n_cells: NDArray[np.int64]
    detection: NDArray[np.float64] | None = None
    error: NDArray[np.float64] | None = None

    @property
    def bulk(self) -> NDArray[np.float64]:
        """Mean of each gene over the groups, every group counting once; shape (genes,)."""
        complete = np.isfinite(self.values).all(axis=1)
        if not complete.any():
            return np.zeros(len(self.genes))
        return np.asarray((self.values if complete.all() else self.values[complete]).mean(axis=0))


def means_from_profiles(profiles: ClusterProfiles | GroupSums, *, logged: bool | None = None) -> ClusterMeans:
    """Return the means of cluster profiles on a log scale.

    Of a gene name that appears more than once the first column is used, as everywhere else.

    Parameters
    ----------
    profiles
        On the scale of the scoring layer; :class:`~cellkey.profiles.sums.GroupSums` hold all that is needed.
    logged
        Whether that scale is ``log1p`` of scaled counts; None takes it from the facts of the profiles. Means
        of logs are small for genes that few cells express, however strongly; enrichment compares logs of
        means, which profiles hold in good approximation: the share of expressing cells times what an
        expressing cell has on the geometric average.
    """
    kept = _first_columns(profiles.var_names)
    kept = kept[(profiles.mean[:, kept] != 0).any(axis=0)]
    detection = profiles.detection[:, kept]
    logged = _is_logged(profiles) if logged is None else logged
    values, error = _on_log_scale(profiles.mean[:, kept], detection, profiles.n_cells, logged=logged)
    return ClusterMeans(profiles.groups, profiles.var_names[kept], values, profiles.n_cells, detection, error)


class ResampledMeans:
    """Means of resamples: only genes that are held differ from those of the whole data.

    Calling it with the number of a resample gives what :func:`means_from_profiles` gives for the groups that have
    cells in it, but that the error is known for the genes held and those of ``also`` alone, and 0 for others.

    Parameters
    ----------
    profiles
        Of the whole data.
    resamples
        Of them.
    also
        Further genes whose error is needed, as columns of the profiles.
    """

    def __init__(self, profiles: ClusterProfiles, resamples: Resamples, *, also: NDArray[np.int64]) -> None:
        first = _first_columns(profiles.var_names)
        fresh = np.intersect1d(np.union1d(resamples.columns, also), first)
        shown = (profiles.mean[:, first] != 0).any(axis=0) | np.isin(first, fresh)
        columns = first[shown]
        self._names, self._places = profiles.var_names[columns], np.searchsorted(columns, fresh)
        self._logged = _is_logged(profiles)
        self._detection, self._shown = profiles.detection[:, columns], profiles.mean[:, columns] != 0
        self._values, _ = _on_log_scale(
            profiles.mean[:, columns], self._detection, profiles.n_cells, logged=self._logged
        )
        self._fresh, self._resamples = profiles.subset(fresh), resamples.of_genes(fresh)

    def __call__(self, index: int) -> ClusterMeans:
        present = np.flatnonzero(self._resamples.n_cells[index])
        drawn = self._resamples.profiles(self._fresh, index).of_groups(present.tolist())
        # Sums over groups depend on the layout in the last digit: it is that of a choice of columns everywhere.
        drawn_mean, drawn_detection = np.asfortranarray(drawn.mean), np.asfortranarray(drawn.detection)
        new, new_error = _on_log_scale(drawn_mean, drawn_detection, drawn.n_cells, logged=self._logged)
        values, detection, shown = (
            np.asfortranarray(whole[present]) for whole in (self._values, self._detection, self._shown)
        )
        at = self._places
        values[:, at], detection[:, at], shown[:, at] = new, drawn_detection, drawn_mean != 0
        error = None
        if new_error is not None:
            error = np.zeros(values.shape, order="F")
            error[:, at] = new_error
        kept = shown.any(axis=0)
        if kept.all():
            return ClusterMeans(drawn.groups, self._names, values, drawn.n_cells, detection, error)
        chosen = np.flatnonzero(kept)
        return ClusterMeans(drawn.groups, self._names[chosen], values[:, chosen], drawn.n_cells, detection[:, chosen],
                            None if error is None else error[:, chosen])


def _first_columns(names: NDArray[np.object_]) -> NDArray[np.intp]:
    """Columns of the first of equal names, ascending."""
    texts = [str(name) for name in names]
    first = dict(zip(reversed(texts), range(len(texts) - 1, -1, -1), strict=True))
    return np.sort(np.fromiter(first.values(), dtype=np.intp, count=len(first)))


def _is_logged(profiles: ClusterProfiles | GroupSums) -> bool:
    return profiles.info.get("values") in ("counts", "log-normalised")


def _on_log_scale(
    mean: NDArray[np.float64], detection: NDArray[np.float64], n_cells: NDArray[np.int64], *, logged: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Logs of means from means of logs, with their error; values of another scale as they are, without."""
    if not logged:
        return mean, None
    expressed = np.divide(mean, detection, out=np.zeros_like(mean), where=detection > 0)
    values = np.log1p(detection * np.expm1(expressed))
    return values, _counting_error(values, detection * n_cells[:, None], n_cells)


def means_from_table(
    table: pd.DataFrame,
    *,
    input_type: str = "raw_cluster_means",
    scale_factor: float = 1e4,
    uppercase: bool = True,
    duplicates: Duplicates = "sum",
    keep_negative: bool = True,
    n_cells: Mapping[str, int] | None = None,
) -> ClusterMeans:
    """Return the means that a genes x clusters table holds.

    Parameters
    ----------
    table
        Genes in rows, clusters in columns; mean counts, or values that are on a log scale already.
    input_type
        ``"raw_cluster_means"`` (scaled to ``scale_factor`` per cluster, then ``log1p``) or ``"normalized"``
        (used as they are).
    scale_factor
        Sum of a cluster after scaling; 10,000 is the convention of the field.
    uppercase
        Turn gene names into upper case.
    duplicates
        What becomes of rows with one name: their sum (two halves of one gene) or their mean. Values on a log
        scale are always averaged.
    keep_negative
        Keep genes whose sum over clusters is not above zero; only genes that are zero everywhere are dropped.
    n_cells
        Cells of every cluster, by its name. With them the sampling error of mean counts is known.

    Raises
    ------
    TypeError
        If ``table`` is not a table, or holds values that are not numbers.
    InputError
        If it has no rows or no columns, or ``input_type`` is unknown.

    Warns
    -----
    CellkeyWarning
        If a cluster holds missing values; it cannot be scored and is reported as such.
    """
    _check_table(table, input_type)
    names = [str(g).strip() for g in table.index]
    names = [g.upper() for g in names] if uppercase else names
    how: Duplicates = duplicates if input_type == "raw_cluster_means" else "mean"
    genes, values = _united(names, table.to_numpy(dtype=np.float64).T, how)
    groups = tuple(str(c) for c in table.columns)
    if len(set(groups)) < len(groups):
        twice = sorted({g for g in groups if groups.count(g) > 1})
        msg = f"cluster names must differ, but {', '.join(twice[:5])} appear more than once"
        raise InputError(msg)
    complete: NDArray[np.bool_] = np.asarray(np.isfinite(values).all(axis=1))
    if not complete.all():
        lost = [g for g, ok in zip(groups, complete, strict=True) if not ok]
        msg = f"{len(lost)} cluster(s) hold missing values and cannot be scored: {', '.join(lost[:5])}"
        warnings.warn(msg, CellkeyWarning, stacklevel=3)
    values = np.where(complete[:, None], values, np.nan)
    total = np.where(complete[:, None], values, 0.0)
    kept = (total != 0).any(axis=0) if keep_negative else total.sum(axis=0) > 0
    genes, values = genes[kept], values[:, kept]
    if input_type != "raw_cluster_means":
        return ClusterMeans(groups, genes, values, _cells_of(groups, n_cells))
    logged, cells = normalise_means(values, scale_factor), _cells_of(groups, n_cells)
    error = None if n_cells is None else _counting_error(logged, values * cells[:, None], cells)
    return ClusterMeans(groups, genes, logged, cells, None, error)


def _cells_of(groups: Sequence[str], n_cells: Mapping[str, int] | None) -> NDArray[np.int64]:
    """Cells of each group, zero where unknown."""
    if n_cells is None:
        return np.zeros(len(groups), dtype=np.int64)
    unknown = [g for g in groups if n_cells.get(g, 0) < 1]
    if unknown:
        msg = f"n_cells must name at least one cell for every cluster, but not for {', '.join(unknown[:5])}"
        raise InputError(msg)
    return np.array([n_cells[g] for g in groups], dtype=np.int64)


def _counting_error(
    values: NDArray[np.float64], seen: NDArray[np.float64], n_cells: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Standard error of ``log1p`` of a mean that rests on ``seen`` transcripts (or expressing cells) of a group.

    The relative error of a count is one over its root. One is added to the count, and its share to the mean:
    that no transcript of a gene was seen does not show that there is none.
    """
    cells = n_cells[:, None].astype(np.float64)
    scaled = np.expm1(values)
    known = np.isfinite(scaled)
    total, of_all = np.where(known, scaled * cells, 0.0).sum(axis=0), np.where(known, seen, 0.0).sum(axis=0)
    one = np.divide(total, of_all, out=np.zeros_like(total), where=of_all > 0) / cells
    return np.asarray((scaled + one) / (1.0 + scaled + one) / np.sqrt(seen + 1.0))


def normalise_means(values: NDArray[np.float64], scale_factor: float = 1e4) -> NDArray[np.float64]:
    """Return ``log1p`` of groups x genes mean counts scaled to ``scale_factor`` per group; empty groups stay 0.

    Raises
    ------
    ScaleError
        If a value is negative.
    """
    if (values < 0).any():
        msg = "mean counts cannot be negative; say input_type='normalized' for values on a log scale"
        raise ScaleError(msg)
    total = values.sum(axis=1, keepdims=True)
    return np.asarray(np.log1p(scale_factor * values / np.where(total == 0, 1.0, total)))


def _check_table(table: Any, input_type: str) -> None:
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        msg = f"expected a pandas table of genes x clusters, got {type(table).__name__}"
        raise TypeError(msg)
    if table.shape[0] == 0 or table.shape[1] == 0:
        msg = f"the table of cluster means is empty: {table.shape[0]} genes x {table.shape[1]} clusters"
        raise InputError(msg)
    wrong = [str(c) for c, kind in table.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)
             or pd.api.types.is_bool_dtype(kind) or pd.api.types.is_complex_dtype(kind)]
    if wrong:
        msg = f"cluster means must be numbers, but column(s) {', '.join(wrong[:5])} hold something else"
        raise TypeError(msg)
    if input_type not in ("raw_cluster_means", "normalized"):
        msg = f"input_type is {input_type!r}; it must be 'raw_cluster_means' or 'normalized'"
        raise InputError(msg)


def _united(
    names: Sequence[str], values: NDArray[np.float64], how: Duplicates
) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
    """Join columns of one name, in the order of first appearance."""
    listed = np.asarray(names, dtype=object)
    unique, first, inverse = np.unique(listed.astype(str), return_index=True, return_inverse=True)
    if len(unique) == len(listed):
        return listed, values
    order = np.argsort(first)
    position = np.empty_like(order)
    position[order] = np.arange(len(order))
    united = np.zeros((len(values), len(unique)))
    np.add.at(united.T, position[inverse], values.T)
    if how == "mean":
        united /= np.bincount(position[inverse], minlength=len(unique))
    return np.asarray(listed[first[order]], dtype=object), united
