"""Reading a hierarchy from a file, text, memory or the catalogue; and lint, which is the same."""

from __future__ import annotations

import gzip
import logging
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

from cellkey.errors import CellkeyWarning, HierarchyError, MissingDependencyError, did_you_mean
from cellkey.hierarchy.checks import check_draft
from cellkey.hierarchy.draft import DraftHierarchy
from cellkey.hierarchy.findings import Finding, Findings
from cellkey.hierarchy.located import Array, Located, Object, from_plain, from_yaml
from cellkey.hierarchy.located_json import from_json
from cellkey.hierarchy.map_form import read_list_form, read_map_form
from cellkey.hierarchy.tables import (
    Row,
    TableOptions,
    is_table_header,
    read_gmt,
    read_table_rows,
    rows_of_text,
)
from cellkey.hierarchy.tree import Hierarchy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ReadFormat", "Source", "lint_hierarchy", "read_hierarchy"]

Source: TypeAlias = "str | FilePath | Mapping[str, Any] | Sequence[Any] | Hierarchy"
ReadFormat = Literal["auto", "json", "yaml", "gmt", "table", "spreadsheet"]

_BY_SUFFIX: Final[Mapping[str, ReadFormat]] = {
    ".json": "json",
    ".jsonc": "json",
    ".json5": "json",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".gmt": "gmt",
    ".csv": "table",
    ".tsv": "table",
    ".xlsx": "spreadsheet",
}
_LARGEST_FILE: Final = 64 * 1024 * 1024
_BUILT_IN: Final = "built-in hierarchy"
_log = logging.getLogger(__name__)


def read_hierarchy(
    source: Source,
    format: ReadFormat = "auto",  # noqa: A002  (the name users know from pandas)
    *,
    name: str = "",
    tissue: str | None = None,
    species: str | None = None,
    min_sensitivity: float | None = None,
    max_specificity_loss: float | None = None,
    canonical_only: bool = False,
) -> Hierarchy:
    """Return the hierarchy that ``source`` holds.

    Parameters
    ----------
    source
        Path of a file (also compressed with gzip), JSON or YAML text, a mapping or list in memory, or the
        name of a built-in hierarchy (see :func:`cellkey.hierarchy.list_builtin`).
    format
        ``"auto"`` decides by the name of the file, then by its content. JSON and YAML hold a marker map (an
        object) or a list of programs; ``"table"`` is ScType, PanglaoDB, CellMarker, CellTypist's encyclopedia
        or a list of cell types and genes, told apart by their columns; ``"spreadsheet"`` is the same in xlsx.
    name
        Name of the hierarchy; by default the one it carries, else that of the file.
    tissue, species, min_sensitivity, max_specificity_loss, canonical_only
        What to take from a table of many tissues, see :class:`cellkey.hierarchy.TableOptions`.

    Raises
    ------
    HierarchyError
        If anything is wrong; one problem per finding, with line and node, all at once.

    Warns
    -----
    CellkeyWarning
        If something can be read but is probably not meant (for example a veto for a root that is not there).

    See Also
    --------
    lint_hierarchy : all findings as a list, without raising.
    write_hierarchy : the way back.

    Examples
    --------
    >>> cellkey.read_hierarchy({"T Cells": {"markers": ["CD3D"], "children": {"CD8 T Cells": {"markers": ["CD8A"]}}}})
    Hierarchy(2 cell types, 1 roots, 2 levels)
    >>> cellkey.read_hierarchy("immune_core").depth
    2
    """
    if isinstance(source, Hierarchy):
        return source
    options = TableOptions(tissue, species, min_sensitivity, max_specificity_loss, canonical_only)
    parsed = _parse(source, format, options)
    problems = parsed.findings.of("error")
    if problems:
        plural = "problem" if len(problems) == 1 else "problems"
        msg = f"{parsed.title} cannot be used: {len(problems)} {plural}"
        raise HierarchyError(msg, [f.as_problem() for f in problems])
    for finding in parsed.findings.of("note"):
        _log.info("%s: %s", parsed.title, finding)
    # What is known of a built-in hierarchy (some repeat published lists, weak ones included) is for lint to tell.
    cautions = [] if parsed.built_in else parsed.findings.of("warning")
    if cautions:
        warnings.warn(_caution_text(parsed.title, cautions), CellkeyWarning, stacklevel=2)
    parsed.draft.name = name or parsed.draft.name
    return parsed.draft.hierarchy()


