"""Documents and code agree: the reference pages hold every table, column, value, parameter and command."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cellkey.records.fields import ALL_FILES, FileSpec
from cellkey.records.tables import ALL_TABLES

if TYPE_CHECKING:
    from cellkey.records.schema import TableSchema

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS / "_ext"))

import reference_pages as pages  # noqa: E402

HAND_WRITTEN = sorted(p for p in DOCS.rglob("*.md") if "generated" not in p.parts and "_build" not in p.parts)


def rows_after(text: str, heading: str) -> list[list[str]]:
    """Cells of the first table below a heading."""
    part = text.split(f"\n{heading}\n", 1)[1]
    lines = [line for line in part.split("\n#")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


@pytest.mark.parametrize("schema", ALL_TABLES.values(), ids=lambda s: s.name)
def test_every_table_is_documented_as_declared(schema: TableSchema) -> None:
    """The page lists exactly the declared columns, in order, with their types."""
    text = pages.render_tables()
    assert schema.meaning in text
    if schema.name.startswith("refined_"):
        return
    rows = rows_after(text, f"### {schema.name}.csv")
    assert [row[0].strip("`") for row in rows] == schema.names
    assert [row[1] for row in rows] == [pages.KIND_WORDS[c.kind] for c in schema.columns]


@pytest.mark.parametrize("file", ALL_FILES.values(), ids=lambda f: f.name)
def test_every_field_is_documented(file: FileSpec) -> None:
    """Every declared obs column and uns entry is on the page of AnnData files."""
    text = pages.render_fields().split(f"## {file.name}\n")[1]
    for field in file.fields:
        assert f"| `{field.name}` |" in text


def test_every_allowed_value_is_explained() -> None:
    """Each value that a column may take is in the list of values with a meaning."""
    text = pages.render_tables()
    documented = set(re.findall(r"^\| `([^`]+)` \| [^|]+ \|$", text, flags=re.MULTILINE))
    for schema in ALL_TABLES.values():
        for column in schema.columns:
            assert {str(v) for v in column.allowed} <= documented, (schema.name, column.name)
    for enumeration in pages.vocabularies():
        assert all(member.meaning.endswith(".") for member in enumeration)


def test_every_table_is_in_a_group() -> None:
    """A new table cannot be left out of the page."""
    assert {name for _, names in pages.TABLE_GROUPS for name in names} == set(ALL_TABLES)


@pytest.mark.parametrize("place", [p for _, _, p in pages.PARAMETER_MODELS])
def test_every_parameter_is_explained(place: str) -> None:
    """Parameter models document each of their fields, and the page shows them."""
    model = pages._import(place)
    meanings = {**pages.RULE_MEANINGS, **pages._documented(model)}
    text = pages.render_parameters()
    for name in set(model.model_fields) - pages.NOT_SETTABLE:
        assert meanings.get(name), f"{model.__name__}.{name} has no meaning in the docstring"
        assert f"| `{name}` |" in text


def test_every_command_is_documented() -> None:
    """The page holds all commands with their options."""
    text = pages.render_commands()
    for command in ("annotate", "explain", "compare"):
        assert f"## cellkey {command}" in text
    assert "| `--annotation-only` |" in text


def test_changelog_fragments_have_known_kinds() -> None:
    """All fragments of the repository are accepted, and a wrong name is refused."""
    assert "## Unreleased" in pages.render_changelog(ROOT)


def test_a_fragment_with_a_wrong_name_is_refused(tmp_path: Path) -> None:
    """A misspelled kind would silently drop an entry, so it stops the build."""
    (tmp_path / "changelog.d").mkdir()
    (tmp_path / "changelog.d" / "003.fetaure.md").write_text("New.")
    with pytest.raises(ValueError, match=r"003\.fetaure\.md"):
        pages.render_changelog(tmp_path)


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=lambda p: str(p.relative_to(DOCS)))
def test_pages_name_real_columns_and_no_machine(page: Path) -> None:
    """Words in quotes that look like tables exist, and no page names a path of a machine or a host."""
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`(\w+)\.csv`", text):
        assert name in ALL_TABLES or name.startswith(("DATASET_", "_")), name  # files of a batch, named after the data
    assert not re.search(r"(?<![\w.])/(work|home|root|opt|tmp|usr)/", text)
    assert "pypi" not in text.lower()


def test_pages_name_existing_options() -> None:
    """Every option that a page shows is one of the program, or of a script that measures it."""
    known = set(re.findall(r"`(--[\w-]+)`", pages.render_commands()))
    for script in (DOCS.parent / "benchmarks").rglob("*.py"):
        known |= set(re.findall(r'"(--[\w-]+)"', script.read_text(encoding="utf-8")))
    for page in HAND_WRITTEN:
        used = set(re.findall(r"(?<![\w-])(--[a-z][\w-]+)", page.read_text(encoding="utf-8")))
        assert used <= known | {"--help"}, (page.name, used - known)
