r"""Scores from a cell type's own markers: enrichment, positive fraction, differential rank, anti-markers.

For cluster :math:`c` and cell type :math:`k` with measured markers :math:`R` and anti-markers :math:`A`

.. math::
    S_{ck} = E + P + D - A - w_{cov} (1 - \mathrm{coverage})

with :math:`E` the mean enrichment :math:`e_{cm} = (l_{cm} - g_m) / s_m`, :math:`P` the mean share of cells at
or above the marker's threshold, :math:`D` the differential bonus and :math:`A` the anti-marker penalty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
import scipy.sparse as sp
from pydantic import Field

from cellkey.parameters import Parameters
from cellkey.scoring.evidence import Evidence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellkey.profiles.profile import ClusterProfiles
    from cellkey.scoring.key import MeasuredKey

__all__ = [
    "MarkerDetails", "MarkerScoring", "MarkerStatistics", "differential_universe", "marker_statistics", "score_markers",
]

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
_NO_NATURAL_ZERO = 0.05
_SMALL_PANEL = 200  # at most this many features: rank all of them for the differential bonus


class MarkerScoring(Parameters):
    """Parameters of the marker score.

    Attributes
    ----------
    positive_quantile
        Quantile (0.05 to 0.99) of the positivity threshold. Higher is stricter; 0.75 suits deep data, sparse
        spatial data want 0.5 to 0.6.
    de_bonus
        Weight of the differential bonus.
    anti_weight
        Weight of the anti-marker penalty.
    anti_agg
        How several anti-markers combine: mean of the two largest, the largest (strict), or the mean.
    coverage_weight
        Points lost when no listed marker is measured; in proportion for partial coverage.
    de_top_frac, de_min_k, de_max_k
        Size of a cluster's list of top differential markers: this share of the universe, within bounds.
    de_commonness_alpha
        Discount of markers that many cell types list: the weight is divided by (number of types) ** alpha.
    use_idf
        Weight the means of enrichment and positive fraction by inverse document frequency.
    positive_basis
        What the quantile is taken over: ``auto`` (non-zero values of markers found in most cells; for the
        others "expresses it at all"), ``nonzero`` or ``all``.
    center
        Centre of a marker: ``auto`` (median where most cells express it, else mean), ``median``, ``mean``.
    de_universe
        Features that are ranked: ``auto`` (all of at most 200, else the markers of the hierarchy), ``all``,
        ``markers``.
    """

    positive_quantile: Annotated[float, Field(ge=0.05, le=0.99)] = 0.75
    de_bonus: Annotated[float, Field(ge=0.0)] = 0.5
    anti_weight: Annotated[float, Field(ge=0.0)] = 0.5
    anti_agg: Literal["top2mean", "max", "mean"] = "top2mean"
    coverage_weight: Annotated[float, Field(ge=0.0)] = 0.3
    de_top_frac: Fraction = 0.2
    de_min_k: Annotated[int, Field(ge=0)] = 3
    de_max_k: Annotated[int, Field(ge=0)] = 12
    de_commonness_alpha: Annotated[float, Field(ge=0.0)] = 0.5
    use_idf: bool = False
    positive_basis: Literal["auto", "nonzero", "all"] = "auto"
    center: Literal["auto", "median", "mean"] = "auto"
    de_universe: Literal["auto", "all", "markers"] = "auto"

    @classmethod
    def legacy(cls) -> Self:
        """Return the settings under which the scores equal those of CellType-Refinery 1.0."""
        return cls(coverage_weight=0.0, positive_basis="all", center="median", de_universe="all")


@dataclass(frozen=True, slots=True)
class MarkerStatistics:
    """Per-marker statistics on which all scores rest.

    ``center``, ``enrichment`` and ``positive`` are clusters x genes; ``overall``, ``std``, ``threshold`` and
    ``zero_share`` have one value per gene, of stacked resamples clusters x genes as well.
    """

    center: NDArray[np.float64]
    enrichment: NDArray[np.float64]
    positive: NDArray[np.float64]
    overall: NDArray[np.float64]
    std: NDArray[np.float64]
    threshold: NDArray[np.float64]
    zero_share: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MarkerDetails:
    """What the tables and gates of marker evidence need beside the scores."""

    statistics: MarkerStatistics
    de_weight: NDArray[np.float64]
    """Rank weight of each gene in each cluster's top list, before the discount; clusters x genes."""
    de_k: NDArray[np.int64]
    de_n_positive: NDArray[np.int64]
    idf: NDArray[np.float64]
    on: NDArray[np.bool_]
    """Whether a marker is on, by level limit; levels x clusters x genes."""
    anti_positive: NDArray[np.float64]
    """Aggregated positive fraction of the anti-markers; clusters x nodes."""
    parameters: MarkerScoring
    hidden: NDArray[np.int64] | None = None
    """For each cluster a column that counts as not measured, -1 for none; None if there are none at all."""