def lint_hierarchy(
    source: Source,
    format: ReadFormat = "auto",  # noqa: A002
    *,
    tissue: str | None = None,
    species: str | None = None,
) -> list[Finding]:
    """Return all errors, warnings and notes about a hierarchy, errors first, then in the order of the file.

    This is the reading of :func:`read_hierarchy` without its last step, so a source without errors here can
    be read.

    Raises
    ------
    HierarchyError
        Only if there is nothing to read: no such file, or not text.

    Examples
    --------
    >>> for finding in cellkey.lint_hierarchy({"T Cells": {"markers": ["CD3D", "CD3D"]}}):
    ...     print(finding.severity, finding.message)
    error marker 'CD3D' is listed more than once
    """
    if isinstance(source, Hierarchy):
        source = source.to_dict()
    return _parse(source, format, TableOptions(tissue, species)).findings.sorted()


def _caution_text(title: str, cautions: Sequence[Finding]) -> str:
    shown = [f"  - {c}" for c in cautions[:10]]
    more = [f"  ... and {len(cautions) - 10} more"] if len(cautions) > 10 else []
    return "\n".join([f"{title} was read, but has {len(cautions)} thing(s) that may not be meant", *shown, *more])


@dataclass(slots=True)
class _Parsed:
    title: str
    draft: DraftHierarchy
    findings: Findings
    built_in: bool = False


def _parse(source: Source, form: ReadFormat, options: TableOptions) -> _Parsed:
    if form not in get_args(ReadFormat):
        msg = f"format {form!r} is not known{did_you_mean(form, get_args(ReadFormat))}"
        raise HierarchyError(msg)
    findings = Findings()
    if isinstance(source, str | FilePath):
        title, stem, draft = _parse_named(source, form, options, findings)
    else:
        title, stem = "the hierarchy", ""
        draft = _from_located(from_plain(source), findings)
    if not findings.of("error") or draft.nodes:
        check_draft(draft, findings)
    if not draft.name and not draft.metadata.get("name"):
        draft.name = stem
    return _Parsed(title, draft, findings, title.startswith(_BUILT_IN))


def _parse_named(
    source: str | FilePath, form: ReadFormat, options: TableOptions, findings: Findings
) -> tuple[str, str, DraftHierarchy]:
    """Return title, default name and draft of a path, a built-in name or a text."""
    from cellkey.hierarchy.catalogue import builtin_names, builtin_text

    if isinstance(source, str):
        if source in builtin_names():
            draft = _from_text(builtin_text(source), "json", options, findings)
            return f"{_BUILT_IN} {source!r}", source, draft
        if _is_content(source):
            return "the hierarchy", "", _from_text(source, form, options, findings)
        if not source.strip():
            msg = "the marker hierarchy has an empty name: give a file, or the name of a built-in one"
            raise HierarchyError(msg)
    path = FilePath(source)
    chosen = _BY_SUFFIX.get(_suffix(path), "auto") if form == "auto" else form
    stem = path.name.removesuffix(".gz").rpartition(".")[0] or path.name
    if chosen == "spreadsheet":
        return f"{path}", stem, _from_spreadsheet(path, options, findings)
    return f"{path}", stem, _from_text(_read_text(path), chosen, options, findings)


def _is_content(text: str) -> bool:
    return "\n" in text or text.lstrip().startswith(("{", "["))


def _suffix(path: FilePath) -> str:
    return FilePath(path.name.casefold().removesuffix(".gz")).suffix


