"""Consensus of sources of calls: their labels mapped to one hierarchy, their votes, and where they meet."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.calls.calibration import Calibration, bundled_calibration
from cellkey.calls.call import UNASSIGNED
from cellkey.calls.consensus import Consensus, ConsensusRules, Vote, find_consensus, rate_sources, vote_weights
from cellkey.calls.label_mapping import LabelMapper, MappedLabel
from cellkey.errors import InputError
from cellkey.profiles.profile import natural_key
from cellkey.records.consensus_tables import CONSENSUS, CONSENSUS_LABELS, CONSENSUS_VOTES
from cellkey.records.vocabulary import LabelMatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

    from cellkey.hierarchy.ontology import Ontology
    from cellkey.hierarchy.tree import Hierarchy

__all__ = ["Agreement", "Source", "Statement", "agree", "consensus_measurements"]


@dataclass(frozen=True, slots=True)
class Statement:
    """What a source says about a cluster, or about some of its cells.

    Attributes
    ----------
    label
        As the source wrote it; empty if it says nothing.
    path
        Labels from a top-level type down, where the source knows them; empty otherwise.
    ontology_id
        Cell Ontology id that came with the label; may be empty.
    confidence
        Probability (0 to 1) of being right at each level of ``path``; empty where the source gives none.
    share, n_cells
        Share (0 to 1) of the source's cells in the cluster, and their number (0 if unknown).
    voice
        Less than 1 where repeats of the same method look at the same cells; see
        :attr:`~cellkey.calls.consensus.Vote.voice`.
    """

    label: str
    path: tuple[str, ...] = ()
    ontology_id: str = ""
    confidence: tuple[float, ...] = ()
    share: float = 1.0
    n_cells: int = 0
    voice: float = 1.0


@dataclass(frozen=True, slots=True)
class Source:
    """A source of calls: a method, a model, a reference-based tool, a person.

    Attributes
    ----------
    name
        Shown in tables; must differ between sources.
    statements
        By cluster.
    terms
        Cell Ontology ids of its own hierarchy, by path as text.
    method
        Method and hierarchy behind it: what two sources with the same ``method`` say of the same cells rests on the
        same evidence. Empty for a source like no other.
    """

    name: str
    statements: Mapping[str, Sequence[Statement]]
    terms: Mapping[str, str] = field(default_factory=dict)
    method: str = ""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Result of :func:`agree`.

    Attributes
    ----------
    consensus
        By cluster, in natural order.
    tables
        ``consensus``, ``consensus_votes`` and ``consensus_labels``.
    messages
        What could not be mapped, as sentences.
    """

    consensus: Mapping[str, Consensus]
    tables: Mapping[str, pd.DataFrame]
    messages: tuple[str, ...] = ()

    def __repr__(self) -> str:
        table = self.tables["consensus"]
        width = max([5, *(len(x) for x in table["label"])])
        lines = [f"{'cluster':>7}  {'consensus':<{width}}  {'agreement':>9}  {'confidence':>10}  stopped"]
        lines += [
            f"{r['cluster_id']:>7}  {r['label']:<{width}}  {r['agreement']:>9.2f}  {r['confidence']:>10.2f}  "
            f"{r['stop_reason']}" + (f" (rival {r['rival_label']})" if r["rival_label"] else "")
            for r in table.to_dict("records")
        ]
        return "\n".join(lines)


