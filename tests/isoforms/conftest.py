"""The worked example of four genes in eight samples, with numbers computed independently to six digits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cellkey.isoforms.bundle import Bundle, FeatureKind, make_bundle

COUNTS = {
    "A1": [12, 20, 34, 44, 66, 90, 140, 190],
    "A2": [88, 80, 76, 66, 64, 60, 50, 30],
    "B1": [10, 18, 25, 41, 50, 66, 74, 85],
    "B2": [60, 52, 50, 38, 30, 22, 16, 8],
    "B3": [30, 30, 25, 21, 20, 12, 10, 7],
    "C1": [40, 44, 50, 52, 48, 46, 44, 36],
    "C2": [200, 150, 120, 84, 60, 42, 26, 14],
    "D1": [50, 52, 47, 55, 49, 53, 48, 51],
    "D2": [30, 28, 31, 27, 33, 29, 30, 28],
    "D3": [20, 22, 21, 19, 20, 21, 23, 18],
}


@pytest.fixture
def example() -> Bundle:
    """Bundle of the worked example."""
    samples = pd.DataFrame(
        {
            "sample_id": [f"S{i}" for i in range(1, 9)],
            "Dx": ["Control"] * 4 + ["Case"] * 4,
            "Age": [41, 47, 52, 58, 60, 66, 71, 78],
        }
    )
    transcripts = pd.DataFrame({"transcript_id": list(COUNTS), "gene_id": [f"G{t[0]}" for t in COUNTS]})
    return make_bundle(
        dataset_name="example",
        samples=samples,
        tables={FeatureKind.TRANSCRIPT: transcripts},
        matrices={"transcript_counts": np.array(list(COUNTS.values()), dtype=np.float64)},
    )


ORIGINAL = {"abundance_normalisation": "cpm", "scale_switch": False, "orientation": "pivot"}


@pytest.fixture
def original_features() -> dict[str, object]:
    """Feature settings under which the numbers of the example were computed."""
    return dict(ORIGINAL)
