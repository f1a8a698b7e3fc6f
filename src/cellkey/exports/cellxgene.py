"""An ``.h5ad`` file after the CELLxGENE schema 7: ids of cell types, the author's labels, colours, and no more.

What cellkey cannot know (assay, donor, disease and so on) is taken from ``obs``, ``var`` and ``uns`` or from settings;
everything that is missing is reported at once. Whether the values are right is for the portal's own validator to say.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellkey import _keys
from cellkey.errors import CellkeyWarning, InputError, Problem
from cellkey.io.write import write_cells

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anndata import AnnData

    from cellkey.exports.labelled import LabelledCells

__all__ = ["SETTINGS", "write"]

REQUIRED_OBS: Final = {
    "assay_ontology_term_id": "EFO:0009922",
    "development_stage_ontology_term_id": "HsapDv:0000258",
    "disease_ontology_term_id": "PATO:0000461",
    "donor_id": "donor1",
    "is_primary_data": "true",
    "self_reported_ethnicity_ontology_term_id": "unknown",
    "sex_ontology_term_id": "unknown",
    "suspension_type": "cell",
    "tissue_ontology_term_id": "UBERON:0000178",
    "tissue_type": "tissue",
}
REQUIRED_UNS: Final = {"title": "Blood of three donors", "organism_ontology_term_id": "NCBITaxon:9606"}

SETTINGS: Final = {
    "obs.*": "a value for all cells, such as obs.assay_ontology_term_id=EFO:0009922",
    "uns.*": "a value for the data set, such as uns.title='Blood of three donors'",
    "ensembl": "column of var with Ensembl gene ids; gene_ids, ensembl_id and the like are found by themselves",
    "ontology": "Cell Ontology as an OBO file: obsolete and unknown ids are then replaced by an ancestor's",
}

_FILLED_BY_PORTAL: Final = (
    "assay", "cell_type", "development_stage", "disease", "self_reported_ethnicity", "sex", "tissue", "organism",
    "observation_joinid", "experimental_condition", "perturbation_types",
)
_REFUSED_IN_OBS: Final = ("ethnicity", "ethnicity_ontology_term_id", "organism_ontology_term_id")
_REFUSED_IN_UNS: Final = (
    "schema_version", "schema_reference", "citation", "is_pre_analysis", "X_normalization", "default_field",
    "layer_descriptions", "tags", "version", "contributors", "preprint_doi", "project_description", "project_links",
    "project_name", "publication_doi",
)
_FORBIDDEN_TERMS: Final = frozenset({"CL:0000255", "CL:0000257", "CL:0000548"})
_TERM: Final = re.compile(r"^(CL|ZFA|FBbt|WBbt):[0-9]+$")
_ENSEMBL: Final = re.compile(r"^(ENS[A-Z]*G[0-9]{11}|WBGene[0-9]{8}|FBgn[0-9]{7})(\.[0-9]+)?$")
_ENSEMBL_COLUMNS: Final = ("gene_ids", "gene_id", "ensembl_id", "ensembl", "feature_id", "ensembl_gene_id")
_ID = "cell_type_ontology_term_id"
_UNKNOWN = "unknown"


def write(cells: LabelledCells, folder: Path, settings: Mapping[str, str]) -> list[str]:
    """Write ``cellxgene.h5ad``.

    ``obs`` gains ``cell_type_ontology_term_id`` (``unknown`` for mixed and unlabelled cells and for types without a
    usable term), ``author_cell_type`` with its levels, status, margin and cluster, and
    ``author_cell_type_is_exact``, false where the id is an ancestor's. cellkey's own columns and records are left out.

    Raises
    ------
    InputError
        With everything that the schema requires and that is not there.
    """
    adata = cells.adata.copy()
    problems: list[Problem] = []
    _drop_own(adata)
    _set_values(adata, settings)
    _author_columns(adata, cells, settings)
    adata.uns = {k: v for k, v in adata.uns.items() if k not in _REFUSED_IN_UNS and not _is_empty(v)}
    _check_required(adata, problems)
    _check_genes(adata, settings.get("ensembl"), problems)
    _check_raw(adata, problems)
    _check_embeddings(adata, problems)
    if problems:
        msg = "the CELLxGENE schema requires what these data do not have"
        raise InputError(msg, problems)
    _match_colours(adata)
    adata.X = _single_csr(adata.X)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*mixed types.*", category=CellkeyWarning)
        write_cells(adata, folder / "cellxgene.h5ad", compression="gzip")
    known = int((adata.obs[_ID] != _UNKNOWN).sum())
    others = "" if known == adata.n_obs else ", the others are unknown"
    return [f"{known:,} of {adata.n_obs:,} cells have a Cell Ontology id{others}",
            "validate with: cellxgene-schema validate cellxgene.h5ad"]


# --- what goes out ---


def _drop_own(adata: AnnData) -> None:
    own = ("cell_type_auto", "cell_type_lvl", "cluster_lvl", "refinement_")
    dropped = [c for c in map(str, adata.obs.columns) if c.startswith(own) or c == _keys.FINAL]
    portal = [c for c in map(str, adata.obs.columns) if c in _FILLED_BY_PORTAL]
    for column in portal:  # an author's own column survives under another name
        adata.obs[f"author_{column}_input"] = adata.obs[column]
    adata.obs = adata.obs.drop(columns=[*dropped, *portal, *(c for c in _REFUSED_IN_OBS if c in adata.obs)])
    adata.uns = {k: v for k, v in adata.uns.items()
                 if not str(k).startswith(("stage_", "de_wilcoxon_", "cellkey_", *own))}
    for name in [n for n in adata.obsm if hasattr(adata.obsm[n], "columns")]:
        del adata.obsm[name]


def _set_values(adata: AnnData, settings: Mapping[str, str]) -> None:
    for name, text in settings.items():
        slot, _, field = name.partition(".")
        if slot == "obs":
            adata.obs[field] = pd.Categorical([text] * adata.n_obs)
        elif slot == "uns":
            adata.uns[field] = text
    if "is_primary_data" in adata.obs:
        column = adata.obs["is_primary_data"]
        if not pd.api.types.is_bool_dtype(column):
            adata.obs["is_primary_data"] = column.astype(str).str.casefold().isin(("true", "1", "yes")).to_numpy()
    for name in REQUIRED_OBS:
        if name in adata.obs and name != "is_primary_data":
            adata.obs[name] = adata.obs[name].astype(str).astype("category")


def _author_columns(adata: AnnData, cells: LabelledCells, settings: Mapping[str, str]) -> None:
    source = cells.adata
    ids, exact = cells.ontology_ids()
    ids, exact = _usable(ids, exact, cells, settings.get("ontology"))
    adata.obs[_ID] = pd.Categorical(ids)
    columns = {"author_cell_type": cells.labels, "author_cluster": source.obs[cells.cluster_key]}
    columns |= {f"author_cell_type_level_{i}": source.obs[c] for i, c in enumerate(cells.levels)}
    columns["author_cell_type_status"] = source.obs[f"{cells.key}_status"]
    for name, values in columns.items():
        adata.obs[name] = values.astype("category").cat.remove_unused_categories().to_numpy()
        adata.obs[name] = pd.Categorical(adata.obs[name], [c for c in values.astype("category").cat.categories
                                                           if c in set(adata.obs[name])])
    margin = cells.margin()
    if margin is not None:
        adata.obs["author_cell_type_margin"] = margin.to_numpy(dtype=np.float32)
    likely = cells.confidence()
    if likely is not None:
        adata.obs["author_cell_type_confidence"] = likely.to_numpy(dtype=np.float32)
    adata.obs["author_cell_type_is_exact"] = exact
    for name, column in (("author_cell_type", _keys.FINAL), *(
            (f"author_cell_type_level_{i}", c) for i, c in enumerate(cells.levels))):
        _set_colours(adata, name, cells.colours(column))
    by_id: dict[str, str] = {}
    shades = {label: c for column in cells.levels for label, c in cells.colours(column).items()}
    for node in cells.hierarchy.nodes:
        if node.ontology_id and node.name in shades:
            by_id.setdefault(node.ontology_id, shades[node.name])
    _set_colours(adata, _ID, {**by_id, _UNKNOWN: "#BDBDBD"})


def _set_colours(adata: AnnData, column: str, known: Mapping[str, str]) -> None:
    names = [str(c) for c in adata.obs[column].cat.categories]
    adata.uns[_keys.colours(column)] = np.array([known.get(n, "#777777") for n in names], dtype="U7")


def _usable(
    ids: np.ndarray[Any, Any], exact: np.ndarray[Any, Any], cells: LabelledCells, ontology: str | None
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Replace ids that the schema refuses by the next usable one above, else by ``unknown``."""
    known = None
    if ontology is not None:
        from cellkey.hierarchy.ontology import read_ontology

        known = read_ontology(ontology)

    def fits(term: str | None) -> bool:
        return bool(term and _TERM.match(term) and term not in _FORBIDDEN_TERMS
                    and (known is None or not term.startswith("CL:") or term in known))

    ids, exact = ids.copy(), exact.copy()
    replaced: dict[tuple[str, ...], str] = {}
    for i, path in enumerate(cells.paths()):
        if ids[i] and fits(ids[i]):
            continue
        if ids[i] and path not in replaced:
            above = (cells.hierarchy[path[:d]].ontology_id for d in range(len(path) - 1, 0, -1))
            replaced[path] = next((t for t in above if fits(t)), None) or _UNKNOWN
        ids[i], exact[i] = (replaced[path] if ids[i] else _UNKNOWN), False
    return ids, exact


