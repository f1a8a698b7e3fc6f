"""What an explanation is made from: a fit, a table of features over samples, and a profile per module, aligned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellkey.errors import InputError, MissingFieldError, Problem, did_you_mean
from cellkey.isoforms.eigengenes import eigengene
from cellkey.isoforms.table_files import need_numbers, read_table_file
from cellkey.isoforms.validation import first_few

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cellkey.isoforms.fit_files import FitFiles

__all__ = ["ExplanationInputs", "aligned_inputs", "read_feature_table"]

Array = NDArray[np.float64]

MIN_OVERLAP = 10


@dataclass(frozen=True, slots=True)
class ExplanationInputs:
    """Aligned inputs: scores (features x samples), table (samples x features) and one profile per module."""

    fit: FitFiles
    samples: list[str]
    scores: Array
    score_meta: pd.DataFrame
    table: Array
    table_meta: pd.DataFrame
    profiles: dict[str, Array]
    notes: tuple[str, ...]


def read_feature_table(source: str | Path | pd.DataFrame, name: str = "feature table") -> pd.DataFrame:
    """Return a samples x features frame indexed by sample id, from a frame, parquet, CSV or TSV."""
    frame = source if isinstance(source, pd.DataFrame) else read_table_file(source, name, dtype={"sample_id": str})
    if "sample_id" in frame.columns:
        frame = frame.set_index("sample_id")
    frame.index = frame.index.astype(str)
    for what, ids in (("sample", frame.index), ("feature", frame.columns)):
        repeated = list(dict.fromkeys(ids[ids.duplicated()]))
        if repeated:
            msg = f"{name}: {len(repeated)} duplicate {what} ids: {', '.join(map(str, repeated[:5]))}; make them unique"
            raise InputError(msg)
    need_numbers(frame, name, "leave only sample_id and columns of numbers")
    return frame


def aligned_inputs(
    fit: FitFiles,
    module_ids: Sequence[str] | None,
    feature_table: str | Path | pd.DataFrame | None,
    feature_meta: str | Path | pd.DataFrame | None,
    module_score_table: str | Path | pd.DataFrame | None,
) -> ExplanationInputs:
    """Read and align the inputs of an explanation; samples are sorted.

    Raises
    ------
    InputError
        If a module is unknown, ids repeat, columns are missing or too few samples overlap.
    """
    chosen = _known_modules(fit, module_ids)
    table = read_feature_table(
        fit.directory / "transcript_usage.parquet" if feature_table is None else feature_table, "feature table"
    )
    meta = _read_meta(fit.directory / "feature_meta.parquet" if feature_meta is None else feature_meta)
    scores_samples = fit.sample_ids
    overlap = sorted(set(scores_samples) & set(table.index))
    needed = min(MIN_OVERLAP, len(scores_samples))
    if len(overlap) < needed:
        msg = (
            f"Only {len(overlap)} samples overlap between the fit and the feature table "
            f"(minimum required: {needed}); the fit has {first_few(scores_samples, 3)}, "
            f"table has {first_few(table.index, 3)}"
        )
        raise InputError(msg)
    notes = []
    for where, names in (("fit", scores_samples), ("feature table", list(table.index))):
        if len(names) > len(overlap):
            notes.append(f"{len(names) - len(overlap)} samples of the {where} are not in the other and were left out")
    known = meta[meta["feature_id"].isin(table.columns)]
    if not (known["feature_type"] == "transcript_usage").any():
        notes.append("no feature has the type 'transcript_usage': polarity tables are empty")
    if len(known) < len(meta):
        notes.append(f"{len(meta) - len(known)} features of the metadata are not in the feature table")
    return ExplanationInputs(
        fit=fit,
        samples=overlap,
        scores=fit.scores[overlap].to_numpy(dtype=np.float64),
        score_meta=fit.scores[["feature_id", "gene_id", "feature_type"]],
        table=table.loc[overlap, known["feature_id"]].to_numpy(dtype=np.float64),
        table_meta=known.reset_index(drop=True),
        profiles=_profiles(fit, chosen, overlap, module_score_table),
        notes=tuple(notes),
    )


def _known_modules(fit: FitFiles, module_ids: Sequence[str] | None) -> list[str]:
    if module_ids is None:
        return list(fit.modules)
    unknown = [m for m in module_ids if m not in fit.modules.members]
    if unknown:
        msg = f"{len(unknown)} unknown module id(s); the fit has {', '.join(fit.modules) or 'no modules'}"
        raise InputError(msg, [Problem(f"no such module{did_you_mean(m, fit.modules)}", repr(m)) for m in unknown])
    return list(dict.fromkeys(module_ids))


def _read_meta(source: str | Path | pd.DataFrame) -> pd.DataFrame:
    meta = source if isinstance(source, pd.DataFrame) else read_table_file(source, "feature metadata")
    missing = [c for c in ("feature_id", "gene_id", "feature_type") if c not in meta.columns]
    if missing:
        msg = (
            f"feature metadata lacks the column(s) {', '.join(missing)}; "
            f"columns are {', '.join(map(str, meta.columns))}"
        )
        raise MissingFieldError(msg)
    repeated = list(meta["feature_id"][meta["feature_id"].duplicated()].unique())
    if repeated:
        msg = f"feature metadata: {len(repeated)} duplicate feature ids: {', '.join(map(str, repeated[:5]))}"
        raise InputError(msg)
    if "transcript_id" not in meta.columns:
        meta = meta.assign(transcript_id=meta["feature_id"])
    return meta


def _profiles(
    fit: FitFiles, chosen: list[str], samples: list[str], module_score_table: str | Path | pd.DataFrame | None
) -> dict[str, Array]:
    if module_score_table is not None:
        table = read_feature_table(module_score_table, "module score table")
        absent = [m for m in chosen if m not in table.columns]
        lost = [s for s in samples if s not in table.index]
        if absent or lost:
            msg = f"module score table lacks {len(absent)} module column(s) and {len(lost)} sample(s)"
            named = (("columns", absent), ("samples", lost))
            raise InputError(msg, [Problem(f"not there: {first_few(n)}", what) for what, n in named if n])
        return {m: table.loc[samples, m].to_numpy(dtype=np.float64) for m in chosen}
    if len(fit.eigengenes):
        stored = fit.eigengenes.set_index(fit.eigengenes["module_id"].astype(str))
        return {m: stored.loc[m, samples].to_numpy(dtype=np.float64) for m in chosen}
    genes = fit.scores["gene_id"]
    return {
        m: eigengene(fit.scores.loc[genes.isin(fit.modules.members[m]), samples].to_numpy(dtype=np.float64)).values
        for m in chosen
    }
