"""Labels of any origin to the types of one hierarchy: by ontology id, alias table or exact name, never by guess."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellkey.hierarchy.cell_type import Path, common_path
from cellkey.hierarchy.ontology import Ontology, bundled_ontology
from cellkey.records.vocabulary import LabelMatch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cellkey.hierarchy.tree import Hierarchy

__all__ = ["ABSTENTIONS", "LabelMapper", "MappedLabel"]

ABSTENTIONS = frozenset({
    "", "unassigned", "unknown", "unresolved", "unidentified", "unlabelled", "unlabeled", "undetermined", "ambiguous",
    "none", "nan", "na", "n/a", "null", "not available", "doublet", "doublets", "junk", "low quality",
})
"""Labels that name no type, without regard to case; they are abstentions, not votes."""

_TERM = re.compile(r"\b[A-Z]{2,8}:\d{4,10}\b")
_NO_TYPE = re.compile(r"~|^(mixed|candidate)[_ ]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MappedLabel:
    """Where a label belongs.

    Attributes
    ----------
    label
        As the source wrote it.
    path
        Type of the hierarchy; empty for an abstention or a label that could not be mapped.
    match
        How it was found.
    close
        For a label that could not be mapped, names of the hierarchy that look like it.
    """

    label: str
    path: Path
    match: LabelMatch
    close: tuple[str, ...] = ()


class LabelMapper:
    """Maps labels to the types of a hierarchy.

    A Cell Ontology id (given beside the label, or as the label) goes first; an id that the hierarchy does not hold
    stands for the nearest type above it that it does. Then the alias table, then exact names without regard to
    case: paths, names and aliases of the hierarchy, and names and synonyms of ontology terms. A name that several
    types bear stands for their lowest common ancestor.

    Parameters
    ----------
    hierarchy
        The tree to map to.
    aliases
        Label to a name, path or Cell Ontology id of the hierarchy.
    ontology
        What is a kind of what; the terms of the built-in hierarchies if None.
    """

    def __init__(
        self, hierarchy: Hierarchy, aliases: Mapping[str, str] | None = None, ontology: Ontology | None = None
    ) -> None:
        self.hierarchy = hierarchy
        self._ontology = ontology or bundled_ontology()
        self._aliases = {_folded(k): v for k, v in (aliases or {}).items()}
        self._by_term: dict[str, list[Path]] = defaultdict(list)
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for node in hierarchy.nodes:
            if node.ontology_id:
                self._by_term[node.ontology_id].append(node.path)
            for name in dict.fromkeys(map(_folded, (node.path_text, node.name, *node.aliases))):
                self._by_name[name].append(node.path)
        self._names = {_folded(n.name): n.name for n in hierarchy.nodes}

    def __call__(self, label: str, ontology_id: str = "") -> MappedLabel:
        """Return where a label belongs, with the Cell Ontology id that came with it, if any."""
        text = " ".join(str(label).split())
        for term in filter(None, (ontology_id, _term_in(text))):
            found = self._by_ontology(term)
            if found is not None:
                return MappedLabel(label, *found)
        if _folded(text) in self._aliases:
            path = self._alias(self._aliases[_folded(text)])
            return MappedLabel(label, path, LabelMatch.ALIAS) if path else self._unmapped(label, text)
        if _folded(text) in ABSTENTIONS or _NO_TYPE.search(text):
            return MappedLabel(label, (), LabelMatch.ABSTENTION)
        path = self._named(text)
        if path:
            return MappedLabel(label, path, LabelMatch.NAME)
        for found_term in self._ontology.find(text):
            found = self._by_ontology(found_term.id)
            if found is not None:
                return MappedLabel(label, *found)
        return self._unmapped(label, text)

    def along(self, path: Sequence[str], terms: Mapping[str, str] | None = None) -> MappedLabel:
        """Return where a path of another hierarchy belongs: its deepest type that can be mapped.

        Parameters
        ----------
        path
            Labels from the top-level type down.
        terms
            Cell Ontology id of each type of that hierarchy, by its path as text.
        """
        whole = " / ".join(path)
        if not path:
            return MappedLabel("", (), LabelMatch.ABSTENTION)
        if tuple(path) in self.hierarchy:
            return MappedLabel(whole, tuple(path), LabelMatch.NAME)
        for depth in range(len(path), 0, -1):
            found = self(path[depth - 1], (terms or {}).get(" / ".join(path[:depth]), ""))
            if found.path:
                match = found.match if depth == len(path) else LabelMatch.BROADER
                return MappedLabel(whole, found.path, match)
        return self._unmapped(whole, path[-1])

    def _by_ontology(self, term: str) -> tuple[Path, LabelMatch] | None:
        if term in self._by_term:
            path = common_path(self._by_term[term])
            return (path, LabelMatch.ONTOLOGY_ID) if path else None
        if term not in self._ontology:
            return None
        above = self._ontology.ancestors(term) & self._by_term.keys()
        nearest = [t for t in above if not any(t in self._ontology.ancestors(o) for o in above)]
        path = common_path([p for t in nearest for p in self._by_term[t]])
        return (path, LabelMatch.BROADER) if path else None

    def _alias(self, target: str) -> Path:
        found = self._by_ontology(target) if target in self._ontology or target in self._by_term else None
        return found[0] if found else self._named(target)

    def _named(self, text: str) -> Path:
        folded = _folded(text)
        forms = (folded, folded.removesuffix("s"), f"{folded}s")  # singular and plural are one name
        return common_path(next((self._by_name[f] for f in forms if f in self._by_name), []))

    def _unmapped(self, label: str, text: str) -> MappedLabel:
        close = difflib.get_close_matches(_folded(text), list(self._names), n=3, cutoff=0.6)
        return MappedLabel(label, (), LabelMatch.UNMAPPED, tuple(self._names[c] for c in close))


def _folded(text: str) -> str:
    return " ".join(text.casefold().replace("_", " ").split())


def _term_in(text: str) -> str:
    """The ontology id that a label consists of or carries, such as ``T cell (CL:0000084)``."""
    found = _TERM.search(text)
    return found.group(0) if found else ""
