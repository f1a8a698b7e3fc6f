"""The latent backend on features that were smoothed over their correlation graph; for comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.isoforms.backend_settings import GraphParameters
from cellkey.isoforms.backends.baseline import ORIGINAL_FEATURES
from cellkey.isoforms.backends.interface import Backend, Network
from cellkey.isoforms.backends.latent import infer_from
from cellkey.isoforms.correlation import unit_rows

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from cellkey.isoforms.feature_matrix import FeatureMatrix

    Array = NDArray[np.float64]

__all__ = ["BACKEND", "feature_graph", "laplacian", "smoothed"]

BLOCK = 1024


def feature_graph(features: FeatureMatrix, parameters: GraphParameters) -> Any:
    """Return the sparse adjacency of features: absolute correlations at the threshold, and 1 within a gene if asked."""
    from scipy.sparse import coo_matrix

    rows = unit_rows(features.values)
    p = len(rows)
    first, second, weight = [], [], []
    if "corr" in parameters.edge_types:
        for start in range(0, p, BLOCK):
            block = np.abs(rows[start : start + BLOCK] @ rows.T)
            i, j = np.nonzero(block >= parameters.corr_threshold)
            off = i + start != j
            first.append(i[off] + start)
            second.append(j[off])
            weight.append(block[i[off], j[off]])
    adjacency = coo_matrix((p, p)).tocsr()
    if first:
        data = np.concatenate(weight), (np.concatenate(first), np.concatenate(second))
        adjacency = coo_matrix(data, shape=(p, p)).tocsr()
    if "same_gene" in parameters.edge_types:
        adjacency = adjacency.maximum(_same_gene(features))
    return adjacency


def _same_gene(features: FeatureMatrix) -> Any:
    from scipy.sparse import coo_matrix

    _, codes = features.gene_numbers()
    order = np.argsort(codes, kind="stable")
    pairs = np.flatnonzero(codes[order][1:] == codes[order][:-1])
    i, j = order[pairs], order[pairs + 1]
    ones = np.ones(2 * len(pairs))
    return coo_matrix((ones, (np.r_[i, j], np.r_[j, i])), shape=(len(codes), len(codes))).tocsr()


def laplacian(adjacency: Any, *, normalised: bool) -> Any:
    """Return ``I - D^-1/2 A D^-1/2``, or ``D - A``; features without an edge stay as they are."""
    from scipy.sparse import diags

    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    if not normalised:
        return diags(degree) - adjacency
    root = np.where(degree > 0, 1 / np.sqrt(np.where(degree > 0, degree, 1.0)), 0.0)
    return diags((degree > 0).astype(np.float64)) - diags(root) @ adjacency @ diags(root)


def smoothed(values: Array, graph_laplacian: Any, gamma: float) -> Array:
    """Return ``(I + gamma L)^-1 values`` by conjugate gradients on all samples at once."""
    if gamma == 0.0:
        return values
    solution = values.copy()
    residual = -gamma * (graph_laplacian @ values)
    direction = residual.copy()
    size = np.einsum("ij,ij->j", residual, residual)
    target = 1e-26 * np.maximum(np.einsum("ij,ij->j", values, values), 1e-300)
    for _ in range(1000):
        if (size <= target).all():
            break
        image = direction + gamma * (graph_laplacian @ direction)
        curvature = np.einsum("ij,ij->j", direction, image)
        step = np.where(curvature > 0, size / np.where(curvature > 0, curvature, 1.0), 0.0)
        solution += step * direction
        residual -= step * image
        following = np.einsum("ij,ij->j", residual, residual)
        direction = residual + np.where(size > 0, following / np.where(size > 0, size, 1.0), 0.0) * direction
        size = following
    return solution


def infer(
    features: FeatureMatrix, parameters: GraphParameters, rng: np.random.Generator, reliability: pd.Series
) -> Network:
    """Return modules of the latent backend on smoothed features."""
    adjacency = feature_graph(features, parameters)
    values = smoothed(
        features.values, laplacian(adjacency, normalised=parameters.normalized_laplacian), parameters.gamma
    )
    p = max(adjacency.shape[0], 1)
    calibration = {
        "graph_n_nodes": adjacency.shape[0],
        "graph_n_edges": int(adjacency.nnz // 2),
        "graph_mean_degree": float(adjacency.nnz / p),
        "graph_edge_types_used": list(parameters.edge_types),
        "graph_gamma": parameters.gamma,
        "graph_corr_threshold": parameters.corr_threshold,
        "graph_smoothing_rmse": float(np.sqrt(np.mean((values - features.values) ** 2))),
    }
    return infer_from(values, features, parameters, int(rng.integers(2**31)), reliability, calibration)


BACKEND = Backend(
    name="graph",
    description="the latent backend on features smoothed over their correlation graph",
    parameters=GraphParameters,
    infer=infer,
    feature_defaults=ORIGINAL_FEATURES,
)
