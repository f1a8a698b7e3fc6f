"""Reference pages made from the code at build time, so that documents and code cannot drift apart.

Written to ``reference/generated/``: tables, AnnData fields, parameters, commands, Python names, changelog.
Every ``render_*`` function returns the text of one page and can be used without Sphinx.
"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from enum import Enum

    from pydantic.fields import FieldInfo
    from sphinx.application import Sphinx

KIND_WORDS = {
    "string": "text",
    "int": "whole number",
    "float": "number",
    "bool": "True or False",
    "json": "JSON",
    "list": "comma-separated text",
    "categorical": "categorical (text)",
    "float64": "number (float64)",
    "float32": "number (float32)",
    "mapping": "dictionary",
    "colours": "array of `#RRGGBB`",
    "rank_genes_groups": "structure of scanpy's rank_genes_groups",
}

TABLE_GROUPS = (
    (
        "Annotation",
        ("cluster_annotations", "marker_scores", "decision_steps", "gating_details", "marker_evidence",
         "confidence"),
    ),
    ("Enrichment", ("enrichment_calls", "enrichment_scores", "method_comparison", "hierarchy_fit")),
    ("Consensus", ("consensus", "consensus_cells", "consensus_votes", "consensus_labels")),
    (
        "Refinement",
        (
            "diagnostic_report",
            "refinement_log",
            "refined_annotations",
            "refined_marker_scores",
            "refined_decision_steps",
            "refined_marker_evidence",
            "refined_confidence",
        ),
    ),
)

PARAMETER_MODELS = (
    ("Scoring", "--scoring-params", "cellkey.scoring.marker_evidence:MarkerScoring"),
    ("Limits of a level", "--gating-params, under level_defaults", "cellkey.routing.limits:LevelLimits"),
    ("The walk", "--gating-params", "cellkey.routing.limits:Gating"),
    ("Requirements", "--gating-params, under root_hard_requirements", "cellkey.routing.limits:Requirement"),
    ("Vetoes", "--gating-params, under root_veto_markers", "cellkey.routing.limits:Veto"),
    ("Enrichment", "--scoring-params of method enrichment", "cellkey.scoring.enrichment_settings:EnrichmentScoring"),
    ("The walk by branch support", "--gating-params of method enrichment",
     "cellkey.routing.branch_rule:BranchGating"),
    ("Reported labels", "--export-params", "cellkey.calls.export:ExportRules"),
    ("Refinement", "--refinement-params", "cellkey.refinement.parameters:RefinementParameters"),
    ("Clustering", "--clustering-params", "cellkey.clustering:ClusteringParameters"),
)

NOT_SETTABLE = {"levels", "on_limit"}
"""Fields that follow from others and are not given by name."""

RULE_MEANINGS = {
    "marker": "Name of the marker, as in the data or under an alias.",
    "markers": "Names of the markers; one that is not measured never vetoes.",
    "min_pos_frac": "Least share (0 to 1) of positive cells of the cluster.",
    "min_enrichment": "Least enrichment, in standard deviations over all cells.",
    "max_pos_frac": "Greatest share (0 to 1) of positive cells; above it the type is rejected.",
}
"""Meanings of the settings of requirements and vetoes, whose docstrings are one sentence."""

API_MODULES = (
    (
        "cellkey",
        "Verbs",
        "What most programs need. Examples take `adata`, `result` and `run` from those of `annotate` and "
        "`annotate_file`; `folder` is a `pathlib.Path`, `np` is numpy.",
    ),
    (
        "cellkey.hierarchy",
        "Hierarchies",
        "Cell types as a tree, their markers, and the names that data use for them.",
    ),
    ("cellkey.pl", "Figures in scanpy's manner", "From results, runs and AnnData, with `ax`, `show` and `save`."),
    ("cellkey.refinement", "Refinement", "Diagnose, plan, split, relabel and merge; on cells or on runs."),
    ("cellkey.batch", "Batches", "Many datasets at once."),
    ("cellkey.llm", "Language models", "Labels from marker tables, asked of a model in writing."),
    ("cellkey.isoforms", "Isoforms", "Modules of genes from transcript counts."),
    ("cellkey.clustering", "Clustering", "Steps from a matrix to groups of cells; arrays in, arrays out."),
    ("cellkey.io", "Reading and writing cells", "Files of several forms as AnnData, and back."),
    ("cellkey.datasets", "Data sets", "Data with known truth, and cells that ship inside a dependency."),
    ("cellkey.exports.export", "Exports", "Labelled cells in the forms of viewers and archives."),
    ("cellkey.plots", "Figures", "Drawn from tables; every function takes `ax` and returns it."),
    ("cellkey.records.schema", "Table schemas", "Columns, types and allowed values of every table."),
    ("cellkey.records.tables", "Tables", "The schemas of the tables of a run."),
    ("cellkey.records.fields", "AnnData fields", "What annotated files gain."),
    ("cellkey.records.vocabulary", "Vocabulary", "The words that tables use."),
    ("cellkey.errors", "Errors", "Everything that is raised or warned with."),
)

WHOLE_ROOMS = ("cellkey.hierarchy", "cellkey.pl", "cellkey.errors")
"""Rooms whose names stand together on the page, also those that ``cellkey`` offers."""


# --- tables and fields ---


def render_tables() -> str:
    """Return the page of all tables, with columns, types, meanings and allowed values."""
    from cellkey.records.tables import ALL_TABLES

    lines = [
        "# Tables",
        "",
        "Tables are CSV files: UTF-8, comma, one header row, `\\n` line ends, double quotes where",
        "a value needs",
        "them. Numbers have up to ten significant digits, an empty field is a missing value.",
        "Columns come in this",
        "order; JSON fields hold strict JSON. `cellkey.records.tables` holds the same declarations",
        "for programs.",
        "",
    ]
    for title, names in TABLE_GROUPS:
        lines += [f"## {title}", ""]
        for name in names:
            schema = ALL_TABLES[name]
            lines += [f"(table-{name})=", f"### {name}.csv", "", schema.meaning, ""]
            lines += _columns_of(schema, names)
    lines += [*_isoform_tables()]
    return "\n".join([*lines, *_vocabularies()]) + "\n"


def _isoform_tables() -> list[str]:
    from cellkey.isoforms.tables import isoform_tables

    lines = ["## Isoform modules", "", "Parquet files of `cellkey isoforms fit`, `explain-module` and `enrich`.", ""]
    for schema in isoform_tables():
        lines += [f"(table-{schema.name})=", f"### {schema.name}.parquet", "", schema.meaning, ""]
        rows = [(f"`{c.name}`", KIND_WORDS[c.kind], _with_allowed(c.meaning, c.allowed)) for c in schema.columns]
        lines += [*_table(("Column", "Type", "Meaning"), rows), ""]
    return lines


def _columns_of(schema: Any, names: Sequence[str]) -> list[str]:
    base = schema.name.replace("refined_", "")
    if schema.name.startswith("refined_"):
        base = "cluster_annotations" if base == "annotations" else base
        return [f"Columns: see [{base}.csv](#table-{base}).", ""]
    rows = [(f"`{c.name}`", KIND_WORDS[c.kind], _with_allowed(c.meaning, c.allowed)) for c in schema.columns]
    return [*_table(("Column", "Type", "Meaning"), rows), ""]


def render_fields() -> str:
    """Return the page of the obs columns and uns entries of the AnnData files."""
    from cellkey.records.fields import ALL_FILES

    lines = [
        "# AnnData files",
        "",
        "Files open with `anndata.read_h5ad`. Fields of the input are kept; a column that was",
        "there already under one",
        "of these names is kept as `<name>_input`.",
        "",
    ]
    for file in ALL_FILES.values():
        lines += [f"## {file.name}", "", file.meaning, ""]
        for slot, words in (("obs", "Columns of `obs`, one value per cell"), ("uns", "Entries of `uns`")):
            lines += [f"### {words}", ""]
            rows = [
                (
                    f"`{f.name}`",
                    KIND_WORDS.get(f.kind, f.kind),
                    _with_allowed(f.meaning, f.allowed)
                    + (f" Present if {f.condition}." if f.condition else ""),
                )
                for f in file.of(slot)
            ]
            lines += [*_table(("Name", "Type", "Meaning"), rows), ""]
    return "\n".join(lines) + "\n"


def _with_allowed(meaning: str, allowed: Sequence[Any]) -> str:
    return f"{meaning} One of {', '.join(f'`{a}`' for a in allowed)}." if allowed else meaning


def vocabularies() -> list[type[Enum]]:
    """Return the enumerations that columns and fields take their values from, in order of first use."""
    from cellkey.records.fields import ALL_FILES
    from cellkey.records.tables import ALL_TABLES

    allowed = [c.allowed for t in ALL_TABLES.values() for c in t.columns]
    allowed += [f.allowed for file in ALL_FILES.values() for f in file.fields]
    return list(
        dict.fromkeys(type(value) for values in allowed for value in values if hasattr(value, "meaning"))
    )


def _vocabularies() -> list[str]:
    lines = ["## Values", "", "What the words in the tables mean.", ""]
    for enumeration in vocabularies():
        lines += [f"### {_spaced(enumeration.__name__)}", "", inspect.getdoc(enumeration) or "", ""]
        rows = [(f"`{m.value}`", m.meaning) for m in enumeration]  # type: ignore[attr-defined]
        lines += [*_table(("Value", "Meaning"), rows), ""]
    return lines


def _spaced(name: str) -> str:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return words[0] + words[1:].lower()


# --- parameters ---


def render_parameters() -> str:
    """Return the page of all parameter models with types, defaults and meanings."""
    lines = [
        "# Parameters",
        "",
        "Parameters can be given as inline JSON, as the path of a JSON or YAML file (also as",
        "`@path`), or from",
        "Python as a dictionary. A name that does not exist is an error that suggests the right",
        "one. All values in",
        "effect are written to the record of the run.",
        "",
    ]
    for title, option, place in PARAMETER_MODELS:
        model = _import(place)
        flag, comma, under = option.partition(",")
        lines += [f"## {title}", "", f"{_first_sentence(model)} Given with `{flag}`{comma}{under}.", ""]
        meanings = {**RULE_MEANINGS, **_documented(model)}
        rows = [
            (f"`{name}`", _type_words(field), _default_words(field), meanings.get(name, ""))
            for name, field in model.model_fields.items()
            if name not in NOT_SETTABLE
        ]
        lines += [*_table(("Name", "Type", "Default", "Meaning"), rows), ""]
        if model.__name__ == "LevelLimits":
            lines += _level_defaults()
    return "\n".join(lines) + "\n"


def _level_defaults() -> list[str]:
    from cellkey.routing.limits import merge_gating

    levels = merge_gating().levels
    names = type(levels[0]).model_fields
    heads = ["Limit", *(f"Level {i}" for i in range(len(levels) - 1)), f"Level {len(levels) - 1} and deeper"]
    rows = [(f"`{n}`", *(_value_words(getattr(level, n)) for level in levels)) for n in names]
    return ["Defaults by level; level 0 are the top-level types:", "", *_table(heads, rows), ""]


def _documented(model: type) -> dict[str, str]:
    """Meanings of the fields from the docstring's section of parameters or attributes, own class last."""
    found: dict[str, str] = {}
    for cls in reversed(
        [c for c in model.__mro__ if c.__dict__.get("__doc__") and hasattr(c, "model_fields")]
    ):
        section = re.split(r"\n(?:Parameters|Attributes)\n-+\n", inspect.cleandoc(cls.__doc__ or ""))
        body = re.split(r"\n\w[\w ]*\n-+\n", section[1])[0] if len(section) > 1 else ""
        for names, text in re.findall(r"^(\w[\w, ]*)\n((?:[ ]+.*\n?|\n)+)", body + "\n", flags=re.MULTILINE):
            meaning = " ".join(text.split()).replace("``", "`")
            found.update(dict.fromkeys(re.split(r",\s*", names), meaning))
    return found


