"""A batch of real datasets and a published marker table, named by marker hierarchies and judged by the authors' labels.

    python benchmarks/batch.py [--output docs/reference/batch-accuracy.md]

Nothing is sent anywhere: ``cellkey batch --annotator markers`` names the clusters of copies without any label, with
the hierarchy that the name of the tissue asks for. The marker table is named from its genes alone.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from _truth import Truth, _ontology, data_folder, judge, load
from cellkey.batch import BatchSettings, LocalProcesses, run_batch
from cellkey.batch.table_calls import call_marker_table
from cellkey.hierarchy import get_builtin
from cellkey.llm.judging import Grader
from cellkey.llm.marker_tables import read_marker_table

DATASETS = {
    "blood": ("kang_ifnb_pbmc", "pbmc3k"), "brain": ("starmap_mouse_mpfc", "zeisel_mouse_cortex"),
    "liver": ("tms_mouse_liver",), "lung": ("zilionis_mouse_lung_immune",),
    "pancreas": ("baron_pancreas_islet",), "stomach": ("mca_mouse_stomach",),
}
TABLE = "seurat_findallmarkers_pbmc3k.csv.gz"
TABLE_CLUSTERS = ("Naive CD4 T", "Memory CD4 T", "CD14+ Mono", "B", "CD8 T", "FCGR3A+ Mono", "NK", "DC", "Platelet")
_HOPS = 2


def main() -> None:
    """Measure both and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    page = Path(__file__).parents[1] / "docs" / "reference" / "batch-accuracy.md"
    parser.add_argument("--output", type=Path, default=page)
    arguments = parser.parse_args()
    folder = data_folder()
    if folder is None:
        print("labelled data not found (set CELLKEY_DATA): nothing measured")
        return
    warnings.simplefilter("ignore")
    batch, tables = measure_batch(), measure_table(folder)
    text = as_page(batch, tables)
    print(text)
    arguments.output.write_text(text, encoding="utf-8")


# --- grades ---


@cache
def grader(folder: Path) -> Grader:
    """The rules of the package, on the whole Cell Ontology."""
    return Grader(_ontology(folder))


def grade(folder: Path, predicted: str, right: list[str]) -> float:
    """Return 1 (full), 0.5 (partial) or 0 (none) for a predicted term; the best over all terms that are right."""
    return grader(folder).grade(predicted, right).points


def grades_of_clusters(truth: Truth, clusters: Any, predicted: Any) -> list[float]:
    """Grade every cluster with scored cells against the author's most frequent term among them."""
    frame = pd.DataFrame({"c": clusters, "p": predicted, "t": truth.term, "a": truth.also})
    frame = frame[truth.scored & (frame["c"] != "")]
    grades = []
    for _, rows in frame.groupby("c"):
        counts = rows["t"].value_counts()
        term = min(counts[counts == counts.max()].index)
        also = rows.loc[rows["t"] == term, "a"].iloc[0]
        grades.append(grade(truth.folder, rows["p"].iloc[0], [term, *filter(None, also.split(";"))]))
    return grades


# --- the batch ---


