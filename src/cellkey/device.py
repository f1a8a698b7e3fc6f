"""Which processor computes: the CPU, or a CUDA device through cupy.

Kernels lie as ``.cu`` files beside the modules that launch them and are compiled when they are first used.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from cellkey.errors import MissingDependencyError, ParameterError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Device", "choose_device", "compiled", "device_name", "free_bytes", "launch", "why_no_gpu"]

Device = Literal["cpu", "gpu"]

_THREADS = 128


def choose_device(wanted: str) -> Device:
    """Return ``"cpu"`` or ``"gpu"``.

    ``"auto"`` takes the GPU when cupy is installed and a CUDA device answers; ``"gpu"`` insists.

    Raises
    ------
    MissingDependencyError
        If ``"gpu"`` is asked for but cupy is not installed.
    ParameterError
        If ``"gpu"`` is asked for but no device answers.
    """
    if wanted == "cpu":
        return "cpu"
    why = why_no_gpu()
    if not why:
        return "gpu"
    if wanted == "gpu":
        if find_spec("cupy") is None:
            package, extra, purpose = "cupy", "gpu", "computing on a GPU"
            raise MissingDependencyError(package, extra, purpose)
        msg = f"the device 'gpu' was asked for, but {why}; 'cpu' and 'auto' need none"
        raise ParameterError(msg)
    return "cpu"


@cache
def why_no_gpu() -> str:
    """Return why no GPU can be used; empty if one can."""
    if find_spec("cupy") is None:
        return "cupy is not installed"
    try:
        import cupy

        if int(cupy.cuda.runtime.getDeviceCount()) > 0:
            return ""
    except Exception as error:  # any failure of the driver or its libraries means that there is no usable device
        return f"no CUDA device answers ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
    return "no CUDA device answers"


def device_name() -> str:
    """Return the name of the GPU, such as ``NVIDIA H100 80GB HBM3``."""
    import cupy

    name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())["name"]
    return name.decode() if isinstance(name, bytes) else str(name)


def free_bytes() -> int:
    """Return the memory of the GPU that can be had, that which cupy keeps for reuse included."""
    import cupy

    return int(cupy.cuda.runtime.memGetInfo()[0]) + int(cupy.get_default_memory_pool().free_bytes())


@cache
def compiled(package: str, file: str) -> Any:
    """Return the kernels of a ``.cu`` file of a package.

    Multiplications and additions are not fused, so that they round as on the CPU.
    """
    import cupy

    source = files(package).joinpath(file).read_text(encoding="utf-8")
    return cupy.RawModule(code=source, options=("--std=c++14", "--fmad=false"))


def launch(module: Any, kernel: str, n_threads: int, arguments: Sequence[Any]) -> None:
    """Run a kernel with at least ``n_threads`` threads."""
    if n_threads:
        module.get_function(kernel)((-(-n_threads // _THREADS),), (_THREADS,), tuple(arguments))
