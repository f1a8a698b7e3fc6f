"""Features of a bundle: switch and abundance scores, and everything needed to trace them to transcripts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellkey.errors import BundleError
from cellkey.isoforms.abundance import log_expression, scale_factors
from cellkey.isoforms.bundle import GENE_COUNTS, Bundle, FeatureKind
from cellkey.isoforms.composition import (
    GeneBlocks,
    SwitchCoordinates,
    centred_log_ratios,
    gene_blocks,
    gene_totals,
    plain_usage,
    switch_coordinates,
    transcript_usage,
)
from cellkey.isoforms.covariates import Design, design_of, residual_quality
from cellkey.isoforms.feature_matrix import ABUNDANCE, SPLICING, SWITCH, FeatureMatrix, zscore_rows
from cellkey.isoforms.reliability import degradation_weights, estimability_weights
from cellkey.isoforms.settings import Channels, FeatureParameters
from cellkey.isoforms.splicing import event_logits, psi_of_bundle

__all__ = ["FeatureSet", "build_features"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """Features of a bundle with their trace.

    Parameters
    ----------
    matrix
        Residualised feature scores, the input of backends.
    raw
        The same features before covariates were removed.
    loadings
        One row per transcript: ``gene_id``, ``transcript_id``, ``loading``, ``mean_usage``, ``is_driver``,
        ``is_reference``, ``variance_share``.
    usage
        Samples x transcripts usage without pseudocount (NaN where the gene has no reads).
    reliability
        One weight per gene for its switch feature (1 unless a reliability rule is chosen).
    size_factors
        Divisor of every sample, empty without an abundance channel.
    quality
        Per feature, what the covariates explained.
    """

    matrix: FeatureMatrix
    raw: FeatureMatrix
    loadings: pd.DataFrame
    usage: pd.DataFrame
    reliability: pd.Series
    size_factors: pd.Series
    quality: pd.DataFrame
    design: Design


def build_features(
    bundle: Bundle, parameters: FeatureParameters | None = None, *, channels: Channels = "both"
) -> FeatureSet:
    """Return the features of a bundle, samples and features in sorted order.

    Sorting makes every later number independent of the order of rows and columns in the files.

    Raises
    ------
    BundleError
        If the channel has no features (no gene with two transcripts), or a covariate is missing.
    """
    settings = parameters or FeatureParameters()
    bundle = bundle.in_sample_order()
    blocks = gene_blocks(bundle.transcripts)
    usage = transcript_usage(bundle.transcript_counts, blocks, settings.pseudocount)
    ratios = centred_log_ratios(usage, blocks)
    design = design_of(bundle.samples, settings.covariates)
    used_ratios = design.residuals(ratios) if settings.residualise_composition else ratios
    switch = switch_coordinates(
        used_ratios, usage, blocks, orientation=settings.orientation, principal=_principal(bundle, blocks)
    )
    factors = pd.Series(dtype=np.float64)
    parts: list[tuple[pd.DataFrame, Array]] = []
    if channels in ("both", "switch", "all"):
        parts.append(_switch_part(switch, blocks, settings))
    if channels in ("both", "abundance", "all"):
        genes, counts = _gene_counts(bundle, blocks)
        divisors = scale_factors(counts, settings.abundance_normalisation)
        factors = pd.Series(divisors, index=bundle.sample_ids)
        scores = zscore_rows(log_expression(counts, divisors))
        parts.append((_feature_table(genes, ABUNDANCE, np.full(len(genes), np.nan)), scores))
    if channels in ("psi", "all"):
        parts.append(_splicing_part(bundle))
    features, raw = _joined(parts)
    if not len(features):
        msg = (
            f"bundle {bundle.name!r} has no {channels} feature: "
            f"{int((blocks.sizes >= 2).sum())} of {len(blocks.sizes)} genes have two transcripts or more; "
            "use channels=both, or keep more transcripts in 'prepare'"
        )
        raise BundleError(msg)
    scores = design.residuals(raw)
    ids = tuple(bundle.sample_ids)
    intercept = design.basis[:, :1]
    return FeatureSet(
        matrix=FeatureMatrix(scores, features, ids, design.basis, design.covariates),
        raw=FeatureMatrix(raw, features, ids, intercept),
        loadings=_loadings(switch, usage, blocks),
        usage=pd.DataFrame(
            plain_usage(bundle.transcript_counts, blocks).T,
            index=pd.Index(ids, name="sample_id"),
            columns=list(blocks.transcript_ids),
        ),
        reliability=_reliability(bundle, usage, ratios, blocks, settings),
        size_factors=factors,
        quality=residual_quality(features, raw, scores, design),
        design=design,
    )


def _principal(bundle: Bundle, blocks: GeneBlocks) -> NDArray[np.bool_] | None:
    if "is_principal" not in bundle.transcripts.columns:
        return None
    return bundle.transcripts["is_principal"].fillna(False).astype(bool).to_numpy()[blocks.order]


def _switch_part(
    switch: SwitchCoordinates, blocks: GeneBlocks, settings: FeatureParameters
) -> tuple[pd.DataFrame, Array]:
    genes = [blocks.gene_ids[g] for g in switch.genes]
    values = switch.values
    if settings.scale_switch:
        values = zscore_rows(values)
    return _feature_table(genes, SWITCH, blocks.sizes[switch.genes].astype(np.float64)), values


def _splicing_part(bundle: Bundle) -> tuple[pd.DataFrame, Array]:
    events, psi = psi_of_bundle(bundle)
    logits, usable = event_logits(psi)
    chosen = events.iloc[usable]
    table = _feature_table(chosen["gene_id"].astype(str).to_list(), SPLICING, np.full(len(usable), np.nan))
    table["feature_id"] += "::" + chosen["psi_uid"].astype(str).to_numpy(dtype=object)
    return table, zscore_rows(logits)


def _gene_counts(bundle: Bundle, blocks: GeneBlocks) -> tuple[list[str], Array]:
    """Gene counts of the bundle where it has them, else sums over transcripts, in sorted gene order."""
    genes = bundle.tables.get(FeatureKind.GENE.value)
    if GENE_COUNTS not in bundle.matrices or genes is None:
        return list(blocks.gene_ids), gene_totals(bundle.transcript_counts, blocks)
    ids = genes["gene_id"].astype(str).to_numpy(dtype=object)
    order = np.argsort(ids, kind="stable")
    return list(ids[order]), bundle.matrices[GENE_COUNTS][order]


def _feature_table(genes: list[str], channel: str, n_transcripts: Array) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "feature_id": [f"{g}::{channel}" for g in genes],
            "gene_id": genes,
            "feature_type": channel,
            "n_transcripts": n_transcripts,
        }
    )


def _joined(parts: list[tuple[pd.DataFrame, Array]]) -> tuple[pd.DataFrame, Array]:
    features = pd.concat([table for table, _ in parts], ignore_index=True)
    order = features.sort_values(["gene_id", "feature_type", "feature_id"], kind="stable").index.to_numpy()
    return features.iloc[order].reset_index(drop=True), np.vstack([values for _, values in parts])[order]


def _loadings(switch: SwitchCoordinates, usage: Array, blocks: GeneBlocks) -> pd.DataFrame:
    gene = blocks.gene_of_transcript
    size = np.abs(switch.loadings)
    largest = np.maximum.reduceat(size, blocks.starts)
    # The first of the largest, so that two isoforms of equal weight give one driver.
    is_largest = (size >= largest[gene] * (1 - 1e-9)) & (size > 0)
    before: NDArray[np.int64] = np.cumsum(is_largest) - is_largest.astype(np.int64)
    is_driver = is_largest & (before == before[blocks.starts][gene])
    reference = np.zeros(len(gene), dtype=bool)
    reference[switch.reference] = True
    share = np.full(len(blocks.sizes), np.nan)
    share[switch.genes] = switch.variance_share
    return pd.DataFrame(
        {
            "gene_id": np.array(blocks.gene_ids, dtype=object)[gene],
            "transcript_id": list(blocks.transcript_ids),
            "loading": switch.loadings,
            "mean_usage": usage.mean(axis=1),
            "is_driver": is_driver,
            "is_reference": reference,
            "variance_share": share[gene],
        }
    )


def _reliability(
    bundle: Bundle, usage: Array, ratios: Array, blocks: GeneBlocks, settings: FeatureParameters
) -> pd.Series:
    if settings.reliability == "estimability":
        weights = estimability_weights(
            usage,
            blocks,
            min_minor_usage=settings.min_minor_usage,
            power=settings.reliability_power,
            floor=settings.reliability_floor,
        )
    elif settings.reliability == "degradation":
        name = str(settings.degradation_covariate)
        if name not in bundle.samples.columns:
            msg = f"samples.parquet has no column {name!r} (degradation_covariate)"
            raise BundleError(msg)
        weights = degradation_weights(
            ratios, blocks, bundle.samples[name], power=settings.reliability_power, floor=settings.reliability_floor
        )
    else:
        weights = np.ones(len(blocks.sizes))
    return pd.Series(weights, index=list(blocks.gene_ids))
