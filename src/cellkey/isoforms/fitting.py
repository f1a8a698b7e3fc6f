"""Fit modules to a bundle: features, backend, and everything that is the same for all backends."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cellkey.isoforms.backends import Network, get_backend
from cellkey.isoforms.covariates import covariate_columns
from cellkey.isoforms.eigengenes import Eigengene, membership_table, module_eigengenes
from cellkey.isoforms.evidence import coherence_null, resampled_stability
from cellkey.isoforms.features import FeatureSet, build_features
from cellkey.isoforms.hidden_factors import hidden_factors, without_factors
from cellkey.isoforms.overrides import merge_settings
from cellkey.isoforms.roles import gene_roles
from cellkey.isoforms.settings import FitParameters
from cellkey.isoforms.traits import TraitResults, associate_traits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellkey.isoforms.bundle import Bundle
    from cellkey.isoforms.feature_matrix import FeatureMatrix
    from cellkey.isoforms.modules import ModuleSet

__all__ = ["Fit", "fit", "fit_parameters"]

FEW_SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Fit:
    """Modules of a bundle and what is known about them.

    Parameters
    ----------
    bundle
        The data set, samples in sorted order.
    features
        Features with their trace; ``matrix`` is what the backend saw.
    network
        Modules, edges and calibration of the backend.
    eigengenes
        Profile, variance share and memberships by module id.
    membership, roles, evidence, hidden
        Tables that the written files of the same names hold.
    traits
        Trait tests and models, and the traits that were skipped.
    notes
        What a reader should know, one sentence each.
    seeds
        Effective seed of every random part.
    """

    bundle: Bundle
    parameters: FitParameters
    features: FeatureSet
    network: Network
    eigengenes: Mapping[str, Eigengene]
    membership: pd.DataFrame
    roles: pd.DataFrame
    traits: TraitResults
    hidden: pd.DataFrame
    evidence: pd.DataFrame
    notes: tuple[str, ...]
    seeds: Mapping[str, int]
    started: datetime
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def modules(self) -> ModuleSet:
        """Modules of genes."""
        return self.network.modules


def fit_parameters(values: Mapping[str, Any] | None = None) -> FitParameters:
    """Return fit parameters from nested values; feature settings start from those the backend was designed for.

    Raises
    ------
    ParameterError
        For an unknown backend, unknown names, wrong types or values out of range.
    """
    given = dict(values or {})
    backend = get_backend(str(given.get("backend", "spectral")))
    return FitParameters.parse(
        merge_settings({"features": dict(backend.feature_defaults)}, given), option="fit settings"
    )


def fit(bundle: Bundle, parameters: FitParameters | Mapping[str, Any] | None = None) -> Fit:
    """Return the modules of a bundle with eigengenes, membership, roles, traits and evidence.

    Parameters
    ----------
    bundle
        Data set; the order of its rows and columns does not matter.
    parameters
        Parameters or nested values; None takes the defaults (backend ``spectral``).

    Raises
    ------
    BundleError
        If the bundle lacks what the features, covariates or traits need.
    ParameterError
        If a setting is unknown or out of range.
    """
    settings = parameters if isinstance(parameters, FitParameters) else fit_parameters(parameters)
    clock = _Clock()
    bundle = bundle.in_sample_order()
    backend = get_backend(settings.backend)
    features = build_features(bundle, settings.features, channels=settings.channels)
    clock.lap("features")
    seeds = {"model": settings.seed, "null": settings.seed + 1, "resampling": settings.seed + 2}
    notes: list[str] = []
    hidden, matrix = _guard(bundle, features, settings, notes)
    clock.lap("hidden_factors")
    network = backend.infer(
        matrix, settings.backend_parameters(), np.random.default_rng(settings.seed), features.reliability
    )
    clock.lap("backend")
    modules = network.modules
    eigengenes = module_eigengenes(modules, matrix, settings.modules.eigengene)
    membership = membership_table(
        modules, matrix, eigengenes, network.edges, hub_kme=settings.modules.hub_kme, hub_top=settings.modules.hub_top
    )
    roles = gene_roles(
        modules, matrix, eigengenes, threshold=settings.modules.role_threshold, fdr=settings.modules.role_fdr
    )
    traits = associate_traits(
        {m: e.values for m, e in eigengenes.items()},
        bundle.samples,
        settings.traits,
        columns=settings.traits_asked,
        removed=features.design.covariates,
        removed_terms=matrix.basis.shape[1] - 1,
    )
    clock.lap("summaries")
    evidence = coherence_null(modules, matrix, settings.evidence.n_null, np.random.default_rng(seeds["null"]))
    if settings.evidence.n_resamples:
        evidence = evidence.merge(
            _stability(modules, matrix, settings, features.reliability, seeds), on="module_id", how="left"
        )
    clock.lap("evidence")
    if not len(modules):
        notes.append("no module was found: nothing in the data is shared by enough genes beyond chance")
    if matrix.n_samples < FEW_SAMPLES:
        notes.append(f"{matrix.n_samples} samples are few: {FEW_SAMPLES} are a modest start")
    return Fit(
        bundle=bundle,
        parameters=settings,
        features=replace(features, matrix=matrix),
        network=network,
        eigengenes=eigengenes,
        membership=membership,
        roles=roles,
        traits=traits,
        hidden=hidden,
        evidence=evidence,
        notes=tuple(notes),
        seeds=seeds,
        started=clock.started,
        seconds=clock.seconds,
    )


class _Clock:
    """Wall time of the parts of a fit."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC)
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


def _guard(
    bundle: Bundle, features: FeatureSet, settings: FitParameters, notes: list[str]
) -> tuple[pd.DataFrame, FeatureMatrix]:
    """Look for components that most features follow; remove them only when asked to."""
    columns = pd.DataFrame({"log_library_size": np.log(np.maximum(bundle.transcript_counts.sum(axis=0), 1.0))})
    for name in bundle.samples.columns:
        if name != "sample_id" and pd.api.types.is_numeric_dtype(bundle.samples[name]):
            columns[name] = covariate_columns(bundle.samples[name])[:, 0]
    suspects = ("log_library_size", *(c for c in ("RIN",) if c in columns), *settings.modules.hidden_factor_covariates)
    table, profiles = hidden_factors(
        features.matrix, columns, max_share=settings.modules.hidden_factor_share, suspects=suspects
    )
    flagged = np.flatnonzero(table["flagged"].to_numpy(dtype=bool))
    if not flagged.size:
        return table.assign(removed=False), features.matrix
    remove = settings.modules.remove_hidden_factors
    advice = (
        " (removed)"
        if remove
        else "; if it is not the biology of interest, refit with modules.remove_hidden_factors=true "
        "or name the covariate in features.covariates"
    )
    notes += [f"hidden factor {i + 1}: {table['reason'].iloc[i]}{advice}" for i in flagged]
    matrix = without_factors(features.matrix, profiles[flagged]) if remove else features.matrix
    return table.assign(removed=table["flagged"] & remove), matrix


def _stability(
    modules: ModuleSet, matrix: FeatureMatrix, settings: FitParameters, reliability: pd.Series, seeds: Mapping[str, int]
) -> pd.DataFrame:
    backend = get_backend(settings.backend)

    def refit(part: FeatureMatrix, rng: np.random.Generator) -> ModuleSet:
        return backend.infer(part, settings.backend_parameters(), rng, reliability).modules

    return resampled_stability(modules, matrix, refit, settings.evidence, np.random.default_rng(seeds["resampling"]))