def agree(
    sources: Sequence[Source],
    hierarchy: Hierarchy,
    *,
    rules: ConsensusRules | None = None,
    aliases: Mapping[str, str] | None = None,
    ontology: Ontology | None = None,
    n_cells: Mapping[str, int] | None = None,
    calibration: Calibration | None = None,
) -> Agreement:
    """Return the consensus of several sources on every cluster.

    Parameters
    ----------
    sources
        At least two, with different names.
    hierarchy
        All labels are mapped to this tree; see :class:`~cellkey.calls.label_mapping.LabelMapper`.
    rules
        See :class:`~cellkey.calls.consensus.ConsensusRules`; the defaults if None.
    aliases, ontology
        Further names, and the ontology to map ids by; the terms of the built-in hierarchies if None.
    n_cells
        Cells per cluster, where they are known.
    calibration
        Turns support into the probability of being right; that of the package if None.

    Raises
    ------
    InputError
        If there are fewer than two sources, two of one name, or no cluster at all.
    """
    names = [s.name for s in sources]
    if len(names) < 2 or len(set(names)) < len(names):
        msg = f"a consensus needs two sources or more with different names, got {', '.join(names) or 'none'}"
        raise InputError(msg)
    clusters = sorted({c for s in sources for c in s.statements}, key=natural_key)
    if not clusters:
        msg = "no source names a cluster"
        raise InputError(msg)
    rules = rules or ConsensusRules()
    mapper = LabelMapper(hierarchy, aliases, ontology)
    said = {
        c: [(s, x, _mapped(mapper, s, x)) for s in sources for x in s.statements.get(c, (Statement(""),))]
        for c in clusters
    }
    votes_of = {c: [_vote(*one) for one in own] for c, own in said.items()}
    if rules.weights == "confidence" and rules.unrated is None:
        votes_of = rate_sources(votes_of)
    found = {c: find_consensus(votes, hierarchy, rules) for c, votes in votes_of.items()}
    rows = [row for c in clusters for row in _vote_rows(c, said[c], votes_of[c], found[c], rules)]
    label_table = _label_table(sources, mapper)
    fitted = calibration or bundled_calibration()
    tables = {
        "consensus": CONSENSUS.frame([
            _row(c, found[c], _confidence(found[c], votes_of[c], fitted), hierarchy, (n_cells or {}).get(c, 0))
            for c in clusters
        ]),
        "consensus_votes": CONSENSUS_VOTES.frame(rows),
        "consensus_labels": label_table,
    }
    return Agreement(found, tables, tuple(_messages(label_table)))


def consensus_measurements(outcome: Consensus, votes: Iterable[Vote]) -> dict[str, Any]:
    """Return what calibration looks at, one value per level of a consensus; all from 0 to 1, higher is firmer.

    ``support`` is the least share, down to the level, of the weight that speaks for the path. ``confidence`` is
    the mean confidence of the votes for the level (a half for one that gives none), ``voices`` n / (n + 1) for n
    sources that speak for it, and ``breadth`` 1 / (1 + level).
    """
    cast = [v for v in votes if v.path]
    for_level = [[v for v in cast if v.path[: k + 1] == outcome.path[: k + 1]] for k in range(len(outcome.path))]
    mean = [
        np.average([v.confidence[k] if len(v.confidence) > k and v.confidence[k] == v.confidence[k] else 0.5
                    for v in chosen], weights=[v.share * v.voice for v in chosen])
        for k, chosen in enumerate(for_level)
    ]
    voices = np.array([len({v.source for v in chosen}) for chosen in for_level], dtype=np.float64)
    return {
        "support": np.minimum.accumulate(np.array(outcome.support, dtype=np.float64)),
        "confidence": np.array(mean, dtype=np.float64),
        "voices": voices / (voices + 1.0),
        "breadth": 1.0 / (1.0 + np.arange(len(outcome.path))),
    }


def _mapped(mapper: LabelMapper, source: Source, said: Statement) -> MappedLabel:
    if said.path and not said.ontology_id:
        return replace(mapper.along(said.path, source.terms), label=said.label)
    return mapper(said.label, said.ontology_id)


def _vote(source: Source, said: Statement, mapped: MappedLabel) -> Vote:
    path = mapped.path
    if not said.confidence or not path:
        return Vote(source.name, path, share=said.share, voice=said.voice)
    # Levels of the source's own path may be fewer or more than those of the hierarchy: the ends correspond.
    own = said.confidence
    if len(own) < len(path):
        own = (own[0],) * (len(path) - len(own)) + own
    confidence = own[: len(path)] if said.path[: len(path)] == path else (*own[: len(path) - 1], own[-1])
    return Vote(source.name, path, confidence, said.share, said.voice)


