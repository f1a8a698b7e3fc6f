"""The values that cells are judged by: decoded once, checked, and brought to the scoring scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from cellkey.profiles.expression import Expression
from cellkey.profiles.tiles import TiledExpression, TileStore
from cellkey.threads import processors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellkey.annotation.clock import StepClock
    from cellkey.annotation.passes import Passes
    from cellkey.clustering import MatrixReport
    from cellkey.profiles.profile import ClusterProfiles

__all__ = ["decoded", "expression_of"]


def expression_of(
    X: Any,
    layer: str,
    var_names: NDArray[np.object_],
    normalize: bool,
    assume: str | None,
    profiles: ClusterProfiles | None,
    messages: list[str],
    passes: Passes,
) -> tuple[Expression, MatrixReport | None]:
    """Return the values on the scoring scale, and what was found; None where stored profiles stand for them."""
    if profiles is not None and "transform" in profiles.info:  # checked when the profiles were made
        return _LazyExpression(X, profiles.info["transform"]), None
    report = passes.inspect(X, var_names=[str(v) for v in var_names], assume=assume, name=layer)
    messages.append(report.describe())
    scale = passes.scale(X, report if normalize else None)
    if not normalize and report.transform != "none":
        messages.append("Values are used as they are (normalisation was switched off).")
    tiled = isinstance(X, TileStore)
    return TiledExpression(X, scale=scale) if tiled else Expression(X, scale=scale), report


def decoded(
    adata: Any, layer: str, X: Any, n_jobs: int | None, clock: StepClock, messages: list[str]
) -> Any:
    """Read a matrix on disk once, as far as the memory allowed reaches into memory."""
    from cellkey.clustering.inspect import require_numbers
    from cellkey.io.stored import StoredMatrix

    if not isinstance(X, StoredMatrix):
        return X
    require_numbers(X, layer)
    clock.step("reading the matrix")
    store = TileStore.of(X, budget=X.budget, n_jobs=n_jobs or processors(), progress=clock.share)
    if store.in_file:
        messages.append(f"{layer} does not fit the memory allowed: {store.in_file / 2**20:,.0f} MiB of it lie in a "
                        "temporary file and are streamed.")
    adata.hold(layer, store)
    return store


class _LazyExpression(Expression):
    """Expression for few cells of a large matrix: the factors of cells are computed for those that are read."""

    def __init__(self, X: Any, transform: str) -> None:
        super().__init__(X)
        self._transform = transform

    def row_blocks(
        self, columns: NDArray[np.intp] | None = None, rows: NDArray[np.intp] | None = None, block_cells: int = 8192
    ) -> Any:
        wanted = np.arange(self.n_obs) if rows is None else np.asarray(rows)
        whole = self.X if self.in_memory and self.storage != "csc" else None
        if self.in_memory and whole is None:
            whole = self.X.tocsr()
        for start in range(0, len(wanted), block_cells):
            block = (self.X if whole is None else whole)[wanted[start : start + block_cells]]
            inside = Expression(block, scale=self._factors(block))
            for low, part in inside.row_blocks(columns, block_cells=block_cells):
                yield start + low, part

    def columns(self, index: NDArray[np.intp]) -> Any:
        if self.in_memory:
            return Expression(self.X, scale=self._factors(self.X)).columns(index)
        parts = [sp.csr_matrix(block) for _, block in self.row_blocks(np.asarray(index))]
        return sp.vstack(parts, format="csc")

    def _factors(self, block: Any) -> NDArray[np.float64] | None:
        from cellkey.clustering import cell_factors

        if self._transform == "none":
            return None
        return cell_factors(block) if self._transform == "normalise" else np.ones(block.shape[0])
