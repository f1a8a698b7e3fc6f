"""Marker panels of the user's own: read from a folder, shown as evidence with their source, used by the rule checks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellkey.errors import InputError, Problem, did_you_mean
from cellkey.llm.evidence import Study, plain_text
from cellkey.llm.marker_files import read_frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cellkey.llm.evidence import ClusterEvidence
    from cellkey.llm.rule_checks import RuleChecks

__all__ = ["MarkerPanel", "fitting_panels", "read_panels", "with_panels"]

_ENDINGS = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
_REQUIRED = ("cell_type", "gene")
_COLUMNS = (*_REQUIRED, "direction", "tissue", "species", "source")
_UP, _DOWN = {"", "up", "+", "positive", "high", "present"}, {"down", "-", "negative", "low", "absent"}
_SPECIES = {"homo sapiens": "human", "h. sapiens": "human", "mus musculus": "mouse", "m. musculus": "mouse"}
_ANY = {"", "any", "all", "none"}

_SHOWN = 5
"""Panels shown per cluster, those with most genes found first."""


@dataclass(frozen=True, slots=True)
class MarkerPanel:
    """Genes that a type has (``up``) and lacks (``down``), and who says so.

    ``tissue`` and ``species`` are empty where the panel holds everywhere.
    """

    cell_type: str
    up: tuple[str, ...]
    down: tuple[str, ...] = ()
    tissue: str = ""
    species: str = ""
    source: str = ""


def read_panels(path: str | Path) -> tuple[MarkerPanel, ...]:
    """Return the panels in a folder of tables, or in one table.

    Parameters
    ----------
    path
        ``.csv``, ``.tsv`` or ``.txt``, gzipped or not, one row per gene: ``cell_type``, ``gene`` and, where given,
        ``direction`` (``up`` or ``down``), ``tissue``, ``species`` and ``source`` (the name of the file by default).

    Raises
    ------
    InputError
        With everything that is wrong in any of the files.
    """
    place = Path(path)
    files = [place]
    if place.is_dir():
        files = sorted(f for f in place.iterdir() if f.name.casefold().endswith(_ENDINGS) and f.name[0] not in "._")
    if not files:
        msg = f"{place} holds no table of markers (.csv, .tsv)"
        raise InputError(msg)
    problems: list[Problem] = []
    rows: dict[tuple[str, ...], tuple[list[str], list[str]]] = {}
    for file in files:
        for panel, gene, is_up in _rows(file, problems):
            rows.setdefault(panel, ([], []))[0 if is_up else 1].append(gene)
    if problems:
        msg = f"markers in {place} cannot be used"
        raise InputError(msg, problems)
    return tuple(
        MarkerPanel(name, tuple(dict.fromkeys(up)), tuple(dict.fromkeys(down)), *rest)
        for (name, *rest), (up, down) in rows.items()
    )


def _rows(file: Path, problems: list[Problem]) -> list[tuple[tuple[str, ...], str, bool]]:
    """Panel, gene and direction of every row of a file."""
    frame = read_frame(file).rename(columns=lambda c: str(c).strip().casefold().replace(" ", "_"))
    missing = [c for c in _REQUIRED if c not in frame]
    for column in missing:
        near, there = did_you_mean(column, map(str, frame.columns)), ", ".join(map(str, frame.columns))
        problems.append(Problem(f"no column {column!r}{near}; there are {there}", file.name))
    if missing:
        return []
    found: list[tuple[tuple[str, ...], str, bool]] = []
    for number, row in enumerate(frame.to_dict("records"), start=2):
        values = {c: str(row.get(c) or "").strip() for c in _COLUMNS}
        direction = values["direction"].casefold()
        if direction not in _UP | _DOWN:
            problems.append(Problem(f"direction is up or down, not {direction!r}", f"{file.name}, line {number}"))
        elif values["cell_type"] and values["gene"]:
            key = (values["cell_type"], values["tissue"], values["species"], values["source"] or file.stem)
            found.append((key, values["gene"], direction in _UP))
    return found


def fitting_panels(panels: Iterable[MarkerPanel], study: Study) -> tuple[MarkerPanel, ...]:
    """Return the panels that hold in the tissue and species of a study; a withheld tissue excludes none."""
    tissue = "" if study.is_blind or study.tissues else study.tissue
    return tuple(p for p in panels if _fits(p.tissue, tissue) and _fits(p.species, study.species))


def _fits(said: str, asked: str) -> bool:
    first, second = (_SPECIES.get(t.strip().casefold(), t.strip().casefold()) for t in (said, asked))
    return first in _ANY or second in _ANY or first in second or second in first


def with_panels(
    evidence: Mapping[str, ClusterEvidence], panels: Iterable[MarkerPanel], checks: RuleChecks
) -> dict[str, ClusterEvidence]:
    """Return the evidence of every cluster together with the panels that at least two of its genes speak for.

    A panel of a single gene needs one. Best first: most genes found, fewest found that the type lacks, then by name.
    """
    known = tuple(panels)
    if not known:
        return dict(evidence)
    return {c: replace(e, panels=_matches(c, fitting_panels(known, e.study), checks)) for c, e in evidence.items()}


def _matches(cluster: str, panels: tuple[MarkerPanel, ...], checks: RuleChecks) -> tuple[dict[str, Any], ...]:
    rows = []
    for panel in panels:
        found, against = checks.enriched(cluster, panel.up), checks.enriched(cluster, panel.down)
        if len(found) < min(2, len(panel.up)) or not found:
            continue
        row: dict[str, Any] = {
            "cell_type": plain_text(panel.cell_type, 120),
            "found": [plain_text(g) for g in found],
            "of": len(panel.up),
        }
        if against:
            row["found_but_lacking_in_this_type"] = [plain_text(g) for g in against]
        rows.append((-len(found), len(against), panel.cell_type, {**row, "source": plain_text(panel.source)}))
    return tuple(row for *_, row in sorted(rows, key=lambda item: item[:3])[:_SHOWN])
