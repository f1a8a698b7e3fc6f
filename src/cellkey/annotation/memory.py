"""How much memory a run may take, and what of it is left for the matrix."""

from __future__ import annotations

import re
from pathlib import Path

from cellkey.errors import ParameterError

__all__ = ["least_memory", "parse_bytes", "tile_budget"]

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_LIBRARIES = 400 * 2**20  # the interpreter with the libraries that clustering loads
_WORK = 250 * 2**20  # blocks in flight on every thread
_PER_CELL = 3_500  # components, candidates, neighbours, graph and labels
_FEATURES = 2_200
_PER_GENE = 12_000  # profiles while they are put together, some thirty groups


def parse_bytes(text: str | int) -> int:
    """Return a number of bytes from text such as ``"4G"``, ``"500MB"``, ``"1.5 GiB"`` or ``"800000000"``.

    Units are powers of 1,024, with or without B or iB.

    Raises
    ------
    ParameterError
        If it is no such number, or not above zero.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        value = float(text)
    else:
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?\s*", str(text).upper())
        if match is None:
            msg = f"{text!r} is no amount of memory: write it as 4G, 500MB or a number of bytes"
            raise ParameterError(msg)
        value = float(match[1]) * _UNITS[match[2]]
    if value < 1:
        msg = f"the memory limit must be above zero, but got {text!r}"
        raise ParameterError(msg)
    return int(value)


def least_memory(n_obs: int, n_vars: int) -> int:
    """Return the bytes that a run needs when no part of the matrix is kept in memory.

    An upper estimate from measured runs: what grows with the cells is the neighbour graph, not the matrix.
    """
    features = min(n_vars, _FEATURES)
    return int(_LIBRARIES + _WORK + _PER_CELL * n_obs + _PER_GENE * n_vars + 4 * 8 * features**2)


def tile_budget(limit: str | int | None, n_obs: int, n_vars: int) -> int:
    """Return the bytes that the decoded matrix may take in memory; the rest of it goes to a temporary file.

    Parameters
    ----------
    limit
        For the whole process; None takes two thirds of the memory that is free now.
    n_obs, n_vars
        Size of the data.

    Raises
    ------
    ParameterError
        If a limit is given that is less than :func:`least_memory`.
    """
    least = least_memory(n_obs, n_vars)
    if limit is None:
        return max(0, 2 * available_memory() // 3 - least)
    wanted = parse_bytes(limit)
    if wanted < least:
        msg = (f"a memory limit of {in_words(wanted)} is too small for {n_obs:,} cells x {n_vars:,} variables: the "
               f"least that works is {in_words(least)} (--memory-limit {-(-least // 2**20)}M); the matrix itself may "
               "be of any size, it is streamed from disk")
        raise ParameterError(msg)
    return wanted - least


def available_memory() -> int:
    """Return the bytes that can be taken without swapping, within the limit of the container if there is one."""
    import os

    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())
        free = min(free, int(found[1]) * 1024) if found else free
    group = Path("/sys/fs/cgroup")
    try:
        most, used = (group / "memory.max").read_text(), (group / "memory.current").read_text()
    except OSError:
        return free
    return min(free, max(0, int(most) - int(used))) if most.strip().isdigit() else free


def in_words(n_bytes: float) -> str:
    """Return an amount of memory as text."""
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"