def measure_batch() -> list[dict[str, Any]]:
    """Run the batch on copies without labels; return one row per dataset."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for tissue, names in DATASETS.items():
            for name in names:
                place = root / "data" / tissue / "h5ad_unlabelled" / f"{name}.h5ad"
                place.parent.mkdir(parents=True, exist_ok=True)
                load(name)[0].write_h5ad(place)
        workers = max(min(2, os.cpu_count() or 1), 1)
        settings = BatchSettings(umap=False)
        run = run_batch(root / "data", root / "out", settings=settings, runner=LocalProcesses(workers))
        summary = pd.read_csv(run.directory.summary_csv, keep_default_na=False).set_index("dataset")
        pairs = [(tissue, name) for tissue, names in DATASETS.items() for name in names]
        return [_row(run.directory.path, tissue, name, summary.loc[name]) for tissue, name in pairs]


def _row(run: Path, tissue: str, name: str, facts: pd.Series) -> dict[str, Any]:
    row: dict[str, Any] = {"tissue": tissue, "dataset": name, "status": facts["status"]}
    if facts["status"] != "success":
        return row | {"hierarchy": facts["error"]}
    import anndata

    adata, truth = load(name)
    labelled = anndata.read_h5ad(run / tissue / name / f"{name}_annotated.h5ad", backed="r").obs
    found = labelled.reindex(adata.obs_names)
    text = {c: found[c].astype(object).fillna("").to_numpy() for c in ("leiden", "cell_type_ontology_term_id")}
    measures = judge(truth, text["cell_type_ontology_term_id"])
    grades = grades_of_clusters(truth, text["leiden"], text["cell_type_ontology_term_id"])
    return row | {
        "hierarchy": _hierarchy(run / tissue / name / f"{name}_summary.txt"), "clusters": int(facts["n_clusters"]),
        "hP": measures.precision, "hR": measures.recall, "hF1": measures.f1, "exact": measures.exact,
        "abstained": measures.abstained, **_counted(grades),
    }


def _hierarchy(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8").splitlines()]
    return next((ln.removeprefix("marker hierarchy: ") for ln in lines if ln.startswith("marker hierarchy: ")), "")


def _counted(grades: list[float]) -> dict[str, Any]:
    counts = {word: sum(g == value for g in grades) for word, value in (("full", 1.0), ("partial", 0.5), ("none", 0.0))}
    return {**counts, "score": float(np.mean(grades)) if grades else 0.0}


# --- the marker table ---


def measure_table(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Name the clusters of the published table with two hierarchies; return one row per cluster for each."""
    table = read_marker_table(folder / "markers" / TABLE)
    names = pd.read_csv(folder / "label_map.tsv", sep="\t", dtype=str, keep_default_na=False)
    names = names[names["dataset"] == "pbmc3k"].set_index("label")
    found: dict[str, list[dict[str, Any]]] = {}
    for hierarchy in ("blood", "default"):
        calls = call_marker_table(table, get_builtin(hierarchy))
        for cluster, author in enumerate(TABLE_CLUSTERS):
            call, row = calls[str(cluster)], names.loc[author]
            right = [row["fine_cl_id"], *filter(None, row["also_ok_cl_ids"].split(";"))]
            value = grade(folder, call.ontology_id, right)
            found.setdefault(hierarchy, []).append({
                "cluster": cluster, "author": author, "call": " / ".join(call.path) or "Unknown",
                "markers": ", ".join(call.markers), "grade": {1.0: "full", 0.5: "partial", 0.0: "none"}[value],
                "value": value,
            })
    return found


# --- the page ---


def as_page(batch: list[dict[str, Any]], tables: dict[str, list[dict[str, Any]]]) -> str:
    """Return the page of the documentation."""
    done = [r for r in batch if r["status"] == "success"]
    columns = ("tissue", "dataset", "hierarchy", "clusters", "hP", "hR", "hF1", "exact", "abstained", "full", "partial",
               "none", "score", "status")
    parts = [
        f"""# Accuracy of batches and of marker tables

Measured by `benchmarks/batch.py`; no language model takes part and nothing is sent anywhere.
The built-in maps were revised while such data sets were at hand, so the numbers are not an estimate for data nobody
has looked at.

## A batch of {len(batch)} datasets in {len(DATASETS)} tissues

`cellkey batch --annotator markers` with default settings on copies without labels; {len(done)} of {len(batch)}
datasets are complete. The hierarchy is the built-in one that the name of the tissue folder asks for. hP, hR and hF1 are
precision, recall and F1 with every term replaced by itself and its ancestors in the Cell Ontology, pooled over
the scored cells of the input (cells that filtering removed count as abstained); *exact* is the share of cells with the
author's term. Clusters are graded by the rules below against the author's most frequent term among their scored cells;
*score* is the mean grade.
""",
        _markdown(batch, columns),
        f"""
## A marker table without cells

`{TABLE}` is a published table of the genes of nine clusters of blood cells. Each
cluster is named from its rows alone by `cellkey.batch.table_calls.call_marker_table`, and graded:

- **full** (1): the author's term, another term that is as right, or a kind of it (a finer call is not checked
  further, so that *full* can be more than *exact*);
- **partial** (0.5): the term lies above the author's by at most {_HOPS} steps, or both have a common term at most
  {_HOPS} steps above the author's; terms that all cells share do not count;
- **none** (0): anything else, and no call.
""",
    ]
    for hierarchy, rows in tables.items():
        mean = float(np.mean([r["value"] for r in rows]))
        counts = ", ".join(f"{sum(r['grade'] == g for r in rows)} {g}" for g in ("full", "partial", "none"))
        parts += [f"\nHierarchy `{hierarchy}`: {counts}; mean grade {mean:.2f}.\n",
                  _markdown(rows, ("cluster", "author", "call", "markers", "grade"))]
    return "\n".join(parts)


def _markdown(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> str:
    lines = [columns, ("---",) * len(columns), *(tuple(_cell(r.get(c, "")) for c in columns) for r in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(value: Any) -> str:
    return (f"{value:.3f}" if abs(value) <= 1 else f"{value:.1f}") if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
