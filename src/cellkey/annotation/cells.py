"""Annotate an AnnData object: choose values and clusters, profile them once, call every cluster, write labels."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from cellkey import _keys
from cellkey.annotation.confidence import (
    columns_to_hold,
    confidence_by_group,
    confidence_table,
    measure_stability,
)
from cellkey.annotation.core import Annotation, annotate_profiles, hold_votes
from cellkey.annotation.enrichment import control_notes, decided_by_enrichment, enrichment_of
from cellkey.annotation.fields import colour_fields, labels_by_cell, record_fields
from cellkey.annotation.methods import plan_methods
from cellkey.annotation.passes import InThisProcess, Passes
from cellkey.annotation.tables import annotation_tables
from cellkey.errors import CellkeyWarning, InputError, MissingFieldError, ParameterError, did_you_mean
from cellkey.profiles.expression import Expression
from cellkey.profiles.profile import POSITIVE_QUANTILES, ClusterProfiles
from cellkey.profiles.resampling import N_RESAMPLES, Resampler, Resamples
from cellkey.profiles.tiles import TiledExpression, TileStore
from cellkey.progress import with_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from cellkey.calls.export import ExportRules
    from cellkey.clustering import Clustering, ClusteringParameters, MatrixReport
    from cellkey.hierarchy.resolution import Resolution
    from cellkey.hierarchy.tree import Hierarchy
    from cellkey.parameters import Parameters
    from cellkey.scoring.marker_evidence import MarkerScoring

__all__ = ["AnnotationResult", "annotate", "embeddings", "graphs", "outdated_levels", "write_result"]


@dataclass(frozen=True, slots=True)
class AnnotationResult:
    """What :func:`annotate` found.

    Attributes
    ----------
    annotation
        Profiles, evidence, walks and calls.
    tables
        The tables of the run by name (``cluster_annotations``, ``marker_scores``, ``decision_steps``,
        ``gating_details``, ``marker_evidence``; with resamples ``confidence``; with enrichment also
        ``enrichment_calls`` and ``enrichment_scores``, with both methods ``method_comparison``).
    labels
        Group of each cell, shape (cells,); None where the cell had none.
    facts
        Plain facts for the record: layer, scale, number of cells, parameters, timings.
    messages
        What was found and done, as sentences.
    resamples
        Profiles of resampled cells, from which confidence was measured; None if that was switched off.
    """

    annotation: Annotation
    tables: Mapping[str, pd.DataFrame]
    labels: NDArray[np.object_]
    facts: dict[str, Any]
    messages: tuple[str, ...] = ()
    obs: Mapping[str, Any] = field(default_factory=dict)
    uns: Mapping[str, Any] = field(default_factory=dict)
    clustering: Clustering | None = None
    umap: NDArray[np.float32] | None = None
    resamples: Resamples | None = None

    @property
    def cluster_annotations(self) -> pd.DataFrame:
        """One row per cluster: label, path, score, confidence and reason."""
        return self.tables["cluster_annotations"]

    @property
    def marker_scores(self) -> pd.DataFrame:
        """One row per cluster and cell type."""
        return self.tables["marker_scores"]

    @property
    def decision_steps(self) -> pd.DataFrame:
        """One row per evaluated candidate."""
        return self.tables["decision_steps"]

    @property
    def gating_details(self) -> pd.DataFrame:
        """One row per cluster and top-level cell type."""
        return self.tables["gating_details"]

    def explain(self, group: str) -> str:
        """Return the decision trace of a cluster as readable text."""
        from cellkey.annotation.explain import explain_cluster

        return explain_cluster(self.tables, group)

    def _repr_html_(self) -> str:
        from cellkey.annotation.summary import summary_html

        nodes = self.annotation.key.hierarchy.nodes
        return summary_html(self.tables, self.messages, paths=[n.path for n in nodes])

    def __repr__(self) -> str:
        from cellkey.annotation.summary import summary_text

        return summary_text(self.tables)


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
        :class:`~cellkey.scoring.enrichment.EnrichmentScoring`,
        :class:`~cellkey.routing.branch_support.BranchGating` and :class:`~cellkey.calls.export.ExportRules`;
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
    """
    from cellkey.clustering import find_technical, pick_layer, technical_intensities

    started = time.perf_counter()
    clock = _Clock(progress if callable(progress) else None)
    passes = InThisProcess() if passes is None else passes
    key = None if hierarchy is None else _hierarchy(hierarchy)
    plan = plan_methods(method, scoring=scoring, gating=gating, export=export)
    score_parameters, gate_settings = plan.marker_scoring, plan.gates
    var_names = np.asarray(adata.var_names.astype(str), dtype=object)
    var_columns = _symbol_columns(adata)
    layer_name, X = pick_layer(adata, layer)
    messages: list[str] = []
    if not _sufficient(profiles, score_parameters):
        profiles = None
        X = _decoded(adata, layer_name, X, n_jobs, clock, messages)
    expression, report = _expression(X, layer_name, var_names, normalize, assume, profiles, messages, passes)
    if key is None:
        key = _default_hierarchy(report, profiles, adata.n_vars, messages)
    resolution = _resolved(key, gate_settings, var_names, var_columns)
    technical, is_feature = find_technical(list(var_names), technical_markers)

    clock.step("clustering")
    grouping = None
    if groupby is None:
        grouping = _cluster(expression, var_names, clustering, resolution, is_feature, passes)
        labels = np.asarray(grouping.labels, dtype=object)
        messages.extend(grouping.notes)
    else:
        labels = _labels(adata, groupby)

    embedding = None
    if umap and grouping is not None:
        clock.step("UMAP")
        embedding = _umap(grouping)

    clock.step("profiles")
    quantiles = sorted({*POSITIVE_QUANTILES, score_parameters.positive_quantile})
    threads = n_jobs or _processors()
    if profiles is not None:
        held = _usable(resamples, score_parameters, messages)
    else:
        resampler = _resampler(adata, resolution, var_names, resamples, clustering, score_parameters)
        profiles = passes.profiles(
            expression, labels, var_names, quantiles=quantiles, basis=score_parameters.positive_basis,
            n_jobs=threads, resampler=resampler, progress=clock.share,
        )
        held = None if resampler is None else resampler.result()
    values = report.kind if report is not None else profiles.info.get("values", "")
    transform = report.transform if report is not None else profiles.info.get("transform", "")
    profiles.info.update({"values": str(values), "transform": str(transform), "layer": layer_name})
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
        "device": grouping.device if grouping is not None else "cpu",
        "technical_markers": ",".join(technical),
        **plan.record(),
        "resamples": 0 if held is None else held.n_resamples,
        "clustering": grouping.params.model_dump(mode="json") if grouping is not None else {},
        "seconds": {**clock.seconds(), "total": round(time.perf_counter() - started, 3)},
    }
    obs = _Fields(lambda: {
        **labels_by_cell(annotation, labels, confidence), **technical_intensities(expression, technical)
    })
    uns = _Fields(lambda: {
        **record_fields(annotation, facts, gate_settings), **colour_fields(obs, annotation.key.hierarchy)
    })
    result = AnnotationResult(
        annotation, tables, labels, facts, tuple(messages), obs, uns, grouping, embedding, held
    )
    if not copy:
        write_result(adata, result)
    return result


