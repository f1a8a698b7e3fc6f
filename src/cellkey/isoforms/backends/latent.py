"""Factor analysis per channel, then partial correlations of what the factors explain; for comparison."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.isoforms.backend_settings import LatentParameters
from cellkey.isoforms.backends.baseline import ORIGINAL_FEATURES, partial_correlations
from cellkey.isoforms.backends.gene_graph import gene_graph_network
from cellkey.isoforms.backends.interface import Backend, Network
from cellkey.isoforms.feature_matrix import CHANNELS, SWITCH

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from numpy.typing import NDArray

    from cellkey.isoforms.feature_matrix import FeatureMatrix

    Array = NDArray[np.float64]

__all__ = ["BACKEND", "Denoised", "denoised_features", "infer_from"]


@dataclass(frozen=True, slots=True)
class Denoised:
    """Features as the factors explain them, and how the factors were fitted."""

    values: Array
    calibration: dict[str, Any]


def denoised_features(values: Array, feature_types: NDArray[np.object_], parameters: LatentParameters) -> Denoised:
    """Return features x samples rebuilt from the factors of each channel; channels of one row pass unchanged."""
    rebuilt = values.copy()
    fits: dict[str, _ChannelFit] = {}
    for channel in CHANNELS:
        rows = np.flatnonzero(feature_types == channel)
        if len(rows) >= 2:
            fits[channel] = _fit_channel(values[rows], parameters)
            rebuilt[rows] = fits[channel].rebuilt
    if not fits:
        return Denoised(rebuilt, {})
    used = {channel: f.n_components for channel, f in fits.items()}
    return Denoised(
        rebuilt,
        {
            "mean_log_likelihood": float(np.mean([f.log_likelihood for f in fits.values()])),
            "reconstruction_rmse": float(np.sqrt(np.mean((values - rebuilt) ** 2))),
            "mean_noise_variance": float(np.mean(np.concatenate([f.noise for f in fits.values()]))),
            "n_components_used": used.get(SWITCH, next(iter(used.values()))),
            "n_components_per_channel": used,
            "n_components_selected_by": "cv" if parameters.n_components_grid else "fixed",
            "n_iter": max(f.n_iter for f in fits.values()),
            "converged": all(f.n_iter < parameters.max_iter for f in fits.values()),
        },
    )


@dataclass(frozen=True, slots=True)
class _ChannelFit:
    rebuilt: Array
    n_components: int
    log_likelihood: float
    noise: Array
    n_iter: int


def _fit_channel(rows: Array, parameters: LatentParameters) -> _ChannelFit:
    data = rows.T
    with _without_convergence_warnings():
        k = _number_of_factors(data, parameters)
        model = _factor_analysis(k, parameters).fit(data)
    rebuilt = model.transform(data) @ model.components_ + model.mean_
    return _ChannelFit(rebuilt.T, k, float(model.score(data)), np.asarray(model.noise_variance_), int(model.n_iter_))


@contextlib.contextmanager
def _without_convergence_warnings() -> Iterator[None]:
    """Whether the fit converged is in the calibration; candidates that do not are part of the choice."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _factor_analysis(k: int, parameters: LatentParameters) -> Any:
    from sklearn.decomposition import FactorAnalysis

    return FactorAnalysis(n_components=k, max_iter=parameters.max_iter, tol=parameters.tol, random_state=0)


def _number_of_factors(data: Array, parameters: LatentParameters) -> int:
    """The number with the best held-out log-likelihood over five folds at most; the smaller one on a tie."""
    from sklearn.model_selection import KFold

    widest = int(max(1, min(data.shape[1] - 1, data.shape[0] - 1)))
    if not parameters.n_components_grid:
        return min(parameters.n_components, widest)
    candidates = sorted({min(max(k, 1), widest) for k in parameters.n_components_grid})
    folds = list(KFold(min(5, len(data)), shuffle=True, random_state=0).split(data))
    scores = [
        np.mean([_factor_analysis(k, parameters).fit(data[train]).score(data[test]) for train, test in folds])
        for k in candidates
    ]
    return candidates[int(np.argmax(scores))]


def infer_from(
    values: Array,
    features: FeatureMatrix,
    parameters: LatentParameters,
    seed: int,
    reliability: pd.Series,
    calibration: dict[str, Any],
) -> Network:
    """Return the network of denoised ``values``, which stand in for those of ``features``."""
    denoised = denoised_features(values, features.feature_types, parameters)
    similarity, shrinkage = partial_correlations(denoised.values)
    report = denoised.calibration | {"shrinkage": shrinkage, "alpha": parameters.alpha} | calibration
    return gene_graph_network(features, similarity, parameters, reliability, seed=seed, calibration=report)


def infer(
    features: FeatureMatrix, parameters: LatentParameters, rng: np.random.Generator, reliability: pd.Series
) -> Network:
    """Return modules of the thresholded partial correlations of denoised features."""
    return infer_from(features.values, features, parameters, int(rng.integers(2**31)), reliability, {})


BACKEND = Backend(
    name="latent",
    description="factor analysis per channel, partial correlations above a threshold, connected components",
    parameters=LatentParameters,
    infer=infer,
    feature_defaults=ORIGINAL_FEATURES,
)
