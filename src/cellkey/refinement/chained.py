"""Refinement right after annotation, into the same new run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellkey.records.run import OUTPUT_CELLS, REFINED_CELLS
from cellkey.refinement import record
from cellkey.refinement.cells import diagnose_cells, parameters_with_plan, refine_source, teller
from cellkey.refinement.run import write_diagnosis, write_refinement
from cellkey.refinement.source import open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from anndata import AnnData

    from cellkey.annotation.result import AnnotationResult
    from cellkey.refinement.parameters import RefinementParameters
    from cellkey.refinement.result import DiagnosisResult, RefinementResult

__all__ = ["Chained", "outdated_fields", "refine_annotated"]


@dataclass(frozen=True, slots=True)
class Chained:
    """What followed an annotation: a refinement, or a diagnosis alone."""

    refinement: RefinementResult | None
    diagnosis: DiagnosisResult | None

    def __repr__(self) -> str:
        return repr(self.refinement if self.refinement is not None else self.diagnosis)

    def record(self) -> dict[str, Any]:
        """Plain facts for the manifest."""
        if self.refinement is None:
            return {}
        summary = {k: v for k, v in self.refinement.uns[record.SUMMARY].items() if k != "clusters"}
        return {"parameters": self.refinement.parameters.model_dump(mode="json"), "summary": summary}


def refine_annotated(
    adata: AnnData,
    result: AnnotationResult,
    staging: Path,
    parameters: RefinementParameters | Mapping[str, Any] | str | None,
    *,
    diagnostic: bool = False,
    cells: str = "",
    figures: bool = True,
    dpi: int = 200,
    progress: Callable[[str, float | None], None] | None = None,
) -> Chained:
    """Refine what was just annotated, and add the files to the run that is being written.

    Parameters
    ----------
    adata
        The cells, in memory or backed; fields of earlier refinement do not count.
    result
        Of the annotation.
    staging
        Where the files of the run are gathered.
    parameters
        Model, mapping, JSON text or file name.
    diagnostic
        Only diagnose: write the report and a plan.
    cells
        Name of the file of annotated cells in ``staging``; empty if none is written.
    """
    chosen = parameters_with_plan(parameters, None, option="--refinement-params")
    components = None if result.clustering is None or result.clustering.components is None else (
        result.clustering.components.scores)
    source = open_source(
        adata, chosen, profiles=result.annotation.profiles, resamples=result.resamples, obs=result.obs, uns=result.uns,
        components=components,
    )
    tell = teller(progress)
    if diagnostic:
        found = diagnose_cells(source, chosen, tell=tell)
        write_diagnosis(found, chosen, staging)
        return Chained(None, found)
    refined = refine_source(source, chosen, parent_file=cells, tell=tell)
    write_refinement(refined, source, result.tables["cluster_annotations"], staging, figures=figures, dpi=dpi)
    if cells:
        _write_cells(refined, staging, cells)
    return Chained(refined, None)


def _write_cells(result: RefinementResult, staging: Path, cells: str) -> None:
    from cellkey.io.update import update_copy
    from cellkey.io.write import link_or_copy

    update_copy(staging / cells, staging / REFINED_CELLS, obs=result.obs, uns=result.uns, obsm=result.obsm)
    (staging / OUTPUT_CELLS).unlink(missing_ok=True)
    link_or_copy(staging / REFINED_CELLS, staging / OUTPUT_CELLS)


def outdated_fields(adata: AnnData) -> list[str]:
    """Return the fields of an earlier refinement in ``adata``, as ``slot/name``: a new annotation voids them."""
    if record.PARAMETERS not in adata.uns:
        return []
    columns = [c for c in map(str, adata.obs.columns)
               if record.is_refined_column(c) or c.startswith("cluster_lvl1_prev")]
    records = [str(k) for k in adata.uns if str(k).startswith(record.ITERATION)]
    return [
        *(f"obs/{c}" for c in columns),
        *(f"uns/{k}" for k in (*records, record.PARAMETERS, record.SUMMARY) if k in adata.uns),
        *([f"obsm/{record.HISTORY}"] if record.HISTORY in adata.obsm else []),
    ]