def _read_text(path: FilePath) -> str:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            msg = f"{path} has {path.stat().st_size / 1e6:.0f} MB, too much for a marker hierarchy"
            raise HierarchyError(msg)
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = _unzipped(raw, path)
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise HierarchyError(_missing_text(path, error)) from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        kind = "a spreadsheet (save it as xlsx or csv)" if raw[:2] == b"PK" else "not UTF-8 text"
        msg = f"{path} is {kind}: byte {error.start} on line {line} cannot be read"
        raise HierarchyError(msg) from None


def _unzipped(raw: bytes, path: FilePath) -> bytes:
    try:
        # One byte more than allowed shows that the content is too large, without expanding all of it.
        text = zlib.decompressobj(wbits=31).decompress(raw, _LARGEST_FILE + 1)
        text = text if len(text) > _LARGEST_FILE else gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{path} is a damaged gzip file: {error}"
        raise HierarchyError(msg) from None
    if len(text) > _LARGEST_FILE:
        msg = f"{path} unpacks to more than {_LARGEST_FILE / 1e6:.0f} MB, too much for a marker hierarchy"
        raise HierarchyError(msg)
    return text


def _missing_text(path: FilePath, error: OSError) -> str:
    from cellkey.hierarchy.catalogue import builtin_names

    names = builtin_names()
    reason = error.strerror or type(error).__name__
    shown = ", ".join(names)
    return f"cannot read {path}: {reason}{did_you_mean(str(path), names)}; built-in hierarchies are {shown}"


def _from_text(text: str, form: ReadFormat, options: TableOptions, findings: Findings) -> DraftHierarchy:
    chosen = _guess_format(text) if form == "auto" else form
    if chosen == "gmt":
        return read_gmt(text, findings)
    if chosen == "table":
        header, rows = rows_of_text(text)
        return read_table_rows(header, rows, options, findings)
    located = from_yaml(text, findings) if chosen == "yaml" else from_json(text, findings)
    return DraftHierarchy() if located is None else _from_located(located, findings)


def _guess_format(text: str) -> ReadFormat:
    head = text.lstrip("\ufeff \t\r\n")
    if head.startswith(("{", "[", "//", "/*", '"')) or not head:
        return "json"
    first = next((line for line in head.splitlines() if not line.startswith("#")), "")
    if is_table_header(rows_of_text(first)[0]):
        return "table"
    return "gmt" if first.count("\t") >= 2 else "yaml"


def _from_located(value: Located, findings: Findings) -> DraftHierarchy:
    if isinstance(value, Object):
        return read_map_form(value, findings)
    if isinstance(value, Array):
        return read_list_form(value, findings)
    shown = "nothing" if value.value is None else f"{value.value!r}"[:40]
    findings.error(
        f"expected an object of cell types or a list of programs, found {shown}",
        value.line,
        fix='for example {"T Cells": {"markers": ["CD3D", "CD3E"]}}',
    )
    return DraftHierarchy()


def _from_spreadsheet(path: FilePath, options: TableOptions, findings: Findings) -> DraftHierarchy:
    try:
        import openpyxl
    except ImportError:
        package, extra = "openpyxl", "spreadsheet"
        raise MissingDependencyError(package, extra, "Reading a marker table from xlsx") from None
    if not path.is_file():
        raise HierarchyError(_missing_text(path, FileNotFoundError(2, "No such file or directory")))
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as error:
        msg = f"{path} is not an xlsx workbook: {error}"
        raise HierarchyError(msg) from None
    cells = book.active.iter_rows(values_only=True) if book.active else ()
    table = [["" if cell is None else str(cell).strip() for cell in row] for row in cells]
    book.close()
    header = table[0] if table else []
    rows: list[Row] = [(i, dict(zip(header, row, strict=False))) for i, row in enumerate(table[1:], 2) if any(row)]
    return read_table_rows(header, rows, options, findings)
