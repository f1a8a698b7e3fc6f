"""Which measured variable each listed gene or protein is.

Rules, first match wins: the exact name; the name without regard to case and outer spaces; slashes as
underscores, and then without spaces, hyphens, underscores and dots; other names of the same gene or protein;
and all of that again in a column of symbols that the variables carry (needed when they are named by Ensembl
ids). Ties are broken by the name of the variable, never by its position.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cellkey.errors import InputError, MissingGenesError, Problem
from cellkey.hierarchy.close_names import CloseNames
from cellkey.hierarchy.name_search import NameSearch
from cellkey.hierarchy.naming_notes import naming_notes
from cellkey.hierarchy.species import guess_species

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

    from cellkey.hierarchy.name_search import How
    from cellkey.records.schema import TableSchema

__all__ = ["SYMBOL_COLUMNS", "Resolution", "no_marker_measured", "resolution_schema", "resolve_names"]

SYMBOL_COLUMNS: Final = (
    "gene_symbols", "gene_name", "gene_short_name", "feature_name", "symbol",
    "gene_symbol", "gene_names", "genesymbol", "hgnc_symbol", "mgi_symbol", "symbols",
)  # fmt: skip
"""Columns of variables that may hold gene symbols, in the order they are tried, in lower case."""


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
    _closest: CloseNames = field(repr=False, compare=False, default_factory=lambda: CloseNames(()))

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
    search = NameSearch(variables, columns, mouse=(species or looks_like) == "mouse")
    hits = {name: hit for name in listed if (hit := search.find(name)) is not None}
    found = {name: variable for name, (variable, _) in hits.items()}
    how = {name: rule for name, (_, rule) in hits.items()}
    missing = tuple(name for name in listed if name not in hits)
    searched = [*variables, *(s for symbols in columns.values() for s in symbols)]
    notes = tuple(naming_notes(listed, found, how, variables, columns, species, looks_like))
    return Resolution(listed, found, how, missing, len(variables), notes, CloseNames(tuple(searched)))


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


def _symbol_columns(columns: Mapping[str, Sequence[str]], n_vars: int) -> dict[str, list[str]]:
    by_folded = {str(c).casefold(): str(c) for c in columns}
    names = [by_folded[c] for c in SYMBOL_COLUMNS if c in by_folded]
    sizes = {c: len(columns[c]) for c in names}
    wrong = [Problem(f"has {n} values for {n_vars} variables", c) for c, n in sizes.items() if n != n_vars]
    if wrong:
        msg = "columns that describe the variables must have one value per variable"
        raise InputError(msg, wrong)
    return {c: [str(v) for v in columns[c]] for c in names}
