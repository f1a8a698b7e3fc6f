"""Hierarchies from tables: ScType, PanglaoDB, CellMarker, CellTypist's encyclopedia, plain lists, GMT.

Each reader takes rows as dicts of text and adds drafts; the header decides which one is used.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from cellkey.errors import did_you_mean
from cellkey.hierarchy.cell_type import PATH_SEPARATOR, Path, label_problem
from cellkey.hierarchy.draft import Draft, DraftHierarchy, ListedName

if TYPE_CHECKING:
    from cellkey.hierarchy.findings import Findings

__all__ = ["Row", "TableOptions", "is_table_header", "read_gmt", "read_table_rows", "rows_of_text"]

Row: TypeAlias = tuple[int, Mapping[str, str]]
"""Line (or row) number and the cells by column."""


@dataclass(frozen=True, slots=True)
class TableOptions:
    """What to take from a table that covers many tissues or species.

    Attributes
    ----------
    tissue
        Keep rows of this tissue or organ (compared without regard to case); None keeps all, with the tissue
        as root.
    species
        ``"human"`` or ``"mouse"``, for tables with both.
    min_sensitivity, max_specificity_loss
        PanglaoDB only. Keep markers seen in at least this share of cells of the type, and seen in at most
        this share of cells of other types (the table calls that column specificity). None keeps all.
    canonical_only
        PanglaoDB only. Keep rows marked as canonical.
    """

    tissue: str | None = None
    species: str | None = None
    min_sensitivity: float | None = None
    max_specificity_loss: float | None = None
    canonical_only: bool = False


def rows_of_text(text: str) -> tuple[list[str], list[Row]]:
    """Return header and rows of text separated by tabs, commas or semicolons (Excel in many countries), with lines."""
    first = text.split("\n", 1)[0]
    plain = ";" if first.count(";") > first.count(",") else ","
    reader = csv.reader(io.StringIO(text), delimiter="\t" if "\t" in first else plain)
    header = [cell.strip() for cell in next(reader, [])]
    rows: list[Row] = [
        (reader.line_num, dict(zip(header, (c.strip() for c in cells), strict=False))) for cells in reader if cells
    ]
    return header, rows


def read_table_rows(
    header: Sequence[str], rows: Iterable[Row], options: TableOptions, findings: Findings
) -> DraftHierarchy:
    """Return the hierarchy of a marker table; the header tells which kind it is."""
    for shape in _SHAPES:
        names = shape.roles(header)
        if names is not None:
            renamed = ((line, {role: row.get(c, "") for role, c in names.items()}) for line, row in rows)
            collector = _Collector(options, findings)
            shape.read(renamed, collector)
            return collector.draft()
    shown = ", ".join(header[:8])
    findings.error(
        f"the columns ({shown}) are those of no known marker table",
        1,
        fix="expected for example cell_type and gene, or tissueType, cellName and geneSymbolmore1",
    )
    return DraftHierarchy()


def is_table_header(header: Sequence[str]) -> bool:
    """Whether these columns are those of a marker table that can be read."""
    return any(shape.roles(header) is not None for shape in _SHAPES)


def read_gmt(text: str, findings: Findings) -> DraftHierarchy:
    """Return the hierarchy of a GMT text: name, description, genes; levels of a name are separated by ' / '.

    Programs whose description is ``parent: NAME`` or ``parent=NAME`` are put below the program of that name.
    Parents that have no line of their own become groups. Names that end in ``(anti)`` give the anti-markers
    of a program.
    """
    listed: list[tuple[int, str, str, list[str]]] = []
    for line, text_line in enumerate(text.splitlines(), 1):
        if not text_line.strip() or text_line.startswith("#"):
            continue
        cells = [c.strip() for c in text_line.split("\t")]
        if len(cells) < 2:  # without genes it is a group of other programs
            findings.error(
                "a GMT line needs a name, a description and genes, separated by tabs",
                line,
                fix="tabs may have become spaces",
            )
            continue
        listed.append((line, cells[0], cells[1], [c for c in cells[2:] if c]))
    collector = _Collector(TableOptions(), findings)
    paths = _gmt_paths(listed)
    for line, name, description, genes in listed:
        is_anti = name.endswith(_ANTI_MARK)
        path = paths[name.removesuffix(_ANTI_MARK)]
        node = collector.node(path, line)
        if description and not is_anti and _gmt_parent(description) is None and description.lower() != "na":
            node.settings.setdefault("description", description)
        collector.add(node, genes, line, anti=is_anti)
    return collector.draft()


_ANTI_MARK: Final = " (anti)"


def _gmt_parent(description: str) -> str | None:
    key, separator, value = description.partition("=" if "=" in description else ":")
    return value.strip() if separator and key.strip().casefold() == "parent" and value.strip() else None


def _gmt_paths(listed: Sequence[tuple[int, str, str, list[str]]]) -> dict[str, Path]:
    parents = {name.removesuffix(_ANTI_MARK): _gmt_parent(description) for _, name, description, _ in listed}
    paths: dict[str, Path] = {}
    for name in parents:
        chain, above = [name], parents[name]
        while above is not None and above not in chain:
            chain.append(above)
            above = parents.get(above)
        paths[name] = tuple(label for step in reversed(chain) for label in step.split(PATH_SEPARATOR))
    return paths


class _Collector:
    """Gathers nodes by path in order of appearance, merging rows of the same type."""

    def __init__(self, options: TableOptions, findings: Findings) -> None:
        self.options = options
        self.findings = findings
        self._nodes: dict[Path, Draft] = {}
        # For each node: names for it (False), against it (True), or listed on both sides (None).
        self._known: dict[Path, dict[str, bool | None]] = {}
        self._renamed: set[str] = set()
        self._tissues: dict[str, str] = {}
        self._found_tissue = False

    def keeps_tissue(self, tissue: str) -> bool:
        """Whether rows of this tissue are wanted."""
        self._tissues.setdefault(tissue.casefold(), tissue)
        wanted = self.options.tissue is None or tissue.casefold() == self.options.tissue.casefold()
        self._found_tissue |= wanted
        return wanted

    def above(self, tissue: str) -> Path:
        """Return the path under which types of a tissue stand: the tissue, unless one tissue was chosen."""
        return () if self.options.tissue is not None or not tissue else (self.label(tissue),)

    def label(self, text: str) -> str:
        """Return ``text`` as a label; what a label may not hold is replaced, and said once."""
        label = " ".join(text.split()).replace(PATH_SEPARATOR, "/").replace("~", "-").lstrip("_") or "unnamed"
        if label_problem(label):
            label += " cells"
        if label != text and text not in self._renamed:
            self._renamed.add(text)
            self.findings.note(f"label {text!r} was written as {label!r}")
        return label

    def node(self, path: Path, line: int) -> Draft:
        """Return the node of a path, made with its ancestors when new."""
        for depth in range(1, len(path) + 1):
            if path[:depth] not in self._nodes:
                self._nodes[path[:depth]] = Draft(path[:depth], line)
        return self._nodes[path]

    def add(self, node: Draft, names: Iterable[str], line: int, *, anti: bool = False) -> None:
        """Add markers to a node, each once; a name on both sides is left out of both, and said."""
        listed = node.anti_markers if anti else node.markers
        known = self._known.setdefault(node.path, {})
        for name in names:
            side = known.setdefault(name, anti)
            if side is not anti and side is not None:
                text = f"{name!r} is listed both for and against; it was left out"
                self.findings.warning(text, line, node.path)
                known[name] = None
            else:
                listed.append(ListedName(name, line))

    def draft(self) -> DraftHierarchy:
        """Return what was gathered, with the parents before their children."""
        if self.options.tissue is not None and not self._found_tissue and self._tissues:
            known = sorted(self._tissues.values())
            hint = did_you_mean(self.options.tissue, known)
            self.findings.error(
                f"tissue {self.options.tissue!r} is not in the table{hint}", fix=f"known: {', '.join(known)}"
            )
        for node in self._nodes.values():
            sides = self._known.get(node.path, {})
            for listed, side in ((node.markers, False), (node.anti_markers, True)):
                once: dict[str, ListedName] = {}
                for item in listed:
                    if sides[item.name] is side:
                        once.setdefault(item.name, item)
                listed[:] = once.values()
        return DraftHierarchy(nodes=list(self._nodes.values()))


def _split(text: str) -> Iterator[str]:
    for part in text.replace(";", ",").replace("|", ",").split(","):
        name = part.strip().strip("\u200b\ufeff")
        if name and name.casefold() not in ("na", "nan", "none"):
            yield name


def _read_sctype(rows: Iterable[Row], collector: _Collector) -> None:
    for line, row in rows:
        if not row["type"] or not collector.keeps_tissue(row["tissue"]):
            continue
        node = collector.node((*collector.above(row["tissue"]), collector.label(row["type"])), line)
        collector.add(node, _split(row["positive"]), line)
        collector.add(node, _split(row["negative"]), line, anti=True)
        if row["alias"]:
            node.settings.setdefault("aliases", (row["alias"],))


_SPECIES_WORDS: Final = {"human": ("hs", "human", "homo sapiens"), "mouse": ("mm", "mouse", "mus musculus")}


def _keeps_species(text: str, wanted: str | None) -> bool:
    if wanted is None or not text:
        return True
    words = _SPECIES_WORDS.get(wanted.casefold(), (wanted.casefold(),))
    folded = text.casefold()
    return folded in words or any(part in words for part in folded.split())


def _share(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _read_panglao(rows: Iterable[Row], collector: _Collector) -> None:
    options = collector.options
    suffix = "mouse" if (options.species or "human").casefold() == "mouse" else "human"
    for line, row in rows:
        if not row["type"] or not _keeps_species(row["species"], options.species):
            continue
        if not collector.keeps_tissue(row["tissue"] if row["tissue"] != "NA" else "Other"):
            continue
        if options.canonical_only and row["canonical"] != "1":
            continue
        sensitivity, others = _share(row[f"sensitivity_{suffix}"]), _share(row[f"specificity_{suffix}"])
        if options.min_sensitivity is not None and (sensitivity or 0.0) < options.min_sensitivity:
            continue
        limit = options.max_specificity_loss
        if limit is not None and (1.0 if others is None else others) > limit:
            continue
        tissue = row["tissue"] if row["tissue"] != "NA" else "Other"
        node = collector.node((*collector.above(tissue), collector.label(row["type"])), line)
        collector.add(node, [row["gene"]], line)


def _read_encyclopedia(rows: Iterable[Row], collector: _Collector) -> None:
    for line, row in rows:
        high, low = collector.label(row["high"]), collector.label(row["low"])
        # A row whose two levels agree describes the upper type itself.
        node = collector.node((high,) if high == low else (high, low), line)
        collector.add(node, _split(row["positive"]), line)
        if row["ontology"].startswith("CL:"):
            node.settings.setdefault("ontology_id", row["ontology"])
        if row["description"]:
            node.settings.setdefault("description", row["description"])


def _speaks_against(sign: str) -> bool:
    weight = _share(sign)
    return weight < 0 if weight is not None else sign.casefold() in ("negative", "neg", "-", "anti")


def _read_pairs(rows: Iterable[Row], collector: _Collector) -> None:
    for line, row in rows:
        if not row["type"] or not row["gene"] or not _keeps_species(row["species"], collector.options.species):
            continue
        if row["tissue"] and not collector.keeps_tissue(row["tissue"]):
            continue
        labels = [collector.label(part) for part in row["type"].split(PATH_SEPARATOR)]
        above = (collector.label(row["parent"]),) if row["parent"] else collector.above(row["tissue"])
        node = collector.node((*above, *labels), line)
        collector.add(node, _split(row["gene"]), line, anti=_speaks_against(row["sign"]))
        if row["ontology"].startswith("CL:"):
            node.settings.setdefault("ontology_id", row["ontology"])


@dataclass(frozen=True, slots=True)
class _Shape:
    """One kind of table: the columns of each role (lower case, alternatives in order), and its reader."""

    columns: Mapping[str, tuple[str, ...]]
    needed: tuple[str, ...]
    read: Callable[[Iterable[Row], _Collector], None]

    def roles(self, header: Sequence[str]) -> dict[str, str] | None:
        """Return the column of each role, empty where there is none; None if a needed one is missing."""
        folded = {h.casefold(): h for h in header}
        found = {role: next((folded[c] for c in choices if c in folded), "") for role, choices in self.columns.items()}
        return found if all(found[role] for role in self.needed) else None


_SHAPES: Final = (
    _Shape(
        {
            "tissue": ("tissuetype",),
            "type": ("cellname",),
            "positive": ("genesymbolmore1",),
            "negative": ("genesymbolmore2",),
            "alias": ("shortname",),
        },
        ("tissue", "type", "positive"),
        _read_sctype,
    ),
    _Shape(
        {
            "species": ("species",),
            "gene": ("official gene symbol",),
            "type": ("cell type",),
            "tissue": ("organ",),
            "canonical": ("canonical marker",),
            "sensitivity_human": ("sensitivity_human",),
            "sensitivity_mouse": ("sensitivity_mouse",),
            "specificity_human": ("specificity_human",),
            "specificity_mouse": ("specificity_mouse",),
        },
        ("gene", "type", "tissue"),
        _read_panglao,
    ),
    _Shape(
        {
            "high": ("high_hierarchy", "high-hierarchy cell types"),
            "low": ("low_hierarchy", "low-hierarchy cell types"),
            "positive": ("curated_markers", "curated markers"),
            "ontology": ("cell_ontology_id", "cell ontology id"),
            "description": ("description",),
        },
        ("high", "low", "positive"),
        _read_encyclopedia,
    ),
    _Shape(
        {
            "type": (
                "cell_type",
                "celltype",
                "cl_celltype",
                "cell type",
                "ct",
                "cell_name",
                "path",
                "source",
                "label",
            ),
            "gene": (
                "gene",
                "genes",
                "marker",
                "markers",
                "cell_marker",
                "symbol",
                "target",
                "genesymbol",
                "names",
            ),
            "sign": ("marker_type", "sign", "direction", "weight"),
            "parent": ("parent",),
            "tissue": ("tissue", "tissue_type", "uberon_tissue", "organ"),
            "species": ("species", "organism"),
            "ontology": ("cl_id", "cell_ontology_id", "ontology_id", "cell_type_ontology_term_id"),
        },
        ("type", "gene"),
        _read_pairs,
    ),
)
