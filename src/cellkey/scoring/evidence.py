"""Evidence: what every scorer produces and every router reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from cellkey.scoring.key import MeasuredKey

__all__ = ["Evidence"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Scores of all cell types in all groups of cells, with the parts they are made of.

    Attributes
    ----------
    groups
        Names of the groups, in natural order.
    n_cells
        Cells per group.
    key
        The hierarchy as measured; the second axis of all arrays follows its nodes.
    method
        Name of the scorer.
    score
        Groups x nodes, float64; higher speaks for the type. The scale is the scorer's own.
    components
        Named parts, each groups x nodes.
    details
        Whatever the scorer's own tables need (per-marker statistics, settings); not read by routers of
        other methods.
    """

    groups: tuple[str, ...]
    n_cells: NDArray[np.int64]
    key: MeasuredKey
    method: str
    score: NDArray[np.float64]
    components: Mapping[str, NDArray[np.float64]]
    details: Any = field(default=None, compare=False)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        return self.components[name]
