"""From a file to a run directory: read, annotate, write everything at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cellkey import _keys
from cellkey.annotation.cells import AnnotationResult, annotate, outdated_levels
from cellkey.errors import InputError, MissingFieldError, RunError
from cellkey.io.write import link_or_copy
from cellkey.profiles.resample_storage import load_resamples, save_resamples
from cellkey.profiles.resampling import N_RESAMPLES
from cellkey.profiles.storage import fingerprint, load_profiles, save_profiles
from cellkey.records.run import staged, write_manifest
from cellkey.records.tables import ALL_TABLES
from cellkey.scoring.marker_evidence import MarkerScoring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from anndata import AnnData

    from cellkey.annotation.passes import Passes
    from cellkey.profiles.profile import ClusterProfiles
    from cellkey.profiles.resampling import Resamples
    from cellkey.refinement.chained import Chained
    from cellkey.workers.connection import WorkerPlan

__all__ = ["PROFILES_FILE", "RESAMPLES_FILE", "AnnotationRun", "annotate_file", "load_tables"]

PROFILES_FILE = "profiles.h5"
RESAMPLES_FILE = "resamples.h5"
_CELLS_FILE, _OUTPUT_FILE = "coarse_clusters.h5ad", "output.h5ad"


@dataclass(frozen=True, slots=True)
class AnnotationRun:
    """A finished run: its directory, its result, whether the cells had to be read, and what refinement did."""

    directory: Path
    result: AnnotationResult
    read_matrix: bool
    refined: Chained | None = None


def annotate_file(
    source: str | Path,
    output_dir: str | Path,
    *,
    hierarchy: Any = None,
    annotation_only: bool = False,
    cluster_key: str | None = None,
    figures: bool = True,
    dpi: int = 200,
    cells: bool = True,
    x_format: Literal["csr", "as-input"] = "csr",
    slim: bool = False,
    refinement: Any = None,
    diagnostic: bool = False,
    workers: WorkerPlan | None = None,
    table: str | None = None,
    modality: str | None = None,
    progress: Callable[[str, float | None], None] | None = None,
    **options: Any,
) -> AnnotationRun:
    """Annotate a file of cells and write a run directory; on any error nothing is written.

    Parameters
    ----------
    source
        An ``.h5ad`` file or another form that :func:`cellkey.io.read.read_cells` reads.
    output_dir
        Directory of the run; made if needed.
    hierarchy
        See :func:`~cellkey.annotation.cells.annotate`. With ``annotation_only`` and None, the hierarchy that
        the input was annotated with is used again.
    annotation_only
        Use the clusters of ``obs["cluster_lvl0"]`` (or ``cluster_key``). If the input lies in a run directory
        whose profiles belong to it, the matrix is not read.
    cluster_key
        Column of ``obs`` with existing clusters.
    figures, dpi
        Whether to draw the figures, and their resolution.
    cells
        Whether to write ``coarse_clusters.h5ad`` and ``output.h5ad``.
    x_format
        ``"csr"`` or ``"as-input"``: how X is stored.
    slim
        Leave the embedding and the neighbour graph out of the files.
    refinement
        Parameters of a refinement that follows at once, see
        :class:`~cellkey.refinement.parameters.RefinementParameters`; ``{}`` takes the defaults, None refines
        nothing.
    diagnostic
        Diagnose the clusters and write a plan, but refine nothing.
    workers
        Dask workers for the passes over the matrix, which then stays on disk (``.h5ad`` and Zarr only).
    table, modality
        Which table of a SpatialData store, or which modality of MuData, is meant; needed where there are several.
    progress
        Called with the name of the step and the share done.
    options
        Further arguments of :func:`~cellkey.annotation.cells.annotate`.
    """
    started = time.perf_counter()
    path = Path(source)
    with staged(output_dir) as staging:
        part = {"table": table, "modality": modality}
        job = _Job(path, annotation_only, cluster_key, options, part, on_disk=workers is not None)
        adata, profiles = job.open(progress)
        if hierarchy is None and annotation_only:
            hierarchy = _earlier_hierarchy(adata)
        if profiles is not None and options.get("resamples", N_RESAMPLES):
            options["resamples"] = _stored_resamples(path.parent, profiles) or N_RESAMPLES
        with _passes(None if profiles is not None else workers, path) as passes:
            result = annotate(
                adata, hierarchy, groupby=job.groupby(adata), profiles=profiles, passes=passes, progress=progress,
                copy=True, **options,
            )
        _say(progress, "writing")
        for name, frame in result.tables.items():
            ALL_TABLES[name].write_csv(frame, staging / f"{name}.csv")
        stamp = _write_cells(job, adata, result, staging, x_format=x_format, slim=slim) if cells else ""
        refined = None
        if refinement is not None or diagnostic:
            from cellkey.refinement.chained import refine_annotated

            refined = refine_annotated(
                adata, result, staging, refinement, diagnostic=diagnostic, cells=_CELLS_FILE if cells else "",
                figures=figures, dpi=dpi, progress=progress,
            )
        if profiles is not None and result.annotation.profiles is profiles:
            link_or_copy(path.parent / PROFILES_FILE, staging / PROFILES_FILE)
        else:
            result.annotation.profiles.info["fingerprint"] = stamp
            save_profiles(result.annotation.profiles, staging / PROFILES_FILE)
        if result.resamples is not None:
            result.resamples.info["fingerprint"] = str(result.annotation.profiles.info.get("fingerprint", ""))
            save_resamples(result.resamples, staging / RESAMPLES_FILE)
        drawn = _draw(result, staging, dpi, progress) if figures else []
        read_matrix = profiles is None
        write_manifest(staging, {
            "kind": "annotation",
            "input": {"name": path.name, **{k: v for k, v in job.part.items() if v is not None},
                      "bytes": path.stat().st_size if path.is_file() else None,
                      "fingerprint": stamp, "matrix_read": read_matrix},
            "parameters": {**result.facts, "gating": result.annotation.gating.model_dump(mode="json")},
            "refinement": {} if refined is None else refined.record(),
            "messages": list(result.messages),
            "figures": [p.name for p in drawn],
            "seconds": round(time.perf_counter() - started, 3),
        })
    if result.resamples is None:
        for name in (RESAMPLES_FILE, "confidence.csv"):  # of an earlier run in the same directory
            (Path(output_dir) / name).unlink(missing_ok=True)
    if refined is None or refined.refinement is None:
        _remove_refinement(Path(output_dir), keep_diagnosis=refined is not None)
    return AnnotationRun(Path(output_dir), result, read_matrix, refined)


@contextlib.contextmanager
def _passes(workers: WorkerPlan | None, path: Path) -> Iterator[Passes | None]:
    """Passes on Dask workers as long as the block lasts; None, that is this process, without a plan."""
    if workers is None:
        yield None
        return
    from cellkey.workers.passes import DaskPasses

    with workers.connect() as connected:
        yield DaskPasses(connected, path)


class _Job:
    """How one input is opened: whole, or without its matrix when stored profiles can stand in for it."""

    def __init__(
        self,
        path: Path,
        annotation_only: bool,
        cluster_key: str | None,
        options: Mapping[str, Any],
        part: Mapping[str, str | None],
        *,
        on_disk: bool = False,
    ) -> None:
        self.path = path
        self.part: Mapping[str, Any] = part
        self.annotation_only = annotation_only
        self.cluster_key = cluster_key
        self.options = options
        self.on_disk = on_disk
        self.backed = False

    def open(self, progress: Callable[[str, float | None], None] | None) -> tuple[AnnData, ClusterProfiles | None]:
        from cellkey.io.on_disk import open_on_disk
        from cellkey.io.read import read_cells

        _say(progress, "reading")
        if self.annotation_only and (self.path.parent / PROFILES_FILE).is_file() and self.path.suffix == ".h5ad":
            adata = read_cells(self.path, backed=True)
            profiles = self._stored_profiles(adata)
            if profiles is not None:
                self.backed = True
                return adata, profiles
            adata.file.close()
        return open_on_disk(self.path) if self.on_disk else read_cells(self.path, **self.part), None

    def _stored_profiles(self, adata: AnnData) -> ClusterProfiles | None:
        """Profiles beside the input, if they are of this matrix, these clusters and these settings."""
        from cellkey.clustering import pick_layer

        try:
            profiles = load_profiles(self.path.parent / PROFILES_FILE, quantiles=self._quantiles())
        except RunError:
            return None
        name, X = pick_layer(adata, self.options.get("layer"))
        if name != profiles.info.get("layer") or not _same_scale(profiles, self.options):
            return None
        labels = adata.obs[self.groupby(adata)]
        stamp = _stamp(X, labels.astype(object).to_numpy(), adata.var_names, profiles)
        return profiles if stamp == profiles.info.get("fingerprint") else None

    def _quantiles(self) -> list[float] | None:
        scoring = self.options.get("scoring")
        if isinstance(scoring, Mapping):
            return [float(scoring.get("positive_quantile", MarkerScoring().positive_quantile))]
        given = MarkerScoring() if scoring is None else scoring
        return [given.positive_quantile] if isinstance(given, MarkerScoring) else None

    def groupby(self, adata: AnnData) -> str | None:
        if self.cluster_key is not None:
            return self.cluster_key
        if not self.annotation_only:
            return None
        if _keys.CLUSTER not in adata.obs:
            few = [str(c) for c in adata.obs if 1 < adata.obs[c].nunique() <= max(200, adata.n_obs // 20)]
            found = f"obs has {', '.join(few)}: name one with --cluster-key" if few else "run without it first"
            msg = f"--annotation-only needs obs[{_keys.CLUSTER!r}], which {self.path.name} does not hold; {found}"
            raise MissingFieldError(msg)
        return _keys.CLUSTER


def _stored_resamples(folder: Path, profiles: ClusterProfiles) -> Resamples | None:
    """Resamples beside profiles, if they were made with them."""
    try:
        resamples = load_resamples(folder / RESAMPLES_FILE)
    except RunError:
        return None
    return resamples if resamples.info.get("fingerprint") == profiles.info.get("fingerprint") else None


def _same_scale(profiles: ClusterProfiles, options: Mapping[str, Any]) -> bool:
    wanted = "none" if not options.get("normalize", True) else profiles.info.get("transform")
    return options.get("assume") is None and profiles.info.get("transform") == wanted


def _stamp(X: Any, labels: Any, var_names: Sequence[str], profiles: ClusterProfiles) -> str:
    settings = {k: profiles.info.get(k) for k in ("transform", "layer")}
    return fingerprint(X, np.asarray(labels, dtype=object), var_names, basis=profiles.basis, **settings)


def _earlier_hierarchy(adata: AnnData) -> Any:
    import json

    stored = adata.uns.get(_keys.MARKER_MAP)
    return None if stored is None else json.loads(str(stored))["source"]


def _write_cells(
    job: _Job,
    adata: AnnData,
    result: AnnotationResult,
    staging: Path,
    *,
    x_format: Literal["csr", "as-input"],
    slim: bool,
) -> str:
    """Write the cells with their labels; return the fingerprint of what was written."""
    from cellkey.io.update import update_copy
    from cellkey.io.write import write_cells
    from cellkey.refinement.chained import outdated_fields

    target = staging / _CELLS_FILE
    outdated = outdated_fields(adata)
    if _keys.PARAMS in adata.uns:
        outdated += [f"obs/{c}" for c in outdated_levels(adata.obs.columns, result.obs)]
    if job.backed:
        update_copy(job.path, target, obs=result.obs, uns=dict(result.uns), drop=outdated)
    else:
        from cellkey.annotation.cells import write_result

        for slot, name in (field.split("/", 1) for field in outdated):
            del getattr(adata, slot)[name]
        write_result(adata, result, slim=slim)
        write_cells(adata, target, x_format=x_format)
    link_or_copy(target, staging / _OUTPUT_FILE)
    return _written_stamp(target, result)


def _written_stamp(path: Path, result: AnnotationResult) -> str:
    from cellkey.clustering import pick_layer
    from cellkey.io.read import read_cells

    written = read_cells(path, backed=True)
    try:
        _, X = pick_layer(written, str(result.facts["layer"]))
        return _stamp(X, written.obs[_keys.CLUSTER].astype(object).to_numpy(), written.var_names,
                      result.annotation.profiles)
    finally:
        written.file.close()


def _remove_refinement(directory: Path, *, keep_diagnosis: bool) -> None:
    """Remove files of an earlier refinement in the same directory, which no longer hold."""
    names = ["refined.h5ad", "refinement_log.csv", "refinement_plan.yaml", "figures/refinement_alluvial.png"]
    names += [p.name for p in directory.glob("refined_*.csv")] + [
        p.name for p in directory.glob("diagnostic_report_iter*.csv")]
    names += [] if keep_diagnosis else ["diagnostic_report.csv", "plan.yaml"]
    for name in names:
        (directory / name).unlink(missing_ok=True)


def _draw(
    result: AnnotationResult, staging: Path, dpi: int, progress: Callable[[str, float | None], None] | None
) -> list[Path]:
    from cellkey.plots import draw_run_figures
    from cellkey.plots.enrichment import draw_enrichment_figures

    _say(progress, "figures")
    folder = staging / "figures"
    return [*draw_run_figures(result.tables, folder, dpi=dpi),
            *draw_enrichment_figures(result.tables, folder, dpi=dpi)]


_EXPLAINING = ("cluster_annotations", "decision_steps", "marker_evidence", "enrichment_calls", "confidence")


def load_tables(run: str | Path, names: Sequence[str] = _EXPLAINING) -> dict[str, Any]:
    """Read tables of a run directory.

    Raises
    ------
    InputError
        If the directory holds no annotation run.
    """
    directory = Path(run)
    missing = [n for n in names[:2] if not (directory / f"{n}.csv").is_file()]
    if missing:
        msg = f"{directory} is not an annotation run: it holds no {missing[0]}.csv"
        raise InputError(msg)
    return {n: ALL_TABLES[n].read_csv(directory / f"{n}.csv") for n in names if (directory / f"{n}.csv").is_file()}


def _say(progress: Callable[[str, float | None], None] | None, step: str) -> None:
    if progress is not None:
        progress(step, None)
