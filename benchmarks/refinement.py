"""What refinement does to accuracy, on labelled data and on generated mixtures; writes a table for the documentation.

    python benchmarks/refinement.py [DATASET ...] [--output docs/reference/refinement-accuracy.md]

Every data set is clustered twice: at the default resolution, and at a low one that leaves several cell types in one
cluster. Both annotations are refined and judged before and after. No step sees a label.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import cellkey
from _markdown import markdown_table
from _truth import DATASETS, data_folder, judge, load
from cellkey.annotation.cells import annotate
from cellkey.datasets import synthetic_protein, synthetic_rna
from cellkey.refinement import refine

_RESOLUTIONS = (0.6, 0.1)
_MIN_CELLS = 60
_MIXTURES = (
    ("CD4 T Cells", "CD8 T Cells"), ("B Cells", "Macrophages"), ("Fibroblasts", "Vascular Endothelium"),
    ("Ciliated Epithelium", "Secretory Epithelium", "Basal Cells"),
)
_ID = {"before": "cell_type_auto_ontology_term_id", "after": "cell_type_lvl1_ontology_term_id"}


def main() -> None:
    """Run the benchmark and write its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="*", default=list(DATASETS))
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parents[1] / "docs" / "reference" / "refinement-accuracy.md"
    )
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    generated = pd.DataFrame(list(mixtures()))
    print(generated.to_string(index=False))
    if data_folder() is None:
        print("labelled data not found (set CELLKEY_DATA): only generated cells were measured")
        return
    labelled = pd.DataFrame([measure(name, r) for name in arguments.datasets for r in _RESOLUTIONS])
    print(labelled.to_string(index=False))
    if sorted(arguments.datasets) == sorted(DATASETS):
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(as_markdown(labelled, generated), encoding="utf-8")


def measure(name: str, resolution: float) -> dict[str, Any]:
    """Return accuracy before and after refinement for a data set."""
    adata, truth = load(name)
    layer = "rescaled" if "rescaled" in adata.layers else None
    annotate(adata, layer=layer, clustering={"resolution": resolution})
    started = time.perf_counter()
    result = refine(adata, parameters={"min_cells": _MIN_CELLS, "call_resamples": 0})
    seconds = time.perf_counter() - started
    found = {when: judge(truth, adata.obs[column].astype(str).to_numpy(dtype=object)) for when, column in _ID.items()}
    before, after = found["before"], found["after"]
    return {
        "data": name, "resolution": resolution,
        "clusters": f"{len(result.refinement.first.clusters)} -> {len(result.refinement.last.clusters)}",
        "hF1 before": round(before.f1, 3), "hF1 after": round(after.f1, 3), "change": round(after.f1 - before.f1, 3),
        "exact before": round(before.exact, 3), "exact after": round(after.exact, 3),
        "abstained before": round(before.abstained, 3), "abstained after": round(after.abstained, 3),
        "ended": str(result.stop), "seconds": round(seconds, 1),
    }


def mixtures() -> Any:
    """Yield what refinement makes of generated clusters that hold several populations, and of pure ones."""
    from sklearn.metrics import adjusted_rand_score

    for kind, make in (("RNA counts", _rna), ("protein", _protein)):
        mixed, pure, split, scores = 0, 0, 0, []
        for seed in range(3):
            made = make(seed)
            adata = made.adata
            truth, cluster = adata.obs["true_label"].astype(str), adata.obs["true_cluster"].astype(str)
            annotate(adata, made.marker_map, groupby="true_cluster")
            refine(adata, parameters={"min_cells": _MIN_CELLS, "call_resamples": 0})
            now = adata.obs["cluster_lvl1"].astype(str)
            for name in sorted(set(cluster)):
                inside = (cluster == name).to_numpy()
                if len(set(truth[inside])) > 1:
                    mixed += 1
                    scores.append(adjusted_rand_score(truth[inside], now[inside]))
                else:
                    pure += 1
                    split += len(set(now[inside])) > 1
        yield {
            "cells": kind, "mixed clusters": mixed, "mean ARI inside": round(float(np.mean(scores)), 3),
            "least ARI inside": round(float(np.min(scores)), 3), "pure clusters": pure, "pure clusters split": split,
        }


def _rna(seed: int) -> Any:
    return synthetic_rna(2600, 800, merged=_MIXTURES, seed=seed)


def _protein(seed: int) -> Any:
    made = synthetic_protein(3000, seed=seed)
    joined = {name: " + ".join(group) for group in _MIXTURES[:2] for name in group}
    cluster = made.adata.obs["true_cluster"].astype(str)
    made.adata.obs["true_cluster"] = cluster.map(lambda name: joined.get(name, name))
    return made


def as_markdown(labelled: pd.DataFrame, generated: pd.DataFrame) -> str:
    """Return the page for the documentation."""
    means = labelled.groupby("resolution")[["hF1 before", "hF1 after", "change"]].mean().round(3).reset_index()
    return "\n".join([
        "# Accuracy of refinement", "",
        f"Measured with cellkey {cellkey.__version__} by `benchmarks/refinement.py`: built-in marker maps, default",
        f"settings but `min_cells` {_MIN_CELLS}, because the data sets are small. hF1 is F1 with every term replaced",
        "by itself and its ancestors in the Cell Ontology, pooled over cells; *exact* is the share of cells with",
        "exactly the author's term. Resolution 0.6 is the default of the clustering; 0.1 leaves several types in one",
        "cluster.", "",
        markdown_table(labelled), "", "## Mean over the data sets", "", markdown_table(means), "",
        "## Generated cells", "",
        "Three seeds each. Mixed clusters hold two or three populations; ARI is the adjusted Rand index between the",
        "true populations and the parts that refinement made, inside one mixed cluster.", "",
        markdown_table(generated), "",
    ])


if __name__ == "__main__":
    main()
