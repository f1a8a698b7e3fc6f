"""Two-dimensional embedding for figures; computed only when asked for."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from cellkey.errors import MissingDependencyError

if TYPE_CHECKING:
    import scipy.sparse as sp
    from numpy.typing import NDArray

__all__ = ["umap_embedding"]


_PACKAGE = "umap-learn"


def umap_embedding(
    graph: sp.csr_matrix, components: NDArray[np.float32], *, min_dist: float = 0.5, seed: int = 1337
) -> NDArray[np.float32]:
    """Return a UMAP embedding of the neighbour graph, cells x 2, float32.

    Parameters
    ----------
    graph
        From :func:`~cellkey.clustering.neighbor_graph`.
    components
        Principal components; the first two, scaled to +-10, are the starting positions, which keeps the
        global arrangement readable and the result repeatable.
    min_dist
        Smallest distance between embedded cells.
    seed
        Of the optimisation, which runs on one thread so that the result repeats.

    Raises
    ------
    MissingDependencyError
        Without umap-learn (extra ``umap``).
    """
    try:
        from umap.umap_ import find_ab_params, simplicial_set_embedding
    except ImportError:
        raise MissingDependencyError(_PACKAGE, "umap", "the UMAP embedding") from None
    n_cells = graph.shape[0]
    start = np.zeros((n_cells, 2), dtype=np.float32)
    start[:, : min(2, components.shape[1])] = components[:, :2]
    start *= 10.0 / max(float(np.abs(start).max(initial=0.0)), 1e-12)
    if n_cells < 4 or graph.nnz == 0:
        return start
    a, b = find_ab_params(1.0, min_dist)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        embedding, _ = simplicial_set_embedding(
            data=components,
            graph=graph.tocoo(),
            n_components=2,
            initial_alpha=1.0,
            a=a,
            b=b,
            gamma=1.0,
            negative_sample_rate=5,
            n_epochs=500 if n_cells <= 10_000 else 200,
            init=start,
            random_state=np.random.RandomState(seed),  # what umap-learn takes
            metric="euclidean",
            metric_kwds={},
            densmap=False,
            densmap_kwds={},
            output_dens=False,
            parallel=False,
        )
    return np.asarray(embedding, dtype=np.float32)
