"""One network per group of samples: per called cell type, per tissue, per treatment."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cellkey.errors import BundleError, NothingToDoError, did_you_mean
from cellkey.isoforms import tables
from cellkey.isoforms.correlation import bh
from cellkey.isoforms.fit_files import GROUPS_FILE, write_fit
from cellkey.isoforms.fitting import fit
from cellkey.isoforms.parquet import read_parquet, write_table
from cellkey.records.atomic import safe_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cellkey.isoforms.bundle import Bundle
    from cellkey.isoforms.fitting import Fit
    from cellkey.isoforms.settings import FitParameters

__all__ = ["MIN_GROUP", "fit_directories", "fit_groups", "module_overlap"]

MIN_GROUP = 10
"""Groups of fewer samples are skipped: in ten samples one chance correlation in twenty exceeds 0.63."""


def fit_groups(
    bundle: Bundle,
    parameters: FitParameters,
    by: str,
    output_dir: str | Path,
    *,
    inputs: Mapping[str, str] | None = None,
    min_samples: int = MIN_GROUP,
    progress: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:
    """Fit the samples of every level of a sample column on their own, and compare the modules between levels.

    Parameters
    ----------
    by
        Sample column, for example the called cell type of pseudobulk samples.
    inputs
        SHA-256 of the input files by name.
    progress
        Is told a line per level.

    Returns
    -------
    The table ``groups`` (level, folder, samples, modules, or why it was skipped). Also written: one fit per level in a
    folder named after it, and ``module_overlap``: pairs of modules of two levels that share genes.

    Raises
    ------
    BundleError
        If the bundle has no such column.
    NothingToDoError
        If no level has enough samples.
    """
    if by not in bundle.samples.columns:
        names = [str(c) for c in bundle.samples.columns if c != "sample_id"]
        msg = f"the samples of {bundle.name!r} have no column {by!r}{did_you_mean(by, names)}; columns are {names}"
        raise BundleError(msg)
    levels = bundle.samples[by].astype(object)
    sizes = levels.dropna().astype(str).value_counts().sort_index()
    if not (sizes >= min_samples).any():
        found = ", ".join(f"{k} {v}" for k, v in sizes.items())
        msg = f"no level of {by!r} has {min_samples} samples ({found}); lower --min-group or fit all samples together"
        raise NothingToDoError(msg)
    root = Path(output_dir)
    records: list[dict[str, Any]] = []
    fits: dict[str, Fit] = {}
    for level, folder in zip(sizes.index, _folders(list(sizes.index)), strict=True):
        own = np.flatnonzero((levels.astype(str) == level) & levels.notna())
        record = {"group": level, "directory": folder, "n_samples": len(own), "n_modules": 0, "n_module_genes": 0}
        if len(own) < min_samples:
            records.append(record | {"directory": "", "skipped": f"fewer than {min_samples} samples"})
            continue
        network = fit(bundle.select_samples(own), parameters)
        write_fit(network, root / folder, inputs=inputs)
        fits[level] = network
        records.append(
            record
            | {"n_modules": len(network.modules), "n_module_genes": len(network.modules.module_of), "skipped": ""}
        )
        progress(f"{level}: {len(own)} samples, {len(network.modules)} modules")
    table = tables.GROUPS.conform(pd.DataFrame(records, columns=tables.GROUPS.names))
    write_table(module_overlap(fits), tables.MODULE_OVERLAP, root)
    write_table(table, tables.GROUPS, root)
    return table


def _folders(levels: list[str]) -> list[str]:
    """One folder name per level; levels that give the same name are numbered."""
    names = [safe_name(level) for level in levels]
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name.casefold()] = seen.get(name.casefold(), 0) + 1
        unique.append(name if seen[name.casefold()] == 1 else f"{name}_{seen[name.casefold()]}")
    return unique


def module_overlap(fits: Mapping[str, Fit]) -> pd.DataFrame:
    """Return the pairs of modules of two groups that share a gene: Jaccard, expected overlap, hypergeometric test.

    The background of a pair are the genes with a feature in both groups; adjusted over all pairs of modules of
    different groups, sharing genes or not.
    """
    from scipy.stats import hypergeom

    records = []
    for (first, a), (second, b) in itertools.combinations(fits.items(), 2):
        background = set(a.features.matrix.genes) & set(b.features.matrix.genes)
        sets_a = {m: set(genes) & background for m, genes in a.modules.members.items()}
        sets_b = {m: set(genes) & background for m, genes in b.modules.members.items()}
        for (m, left), (n, right) in itertools.product(sets_a.items(), sets_b.items()):
            shared = left & right
            records.append(
                {
                    "group": first,
                    "module_id": m,
                    "other_group": second,
                    "other_module_id": n,
                    "n_shared": len(shared),
                    "jaccard": len(shared) / max(len(left | right), 1),
                    "expected": len(left) * len(right) / max(len(background), 1),
                    "pvalue": float(hypergeom.sf(len(shared) - 1, len(background), len(left), len(right))),
                }
            )
    table = pd.DataFrame(records, columns=tables.MODULE_OVERLAP.names)
    table["qvalue"] = bh(table["pvalue"].to_numpy(dtype=np.float64))
    table = table[table["n_shared"] > 0].sort_values(["pvalue", "group", "module_id"], kind="stable")
    return tables.MODULE_OVERLAP.conform(table.reset_index(drop=True))


def fit_directories(directory: str | Path) -> list[Path]:
    """Return the fits of a directory: itself, or those of its groups."""
    root = Path(directory)
    if not (root / GROUPS_FILE).is_file():
        return [root]
    groups = read_parquet(root / GROUPS_FILE)
    return [root / str(name) for name in groups["directory"] if name]