def _first_sentence(model: type) -> str:
    return (inspect.getdoc(model) or "").split("\n\n")[0].replace("\n", " ")


def _type_words(field: FieldInfo) -> str:
    text = _annotation_words(field.annotation)
    bounds = {type(m).__name__: m for m in field.metadata}
    low = next((getattr(bounds[k], k.lower()) for k in ("Ge", "Gt") if k in bounds), None)
    high = next((getattr(bounds[k], k.lower()) for k in ("Le", "Lt") if k in bounds), None)
    if low is not None and high is not None:
        return f"{text}, {_value_words(low)} to {_value_words(high)}"
    if low is not None:
        return f"{text}, {'more than' if 'Gt' in bounds else 'at least'} {_value_words(low)}"
    return text


def _annotation_words(annotation: Any) -> str:
    plain = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "none"}
    if annotation in plain:
        return plain[annotation]
    arguments = [a for a in get_args(annotation) if a is not Ellipsis]
    origin = get_origin(annotation)
    if hasattr(annotation, "__metadata__"):
        return _annotation_words(arguments[0])
    if str(origin).endswith("Literal"):
        return " or ".join(f"`{a}`" for a in arguments)
    if origin is dict:
        return f"{_annotation_words(arguments[0])} to {_annotation_words(arguments[1])}"
    if origin in (tuple, list):
        return f"list of {_annotation_words(arguments[0])}"
    if origin is not None:
        return " or ".join(_annotation_words(a) for a in arguments)
    return f"*{_spaced(annotation.__name__).lower()}*"


