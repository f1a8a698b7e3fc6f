"""Every level of every call: what was measured of it, and for which share of its cells it is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from _truth import Truth, ancestors
from cellkey.annotation.confidence import call_measurements

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from cellkey.annotation.cells import AnnotationResult
    from cellkey.annotation.confidence import Stability
    from cellkey.annotation.core import Annotation
    from cellkey.hierarchy.cell_type import CellType
    from cellkey.hierarchy.tree import Hierarchy

__all__ = ["rows_of_call", "rows_of_calls", "share_right"]


def rows_of_calls(found: AnnotationResult, tree: Hierarchy, truth: Truth) -> Iterator[dict[str, Any]]:
    """One row per level of every call of an annotation; see :func:`rows_of_call`."""
    for stability in found.annotation.stability:
        cells = np.flatnonzero(np.asarray(found.labels) == stability.group)
        yield from rows_of_call(found.annotation, stability, cells, tree, truth)


def rows_of_call(
    annotation: Annotation, stability: Stability, cells: NDArray[np.intp], tree: Hierarchy, truth: Truth
) -> Iterator[dict[str, Any]]:
    """One row per level of a call; none of cells without a label.

    ``tree`` holds all types of the annotation's hierarchy, and perhaps more below them.
    """
    cells = cells[truth.scored[cells]]
    if not stability.path or not len(cells):
        return
    measured = call_measurements(annotation, stability)
    for level, node in enumerate(stability.path):
        called = tree[annotation.key.hierarchy.nodes[node].path]
        right = share_right(truth, cells, tree, called)
        if right is not None:
            yield {
                "family": stability.method, "cluster": stability.group, "level": level, "type": called.name,
                "cells": len(cells), "right": right, **{k: float(v[level]) for k, v in measured.items()},
            }


def share_right(truth: Truth, cells: Any, tree: Hierarchy, node: CellType) -> float | None:
    """Share of the cells for which a type is right; None if no term says what it is.

    A type is right where the true term is, or is a kind of, its own term or that of a type below it: marker
    hierarchies group by what cells express, and the ontology does not know all of these groups (a fibroblast is
    no kind of mesenchymal cell there).
    """
    terms = {n.ontology_id for n in (node, *tree.descendants(node.path)) if n.ontology_id}
    if not terms:
        return None

    def is_right(own: str, also: str) -> bool:
        return any(terms & ancestors(truth.folder, t) for t in (own, *filter(None, also.split(";"))))

    return float(np.mean([is_right(*pair) for pair in zip(truth.term[cells], truth.also[cells], strict=True)]))
