"""Figures in the manner of scanpy: from a result, a run directory or AnnData, with ``ax``, ``show`` and ``save``.

Every function returns the axes, or nothing where it shows the figure: with ``show=True``, and in a notebook unless
``ax``, ``save`` or ``show=False`` is given. ``save`` is a file name; its ending chooses the format. The drawing itself
is in :mod:`cellkey.plots`, from tables.
"""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from cellkey import _keys
from cellkey.errors import InputError, MissingFieldError, did_you_mean
from cellkey.progress import in_notebook

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

    from cellkey.annotation.result import AnnotationResult

    Source: TypeAlias = AnnotationResult | str | Path | Mapping[str, pd.DataFrame]

__all__ = [
    "composition", "confidence_by_depth", "confusion", "coverage", "decision_path", "marker_dots", "scores", "spatial",
    "tree",
]


def _finished(draw: Callable[..., Axes]) -> Callable[..., Axes | None]:
    """Add ``show`` and ``save`` to a function that returns axes."""
    @functools.wraps(draw)
    def finish(
        *arguments: Any, show: bool | None = None, save: str | Path | None = None, **named: Any
    ) -> Axes | None:
        axes = draw(*arguments, **named)
        if save is not None:
            from cellkey.plots._style import drawing_style, figure_of
            from cellkey.records.atomic import atomic_path

            with atomic_path(Path(save)) as temporary, drawing_style():
                figure_of(axes).savefig(temporary, dpi=150)
        alone = named.get("ax") is None and save is None
        if show or (show is None and alone and in_notebook()):
            _show(axes)
            return None
        return axes

    return finish


def _show(axes: Axes) -> None:
    """Show a figure: as an image in a notebook, in a window of pyplot elsewhere."""
    from cellkey.plots._style import drawing_style, figure_of

    picture = io.BytesIO()
    with drawing_style():
        figure_of(axes).savefig(picture, format="png", dpi=100)
    if in_notebook():
        from IPython.display import Image, display

        display(Image(picture.getvalue()))
        return
    import matplotlib.pyplot as plt

    picture.seek(0)
    image = plt.imread(picture, format="png")
    window = plt.figure(figsize=(image.shape[1] / 100, image.shape[0] / 100), dpi=100)
    window.figimage(image)
    plt.show()
    plt.close(window)


@_finished
def marker_dots(source: Source, **options: Any) -> Axes:
    """Draw clusters x markers in tree order; see :func:`cellkey.plots.marker_dots`.

    Examples
    --------
    >>> axes = cellkey.pl.marker_dots(result, show=False)
    """
    from cellkey.plots import marker_dots as draw

    tables = _tables(source, "marker_evidence", "cluster_annotations")
    return draw(tables["marker_evidence"], tables["cluster_annotations"], **options)


@_finished
def tree(source: Source, *, everything: bool = False, ax: Axes | None = None) -> Axes:
    """Draw the hierarchy with counts and stop points; ``everything`` shows types without cells as well.

    Examples
    --------
    >>> axes = cellkey.pl.tree(result, show=False)
    """
    from cellkey.plots import tree_with_counts
    from cellkey.plots._run_data import split_path

    tables = _tables(source, "cluster_annotations", "marker_scores")
    paths = [split_path(p) for p in tables["marker_scores"]["path"].unique()]
    return tree_with_counts(tables["cluster_annotations"], paths=paths, everything=everything, ax=ax)


@_finished
def scores(source: Source, *, everything: bool = False, ax: Axes | None = None) -> Axes:
    """Draw scores of clusters x cell types with winner and runner-up.

    Examples
    --------
    >>> axes = cellkey.pl.scores(result, show=False)
    """
    from cellkey.plots import score_heatmap

    tables = _tables(source, "marker_scores", "cluster_annotations")
    return score_heatmap(tables["marker_scores"], tables["cluster_annotations"], everything=everything, ax=ax)


@_finished
def coverage(source: Source, **options: Any) -> Axes:
    """Draw which share of each type's markers is on; see :func:`cellkey.plots.marker_coverage_heatmap`.

    Examples
    --------
    >>> axes = cellkey.pl.coverage(result, show=False)
    """
    from cellkey.plots import marker_coverage_heatmap

    tables = _tables(source, "marker_scores", "cluster_annotations")
    return marker_coverage_heatmap(tables["marker_scores"], tables["cluster_annotations"], **options)


@_finished
def confidence_by_depth(source: Source, *, column: str = "confidence", ax: Axes | None = None) -> Axes:
    """Draw the confidence of clusters by the depth of their labels.

    Examples
    --------
    >>> axes = cellkey.pl.confidence_by_depth(result, show=False)
    """
    from cellkey.plots import confidence_by_depth as draw

    return draw(_tables(source, "cluster_annotations")["cluster_annotations"], column=column, ax=ax)


@_finished
def decision_path(source: Source, cluster: str, **options: Any) -> Axes:
    """Draw the walk of one cluster; see :func:`cellkey.plots.decision_path`.

    Examples
    --------
    >>> axes = cellkey.pl.decision_path(result, "0", show=False)
    """
    from cellkey.plots import decision_path as draw

    tables = _tables(source, "decision_steps", "cluster_annotations")
    return draw(tables["decision_steps"], tables["cluster_annotations"], cluster, **options)


