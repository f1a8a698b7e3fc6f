"""Measured names that look like a name which is not measured."""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from functools import cached_property
from typing import Final

from cellkey.hierarchy.aliases import compact_key
from cellkey.hierarchy.species import ENSEMBL_ID

__all__ = ["CloseNames"]


class CloseNames:
    """Nearest names by shared pairs of letters, then by :mod:`difflib`; indexed when first needed."""

    _n_candidates: Final = 12

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    @cached_property
    def _folded(self) -> list[tuple[str, str]]:
        return sorted({(compact_key(n), n) for n in self._names if not ENSEMBL_ID.match(n)})

    @cached_property
    def _postings(self) -> dict[str, list[int]]:
        postings: defaultdict[str, list[int]] = defaultdict(list)
        for i, (key, _) in enumerate(self._folded):
            for pair in _letter_pairs(key):
                postings[pair].append(i)
        return dict(postings)

    def to(self, name: str, n: int) -> list[tuple[str, float]]:
        """Return up to ``n`` names with their similarity in (0.65, 1], closest first, ties by name."""
        key = compact_key(name)
        pairs = _letter_pairs(key)
        shared: Counter[int] = Counter()
        for pair in pairs:
            shared.update(self._postings.get(pair, ()))
        ranked = sorted(shared, key=lambda i: (-2 * shared[i] / (len(pairs) + len(self._folded[i][0]) + 1), i))
        scored = [
            (difflib.SequenceMatcher(None, key, self._folded[i][0]).ratio(), self._folded[i][1])
            for i in ranked[: self._n_candidates]
        ]
        best = sorted((-score, measured) for score, measured in scored if score > 0.65)
        return [(measured, -score) for score, measured in best[:n]]


def _letter_pairs(key: str) -> set[str]:
    padded = f"^{key}$"
    return {padded[i : i + 2] for i in range(len(padded) - 1)}
