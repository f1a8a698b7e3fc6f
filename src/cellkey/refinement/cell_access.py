"""The cells of a run, read cluster by cluster: memory is bounded by the largest cluster or by a few small ones."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from cellkey.profiles.expression import Expression, take_cells, wide_enough
from cellkey.routing.votes import Vote, vote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cellkey.refinement.judging import Verdict

__all__ = ["Cells"]


class Cells:
    """Values of the cells on the scoring scale.

    Parameters
    ----------
    X
        Cells x genes; dense, CSR or CSC, in memory or backed.
    var_names
        Gene names, shape (genes,).
    transform
        What brings ``X`` to the scoring scale: ``normalise``, ``log1p`` or ``none``.
    components
        Components of the first clustering, cells x components; None if they are not at hand.
    features
        Genes that may take part in clustering (technical markers do not); all if None.
    """

    def __init__(
        self,
        X: Any,
        var_names: NDArray[np.object_],
        *,
        transform: str = "none",
        components: NDArray[np.float32] | None = None,
        features: NDArray[np.bool_] | None = None,
    ) -> None:
        self.X = X
        self.var_names = var_names
        self.transform = transform
        self.components = components
        self.features = features
        self._reading = Lock()  # a file is read by one thread at a time

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return int(self.X.shape[0])

    def expression(self, rows: NDArray[np.intp]) -> Expression:
        """Return the values of some cells (ascending positions), in memory."""
        with self._reading:
            block = take_cells(self.X, rows)
        # What lies on disk is sparse in memory whatever its storage, so that all ways to run sum alike.
        block = np.asarray(block) if isinstance(self.X, np.ndarray) else sp.csr_matrix(wide_enough(block))
        return Expression(block, scale=self._scale(block))

    def _scale(self, block: Any) -> NDArray[np.float64] | None:
        from cellkey.clustering import cell_factors

        if self.transform == "normalise":
            factors: NDArray[np.float64] = cell_factors(block)
            return factors
        return np.ones(block.shape[0]) if self.transform == "log1p" else None

    def hold_votes(
        self,
        verdict: Verdict,
        candidates: Mapping[str, tuple[int, ...]],
        rows_of: Mapping[str, NDArray[np.intp]],
    ) -> dict[str, Vote]:
        """Let the cells of clusters vote between ``candidates``."""
        profiles = verdict.profiles
        return {
            cluster: vote(
                self.expression(rows_of[cluster]), np.arange(len(rows_of[cluster])), nodes,
                verdict.evidence, profiles.overall_mean, profiles.overall_std, threshold=verdict.vote_threshold,
            )
            for cluster, nodes in candidates.items()
        }
