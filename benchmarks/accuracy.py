"""Accuracy on labelled data, against two peers on the same clusters; writes a table for the documentation.

    python benchmarks/accuracy.py [DATASET ...] [--output docs/reference/accuracy.md]

For every data set the cells are clustered once by cellkey. All annotators then see the same clusters and the same
markers: cellkey walks the hierarchy; the peers score every cell type in every cell (``scanpy.tl.score_genes``;
decoupler's univariate linear model), average over the clusters and take the best. No annotator sees a label.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import cellkey
from _markdown import markdown_table
from _truth import DATASETS, Measures, Truth, data_folder, judge, load
from cellkey.annotation.cells import annotate
from cellkey.hierarchy import Hierarchy
from cellkey.hierarchy.catalogue import get_builtin

_TISSUES = {
    "pbmc3k": "blood", "kang_ifnb_pbmc": "blood", "zeisel_mouse_cortex": "brain", "starmap_mouse_mpfc": "brain",
    "mca_mouse_stomach": "stomach", "zilionis_mouse_lung_immune": "lung", "baron_pancreas_islet": "pancreas",
    "tms_mouse_liver": "liver",
}
_PUBLISHED: dict[str, tuple[str, ...]] = {
    "immune_core": ("pbmc3k", "kang_ifnb_pbmc", "zilionis_mouse_lung_immune"),
    "solid_tissue_core": ("mca_mouse_stomach", "baron_pancreas_islet", "tms_mouse_liver"),
    "brain_core": ("zeisel_mouse_cortex", "starmap_mouse_mpfc"),
    "tme_core": ("mca_mouse_stomach", "baron_pancreas_islet", "tms_mouse_liver", "cycif_lymphoma"),
    "colon_tme": ("mca_mouse_stomach",),
    "kidney_tme": (),
    "tonsil_tme": (),
    "breast_tme": ("mibi_dcis_breast",),
    "pancreas_tme": ("baron_pancreas_islet",),
    "liver_tme": ("tms_mouse_liver",),
    "lung_tme": ("zilionis_mouse_lung_immune",),
    "skin_tme": (),
}
"""The published trees and the labelled data of their tissue. Those for any solid tissue are measured on the solid
tissues that have one; the published rules themselves send stomach to colon_tme, and a tumour without a tissue of its
own (lymphoma) to tme_core."""
_COVERAGES = (0.25, 0.5, 0.75, 1.0)


def main() -> None:
    """Run the benchmark and write its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="*", default=list(DATASETS))
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs" / "reference" / "accuracy.md")
    parser.add_argument("--json", type=Path, help="write the numbers as JSON as well")
    parser.add_argument("--hierarchy", help="a built-in map or a file; the built-in map that fits if not given")
    arguments = parser.parse_args()
    if data_folder() is None:
        print("labelled data not found (set CELLKEY_DATA): nothing measured")
        return
    warnings.simplefilter("ignore")
    found = [measure(name, arguments.hierarchy) for name in arguments.datasets]
    rows, of_published = ([row for one in found for row in one[part]] for part in (0, 1))
    table, published = pd.DataFrame(rows), pd.DataFrame(of_published)
    print(table.to_string(index=False), published.to_string(index=False), sep="\n\n")
    if sorted(arguments.datasets) == sorted(DATASETS):
        arguments.output.write_text(as_markdown(table, published), encoding="utf-8")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


