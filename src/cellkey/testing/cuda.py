"""A cupy that computes on the CPU, for tests: arrays are NumPy's, and CUDA kernels are compiled by the C++ compiler.

Kernels must do without shared memory and without talk between threads; one thread runs after the other.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
import types
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["compiler", "stand_in_cupy"]

_PREAMBLE = """
#include <cmath>
#include <cstring>
#define __global__
#define __device__
struct Place { unsigned x; };
static Place blockIdx, blockDim, threadIdx;
static unsigned __float_as_uint(float value) { unsigned bits; std::memcpy(&bits, &value, 4); return bits; }
static float __uint_as_float(unsigned bits) { float value; std::memcpy(&value, &bits, 4); return value; }
template <class T> static void atomicAdd(T* sum, T value) { *sum += value; }
using std::floor; using std::sqrt;
"""
_KERNEL = re.compile(r'extern "C" __global__ void (\w+)\(([^)]*)\)')
_TYPES = {"int32": ctypes.c_int32, "int64": ctypes.c_int64, "float64": ctypes.c_double, "float32": ctypes.c_float}


def compiler() -> str | None:
    """Return the path of the C++ compiler; None without one."""
    return shutil.which("g++") or shutil.which("clang++")


class _RawModule:
    def __init__(self, code: str, options: tuple[str, ...] = ()) -> None:
        self._library = _built(code)

    def get_function(self, name: str) -> Any:
        run = getattr(self._library, f"run_{name}")

        def call(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
            run(ctypes.c_longlong(grid[0]), ctypes.c_longlong(block[0]), *map(_passed, arguments))

        return call


def _passed(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if not value.flags.c_contiguous:
            msg = "kernels take contiguous arrays"
            raise ValueError(msg)
        return ctypes.c_void_p(value.ctypes.data)
    return _TYPES[str(value.dtype)](value.item())


@cache
def _built(code: str) -> ctypes.CDLL:
    runs = []
    for name, parameters in _KERNEL.findall(code):
        words = ", ".join(re.findall(r"(\w+)\s*(?:,|$)", parameters.strip()))
        runs.append(
            f'extern "C" void run_{name}(long long blocks, long long threads, {parameters}) {{\n'
            "blockDim.x = threads;\nfor (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++)\n"
            f"for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++) {name}({words});\n}}\n"
        )
    folder = Path(tempfile.mkdtemp(prefix="cellkey-cuda-"))
    try:
        source, library = folder / "kernels.cpp", folder / "kernels.so"
        source.write_text(_PREAMBLE + code + "\n".join(runs), encoding="utf-8")
        command = [str(compiler()), "-std=c++14", "-O1", "-ffp-contract=off", "-w", "-shared", "-fPIC"]
        subprocess.run([*command, "-o", str(library), str(source)], check=True, capture_output=True, text=True)
        return ctypes.CDLL(str(library))
    finally:
        shutil.rmtree(folder)


def stand_in_cupy() -> types.ModuleType:
    """Return a module to be put in the place of ``cupy``: no more than what cellkey uses of it."""
    cupy = types.ModuleType("cupy")
    cupy.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    same = ("asarray", "ascontiguousarray", "clip", "concatenate", "empty", "full", "zeros")
    parts: dict[str, Any] = {name: getattr(np, name) for name in same}
    runtime = types.SimpleNamespace(
        getDeviceCount=lambda: 1, getDevice=lambda: 0, getDeviceProperties=lambda device: {"name": b"no card"},
        memGetInfo=lambda: (2**32, 2**32),
    )
    parts |= {
        "ndarray": type("ndarray", (), {}),  # other packages look for it
        "RawModule": _RawModule, "argsort": partial(np.argsort, kind="stable"), "asnumpy": np.asarray,
        "cuda": types.SimpleNamespace(runtime=runtime), "linalg": np.linalg,
        "get_default_memory_pool": lambda: types.SimpleNamespace(free_bytes=lambda: 0, total_bytes=lambda: 0),
    }
    for name, part in parts.items():
        setattr(cupy, name, part)
    return cupy
