"""Annotate an AnnData object: choose values and clusters, profile them once, call every cluster, write labels."""

from __future__ import annotations

import time
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
from cellkey.annotation.core import annotate_profiles, hold_votes
from cellkey.annotation.differential import fits_hdf5
from cellkey.annotation.enrichment import control_notes, decided_by_enrichment, enrichment_of
from cellkey.annotation.fields import colour_fields, labels_by_cell, record_fields
from cellkey.annotation.inputs import (
    as_hierarchy,
    better_sources,
    cluster_labels,
    default_hierarchy,
    require_cells,
    resolve_markers,
)
from cellkey.annotation.methods import plan_methods
from cellkey.annotation.passes import LocalPasses
from cellkey.annotation.result import AnnotationResult, LazyFields, write_result
from cellkey.annotation.tables import annotation_tables
from cellkey.annotation.values import decoded, expression_of
from cellkey.device import choose_device, device_name
from cellkey.errors import ParameterError
from cellkey.profiles.profile import POSITIVE_QUANTILES, ClusterProfiles
from cellkey.profiles.resampling import N_RESAMPLES, Resampler, Resamples
from cellkey.progress import with_progress
from cellkey.threads import processors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from cellkey.annotation.core import Annotation
    from cellkey.annotation.methods import MethodPlan
    from cellkey.annotation.passes import Passes
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

    require_cells(adata)
    started = time.perf_counter()
    clock = StepClock(progress if callable(progress) else None)
    settings = _clustering_settings(clustering)
    passes = LocalPasses(choose_device(settings.device)) if passes is None else passes
    key = None if hierarchy is None else as_hierarchy(hierarchy)
    plan = plan_methods(method, scoring=scoring, gating=gating, export=export)
    work = _Work(adata, plan, settings, passes, clock, n_jobs or processors())
    layer_name, X = pick_layer(adata, layer)
    # What can be wrong with the request is found before the matrix is read.
    given = None if groupby is None else cluster_labels(adata, groupby)
    resolution = None if key is None else resolve_markers(key, plan.gates, adata)
    if not _sufficient(profiles, plan.marker_scoring):
        profiles = None
        X = decoded(adata, layer_name, X, work.n_jobs, clock, work.messages)
    expression, report = expression_of(X, layer_name, work.names, normalize, assume, profiles, work.messages, passes)
    if key is None:
        key = default_hierarchy(report, profiles, adata.n_vars, work.messages)
    if resolution is None:
        resolution = resolve_markers(key, plan.gates, adata)
    work.messages.extend(better_sources(adata, layer_name, report, resolution))
    technical, is_feature = find_technical(list(work.names), technical_markers)

    clock.step("clustering")
    grouping, labels, embedding = None, given, None
    if labels is None:
        grouping = work.clustered(expression, resolution, is_feature)
        labels = np.asarray(grouping.labels, dtype=object)
    if umap and grouping is not None:
        clock.step("UMAP")
        embedding = _umap(grouping)
    clock.step("profiles")
    if profiles is not None:
        held = _usable(resamples, plan.marker_scoring, work.messages)
    else:
        profiles, held = work.profiled(expression, labels, resolution, resamples)
    values = report.kind if report is not None else profiles.info.get("values", "")
    transform = report.transform if report is not None else profiles.info.get("transform", "")
    profiles.info.update({"values": str(values), "transform": str(transform), "layer": layer_name})
    if not fits_hdf5(profiles.groups):
        work.messages.append(f"{profiles.n_groups:,} clusters are more than the differential genes of one .h5ad file "
                             "can hold: they are left out of uns; labels and scores are not affected.")
    annotation = work.called(profiles, key, resolution, held, is_feature)
    if votes:
        annotation = replace(annotation, compositions=hold_votes(annotation, expression, labels))
    tables = annotation_tables(annotation)
    confidence: Mapping[str, float] = {}
    if held is not None:
        tables["confidence"] = confidence_table(annotation, held.n_resamples)
        confidence = confidence_by_group(tables["confidence"], annotation.method)
    facts = {
        "layer": layer_name, "values": values, "transform": transform, "n_cells": int(adata.n_obs),
        "n_vars": int(adata.n_vars), "n_clusters": profiles.n_groups, "groupby": groupby or "", "hierarchy": key.name,
        **work.device_facts(), "technical_markers": ",".join(technical), **plan.record(),
        "resamples": 0 if held is None else held.n_resamples,
        "clustering": grouping.params.model_dump(mode="json") if grouping is not None else {},
        "seconds": {**clock.seconds(), "total": round(time.perf_counter() - started, 3)},
    }
    obs = LazyFields(lambda: {
        **labels_by_cell(annotation, labels, confidence), **technical_intensities(expression, technical)
    })
    uns = LazyFields(lambda: {
        **record_fields(annotation, facts, plan.gates), **colour_fields(obs, annotation.key.hierarchy)
    })
    result = AnnotationResult(
        annotation, tables, labels, facts, tuple(work.messages), obs, uns, grouping, embedding, held
    )
    if not copy:
        write_result(adata, result)
    return result