def _vote_rows(
    cluster: str, said: Sequence[tuple[Source, Statement, MappedLabel]], votes: Sequence[Vote], outcome: Consensus,
    rules: ConsensusRules,
) -> list[dict[str, Any]]:
    cast = [v for v in votes if v.path]
    weight = {id(v): w[-1] for v, w in zip(cast, vote_weights(cast, rules), strict=True)}
    return [
        {
            "cluster_id": cluster, "source": source.name, "label": statement.label, "path": " / ".join(vote.path),
            "match": mapped.match, "share": statement.share, "voice": statement.voice,
            "confidence": vote.confidence[-1] if vote.confidence else np.nan,
            "weight": weight.get(id(vote), 0.0), "agrees": _on_line(vote.path, outcome.path),
        }
        for (source, statement, mapped), vote in zip(said, votes, strict=True)
    ]


def _on_line(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    n = min(len(first), len(second))
    return n > 0 and first[:n] == second[:n]


def _confidence(outcome: Consensus, votes: Sequence[Vote], calibration: Calibration) -> float:
    fitted = calibration.maps.get("consensus")
    if fitted is None or not outcome.path:
        return float("nan")
    return float(fitted.probability(consensus_measurements(outcome, votes)).min())


def _row(
    cluster: str, outcome: Consensus, confidence: float, hierarchy: Hierarchy, n_cells: int
) -> dict[str, Any]:
    path = outcome.path
    above = [] if not path else [hierarchy[path], *reversed(hierarchy.ancestors(path))]
    return {
        "cluster_id": cluster, "label": path[-1] if path else UNASSIGNED, "path": " / ".join(path),
        "level": len(path) - 1, "ontology_term_id": next((n.ontology_id for n in above if n.ontology_id), ""),
        "status": outcome.status, "stop_reason": outcome.stop, "n_sources": outcome.n_sources,
        "n_abstained": outcome.n_abstained, "support": min(outcome.support, default=np.nan),
        "agreement": outcome.agreeing, "rival_label": outcome.rival[-1] if outcome.rival else "",
        "rival_share": outcome.rival_share, "confidence": confidence, "n_cells": n_cells,
    }


def _label_table(sources: Sequence[Source], mapper: LabelMapper) -> pd.DataFrame:
    clusters: dict[tuple[str, str, tuple[str, ...], str], list[int]] = defaultdict(lambda: [0, 0])
    mapped: dict[tuple[str, str, tuple[str, ...], str], MappedLabel] = {}
    for source in sources:
        for statements in source.statements.values():
            for said in statements:
                key = (source.name, said.label, said.path, said.ontology_id)
                if key not in mapped:
                    mapped[key] = _mapped(mapper, source, said)
                clusters[key][0] += 1
                clusters[key][1] += said.n_cells
    unmapped_first = sorted(mapped, key=lambda k: (mapped[k].match is not LabelMatch.UNMAPPED, k))
    return CONSENSUS_LABELS.frame([
        {
            "source": k[0], "label": k[1], "path": " / ".join(mapped[k].path), "match": mapped[k].match,
            "n_clusters": clusters[k][0], "n_cells": clusters[k][1], "close_matches": ";".join(mapped[k].close),
        }
        for k in unmapped_first
    ])


def _messages(labels: pd.DataFrame) -> Iterable[str]:
    for source, rows in labels[labels["match"] == LabelMatch.UNMAPPED].groupby("source", sort=True):
        shown = [_shown(r) for r in rows.head(5).to_dict("records")]
        more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
        yield (f"{len(rows)} label(s) of {source} are not in the hierarchy and count as abstentions: "
               f"{', '.join(shown)}{more}. An alias table maps them.")


def _shown(row: Mapping[Any, Any]) -> str:
    close = row["close_matches"].replace(";", ", ")
    return f"{row['label']!r}" + (f" (like {close}?)" if close else "")