# --- input ---


def _hierarchy(source: Hierarchy | Mapping[str, Any] | str | Path) -> Hierarchy:
    from cellkey.hierarchy import Hierarchy, read_hierarchy

    return source if isinstance(source, Hierarchy) else read_hierarchy(source)


def _default_hierarchy(
    report: MatrixReport | None, profiles: ClusterProfiles | None, n_vars: int, messages: list[str]
) -> Hierarchy:
    from cellkey.hierarchy.catalogue import default_for, get_builtin

    kind = report.kind if report is not None else ("" if profiles is None else profiles.info.get("values", ""))
    name = default_for(kind, n_vars)
    messages.append(f"No marker map was named: the built-in map {name!r} is used.")
    return get_builtin(name)


def _parsed(model: Any, value: Any, option: str) -> Any:
    return value if isinstance(value, model) else model.parse(value, option=option)


def _symbol_columns(adata: AnnData) -> dict[str, list[str]]:
    from cellkey.hierarchy.resolution import SYMBOL_COLUMNS

    return {c: adata.var[c].astype(str).tolist() for c in SYMBOL_COLUMNS if c in adata.var}


def _resolved(
    key: Hierarchy, gating: Mapping[str, Any], var_names: NDArray[np.object_], var_columns: dict[str, list[str]]
) -> Resolution:
    """Find all names once; refuse data that measure no marker of any cell type."""
    from cellkey.hierarchy.resolution import no_marker_measured, resolve_names
    from cellkey.routing.limits import merge_gating

    also = merge_gating(key.gating, gating).markers()
    resolution = resolve_names([*key.all_markers(), *also], list(var_names), var_columns=var_columns)
    if not any(m in resolution.found for node in key.nodes for m in node.markers):
        raise no_marker_measured(resolution, f"hierarchy {key.name!r}" if key.name else "the marker map")
    return resolution


