"""Enrichment of modules for gene sets: a GMT file, or the marker programs of a hierarchy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cellkey.errors import InputError
from cellkey.isoforms import tables
from cellkey.isoforms.correlation import bh
from cellkey.isoforms.fit_files import read_fit
from cellkey.isoforms.grouped import fit_directories
from cellkey.isoforms.parquet import write_parquet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cellkey.isoforms.modules import ModuleSet

__all__ = ["enrich_fit", "enrich_modules", "hierarchy_sets", "read_gmt"]


def read_gmt(path: str | Path) -> dict[str, frozenset[str]]:
    """Read gene sets: one per line, name, description, genes, separated by tabs.

    Raises
    ------
    InputError
        If the file is missing, or a line has no gene.
    """
    source = Path(path)
    if not source.is_file():
        msg = f"gene sets {source}: no such file"
        raise InputError(msg)
    sets: dict[str, frozenset[str]] = {}
    for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), start=1):
        name, *rest = line.rstrip().split("\t")
        genes = frozenset(g.strip() for g in rest[1:] if g.strip())
        if not line.strip():
            continue
        if not genes:
            msg = f"{source}, line {number}: the set {name!r} has no gene; expected name, description, genes by tabs"
            raise InputError(msg)
        sets[name] = sets.get(name, frozenset()) | genes
    if not sets:
        msg = f"{source} holds no gene set; expected one per line: name, description, genes, separated by tabs"
        raise InputError(msg)
    return sets


def hierarchy_sets(source: str | Path) -> dict[str, frozenset[str]]:
    """Return the markers of every cell type of a hierarchy (file, or name of a built-in one), by path."""
    from cellkey.hierarchy import path_text, read_hierarchy

    return {path_text(node.path): frozenset(node.markers) for node in read_hierarchy(source) if node.markers}


def enrich_modules(
    modules: ModuleSet,
    sets: Mapping[str, Iterable[str]],
    background: Iterable[str],
    *,
    names: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Return the over-representation of every gene set in every module (hypergeometric test).

    Parameters
    ----------
    background
        Tested genes; genes of sets and modules outside it do not count.
    names
        Symbol per gene id. Symbols are compared without regard to case, so that sets of another style match.

    Returns
    -------
    One row per module and set that share a gene, adjusted over all pairs of module and set, overlapping or not.
    """
    from scipy.stats import hypergeom

    symbol = {g: (names or {}).get(g, g).casefold() for g in background}
    universe = set(symbol.values())
    shown = {s: (names or {}).get(g, g) for g, s in symbol.items()}
    usable = {name: {g.casefold() for g in genes} & universe for name, genes in sets.items()}
    usable = {name: genes for name, genes in usable.items() if genes}
    records = []
    n = len(universe)
    for module, members in modules.members.items():
        inside = {symbol[g] for g in members if g in symbol}
        for name, genes in usable.items():
            overlap = inside & genes
            expected = len(inside) * len(genes) / n
            records.append(
                {
                    "module_id": module,
                    "gene_set": name,
                    "n_set": len(genes),
                    "n_module": len(inside),
                    "n_overlap": len(overlap),
                    "expected": expected,
                    "fold": len(overlap) / expected if expected else np.nan,
                    "pvalue": float(hypergeom.sf(len(overlap) - 1, n, len(genes), len(inside))),
                    "genes": ",".join(sorted(shown[g] for g in overlap)),
                }
            )
    table = pd.DataFrame(records, columns=tables.MODULE_GENE_SETS.names)
    table["qvalue"] = bh(table["pvalue"].to_numpy(dtype=np.float64))
    table = table[table["n_overlap"] > 0].sort_values(["module_id", "pvalue", "gene_set"], kind="stable")
    return tables.MODULE_GENE_SETS.conform(table.reset_index(drop=True))


def enrich_fit(
    artifact_dir: str | Path, sets: Mapping[str, Iterable[str]], output_path: str | Path | None = None
) -> pd.DataFrame:
    """Return (and write) the enrichment of the modules of a fit; the background are all genes with a feature.

    For a directory of one fit per group the table has a column ``group`` before the others, and p values are adjusted
    within each group.

    Raises
    ------
    InputError
        If no gene of any set is among the genes of a fit; the message shows names of both sides.
    """
    root = Path(artifact_dir)
    parts = []
    for directory in fit_directories(root):
        table = _enrich_one(directory, sets)
        if directory != root:
            table.insert(0, "group", directory.name)
        parts.append(table)
    whole = pd.concat(parts, ignore_index=True)
    if output_path is not None:
        Path(output_path).parent.mkdir(parents=True, exist_ok=True)
        write_parquet(whole, output_path)
    return whole


def _enrich_one(directory: Path, sets: Mapping[str, Iterable[str]]) -> pd.DataFrame:
    stored = read_fit(directory)
    background = sorted(set(stored.scores["gene_id"].astype(str)))
    names = stored.gene_names
    known = {names.get(g, g).casefold() for g in background}
    wanted = sorted({g for genes in sets.values() for g in genes})
    if not any(g.casefold() in known for g in wanted):
        shown = [names.get(g, g) for g in background[:3]]
        msg = (
            f"no gene of the {len(sets)} sets is among the {len(background)} genes of {directory}: sets name "
            f"{', '.join(map(repr, wanted[:3]))}, the fit has {', '.join(map(repr, shown))}; use one kind of names "
            "(a gene table with gene_name in the bundle lets symbols match)"
        )
        raise InputError(msg)
    return enrich_modules(stored.modules, sets, background, names=names)
