"""Cell Ontology terms: the few that the built-in hierarchies use, or all of a release the user has.

The bundled table holds facts of the Cell Ontology (identifier, name, nearest terms above within the table),
which is published under CC BY 4.0 by the OBO Foundry; nothing is looked up on the network.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from cellkey.errors import HierarchyError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cellkey.hierarchy.tree import Hierarchy

__all__ = ["Ontology", "Term", "bundled_ontology", "contradictions", "read_ontology"]


@dataclass(frozen=True, slots=True)
class Term:
    """One kind of cell.

    Attributes
    ----------
    id, name
        For example ``"CL:0000084"`` and ``"T cell"``.
    parents
        Identifiers of the terms it is a kind of.
    synonyms
        Other names.
    """

    id: str
    name: str
    parents: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ontology:
    """Terms and what is a kind of what."""

    terms: Mapping[str, Term]
    version: str = ""
    _by_name: dict[str, list[str]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for term in self.terms.values():
            for name in dict.fromkeys(n.casefold() for n in (term.name, *term.synonyms)):
                self._by_name.setdefault(name, []).append(term.id)

    def __contains__(self, term_id: object) -> bool:
        return term_id in self.terms

    def __len__(self) -> int:
        return len(self.terms)

    def name(self, term_id: str) -> str:
        """Return the name of a term.

        Raises
        ------
        HierarchyError
            If the term is not known.
        """
        return self._term(term_id).name

    def ancestors(self, term_id: str) -> frozenset[str]:
        """Return the identifiers of all terms above, without the term itself."""
        found: set[str] = set()
        waiting = list(self._term(term_id).parents)
        while waiting:
            above = waiting.pop()
            if above not in found and above in self.terms:
                found.add(above)
                waiting.extend(self.terms[above].parents)
        return frozenset(found)

    def is_a(self, term_id: str, other: str) -> bool:
        """Whether the first is the second, or a kind of it."""
        return term_id == other or other in self.ancestors(term_id)

    def find(self, text: str) -> tuple[Term, ...]:
        """Return the terms whose name or synonym is ``text``, without regard to case; names before synonyms.

        A plural (``"T cells"``) is tried as its singular too.
        """
        folded = " ".join(text.casefold().split())
        for candidate in dict.fromkeys((folded, folded.removesuffix("s"))):
            ids = self._by_name.get(candidate, [])
            if ids:
                named = sorted(ids, key=lambda i: (self.terms[i].name.casefold() != candidate, i))
                return tuple(self.terms[i] for i in named)
        return ()

    def restricted_to(self, term_ids: Iterable[str]) -> Ontology:
        """Return only these terms, each below the nearest of them; without synonyms."""
        wanted = set(term_ids)
        above = {i: self.ancestors(i) & wanted for i in wanted}
        nearest = {i: sorted(a for a in above[i] if not any(a in above[b] for b in above[i])) for i in wanted}
        terms = {i: Term(i, self.name(i), tuple(nearest[i])) for i in sorted(wanted)}
        return Ontology(terms, self.version)

    def table_text(self) -> str:
        """Return the terms as tab-separated text: id, name, parents."""
        rows = [f"{t.id}\t{t.name}\t{','.join(t.parents)}" for _, t in sorted(self.terms.items())]
        return "\n".join(["id\tname\tparents", *rows]) + "\n"

    def _term(self, term_id: str) -> Term:
        if term_id not in self.terms:
            msg = f"{term_id!r} is not a term of the ontology{did_you_mean(term_id, self.terms)}"
            raise HierarchyError(msg)
        return self.terms[term_id]


@cache
def bundled_ontology() -> Ontology:
    """Return the terms that the built-in hierarchies use."""
    text = (resources.files("cellkey.hierarchy") / "data" / "cell_ontology_terms.tsv").read_text(encoding="utf-8")
    lines = text.splitlines()
    version = next((line.partition("release ")[2].strip(" .") for line in lines if "release " in line), "")
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")][1:]
    terms = {i: Term(i, name, tuple(parents.split(",")) if parents else ()) for i, name, parents in rows}
    return Ontology(terms, version)


def read_ontology(path: str | Path) -> Ontology:
    """Return the terms of an OBO file such as ``cl-basic.obo``, also compressed with gzip.

    Obsolete terms are left out; of other ontologies mentioned in the file all terms are kept.

    Raises
    ------
    HierarchyError
        If the file cannot be read or holds no term.
    """
    file = Path(path)
    try:
        raw = file.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        msg = f"cannot read the ontology {file}: {reason}"
        raise HierarchyError(msg) from None
    version, terms = _parse_obo(text.splitlines())
    if not terms:
        msg = f"{file} holds no ontology term; expected an OBO file such as cl-basic.obo"
        raise HierarchyError(msg)
    return Ontology(terms, version)


def _parse_obo(lines: Iterable[str]) -> tuple[str, dict[str, Term]]:
    version = ""
    terms: dict[str, Term] = {}
    for kind, tags in _stanzas(lines):
        if kind == "":
            version = tags.get("data-version", [""])[0]
        elif kind == "[Term]" and "id" in tags and tags.get("is_obsolete", ["false"])[0] != "true":
            term_id = tags["id"][0]
            terms[term_id] = Term(
                term_id,
                tags.get("name", [term_id])[0],
                tuple(value.split(" ", 1)[0] for value in tags.get("is_a", ())),
                tuple(value.split('"')[1] for value in tags.get("synonym", ()) if value.count('"') >= 2),
            )
    return version, terms


def _stanzas(lines: Iterable[str]) -> Iterator[tuple[str, dict[str, list[str]]]]:
    kind, tags = "", dict[str, list[str]]()
    for line in lines:
        text = line.rstrip("\n\r")
        if text.startswith("["):
            yield kind, tags
            kind, tags = text, {}
        elif ": " in text:
            tag, _, value = text.partition(": ")
            tags.setdefault(tag, []).append(value)
    yield kind, tags


def contradictions(hierarchy: Hierarchy, ontology: Ontology | None = None) -> list[tuple[str, str, str]]:
    """Return where a node's term is not a kind of the term of the nearest node above that has one.

    Parameters
    ----------
    hierarchy
        Tree whose nodes carry ``ontology_id``.
    ontology
        Terms to judge by; by default those of the built-in hierarchies. Terms it does not hold are passed
        over.

    Returns
    -------
    list
        Path text of the node, its term id, and the term id above. Not always a mistake: marker hierarchies
        group cells by what they express, and the ontology has no is-a between fibroblast and mesenchymal
        cell.
    """
    terms = ontology or bundled_ontology()
    found = []
    for node in hierarchy:
        above = next((n.ontology_id for n in reversed(hierarchy.ancestors(node.path)) if n.ontology_id), None)
        own = node.ontology_id
        if own in terms and above in terms and own is not None and above is not None and not terms.is_a(own, above):
            found.append((node.path_text, own, above))
    return found
