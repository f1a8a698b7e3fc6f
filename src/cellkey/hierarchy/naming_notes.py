"""What a user should know of the names in the data: Ensembl ids, mouse symbols, few markers found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellkey.hierarchy.species import ENSEMBL_ID, MOUSE_STYLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cellkey.hierarchy.name_search import How

__all__ = ["naming_notes"]


def naming_notes(
    listed: Sequence[str],
    found: Mapping[str, str],
    how: Mapping[str, How],
    variables: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    species: str | None,
    looks_like: str | None,
) -> Iterator[str]:
    n_ids = sum(ENSEMBL_ID.match(v) is not None for v in variables if v.startswith("ENS"))
    # Ordinary data hold some ids as well, for genes without a symbol; then they explain nothing.
    explains = n_ids > 0.1 * len(variables) and len(found) < 0.7 * len(listed)
    if variables and (n_ids > 0.5 * len(variables) or explains):
        yield from _ensembl_notes(listed, variables, columns, how)
    yield from _species_notes(listed, found, how, species, looks_like)
    if len(listed) >= 10 and 0 < len(found) < 0.3 * len(listed):
        yield (
            f"only {len(found)} of {len(listed)} listed markers are measured; many nodes will lack coverage: "
            "check the names, or cut the hierarchy down to the panel (cellkey keys compile)"
        )


def _ensembl_notes(
    listed: Sequence[str],
    variables: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    how: Mapping[str, How],
) -> Iterator[str]:
    if any(ENSEMBL_ID.match(name) for name in listed):
        return
    ids = [v for v in variables if ENSEMBL_ID.match(v)]
    example = ids[0]
    many = "" if len(ids) == len(variables) else f"{len(ids):,} of {len(variables):,} "
    used = sum(rule == "var_column" for rule in how.values())
    if used:
        columns_text = " or ".join(map(repr, columns))
        yield f"{many}variables are named by Ensembl ids ({example}); symbols were taken from {columns_text}"
    elif (match := ENSEMBL_ID.match(example)) and match["kind"] == "T":
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
    titled = [n for n in capital if how.get(n) == "case" and MOUSE_STYLE.match(found[n])]
    if looks_like == "mouse" and len(capital) > 0.5 * len(listed):
        shown = f" ({titled[0]} is {found[titled[0]]})" if titled else ""
        yield (
            "the variables look like mouse genes and the hierarchy like human ones: names were compared "
            f"without regard to case{shown}, and known mouse counterparts looked up; check markers that "
            "differ between species"
        )
    elif looks_like == "human" and sum(MOUSE_STYLE.match(n) is not None for n in listed) > 0.7 * len(listed):
        yield (
            "the variables look like human genes and the hierarchy like mouse ones: names were compared "
            "without regard to case; check markers that differ between species"
        )
