"""The rules by which a listed name finds its measured variable, over indexes of all names."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from cellkey.hierarchy.aliases import aliases_of, case_key, compact_key, ortholog_of, slash_key, stripped_forms
from cellkey.hierarchy.species import ENSEMBL_ID, ENSEMBL_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["How", "NameSearch"]

How = Literal["exact", "case", "punctuation", "alias", "var_column"]
"""The rule that found a variable."""


class _Index:
    """Variables by their name under rules of growing tolerance; each table is made when first needed."""

    def __init__(self, variables: Sequence[str], names: Sequence[str] | None = None) -> None:
        self._variables = variables
        self._names = variables if names is None else names

    def _by(self, keys: Sequence[str]) -> dict[str, str]:
        table = dict(zip(keys, self._variables, strict=True))
        if len(table) == len(keys):
            return table
        # Sorting first lets the smallest variable name win, whatever the order of the variables.
        order = sorted(range(len(keys)), key=lambda i: (self._names[i], self._variables[i]), reverse=True)
        return {keys[i]: self._variables[i] for i in order}

    @cached_property
    def exact(self) -> dict[str, str]:
        return self._by(self._names)

    @cached_property
    def case(self) -> dict[str, str]:
        return self._by(_all_keys(self._names, case_key))

    @cached_property
    def slash(self) -> dict[str, str]:
        return self._by(_all_keys(self._names, slash_key))

    @cached_property
    def compact(self) -> dict[str, str]:
        return self._by(self._compact_keys)

    @cached_property
    def _compact_keys(self) -> list[str]:
        return _all_keys(self._names, compact_key)

    @cached_property
    def _text(self) -> tuple[str, list[int]]:
        """All compact names as one text, and where each begins."""
        lengths = (len(key) + 1 for key in self._compact_keys)
        return "\x1f".join(self._compact_keys), [0, *accumulate(lengths)][: len(self._compact_keys)]

    def _holding(self, key: str) -> Iterator[int]:
        """The names whose compact form holds ``key``, as positions; one may come twice."""
        text, starts = self._text
        at = text.find(key) if starts else -1
        while at >= 0:
            yield bisect_right(starts, at) - 1
            at = text.find(key, at + 1)

    def inside(self, name: str) -> str | None:
        """Return the variable whose name carries ``name`` inside; of several, the least shortened wins."""
        key = compact_key(name)
        found = [(steps, self._variables[i]) for i in self._holding(key)  # a shorter name is a part of the whole one
                 for steps, form in enumerate(_shorter(self._names[i])) if compact_key(form) == key]
        return min(found)[1] if found else None

    def find(self, name: str) -> tuple[str, How] | None:
        """Return the variable of a name under the first rule that finds one."""
        if name in self.exact:
            return self.exact[name], "exact"
        if (key := case_key(name)) in self.case:
            return self.case[key], "case"
        if (key := slash_key(name)) in self.slash:
            return self.slash[key], "punctuation"
        if (key := compact_key(name)) in self.compact:
            return self.compact[key], "punctuation"
        return None


def _all_keys(names: Sequence[str], key_of: Callable[[str], str]) -> list[str]:
    """``key_of`` of every name: they are folded letter by letter, so that twenty thousand can be folded as one text."""
    keys = key_of("\x1f".join(names)).split("\x1f")
    return [k.strip() for k in keys] if len(keys) == len(names) else [key_of(n) for n in names]


def _shorter(name: str) -> tuple[str, ...]:
    """The shorter names inside a name, nearest first."""
    return (ENSEMBL_VERSION.sub("", name),) if ENSEMBL_ID.match(name) else stripped_forms(name)


class NameSearch:
    """All rules in order over the names of the variables, then over their columns of symbols."""

    def __init__(self, variables: Sequence[str], columns: Mapping[str, Sequence[str]], *, mouse: bool) -> None:
        self._own = _Index(variables)
        self._columns = [_Index(variables, symbols) for symbols in columns.values()]
        self._mouse = mouse

    def find(self, name: str) -> tuple[str, How] | None:
        hit = self._own.find(name)
        if hit is not None:
            return hit
        others = [ENSEMBL_VERSION.sub("", name)] if ENSEMBL_ID.match(name) else []
        others += [*aliases_of(name), *(ortholog_of(name) if self._mouse else ())]
        variable = self._by_alias(self._own, name, others)
        if variable is not None:
            return variable, "alias"
        for column in self._columns:
            direct = column.find(name)
            variable = direct[0] if direct else self._by_alias(column, name, others)
            if variable is not None:
                return variable, "var_column"
        return None

    @staticmethod
    def _by_alias(index: _Index, name: str, others: Sequence[str]) -> str | None:
        for other in others:
            hit = index.find(other)
            if hit is not None:
                return hit[0]
        for form in (name, *others):
            variable = index.inside(form)
            if variable is not None:
                return variable
        return None
