"""From cells to cluster means: aggregation, and clustering on any representation."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.compat.hierannot.aggregation import aggregate_cells, matrix_source
from cellkey.compat.hierannot.group_profiles import aggregate_matrix, central_cells, group_codes
from cellkey.errors import CellkeyWarning, InputError, ParameterError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

__all__ = ["aggregate_anndata_to_cluster_means", "aggregate_expression_to_cluster_means",
           "cluster_and_aggregate_anndata", "cluster_anndata_on_representation"]

# Published name to the method and whether central cells are taken first.
_METHODS = {
    "mean": ("mean", False), "median": ("median", False), "trimmed_mean": ("trimmed_mean", False),
    "sum": ("sum", False), "central_cells_mean": ("mean", True), "central_cells_trimmed_mean": ("trimmed_mean", True),
}
_BACKENDS = ("auto", "sparse", "chunked", "dense")
_EXPENSIVE = 1e8


def aggregate_anndata_to_cluster_means(
    adata: AnnData,
    cluster_key: str,
    source: str = "X",
    source_key: str | None = None,
    uppercase_genes: bool = True,
    method: str = "mean",
    trim_fraction: float = 0.1,
    include_obs_mask: Any = None,
    min_cells_per_cluster: int = 1,
    centrality_source: str | None = None,
    centrality_source_key: str | None = None,
    central_fraction: float = 0.8,
    centrality_mode: str = "centroid",
    neighbors_key: str | None = None,
    backend: str = "auto",
    chunk_size: int = 50_000,
    warn_on_expensive_dense: bool = True,
) -> pd.DataFrame:
    """Return features x clusters, clusters in order of first appearance.

    Cells are read in blocks, also from backed files; nothing is made dense as a whole. Cells without a
    cluster are left out. Arguments as in :func:`~cellkey.compat.hierannot.aggregation.aggregate_cells`; ``backend`` and
    ``chunk_size`` are accepted and have no effect on the result.

    Raises
    ------
    InputError
        If a name is unknown, or gene names repeat.
    """
    how, central = _method(method)
    _check_backend(backend)
    del chunk_size
    _warn_expensive(how, adata.n_obs, adata.n_vars, asked=warn_on_expensive_dense)
    profiles, names = aggregate_cells(
        adata, cluster_key, source=source, source_key=source_key, method=how, trim_fraction=trim_fraction,
        mask=include_obs_mask, min_cells=min_cells_per_cluster,
        central_fraction=central_fraction if central else None, centrality=centrality_mode,  # type: ignore[arg-type]
        centrality_source=centrality_source or source,
        centrality_key=centrality_source_key if centrality_source else source_key, neighbors_key=neighbors_key,
    )
    upper = uppercase_genes and source.lower() != "obsm"
    return _frame(profiles.values, names, profiles.groups, upper=upper)


def aggregate_expression_to_cluster_means(
    expression: Any,
    cluster_labels: Sequence[Any],
    feature_names: Sequence[str] | None = None,
    cell_names: Sequence[str] | None = None,
    method: str = "mean",
    trim_fraction: float = 0.1,
    include_mask: Sequence[bool] | None = None,
    min_cells_per_cluster: int = 1,
    centrality_matrix: Any = None,
    central_fraction: float = 0.8,
    centrality_mode: str = "centroid",
    neighbor_connectivities: Any = None,
    backend: str = "auto",
    chunk_size: int = 50_000,
    warn_on_expensive_dense: bool = True,
    uppercase_features: bool = False,
) -> pd.DataFrame:
    """Return features x clusters from a cells x features table, array or sparse matrix.

    Raises
    ------
    InputError
        If lengths disagree or a name is unknown.
    """
    how, central = _method(method)
    _check_backend(backend)
    del chunk_size
    if hasattr(expression, "columns"):
        feature_names = list(map(str, expression.columns)) if feature_names is None else feature_names
        expression = expression.to_numpy()
    n_cells, n_features = expression.shape
    names = tuple(map(str, feature_names)) if feature_names is not None else tuple(
        f"feature_{i}" for i in range(n_features))
    for what, values, wanted in (("cluster_labels", cluster_labels, n_cells), ("feature_names", names, n_features),
                                 ("cell_names", cell_names, n_cells), ("include_mask", include_mask, n_cells)):
        if values is not None and len(values) != wanted:
            msg = f"{what} has {len(values)} entries, but the matrix is {n_cells} cells x {n_features} features"
            raise InputError(msg)
    _warn_expensive(how, n_cells, n_features, asked=warn_on_expensive_dense)
    mask = None if include_mask is None else np.asarray(include_mask, dtype=bool)
    groups, codes = group_codes(np.asarray(cluster_labels, dtype=object), mask, min_cells_per_cluster)
    if central:
        points = neighbor_connectivities if centrality_mode == "graph_degree" else centrality_matrix
        if points is None:
            points = expression
        keep = central_cells(codes, points, fraction=central_fraction, mode=centrality_mode)  # type: ignore[arg-type]
        codes = np.where(keep, codes, -1)
    profiles = aggregate_matrix(expression, groups, codes, method=how, trim_fraction=trim_fraction)
    return _frame(profiles.values, names, groups, upper=uppercase_features)


def cluster_anndata_on_representation(
    adata: AnnData,
    source: str = "obsm",
    source_key: str | None = None,
    cluster_key: str = "hierannot_leiden",
    pca_key: str | None = None,
    neighbors_key: str | None = None,
    umap_key: str | None = None,
    n_pcs: int = 30,
    n_neighbors: int = 15,
    leiden_resolution: float = 1.0,
    random_state: int = 0,
    compute_umap: bool = True,
    copy: bool = False,
    pca_zero_center: bool | None = None,
    pca_scale: bool = False,
    do_pca: bool = True,
) -> AnnData:
    """Cluster cells on a matrix or an embedding: neighbours, Leiden, and a UMAP embedding if asked for.

    Parameters
    ----------
    adata
        The cells; changed in place unless ``copy``.
    source, source_key
        Which matrix; see :func:`~cellkey.compat.hierannot.aggregation.matrix_source`.
    cluster_key, pca_key, neighbors_key, umap_key
        Names of what is written to ``obs``, ``obsm``, ``uns`` and ``obsp``, ``obsm``.
    n_pcs, pca_zero_center, pca_scale, do_pca
        Principal components where there are more features than ``n_pcs``; without centring a truncated
        decomposition. Centred by default except for ``obsm``.
    n_neighbors, leiden_resolution, random_state, compute_umap
        Settings of the steps; the seed is used by all of them.

    Returns
    -------
    The AnnData object with the clusters.
    """
    from cellkey.clustering import leiden, nearest_neighbors, neighbor_graph, umap_embedding
    target = adata.copy() if copy else adata
    chosen = matrix_source(target, source, source_key)
    tail = f"_{source_key}" if source_key else ""
    rep_key = pca_key or f"X_rep_{source}{tail}"
    near_key, map_key = neighbors_key or f"neighbors_{source}{tail}", umap_key or f"X_umap_{source}{tail}"
    centre = source.lower() != "obsm" if pca_zero_center is None else pca_zero_center
    points = _points(chosen.X, n_pcs, centre, pca_scale, do_pca, random_state)
    target.obsm[rep_key] = points
    near = nearest_neighbors(points, n_neighbors, seed=random_state)
    graph = neighbor_graph(near)
    groups = leiden(graph, resolution=leiden_resolution, seed=random_state)
    target.obs[cluster_key] = _categories(groups)
    target.obsp[f"{near_key}_connectivities"] = graph
    settings = {"n_neighbors": n_neighbors, "method": "umap", "metric": "euclidean", "use_rep": rep_key}
    target.uns[near_key] = {"connectivities_key": f"{near_key}_connectivities", "params": settings}
    target.uns[f"{rep_key}_params"] = {
        "source": source, "source_key": source_key or "", "n_pcs": n_pcs, "do_pca": do_pca, "zero_center": centre,
        "scale": pca_scale, "leiden_resolution": leiden_resolution, "random_state": random_state,
    }
    if compute_umap:
        target.obsm[map_key] = umap_embedding(graph, points, seed=random_state)
    return target


def cluster_and_aggregate_anndata(
    adata: AnnData,
    clustering_source: str = "obsm",
    clustering_source_key: str | None = None,
    aggregation_source: str = "X",
    aggregation_source_key: str | None = None,
    cluster_key: str = "hierannot_leiden",
    aggregation_method: str = "mean",
    trim_fraction: float = 0.1,
    include_obs_mask: Any = None,
    min_cells_per_cluster: int = 1,
    centrality_source: str | None = None,
    centrality_source_key: str | None = None,
    central_fraction: float = 0.8,
    centrality_mode: str = "centroid",
    neighbors_key: str | None = None,
    uppercase_genes: bool = True,
    copy: bool = False,
    **clustering: Any,
) -> tuple[AnnData, pd.DataFrame]:
    """Cluster cells on one representation and aggregate another by the clusters.

    Further arguments go to :func:`cluster_anndata_on_representation`. Central cells are found in the
    representation that was clustered, unless another is named.
    """
    found = cluster_anndata_on_representation(
        adata, clustering_source, clustering_source_key, cluster_key, neighbors_key=neighbors_key, copy=copy,
        **clustering,
    )
    tail = f"_{clustering_source_key}" if clustering_source_key else ""
    means = aggregate_anndata_to_cluster_means(
        found, cluster_key, aggregation_source, aggregation_source_key, uppercase_genes, aggregation_method,
        trim_fraction, include_obs_mask, min_cells_per_cluster, centrality_source or clustering_source,
        centrality_source_key if centrality_source else clustering_source_key, central_fraction, centrality_mode,
        neighbors_key or f"neighbors_{clustering_source}{tail}",
    )
    return found, means


def _method(name: str) -> tuple[Any, bool]:
    if name not in _METHODS:
        msg = f"method {name!r} is unknown{did_you_mean(name, _METHODS)}; it is one of {', '.join(_METHODS)}"
        raise ParameterError(msg)
    return _METHODS[name]


def _check_backend(backend: str) -> None:
    if backend not in _BACKENDS:
        msg = f"backend {backend!r} is unknown{did_you_mean(backend, _BACKENDS)}; it is one of {', '.join(_BACKENDS)}"
        raise ParameterError(msg)


def _warn_expensive(how: str, n_cells: int, n_features: int, *, asked: bool) -> None:
    if asked and how in ("median", "trimmed_mean") and n_cells * n_features >= _EXPENSIVE:
        msg = f"{how} sorts all values of {n_cells:,} cells x {n_features:,} features; the mean is much faster"
        warnings.warn(msg, CellkeyWarning, stacklevel=3)


def _frame(
    values: NDArray[np.float64], names: Sequence[str], groups: Sequence[str], *, upper: bool
) -> pd.DataFrame:
    import pandas as pd

    index = [n.upper() if upper else n for n in names]
    if upper and len(set(index)) < len(index):
        seen: set[str] = set()
        twice = sorted({n for n in index if n in seen or seen.add(n)})  # type: ignore[func-returns-value]
        msg = f"{len(twice)} feature name(s) repeat, such as {', '.join(twice[:5])}: make them unique first"
        raise InputError(msg)
    return pd.DataFrame(values.T, index=index, columns=list(groups))


def _points(
    X: Any, n_pcs: int, centre: bool, scale: bool, do_pca: bool, seed: int
) -> NDArray[np.float32]:
    """The representation as a dense array, reduced to components where that is asked for and possible."""
    import scipy.sparse as sp

    X = X[:] if not (isinstance(X, np.ndarray) or sp.issparse(X)) else X
    if scale:
        from sklearn.preprocessing import StandardScaler

        X = StandardScaler(with_mean=not sp.issparse(X)).fit_transform(X)
    if do_pca and n_pcs < X.shape[1]:
        from sklearn.decomposition import PCA, TruncatedSVD

        n = min(n_pcs, X.shape[0] - 1, X.shape[1] - 1)
        if centre:
            solver = "arpack" if sp.issparse(X) else "auto"
            X = PCA(n, svd_solver=solver, random_state=seed).fit_transform(X)
        else:
            X = TruncatedSVD(n, random_state=seed).fit_transform(X)
    dense = X.toarray() if sp.issparse(X) else np.asarray(X)
    return np.ascontiguousarray(dense, dtype=np.float32)


def _categories(groups: NDArray[np.str_]) -> Any:
    import pandas as pd

    names = sorted(set(groups.tolist()), key=int)
    return pd.Categorical(groups.tolist(), categories=names)
