"""Which channel ties a gene to its module: its isoform usage, its expression, or both."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellkey.isoforms.correlation import bh, correlation_pvalues, unit_rows
from cellkey.isoforms.feature_matrix import ABUNDANCE, SPLICING, SWITCH, FeatureMatrix

if TYPE_CHECKING:
    from cellkey.isoforms.eigengenes import Eigengene
    from cellkey.isoforms.modules import ModuleSet

__all__ = ["Coupling", "ModuleRole", "gene_roles"]

Array = NDArray[np.float64]


class ModuleRole(StrEnum):
    """Role of a gene in its module."""

    COUPLED = "coupled"
    ABUNDANCE_ONLY = "abundance_only"
    SWITCH_ONLY = "switch_only"
    DISCORDANT = "discordant"
    INACTIVE = "inactive"


class Coupling(StrEnum):
    """How the two features of a gene go together."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    UNCORRELATED = "uncorrelated"
    SINGLE_CHANNEL = "single_channel"


def gene_roles(
    modules: ModuleSet,
    features: FeatureMatrix,
    eigengenes: dict[str, Eigengene],
    *,
    threshold: float = 0.2,
    fdr: float | None = 0.01,
) -> pd.DataFrame:
    """Return one row per module gene.

    ``module_role`` follows from ``|r| >= threshold`` with the module eigengene alone; ``significant_role`` also asks
    for the correlation to pass ``fdr`` (per channel, over all module genes). A gene that is active in both channels is
    coupled when its two features correlate at ``threshold`` or more, else discordant.

    A gene without a switch feature is judged by its splicing events where it has them: by the one that follows the
    eigengene best, its p value times their number.
    """
    rows = unit_rows(features.values)
    genes = [(m, g) for m, members in modules.members.items() for g in members]
    own = {m: unit_rows(eigengenes[m].values[None, :])[0] for m in modules}
    of_gene = _positions(features)
    best: dict[str, list[tuple[int, int] | None]] = {
        SWITCH: [_strongest(of_gene.get((g, SWITCH)) or of_gene.get((g, SPLICING)), rows, own[m]) for m, g in genes],
        ABUNDANCE: [_strongest(of_gene.get((g, ABUNDANCE)), rows, own[m]) for m, g in genes],
    }
    r: dict[str, Array] = {
        channel: np.array(
            [np.nan if f is None else rows[f[0]] @ own[m] for f, (m, _) in zip(found, genes, strict=True)], dtype=float
        )
        for channel, found in best.items()
    }
    both = np.array(
        [
            np.nan if a is None or b is None else rows[a[0]] @ rows[b[0]]
            for a, b in zip(best[SWITCH], best[ABUNDANCE], strict=True)
        ],
        dtype=float,
    )
    table = pd.DataFrame({"module_id": [m for m, _ in genes], "gene_id": [g for _, g in genes]})
    active = {c: np.abs(np.nan_to_num(r[c])) >= threshold for c in r}
    significant = {}
    for channel in r:
        tried = np.array([1 if f is None else f[1] for f in best[channel]])
        p = np.minimum(correlation_pvalues(r[channel], features.effective_samples) * tried, 1.0)
        q = bh(p)
        significant[channel] = active[channel] & ((np.nan_to_num(q, nan=1.0) <= fdr) if fdr is not None else True)
        table[f"{channel}_p"], table[f"{channel}_q"] = p, q
    return table.assign(
        module_role=_roles(active[SWITCH], active[ABUNDANCE], both, threshold),
        switch_r=r[SWITCH],
        abundance_r=r[ABUNDANCE],
        switch_abundance_r=both,
        switch_active=active[SWITCH],
        abundance_active=active[ABUNDANCE],
        significant_role=_roles(significant[SWITCH], significant[ABUNDANCE], both, threshold),
        coupling=_couplings(both, threshold),
    )


def _positions(features: FeatureMatrix) -> dict[tuple[str, str], list[int]]:
    """Rows of every gene and channel."""
    found: dict[tuple[str, str], list[int]] = {}
    for i, key in enumerate(zip(features.gene_ids, features.feature_types, strict=True)):
        found.setdefault(key, []).append(i)
    return found


def _strongest(positions: list[int] | None, rows: Array, profile: Array) -> tuple[int, int] | None:
    """The row that follows a profile best, and among how many it was chosen."""
    if not positions:
        return None
    return positions[int(np.argmax(np.abs(rows[positions] @ profile)))], len(positions)


def _roles(switch: NDArray[np.bool_], abundance: NDArray[np.bool_], both: Array, threshold: float) -> list[str]:
    together = np.nan_to_num(both, nan=-np.inf) >= threshold
    roles = (ModuleRole.COUPLED, ModuleRole.DISCORDANT, ModuleRole.SWITCH_ONLY, ModuleRole.ABUNDANCE_ONLY)
    rules = [switch & abundance & together, switch & abundance, switch, abundance]
    return list(np.select(rules, [r.value for r in roles], ModuleRole.INACTIVE.value).tolist())


def _couplings(both: Array, threshold: float) -> list[str]:
    kinds = (Coupling.SINGLE_CHANNEL, Coupling.POSITIVE, Coupling.NEGATIVE)
    rules = [np.isnan(both), both >= threshold, both <= -threshold]
    return list(np.select(rules, [k.value for k in kinds], Coupling.UNCORRELATED.value).tolist())
