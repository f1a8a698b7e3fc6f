"""The same steps on a GPU through rapids-singlecell."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import scipy.sparse as sp
    from numpy.typing import NDArray

__all__ = ["choose_device", "device_note", "gpu_covariance", "gpu_graph_and_groups"]


_PACKAGE = "rapids-singlecell"


def choose_device(wanted: str) -> str:
    """Return ``"cpu"`` or ``"gpu"``.

    ``"auto"`` takes the GPU when rapids-singlecell is installed and a device answers; ``"gpu"`` insists.

    Raises
    ------
    MissingDependencyError
        If ``"gpu"`` is asked for but rapids-singlecell is not installed or sees no device.
    """
    if wanted == "cpu":
        return "cpu"
    if find_spec("rapids_singlecell") is not None and _has_device():
        return "gpu"
    if wanted == "gpu":
        raise MissingDependencyError(_PACKAGE, "gpu", "clustering on a GPU (with a CUDA device)")
    return "cpu"


def device_note(wanted: str, used: str) -> str:
    """Return a sentence on which device is used, and for ``"auto"`` why."""
    if used == "gpu":
        return "device: gpu (covariance by cupy, neighbours and communities by rapids-singlecell)"
    if wanted != "auto":
        return "device: cpu"
    why = "rapids-singlecell is not installed" if find_spec("rapids_singlecell") is None else "no CUDA device answers"
    return f"device: cpu ({why})"


def _has_device() -> bool:
    try:
        import cupy

        return int(cupy.cuda.runtime.getDeviceCount()) > 0
    except Exception:  # any failure of the driver means that there is no usable device
        return False


def gpu_covariance(
    blocks: Iterable[Any], offset: NDArray[np.float64], n_cells: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and covariance of scaled blocks, as :func:`~cellkey.clustering.pca.scaled_covariance`, by cupy.

    Blocks travel one by one and are multiplied in float64, so that the result is that of the CPU but for rounding.
    """
    import cupy
    import scipy.sparse as sp

    n = len(offset)
    products, sums = cupy.zeros((n, n)), cupy.zeros(n)
    for block in blocks:
        whole = cupy.asarray(block.toarray() - offset if sp.issparse(block) else block, dtype=np.float64)
        products += whole.T @ whole
        sums += whole.sum(axis=0)
    mean = np.asarray(cupy.asnumpy(sums)) / n_cells
    covariance = np.asarray(cupy.asnumpy(products)) / n_cells - np.outer(mean, mean)
    return mean, (covariance + covariance.T) / 2


def gpu_graph_and_groups(
    components: NDArray[np.float32], *, k: int, resolution: float, seed: int
) -> tuple[sp.csr_matrix, NDArray[np.int64]]:
    """Return the neighbour graph and the Leiden communities computed by rapids-singlecell.

    Groups may differ slightly from those of the CPU and between devices.
    """
    import anndata as ad
    import rapids_singlecell as rsc
    import scipy.sparse as sp

    data: Any = ad.AnnData(obsm={"components": components}, shape=(len(components), 0))
    # The library counts the cell itself among its neighbours.
    rsc.pp.neighbors(data, n_neighbors=k + 1, use_rep="components", random_state=seed)
    rsc.tl.leiden(data, resolution=resolution, random_state=seed, key_added="group")
    graph = sp.csr_matrix(data.obsp["connectivities"], dtype=np.float32)
    return graph, data.obs["group"].astype(str).astype(np.int64).to_numpy()
