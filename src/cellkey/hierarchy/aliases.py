"""Other names of genes and proteins, and how names are compared.

Two bundled tables are read on first use: ``aliases.tsv`` (proteins, antibodies and earlier symbols beside
current gene symbols) and ``orthologs.tsv`` (mouse genes whose symbol is not the human one in other letters).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "AliasRow",
    "alias_rows",
    "aliases_of",
    "case_key",
    "compact_key",
    "only_gene",
    "ortholog_of",
    "slash_key",
    "stripped_forms",
]

_GREEK: Final = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta",
    "ε": "epsilon", "κ": "kappa", "λ": "lambda", "μ": "mu",
}  # fmt: skip
_LETTERS: Final = str.maketrans(_GREEK)
_SLASHES: Final = str.maketrans("/\\", "__")
_FILLERS: Final = str.maketrans("", "", " -_.\t\u00a0\u2010\u2011\u2013")

_ENSEMBL: Final = re.compile(r"[_|:.\- ]*ENS[A-Z]{0,5}G\d{11}(?:\.\d+)?[_|:.\- ]*", re.IGNORECASE)
_GENOME: Final = re.compile(r"^(?:GRCh3[78]|GRCm3[89]|hg19|hg38|mm9|mm10|mm39)_+", re.IGNORECASE)
_PREFIX: Final = re.compile(
    r"^(?:adt|ab|prot|protein|hto|cite|anti[-_. ]?(?:human|mouse)?|hu|hs|mm|ms|humsrt|hums|\d{2,3}[A-Z][a-z]|"
    r"[A-Z][a-z]\d{2,3})[-_.: ]+",
    re.IGNORECASE,
)
_SUFFIX: Final = re.compile(
    r"(?:[-_.: ]*total[-_ ]?(?:seq)?[-_]?[abcd]?(?:[-_]?\d{2,5})?|[-_.: ]+(?:adt|ab|prot|protein|antibody)|"
    r"[-_.: ]+(?:cell|nuc|nuclei|nucleus|cytoplasm|cytosol|membrane)[-_ ]*(?:ring)?[-_ ]*(?:mask)?|"
    r"[-_.: ]+(?:mean|median|intensity)|[-_.]\d{1,2}|[ _-]*\([^()]*\))$",
    re.IGNORECASE,
)
_CLUSTER_OF_DIFFERENTIATION: Final = re.compile(r"^cd\d{1,3}[a-z]?$")


def case_key(name: str) -> str:
    """Return ``name`` trimmed and without regard to case."""
    return name.strip().casefold()


def slash_key(name: str) -> str:
    """Return :func:`case_key` with slashes as underscores."""
    return case_key(name).translate(_SLASHES)


def compact_key(name: str) -> str:
    """Return :func:`slash_key` without spaces, hyphens, underscores and dots, Greek letters spelt out."""
    return slash_key(name).translate(_LETTERS).translate(_FILLERS)


@dataclass(frozen=True, slots=True)
class AliasRow:
    """Gene symbols, names of their protein, and further symbols that only a name stands for."""

    genes: tuple[str, ...]
    names: tuple[str, ...]
    also: tuple[str, ...]


def _table_lines(file_name: str) -> Iterator[list[str]]:
    text = (resources.files("cellkey.hierarchy") / "data" / file_name).read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line and not line.startswith("#")]
    for line in rows[1:]:
        yield line.split("\t")


@cache
def alias_rows() -> tuple[AliasRow, ...]:
    """Return the bundled table of names."""
    return tuple(
        AliasRow(tuple(genes.split(",")), tuple(names.split("|")), tuple(also.split(",")) if also else ())
        for genes, names, also in _table_lines("aliases.tsv")
    )


@cache
def _alternatives() -> Mapping[str, tuple[str, ...]]:
    """Return, for the compact form of each known name, the other names that may stand for it, best first."""
    found: dict[str, dict[str, None]] = {}
    for row in alias_rows():
        for name in row.names:
            others = [*row.genes, *(n for n in row.names if n != name), *row.also]
            found.setdefault(compact_key(name), {}).update(dict.fromkeys(others))
    # A gene stands for a protein complex but not for the other genes of it: CD3D is not CD3E.
    for row in sorted(alias_rows(), key=lambda r: len(r.genes)):
        for gene in row.genes:
            found.setdefault(compact_key(gene), {}).update(dict.fromkeys(row.names))
    return MappingProxyType({key: tuple(names) for key, names in found.items()})


def aliases_of(name: str) -> tuple[str, ...]:
    """Return other names of a gene or protein, in order of preference; empty if none is known.

    Examples
    --------
    >>> aliases_of("CD3")[:3]
    ('CD3E', 'CD3D', 'CD3G')
    >>> aliases_of("cd20")[:1]
    ('MS4A1',)
    """
    return _alternatives().get(compact_key(name), ())


@cache
def _only_genes() -> Mapping[str, str]:
    genes: dict[str, set[str]] = {}
    for row in alias_rows():
        for name in row.names:
            genes.setdefault(compact_key(name), set()).update((*row.genes, *row.also))
    return {name: compact_key(next(iter(found))) for name, found in genes.items() if len(found) == 1}


def only_gene(name: str) -> str | None:
    """Return the gene, in compact form, of a protein that exactly one gene makes; None otherwise."""
    return _only_genes().get(compact_key(name))


@cache
def _orthologs() -> Mapping[str, tuple[str, ...]]:
    return MappingProxyType({human: tuple(mouse.split(",")) for human, mouse in _table_lines("orthologs.tsv")})


def ortholog_of(symbol: str) -> tuple[str, ...]:
    """Return mouse genes that stand in for a human symbol and are not spelt alike; empty if none is known."""
    return _orthologs().get(symbol.strip().upper(), ())


def stripped_forms(name: str) -> tuple[str, ...]:
    """Return the shorter names that a name of a measured variable may carry inside, nearest first.

    Genome prefixes (``GRCh38_CD3E``) and Ensembl ids (``CD3E_ENSG00000198851``) are always taken off. Marks
    of antibodies, channels and duplicates (``CD3_TotalSeqB``, ``adt_CD3``, ``170Er_CD3``, ``CD3_cellMask``,
    ``CD4-1``) are taken off only where a known protein is left, so that ``NKX2-1`` never becomes ``NKX2``.
    """
    forms: list[str] = []
    plain = _GENOME.sub("", _ENSEMBL.sub("", name))
    if plain and plain != name:
        forms.append(plain)
    current = plain or name
    for _ in range(3):
        shorter = _SUFFIX.sub("", current) or current
        if shorter == current:
            shorter = _PREFIX.sub("", current) or current
        if shorter == current:
            break
        current = shorter
        if _is_protein_name(current):
            forms.append(current)
    return tuple(forms)


def _is_protein_name(name: str) -> bool:
    key = compact_key(name)
    return bool(_CLUSTER_OF_DIFFERENTIATION.match(key)) or key in _alternatives()
