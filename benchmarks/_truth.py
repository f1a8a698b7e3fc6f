"""Labelled data and the measures by which calls are judged: hierarchical precision, recall and F1 on the Cell Ontology.

A prediction and a truth are each replaced by the term and all its ancestors (is-a), so that a correct but broader
call is partly right and a wrong lineage is wrong; counts are pooled over cells (Kiritchenko et al. 2006).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

__all__ = ["DATASETS", "Measures", "Truth", "data_folder", "judge", "load", "shared_terms"]

DATASETS = (
    "pbmc3k", "kang_ifnb_pbmc", "zeisel_mouse_cortex", "mca_mouse_stomach", "zilionis_mouse_lung_immune",
    "baron_pancreas_islet", "tms_mouse_liver", "starmap_mouse_mpfc", "seqfish_mouse_embryo", "mibi_dcis_breast",
    "cycif_lymphoma",
)
_TOO_BROAD = {"CL:0000000", "CL:0000003", "CL:0000255", "CL:0000548"}
"""Cell, native cell, eukaryotic cell, animal cell: shared by all and therefore worth nothing."""


def data_folder() -> Path | None:
    """Folder of labelled data: ``$CELLKEY_DATA``, else ``../shared/data`` beside the checkout."""
    named = os.environ.get("CELLKEY_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None


@cache
def _ontology(folder: Path) -> Any:
    from cellkey.hierarchy.ontology import read_ontology

    return read_ontology(folder / "ontology" / "cl-basic.obo.gz")


@cache
def ancestors(folder: Path, term: str) -> frozenset[str]:
    """A term with all its ancestors, without the terms that every cell shares."""
    if not term:
        return frozenset()
    ontology = _ontology(folder)
    return frozenset({term, *ontology.ancestors(term)}) - _TOO_BROAD


@dataclass(frozen=True)
class Truth:
    """Per cell: whether it is scored, its finest term and the terms that are right as well."""

    folder: Path
    scored: NDArray[np.bool_]
    term: NDArray[np.object_]
    also: NDArray[np.object_]


def load(name: str) -> tuple[AnnData, Truth]:
    """Return the cells without any label column, and the truth apart from them."""
    import anndata

    folder = data_folder()
    if folder is None:
        msg = "labelled data not found: set CELLKEY_DATA"
        raise FileNotFoundError(msg)
    adata = anndata.read_h5ad(folder / f"{name}.h5ad")
    table = pd.read_csv(folder / "label_map.tsv", sep="\t", dtype=str, keep_default_na=False)
    table = table[table["dataset"] == name].set_index("label")
    rows = table.reindex(adata.obs["cell_type"].astype(str))
    truth = Truth(
        folder,
        (rows["scored"] == "1").to_numpy() & (rows["fine_cl_id"].fillna("") != "").to_numpy(),
        rows["fine_cl_id"].fillna("").to_numpy(dtype=object),
        rows["also_ok_cl_ids"].fillna("").to_numpy(dtype=object),
    )
    adata.obs = adata.obs[[]]
    return adata, truth


@dataclass(frozen=True)
class Measures:
    """Measures over the scored cells."""

    precision: float
    recall: float
    f1: float
    exact: float
    abstained: float
    n_cells: int


def shared_terms(truth: Truth, term: str, own: str, also: str) -> tuple[int, int, int]:
    """Terms that a prediction and a truth share, those of the prediction, and those of the truth."""
    ours = ancestors(truth.folder, term)
    # Of several right terms, the one nearest to the prediction counts.
    right = (own, *filter(None, also.split(";")))
    theirs = max((ancestors(truth.folder, r) for r in right), key=lambda a: len(a & ours) / max(len(a | ours), 1))
    return len(ours & theirs), len(ours), len(theirs)


def judge(truth: Truth, predicted: NDArray[np.object_]) -> Measures:
    """Judge predicted ontology ids (empty = abstained), one per cell."""
    counts = np.zeros(3)
    exact = abstained = 0
    frame = pd.DataFrame({"p": predicted, "t": truth.term, "a": truth.also})[truth.scored]
    for (p, t, also), n in frame.value_counts().items():
        counts += n * np.array(shared_terms(truth, p, t, also))
        exact += n * (p in (t, *filter(None, also.split(";"))))
        abstained += n * (not p)
    common, predicted_size, true_size = counts.tolist()
    precision = common / predicted_size if predicted_size else 0.0
    recall = common / true_size if true_size else 0.0
    f1 = 2 * precision * recall / (precision + recall) if common else 0.0
    total = max(len(frame), 1)
    return Measures(precision, recall, f1, exact / total, abstained / total, len(frame))