def _single_csr(X: Any) -> Any:
    return sp.csr_matrix(X).astype(np.float32)


def _match_colours(adata: AnnData) -> None:
    """Drop colours that belong to no categorical column or are too few for it; the schema refuses such."""
    for key in [str(k) for k in adata.uns if str(k).endswith("_colors")]:
        column = key.removesuffix("_colors")
        fits = column in adata.obs and isinstance(adata.obs[column].dtype, pd.CategoricalDtype)
        if not fits or len(adata.uns[key]) < len(adata.obs[column].cat.categories):
            del adata.uns[key]


def _is_empty(value: Any) -> bool:
    return value is None or (hasattr(value, "__len__") and len(value) == 0)


# --- what must be there ---


def _check_required(adata: AnnData, problems: list[Problem]) -> None:
    for slot, required in (("obs", REQUIRED_OBS), ("uns", REQUIRED_UNS)):
        held = adata.obs if slot == "obs" else adata.uns
        for name, example in required.items():
            if name not in held:
                shown = f"'{example}'" if " " in example else example
                problems.append(Problem("is missing", f"{slot}[{name!r}]", f"--set {slot}.{name}={shown}"))
            elif slot == "obs" and adata.obs[name].isna().any():
                problems.append(Problem(f"{int(adata.obs[name].isna().sum()):,} cells have no value", f"obs[{name!r}]"))


