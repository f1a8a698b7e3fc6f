"""Which measured variable each listed gene or protein is.

Rules, first match wins: the exact name; the name without regard to case and outer spaces; slashes as
underscores, and then without spaces, hyphens, underscores and dots; other names of the same gene or protein;
and all of that again in a column of symbols that the variables carry (needed when they are named by Ensembl
ids). Ties are broken by the name of the variable, never by its position.
"""

from __future__ import annotations

import difflib
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Literal

from cellkey.errors import InputError, MissingGenesError, Problem
from cellkey.hierarchy.aliases import (
    aliases_of,
    case_key,
    compact_key,
    ortholog_of,
    slash_key,
    stripped_forms,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pandas as pd

    from cellkey.records.schema import TableSchema

__all__ = ["SYMBOL_COLUMNS", "How", "Resolution", "no_marker_measured", "resolution_schema", "resolve_names"]

How = Literal["exact", "case", "punctuation", "alias", "var_column"]

SYMBOL_COLUMNS: Final = (
    "gene_symbols", "gene_name", "gene_short_name", "feature_name", "symbol",
    "gene_symbol", "gene_names", "genesymbol", "hgnc_symbol", "mgi_symbol", "symbols",
)  # fmt: skip
"""Columns of variables that may hold gene symbols, in the order they are tried, in lower case."""

_ENSEMBL: Final = re.compile(r"^ENS(?P<species>[A-Z]{0,5}?)(?P<kind>[GT])\d{11}(?P<version>\.\d+)?$")
_ENSEMBL_VERSION: Final = re.compile(r"\.\d+$")
_SPECIES_OF: Final = {
    "": "human",
    "MUS": "mouse",
    "RNO": "rat",
    "DAR": "zebrafish",
    "MMU": "macaque",
    "SSC": "pig",
}
_MOUSE_STYLE: Final = re.compile(r"^[A-Z][a-z][A-Za-z0-9.\-]*$|^[A-Z]\d*[a-z][a-z0-9.\-]*$")


@dataclass(frozen=True, slots=True)
class Resolution:
    """What became of each listed name.

    Attributes
    ----------
    listed
        The names asked for, each once, in the order given.
    found
        Listed name to the name of the variable.
    how
        Listed name to the rule that found it: ``exact``, ``case``, ``punctuation``, ``alias`` or
        ``var_column``.
    missing
        Listed names without a variable.
    n_vars
        Number of variables searched.
    notes
        What a user should know of: Ensembl ids, mouse symbols, few names found.
    """

    listed: tuple[str, ...]
    found: Mapping[str, str]
    how: Mapping[str, How]
    missing: tuple[str, ...]
    n_vars: int
    notes: tuple[str, ...] = ()
    _closest: _Closest = field(repr=False, compare=False, default_factory=lambda: _Closest(()))

    def variables(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the distinct variables of ``names`` in their order; two names of one variable count once."""
        return tuple(dict.fromkeys(self.found[n] for n in names if n in self.found))

    def unresolved(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return those of ``names`` that have no variable, in their order."""
        return tuple(n for n in names if n not in self.found)

    def repeated(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return those of ``names`` whose variable an earlier one of them already stands for."""
        seen: set[str] = set()
        again = []
        for name in names:
            variable = self.found.get(name)
            if variable is not None and variable in seen:
                again.append(name)
            seen.add(variable or "")
        return tuple(again)

    def close(self, name: str, n: int = 3) -> tuple[str, ...]:
        """Return up to ``n`` measured names that look like ``name``, closest first."""
        return tuple(candidate for candidate, _ in self._closest.to(name, n))

    def closest_overall(self, n: int = 10) -> tuple[tuple[str, str], ...]:
        """Return the ``n`` closest pairs of missing and measured name, closest first."""
        pairs = [(-score, name, c) for name in self.missing for c, score in self._closest.to(name, 1)]
        return tuple((name, candidate) for _, name, candidate in sorted(pairs)[:n])

    def table(self) -> pd.DataFrame:
        """Return one row per listed name; the columns are those of :func:`resolution_schema`."""
        rows = [
            {
                "listed": name,
                "variable": self.found.get(name, ""),
                "how": self.how.get(name, "missing"),
                "close_matches": () if name in self.found else self.close(name),
            }
            for name in self.listed
        ]
        return resolution_schema().frame(rows)

    def summary(self) -> str:
        """Return one line: how many were found, and by which rule."""
        counts = Counter(self.how.values())
        by_rule = ", ".join(f"{counts[rule]} by {_RULE_TEXT[rule]}" for rule in _RULE_TEXT if counts[rule])
        text = f"{len(self.found)} of {len(self.listed)} listed names are among the {self.n_vars:,} variables"
        return f"{text} ({by_rule})" if by_rule else text


_RULE_TEXT: Final[dict[How, str]] = {
    "exact": "exact name",
    "case": "case",
    "punctuation": "punctuation",
    "alias": "alias",
    "var_column": "symbol column",
}


def resolution_schema() -> TableSchema:
    """Return the schema of the table that tells which variable each listed marker is."""
    from cellkey.records.schema import Column, TableSchema

    return TableSchema(
        "marker_resolution.csv",
        "Which measured variable each listed marker is.",
        (
            Column("listed", "string", "Name as the hierarchy lists it."),
            Column("variable", "string", "Name of the measured variable; empty if there is none."),
            Column("how", "string", "Rule that found it.", (*_RULE_TEXT, "missing")),
            Column("close_matches", "list", "Measured names that look alike, for names without a variable."),
        ),
    )


def resolve_names(
    names: Iterable[str],
    var_names: Sequence[str],
    *,
    var_columns: Mapping[str, Sequence[str]] | None = None,
    species: str | None = None,
) -> Resolution:
    """Find the measured variable of each listed gene or protein.

    Parameters
    ----------
    names
        Names as a hierarchy lists them.
    var_names
        Names of the measured variables.
    var_columns
        Columns that describe the variables, each as long as ``var_names``. Only those that may hold gene
        symbols (:data:`SYMBOL_COLUMNS`) are used, so a whole ``adata.var`` may be given.
    species
        ``"human"``, ``"mouse"`` or None to recognise it from the names. For mouse, genes whose symbol is not
        the human one in other letters (HLA-DRA, CD8B, LYZ) are looked up as well.

    Returns
    -------
    Resolution
        With what was found, by which rule, what is missing, and notes. Nothing is raised for missing names.
    """
    variables = [str(v) for v in var_names]
    listed = tuple(dict.fromkeys(names))
    columns = _symbol_columns(var_columns or {}, len(variables))
    looks_like = guess_species(next(iter(columns.values()), variables))
    search = _Search(variables, columns, mouse=(species or looks_like) == "mouse")
    hits = {name: hit for name in listed if (hit := search.find(name)) is not None}
    found = {name: variable for name, (variable, _) in hits.items()}
    how = {name: rule for name, (_, rule) in hits.items()}
    missing = tuple(name for name in listed if name not in hits)
    searched = [*variables, *(s for symbols in columns.values() for s in symbols)]
    notes = tuple(_notes(listed, found, how, variables, columns, species, looks_like))
    return Resolution(listed, found, how, missing, len(variables), notes, _Closest(tuple(searched)))


def guess_species(names: Sequence[str]) -> str | None:
    """Return the species that Ensembl ids or the letters of gene symbols tell of, None if they do not.

    Symbols tell only in number: at least 50 names with letters are needed, nine tenths of them in one style.
    """
    ids = [match["species"] for n in names[:2000] if (match := _ENSEMBL.match(n))]
    if len(ids) > 0.5 * len(names[:2000]):
        return _SPECIES_OF.get(Counter(ids).most_common(1)[0][0])
    worded = [n for n in names if (len(n) > 1 and n[:2].isalpha()) or sum(c.isalpha() for c in n[:4]) >= 2]
    if len(worded) < 50:
        return None
    mixed = [n for n in worded if n != n.upper()]
    lower = sum(_MOUSE_STYLE.match(n) is not None for n in mixed) / len(worded)
    upper = (len(worded) - len(mixed) + sum(map(_is_open_reading_frame, mixed))) / len(worded)
    return "mouse" if lower > 0.7 else "human" if upper > 0.9 else None


def _is_open_reading_frame(name: str) -> bool:
    return re.match(r"^C[\dXY]+orf\d+", name) is not None


def no_marker_measured(
    resolution: Resolution, source: str = "the marker map", elsewhere: Iterable[str] = ()
) -> MissingGenesError:
    """Return the error that says that no listed marker is measured, where else they are, and the closest names."""
    pairs = resolution.closest_overall(10)
    problems = [Problem(text) for text in elsewhere]
    problems += [Problem(f"closest measured name is {measured!r}", repr(name)) for name, measured in pairs]
    problems += [Problem(note) for note in resolution.notes]
    first = ", ".join(resolution.listed[:5])
    message = (
        f"none of the {len(resolution.listed)} markers of {source} (such as {first}) is among the "
        f"{resolution.n_vars:,} measured variables; expected gene symbols or protein names"
    )
    return MissingGenesError(message, problems)


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
    return (_ENSEMBL_VERSION.sub("", name),) if _ENSEMBL.match(name) else stripped_forms(name)


class _Search:
    """All rules in order over the names of the variables, then over their columns of symbols."""

    def __init__(self, variables: Sequence[str], columns: Mapping[str, Sequence[str]], *, mouse: bool) -> None:
        self._own = _Index(variables)
        self._columns = [_Index(variables, symbols) for symbols in columns.values()]
        self._mouse = mouse

    def find(self, name: str) -> tuple[str, How] | None:
        hit = self._own.find(name)
        if hit is not None:
            return hit
        others = [_ENSEMBL_VERSION.sub("", name)] if _ENSEMBL.match(name) else []
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


def _symbol_columns(columns: Mapping[str, Sequence[str]], n_vars: int) -> dict[str, list[str]]:
    by_folded = {str(c).casefold(): str(c) for c in columns}
    names = [by_folded[c] for c in SYMBOL_COLUMNS if c in by_folded]
    sizes = {c: len(columns[c]) for c in names}
    wrong = [Problem(f"has {n} values for {n_vars} variables", c) for c, n in sizes.items() if n != n_vars]
    if wrong:
        msg = "columns that describe the variables must have one value per variable"
        raise InputError(msg, wrong)
    return {c: [str(v) for v in columns[c]] for c in names}


def _notes(
    listed: Sequence[str],
    found: Mapping[str, str],
    how: Mapping[str, How],
    variables: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    species: str | None,
    looks_like: str | None,
) -> Iterator[str]:
    n_ids = sum(_ENSEMBL.match(v) is not None for v in variables if v.startswith("ENS"))
    # Ordinary data hold some ids as well, for genes without a symbol; then they explain nothing.
    explains = n_ids > 0.1 * len(variables) and len(found) < 0.7 * len(listed)
    if variables and (n_ids > 0.5 * len(variables) or explains):
        yield from _ensembl_notes(listed, variables, columns, how)
    yield from _species_notes(listed, found, how, species, looks_like)
    if len(listed) >= 10 and 0 < len(found) < 0.3 * len(listed):
        yield (
            f"only {len(found)} of {len(listed)} listed markers are measured; many nodes will lack coverage: "
            "check the names, or restrict the hierarchy to the panel"
        )


def _ensembl_notes(
    listed: Sequence[str],
    variables: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    how: Mapping[str, How],
) -> Iterator[str]:
    if any(_ENSEMBL.match(name) for name in listed):
        return
    ids = [v for v in variables if _ENSEMBL.match(v)]
    example = ids[0]
    many = "" if len(ids) == len(variables) else f"{len(ids):,} of {len(variables):,} "
    used = sum(rule == "var_column" for rule in how.values())
    if used:
        columns_text = " or ".join(map(repr, columns))
        yield f"{many}variables are named by Ensembl ids ({example}); symbols were taken from {columns_text}"
    elif (match := _ENSEMBL.match(example)) and match["kind"] == "T":
        yield f"variables are transcripts ({example}), not genes: sum them by gene first"
    else:
        yield (
            f"{many}variables are named by Ensembl ids ({example}) and the hierarchy by symbols; give the "
            "symbols in a column such as var['gene_symbols'], or rename: "
            "adata.var_names = adata.var['<column of symbols>']"
        )


def _species_notes(
    listed: Sequence[str],
    found: Mapping[str, str],
    how: Mapping[str, How],
    species: str | None,
    looks_like: str | None,
) -> Iterator[str]:
    if species and looks_like and species != looks_like:
        yield f"the data were said to be from {species}, but the variables look like {looks_like}"
    capital = [n for n in listed if n == n.upper()]
    titled = [n for n in capital if how.get(n) == "case" and _MOUSE_STYLE.match(found[n])]
    if looks_like == "mouse" and len(capital) > 0.5 * len(listed):
        shown = f" ({titled[0]} is {found[titled[0]]})" if titled else ""
        yield (
            "the variables look like mouse genes and the hierarchy like human ones: names were compared "
            f"without regard to case{shown}, and known mouse counterparts looked up; check markers that "
            "differ between species"
        )
    elif looks_like == "human" and sum(_MOUSE_STYLE.match(n) is not None for n in listed) > 0.7 * len(listed):
        yield (
            "the variables look like human genes and the hierarchy like mouse ones: names were compared "
            "without regard to case; check markers that differ between species"
        )


class _Closest:
    """Nearest names by shared pairs of letters, then by :mod:`difflib`; indexed when first needed."""

    _n_candidates: Final = 12

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    @cached_property
    def _folded(self) -> list[tuple[str, str]]:
        return sorted({(compact_key(n), n) for n in self._names if not _ENSEMBL.match(n)})

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