@_finished
def composition(
    adata: AnnData, groupby: str, *, color: str | None = None, legend: bool = True, ax: Axes | None = None
) -> Axes:
    """Draw the make-up of samples.

    Parameters
    ----------
    adata
        Labelled cells.
    groupby
        Column of ``obs`` with the samples.
    color
        Column of labels; the final labels by default.
    legend, ax
        As elsewhere.

    Examples
    --------
    >>> axes = cellkey.pl.composition(adata, "sample_id", show=False)
    """
    from cellkey.plots import composition as draw

    name = color or _final(adata)
    return draw(_column(adata, name).astype("category"), _column(adata, groupby), colours=_colours(adata, name),
                legend=legend, ax=ax)


@_finished
def confusion(adata: AnnData, first: str, second: str, *, ax: Axes | None = None) -> Axes:
    """Draw which labels of two columns of ``obs`` go together, both in tree order.

    Parameters
    ----------
    adata
        Labelled cells.
    first, second
        Columns of ``obs``; rows and columns of the figure.
    ax
        As elsewhere.

    Examples
    --------
    >>> axes = cellkey.pl.confusion(adata, "true_label", "annotation", show=False)
    """
    from cellkey.plots import confusion as draw

    rows, columns = (_column(adata, name) for name in (first, second))
    order = list(dict.fromkeys(str(c) for column in (columns, rows) for c in column.astype("category").cat.categories))
    pair = rows.astype(object).tolist(), columns.astype(object).tolist()
    return draw(*pair, names=(first, second), order=order, ax=ax)


@_finished
def spatial(
    adata: AnnData, *, level: int | None = None, color: str | None = None, spatial_key: str = "spatial",
    library_key: str | None = None, library_id: str | None = None, size: float | None = None, legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw cells in the tissue, coloured by their labels at one level.

    Parameters
    ----------
    adata
        Labelled cells with coordinates in ``obsm[spatial_key]``.
    level
        Level of the hierarchy, 0 the broadest; the final labels by default.
    color
        Another column of ``obs``, instead of a level.
    library_key, library_id
        Column of the sections, and the one to draw.
    size, legend, ax
        As in :func:`cellkey.plots.spatial_map`.

    Examples
    --------
    >>> adata.obsm["spatial"] = np.random.default_rng(0).uniform(size=(adata.n_obs, 2))
    >>> axes = cellkey.pl.spatial(adata, level=0, show=False)
    """
    from cellkey.plots import spatial_map

    if spatial_key not in adata.obsm:
        held = ", ".join(map(str, adata.obsm.keys())) or "nothing"
        msg = f"obsm has no {spatial_key!r}{did_you_mean(spatial_key, map(str, adata.obsm.keys()))}; it holds {held}"
        raise MissingFieldError(msg)
    name = color or (_final(adata) if level is None else _keys.level(_label_key(adata), level))
    labels, points = _column(adata, name).astype("category"), adata.obsm[spatial_key]
    if library_id is not None:
        if library_key is None:
            msg = "library_id needs library_key, the column of obs that names the sections"
            raise InputError(msg)
        here = (_column(adata, library_key).astype(str) == str(library_id)).to_numpy()
        labels, points = labels[here], points[here]
    return spatial_map(points, labels, colours=_colours(adata, name), size=size, legend=legend, ax=ax)


def _tables(source: Any, *names: str) -> Mapping[str, pd.DataFrame]:
    """Tables of a result, of a run directory, or as they were given."""
    if isinstance(source, str | Path):
        from cellkey.records.run_tables import run_tables

        if not (Path(source) / "cluster_annotations.csv").is_file():
            msg = f"{source} is not an annotation run: it holds no cluster_annotations.csv"
            raise InputError(msg)
        held: Mapping[str, Any] = run_tables(source, ("cluster_annotations", "decision_steps", *names))
    else:
        held = getattr(source, "tables", source)
    missing = [n for n in names if n not in held]
    if missing:
        msg = f"the figure needs the table {missing[0]}; there are {', '.join(map(str, held))}"
        raise InputError(msg)
    return held


def _label_key(adata: AnnData) -> str:
    return _keys.REFINED_LABEL if _keys.REFINED_LABEL in adata.obs else _keys.LABEL


def _final(adata: AnnData) -> str:
    return _keys.FINAL if _keys.FINAL in adata.obs else _label_key(adata)


def _column(adata: AnnData, name: str) -> pd.Series:
    if name not in adata.obs:
        msg = f"obs has no column {name!r}{did_you_mean(name, map(str, adata.obs.columns))}"
        raise MissingFieldError(msg)
    found: pd.Series = adata.obs[name]
    return found


def _colours(adata: AnnData, column: str) -> dict[str, str]:
    stored = adata.uns.get(_keys.colours(column))
    names = map(str, _column(adata, column).astype("category").cat.categories)
    if stored is not None:
        return dict(zip(names, map(str, stored), strict=False))
    from cellkey.plots import lineage_colours

    return lineage_colours(names)
