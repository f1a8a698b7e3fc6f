"""Immutable, hashable, picklable forms of plain JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NoReturn

from cellkey.errors import HierarchyError

__all__ = ["FrozenDict", "freeze", "thaw"]


class FrozenDict(dict[str, Any]):
    """A dict that cannot change. It is still a ``dict``, so JSON writers and ``isinstance`` accept it.

    Made by :func:`freeze`, which also freezes what it holds (lists become tuples).
    """

    __slots__ = ()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        msg = "this mapping belongs to an immutable hierarchy; copy it with thaw(...) to change it"
        raise TypeError(msg)

    __setitem__ = __delitem__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse
    __ior__ = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return (FrozenDict, (dict(self),))


def freeze(value: Any, where: str = "") -> Any:
    """Return ``value`` (JSON-like) with mappings as :class:`FrozenDict` and sequences as tuples.

    Raises
    ------
    HierarchyError
        If something in it cannot be written as JSON (for example NaN, infinity or an object).
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        msg = f"{where or 'value'} is {value}; only finite numbers can be kept (no limit: leave it out)"
        raise HierarchyError(msg)
    if isinstance(value, Mapping):
        return FrozenDict({str(k): freeze(v, f"{where}.{k}".strip(".")) for k, v in value.items()})
    if isinstance(value, list | tuple):
        return tuple(freeze(v, f"{where}[{i}]") for i, v in enumerate(value))
    if isinstance(value, set | frozenset):
        return tuple(sorted(freeze(v, where) for v in value))
    msg = f"{where or 'value'} is of type {type(value).__name__}, which has no JSON form"
    raise HierarchyError(msg)


def thaw(value: Any) -> Any:
    """Return a deep, changeable copy of a frozen value: plain dicts and lists."""
    if isinstance(value, Mapping):
        return {k: thaw(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [thaw(v) for v in value]
    return value
