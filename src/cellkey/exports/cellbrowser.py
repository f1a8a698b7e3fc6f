"""A folder for ``cbBuild`` of the UCSC Cell Browser: matrix, metadata, coordinates, markers, colours, configuration."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.sparse as sp

from cellkey import _keys
from cellkey.exports.csv_rows import one_line, write_tsv
from cellkey.records.atomic import safe_name, write_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from cellkey.exports.labelled import LabelledCells

__all__ = ["SETTINGS", "write"]

SETTINGS: Final = {
    "name": "short name of the data set, used in addresses; the name of the run if not given",
    "shortLabel": "title of the data set; the name of the run if not given",
}

_LABEL, _CLUSTER = "Cell type", "Cluster"
_BLOCK_GENES = 512


def write(cells: LabelledCells, folder: Path, settings: Mapping[str, str]) -> list[str]:
    """Write ``exprMatrix.tsv.gz``, ``meta.tsv``, coordinates, ``markers.tsv``, ``colors.tsv``, ``cellbrowser.conf``."""
    _write_matrix(cells, folder / "exprMatrix.tsv.gz")
    obs = cells.adata.obs
    columns: dict[str, Any] = {_LABEL: cells.labels, _CLUSTER: obs[cells.cluster_key], "Status": cells.status()}
    columns |= {f"Level {i}": obs[c] for i, c in enumerate(cells.levels)}
    margin = cells.margin()
    if margin is not None:
        columns["Margin"] = [f"{m:.4g}" for m in margin]
    likely = cells.confidence()
    if likely is not None:
        columns["Confidence"] = [f"{c:.4g}" for c in likely]
    texts = [np.asarray(v, dtype=object).astype(str) for v in columns.values()]
    write_tsv(folder / "meta.tsv", ("cellId", *columns), zip(obs.index, *texts, strict=True))
    coordinates = []
    for i, (name, values) in enumerate(cells.coordinates().items()):
        file = f"coords_{i}.tsv"
        write_tsv(folder / file, ("cellId", "x", "y"), ((c, f"{x:.6g}", f"{y:.6g}") for c, (x, y) in zip(
            obs.index, values, strict=True)))
        coordinates.append({"file": file, "shortLabel": name.removeprefix("X_")})
    markers = _markers(cells)
    if markers:
        header = ("cluster", "gene", "enrichment", "pos_frac", "cluster_id")
        write_tsv(folder / "markers.tsv", header, markers)
    colours = {**{k: v for c in cells.levels for k, v in cells.colours(c).items()}, **cells.colours(_keys.FINAL)}
    write_tsv(folder / "colors.tsv", ("value", "color"), ((k, v.lstrip("#")) for k, v in colours.items()))
    title = settings.get("shortLabel", cells.name)
    config: dict[str, Any] = {
        "name": safe_name(settings.get("name", cells.name)).replace(" ", "-"), "shortLabel": title,
        "exprMatrix": "exprMatrix.tsv.gz", "geneIdType": "raw", "meta": "meta.tsv", "enumFields": [_CLUSTER],
        "coords": coordinates, "clusterField": _LABEL, "labelField": _LABEL, "colors": "colors.tsv",
    }
    if markers:
        config["markers"] = [{"file": "markers.tsv", "shortLabel": "Markers of the called type"}]
    # The viewer reads this file as Python: every value is a literal.
    write_text(folder / "cellbrowser.conf", "".join(f"{k} = {v!r}\n" for k, v in config.items()))
    notes = ["build with: cbBuild -i cellbrowser.conf -o html"]
    return notes if coordinates else [*notes, "obsm holds no coordinates: annotate with --compute-umap"]


def _write_matrix(cells: LabelledCells, path: Path) -> None:
    """Genes in rows, written in blocks so that a large matrix is never dense as a whole."""
    adata = cells.adata
    with path.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, compresslevel=4, filename="") as packed:
        packed.write(("\t".join(["gene", *map(one_line, adata.obs_names)]) + "\n").encode())
        for names, block in _gene_blocks(adata):
            for gene, values in zip(names, block, strict=True):
                numbers = "\t".join("0" if v == 0 else f"{v:.6g}" for v in values.tolist())
                packed.write(f"{one_line(gene)}\t{numbers}\n".encode())


def _gene_blocks(adata: Any) -> Iterator[tuple[Any, np.ndarray[Any, Any]]]:
    X = sp.csc_matrix(adata.X) if sp.issparse(adata.X) else adata.X
    for start in range(0, adata.n_vars, _BLOCK_GENES):
        part = X[:, start : start + _BLOCK_GENES]
        yield adata.var_names[start : start + _BLOCK_GENES], np.asarray(part.toarray() if sp.issparse(part) else part).T


def _markers(cells: LabelledCells) -> list[tuple[str, str, str, str, str]]:
    """Markers behind each label: of its clusters, the most enriched ones first, each gene once."""
    obs = cells.adata.obs
    pairs = obs[[cells.cluster_key]].assign(label=cells.labels.astype(str)).drop_duplicates()
    rows: dict[tuple[str, str], tuple[float, float, str]] = {}
    for cluster, label in pairs.itertuples(index=False, name=None):
        for _, m in cells.evidence(str(cluster)).iterrows():
            best = rows.get((label, m["marker"]))
            if best is None or m["enrichment"] > best[0]:
                rows[label, m["marker"]] = (float(m["enrichment"]), float(m["pos_frac"]), str(cluster))
    ordered = sorted(rows.items(), key=lambda r: (r[0][0], -r[1][0], r[0][1]))
    return [(label, gene, f"{e:.4g}", f"{p:.4g}", c) for (label, gene), (e, p, c) in ordered]