def _expression(
    X: Any,
    layer: str,
    var_names: NDArray[np.object_],
    normalize: bool,
    assume: str | None,
    profiles: ClusterProfiles | None,
    messages: list[str],
    passes: Passes,
) -> tuple[Expression, MatrixReport | None]:
    if profiles is not None and "transform" in profiles.info:  # checked when the profiles were made
        return _LazyExpression(X, profiles.info["transform"]), None
    report = passes.inspect(X, var_names=[str(v) for v in var_names], assume=assume, name=layer)
    messages.append(report.describe())
    scale = passes.scale(X, report if normalize else None)
    if not normalize and report.transform != "none":
        messages.append("Values are used as they are (normalisation was switched off).")
    tiled = isinstance(X, TileStore)
    return TiledExpression(X, scale=scale) if tiled else Expression(X, scale=scale), report


def _decoded(
    adata: Any, layer: str, X: Any, n_jobs: int | None, clock: _Clock, messages: list[str]
) -> Any:
    """Read a matrix on disk once, as far as the memory allowed reaches into memory."""
    from cellkey.clustering.inspect import require_numbers
    from cellkey.io.stored import StoredMatrix

    if not isinstance(X, StoredMatrix):
        return X
    require_numbers(X, layer)
    clock.step("reading the matrix")
    store = TileStore.of(X, budget=X.budget, n_jobs=n_jobs or _processors(), progress=clock.share)
    if store.in_file:
        messages.append(f"{layer} does not fit the memory allowed: {store.in_file / 2**20:,.0f} MiB of it lie in a "
                        "temporary file and are streamed.")
    adata.hold(layer, store)
    return store


class _LazyExpression(Expression):
    """Expression for few cells of a large matrix: the factors of cells are computed for those that are read."""

    def __init__(self, X: Any, transform: str) -> None:
        super().__init__(X)
        self._transform = transform

    def row_blocks(
        self, columns: NDArray[np.intp] | None = None, rows: NDArray[np.intp] | None = None, block_cells: int = 8192
    ) -> Any:
        wanted = np.arange(self.n_obs) if rows is None else np.asarray(rows)
        whole = self.X if self.in_memory and self.storage != "csc" else None
        if self.in_memory and whole is None:
            whole = self.X.tocsr()
        for start in range(0, len(wanted), block_cells):
            block = (self.X if whole is None else whole)[wanted[start : start + block_cells]]
            inside = Expression(block, scale=self._factors(block))
            for low, part in inside.row_blocks(columns, block_cells=block_cells):
                yield start + low, part

    def columns(self, index: NDArray[np.intp]) -> Any:
        if self.in_memory:
            return Expression(self.X, scale=self._factors(self.X)).columns(index)
        parts = [sp.csr_matrix(block) for _, block in self.row_blocks(np.asarray(index))]
        return sp.vstack(parts, format="csc")

    def _factors(self, block: Any) -> NDArray[np.float64] | None:
        from cellkey.clustering import cell_factors

        if self._transform == "none":
            return None
        return cell_factors(block) if self._transform == "normalise" else np.ones(block.shape[0])


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


class _Fields(Mapping[str, Any]):
    """Fields for the cells, made when the first is asked for: a run that writes tables only needs none."""

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make: Callable[[], dict[str, Any]] | None = make
        self._made: dict[str, Any] = {}

    def _all(self) -> dict[str, Any]:
        if self._make is not None:
            self._made, self._make = self._make(), None
        return self._made

    def __getitem__(self, name: str) -> Any:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


