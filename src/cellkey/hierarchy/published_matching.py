"""The published rules from free text to one of twelve hierarchies, with their quirks, for comparison and compatibility.

A word is specific (a tissue or one of its synonyms), context (broad or immune), or unknown. Unknown words of at
least four letters are compared with all synonyms, but only if no word is specific.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FALLBACK", "ORDER", "match", "scores"]

FALLBACK: Final = "tme_core"

ORDER: Final = (
    "immune_core", "solid_tissue_core", "brain_core", "tme_core", "colon_tme", "kidney_tme", "tonsil_tme",
    "breast_tme", "pancreas_tme", "liver_tme", "lung_tme", "skin_tme",
)  # fmt: skip
"""The published hierarchies in the order that breaks ties."""

_SYNONYMS: Final[Mapping[str, tuple[str, ...]]] = {
    "kidney": ("renal", "rcc", "ccrcc"),
    "liver": ("hepatic", "hcc", "cholangiocarcinoma"),
    "lung": ("pulmonary", "nsclc", "sclc"),
    "brain": ("cerebral", "cns", "glioma", "gbm", "neural"),
    "colon": ("colorectal", "crc", "gastric", "stomach", "gut"),
    "skin": ("dermal", "epidermal", "cutaneous", "melanoma"),
    "breast": ("mammary", "tnbc", "her2", "er_positive", "pr_positive"),
    "pancreas": ("pancreatic", "pdac"),
    "tonsil": ("oropharyngeal", "lymphoid_tonsil"),
}
_BROAD: Final = frozenset({"tumor", "tumour", "cancer", "solid", "tme", "microenvironment"})
_IMMUNE: Final = frozenset({"immune", "pbmc", "blood", "hematopoietic", "lymphoid"})
_SHORTEST_FUZZY: Final = 4


def match(query: str, fallback: str = FALLBACK, cutoff: float = 0.75) -> str:
    """Return the hierarchy of the first specific tissue, else of a similar one, of the context, or the fallback."""
    tokens = _tokens(query)
    found = _specific(tokens) or _similar(tokens, cutoff)
    if found:
        return _hierarchy_of(found[0])
    return "immune_core" if not _IMMUNE.isdisjoint(tokens) else fallback


def scores(query: str, cutoff: float = 0.75) -> list[tuple[str, float, float, float]]:
    """Return name, exact, fuzzy and context score of all twelve hierarchies, best first."""
    tokens = _tokens(query)
    exact = {_hierarchy_of(t) for t in _specific(tokens)}
    fuzzy = set() if exact else {_hierarchy_of(t) for t in _similar(tokens, cutoff)}
    context: set[str] = set()
    if not exact and not fuzzy:
        context |= {"immune_core"} if not _IMMUNE.isdisjoint(tokens) else set()
        context |= {"tme_core"} if not _BROAD.isdisjoint(tokens) else set()
    rows = [(n, 3.0 * (n in exact), 1.0 * (n in fuzzy), 1.0 * (n in context)) for n in ORDER]
    return sorted(rows, key=lambda r: (-sum(r[1:]), -r[1], -r[2], -r[3]))


def _hierarchy_of(tissue: str) -> str:
    return "brain_core" if tissue == "brain" else f"{tissue}_tme"


def _tokens(query: str) -> list[str]:
    return re.sub(r"[^a-z0-9]+", " ", str(query).lower()).split()


def _specific(tokens: Sequence[str]) -> list[str]:
    return sorted({t for t, words in _SYNONYMS.items() for token in tokens if token == t or token in words})


def _similar(tokens: Sequence[str], cutoff: float) -> list[str]:
    """Tissues of unknown words, each word's best; of equals the first of the table."""
    found = set()
    for token in tokens:
        if len(token) < _SHORTEST_FUZZY or token in _BROAD or token in _IMMUNE:
            continue
        scored = [
            (difflib.SequenceMatcher(None, token, word).ratio(), tissue)
            for tissue, synonyms in _SYNONYMS.items()
            for word in (tissue, *synonyms)
        ]
        best, tissue = max(scored, key=lambda s: s[0])
        if best >= cutoff:
            found.add(tissue)
    return sorted(found)