def _default_words(field: FieldInfo) -> str:
    return "required" if field.is_required() else _value_words(field.default)


def _value_words(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return {float("inf"): "no limit", float("-inf"): "no limit"}.get(value, f"{value:g}")
    return f"`{value}`" if isinstance(value, str) else "none" if value in ((), {}) else str(value)


# --- command line ---


def render_commands() -> str:
    """Return the page of the command line with all commands, arguments and options."""
    from typer.main import get_command

    from cellkey.cli import build_app

    lines = [
        "# Command line",
        "",
        "`ctr` is the same program under a shorter name. Exit codes: 0 success, 1 internal error, 2 input,",
        "option or output that cannot be used, 3 nothing to do. Messages go to standard error.",
        "",
    ]
    root = get_command(build_app())  # type: ignore[arg-type]
    context = root.context_class(root, info_name="cellkey")
    for path, command in _commands(root, context, "cellkey"):
        lines += [f"## {path}", "", *_help_text(command.help or ""), ""]
        lines += ["```text", " ".join([path, "[OPTIONS]", *_arguments(command)]), "```", ""]
        rows = [_option_row(p) for p in command.params if not getattr(p, "hidden", False)]
        lines += [*_table(("Argument or option", "Meaning"), rows), ""] if rows else []
    return "\n".join(lines) + "\n"


def _commands(command: Any, context: Any, path: str) -> Iterable[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name in command.list_commands(context):
        child = command.commands[name]
        if not child.hidden:
            yield from _commands(
                child, type(context)(child, info_name=name, parent=context), f"{path} {name}"
            )


def _arguments(command: Any) -> list[str]:
    shown = [p for p in command.params if not p.opts[0].startswith("-") and not getattr(p, "hidden", False)]
    names = [p.metavar or p.name.upper() for p in shown]
    return [name if p.required else f"[{name}]" for name, p in zip(names, shown, strict=True)]


def _help_text(text: str) -> list[str]:
    """Turn a command's help into Markdown; blocks marked for literal display become code blocks."""
    lines: list[str] = []
    for block in inspect.cleandoc(text).split("\n\n"):
        if block.startswith("\b"):
            title, _, body = block.removeprefix("\b").strip("\n").partition("\n")
            lines += [
                title,
                "",
                "```bash",
                inspect.cleandoc("\n" + body).replace("\\\\\n", "\\\n"),
                "```",
                "",
            ]
        else:
            lines += [block, ""]
    return lines


def _option_row(parameter: Any) -> tuple[str, str]:
    names = [*parameter.opts, *parameter.secondary_opts]
    if not names or not names[0].startswith("-"):
        names = [parameter.metavar or parameter.name.upper()]
    text = (getattr(parameter, "help", None) or "").replace("|", "\\|")
    default = parameter.default
    plain = isinstance(default, int | float | str) and not isinstance(default, bool) and default != ""
    shown = f" Default: `{default}`." if plain and f"[{default}]" not in text else ""
    return ", ".join(f"`{n}`" for n in names), text + shown


# --- Python names ---


def render_api() -> str:
    """Return the page of the public Python names, room by room."""
    lines = ["# Python", ""]
    documented: list[Any] = []
    for place, title, intro in API_MODULES:
        module = importlib.import_module(place)
        lines += [f"## {title}", "", f"`{place}`. {intro}", "", "```{eval-rst}"]
        elsewhere = _names_of(WHOLE_ROOMS) if place == "cellkey" else set()
        for name in module.__all__:
            value = getattr(module, name)
            known = name in elsewhere or any(value is d for d in documented)
            if not known and not name.startswith("__") and not isinstance(value, dict):
                documented.append(value)
                lines += _directive(place, name, value)
        lines += ["```", ""]
    return "\n".join(lines) + "\n"


def _names_of(places: Iterable[str]) -> set[str]:
    return {name for place in places for name in importlib.import_module(place).__all__}


def _directive(place: str, name: str, value: Any) -> list[str]:
    if inspect.isclass(value):
        return [
            f".. autoclass:: {place}.{name}",
            "   :members:",
            "   :show-inheritance:",
            *(["   :undoc-members:"] if hasattr(value, "__members__") else []),
            "",
        ]
    if inspect.isroutine(value):
        return [f".. autofunction:: {place}.{name}", ""]
    return [f".. autodata:: {place}.{name}", "   :no-value:", ""]


# --- changelog ---

CHANGE_KINDS = {
    "breaking": "Changed behaviour",
    "feature": "New",
    "fix": "Corrected",
    "perf": "Faster or smaller",
    "docs": "Documentation",
}


def render_changelog(root: Path) -> str:
    """Return the changelog: unreleased fragments of ``changelog.d`` above the text of ``CHANGELOG.md``.

    Raises
    ------
    ValueError
        If a fragment is not named ``NNN.kind.md`` with a known kind.
    """
    lines = ["# Changelog", "", "## Unreleased", ""]
    fragments: dict[str, list[str]] = {kind: [] for kind in CHANGE_KINDS}
    for path in sorted((root / "changelog.d").glob("*.md")):
        if path.name == "README.md":
            continue
        match = re.fullmatch(r"\d+\.(\w+)\.md", path.name)
        if match is None or match[1] not in CHANGE_KINDS:
            msg = (
                f"changelog fragment {path.name}: name it NNN.kind.md, kind one of {', '.join(CHANGE_KINDS)}"
            )
            raise ValueError(msg)
        fragments[match[1]].append(" ".join(path.read_text(encoding="utf-8").split()))
    for kind, entries in fragments.items():
        if entries:
            lines += [f"### {CHANGE_KINDS[kind]}", "", *(f"- {entry}" for entry in entries), ""]
    released = root / "CHANGELOG.md"
    if released.is_file():
        text = released.read_text(encoding="utf-8")
        lines += [re.sub(r"\A# .*\n", "", text).strip(), ""]
    return "\n".join(lines) + "\n"


# --- shared ---


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    body = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *body]


def _cell(text: str) -> str:
    """Escape what would end a cell or be read as HTML outside code."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(p if p.startswith("`") else p.replace("<", "&lt;").replace("~", "\\~") for p in parts)


def _import(place: str) -> Any:
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)


def write_pages(folder: Path, root: Path) -> None:
    """Write all generated pages that changed, so that an incremental build rebuilds only those."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "tables": render_tables(),
        "files": render_fields(),
        "parameters": render_parameters(),
        "commands": render_commands(),
        "api": render_api(),
        "changelog": render_changelog(root),
    }
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _generate(app: Sphinx) -> None:
    source = Path(app.srcdir)
    write_pages(source / "reference" / "generated", source.parent)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the generation of pages to the start of every build."""
    app.connect("builder-inited", _generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
