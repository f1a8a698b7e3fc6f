"""From values to groups of cells: features, components, neighbours, communities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from cellkey.clustering._gpu import communities_on_gpu, device_note, gpu_leiden
from cellkey.clustering.communities import leiden, number_by_size
from cellkey.clustering.features import Moments, choose_features, gene_moments
from cellkey.clustering.neighbors import nearest_neighbors, neighbor_graph
from cellkey.clustering.parameters import ClusteringParameters
from cellkey.clustering.pca import Components, principal_components
from cellkey.device import choose_device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from cellkey.device import Device
    from cellkey.profiles.expression import Expression

__all__ = ["Clustering", "cluster_cells", "cluster_components", "cluster_features"]

# Fewer cells than this have no graph worth parting.
_FEWEST_CELLS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Clustering:
    """Groups of cells and what they were made from.

    Parameters
    ----------
    labels
        ``"0"``, ``"1"``, ... by decreasing size, shape (cells,).
    components
        Principal components; None when no feature varied.
    graph
        Weighted neighbour graph, cells x cells, float32 CSR.
    features
        Positions of the variables used, ordered by name.
    params
        All parameters in effect.
    on_gpu
        Steps that ran on a GPU: ``components``, ``neighbours``, ``communities``; the others ran on the CPU.
    search, recall
        Neighbour search used, and the share of true neighbours it found.
    notes
        Sentences for the run record.
    """

    labels: NDArray[np.str_]
    components: Components | None
    graph: sp.csr_matrix
    features: NDArray[np.intp]
    params: ClusteringParameters
    on_gpu: tuple[str, ...]
    search: str
    recall: float
    notes: tuple[str, ...] = ()

    @property
    def device(self) -> Device:
        """``"gpu"`` if any step ran there, else ``"cpu"``."""
        return "gpu" if self.on_gpu else "cpu"

    @property
    def n_clusters(self) -> int:
        """Number of groups."""
        return len(np.unique(self.labels))


def cluster_cells(
    expression: Expression,
    var_names: Sequence[str],
    *,
    params: ClusteringParameters | None = None,
    always_use: Iterable[str] = (),
    allowed: NDArray[np.bool_] | None = None,
    chosen: NDArray[np.bool_] | None = None,
    rows: NDArray[np.intp] | None = None,
    block_cells: int = 8192,
) -> Clustering:
    """Group cells by their expression.

    Features that vary (of more than 500 the most variable, map markers always) are scaled and clipped,
    reduced to principal components, joined to their nearest neighbours, and parted by the Leiden method.

    Parameters
    ----------
    expression
        Values on the scale used for scoring; read in three passes over blocks of cells.
    var_names
        Unique names of the variables.
    always_use
        Names of variables that take part whatever their rank.
    allowed, chosen
        Masks over variables: those that may take part (no technical markers), and the caller's own choice
        instead of the ranking.
    rows
        Cells to use, ascending; None uses all. Results then count positions in ``rows``.

    Notes
    -----
    The answer does not depend on the order of cells and genes beyond rounding: features are ordered by
    name, and cells by their components before neighbours and communities are sought. Nor does it depend on
    the number of threads or on the storage of the matrix.
    """
    params = params or ClusteringParameters()
    device = choose_device(params.device)
    moments = gene_moments(expression, rows=rows, block_cells=block_cells)

    def components_of(features: NDArray[np.intp], of_features: Moments, params: ClusteringParameters) -> Components:
        return principal_components(
            expression, features, of_features, n_components=params.n_pcs, clip=params.clip, rows=rows,
            block_cells=block_cells, device=device,
        )

    return cluster_features(
        moments, components_of, var_names, params=params, always_use=always_use, allowed=allowed, chosen=chosen,
        on_gpu=("components",) if device == "gpu" else (),
    )


def cluster_features(
    moments: Moments,
    components_of: Callable[[NDArray[np.intp], Moments, ClusteringParameters], Components],
    var_names: Sequence[str],
    *,
    params: ClusteringParameters,
    always_use: Iterable[str] = (),
    allowed: NDArray[np.bool_] | None = None,
    chosen: NDArray[np.bool_] | None = None,
    on_gpu: tuple[str, ...] = (),
) -> Clustering:
    """Group cells whose moments are known and whose components someone else computes.

    ``components_of`` takes the positions of the features, their moments and the parameters, and ``on_gpu`` says whether
    it runs there; for the rest see :func:`cluster_cells`.
    """
    features = choose_features(
        moments, var_names, n_top=params.n_top_genes, allowed=allowed, always_use=always_use, chosen=chosen
    )
    if len(features) == 0:
        return _one_group(moments.n_cells, features, None, params, "no feature varies; all cells form one cluster")
    of_features = Moments(moments.n_cells, moments.mean[features], moments.sd[features])
    components = components_of(features, of_features, params)
    notes = (f"{len(features):,} of {len(moments.mean):,} variables and {components.scores.shape[1]} components",)
    return cluster_components(components, features, params=params, notes=notes, on_gpu=on_gpu)


def cluster_components(
    components: Components,
    features: NDArray[np.intp],
    *,
    params: ClusteringParameters,
    notes: tuple[str, ...] = (),
    on_gpu: tuple[str, ...] = (),
) -> Clustering:
    """Group cells by components that exist already; see :func:`cluster_cells`."""
    n_cells = len(components.scores)
    if n_cells < _FEWEST_CELLS:
        note = f"{n_cells} cells are too few to be parted; they form one cluster"
        return _one_group(n_cells, features, components, params, *notes, note)
    device = choose_device(params.device)
    order = _canonical_order(components.scores)
    points = np.ascontiguousarray(components.scores[order])
    near = nearest_neighbors(points, params.n_neighbors, method=params.search, seed=params.seed, device=device)
    graph = neighbor_graph(near)
    if device == "gpu" and near.method == "exact":
        on_gpu = (*on_gpu, "neighbours")
    if device == "gpu" and communities_on_gpu():
        groups = gpu_leiden(graph, resolution=params.resolution, seed=params.seed)
        on_gpu = (*on_gpu, "communities")
    else:
        found = leiden(graph, resolution=params.resolution, n_iterations=params.n_iterations, seed=params.seed)
        groups = found.astype(np.int64)
    notes = (*notes, device_note(params.device, on_gpu))
    if near.method == "approximate":
        notes = (*notes, f"approximate neighbours, {100 * near.recall:.1f} % of the true ones on a sample")
    place = np.empty(n_cells, dtype=np.intp)
    place[order] = np.arange(n_cells)
    return Clustering(
        labels=number_by_size(groups[place]),
        components=components,
        graph=_reordered(graph, order),
        features=features,
        params=params,
        on_gpu=on_gpu,
        search=near.method,
        recall=near.recall,
        notes=notes,
    )


def _canonical_order(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """Order of cells by their components, so that the order in the file does not matter."""
    leading = scores[:, :2]
    order = np.lexsort(leading.T[::-1])
    alike = (np.diff(leading[order], axis=0) == 0).all(axis=1).any()
    return np.lexsort(scores.T[::-1]) if alike else order  # two components nearly always tell


def _reordered(graph: sp.csr_matrix, order: NDArray[np.intp]) -> sp.csr_matrix:
    """The graph with its n-th cell as cell ``order[n]``."""
    edges = graph.tocoo()
    return sp.csr_matrix((edges.data, (order[edges.row], order[edges.col])), shape=graph.shape)


def _one_group(
    n_cells: int,
    features: NDArray[np.intp],
    components: Components | None,
    params: ClusteringParameters,
    *notes: str,
) -> Clustering:
    return Clustering(
        labels=np.full(n_cells, "0"),
        components=components,
        graph=sp.csr_matrix((n_cells, n_cells), dtype=np.float32),
        features=features,
        params=params,
        on_gpu=(),
        search="none",
        recall=1.0,
        notes=tuple(notes),
    )