def measure(name: str, hierarchy: str | None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return one row per annotator for a data set, and one per published tree of its tissue and method."""
    adata, truth = load(name)
    layer = "rescaled" if "rescaled" in adata.layers else None
    result = annotate(adata, hierarchy, layer=layer)
    tree = result.annotation.key.hierarchy
    ids = adata.obs["cell_type_auto_ontology_term_id"].astype(str).to_numpy(dtype=object)
    confidence = adata.obs["cell_type_auto_conf"].to_numpy()
    rows = [_row(name, "cellkey markers", judge(truth, ids)) | _at_coverage(truth, ids, confidence)]
    rows += _further_ways(name, adata, truth, layer, tree, result.labels)
    values = _log_normalised(adata, result.facts, layer)
    found = result.annotation.key.resolution.found
    sets = {
        n.path_text: sorted({found[m] for m in n.markers if m in found})
        for n in tree.leaves
    }
    sets = {k: v for k, v in sets.items() if len(v) >= 2}
    for peer, scores in (("scanpy score_genes", _score_genes(values, sets)), ("decoupler ULM", _ulm(values, sets))):
        if scores is not None:
            best = scores.groupby(np.asarray(result.labels, dtype=str)).mean().idxmax(axis=1)
            calls = best.reindex(np.asarray(result.labels, dtype=str)).map(lambda p: _id(tree, p))
            calls = calls.to_numpy(dtype=object)
            rows.append(_row(name, peer, judge(truth, calls)))
    return rows, _published(name, adata, truth, layer)


def _published(name: str, adata: Any, truth: Truth, layer: str | None) -> list[dict[str, Any]]:
    """Both methods, and enrichment as released, with the published trees of the tissue, on the same clusters."""
    rows = []
    for tree in (t for t, data in _PUBLISHED.items() if name in data):
        for method in ("markers", "enrichment", "hierannot-0.7"):
            m = judge(truth, _ids(adata, get_builtin(tree), method, layer))
            rows.append({"tree": tree, "method": method} | _row(name, "", m))
    return rows


def _ids(adata: Any, hierarchy: Hierarchy, method: str, layer: str | None) -> Any:
    """Ontology ids of the cells' labels, on the clusters in obs; empty where no type is called."""
    found = annotate(adata, hierarchy, layer=layer, groupby="clusters", method=method, copy=True)
    return np.asarray(found.obs["cell_type_auto_ontology_term_id"], dtype=object)


def _further_ways(
    name: str, adata: Any, truth: Truth, layer: str | None, tree: Hierarchy, labels: Any
) -> list[dict[str, Any]]:
    """The second scorer with the same map, and both scorers with the map of the tissue; the clusters stay."""
    adata.obs["clusters"] = labels
    ways = [("cellkey enrichment", tree, "enrichment")]
    if name in _TISSUES:
        tissue = get_builtin(_TISSUES[name])
        ways += [(f"cellkey markers, tissue map ({_TISSUES[name]})", tissue, "markers"),
                 (f"cellkey enrichment, tissue map ({_TISSUES[name]})", tissue, "enrichment")]
    rows = []
    for title, hierarchy, method in ways:
        rows.append(_row(name, title, judge(truth, _ids(adata, hierarchy, method, layer))))
    return rows


def _row(name: str, annotator: str, m: Measures) -> dict[str, Any]:
    return {
        "data": name, "annotator": annotator, "cells": m.n_cells, "hP": round(m.precision, 3), "hR": round(m.recall, 3),
        "hF1": round(m.f1, 3), "exact": round(m.exact, 3), "abstained": round(m.abstained, 3),
    }


def _at_coverage(truth: Any, ids: Any, confidence: Any) -> dict[str, float]:
    """Hierarchical precision among the most confident share of the assigned cells."""
    assigned = np.flatnonzero((ids != "") & truth.scored)
    order = assigned[np.argsort(-confidence[assigned], kind="stable")]
    found = {}
    for share in _COVERAGES:
        kept = np.full(len(ids), "", dtype=object)
        chosen = order[: int(np.ceil(share * len(order)))]
        kept[chosen] = ids[chosen]
        found[f"hP@{share:g}"] = round(judge(truth, kept).precision, 3)
    return found


def _log_normalised(adata: Any, facts: dict[str, Any], layer: str | None) -> Any:
    import anndata
    import scanpy as sc

    values = anndata.AnnData((adata.layers[layer] if layer else adata.X).astype(np.float32), var=adata.var[[]])
    if facts["transform"] == "normalise":
        sc.pp.normalize_total(values, target_sum=1e4)
    if facts["transform"] != "none":
        sc.pp.log1p(values)
    return values


def _score_genes(values: Any, sets: dict[str, list[str]]) -> pd.DataFrame | None:
    import scanpy as sc

    scores = {}
    for name, genes in sets.items():
        try:
            sc.tl.score_genes(values, genes, score_name="score", random_state=0)
        except (ValueError, RuntimeError):  # panels too small for control genes
            return None
        scores[name] = values.obs["score"].to_numpy()
    return pd.DataFrame(scores)


def _ulm(values: Any, sets: dict[str, list[str]]) -> pd.DataFrame | None:
    import decoupler as dc

    net = pd.DataFrame([(name, gene) for name, genes in sets.items() for gene in genes], columns=["source", "target"])
    dense = values.X.toarray() if hasattr(values.X, "toarray") else values.X
    frame = pd.DataFrame(dense, columns=values.var_names, index=values.obs_names)
    try:
        scores, _ = dc.mt.ulm(frame, net, tmin=2)
    except (AssertionError, ValueError):
        return None
    # Cells without any value are left out by decoupler; they support nothing.
    return scores.reindex(frame.index).fillna(0.0).reset_index(drop=True)


def _id(tree: Hierarchy, path: str) -> str:
    nodes = (tree[path], *reversed(tree.ancestors(path)))
    return next((n.ontology_id for n in nodes if n.ontology_id), "")


def as_markdown(table: pd.DataFrame, published: pd.DataFrame) -> str:
    """Return the page for the documentation."""
    general = table[~table["annotator"].str.contains("tissue map")]
    n_rows = general.groupby("data")["annotator"].transform("size")
    general = general[n_rows == n_rows.max()]  # the same data sets for all
    means = general.groupby("annotator", sort=False)[["hP", "hR", "hF1", "exact", "abstained"]].mean().round(3)
    return "\n".join([
        "# Accuracy on labelled data", "", _ABOUT.format(version=cellkey.__version__), "",
        markdown_table(table.fillna("")), "",
        f"## Mean over the {general['data'].nunique()} data sets that all annotators can take", "",
        markdown_table(means.reset_index()), "",
        "## Published trees on the data of their tissue", "", _ABOUT_PUBLISHED, "",
        markdown_table(_with_trees_without_data(published)), "",
    ])


def _with_trees_without_data(published: pd.DataFrame) -> pd.DataFrame:
    """The rows by tree, in the published order; trees without data say so."""
    without = pd.DataFrame([{"tree": t, "data": "no data"} for t, data in _PUBLISHED.items() if not data])
    rows = pd.concat([published, without], ignore_index=True).drop(columns="annotator")
    order = {tree: i for i, tree in enumerate(_PUBLISHED)}
    rows = rows.sort_values("tree", key=lambda t: t.map(order), kind="stable")
    cells = rows["cells"].astype("Int64").astype(object)
    rows = rows.assign(cells=cells.where(cells.notna(), ""))
    return rows[["tree", "data", *rows.columns.drop(["tree", "data"])]].fillna("")


_ABOUT = """\
Measured with cellkey {version} by `benchmarks/accuracy.py`: the built-in map that fits the values, default settings,
the same clusters for all annotators. hP, hR and hF1 are precision, recall and F1 with every term replaced by itself
and its ancestors in the Cell Ontology, pooled over cells; *exact* is the share of cells with exactly the author's term
(or one named as right as well); *abstained* the share left without a call; *hP@0.5* the precision among the more
confident half of the assigned cells.

The built-in maps were written with these data sets at hand, so the numbers are not an estimate for data nobody has
looked at; the peers use the same maps and share that advantage. The rule of enrichment that siblings share one scale
was adopted after its effect on these data had been seen. Where a peer has no row, it needs more genes than the panel
has."""


_ABOUT_PUBLISHED = """\
The twelve trees of HierAnnot 0.7 with the marker score, enrichment, and enrichment as released (`hierannot-0.7`), on
the clusters of the first table. They are coarse in the parenchyma and know few types of normal tissue, so that many
cells have no type of their own there: chief, pit or parietal cells in `colon_tme`, islet cells in `tme_core`, kinds of
interneurons in `brain_core`. The human trees meet mouse data through the table of orthologs. For kidney, tonsil and
skin there are no labelled data. The marker score asks for half of a top-level type's markers, which small panels (726
genes in `tms_mouse_liver`, 166 in `starmap_mouse_mpfc`, 22 and 33 proteins) do not measure: it then calls nothing."""


if __name__ == "__main__":
    main()
