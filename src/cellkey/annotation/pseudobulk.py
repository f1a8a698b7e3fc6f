"""Pseudobulk of groups of cells: sums, means and detection, straight from a file that stays on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.annotation.inputs import cluster_labels
from cellkey.errors import CellkeyError, InputError, ParameterError
from cellkey.profiles.sums import sum_groups
from cellkey.progress import with_progress
from cellkey.threads import processors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from cellkey.clustering import Transform

__all__ = ["pseudobulk"]

_SEPARATOR = "|"


@with_progress
def pseudobulk(
    cells: AnnData | str | Path,
    groupby: str | Sequence[str],
    *,
    layer: str = "X",
    normalize: bool = True,
    assume: str | None = None,
    n_jobs: int | None = None,
    progress: Callable[[str, float | None], None] | bool | None = None,
) -> AnnData:
    """Sum the cells of each group, in one sweep over the matrix.

    An ``.h5ad`` file or a Zarr store is never held in memory: two blocks of some two million values are. Nothing is
    sorted: for ranks, medians and quantiles see :func:`~cellkey.profiles.profile.profile_clusters`.

    Parameters
    ----------
    cells
        AnnData, or a file that :func:`cellkey.io.read.read_cells` reads.
    groupby
        Column of ``obs``; or several, such as sample and cell type: a group is then every combination that occurs,
        called ``sample|type``. Cells without a value belong to no group.
    layer
        ``"X"`` or the name of a layer. Sums of counts are what tests between samples take: name the layer of the
        counts if X holds something else.
    normalize
        Whether counts are scaled to 10,000 per cell and logged for the means. Sums are of the stored values always.
    assume
        ``"counts"``, ``"lognorm"`` or ``"intensity"`` where the check of the values would decide otherwise.
    n_jobs
        Threads; all processors if None. Results do not depend on it.
    progress
        See :func:`~cellkey.annotation.cells.annotate`.

    Returns
    -------
    Groups x genes, groups in natural order. ``X``: sums of the stored values. ``layers["mean"]``: means on the log
    scale, ``layers["detection"]``: share of cells above zero; all float64. ``obs``: the columns of ``groupby`` and
    ``n_cells``. ``var`` is that of the cells. ``uns["pseudobulk"]``: layer, kind of values, transformation.

    Raises
    ------
    InputError
        If the file, a column or the values cannot be used.

    Examples
    --------
    >>> sums = cellkey.pseudobulk(adata, "true_cluster")
    >>> int(sums.obs["n_cells"].sum())
    300
    >>> sorted(sums.layers)
    ['detection', 'mean']
    """
    import anndata as ad

    from cellkey.clustering import pick_layer

    columns = [groupby] if isinstance(groupby, str) else list(groupby)
    if not columns:
        msg = "groupby names no column of obs"
        raise ParameterError(msg)
    held = _opened(cells) if isinstance(cells, str | Path) else cells
    try:
        name, X = pick_layer(held, layer)
        labels = _combined(held, columns)
        sums, facts = _summed(X, labels, held.var_names, name, normalize, assume, n_jobs, progress)
        var = held.var.copy()
    finally:
        if held is not cells and hasattr(held, "close"):
            held.close()
    found = ad.AnnData(
        X=sums.sums, obs=_described(sums.groups, columns), var=var,
        layers={"mean": sums.mean, "detection": sums.detection}, uns={"pseudobulk": facts},
    )
    found.obs["n_cells"] = sums.n_cells
    return found


def _opened(path: str | Path) -> Any:
    from cellkey.io.names import make_names_unique
    from cellkey.io.opened import open_cells
    from cellkey.io.read import read_cells

    held = open_cells(path, names=False)  # nothing depends on the names of cells
    if held is None:
        return read_cells(path)
    make_names_unique(held, source=Path(path).name, axes=("var",))
    return held


def _combined(adata: Any, columns: list[str]) -> NDArray[np.object_]:
    """Group of each cell by one column or several; None where a column has no value."""
    import pandas as pd

    if len(columns) == 1:
        return cluster_labels(adata, columns[0], "--groupby")
    codes, texts = zip(*(pd.factorize(cluster_labels(adata, column, "--groupby")) for column in columns), strict=True)
    among = [c for different, c in zip(texts, columns, strict=True) if any(_SEPARATOR in t for t in different)]
    if among:
        msg = f"values of obs[{among[0]!r}] contain {_SEPARATOR!r}, which parts the names of groups: rename them"
        raise InputError(msg)
    grouped = np.all([c >= 0 for c in codes], axis=0)
    combinations, place = np.unique(np.stack([c[grouped] for c in codes]), axis=1, return_inverse=True)
    names = [_SEPARATOR.join(t[i] for t, i in zip(texts, chosen, strict=True)) for chosen in combinations.T]
    labels = np.full(len(grouped), None, dtype=object)
    labels[grouped] = np.array(names, dtype=object)[place.ravel()]
    return labels


def _described(groups: Sequence[str], columns: list[str]) -> pd.DataFrame:
    import pandas as pd

    values = [[g] for g in groups] if len(columns) == 1 else [g.split(_SEPARATOR) for g in groups]
    return pd.DataFrame(values, index=list(groups), columns=columns, dtype="category")


def _summed(
    X: Any,
    labels: Any,
    var_names: Any,
    layer: str,
    normalize: bool,
    assume: str | None,
    n_jobs: int | None,
    progress: Any,
) -> tuple[Any, dict[str, str]]:
    """Sums on the scale that the values ask for: as the first cells have it, and again if the rest disagrees."""
    from cellkey.clustering import inspect_matrix
    from cellkey.clustering.inspect import require_numbers

    require_numbers(X, layer)
    names = np.asarray(var_names.astype(str), dtype=object)
    threads = n_jobs or processors()

    def tell(share: float) -> None:
        if callable(progress):
            progress("summing", share)

    expected: Transform = _expected(X, assume) if normalize else "none"
    sums, survey = sum_groups(X, labels, names, transform=expected, n_jobs=threads, progress=tell)
    report = inspect_matrix(X, var_names=list(names), assume=assume, name=layer, scan=survey)
    transform: Transform = report.transform if normalize else "none"
    if transform != expected:
        sums, _ = sum_groups(X, labels, names, transform=transform, n_jobs=threads, progress=tell)
    return sums, {"layer": layer, "values": str(report.kind), "transform": transform}


def _expected(X: Any, assume: str | None) -> Transform:
    """What the first cells ask for; columns of a gene-major matrix tell nothing of cells."""
    from cellkey.clustering import inspect_matrix

    if getattr(X, "format", "") == "csc":
        return "normalise"
    try:
        return inspect_matrix(X[: min(1000, X.shape[0])], assume=assume, warn=False).transform
    except CellkeyError:
        return "none"  # what is wrong is said of the whole matrix
