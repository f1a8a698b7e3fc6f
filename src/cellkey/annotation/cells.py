"""Annotate an AnnData object: choose values and clusters, profile them once, call every cluster, write labels."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.annotation.clock import StepClock
from cellkey.annotation.confidence import (
    columns_to_hold,
    confidence_by_group,
    confidence_table,
    measure_stability,
)
from cellkey.annotation.core import Annotation, annotate_profiles, hold_votes
from cellkey.annotation.differential import fits_hdf5
from cellkey.annotation.enrichment import control_notes, decided_by_enrichment, enrichment_of
from cellkey.annotation.fields import colour_fields, labels_by_cell, record_fields
from cellkey.annotation.inputs import (
    as_hierarchy,
    better_sources,
    cluster_labels,
    default_hierarchy,
    resolve_markers,
    symbol_columns,
)
from cellkey.annotation.methods import plan_methods
from cellkey.annotation.passes import InThisProcess, Passes
from cellkey.annotation.result import AnnotationResult, LazyFields, write_result
from cellkey.annotation.tables import annotation_tables
from cellkey.annotation.values import decoded, expression_of, processors
from cellkey.device import choose_device, device_name
from cellkey.errors import ParameterError
from cellkey.profiles.profile import POSITIVE_QUANTILES, ClusterProfiles
from cellkey.profiles.resampling import N_RESAMPLES, Resampler, Resamples
from cellkey.progress import with_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from cellkey.calls.export import ExportRules
    from cellkey.clustering import Clustering, ClusteringParameters
    from cellkey.hierarchy.resolution import Resolution
    from cellkey.hierarchy.tree import Hierarchy
    from cellkey.parameters import Parameters
    from cellkey.profiles.expression import Expression
    from cellkey.scoring.marker_evidence import MarkerScoring

__all__ = ["AnnotationResult", "annotate"]


@with_progress
def annotate(
    adata: AnnData,
    hierarchy: Hierarchy | Mapping[str, Any] | str | Path | None = None,
    *,
    groupby: str | None = None,
    layer: str | None = None,
    method: str = "markers",
    scoring: Parameters | Mapping[str, Any] | str | None = None,
    gating: Parameters | Mapping[str, Any] | str | None = None,
    export: ExportRules | Mapping[str, Any] | str | None = None,
    clustering: ClusteringParameters | Mapping[str, Any] | str | None = None,
    technical_markers: Sequence[str] | None = None,
    normalize: bool = True,
    assume: str | None = None,
    profiles: ClusterProfiles | None = None,
    resamples: int | Resamples = N_RESAMPLES,
    votes: bool = True,
    umap: bool = False,
    copy: bool = False,
    n_jobs: int | None = None,
    passes: Passes | None = None,
    progress: Callable[[str, float | None], None] | bool | None = None,
) -> AnnotationResult:
    """Name every cluster of cells, with the reasons.

    Parameters
    ----------
    adata
        Cells x genes; counts, log-normalised values or intensities. ``X``, ``layers`` and existing columns
        stay as they are.
    hierarchy
        Marker hierarchy: a value, a mapping, a file or the name of a built-in one. None takes the built-in
        ``protein`` for intensities of at most 100 variables, else ``default``.
    groupby
        Column of ``obs`` that holds clusters; None clusters the cells.
    layer
        Layer to score on; None takes ``batchcorr``, else ``aligned``, else ``X``.
    method
        ``markers``, ``enrichment``, ``both`` (labels by markers, enrichment and a comparison beside them), or
        another name of :data:`~cellkey.annotation.registry.METHODS`.
    scoring, gating, export, clustering
        Parameters, as models, mappings, JSON text or file names. Those of the marker score are
        :class:`~cellkey.scoring.marker_evidence.MarkerScoring` and
        :func:`~cellkey.routing.limits.merge_gating`, those of enrichment
        :class:`~cellkey.scoring.enrichment_settings.EnrichmentScoring`,
        :class:`~cellkey.routing.branch_rule.BranchGating` and :class:`~cellkey.calls.export.ExportRules`;
        for both methods at once ``{"markers": {...}, "enrichment": {...}}``.
    technical_markers
        Markers that describe the stain and not the cell; moved to ``obs`` and not used for clustering.
    normalize
        Whether counts are scaled to 10,000 per cell and logged for scoring; ``X`` is never changed.
    assume
        ``"counts"``, ``"lognorm"`` or ``"intensity"`` where the check of the values would decide otherwise.
    profiles
        Profiles of the same matrix and clusters; the cells are then only read for votes.
    resamples
        Number of bootstrap resamples of the cells behind the confidence of calls, taken in the pass that makes the
        profiles; 0 measures none. 50 by default: a share is then known to 0.07. Or the resamples of ``profiles``.
    votes
        Whether the cells of undecided clusters vote (evidence only).
    umap
        Whether to compute a UMAP embedding as well (extra ``umap``).
    copy
        Leave ``adata`` untouched; labels are then in the result only.
    n_jobs
        Threads; all processors if None.
    passes
        Where the passes over the matrix run; in this process if None. See
        :class:`~cellkey.workers.passes.DaskPasses`.
    progress
        Called with the name of the step and the share done. None shows a bar in notebooks and interactive sessions
        and nothing elsewhere; False shows none.

    Returns
    -------
    AnnotationResult
        With tables and the decision traces.

    Writes
    ------
    ``obs``: ``cluster_lvl0``, ``cell_type_auto``, ``cell_type_auto_root``, ``cell_type_auto_path`` and
    ``annotation`` (categorical), ``cell_type_auto_conf``, ``cell_type_auto_score`` and, with resamples,
    ``cell_type_auto_confidence`` (float64), the columns of :func:`cellkey.calls.columns.companions` and
    ``<marker>_intensity`` (float32). ``uns``: ``<column>_colors`` for every column of labels, which
    ``scanpy.pl.umap(adata, color="cell_type_auto")`` takes; ``stage_h_params``, ``stage_h_gating_params``,
    ``stage_h_marker_map``, ``stage_h_timestamp`` and ``de_wilcoxon_<layer>``. A column of yours with one of these
    names is kept as ``<name>_input``, its colours likewise.

    Raises
    ------
    InputError
        If the values, the clusters, the hierarchy or a parameter cannot be used.

    Examples
    --------
    >>> from cellkey.datasets import synthetic_rna
    >>> made = synthetic_rna(300, 100)
    >>> adata = made.adata
    >>> result = cellkey.annotate(adata, made.marker_map, groupby="true_cluster")
    >>> result.cluster_annotations["final_annotation"].head(3).tolist()
    ['CD4 T Cells', 'CD8 T Cells', 'B Cells']
    >>> float((adata.obs["annotation"] == adata.obs["true_label"]).mean())
    1.0
    """
    from cellkey.clustering import find_technical, pick_layer, technical_intensities

    started = time.perf_counter()
    clock = StepClock(progress if callable(progress) else None)
    settings = _clustering_settings(clustering)
    passes = InThisProcess(choose_device(settings.device)) if passes is None else passes
    key = None if hierarchy is None else as_hierarchy(hierarchy)
    plan = plan_methods(method, scoring=scoring, gating=gating, export=export)
    score_parameters, gate_settings = plan.marker_scoring, plan.gates
    var_names = np.asarray(adata.var_names.astype(str), dtype=object)
    var_columns = symbol_columns(adata)
    layer_name, X = pick_layer(adata, layer)
    messages: list[str] = []
    # What can be wrong with the request is found before the matrix is read.
    given = None if groupby is None else cluster_labels(adata, groupby)
    resolution = None if key is None else resolve_markers(key, gate_settings, adata, var_columns)
    if not _sufficient(profiles, score_parameters):
        profiles = None
        X = decoded(adata, layer_name, X, n_jobs, clock, messages)
    expression, report = expression_of(X, layer_name, var_names, normalize, assume, profiles, messages, passes)
    if key is None:
        key = default_hierarchy(report, profiles, adata.n_vars, messages)
    if resolution is None:
        resolution = resolve_markers(key, gate_settings, adata, var_columns)
    messages.extend(better_sources(adata, layer_name, report, resolution))
    technical, is_feature = find_technical(list(var_names), technical_markers)

    clock.step("clustering")
    grouping = None
    on_gpu: tuple[str, ...] = ()
    if given is None:
        grouping = passes.cluster(
            expression, list(var_names), params=settings, allowed=is_feature,
            always_use=sorted(set(resolution.found.values())),
        )
        labels = np.asarray(grouping.labels, dtype=object)
        on_gpu = grouping.on_gpu
        messages.extend(grouping.notes)
    else:
        labels = given

    embedding = None
    if umap and grouping is not None:
        clock.step("UMAP")
        embedding = _umap(grouping)

    clock.step("profiles")
    quantiles = sorted({*POSITIVE_QUANTILES, score_parameters.positive_quantile})
    threads = n_jobs or processors()
    if profiles is not None:
        held = _usable(resamples, score_parameters, messages)
    else:
        resampler = _resampler(adata, resolution, var_names, resamples, settings.seed, score_parameters)
        profiles = passes.profiles(
            expression, labels, var_names, quantiles=quantiles, basis=score_parameters.positive_basis,
            n_jobs=threads, resampler=resampler, progress=clock.share,
        )
        held = None if resampler is None else resampler.result()
        if passes.device == "gpu":
            on_gpu = (*on_gpu, "profiles")
            messages.append(f"profiles and resamples on the GPU ({device_name()})")
        elif settings.device == "gpu":
            messages.append("profiles and resamples on the CPUs of the workers")
    values = report.kind if report is not None else profiles.info.get("values", "")
    transform = report.transform if report is not None else profiles.info.get("transform", "")
    profiles.info.update({"values": str(values), "transform": str(transform), "layer": layer_name})
    if not fits_hdf5(profiles.groups):
        messages.append(f"{profiles.n_groups:,} clusters are more than the differential genes of one .h5ad file can "
                        "hold: they are left out of uns; labels and scores are not affected.")
    clock.step("scoring")
    base = annotate_profiles(
        profiles, key, scoring=score_parameters, gating=gate_settings, features=is_feature, resolution=resolution
    )
    base = replace(base, method=plan.markers.name)
    annotation = replace(base, method=plan.decides.name, enrichment=enrichment_of(base, plan))
    if annotation.enrichment is not None:
        messages.extend(control_notes(annotation.enrichment))
        if plan.decides is plan.enrichment:
            annotation = decided_by_enrichment(annotation, annotation.enrichment)
    messages.extend(annotation.key.resolution.notes)
    if held is not None:
        clock.step("confidence")
        stability, notes = measure_stability(base, annotation, held, features=is_feature)
        annotation = replace(annotation, stability=stability)
        messages.extend(notes)
    if votes:
        annotation = _with_votes(annotation, expression, _RowsOf(labels))
    tables = annotation_tables(annotation)
    confidence: Mapping[str, float] = {}
    if held is not None:
        tables["confidence"] = confidence_table(annotation, held.n_resamples)
        confidence = confidence_by_group(tables["confidence"], annotation.method)
    facts = {
        "layer": layer_name,
        "values": values,
        "transform": transform,
        "n_cells": int(adata.n_obs),
        "n_vars": int(adata.n_vars),
        "n_clusters": profiles.n_groups,
        "groupby": groupby or "",
        "hierarchy": key.name,
        "device": "gpu" if on_gpu else "cpu",
        "on_gpu": ",".join(on_gpu),
        **({"gpu": device_name()} if on_gpu else {}),
        "technical_markers": ",".join(technical),
        **plan.record(),
        "resamples": 0 if held is None else held.n_resamples,
        "clustering": grouping.params.model_dump(mode="json") if grouping is not None else {},
        "seconds": {**clock.seconds(), "total": round(time.perf_counter() - started, 3)},
    }
    obs = LazyFields(lambda: {
        **labels_by_cell(annotation, labels, confidence), **technical_intensities(expression, technical)
    })
    uns = LazyFields(lambda: {
        **record_fields(annotation, facts, gate_settings), **colour_fields(obs, annotation.key.hierarchy)
    })
    result = AnnotationResult(
        annotation, tables, labels, facts, tuple(messages), obs, uns, grouping, embedding, held
    )
    if not copy:
        write_result(adata, result)
    return result


# --- steps ---


class _RowsOf(Mapping[str, Any]):
    """The cells of each group, looked up when they are asked for."""

    def __init__(self, labels: NDArray[np.object_]) -> None:
        self._labels = labels

    def __getitem__(self, group: str) -> NDArray[np.intp]:
        return np.flatnonzero(self._labels == group)

    def __iter__(self) -> Iterator[str]:
        return iter({str(label) for label in self._labels if label is not None})

    def __len__(self) -> int:
        return len(list(iter(self)))


def _clustering_settings(parameters: Any) -> ClusteringParameters:
    from cellkey.clustering import ClusteringParameters

    if isinstance(parameters, ClusteringParameters):
        return parameters
    return ClusteringParameters.parse(parameters, option="clustering parameters")


def _umap(grouping: Clustering) -> NDArray[np.float32] | None:
    from cellkey.clustering import umap_embedding

    if grouping.components is None:
        return None
    embedding: NDArray[np.float32] = umap_embedding(
        grouping.graph, grouping.components.scores, seed=grouping.params.seed
    )
    return embedding


def _sufficient(profiles: ClusterProfiles | None, scoring: MarkerScoring) -> bool:
    return (
        profiles is not None
        and profiles.at_quantile(scoring.positive_quantile) is not None
        and profiles.basis == scoring.positive_basis
    )


def _resampler(
    adata: AnnData, resolution: Resolution, var_names: NDArray[np.object_], resamples: int | Resamples, seed: int,
    scoring: MarkerScoring,
) -> Resampler | None:
    wanted = resamples.n_resamples if isinstance(resamples, Resamples) else int(resamples)
    if wanted < 0:
        msg = f"resamples is {wanted}; it must be 0 (none) or more"
        raise ParameterError(msg)
    if wanted == 0:
        return None
    names = adata.cell_keys() if hasattr(adata, "cell_keys") else adata.obs_names
    return Resampler(
        names, columns_to_hold(resolution, var_names), n_resamples=wanted, seed=seed,
        quantile=scoring.positive_quantile,
    )


def _usable(resamples: int | Resamples, scoring: MarkerScoring, messages: list[str]) -> Resamples | None:
    """Stored resamples, if they are of these settings."""
    if not isinstance(resamples, Resamples):
        if resamples:
            messages.append("No resamples of the cells are stored with the profiles: confidence was not measured.")
        return None
    if resamples.quantile == scoring.positive_quantile:
        return resamples
    messages.append(
        f"The stored resamples are of positive_quantile {resamples.quantile:g}, not {scoring.positive_quantile:g}:"
        " confidence was not measured. Annotate the cells again to measure it."
    )
    return None


def _with_votes(
    annotation: Annotation, expression: Expression, rows: Mapping[str, NDArray[np.intp]]
) -> Annotation:
    return replace(annotation, compositions=hold_votes(annotation, expression, rows))
