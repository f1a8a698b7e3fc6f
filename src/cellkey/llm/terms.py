"""Cell types by their names in an ontology, as far as this room needs them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from cellkey.hierarchy.ontology import Ontology

__all__ = ["CellTypeTerms", "MatchedTerm", "NoTerms", "OntologyTerms", "match_term", "normalised_label"]

_QUALIFIER = re.compile(
    r"\(.*?\)|\[.*?\]|[_-]\d+$|\b(?:like|high|low|positive|negative|activated|resting|naive|proliferating|cycling|"
    r"inflammatory|stressed|mature|immature|transitional|subset|population|cluster|unspecified|other|general|"
    r"classical|non-classical|intermediate|human|mouse|early|late|[A-Z0-9]+[+-])(?=\s|$)",
    re.IGNORECASE,
)
_IRREGULAR = {"cells": "cell", "lymphocytes": "lymphocyte", "microglial": "microglial", "nuclei": "nucleus"}


class CellTypeTerms(Protocol):
    """Lookup of names and of the order of terms.

    ``is_complete`` tells whether a name that is not found is no name of a cell type at all.
    """

    is_complete: bool

    def find(self, name: str) -> str | None:
        """Return the identifier (``CL:0000236``) of an exact label or synonym, ignoring case."""

    def label(self, term: str) -> str:
        """Return the preferred name of a term."""

    def ancestors(self, term: str) -> frozenset[str]:
        """Return all broader terms, the term itself left out."""


class NoTerms:
    """An ontology without terms: nothing is found."""

    is_complete = False

    def find(self, name: str) -> str | None:
        del name
        return None

    def label(self, term: str) -> str:
        return term

    def ancestors(self, term: str) -> frozenset[str]:
        del term
        return frozenset()


class OntologyTerms:
    """Terms of an ontology that was read; see :func:`cellkey.hierarchy.ontology.read_ontology`.

    Parameters
    ----------
    ontology
        Terms and their order. Where a name belongs to several terms, those of the Cell Ontology come first.
    """

    def __init__(self, ontology: Ontology) -> None:
        self._ontology = ontology
        self._found: dict[str, str | None] = {}
        self._above: dict[str, frozenset[str]] = {}
        self.is_complete = len(ontology) > 1000

    def find(self, name: str) -> str | None:
        if name not in self._found:
            terms = sorted(self._ontology.find(name), key=lambda t: not t.id.startswith("CL:"))
            self._found[name] = terms[0].id if terms else None
        return self._found[name]

    def label(self, term: str) -> str:
        return self._ontology.name(term)

    def ancestors(self, term: str) -> frozenset[str]:
        if term not in self._above:
            self._above[term] = self._ontology.ancestors(term)
        return self._above[term]


@dataclass(frozen=True, slots=True)
class MatchedTerm:
    """A term that a name stands for; ``exact`` is false where qualifiers had to be dropped."""

    id: str
    label: str
    exact: bool


def match_term(name: str, terms: CellTypeTerms) -> MatchedTerm | None:
    """Return the term that ``name`` stands for: as it is, in singular, or without qualifiers; None if none does."""
    for candidate, exact in _spellings(name):
        found = terms.find(candidate) if candidate else None
        if found is not None:
            return MatchedTerm(found, terms.label(found), exact)
    return None


def _spellings(name: str) -> list[tuple[str, bool]]:
    bare = " ".join(_QUALIFIER.sub(" ", name).split())
    spellings = [(name, True)]
    for text, exact in ((normalised_label(name), True), (normalised_label(bare), False)):
        if text:
            spellings += [(text, exact), (f"{text} cell", exact)]
    return spellings


def normalised_label(name: str) -> str:
    """Return a name in lower case, singular and without punctuation at its ends, for comparing labels."""
    words = re.sub(r"[\s_]+", " ", name.casefold()).strip(" .,;:*").split(" ")
    return " ".join(_singular(w) if i == len(words) - 1 else _IRREGULAR.get(w, w) for i, w in enumerate(words))


def _singular(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) > 4 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
