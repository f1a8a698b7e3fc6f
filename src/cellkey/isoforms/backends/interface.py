"""What a backend is and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cellkey.isoforms.feature_matrix import FeatureMatrix

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from cellkey.isoforms.modules import ModuleSet
    from cellkey.parameters import Parameters

__all__ = ["Backend", "Infer", "Network", "edge_frame"]


@dataclass(frozen=True, slots=True)
class Network:
    """Result of a backend.

    Parameters
    ----------
    modules
        Modules of genes.
    edges
        Gene pairs with the strongest signed similarity and the features that carry it (the table ``edges``),
        sorted by source and target, source before target.
    calibration
        How the backend chose and fitted, as plain JSON values.
    nodes
        One row per gene with a ``fate``, or None.
    merges
        One mapping per merge of two modules, in order.
    tables
        Further tables to be written, by file name without suffix.
    writers
        Further files to be written, by file name: functions that take a path (a model checkpoint).
    """

    modules: ModuleSet
    edges: pd.DataFrame
    calibration: Mapping[str, Any] = field(default_factory=dict)
    nodes: pd.DataFrame | None = None
    merges: tuple[Mapping[str, Any], ...] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    writers: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)


Infer = Callable[[FeatureMatrix, Any, np.random.Generator, pd.Series], Network]
"""``infer(features, parameters, rng, reliability)``; reliability is one weight per gene for its switch feature."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A way to find modules: a name, what it does, its parameters and the function.

    Parameters
    ----------
    feature_defaults
        Feature settings that this backend was designed for; a user's own settings win over them.
    """

    name: str
    description: str
    parameters: type[Parameters]
    infer: Infer
    feature_defaults: Mapping[str, Any] = field(default_factory=dict)


def edge_frame(
    features: FeatureMatrix, first: NDArray[np.intp], second: NDArray[np.intp], weight: NDArray[np.float64]
) -> pd.DataFrame:
    """Return the edge table of feature pairs that are already the best of their gene pair."""
    genes, ids, types = features.gene_ids, features.feature_ids, features.feature_types
    swap = genes[first] > genes[second]
    a, b = np.where(swap, second, first), np.where(swap, first, second)
    frame = pd.DataFrame(
        {
            "source": genes[a],
            "target": genes[b],
            "weight": np.asarray(weight, dtype=np.float64),
            "source_feature_id": ids[a],
            "target_feature_id": ids[b],
            "source_feature_type": types[a],
            "target_feature_type": types[b],
        }
    )
    return frame.sort_values(["source", "target"], kind="stable").reset_index(drop=True)
