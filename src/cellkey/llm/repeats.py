"""How far repeated runs agree: the share of runs in which a label, and every type above it, holds.

The table is the ``confidence`` table of the scorers: there cells are drawn again, here the model is asked again, with
other genes in another order. What a model's answers have not is left empty: markers that are left out one by one, and
a probability that is calibrated on labelled data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellkey.llm.terms import CellTypeTerms, NoTerms, match_term, normalised_label
from cellkey.records.confidence_tables import CONFIDENCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from cellkey.llm.answers import AnnotationAnswer
    from cellkey.llm.results import ClusterResult

__all__ = ["METHOD", "repeat_shares"]

METHOD = "llm"

_SHARED_BY_ALL = 2
"""Terms with fewer terms above them (cell, and the like) hold for every cell and say nothing."""


def repeat_shares(clusters: Iterable[ClusterResult], terms: CellTypeTerms | None = None) -> pd.DataFrame:
    """Return the shares of every cluster that was run more than once, as a ``confidence`` table.

    ``share_held`` is the share of all runs, abstentions included, that named the type or a kind of it. A cluster
    without a label has one row of level -1, with the share of runs that named nothing.

    Where a label is a term of the ontology, the path leads through the terms above it (of several parents, the one
    with most terms above itself, ties by identifier). Elsewhere it is the general and the detailed type as named.

    Parameters
    ----------
    clusters
        Results.
    terms
        Ontology.
    """
    lookup = terms or NoTerms()
    return CONFIDENCE.frame([row for r in clusters if r.repeats for row in _rows(r, lookup)])


def _rows(result: ClusterResult, terms: CellTypeTerms) -> list[dict[str, Any]]:
    answers = [c.proposal for c in (result.case, *result.repeats)]
    held = [_held_names(a, terms) for a in answers]
    if not result.is_labelled:
        return [_row(result, -1, [], sum(not names for names in held) / len(held))]
    chain = _chain(result, terms)
    labels = [label for _, label in chain]
    shares = [sum(key in names for names in held) / len(held) for key, _ in chain]
    return [_row(result, level, labels, share) for level, share in enumerate(shares)]


def _row(result: ClusterResult, level: int, labels: list[str], share: float) -> dict[str, Any]:
    return {
        "cluster_id": result.cluster,
        "method": METHOD,
        "level": level,
        "label": labels[level] if labels else "",
        "path": " / ".join(labels[: level + 1]),
        "is_call": level == len(labels) - 1,
        "share_held": share,
        "share_held_without_marker": float("nan"),
        "fragile_marker": "",
        "n_resamples": 1 + len(result.repeats),
        "confidence": float("nan"),
    }


def _chain(result: ClusterResult, terms: CellTypeTerms) -> list[tuple[str, str]]:
    """Key and name of every type on the way to the label, broadest first."""
    found = match_term(result.label, terms)
    if found is None:
        names = dict.fromkeys([result.general_label, result.label])
        return [(_key(n, terms), n) for n in names]
    upward = _upward(found.id, terms)
    chain = [(t, terms.label(t)) for t in reversed(upward)]
    return chain if found.exact else [*chain, (normalised_label(result.label), result.label)]


def _upward(term: str, terms: CellTypeTerms) -> list[str]:
    """Terms from ``term`` up, one per step."""
    way = [term]
    while True:
        above = terms.ancestors(way[-1])
        parents = [a for a in above if not any(a in terms.ancestors(b) for b in above)]
        useful = [p for p in parents if len(terms.ancestors(p)) >= _SHARED_BY_ALL]
        if not useful:
            return way
        way.append(min(useful, key=lambda t: (-len(terms.ancestors(t)), t)))


def _held_names(answer: AnnotationAnswer | None, terms: CellTypeTerms) -> set[str]:
    """Keys of all types that hold if ``answer`` is right."""
    if answer is None or answer.unknown:
        return set()
    return _with_ancestors([answer.general_cell_type, answer.detailed_cell_type], terms)


def _with_ancestors(names: Sequence[str], terms: CellTypeTerms) -> set[str]:
    held: set[str] = set()
    for name in names:
        held.add(normalised_label(name))
        found = match_term(name, terms)
        if found is not None:
            held |= {found.id, *terms.ancestors(found.id)}
    return held


def _key(name: str, terms: CellTypeTerms) -> str:
    found = match_term(name, terms)
    return found.id if found is not None else normalised_label(name)
