"""Compiled loops: kept where that is possible, and compiled all the same where it is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import pytest

from cellkey import kernels
from cellkey.errors import CellkeyWarning


def refuse_to_keep(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Behave as numba does in a read-only container."""
    if options.pop("cache", False):
        def decorate(function: Callable[..., Any]) -> Any:
            msg = f"cannot cache function {function.__name__!r}: no locator available for file 'x.py'"
            raise RuntimeError(msg)

        return decorate
    return numba.njit(**options)


def twice(x: int) -> int:
    return 2 * x


def test_where_nothing_can_be_kept_functions_work_and_it_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "numba", SimpleNamespace(njit=refuse_to_keep))
    kernels._say_that_nothing_is_kept.cache_clear()
    with pytest.warns(CellkeyWarning, match="NUMBA_CACHE_DIR") as said:
        compiled = [kernels.njit(nogil=True)(twice) for _ in range(2)]
    assert [f(21) for f in compiled] == [42, 42]
    assert len(said) == 1
    assert not kernels.is_first_use(compiled[0])


def test_other_errors_of_the_compiler_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        msg = "something else"
        raise RuntimeError(msg)

    monkeypatch.setattr(kernels, "numba", SimpleNamespace(njit=fail))
    with pytest.raises(RuntimeError, match="something else"):
        kernels.njit()(twice)


def test_the_first_use_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    compiled = kernels.njit()(twice)
    assert kernels.is_first_use(compiled)
    assert compiled(2) == 4
    assert not kernels.is_first_use(compiled)
