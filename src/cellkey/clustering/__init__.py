"""Groups of cells: input check, features, components, neighbours, communities, sub-clustering.

Arrays in, arrays out, except :func:`pick_layer`, which looks into an AnnData object.
"""

from __future__ import annotations

from cellkey._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, {
    "Clustering": "pipeline",
    "ClusteringParameters": "parameters",
    "Components": "pca",
    "DEFAULT_TECHNICAL_MARKERS": "technical",
    "MatrixReport": "inspect",
    "Moments": "features",
    "Neighbors": "neighbors",
    "Subclustering": "subclusters",
    "SubclusteringParameters": "parameters",
    "cell_factors": "normalise",
    "choose_features": "features",
    "cluster_cells": "pipeline",
    "cluster_components": "pipeline",
    "excess_variance": "features",
    "find_technical": "technical",
    "gene_moments": "features",
    "inspect_matrix": "inspect",
    "intensity_column": "technical",
    "leiden": "communities",
    "merge_small_groups": "subclusters",
    "nearest_neighbors": "neighbors",
    "neighbor_graph": "neighbors",
    "neighbor_recall": "neighbors",
    "number_by_size": "communities",
    "pick_layer": "layers",
    "principal_components": "pca",
    "subcluster": "subclusters",
    "subcluster_components": "subclusters",
    "technical_intensities": "technical",
    "umap_embedding": "umap",
    "working_scale": "normalise",
})