def marker_statistics(profiles: ClusterProfiles, parameters: MarkerScoring) -> MarkerStatistics:
    """Return enrichment and positive fraction of every gene in every cluster.

    Raises
    ------
    ValueError
        If the profiles do not hold the positivity quantile or were made with another threshold rule.
    """
    at = profiles.at_quantile(parameters.positive_quantile)
    if at is None or profiles.basis != parameters.positive_basis:
        msg = "the profiles do not hold this positive_quantile and positive_basis: compute them with these"
        raise ValueError(msg)
    sparse = profiles.zero_share >= 0.5
    use_mean = {"auto": sparse, "mean": np.ones_like(sparse), "median": np.zeros_like(sparse)}[parameters.center]
    center = np.where(use_mean, profiles.mean, profiles.median)
    overall = np.where(use_mean, profiles.overall_mean, profiles.overall_median)
    std = profiles.overall_std
    enrichment = np.divide(center - overall, std, out=np.zeros_like(center), where=std > 0)
    return MarkerStatistics(
        center, enrichment, profiles.positive[at], overall, std, profiles.thresholds[at], profiles.zero_share
    )


def score_markers(
    profiles: ClusterProfiles,
    key: MeasuredKey,
    parameters: MarkerScoring,
    *,
    on_limits: NDArray[np.float64] | None = None,
    features: NDArray[np.bool_] | None = None,
    hidden: NDArray[np.int64] | None = None,
) -> Evidence:
    """Score every cell type of the key in every cluster.

    Parameters
    ----------
    profiles
        Cluster profiles, on the scale of the scoring layer; also those of
        :meth:`~cellkey.profiles.resampling.Resamples.stacked`.
    key
        The hierarchy, measured on ``profiles.var_names``.
    parameters
        Weights and rules.
    on_limits
        Positive fraction above which a marker counts as on, one per level of the hierarchy; 0.15 when None.
    features
        Genes that take part in the ranking of differential markers (technical markers do not); all if None.
    hidden
        For each cluster a column that counts as not measured there, -1 for none, shape (clusters,). The scores are
        those of the hierarchy without it, cluster by cluster; None hides nothing.

    Returns
    -------
    Evidence
        Components ``coverage``, ``mean_enrichment``, ``mean_positive_fraction``, ``frac_markers_on``,
        ``detection`` (mean share of cells that express the markers at all), ``de_component``, ``anti_penalty``
        and ``coverage_penalty``. A cell type without measured markers has coverage 0 and zero parts.
    """
    statistics = marker_statistics(profiles, parameters)
    n_levels = key.hierarchy.depth
    limits = np.full(n_levels, 0.15) if on_limits is None else np.asarray(on_limits, dtype=np.float64)
    on = (statistics.enrichment > 0)[None] & (statistics.positive[None] > limits[:, None, None])
    frequency = _document_frequency(key)
    idf = np.maximum(np.log(key.n_nodes / (frequency + 1.0)), 0.1) if parameters.use_idf else np.ones(profiles.n_vars)
    de_weight, de_k, n_positive = _differential_weights(profiles, key, parameters, features, hidden)
    listed, against = _Membership.of(key.markers, hidden), _Membership.of(key.anti_markers, hidden)
    at, opposed = listed.columns, against.columns
    discounted = de_weight[:, at] / np.maximum(frequency[at], 1.0) ** parameters.de_commonness_alpha
    enrichment = listed.means(statistics.enrichment[:, at], idf[at])
    positive = listed.means(statistics.positive[:, at], idf[at])
    detection = listed.means(_expressed(profiles, statistics, at))
    bonus = parameters.de_bonus * listed.means(discounted)
    frac_on = _frac_on(on, listed, key.levels)
    anti_enrichment = against.combined(np.maximum(statistics.enrichment[:, opposed], 0.0), parameters.anti_agg)
    anti_positive = against.combined(statistics.positive[:, opposed], parameters.anti_agg)
    penalty = parameters.anti_weight * (anti_enrichment + anti_positive)
    coverage = np.broadcast_to(listed.sizes / np.maximum(key.n_listed, 1), enrichment.shape)
    lost = parameters.coverage_weight * (1.0 - coverage)
    return Evidence(
        groups=profiles.groups,
        n_cells=profiles.n_cells,
        key=key,
        method="markers",
        score=enrichment + positive + bonus - penalty - lost,
        components={
            "coverage": coverage,
            "mean_enrichment": enrichment,
            "mean_positive_fraction": positive,
            "frac_markers_on": frac_on,
            "detection": detection,
            "de_component": bonus,
            "anti_penalty": penalty,
            "coverage_penalty": lost,
        },
        details=MarkerDetails(statistics, de_weight, de_k, n_positive, idf, on, anti_positive, parameters, hidden),
    )


