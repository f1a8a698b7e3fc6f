"""What refining and diagnosing give, and writing it into cells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cellkey import _keys
from cellkey.refinement import record
from cellkey.refinement.confidence import Confidence

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData

    from cellkey.refinement.diagnosis import Diagnosis
    from cellkey.refinement.iteration import Refinement, RefinementStop
    from cellkey.refinement.parameters import RefinementParameters
    from cellkey.refinement.plan import Plan

__all__ = ["DiagnosisResult", "RefinementResult", "stale_fields", "write_refined"]


@dataclass(frozen=True, slots=True)
class RefinementResult:
    """What a refinement did.

    Attributes
    ----------
    refinement
        States and iterations.
    parameters
        In effect.
    tables
        By name: ``diagnostic_report`` (and one per later iteration), ``refinement_log``,
        ``refined_annotations``, ``refined_marker_scores``, ``refined_decision_steps``, ``refined_marker_evidence``
        and, unless ``call_resamples`` is 0, ``refined_confidence``.
    obs, uns, obsm
        Fields for the cells.
    plan
        All operations that were carried out, as a plan.
    confidence
        Of the calls.
    """

    refinement: Refinement
    parameters: RefinementParameters
    tables: Mapping[str, pd.DataFrame]
    obs: Mapping[str, Any]
    uns: Mapping[str, Any]
    obsm: Mapping[str, Any]
    plan: Plan
    confidence: Confidence = field(default_factory=Confidence)
    dropped: tuple[str, ...] = ()

    @property
    def stop(self) -> RefinementStop:
        """Why refinement ended."""
        return self.refinement.stop

    def __repr__(self) -> str:
        before, after = self.refinement.first, self.refinement.last
        log = self.tables["refinement_log"]
        lines = [
            f"{len(self.refinement.iterations)} iteration(s), {len(before.clusters)} -> {len(after.clusters)} "
            f"clusters; ended: {self.stop} ({self.stop.meaning})"
        ]
        own = {i.number for i in self.refinement.iterations}
        for row in log[log["iteration"].isin(own)].to_dict("records"):
            made = f" -> {row['new_clusters']}" if row["new_clusters"] else ""
            lines.append(f"  {row['iteration']}  {row['action']:<10} {row['cluster_id']}{made}  {row['old_label']} -> "
                         f"{row['new_label']}  [{row['status']}]")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class DiagnosisResult:
    """What a diagnosis found: the report, and the plan that would follow from it."""

    diagnoses: tuple[Diagnosis, ...]
    report: pd.DataFrame
    plan: Plan

    def __repr__(self) -> str:
        first = max([7, *self.report["cluster_id"].str.len()])
        width = max([13, *self.report["current_label"].str.len()])
        rows = (f"{row.cluster_id:>{first}}  {row.n_cells:>8,}  {row.current_label:<{width}}  {row.recommendation:<14}"
                f"  {row.reason}" for row in self.report.sort_values("priority").itertuples())
        head = f"{'cluster':>{first}}  {'cells':>8}  {'current label':<{width}}  recommendation  reason"
        return "\n".join([head, *rows])


def write_refined(adata: AnnData, result: RefinementResult, *, restart: bool = False) -> None:
    """Write the fields of a result into ``adata``; columns of the user with these names are kept."""
    from cellkey.io.fields import kept_columns

    own = record.PARAMETERS in adata.uns
    _forget(adata, result, everything=restart)
    names = [n for n in result.obs if record.is_refined_column(n)]
    for old, new in kept_columns(adata.obs.columns, names, own_output=own).items():
        adata.obs[new] = adata.obs[old]
    for name, values in result.obs.items():
        adata.obs[name] = values
    for name, value in result.uns.items():
        adata.uns[name] = value
    for name, value in result.obsm.items():
        adata.obsm[name] = value


def _forget(adata: AnnData, result: RefinementResult, *, everything: bool) -> None:
    """Remove the records of iterations that the result does not build on, and confidence that it did not measure."""
    if record.PARAMETERS in adata.uns and _keys.REFINED_PROBABILITY in adata.obs:
        del adata.obs[_keys.REFINED_PROBABILITY]
    for name in stale_fields(adata.uns, result, everything=everything):
        del adata.uns[name]
    if everything or record.HISTORY not in result.obsm:
        adata.obsm.pop(record.HISTORY, None)


def stale_fields(uns: Mapping[str, Any], result: RefinementResult, *, everything: bool) -> list[str]:
    """Names of records in ``uns`` that no longer hold."""
    found = [str(k) for k in uns if str(k).startswith(record.ITERATION)]
    return [k for k in found if everything or k in result.dropped]