def _check_genes(adata: AnnData, column: str | None, problems: list[Problem]) -> None:
    ids = _ensembl_ids(adata.var, column, problems)
    if ids is None:
        return
    if len(set(ids)) < len(ids):
        problems.append(Problem(f"{len(ids) - len(set(ids)):,} Ensembl ids repeat", "var", "sum or drop these genes"))
        return
    symbols = adata.var_names.astype(str)
    place = dict(zip(symbols, ids, strict=True))
    if adata.raw is not None:
        raw = adata.raw.to_adata()
        own = _ensembl_ids(raw.var, column, []) or [place.get(n, n) for n in raw.var_names.astype(str)]
        raw.var = pd.DataFrame(index=pd.Index(own))
        raw.X = _single_csr(raw.X)
        adata.raw = raw
    filtered = adata.var.get("feature_is_filtered")
    adata.var = adata.var.drop(columns=[c for c in (
        "feature_name", "feature_reference", "feature_biotype", "feature_length", "feature_type") if c in adata.var])
    if list(symbols) != list(ids):
        adata.var["author_gene_name"] = symbols.to_numpy()
    adata.var.index = pd.Index(ids)
    adata.var["feature_is_filtered"] = False if filtered is None else filtered.to_numpy(dtype=bool)


def _ensembl_ids(var: pd.DataFrame, column: str | None, problems: list[Problem]) -> list[str] | None:
    """Ensembl ids without version: from the named column, the names of the genes, or a column of a usual name."""
    if column is not None and column not in var:
        problems.append(Problem(f"var has no column {column!r}", "--set ensembl"))
        return None
    candidates = [var[column]] if column is not None else [
        var.index.to_series(), *(var[c] for c in _ENSEMBL_COLUMNS if c in var)]
    for values in candidates:
        texts = [str(v) for v in values]
        if texts and all(_ENSEMBL.match(t) for t in texts):
            return [t.split(".")[0] if t.startswith("ENS") else t for t in texts]
    odd = next((str(v) for v in candidates[-1] if not _ENSEMBL.match(str(v))), "")
    problems.append(Problem(f"genes must be named by Ensembl ids, found {odd!r}", "var",
                            "--set ensembl=COLUMN names the column of var that holds them"))
    return None


def _check_raw(adata: AnnData, problems: list[Problem]) -> None:
    """Counts must be in ``raw.X``, or in ``X`` where there is no ``raw``."""
    X = adata.X if adata.raw is None else adata.raw.X
    values = X.data if sp.issparse(X) else np.asarray(X)
    if values.size and (np.any(values < 0) or np.any(values != np.floor(values))):
        where = "X" if adata.raw is None else "raw.X"
        problems.append(Problem("holds no counts; the schema wants counts in raw.X, or in X alone", where,
                                "adata.raw = AnnData with the counts, before annotation"))


def _check_embeddings(adata: AnnData, problems: list[Problem]) -> None:
    if not any(str(k).startswith("X_") for k in adata.obsm):
        problems.append(Problem("holds no embedding named X_...", "obsm", "cellkey annotate --compute-umap"))