def _expressed(
    profiles: ClusterProfiles, statistics: MarkerStatistics, at: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Share of cells above zero; for values without a natural zero (intensities) the positive fraction."""
    no_zero = profiles.zero_share[..., at] < _NO_NATURAL_ZERO
    return np.where(no_zero, statistics.positive[:, at], profiles.detection[:, at])


def _document_frequency(key: MeasuredKey) -> NDArray[np.float64]:
    """Number of cell types that list each gene."""
    listed = np.concatenate([np.asarray(m, dtype=np.intp) for m in key.markers]) if key.markers else np.array([], int)
    return np.bincount(listed.astype(np.intp), minlength=len(key.var_names)).astype(np.float64)


def differential_universe(
    key: MeasuredKey, parameters: MarkerScoring, features: NDArray[np.bool_] | None = None
) -> NDArray[np.intp]:
    """Return the columns that are ranked for the differential bonus, ascending; see :class:`MarkerScoring`."""
    kept = np.ones(len(key.var_names), dtype=bool) if features is None else features
    small = parameters.de_universe == "auto" and int(kept.sum()) <= _SMALL_PANEL
    return np.flatnonzero(kept) if small or parameters.de_universe == "all" else key.used_columns()


def _differential_weights(
    profiles: ClusterProfiles, key: MeasuredKey, parameters: MarkerScoring, features: NDArray[np.bool_] | None,
    hidden: NDArray[np.int64] | None,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Weight 1, (K-1)/K, ... of the K most differential genes of each cluster; ties by gene name."""
    universe = differential_universe(key, parameters, features)
    universe = universe[np.argsort(profiles.var_names[universe].astype(str), kind="stable")]
    # Rounding of sums in another cell order must not break a tie, hence 10 decimals.
    z = np.round(profiles.rank_z[:, universe], 10)
    n_ranked = np.full(len(z), len(universe))
    if hidden is not None:
        is_hidden = universe == hidden[:, None]
        z[is_hidden] = -np.inf
        n_ranked -= is_hidden.sum(axis=1)
    wanted = np.maximum(parameters.de_min_k, np.ceil(parameters.de_top_frac * n_ranked - 1e-9).astype(np.int64))
    n_positive = (z > 0).sum(axis=1)
    k = np.minimum(np.minimum(parameters.de_max_k, wanted), n_positive)
    order = np.argsort(-z, axis=1, kind="stable")
    weights = np.zeros(profiles.rank_z.shape)
    for rank in range(int(k.max(initial=0))):
        row = np.flatnonzero(k > rank)
        weights[row, universe[order[row, rank]]] = (k[row] - rank) / k[row]
    return weights, k.astype(np.int64), n_positive.astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Membership:
    """Which genes make up the score of each node; values are given for ``columns`` alone.

    Attributes
    ----------
    sets
        Columns of each node's genes.
    columns
        All of these columns, ascending.
    member
        Nodes x ``columns``, 1 where a node lists a gene; sparse, since a node lists a handful.
    measured
        Clusters x ``columns``, false for a hidden gene; None if nothing is hidden.
    """

    sets: tuple[tuple[int, ...], ...]
    columns: NDArray[np.intp]
    member: sp.csr_array
    measured: NDArray[np.bool_] | None

    @classmethod
    def of(cls, sets: tuple[tuple[int, ...], ...], hidden: NDArray[np.int64] | None) -> _Membership:
        listed = np.array([c for part in sets for c in part], dtype=np.intp)
        starts = np.cumsum([0, *(len(part) for part in sets)])
        columns, places = np.unique(listed, return_inverse=True)
        member = sp.csr_array((np.ones(len(listed)), places, starts), shape=(len(sets), len(columns)))
        return cls(sets, columns, member, None if hidden is None else columns != hidden[:, None])

    @property
    def sizes(self) -> NDArray[np.float64]:
        """Measured genes per node, shape (nodes,) or clusters x nodes."""
        return self._total(self.member)

    def _total(self, member: sp.csr_array) -> NDArray[np.float64]:
        if self.measured is None:
            return np.asarray(member.sum(axis=1)).ravel()
        return np.asarray((member @ self.measured.T.astype(np.float64)).T)

    def means(self, values: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Mean over each node's genes, clusters x nodes; 0 for an empty set."""
        member = self.member if weights is None else self.member * weights
        known = values if self.measured is None else np.where(self.measured, values, 0.0)
        total = self._total(member)
        means: NDArray[np.float64] = np.zeros((len(values), member.shape[0]))
        np.divide((member @ known.T).T, total, out=means, where=total > 0)
        return means

    def combined(self, values: NDArray[np.float64], how: str) -> NDArray[np.float64]:
        """The mean of each node's genes, or of the one or two largest; 0 for an empty set."""
        if how == "mean":
            return self.means(values)
        top = 1 if how == "max" else 2
        inside = values if self.measured is None else np.where(self.measured, values, -np.inf)
        result = np.zeros((len(values), len(self.sets)))
        for node, places in enumerate(np.split(self.member.indices, self.member.indptr[1:-1])):
            if len(places):
                largest = np.sort(inside[:, places], axis=1)[:, ::-1][:, :top]
                known = largest > -np.inf
                total = np.where(known, largest, 0.0).sum(axis=1)
                result[:, node] = total / np.maximum(known.sum(axis=1), 1)
        return result


def _frac_on(on: NDArray[np.bool_], listed: _Membership, levels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of each node's markers that are on by the limit of its level; ``on`` is levels x clusters x genes."""
    by_level = np.stack([listed.means(level[:, listed.columns].astype(np.float64)) for level in on])
    return by_level[levels, :, np.arange(len(levels))].T
