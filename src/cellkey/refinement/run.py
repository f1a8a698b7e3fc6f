"""Refinement of run directories: read, refine, and replace the files of the run at once."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cellkey import _keys
from cellkey.errors import InputError, ParameterError, RunError
from cellkey.profiles.storage import load_profiles, stored_resamples
from cellkey.records.atomic import write_text
from cellkey.records.fingerprint import CALLS, calls_fingerprint
from cellkey.records.run import (
    COARSE_CELLS,
    MANIFEST,
    OUTPUT_CELLS,
    PROFILES,
    REFINED_CELLS,
    RESAMPLES,
    listed_outputs,
    read_manifest,
    timestamp,
)
from cellkey.records.run_tables import RunKind, run_kind
from cellkey.records.tables import ALL_TABLES, CLUSTER_ANNOTATIONS, DIAGNOSTIC_REPORT, REFINEMENT_LOG
from cellkey.refinement import record
from cellkey.refinement.cells import (
    diagnose_cells,
    parameters_with_plan,
    refine_source,
    stored_parameters,
    teller,
    undo_source,
)
from cellkey.refinement.plan_files import read_plan, write_plan
from cellkey.refinement.policies import Focus
from cellkey.refinement.publishing import finish_interrupted, prepared, working_on
from cellkey.refinement.result import stale_fields
from cellkey.refinement.source import Source, open_source
from cellkey.refinement.tables import with_final_labels

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from cellkey.profiles.profile import ClusterProfiles
    from cellkey.refinement.parameters import RefinementParameters
    from cellkey.refinement.plan import Plan
    from cellkey.refinement.result import DiagnosisResult, RefinementResult

__all__ = ["RefinementRun", "diagnose_run", "refine_run", "undo_run", "write_diagnosis", "write_refinement"]

_PLAN, _DONE_PLAN = "plan.yaml", "refinement_plan.yaml"
_KEPT = (
    COARSE_CELLS, PROFILES, RESAMPLES, "confidence.csv", "marker_scores.csv", "decision_steps.csv",
    "gating_details.csv", "marker_evidence.csv",
)
Progress = Callable[[str, "float | None"], None]


@dataclass(frozen=True, slots=True)
class RefinementRun:
    """A finished refinement: its directory and result; the result is None if an interrupted one was completed."""

    directory: Path
    result: RefinementResult | None


def refine_run(
    source: str | Path,
    output_dir: str | Path | None = None,
    *,
    parameters: RefinementParameters | Mapping[str, Any] | str | None = None,
    plan: Plan | Mapping[str, Any] | str | Path | None = None,
    automatic: bool | None = None,
    focus: Focus | Mapping[str, Any] | None = None,
    restart: bool = False,
    figures: bool = True,
    dpi: int = 200,
    progress: Progress | None = None,
) -> RefinementRun:
    """Refine a run; a kill at any moment leaves the previous state, and the same command completes the work.

    Parameters
    ----------
    source
        A run directory, or an annotated ``.h5ad`` file.
    output_dir
        Where to write; the run directory itself if None.
    parameters, plan, automatic, focus, restart
        See :func:`~cellkey.refinement.cells.refine`.
    figures, dpi
        Whether to draw what became of the clusters, and the resolution.
    progress
        Called with the name of the step.

    Examples
    --------
    >>> refined = cellkey.refine_run(run.directory, output_dir=folder / "refined", figures=False)
    >>> (refined.directory / "refined_annotations.csv").is_file()
    True
    """
    written = None if plan is None else read_plan(plan)
    chosen = parameters_with_plan(parameters, written, option="--refinement-params")
    aim = Focus.parse(focus) if isinstance(focus, Mapping) else focus
    request = _request("refine", chosen.model_dump(mode="json"), "" if written is None else written.checksum(),
                       automatic, aim.model_dump() if aim else None, restart)
    job = _Job(source, output_dir)
    with working_on(job.directory):
        if finish_interrupted(job.directory) == request:
            return RefinementRun(job.directory, None)
        if written is not None and not restart:
            job.require_plan_of_this_run(written)
        adata, opened = job.open(chosen, restart=restart)
        try:
            result = refine_source(
                opened, chosen, plan=written, automatic=automatic, focus=aim, uns=adata.uns,
                earlier_log=None if restart else job.earlier_log(), parent_file=job.path.name,
                tell=teller(progress),
            )
            job.publish(adata, opened, result, request, restart=restart, figures=figures, dpi=dpi)
        finally:
            adata.file.close()
    return RefinementRun(job.directory, result)


def undo_run(
    source: str | Path, iteration: int, output_dir: str | Path | None = None, *, figures: bool = True, dpi: int = 200
) -> RefinementRun:
    """Undo an iteration of a run and all later ones.

    Raises
    ------
    InputError
        If there is no such iteration on record.
    """
    job = _Job(source, output_dir)
    request = _request("undo", iteration)
    with working_on(job.directory):
        if finish_interrupted(job.directory) == request:
            return RefinementRun(job.directory, None)
        adata, opened = job.open(None)
        try:
            parameters = stored_parameters(adata.uns)
            result = undo_source(opened, iteration, parameters, uns=adata.uns, earlier_log=job.earlier_log())
            job.publish(adata, opened, result, request, restart=False, figures=figures, dpi=dpi)
        finally:
            adata.file.close()
    return RefinementRun(job.directory, result)


def diagnose_run(
    source: str | Path,
    output_dir: str | Path | None = None,
    *,
    parameters: RefinementParameters | Mapping[str, Any] | str | None = None,
    focus: Focus | None = None,
    progress: Progress | None = None,
) -> DiagnosisResult:
    """Diagnose a run: write ``diagnostic_report.csv`` and ``plan.yaml``, change nothing else."""
    chosen = parameters_with_plan(parameters, None, option="--refinement-params")
    job = _Job(source, output_dir)
    with working_on(job.directory):
        finish_interrupted(job.directory)
        adata, opened = job.open(chosen)
        try:
            result = diagnose_cells(opened, chosen, focus=focus, tell=teller(progress))
        finally:
            adata.file.close()
        write_diagnosis(result, chosen, job.directory)
    return result


def write_diagnosis(result: DiagnosisResult, parameters: RefinementParameters, directory: Path) -> None:
    """Write the report, and the plan that would follow, for a person to edit."""
    DIAGNOSTIC_REPORT.write_csv(result.report, directory / "diagnostic_report.csv")
    metadata = {"policy": parameters.policy, "created_at": timestamp(), "n_operations": len(result.plan.operations)}
    write_plan(result.plan.updated(metadata=metadata), directory / _PLAN)


def write_refinement(
    result: RefinementResult,
    first: Source,
    annotations: pd.DataFrame,
    staging: Path,
    *,
    figures: bool,
    dpi: int,
) -> None:
    """Write all files of a refinement but the cells and the manifest.

    Parameters
    ----------
    annotations
        Table ``cluster_annotations`` of the first clustering; written again with the final labels.
    """
    for name, table in result.tables.items():
        schema = DIAGNOSTIC_REPORT if name.startswith("diagnostic_report") else ALL_TABLES[name]
        schema.write_csv(table, staging / f"{name}.csv")
    final = with_final_labels(annotations, result.refinement.last)
    CLUSTER_ANNOTATIONS.write_csv(final, staging / "cluster_annotations.csv")
    write_plan(result.plan, staging / _DONE_PLAN)
    if figures:
        _draw(first, result, staging / "figures", dpi)


def _draw(first: Source, result: RefinementResult, folder: Path, dpi: int) -> None:
    from cellkey.calls.columns import path_text
    from cellkey.plots.alluvial import draw_alluvial

    folder.mkdir(exist_ok=True)
    state = result.refinement.last
    before = {c: path_text(call) or call.label for c, call in first.first.calls.items()}
    after = {c: path_text(call) or call.label for c, call in state.calls.items()}
    known = [i for i, c in enumerate(state.ids) if c is not None]
    draw_alluvial(
        [before[state.origin[i]] for i in known], [after[state.ids[i]] for i in known],
        folder / "refinement_alluvial.png", lineages=[n.name for n in state.verdict.key.hierarchy.roots], dpi=dpi,
    )


def _request(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


_INSTEAD: Final = {
    RunKind.CONSENSUS: (
        "refine one of the runs behind it, or let a reviewer's table vote in a new one: cellkey consensus RUN..."
        " --table FILE:new_label --output-dir DIR"
    ),
    RunKind.BATCH: "annotate the cells of one of its datasets with 'cellkey annotate' and refine that run",
    RunKind.MARKER_TABLE: "it holds no cells; correct its labels in the table",
    RunKind.MODEL_TABLE: "it holds no cells; correct its labels in the table",
    RunKind.SUBCLUSTERS: "it holds no cells; correct its labels in the table",
}
"""What to do with a run that is none of annotated cells."""


def _require_annotation(directory: Path) -> None:
    try:
        kind = run_kind(directory)
    except RunError:  # no tables: the cells may be there all the same
        return
    if kind in _INSTEAD:
        msg = f"{directory} is a {kind} and cannot be refined: {_INSTEAD[kind]}"
        raise InputError(msg)


class _Job:
    """One run that is refined: where it is, what it holds, and where the result goes."""

    def __init__(self, source: str | Path, output_dir: str | Path | None) -> None:
        path = Path(source)
        if not path.exists():
            msg = f"{path} does not exist: name a run directory or an annotated .h5ad file"
            raise InputError(msg)
        if path.is_dir():
            _require_annotation(path)
        self.home = path if path.is_dir() else path.parent
        self.directory = self.home if output_dir is None else Path(output_dir)
        self._given = path
        if output_dir is None and path.is_file() and not (self.home / MANIFEST).is_file():
            msg = f"{path} does not lie in a run directory: say where the result goes with --output-dir"
            raise InputError(msg)

    @property
    def path(self) -> Path:
        """The file of annotated cells."""
        if self._given.is_file():
            return self._given
        names = (OUTPUT_CELLS, REFINED_CELLS, COARSE_CELLS)
        found = next((file for n in names if (file := self.home / n).is_file()), None)
        if found is None:
            msg = (f"{self.home} holds no {OUTPUT_CELLS}: it is not an annotation run, or one written without cells "
                   "(--skip-cells)")
            raise InputError(msg)
        return found

    def open(self, parameters: RefinementParameters | None, *, restart: bool = False) -> tuple[AnnData, Source]:
        """Return the cells, backed, and what refinement needs of them."""
        from cellkey.io.read import read_cells

        adata = read_cells(self.path, backed=True)
        try:
            chosen = parameters or stored_parameters(adata.uns)
            profiles = self._profiles()
            resamples = None if profiles is None else stored_resamples(self.home / RESAMPLES, profiles)
            return adata, open_source(adata, chosen, profiles=profiles, resamples=resamples, restart=restart)
        except BaseException:
            adata.file.close()
            raise

    def _profiles(self) -> ClusterProfiles | None:
        try:
            return load_profiles(self.home / PROFILES)
        except RunError:
            return None

    def earlier_log(self) -> pd.DataFrame | None:
        """The log of earlier refinements of this run."""
        path = self.home / "refinement_log.csv"
        return REFINEMENT_LOG.read_csv(path, absent={"reviewer": ""}) if path.is_file() else None

    def require_plan_of_this_run(self, plan: Plan) -> None:
        """Check that a plan that names the calls it was made for, as the review page writes it, meets these calls.

        Raises
        ------
        ParameterError
            If the plan was made for another run, or for an earlier state of this one.
        """
        wanted = plan.metadata.get(CALLS)
        if not wanted:
            return
        found = calls_fingerprint(self.home)
        if str(wanted) != found:
            name = str(plan.metadata.get("run") or "")
            msg = (f"the plan was made for another run or for an earlier state of this one: it names the calls {wanted}"
                   f"{f' of run {name!r}' if name else ''}, but {self.home} holds the calls {found}. Make the page"
                   f" again with 'cellkey report {self.home}' and decide there")
            raise ParameterError(msg)

    def publish(
        self,
        adata: AnnData,
        source: Source,
        result: RefinementResult,
        request: str,
        *,
        restart: bool,
        figures: bool,
        dpi: int,
    ) -> None:
        """Prepare all files and put them in place at once."""
        started = time.perf_counter()
        outdated = (*(p.name for p in self.directory.glob("diagnostic_report_iter*.csv")), "refined_confidence.csv")
        with prepared(self.directory, request, remove=outdated) as staging:
            self._write_cells(adata, result, staging, restart=restart)
            write_refinement(result, source, self._annotations(source), staging, figures=figures, dpi=dpi)
            if self.directory.resolve() != self.home.resolve():
                self._take_along(staging)
            self._write_manifest(result, staging, outdated, seconds=time.perf_counter() - started)

    def _write_cells(self, adata: AnnData, result: RefinementResult, staging: Path, *, restart: bool) -> None:
        from cellkey.io.fields import kept_columns
        from cellkey.io.update import update_copy
        from cellkey.io.write import link_or_copy

        own = record.PARAMETERS in adata.uns
        names = [n for n in result.obs if record.is_refined_column(n)]
        obs = {new: adata.obs[old].array for old, new in kept_columns(adata.obs.columns, names, own_output=own).items()}
        drop = [f"uns/{k}" for k in stale_fields(adata.uns, result, everything=restart)]
        if restart or record.HISTORY not in result.obsm:
            drop += [f"obs/{c}" for c in adata.obs.columns if own and str(c).startswith("cluster_lvl1_prev")]
            drop.append(f"obsm/{record.HISTORY}")
        if own and _keys.REFINED_PROBABILITY in adata.obs and _keys.REFINED_PROBABILITY not in result.obs:
            drop.append(f"obs/{_keys.REFINED_PROBABILITY}")
        update_copy(self.path, staging / REFINED_CELLS, obs={**obs, **result.obs}, uns=result.uns, obsm=result.obsm,
                    drop=drop)
        link_or_copy(staging / REFINED_CELLS, staging / OUTPUT_CELLS)

    def _annotations(self, source: Source) -> pd.DataFrame:
        path = self.home / "cluster_annotations.csv"
        if path.is_file():
            return CLUSTER_ANNOTATIONS.read_csv(path)
        from cellkey.annotation.tables import annotation_tables

        return annotation_tables(source.first.verdict.annotation, with_evidence=False)["cluster_annotations"]

    def _take_along(self, staging: Path) -> None:
        """Give the new directory the files of the annotation as well."""
        from cellkey.io.write import link_or_copy

        for name in _KEPT:
            if (self.home / name).is_file():
                link_or_copy(self.home / name, staging / name)

    def _write_manifest(
        self, result: RefinementResult, staging: Path, removed: tuple[str, ...], *, seconds: float
    ) -> None:
        try:
            manifest = read_manifest(self.home)
        except RunError:
            manifest = {"kind": "refinement", "status": "complete", "created": timestamp()}
        outputs = {k: v for k, v in manifest.get("outputs", {}).items() if k not in removed}
        if self.directory.resolve() != self.home.resolve():
            outputs = {}
        outputs |= listed_outputs(staging)
        summary = {k: v for k, v in result.uns[record.SUMMARY].items() if k != "clusters"}
        manifest["refinements"] = [*manifest.get("refinements", []), {
            "created": timestamp(), "command": [Path(sys.argv[0]).name, *sys.argv[1:]], "input": self.path.name,
            "parameters": result.parameters.model_dump(mode="json"), "summary": summary,
            "plan_checksum": result.plan.checksum(), "seconds_writing": round(seconds, 3),
        }]
        manifest["outputs"] = dict(sorted(outputs.items()))
        write_text(staging / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False, default=str) + "\n")
