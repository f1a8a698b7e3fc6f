"""Refine annotated AnnData: diagnosis, plan, action, and the fields that tell what was done."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cellkey.annotation.fields import colour_fields
from cellkey.parameters import read_mapping
from cellkey.refinement import record
from cellkey.refinement.confidence import measure_confidence
from cellkey.refinement.diagnosis import diagnostic_report
from cellkey.refinement.iteration import Refinement, RefinementStop, examine, refine_state
from cellkey.refinement.operations import Workshop
from cellkey.refinement.parameters import RefinementParameters
from cellkey.refinement.plan import Plan
from cellkey.refinement.plan_files import read_plan
from cellkey.refinement.policies import Focus, automatic_plan, require_known, within_focus
from cellkey.refinement.result import DiagnosisResult, RefinementResult, write_refined
from cellkey.refinement.source import Source, open_source, state_before
from cellkey.refinement.tables import log_table, refined_tables

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

    from cellkey.profiles.profile import ClusterProfiles
    from cellkey.profiles.resampling import Resamples
    from cellkey.refinement.confidence import Confidence
    from cellkey.refinement.state import State

__all__ = [
    "diagnose_cells", "parameters_with_plan", "refine", "refine_source", "stored_parameters", "teller", "undo",
    "undo_source",
]

Progress = Callable[[str, "float | None"], None]


def refine(
    adata: AnnData,
    *,
    parameters: RefinementParameters | Mapping[str, Any] | str | None = None,
    plan: Plan | Mapping[str, Any] | str | Path | None = None,
    automatic: bool | None = None,
    focus: Focus | Mapping[str, Any] | None = None,
    profiles: ClusterProfiles | None = None,
    resamples: Resamples | None = None,
    restart: bool = False,
    copy: bool = False,
    progress: Progress | None = None,
) -> RefinementResult:
    """Refine annotated cells: split what is heterogeneous, relabel what is clear, until nothing is left to do.

    Parameters
    ----------
    adata
        Cells annotated by :func:`cellkey.annotate`, also refined before.
    parameters
        Model, mapping, JSON text or file name; see :class:`RefinementParameters`.
    plan
        Operations that a person wrote; see :mod:`cellkey.refinement.plan_files`.
    automatic
        Whether the diagnosis adds operations; by default only when no plan is given.
    focus
        Which clusters may be touched, and which to split in any case; see :class:`Focus`.
    profiles, resamples
        Of the clusters in ``obs["cluster_lvl0"]``, as the annotation made them; made from the cells if None.
    restart
        Begin again from the annotation, leaving earlier refinement out of account.
    copy
        Leave ``adata`` untouched; the fields are then in the result only.
    progress
        Called with the name of the step.

    Returns
    -------
    RefinementResult
        With tables, fields and the plan that was carried out.

    Writes
    ------
    ``obs``: ``cluster_lvl1``, ``cell_type_lvl1``, ``cell_type_lvl0``, ``refinement_action``,
    ``refinement_reason``, ``cell_type_lvl1_path``, ``cell_type_lvl1_ontology_term_id`` and ``annotation``
    (categorical), ``refinement_iteration`` (int64), ``cell_type_lvl1_conf``, ``cell_type_lvl1_stability`` and
    ``cell_type_lvl1_confidence`` (float64). ``uns``: ``stage_refine_iteration_<N>``, ``stage_i_params`` and
    ``stage_i_summary``. ``obsm``: ``refinement_history``, the clusters before each iteration.

    Raises
    ------
    InputError
        If the cells are not annotated, or the plan, the focus or a parameter cannot be used.
    NothingToDoError
        If the focus selects no cluster.

    Examples
    --------
    >>> mixed = synthetic_rna(300, 100, merged=[("B Cells", "Monocytes")])
    >>> _ = cellkey.annotate(mixed.adata, mixed.marker_map, groupby="true_cluster")
    >>> refined = cellkey.refine(mixed.adata, parameters={"min_cells": 20})
    >>> sorted(c for c in refined.obs["cluster_lvl1"].unique() if ":" in c)
    ['2:0', '2:1']
    """
    chosen = parameters_with_plan(parameters, plan)
    tell = teller(progress)
    source = open_source(adata, chosen, profiles=profiles, resamples=resamples, restart=restart)
    result = refine_source(source, chosen, plan=plan, automatic=automatic, focus=focus, uns=adata.uns, tell=tell)
    if not copy:
        write_refined(adata, result, restart=restart)
    return result


def parameters_with_plan(given: Any, plan: Any, *, option: str = "refinement parameters") -> RefinementParameters:
    """Return the parameters as given, over those that a plan carries; ``option`` is what messages call them."""
    if isinstance(given, RefinementParameters):
        return given
    carried = {} if plan is None else read_plan(plan).auto_policy
    return RefinementParameters.parse({**carried, **read_mapping(given, option=option)}, option=option)


def teller(progress: Progress | None) -> Callable[[str], None]:
    """Return what tells ``progress`` of a step by its name alone."""
    return (lambda _step: None) if progress is None else (lambda step: progress(step, None))


def refine_source(
    source: Source,
    parameters: RefinementParameters,
    *,
    plan: Plan | Mapping[str, Any] | str | Path | None = None,
    automatic: bool | None = None,
    focus: Focus | Mapping[str, Any] | None = None,
    uns: Mapping[str, Any] | None = None,
    earlier_log: pd.DataFrame | None = None,
    parent_file: str = "",
    tell: Callable[[str], None] = lambda _step: None,
) -> RefinementResult:
    """Refine an opened source; see :func:`refine`."""
    started = time.perf_counter()
    written = None if plan is None else read_plan(plan)
    auto = written is None if automatic is None else automatic
    shop = Workshop(source.cells, source.judge, parameters, tell)
    chosen = focus if isinstance(focus, Focus) or focus is None else Focus.parse(focus)
    done = refine_state(
        source.current, shop, plan=written, automatic=auto, focus=chosen, first_number=source.n_done + 1
    )
    confidence = _confidence(source, done.last, shop)
    return _result(source, done, parameters, confidence, earlier_log=earlier_log, parent_file=parent_file,
                   seconds=time.perf_counter() - started, uns=uns or {})


def _result(
    source: Source,
    done: Refinement,
    parameters: RefinementParameters,
    confidence: Confidence,
    *,
    earlier_log: pd.DataFrame | None,
    parent_file: str,
    seconds: float,
    uns: Mapping[str, Any],
) -> RefinementResult:
    tables = {
        "diagnostic_report": diagnostic_report(list(done.diagnoses), iteration=source.n_done + 1),
        **{
            f"diagnostic_report_iter{i.number}": diagnostic_report(list(i.diagnoses), iteration=i.number)
            for i in done.iterations[1:]
        },
        "refinement_log": log_table(done.iterations, earlier_log),
        **refined_tables(done.last, confidence),
    }
    last = source.n_done + len(done.iterations)
    summary = record.summary_record(done, parameters, n_iterations=last, first=source.first)
    fields: dict[str, Any] = {
        f"{record.ITERATION}{i.number}": record.iteration_record(
            i, parameters, parent_file=parent_file, stop=str(done.stop) if i is done.iterations[-1] else ""
        )
        for i in done.iterations
    }
    commands = _commands(source, uns)
    fields |= {
        record.PARAMETERS: record.flat(parameters),
        record.SUMMARY: {**summary, "n_commands": commands + 1, "seconds": round(seconds, 3)},
    }
    obs = record.obs_columns(done.last, source.first_labels, confidence)
    if source.n_done and done.iterations:
        obs |= _previous(source, commands)
    fields |= colour_fields(obs, done.last.verdict.key.hierarchy)
    history = record.history_frame(source.history, done.iterations, source.index)
    operations = [op for i in done.iterations for op in i.plan.operations]
    return RefinementResult(
        refinement=done, parameters=parameters, tables=tables, obs=obs, uns=fields,
        obsm={record.HISTORY: history} if len(history.columns) else {},
        plan=Plan(operations=tuple(operations), metadata=_said(done)), confidence=confidence,
    )


def _confidence(source: Source, state: State, shop: Workshop) -> Confidence:
    shop.tell("confidence")
    return measure_confidence(state, source.cells, source.index, shop.parameters, source.resamples)


def _said(done: Refinement) -> dict[str, Any]:
    """What the written plan says of itself; it was carried out in the first iteration."""
    return dict(done.iterations[0].plan.metadata) if done.iterations else {}


def _commands(source: Source, uns: Mapping[str, Any]) -> int:
    """Number of refinement commands that the source builds on."""
    return int(uns[record.SUMMARY].get("n_commands", 1)) if source.n_done and record.SUMMARY in uns else 0


def _previous(source: Source, commands: int) -> dict[str, Any]:
    """The clusters that the command before left."""
    import pandas as pd

    return {f"cluster_lvl1_prev{commands}": pd.Categorical(source.current.ids)}


def diagnose_cells(
    source: Source,
    parameters: RefinementParameters,
    *,
    focus: Focus | None = None,
    tell: Callable[[str], None] = lambda _step: None,
) -> DiagnosisResult:
    """Diagnose without changing anything."""
    shop = Workshop(source.cells, source.judge, parameters, tell)
    hierarchy = source.current.verdict.key.hierarchy
    among = None
    if focus is not None and focus.is_set:
        require_known(focus, source.current.calls, hierarchy)
        among = within_focus(source.current.calls, focus, hierarchy)
    found = examine(source.current, shop, among=among)
    plan = automatic_plan(found, hierarchy, among=among)
    return DiagnosisResult(tuple(found), diagnostic_report(found, iteration=source.n_done + 1), plan)


def undo(
    adata: AnnData,
    iteration: int,
    *,
    parameters: RefinementParameters | None = None,
    profiles: ClusterProfiles | None = None,
    copy: bool = False,
) -> RefinementResult:
    """Undo an iteration and all later ones, which build on it.

    Parameters
    ----------
    adata
        Refined cells.
    iteration
        Number of the first iteration to undo.

    Raises
    ------
    InputError
        If there is no such iteration on record.

    Examples
    --------
    >>> mixed = synthetic_rna(300, 100, merged=[("B Cells", "Monocytes")])
    >>> _ = cellkey.annotate(mixed.adata, mixed.marker_map, groupby="true_cluster")
    >>> _ = cellkey.refine(mixed.adata, parameters={"min_cells": 20})
    >>> cellkey.undo(mixed.adata, 1).stop.value
    'undone'
    """
    chosen = parameters or stored_parameters(adata.uns)
    source = open_source(adata, chosen, profiles=profiles)
    result = undo_source(source, iteration, chosen, uns=adata.uns)
    if not copy:
        write_refined(adata, result)
    return result


def stored_parameters(uns: Mapping[str, Any]) -> RefinementParameters:
    """Return the parameters of the last refinement on record, the defaults if there was none."""
    import numpy as np

    known = set(RefinementParameters.model_fields)
    stored = {k: v.item() if isinstance(v, np.generic) else v for k, v in dict(uns.get(record.PARAMETERS, {})).items()}
    return RefinementParameters.parse({k: v for k, v in stored.items() if k in known})


def undo_source(
    source: Source,
    iteration: int,
    parameters: RefinementParameters,
    *,
    uns: Mapping[str, Any],
    earlier_log: pd.DataFrame | None = None,
    tell: Callable[[str], None] = lambda _step: None,
) -> RefinementResult:
    """Undo in an opened source; see :func:`undo`."""
    state = state_before(source, uns, iteration, parameters)
    shop = Workshop(source.cells, source.judge, parameters, tell)
    confidence = _confidence(source, state, shop)
    kept_log = None if earlier_log is None else earlier_log[earlier_log["iteration"] < iteration].reset_index(drop=True)
    done = Refinement(source.first, state, (), tuple(examine(state, shop)), RefinementStop.UNDONE)
    summary = record.summary_record(done, parameters, n_iterations=iteration - 1, first=source.first)
    kept = None if source.history is None else source.history[
        [c for c in source.history.columns if int(str(c).removeprefix("before_")) < iteration]
    ]
    tables = {
        "diagnostic_report": diagnostic_report(list(done.diagnoses), iteration=iteration),
        "refinement_log": log_table((), kept_log),
        **refined_tables(state, confidence),
    }
    dropped = tuple(f"{record.ITERATION}{n}" for n in range(iteration, source.n_done + 1))
    obs = record.obs_columns(state, source.first_labels, confidence)
    return RefinementResult(
        refinement=done, parameters=parameters, tables=tables, obs=obs,
        uns={record.PARAMETERS: record.flat(parameters), record.SUMMARY: {**summary, "seconds": 0.0}},
        obsm={} if kept is None or kept.columns.empty else {record.HISTORY: kept},
        plan=Plan(), confidence=confidence, dropped=dropped,
    )

