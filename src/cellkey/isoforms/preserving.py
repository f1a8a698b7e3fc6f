"""Preservation of the modules of a written fit in another bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellkey.errors import BundleError
from cellkey.isoforms.bundle_io import read_bundle
from cellkey.isoforms.evidence import preservation
from cellkey.isoforms.feature_matrix import FeatureMatrix
from cellkey.isoforms.features import build_features
from cellkey.isoforms.fit_files import read_fit
from cellkey.isoforms.parquet import write_parquet
from cellkey.isoforms.settings import FitParameters

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["preservation_of_fit"]


def preservation_of_fit(
    artifact_dir: str | Path,
    dataset_path: str | Path,
    output_path: str | Path,
    *,
    n_permutations: int = 100,
    seed: int = 7,
) -> pd.DataFrame:
    """Return and write how far the modules of a fit hold in a bundle, with the feature settings of the fit.

    Raises
    ------
    BundleError
        If the bundle shares no feature with the fit.
    """
    stored = read_fit(artifact_dir)
    parameters = FitParameters.parse(stored.config()["parameters"])
    columns = ["feature_id", "gene_id", "feature_type", "n_transcripts"]
    ids = stored.sample_ids
    reference = FeatureMatrix(
        stored.scores[ids].to_numpy(dtype=np.float64),
        stored.scores[columns],
        tuple(ids),
        np.full((len(ids), 1), 1 / np.sqrt(len(ids))),
    )
    test = build_features(read_bundle(dataset_path), parameters.features, channels=parameters.channels).matrix
    if not set(reference.feature_ids) & set(test.feature_ids):
        msg = (
            f"the bundle {dataset_path} shares no feature with the fit: it has {test.feature_ids[0]!r}, "
            f"the fit has {reference.feature_ids[0]!r}; use one annotation"
        )
        raise BundleError(msg)
    table = preservation(
        stored.modules, reference, test, n_permutations=n_permutations, rng=np.random.default_rng(seed)
    )
    Path(output_path).parent.mkdir(parents=True, exist_ok=True)
    write_parquet(table, output_path)
    return table
