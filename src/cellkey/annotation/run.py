"""From a file to a run directory: read, annotate, write everything at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cellkey import _keys
from cellkey.annotation.cells import annotate
from cellkey.annotation.evidence import evidence_record, keep_evidence, known_hashes, settings_of, stored_profiles
from cellkey.annotation.inputs import obs_column, possible_clusters
from cellkey.annotation.memory import parse_bytes, tile_budget
from cellkey.annotation.result import AnnotationResult, outdated_levels
from cellkey.errors import InputError, MissingFieldError, RunError
from cellkey.io.update import CopyAhead
from cellkey.io.write import link_or_copy
from cellkey.profiles.resampling import N_RESAMPLES
from cellkey.profiles.storage import evidence_stamp, stored_resamples
from cellkey.profiles.survey import matrix_digest
from cellkey.records.run import (
    COARSE_CELLS,
    MANIFEST,
    OUTPUT_CELLS,
    PROFILES,
    RESAMPLES,
    staged,
    write_manifest,
)
from cellkey.records.tables import ALL_TABLES
from cellkey.records.vocabulary import LogSource
from cellkey.scoring.marker_evidence import MarkerScoring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anndata import AnnData

    from cellkey.annotation.passes import Passes
    from cellkey.io.opened import OpenedCells
    from cellkey.profiles.profile import ClusterProfiles
    from cellkey.refinement.chained import Chained
    from cellkey.workers.connection import WorkerPlan

__all__ = ["AnnotationRun", "annotate_file"]


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
    memory_limit: str | int | None = None,
    progress: Callable[[str, float | None], None] | None = None,
    **options: Any,
) -> AnnotationRun:
    """Annotate a file of cells and write a run directory; on any error nothing is written.

    Parameters
    ----------
    source
        An ``.h5ad`` file or another form that :func:`cellkey.io.read.read_cells` reads.
    output_dir
        Directory of the run; made if needed. An earlier run in it is replaced, files of others stay.
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
    memory_limit
        Of the whole process, as ``"4G"`` or bytes: what of the matrix does not fit is streamed from a temporary
        file (in the folder that ``TMPDIR`` names), with the same results. None takes two thirds of the free
        memory. Only ``.h5ad`` files and Zarr stores are streamed; other forms are read whole.
    progress
        Called with the name of the step and the share done.
    options
        Further arguments of :func:`~cellkey.annotation.cells.annotate`.

    Raises
    ------
    RunError
        If the directory cannot be written, or holds a run that a person reviewed.

    Examples
    --------
    >>> made.adata.write_h5ad(folder / "cells.h5ad")
    >>> run = cellkey.annotate_file(
    ...     folder / "cells.h5ad", folder / "run", hierarchy=made.marker_map, cluster_key="true_cluster", figures=False
    ... )
    >>> (run.directory / "cluster_annotations.csv").is_file()
    True
    """
    started = time.perf_counter()
    path = Path(source)
    _refuse_reviewed(Path(output_dir))
    part = {"table": table, "modality": modality}
    new_job = _Job(path, annotation_only, cluster_key, memory_limit, options, part, on_disk=workers is not None)
    with staged(output_dir) as staging, contextlib.closing(new_job) as job, contextlib.ExitStack() as beside:
        adata, profiles = job.open(progress)
        if cells and hasattr(adata, "check_form"):
            adata.check_form(x_format)
        ahead = None
        if cells and profiles is None and _can_be_copied(adata, x_format):
            ahead = beside.enter_context(CopyAhead(path, staging))
        if hierarchy is None and annotation_only:
            hierarchy = _earlier_hierarchy(adata)
        if profiles is not None and options.get("resamples", N_RESAMPLES):
            options["resamples"] = stored_resamples(path.parent / RESAMPLES, profiles) or N_RESAMPLES
        with _passes(None if profiles is not None else workers, path) as passes:
            result = annotate(
                adata, hierarchy, groupby=job.groupby(adata), profiles=profiles, passes=passes, progress=progress,
                copy=True, **options,
            )
        result = replace(result, messages=(*job.messages, *result.messages))
        _say(progress, "writing")
        for name, frame in result.tables.items():
            ALL_TABLES[name].write_csv(frame, staging / f"{name}.csv")
        stamp = job.stamp(adata, result)
        if cells:
            _write_cells(job, adata, result, staging, x_format=x_format, slim=slim, ahead=ahead)
        refined = None
        if refinement is not None or diagnostic:
            from cellkey.refinement.chained import refine_annotated

            refined = refine_annotated(
                adata, result, staging, refinement, diagnostic=diagnostic, cells=COARSE_CELLS if cells else "",
                figures=figures, dpi=dpi, progress=progress,
            )
        linked = keep_evidence(result, staging, path.parent, profiles, options.get("resamples"), stamp)
        job.close()
        drawn = _draw(result, staging, dpi, progress) if figures else []
        read_matrix = result.annotation.profiles is not profiles
        write_manifest(staging, {
            "kind": "annotation",
            "input": {"name": path.name, **{k: v for k, v in job.part.items() if v is not None},
                      "bytes": path.stat().st_size if path.is_file() else None,
                      "fingerprint": stamp, "matrix_read": read_matrix},
            "evidence": evidence_record(staging, job.digest),
            "parameters": {**result.facts, "gating": result.annotation.gating.model_dump(mode="json")},
            "refinement": {} if refined is None else refined.record(),
            "messages": list(result.messages),
            "figures": [p.name for p in drawn],
            "seconds": round(time.perf_counter() - started, 3),
        }, hashes=known_hashes(path.parent, linked))
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
    """How one input is opened, and which profiles can stand in for its matrix."""

    def __init__(
        self,
        path: Path,
        annotation_only: bool,
        cluster_key: str | None,
        memory_limit: str | int | None,
        options: Mapping[str, Any],
        part: Mapping[str, str | None],
        *,
        on_disk: bool = False,
    ) -> None:
        self.path = path
        self.annotation_only = annotation_only
        self.cluster_key = cluster_key
        self.memory_limit = memory_limit
        self.options = options
        self.part: Mapping[str, Any] = part
        self.on_disk = on_disk
        self.messages: list[str] = []
        self.digest = ""
        self._cells: OpenedCells | None = None
        self._stored: ClusterProfiles | None = None
        if memory_limit is not None:
            parse_bytes(memory_limit)  # a mistyped amount shows before any file is read

    def open(self, progress: Callable[[str, float | None], None] | None) -> tuple[Any, ClusterProfiles | None]:
        from cellkey.io.on_disk import open_on_disk
        from cellkey.io.opened import open_cells
        from cellkey.io.read import read_cells

        _say(progress, "reading")
        if any(value is not None for value in self.part.values()):
            if self.on_disk:
                msg = "Dask workers read .h5ad files and Zarr stores of AnnData, not tables or modalities inside others"
                raise InputError(msg)
            return self._whole(read_cells(self.path, **self.part))
        again = self.annotation_only and (self.path.parent / PROFILES).is_file()
        self._cells = cells = open_cells(self.path, names=not again)
        if cells is None:
            return (open_on_disk(self.path), None) if self.on_disk else self._whole(read_cells(self.path))
        profiles = self._stored_profiles(cells) if again else None
        if self.on_disk and profiles is None:  # the workers read the matrix
            cells.close()
            return open_on_disk(self.path), None
        cells.limit(tile_budget(self.memory_limit if profiles is None else None, *cells.shape))
        return cells, profiles

    def _whole(self, adata: AnnData) -> tuple[Any, None]:
        if self.memory_limit is not None:
            self.messages.append(f"{self.path.name} is of a form that is read whole: the memory limit does not "
                                 "apply; write it as .h5ad to have it streamed.")
        return adata, None

    def _stored_profiles(self, cells: OpenedCells) -> ClusterProfiles | None:
        """Profiles beside the input, if they are of this matrix, these clusters and these settings."""
        from cellkey.clustering import pick_layer

        layer, matrix = pick_layer(cells, self.options.get("layer"))
        profiles, self.digest, reason = stored_profiles(
            cells, self.path, self.path.parent / PROFILES, layer=layer, matrix=matrix,
            groupby=str(self.groupby(cells)), options=self.options, quantiles=self._quantiles(),
        )
        if profiles is None:
            self.messages.append(f"The profiles beside {self.path.name} are not used ({reason}): the matrix is read.")
        self._stored = profiles
        return profiles

    def stamp(self, adata: Any, result: AnnotationResult) -> str:
        """Fingerprint of the values, names and clusters that the profiles are of."""
        from cellkey.clustering import pick_layer

        profiles = result.annotation.profiles
        if profiles is self._stored:  # compared with all of these when they were read
            return str(profiles.info["fingerprint"])
        if not self.digest:
            self.digest = matrix_digest(pick_layer(adata, str(result.facts["layer"]))[1])
        return evidence_stamp(self.digest, result.labels, adata.var_names, **settings_of(profiles))

    def close(self) -> None:
        """Let go of the input."""
        if self._cells is not None:
            self._cells.close()

    def _quantiles(self) -> list[float] | None:
        scoring = self.options.get("scoring")
        if isinstance(scoring, Mapping):
            return [float(scoring.get("positive_quantile", MarkerScoring().positive_quantile))]
        given = MarkerScoring() if scoring is None else scoring
        return [given.positive_quantile] if isinstance(given, MarkerScoring) else None

    def groupby(self, adata: Any) -> str | None:
        if self.cluster_key is not None:
            return self.cluster_key
        if not self.annotation_only:
            return None
        if obs_column(adata, _keys.CLUSTER) is None:
            few = possible_clusters(adata)
            found = f"obs has {', '.join(few)}: name one with --cluster-key" if few else "run without it first"
            msg = f"--annotation-only needs obs[{_keys.CLUSTER!r}], which {self.path.name} does not hold; {found}"
            raise MissingFieldError(msg)
        return _keys.CLUSTER


def _earlier_hierarchy(adata: Any) -> Any:
    import json

    stored = adata.uns.get(_keys.MARKER_MAP)
    if stored is None:
        return None
    try:
        return json.loads(str(stored))["source"]
    except (ValueError, KeyError, TypeError):
        msg = (f"uns[{_keys.MARKER_MAP!r}] holds no marker map of an earlier annotation: name one with --marker-map, "
               "or annotate without --annotation-only")
        raise InputError(msg) from None


def _write_cells(
    job: _Job,
    adata: Any,
    result: AnnotationResult,
    staging: Path,
    *,
    x_format: Literal["csr", "as-input"],
    slim: bool,
    ahead: CopyAhead | None,
) -> None:
    """Write the cells with their labels: as a copy of the input file where its matrix may stay as it is."""
    from cellkey.annotation.result import embeddings, graphs, write_result
    from cellkey.io.opened import OpenedCells
    from cellkey.io.update import update_copy
    from cellkey.io.write import write_cells
    from cellkey.refinement.chained import outdated_fields

    target = staging / COARSE_CELLS
    outdated = outdated_fields(adata)
    if _keys.PARAMS in adata.uns:
        outdated += [f"obs/{c}" for c in outdated_levels(adata.obs.columns, result.obs)]
    if _can_be_copied(adata, x_format):
        more = {} if slim else {"obsm": embeddings(result), "obsp": graphs(result)}
        update_copy(job.path, target, obs=result.obs, uns=dict(result.uns), drop=outdated, ahead=ahead, **more)
    else:
        matrix = None
        if isinstance(adata, OpenedCells):
            matrix, adata = adata.X, adata.to_memory()
        for slot, name in (field.split("/", 1) for field in outdated):
            del getattr(adata, slot)[name]
        write_result(adata, result, slim=slim)
        write_cells(adata, target, x_format=x_format, matrix=matrix)
    link_or_copy(target, staging / OUTPUT_CELLS)


def _can_be_copied(adata: Any, x_format: str) -> bool:
    from cellkey.io.opened import OpenedCells

    return isinstance(adata, OpenedCells) and adata.can_be_copied(x_format)


def _refuse_reviewed(directory: Path) -> None:
    """Keep what a person decided: such a run is not replaced by a new one."""
    log = directory / "refinement_log.csv"
    if not (log.is_file() and (directory / MANIFEST).is_file()):
        return
    n_reviewed = int((ALL_TABLES["refinement_log"].read_csv(log)["source"] == LogSource.MANUAL.value).sum())
    if n_reviewed:
        msg = (f"{directory} holds a run that a person reviewed ({n_reviewed} operation(s) in refinement_log.csv): "
               "name another output directory, or remove this one first")
        raise RunError(msg)


def _draw(
    result: AnnotationResult, staging: Path, dpi: int, progress: Callable[[str, float | None], None] | None
) -> list[Path]:
    from cellkey.plots import draw_run_figures
    from cellkey.plots.enrichment import draw_enrichment_figures

    _say(progress, "figures")
    folder = staging / "figures"
    return [*draw_run_figures(result.tables, folder, dpi=dpi),
            *draw_enrichment_figures(result.tables, folder, dpi=dpi)]


def _say(progress: Callable[[str, float | None], None] | None, step: str) -> None:
    if progress is not None:
        progress(step, None)
