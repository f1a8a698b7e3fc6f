"""Which gene is in which module."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from cellkey.isoforms.feature_matrix import FeatureMatrix

__all__ = ["ModuleSet"]


@dataclass(frozen=True, slots=True)
class ModuleSet:
    """Disjoint modules, largest first, named ``M000``, ``M001``, ...

    Parameters
    ----------
    members
        Sorted gene ids by module id.
    """

    members: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", MappingProxyType(dict(self.members)))

    @classmethod
    def ranked(cls, communities: Iterable[Iterable[str]], *, min_size: int = 1) -> ModuleSet:
        """Return modules from communities of genes, by size and, within a size, by their first gene."""
        kept = [tuple(sorted(c)) for c in communities]
        kept = sorted((c for c in kept if len(c) >= max(min_size, 1)), key=lambda c: (-len(c), c))
        return cls({f"M{i:03d}": c for i, c in enumerate(kept)})

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> ModuleSet:
        """Return modules from a table with ``gene_id`` and ``module_id``, ids kept as they are."""
        groups = frame.groupby(frame["module_id"].astype(str), sort=True)["gene_id"]
        return cls({str(m): tuple(sorted(map(str, genes))) for m, genes in groups})

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    @property
    def module_of(self) -> dict[str, str]:
        """Module of every assigned gene."""
        return {g: m for m, genes in self.members.items() for g in genes}

    def frame(self) -> pd.DataFrame:
        """Return ``gene_id``, ``module_id`` sorted by module rank, then gene."""
        rows = [(g, m) for m, genes in self.members.items() for g in genes]
        return pd.DataFrame(rows, columns=["gene_id", "module_id"])

    def feature_rows(self, features: FeatureMatrix) -> dict[str, NDArray[np.intp]]:
        """Return the positions of the features of every module's genes."""
        gene_to_module = self.module_of
        owner = np.array([gene_to_module.get(g, "") for g in features.gene_ids], dtype=object)
        return {m: np.flatnonzero(owner == m) for m in self.members}
