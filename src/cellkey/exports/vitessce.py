"""A Vitessce configuration with every part named: embeddings, positions, expression, and the labels as nested sets."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any, Final

import anndata as ad
import numpy as np
import scipy.sparse as sp

from cellkey import _keys
from cellkey.errors import MissingDependencyError
from cellkey.records.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cellkey.exports.labelled import LabelledCells

__all__ = ["SETTINGS", "write"]

_ZARR: Final = "zarr"

SETTINGS: Final = {"url": "address under which cells.zarr will be served; cells.zarr beside the page if not given"}

_SCHEMA: Final = "1.0.17"
_STORE: Final = "cells.zarr"


def write(cells: LabelledCells, folder: Path, settings: Mapping[str, str]) -> list[str]:
    """Write ``cells.zarr`` and ``vitessce.json``.

    The levels become one nested set, broad to fine; the final labels and the clusters are sets of their own. Nothing
    else of ``obs`` is shown, since columns that Vitessce nests by itself need not belong together.
    """
    try:
        import zarr  # noqa: F401
    except ImportError:
        raise MissingDependencyError(_ZARR, "spatial", "writing a Zarr store") from None
    coordinates = cells.coordinates()
    keys = {name: f"coordinates_{i}" for i, name in enumerate(coordinates)}  # names from data are no paths
    sets = {"label": cells.labels.astype(str), "cluster": cells.adata.obs[cells.cluster_key].astype(str)}
    sets |= {f"level_{i}": cells.adata.obs[c].astype(str) for i, c in enumerate(cells.levels)}
    store = ad.AnnData(
        _by_genes(cells.adata.X), obs=cells.adata.obs[[]].copy(), var=cells.adata.var[[]].copy(),
        obsm={keys[name]: values for name, values in coordinates.items()},
    )
    for name, values in sets.items():
        store.obs[name] = values.astype("category")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store.write_zarr(folder / _STORE, chunks=(min(store.n_obs, 10_000), min(store.n_vars, 64)))
    config = _configuration(cells, keys, settings.get("url", _STORE))
    write_text(folder / "vitessce.json", json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    notes = ["serve the folder and open vitessce.json in Vitessce; values of expression are those of X"]
    return notes if coordinates else [*notes, "obsm holds no coordinates to look at: annotate with --compute-umap"]


def _by_genes(X: Any) -> Any:
    """Dense and in single precision for small data, else by columns, since the viewer reads one gene at a time."""
    if X.shape[0] * X.shape[1] <= 2**26:
        return np.asarray(X.todense() if sp.issparse(X) else X, dtype=np.float32)
    return sp.csc_matrix(X).astype(np.float32)


def _configuration(cells: LabelledCells, keys: Mapping[str, str], url: str) -> dict[str, Any]:
    levels = [f"obs/level_{i}" for i in range(len(cells.levels))]
    places = {n: k for n, k in keys.items() if n.startswith("spatial")}
    embeddings = {n: k for n, k in keys.items() if n not in places}
    options: dict[str, Any] = {
        "obsFeatureMatrix": {"path": "X"},
        "obsSets": [
            {"name": "Cell type by level", "path": levels},
            {"name": "Cell type", "path": "obs/label"},
            {"name": "Cluster", "path": "obs/cluster"},
        ],
    }
    if embeddings:
        options["obsEmbedding"] = [
            {"path": f"obsm/{key}", "dims": [0, 1], "embeddingType": _title(name)} for name, key in embeddings.items()]
    if places:
        options["obsLocations"] = {"path": f"obsm/{next(iter(places.values()))}"}
    types = [_title(n) for n in embeddings]
    return {
        "version": _SCHEMA, "name": cells.name, "description": "Cell types called by cellkey",
        "datasets": [{"uid": "A", "name": cells.name, "files": [
            {"fileType": "anndata.zarr", "url": url, "options": options}]}],
        "coordinationSpace": {
            "dataset": {"A": "A"},
            "embeddingType": {str(i): t for i, t in enumerate(types)},
            "obsColorEncoding": {"A": "cellSetSelection"},
            "obsSetColor": {"A": _colours(cells)},
            "obsSetSelection": {"A": _selected(cells)},
        },
        "layout": _layout(len(types), spatial=bool(places)),
        "initStrategy": "auto",
    }


def _title(name: str) -> str:
    return {"X_umap": "UMAP", "X_pca": "PCA", "X_tsne": "t-SNE"}.get(name, name.removeprefix("X_"))


def _colours(cells: LabelledCells) -> list[dict[str, Any]]:
    """Colours of the sets: of the labels, and of each type in the nested set."""
    found = [{"path": ["Cell type", label], "color": _rgb(c)} for label, c in cells.colours(_keys.FINAL).items()]
    nested: dict[tuple[str, ...], str] = {}
    shades = [cells.colours(column) for column in cells.levels]
    for row in _rows(cells):
        for depth, shade in enumerate(shades):
            if row[depth] in shade:
                nested.setdefault(row[: depth + 1], shade[row[depth]])
    return found + [{"path": ["Cell type by level", *path], "color": _rgb(c)} for path, c in sorted(nested.items())]


def _selected(cells: LabelledCells) -> list[list[str]]:
    return [["Cell type", str(label)] for label in cells.labels.cat.categories]


def _rows(cells: LabelledCells) -> list[tuple[str, ...]]:
    table = cells.adata.obs[cells.levels].astype(str).drop_duplicates()
    return [tuple(row) for row in table.itertuples(index=False, name=None)]


def _rgb(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def _layout(n_embeddings: int, *, spatial: bool) -> list[dict[str, Any]]:
    """Views side by side on a grid of twelve columns: pictures left, lists of sets and genes right."""
    shared = {"dataset": "A", "obsColorEncoding": "A", "obsSetColor": "A", "obsSetSelection": "A"}
    pictures: list[dict[str, Any]] = [
        {"component": "scatterplot", "coordinationScopes": {**shared, "embeddingType": str(i)}}
        for i in range(n_embeddings)]
    if spatial:
        pictures.append({"component": "spatial", "coordinationScopes": dict(shared)})
    heights = _shares(12, len(pictures))
    placed = [{**view, "x": 0, "y": sum(heights[:i]), "w": 8, "h": heights[i]} for i, view in enumerate(pictures)]
    lists = [{"component": name, "coordinationScopes": dict(shared), "x": 8, "y": y, "w": 4, "h": 4}
             for y, name in ((0, "obsSets"), (4, "obsSetSizes"), (8, "featureList"))]
    return [*placed, *lists]


def _shares(whole: int, n: int) -> Sequence[int]:
    return [whole * (i + 1) // n - whole * i // n for i in range(n)]
