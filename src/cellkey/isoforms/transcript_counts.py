"""Transcript counts, whatever they were read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["TranscriptCounts"]


@dataclass(frozen=True, slots=True)
class TranscriptCounts:
    """Estimated reads of transcripts in samples.

    Parameters
    ----------
    counts
        Transcripts x samples, float64.
    transcript_ids, sample_ids
        Rows and columns.
    gene_ids, gene_names
        Gene and its symbol per transcript where the source names them, else None.
    lengths, effective_lengths
        Transcript length, and its mean effective length over samples, where the source has them.
    samples
        Sample table where the source has one (AnnData), with ``sample_id``.
    source
        What was read, for the record.
    """

    counts: Array
    transcript_ids: tuple[str, ...]
    sample_ids: tuple[str, ...]
    gene_ids: tuple[str, ...] | None = None
    gene_names: tuple[str, ...] | None = None
    lengths: Array | None = None
    effective_lengths: Array | None = None
    samples: pd.DataFrame | None = None
    source: str = ""