def _labels(adata: AnnData, groupby: str) -> NDArray[np.object_]:
    known = adata.column(groupby) is not None if hasattr(adata, "column") else groupby in adata.obs
    if not known:
        few = [str(c) for c in adata.obs if 1 < adata.obs[c].nunique() <= max(200, adata.n_obs // 20)]
        found = f"columns that could hold clusters: {', '.join(few)}" if few else "no column looks like clusters"
        hint = did_you_mean(groupby, map(str, adata.obs.columns))
        msg = f"obs has no column {groupby!r}{hint}; {found}. Name one with --cluster-key"
        raise MissingFieldError(msg)
    values, missing, n_different = _texts(adata.column(groupby) if hasattr(adata, "column") else adata.obs[groupby])
    if missing.all():
        msg = f"obs[{groupby!r}] holds no value at all"
        raise InputError(msg)
    if missing.any():
        msg = (f"{int(missing.sum())} of {len(missing)} cells have no value in obs[{groupby!r}]: "
               "they are left out of all statistics and stay Unassigned")
        warnings.warn(msg, CellkeyWarning, stacklevel=3)
    if n_different > 5000:
        msg = f"obs[{groupby!r}] holds {n_different} different values: is it a column of clusters?"
        raise ParameterError(msg)
    return values


def _texts(column: Any) -> tuple[NDArray[np.object_], NDArray[np.bool_], int]:
    """Values of a column as text (None where missing), where they miss, and how many differ."""
    import pandas as pd

    codes, different = pd.factorize(np.asarray(column) if not hasattr(column, "dtype") else column)
    texts = np.array([*map(str, different), None], dtype=object)
    return texts[codes], codes < 0, len(different)


def _cluster(
    expression: Expression,
    var_names: NDArray[np.object_],
    parameters: Any,
    resolution: Resolution,
    is_feature: NDArray[np.bool_],
    passes: Passes,
) -> Clustering:
    from cellkey.clustering import ClusteringParameters

    return passes.cluster(
        expression, list(var_names), params=_parsed(ClusteringParameters, parameters, "clustering parameters"),
        allowed=is_feature, always_use=sorted(set(resolution.found.values())),
    )


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
    adata: AnnData, resolution: Resolution, var_names: NDArray[np.object_], resamples: int | Resamples, clustering: Any,
    scoring: MarkerScoring,
) -> Resampler | None:
    from cellkey.clustering import ClusteringParameters

    wanted = resamples.n_resamples if isinstance(resamples, Resamples) else int(resamples)
    if wanted < 0:
        msg = f"resamples is {wanted}; it must be 0 (none) or more"
        raise ParameterError(msg)
    if wanted == 0:
        return None
    seed = _parsed(ClusteringParameters, clustering, "clustering parameters").seed
    return Resampler(
        adata.obs_names, columns_to_hold(resolution, var_names), n_resamples=wanted, seed=seed,
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


def _processors() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _with_votes(
    annotation: Annotation, expression: Expression, rows: Mapping[str, NDArray[np.intp]]
) -> Annotation:
    return replace(annotation, compositions=hold_votes(annotation, expression, rows))


# --- output ---


def write_result(adata: AnnData, result: AnnotationResult, *, slim: bool = False) -> None:
    """Write the labels of a result into ``adata``; ``slim`` leaves out the embedding and the graph."""
    from cellkey.io.fields import write_fields

    if _keys.PARAMS in adata.uns:
        for column in outdated_levels(adata.obs.columns, result.obs):
            del adata.obs[column]
    obsm, obsp = ({}, {}) if slim else (embeddings(result), graphs(result))
    write_fields(adata, result.obs, result.uns, obsm=obsm, obsp=obsp)


def outdated_levels(columns: Iterable[str], written: Iterable[str]) -> list[str]:
    """Return the columns of levels that an earlier run with a deeper hierarchy left."""
    now = set(written)
    return [c for c in map(str, columns) if c.startswith(_keys.level(_keys.LABEL, "")) and c not in now]


def embeddings(result: AnnotationResult) -> dict[str, Any]:
    """Return components and embedding for ``obsm``."""
    found: dict[str, Any] = {}
    if result.clustering is not None and result.clustering.components is not None:
        found["X_pca"] = result.clustering.components.scores
    if result.umap is not None:
        found["X_umap"] = result.umap
    return found


def graphs(result: AnnotationResult) -> dict[str, Any]:
    """Return the neighbour graph for ``obsp``."""
    return {} if result.clustering is None else {"connectivities": result.clustering.graph}


class _Clock:
    """Times the steps and tells the caller where the work stands."""

    def __init__(self, progress: Callable[[str, float | None], None] | None) -> None:
        self._progress = progress
        self._marks: list[tuple[str, float]] = []

    def step(self, name: str) -> None:
        self._marks.append((name, time.perf_counter()))
        if self._progress is not None:
            self._progress(name, None)

    def share(self, done: float) -> None:
        if self._progress is not None and self._marks:
            self._progress(self._marks[-1][0], done)

    def seconds(self) -> dict[str, float]:
        ends = [t for _, t in self._marks[1:]] + [time.perf_counter()]
        return {name: round(end - t, 3) for (name, t), end in zip(self._marks, ends, strict=True)}
