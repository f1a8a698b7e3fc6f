"""Marker tables from cluster profiles: every gene of every cluster against all other cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellkey.llm.marker_selection import is_housekeeping
from cellkey.llm.marker_tables import MARKERS

if TYPE_CHECKING:
    import pandas as pd

    from cellkey.profiles.profile import ClusterProfiles

__all__ = ["markers_of_profiles"]


def markers_of_profiles(profiles: ClusterProfiles) -> pd.DataFrame:
    """Return the marker table of all clusters: clusters in natural order, genes by falling statistic.

    The statistic is the tie-corrected rank-sum Z; p-values are two-sided and adjusted within the cluster
    (Benjamini-Hochberg); fold changes are log2 ratios of means of ``expm1`` of the log-normalised values.

    With one cluster there is nothing to compare with: genes are ordered by their mean, housekeeping genes last,
    and all numbers but the fraction of expressing cells are empty.
    """
    import pandas as pd

    from cellkey.llm.identifiers import natural_key

    order = sorted(range(len(profiles.groups)), key=lambda i: natural_key(profiles.groups[i]))
    parts = _without_contrast(profiles) if len(order) == 1 else _with_contrast(profiles, order)
    return MARKERS.conform(pd.concat(parts, ignore_index=True))


def _with_contrast(profiles: ClusterProfiles, order: list[int]) -> list[pd.DataFrame]:
    import pandas as pd
    from scipy.special import ndtr

    from cellkey.annotation.differential import adjusted_pvalues, against_rest

    fold, detected_rest = against_rest(profiles)
    p_val = 2.0 * ndtr(-np.abs(profiles.rank_z))
    adjusted = adjusted_pvalues(p_val)
    names = profiles.var_names.astype(str)
    parts = []
    for group in order:
        frame = pd.DataFrame(
            {
                "cluster": profiles.groups[group],
                "gene": names,
                "avg_log2FC": fold[group],
                "pct.1": profiles.detection[group],
                "pct.2": detected_rest[group].clip(0, 1),
                "p_val": p_val[group],
                "p_val_adj": adjusted[group],
                "score": profiles.rank_z[group],
            }
        )
        parts.append(frame.iloc[np.lexsort((names, -fold[group], -np.round(profiles.rank_z[group], 10)))])
    return parts


def _without_contrast(profiles: ClusterProfiles) -> list[pd.DataFrame]:
    import pandas as pd

    names = profiles.var_names.astype(str)
    dull = np.array([is_housekeeping(g, False) for g in names])
    ranking = np.lexsort((names, -profiles.mean[0], dull))
    frame = pd.DataFrame({"cluster": profiles.groups[0], "gene": names, "pct.1": profiles.detection[0]})
    return [frame.reindex(columns=MARKERS.names).iloc[ranking]]