# --- steps ---


class _Work:
    """An annotation under way: what was asked for, what it works with, and what is to be said of it."""

    def __init__(
        self, adata: Any, plan: MethodPlan, settings: ClusteringParameters, passes: Passes, clock: StepClock,
        n_jobs: int,
    ) -> None:
        self.adata, self.plan, self.settings, self.passes = adata, plan, settings, passes
        self.clock, self.n_jobs = clock, n_jobs
        self.names = np.asarray(adata.var_names.astype(str), dtype=object)
        self.messages: list[str] = []
        self._on_gpu: tuple[str, ...] = ()

    def clustered(self, expression: Expression, resolution: Resolution, is_feature: NDArray[np.bool_]) -> Clustering:
        """Cluster the cells; the markers of the hierarchy always take part."""
        found = self.passes.cluster(
            expression, list(self.names), params=self.settings, allowed=is_feature,
            always_use=sorted(set(resolution.found.values())),
        )
        self._on_gpu = found.on_gpu
        self.messages.extend(found.notes)
        return found

    def profiled(
        self, expression: Expression, labels: Any, resolution: Resolution, resamples: int | Resamples
    ) -> tuple[ClusterProfiles, Resamples | None]:
        """Profile the clusters, and resamples of their cells in the same pass."""
        scoring = self.plan.marker_scoring
        resampler = _resampler(self.adata, resolution, self.names, resamples, self.settings.seed, scoring)
        profiles = self.passes.profiles(
            expression, labels, self.names, quantiles=sorted({*POSITIVE_QUANTILES, scoring.positive_quantile}),
            basis=scoring.positive_basis, n_jobs=self.n_jobs, resampler=resampler, progress=self.clock.share,
        )
        if self.passes.device == "gpu":
            self._on_gpu = (*self._on_gpu, "profiles")
            self.messages.append(f"profiles and resamples on the GPU ({device_name()})")
        elif self.settings.device == "gpu":
            self.messages.append("profiles and resamples on the CPUs of the workers")
        return profiles, None if resampler is None else resampler.result()

    def called(
        self, profiles: ClusterProfiles, key: Hierarchy, resolution: Resolution, held: Resamples | None,
        is_feature: NDArray[np.bool_],
    ) -> Annotation:
        """Call every cluster by the methods asked for, and measure how well the calls hold."""
        self.clock.step("scoring")
        plan = self.plan
        base = annotate_profiles(
            profiles, key, scoring=plan.marker_scoring, gating=plan.gates, features=is_feature, resolution=resolution
        )
        base = replace(base, method=plan.markers.name)
        annotation = replace(base, method=plan.decides.name, enrichment=enrichment_of(base, plan))
        if annotation.enrichment is not None:
            self.messages.extend(control_notes(annotation.enrichment))
            if plan.decides is plan.enrichment:
                annotation = decided_by_enrichment(annotation, annotation.enrichment)
        self.messages.extend(annotation.key.resolution.notes)
        if held is None:
            return annotation
        self.clock.step("confidence")
        stability, notes = measure_stability(base, annotation, held, features=is_feature)
        self.messages.extend(notes)
        return replace(annotation, stability=stability)

    def device_facts(self) -> dict[str, str]:
        """Return where the work was done, for the record."""
        facts = {"device": "gpu" if self._on_gpu else "cpu", "on_gpu": ",".join(self._on_gpu)}
        return facts | ({"gpu": device_name()} if self._on_gpu else {})


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
