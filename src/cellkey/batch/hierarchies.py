"""Which marker hierarchy belongs to a tissue."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellkey.hierarchy import Hierarchy

__all__ = ["hierarchy_for"]


def hierarchy_for(tissue: str, given: str | None = None) -> Hierarchy | None:
    """Return the hierarchy that was named or the built-in one of the tissue; None leaves the choice to the data.

    A built-in hierarchy belongs to a tissue when its name or the tissue it is made for is, word by word, part of
    the tissue's name. Several that do are ordered by the number of words, then by name.
    """
    from cellkey.hierarchy import DEFAULT, builtin_names, get_builtin, read_hierarchy

    if given is not None:
        return read_hierarchy(given)
    wanted = _words(tissue)
    best: tuple[int, str] | None = None
    for name in builtin_names():
        if name == DEFAULT:
            continue
        for text in (name, str(get_builtin(name).metadata.get("tissue", ""))):
            words = _words(text)
            if words and words <= wanted and (best is None or (-len(words), name) < best):
                best = (-len(words), name)
    return get_builtin(best[1]) if best else None


def _words(text: str) -> frozenset[str]:
    return frozenset(w.removesuffix("s") for w in re.findall(r"[a-z]+", text.casefold()))
