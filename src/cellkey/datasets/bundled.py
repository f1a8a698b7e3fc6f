"""Real data that ship inside packages; nothing is fetched."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cellkey.errors import MissingDependencyError

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["pbmc68k_reduced"]

_PACKAGE = "scanpy"
_FILE = "10x_pbmc68k_reduced.h5ad"


def pbmc68k_reduced() -> AnnData:
    """Return 700 blood cells x 765 genes of Zheng et al. 2017 (Nat Commun 8:14049), log-normalised.

    The file inside scanpy keeps z-scored values in ``X`` and log-normalised ones in ``raw``; here ``X``
    holds the latter (CSR, float32, 0 to 6.5). ``obs["bulk_labels"]`` are the labels of the authors, by
    correlation with sorted populations; ``obs["louvain"]`` is a clustering; ``obsm["X_umap"]`` an embedding.

    Raises
    ------
    MissingDependencyError
        Without scanpy (extra ``scanpy``).
    """
    import anndata as ad
    import scipy.sparse as sp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an old encoding
        stored = ad.read_h5ad(_path())
        X = sp.csr_matrix(stored.raw.X)
        adata = ad.AnnData(X, obs=stored.obs.copy(), var=stored.raw.var[[]].copy())
        for key in ("X_pca", "X_umap"):
            adata.obsm[key] = stored.obsm[key].copy()
    adata.obs_names = adata.obs_names.astype(str)
    adata.uns["source"] = "10x Genomics, Zheng et al. 2017, doi:10.1038/ncomms14049; subset shipped by scanpy"
    return adata


def _path() -> Path:
    """Where scanpy keeps the file; found without importing scanpy, which takes seconds."""
    spec = find_spec(_PACKAGE)
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    for folder in folders:
        path = Path(folder) / "datasets" / _FILE
        if path.is_file():
            return path
    raise MissingDependencyError(_PACKAGE, "scanpy", "the data set pbmc68k_reduced")
