"""Splicing events as a third channel: the share of reads that include an event (PSI), one feature per event."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellkey.errors import BundleError, InputError
from cellkey.isoforms.bundle import PSI, Bundle, FeatureKind
from cellkey.isoforms.gene_map import strip_version
from cellkey.isoforms.table_files import need_numbers, read_table_file
from cellkey.isoforms.validation import first_few

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PsiTable", "event_logits", "psi_of_bundle", "read_psi"]

Array = NDArray[np.float64]

BOUND = 0.01
"""Shares are clipped to this and one minus this, so that an event with few reads has no unlimited logit."""

MIN_OBSERVED = 0.5
"""An event needs a value in this share of the samples; the others take its mean."""


def event_logits(psi: Array) -> tuple[Array, NDArray[np.intp]]:
    """Return the logit of every usable event (events x samples) and the positions of those events.

    Events that are missing in more than half of the samples, or that are the same in all, are left out; a missing
    value of a kept event takes the mean of its logits.
    """
    seen = np.isfinite(psi)
    clipped = np.clip(psi, BOUND, 1 - BOUND)
    logits = np.log(clipped / (1 - clipped))
    counts = seen.sum(axis=1)
    sums = np.where(seen, logits, 0.0).sum(axis=1)
    filled = np.where(seen, logits, (sums / np.maximum(counts, 1))[:, None])
    usable = np.flatnonzero((counts >= MIN_OBSERVED * psi.shape[1]) & (np.ptp(filled, axis=1) > 0))
    return filled[usable], usable


def psi_of_bundle(bundle: Bundle) -> tuple[pd.DataFrame, Array]:
    """Return the event table and the shares of a bundle.

    Raises
    ------
    BundleError
        If the bundle has no events.
    """
    events, psi = bundle.tables.get(FeatureKind.PSI.value), bundle.matrices.get(PSI)
    if events is None or psi is None:
        msg = (
            f"bundle {bundle.name!r} has no splicing events (a table of kind 'psi' and a matrix 'psi'); "
            "give them to 'prepare --psi', or use channels=both"
        )
        raise BundleError(msg)
    return events, psi


@dataclass(frozen=True, slots=True)
class PsiTable:
    """Splicing events of a file: their genes, and shares of inclusion (events x samples, NaN where unknown)."""

    events: pd.DataFrame
    values: Array
    sample_ids: Sequence[str]

    def for_samples(self, sample_ids: Sequence[str]) -> Array:
        """Return the columns of these samples; NaN for samples that the file does not have."""
        place = {s: i for i, s in enumerate(self.sample_ids)}
        found = np.full((len(self.values), len(sample_ids)), np.nan)
        for j, sample in enumerate(sample_ids):
            if sample in place:
                found[:, j] = self.values[:, place[sample]]
        return found


def read_psi(path: str | Path, *, strip_versions: bool = False) -> PsiTable:
    """Read events from a tab-separated table of ids and one column per sample.

    Event ids are those of SUPPA (``<gene>;<type>:<coordinates>``), or any id beside a column ``gene_id``. A header
    that lacks the column of ids, as SUPPA writes it, is understood.

    Raises
    ------
    InputError
        If the file is missing, an event names no gene, or a value is no share between 0 and 1.
    """
    source = Path(path)
    # With one name fewer than fields, pandas takes the first field as index: the header of SUPPA.
    table = read_table_file(source, "splicing events", na_values=["nan", "NA"])
    if isinstance(table.index, pd.RangeIndex):
        table = table.set_index(table.columns[0])
    ids = [str(i) for i in table.index]
    if "gene_id" in table.columns:
        genes = [str(g) for g in table.pop("gene_id")]
    else:
        genes = [i.split(";", 1)[0] if ";" in i else "" for i in ids]
    _check(source, ids, genes, table)
    strip = strip_version if strip_versions else str
    events = pd.DataFrame(
        {
            "psi_uid": ids,
            "gene_id": [strip(g) for g in genes],
            "event_type": [i.split(";", 1)[1].split(":", 1)[0] if ";" in i else "" for i in ids],
        }
    )
    return PsiTable(events, table.to_numpy(dtype=np.float64), [str(c) for c in table.columns])


def _check(source: Path, ids: list[str], genes: list[str], table: pd.DataFrame) -> None:
    homeless = [i for i, g in zip(ids, genes, strict=True) if not g]
    if homeless:
        msg = (
            f"{source}: {len(homeless)} events name no gene: {first_few(homeless, 3)}; "
            "expected ids such as 'ENSG01;SE:...' or a column gene_id"
        )
        raise InputError(msg)
    need_numbers(table, str(source), "expected shares between 0 and 1 (NA where unknown)")
    values = table.to_numpy(dtype=np.float64)
    outside = np.argwhere((values < 0) | (values > 1))
    if len(outside):
        i, j = outside[0]
        msg = (
            f"{source}: {len(outside)} values outside 0 to 1, first {values[i, j]:g} at event {ids[i]!r}, "
            f"column {str(table.columns[j])!r}; give shares, not percentages"
        )
        raise InputError(msg)
