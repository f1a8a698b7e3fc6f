"""Free text such as ``"colorectal cancer"`` to the built-in hierarchies that serve it.

The default rules know organs, adjectives, diseases, abbreviations and plurals, forgive misspelt nouns, and say so
where nothing fits. ``hierannot-0.7`` repeats the rules of the published package among its twelve hierarchies.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final, Literal, get_args

from cellkey.errors import HierarchyError, ParameterError, did_you_mean
from cellkey.hierarchy import published_matching
from cellkey.hierarchy.catalogue import builtin_names, get_builtin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import pandas as pd

    from cellkey.records.schema import TableSchema

__all__ = ["MatchMode", "match_hierarchy", "suggest_hierarchies", "suggestion_schema"]

MatchMode = Literal["default", "hierannot-0.7"]

_EXACT: Final = 3.0
_OTHER_TREE: Final = 2.0
_FUZZY: Final = 1.0
_CONTEXT: Final = 1.0
_SHORTEST_FUZZY: Final = 5
_TUMOUR: Final = frozenset({
    "tumor", "tumour", "cancer", "carcinoma", "adenocarcinoma", "sarcoma", "neoplasm", "neoplasia", "malignant",
    "malignancy", "metastasis", "metastatic", "tme", "microenvironment", "oncology",
})
_GENERAL: Final[Mapping[str, str]] = {
    "immune": "immune_core", "solid": "tme_core", "stroma": "tme_core",
    "stromal": "tme_core", "generic": "default", "any": "default",
}


@dataclass(frozen=True, slots=True)
class _Tissue:
    """One row of the table of tissues; names and words as tuples of tokens."""

    tissue: str
    hierarchy: str
    tumour: str
    names: tuple[str, ...]
    phrases: Mapping[tuple[str, ...], bool]

    def tree(self, *, tumour: bool) -> str:
        return self.tumour if tumour else self.hierarchy


@dataclass(slots=True)
class _Score:
    exact: float = 0.0
    fuzzy: float = 0.0
    context: float = 0.0
    position: int = 1000

    @property
    def total(self) -> float:
        return self.exact + self.fuzzy + self.context

    def raise_to(self, kind: str, value: float, position: int) -> None:
        if value > getattr(self, kind):
            setattr(self, kind, value)
        self.position = min(self.position, position)


def match_hierarchy(
    query: str,
    *,
    fallback: str | None = None,
    fuzzy_cutoff: float = 0.75,
    mode: MatchMode = "default",
) -> str:
    """Return the name of the built-in hierarchy that a description of a tissue or disease asks for.

    Of several tissues the one named first wins; where a tumour is named, the tree of the tumour's
    microenvironment is preferred, which is coarser in the parenchyma.

    Parameters
    ----------
    query
        For example ``"colon cancer"``, ``"kidneys"`` or ``"hepatocellular carcinoma"``; also the name of a
        built-in hierarchy.
    fallback
        Returned where nothing fits; None raises instead. ``hierannot-0.7`` falls back on ``tme_core``.
    fuzzy_cutoff
        Least similarity of a misspelt noun, 0 to 1.
    mode
        ``"hierannot-0.7"`` repeats the published rules, which never fail.

    Raises
    ------
    HierarchyError
        If nothing fits and there is no fallback, with what comes near.

    Examples
    --------
    >>> match_hierarchy("colon cancer"), match_hierarchy("kidneys")
    ('colon_tme', 'kidney')
    """
    if _checked(mode) == "hierannot-0.7":
        return published_matching.match(query, fallback or published_matching.FALLBACK, fuzzy_cutoff)
    if query.strip() in builtin_names():
        return query.strip()
    ranked = _ranked(query, fuzzy_cutoff)
    if ranked:
        return ranked[0][0]
    if fallback is not None:
        return fallback
    raise HierarchyError(_no_match(query))


def suggest_hierarchies(
    query: str, *, top_k: int = 5, fuzzy_cutoff: float = 0.75, mode: MatchMode = "default"
) -> pd.DataFrame:
    """Return the built-in hierarchies that fit a description, best first; columns of :func:`suggestion_schema`.

    Parameters
    ----------
    query, fuzzy_cutoff, mode
        As in :func:`match_hierarchy`.
    top_k
        Most rows. The default mode lists only what fits, so there may be none; the published one fills up with
        hierarchies of score 0.
    """
    if _checked(mode) == "hierannot-0.7":
        rows = published_matching.scores(query, fuzzy_cutoff)[: max(top_k, 0)]
        found = [(name, _Score(exact, fuzzy, context)) for name, exact, fuzzy, context in rows]
    else:
        found = _ranked(query, fuzzy_cutoff)[: max(top_k, 0)]
    return suggestion_schema().frame([_row(name, score) for name, score in found])


def suggestion_schema() -> TableSchema:
    """Return the schema of suggested hierarchies."""
    from cellkey.records.schema import Column, TableSchema

    return TableSchema(
        "suggested_hierarchies.csv",
        "Built-in hierarchies that fit a description.",
        (
            Column("name", "string", "Name of the hierarchy."),
            Column("score", "float", "Sum of the three parts."),
            Column("exact_score", "float", "3 for the hierarchy of a tissue that is named, 2 for its other one."),
            Column("fuzzy_score", "float", "1 for the hierarchy of a tissue that is named, but misspelt."),
            Column("context_score", "float", "1 for what words such as tumour or immune ask for."),
            Column("category", "string", "Kind of hierarchy."),
            Column("tissue_scope", "string", "Tissue it is made for."),
            Column("description", "string", "What it covers."),
        ),
    )


def _row(name: str, score: _Score) -> dict[str, object]:
    about = get_builtin(name).metadata
    return {
        "name": name, "score": score.total, "exact_score": score.exact, "fuzzy_score": score.fuzzy,
        "context_score": score.context, "category": str(about.get("category", "")),
        "tissue_scope": str(about.get("tissue_scope", about.get("tissue", ""))),
        "description": str(about.get("description", "")),
    }


def _checked(mode: str) -> str:
    if mode not in get_args(MatchMode):
        msg = f"there is no matching mode {mode!r}{did_you_mean(mode, get_args(MatchMode))}"
        raise ParameterError(msg)
    return mode


# --- the default rules ---


def _ranked(query: str, cutoff: float) -> list[tuple[str, _Score]]:
    """Hierarchies with a score, best first; ties in the order in which tissues are named, then by name."""
    tokens = _tokens(query)
    found = list(_tissues_in(tokens))
    # A tumour of an organ without a hierarchy of its own still is solid tissue with immune cells.
    tumour = not _TUMOUR.isdisjoint(tokens) or any(is_tumour for _, _, is_tumour in found)
    scores: dict[str, _Score] = {}

    def give(name: str, kind: str, value: float, position: int) -> None:
        if name:
            scores.setdefault(name, _Score()).raise_to(kind, value, position)

    kind, best = "exact", _EXACT
    if not found:
        found = [(i, tissue, False) for i, tissue in _misspelt(tokens, cutoff)]
        kind, best = "fuzzy", _FUZZY
    for position, tissue, _ in found:
        give(tissue.tree(tumour=tumour), kind, best, position)
        give(tissue.tree(tumour=not tumour), kind, best * _OTHER_TREE / _EXACT, position)
    for position, token in enumerate(tokens):
        give(_GENERAL.get(token, ""), "context", _CONTEXT, position)
    if tumour:
        give("tme_core", "context", _CONTEXT, len(tokens))
    return sorted(scores.items(), key=lambda item: (-item[1].total, item[1].position, item[0]))


def _tissues_in(tokens: tuple[str, ...]) -> Iterator[tuple[int, _Tissue, bool]]:
    """Position, tissue and whether the word is a tumour, for each phrase; the longest at a place wins."""
    longest = max((len(p) for t in _tissues() for p in t.phrases), default=1)
    i = 0
    while i < len(tokens):
        step = 1
        for length in range(min(longest, len(tokens) - i), 0, -1):
            phrase = tokens[i : i + length]
            tissue = next((t for t in _tissues() if phrase in t.phrases), None)
            if tissue is not None:
                yield i, tissue, tissue.phrases[phrase]
                step = length
                break
        i += step


def _misspelt(tokens: Iterable[str], cutoff: float) -> Iterator[tuple[int, _Tissue]]:
    """Tissues whose noun a token resembles: same first letter, and similar enough."""
    for i, token in enumerate(tokens):
        if len(token) < _SHORTEST_FUZZY or token in _TUMOUR or token in _GENERAL:
            continue
        scored = [
            (-difflib.SequenceMatcher(None, token, name).ratio(), name, tissue)
            for tissue in _tissues()
            for name in tissue.names
            if name[0] == token[0] and tissue.hierarchy
        ]
        if scored:
            similarity, _, tissue = min(scored, key=lambda s: s[:2])
            if -similarity >= max(cutoff, 0.0):
                yield i, tissue


def _no_match(query: str) -> str:
    known = next((t.tissue for _, t, _ in _tissues_in(_tokens(query)) if not t.hierarchy), "")
    tissues = [t.tissue for t in _tissues() if t.hierarchy]
    if known:
        reason = f"no built-in hierarchy is made for {known}; 'default' covers common types of any tissue"
    else:
        reason = f"there is no built-in hierarchy for {query!r}{did_you_mean(query, [*tissues, *builtin_names()])}"
    return f"{reason} (tissues: {', '.join(tissues)}; or 'tme_core' for solid tumours)"


def _tokens(text: str) -> tuple[str, ...]:
    """Lower-case words in the singular; everything but letters and digits separates."""
    return tuple(_singular(t) for t in re.sub(r"[^a-z0-9]+", " ", text.casefold()).split())


_SAME_IN_PLURAL: Final = frozenset({"cns", "mds"})


def _singular(word: str) -> str:
    if len(word) < 4 or word in _SAME_IN_PLURAL or word.endswith(("ss", "us", "is", "as")):
        return word
    if word.endswith("stases"):
        return word[:-2] + "is"
    return word[:-3] + "y" if word.endswith("ies") else word.removesuffix("s")


@cache
def _tissues() -> tuple[_Tissue, ...]:
    text = (resources.files("cellkey.hierarchy") / "data" / "tissues.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")][1:]
    found = []
    for row in rows:
        tissue, hierarchy, tumour, names, words, tumours = [*row, *[""] * (6 - len(row))]
        nouns = tuple(filter(None, names.split("|")))
        phrases = {_tokens(p): False for p in (*nouns, *words.split("|")) if p}
        phrases |= {_tokens(p): True for p in tumours.split("|") if p}
        found.append(_Tissue(tissue, hierarchy, tumour, nouns, phrases))
    return tuple(found)
