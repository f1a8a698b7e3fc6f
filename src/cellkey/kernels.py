"""Compiling of loops by numba: compiled code is kept for the next process where a folder for it can be written."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba

from cellkey.errors import CellkeyWarning

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["is_first_use", "njit"]


def njit(*, cache: bool = True, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return numba's decorator with these options, which goes without a cache where none can be written.

    Numba keeps compiled code beside the source, else in the user's cache folder, and refuses to compile at all when it
    can write neither, as in a read-only container.

    Parameters
    ----------
    cache
        Whether to keep the compiled code, if that is possible.
    options
        Further options of :func:`numba.njit`.
    """
    def decorate(function: Callable[..., Any]) -> Any:
        if cache:
            try:
                return numba.njit(cache=True, **options)(function)
            except RuntimeError as error:
                if "cannot cache" not in str(error):
                    raise
                _say_that_nothing_is_kept()
        return numba.njit(**options)(function)

    return decorate


@cache
def _say_that_nothing_is_kept() -> None:
    warnings.warn(
        "compiled code cannot be kept, since neither the folder of the package nor the cache folder of the user can be "
        "written: every process compiles it anew (half a minute); NUMBA_CACHE_DIR=DIR names a folder to keep it in",
        CellkeyWarning, stacklevel=4,
    )


def is_first_use(compiled: Any) -> bool:
    """Whether compiled code is kept but none of this function's module yet, so that its first call has to compile."""
    if not compiled.stats.cache_path:
        return False
    name = compiled.py_func.__module__.rpartition(".")[2]
    return not any(Path(compiled.stats.cache_path).glob(f"{name}.*.nbi"))
