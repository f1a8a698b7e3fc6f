"""``keys``: find, look at, check, compile and export marker hierarchies; ``export-markers``, ``validate-markers``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cellkey.cli._common import CommandGroup, Commands

if TYPE_CHECKING:
    import pandas as pd

    from cellkey.hierarchy import Finding, Hierarchy

__all__ = ["app", "export_markers", "validate_markers"]

app = Commands(
    name="keys",
    cls=CommandGroup,
    help="Marker hierarchies: find, list, show, check, compile and export them.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Source = Annotated[str, typer.Argument(metavar="NAME_OR_FILE", help="Built-in hierarchy, or a file.")]
File = Annotated[str, typer.Argument(metavar="FILE", help="Hierarchy: JSON, YAML, GMT, table or xlsx.")]
Cells = Annotated[Path | None, typer.Option("--input", "-i", help="Cells (.h5ad): report which markers they measure.")]
Tissue = Annotated[str | None, typer.Option(help="Tissue to take from a table of many.")]
Species = Annotated[str | None, typer.Option(help="human or mouse, for tables with both.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="File to write; the screen if not given.")]
Form = Annotated[Literal["table", "csv", "json"], typer.Option("--format", help="How to print.")]
Panel = Annotated[Path, typer.Option("--panel", "-p", help="Genes: text (one per line), a table, or cells (.h5ad).")]
Wrapped = Annotated[bool, typer.Option("--wrapped", help="Nest the roots inside one 'children' object.")]


@app.command("list")
def list_keys(
    form: Form = "table",
    category: Annotated[
        str | None, typer.Option(help="Only one kind: general, tissue, tme, immune, brain, ...")
    ] = None,
) -> None:
    """List the built-in hierarchies.

    \b
    Examples:
      cellkey keys list
      cellkey keys list --category tissue --format csv
    """
    from cellkey.hierarchy import list_builtin

    shown = ["name", "tissue", "n_roots", "n_cell_types", "n_markers", "category", "description"]
    _print(list_builtin(category), form, shown)


@app.command()
def match(
    query: Annotated[str, typer.Argument(metavar="TEXT", help="Tissue or disease, in words.")],
    top: Annotated[int, typer.Option("--top", help="Most hierarchies to list.")] = 5,
    form: Form = "table",
    mode: Annotated[
        Literal["default", "hierannot-0.7"], typer.Option(help="Rules; hierannot-0.7 repeats the published ones.")
    ] = "default",
) -> None:
    """Find the built-in hierarchies for a tissue or disease, best first. Exit code 2 if none fits.

    \b
    Examples:
      cellkey keys match "colon cancer"
      cellkey keys match kidneys --top 1 --format csv
    """
    from cellkey.hierarchy import match_hierarchy, suggest_hierarchies

    match_hierarchy(query, mode=mode)  # says why where nothing fits
    _print(suggest_hierarchies(query, top_k=top, mode=mode), form, ["name", "score", "tissue_scope", "description"])


@app.command()
def suggest(
    cells: Annotated[Path, typer.Argument(metavar="INPUT", help="Cells (.h5ad).")],
    cluster_key: Annotated[
        str | None, typer.Option("--cluster-key", help="Column of obs with clusters; clustered if not given.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer to use.")] = None,
    query: Annotated[
        str | None, typer.Option("--tissue", help="Compare only the hierarchies that fit these words.")
    ] = None,
    permutations: Annotated[
        int, typer.Option("--n-permutations", "--permutations", min=1, help="Permutations of gene labels.")
    ] = 20,
    top: Annotated[int, typer.Option("--top", help="Most hierarchies to list.")] = 10,
    form: Form = "table",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write the whole table (csv).")] = None,
) -> None:
    """Rank the built-in hierarchies by how well they explain your data.

    The fit runs from 0 (no more than with permuted gene labels) to 1; clusters that stay without a type count 0.
    Hierarchies whose fit is comparable to the best are ordered by how little they hold that the data do not show.

    \b
    Examples:
      cellkey keys suggest cells.h5ad
      cellkey keys suggest cells.h5ad --cluster-key leiden --top 5 --output suggested.csv
    """
    from cellkey.annotation.suggest import data_suggestions_schema, suggest_for_cells
    from cellkey.cli._common import progress_on_terminal

    with progress_on_terminal() as progress:
        table = suggest_for_cells(
            cells, groupby=cluster_key, layer=layer, query=query, n_permutations=permutations, progress=progress
        )
    if output is not None:
        data_suggestions_schema().write_csv(table, output)
        typer.echo(f"wrote {len(table)} hierarchies to {output}", err=True)
    _print(table.head(top), form, ["rank", "name", "verdict", "fit", "p_value", "n_types_seen", "measured_markers"])


@app.command("compile")
def compile_key(
    source: Source,
    panel: Panel,
    output: Output = None,
    report: Annotated[Path | None, typer.Option("--report", help="Write what became of each type (csv).")] = None,
    preserve: Annotated[
        bool, typer.Option("--preserve-immune/--no-preserve-immune", help="Keep common immune types with two markers.")
    ] = True,
    form: Annotated[
        Literal["json", "yaml", "list", "gmt"] | None,
        typer.Option("--format", help="Form to write; by the name of the file if not given."),
    ] = None,
) -> None:
    """Cut a hierarchy down to the genes of a panel.

    \b
    Examples:
      cellkey keys compile colon_tme --panel genes.txt --output colon_panel.json
      cellkey keys compile default --panel cells.h5ad -o mine.json --report report.csv
    """
    from cellkey.hierarchy import compile_for_panel, read_hierarchy
    from cellkey.hierarchy.compiling import compiled_schema

    key = read_hierarchy(source)
    compiled = compile_for_panel(key, _panel_genes(panel), preserve_major_immune_subtypes=preserve)
    if report is not None:
        compiled_schema().write_csv(compiled.report, report)
    changed = compiled.report[compiled.report["status"] != "full"]
    for path, status, reason in changed[["path", "status", "reason"]].itertuples(index=False):
        typer.echo(f"{status:<19}{path}: {reason}", err=True)
    kept = f"{len(compiled.hierarchy)} of {len(key)} cell types are left on this {compiled.tier} panel"
    typer.echo(f"{kept} of {compiled.n_genes} genes", err=True)
    _export(compiled.hierarchy, output, False, form)


@app.command()
def identifiability(
    source: Source,
    panel: Panel,
    all_pairs: Annotated[bool, typer.Option("--all", help="List separable siblings as well.")] = False,
    top: Annotated[int, typer.Option("--top", help="Most genes to suggest.")] = 10,
    form: Form = "table",
) -> None:
    """Say which siblings a panel cannot tell apart, and which few genes would.

    \b
    Examples:
      cellkey keys identifiability lung --panel genes.txt
      cellkey keys identifiability default --panel cells.h5ad --format csv
    """
    from cellkey.hierarchy import identifiability as pairs_of
    from cellkey.hierarchy import read_hierarchy, separating_genes

    key, genes = read_hierarchy(source), _panel_genes(panel)
    table = pairs_of(key, genes, only_problems=not all_pairs)
    if form != "table":
        _print(table, form, list(table.columns))
        return
    if table.empty:
        typer.echo("all siblings can be told apart")
        return
    _print(table, form, ["status", "parent", "one", "other", "n_own_one", "n_own_other", "would_separate"])
    suggested = separating_genes(key, genes, top)
    if not suggested.empty:
        typer.echo("\ngenes that would help most:")
        _print(suggested, form, ["gene", "n_pairs", "marker_of"])


@app.command()
def show(
    source: Source,
    form: Annotated[
        Literal["tree", "json", "yaml", "list", "gmt"], typer.Option("--format", help="How to print.")
    ] = "tree",
    short: Annotated[bool, typer.Option("--short", help="Numbers of markers instead of their names.")] = False,
    tissue: Tissue = None,
    species: Species = None,
) -> None:
    """Print a hierarchy as a tree; markers against a type carry a minus sign.

    \b
    Examples:
      cellkey keys show default
      cellkey keys show my_markers.json --short
      cellkey keys show ScTypeDB_full.xlsx --tissue "Immune system" --format json
    """
    from cellkey.hierarchy import format_hierarchy, read_hierarchy
    from cellkey.hierarchy.show import tree_text

    hierarchy = read_hierarchy(source, tissue=tissue, species=species)
    text = tree_text(hierarchy, markers=not short) if form == "tree" else format_hierarchy(hierarchy, form)
    typer.echo(text, nl=False)


@app.command()
def lint(file: File, cells: Cells = None, tissue: Tissue = None, species: Species = None) -> None:
    """Check a hierarchy: every error, warning and note with its line and cell type. Exit code 2 if errors.

    With --input, also say which markers the cells measure, under which name, and what that leaves of each
    type.

    \b
    Examples:
      cellkey keys lint my_markers.json
      cellkey keys lint my_markers.json --input cells.h5ad
    """
    _lint(file, cells, tissue, species)


@app.command()
def export(
    source: Source,
    output: Output = None,
    wrapped: Wrapped = False,
    form: Annotated[
        Literal["json", "yaml", "list", "gmt"] | None,
        typer.Option("--format", help="Form to write; by the name of the file if not given."),
    ] = None,
    tissue: Tissue = None,
    species: Species = None,
) -> None:
    """Write a hierarchy in another form, or a built-in one to edit.

    \b
    Examples:
      cellkey keys export default --output my_markers.json
      cellkey keys export my_markers.json --output my_markers.yaml
      cellkey keys export PanglaoDB.tsv --tissue Blood --species human --output blood.gmt
    """
    from cellkey.hierarchy import read_hierarchy

    _export(read_hierarchy(source, tissue=tissue, species=species), output, wrapped, form)


def export_markers(
    output: Output = None,
    wrapped: Wrapped = False,
    tissue: Annotated[
        str | None, typer.Option(help="Name or tissue of a built-in hierarchy; the default one if not given.")
    ] = None,
) -> None:
    """Write a built-in marker map, as a starting point for your own.

    \b
    Examples:
      cellkey export-markers --output my_tissue_markers.json
      cellkey export-markers --output wrapped.json --wrapped
    """
    from cellkey.hierarchy import DEFAULT, get_builtin
    from cellkey.hierarchy.catalogue import builtin_for_tissue

    name = DEFAULT if tissue is None else builtin_for_tissue(tissue)
    _export(get_builtin(name), output, wrapped, "json")


def validate_markers(file: File, cells: Cells = None, tissue: Tissue = None, species: Species = None) -> None:
    """Check a marker map; the same as ``keys lint``.

    \b
    Examples:
      cellkey validate-markers my_markers.json
      cellkey validate-markers my_markers.json --input cells.h5ad
    """
    _lint(file, cells, tissue, species)


def _print(table: pd.DataFrame, form: str, shown: list[str]) -> None:
    if form == "table":
        rounded = table[shown].round(3)
        typer.echo(rounded.to_string(index=False, max_colwidth=70) if len(rounded) else "none")
    else:
        typer.echo(table.to_csv(index=False) if form == "csv" else table.to_json(orient="records", indent=2))


def _panel_genes(path: Path) -> list[str]:
    from cellkey.io.panel import read_panel

    return read_panel(path)


def _export(
    hierarchy: Hierarchy,
    output: Path | None,
    wrapped: bool,
    form: Literal["json", "yaml", "list", "gmt"] | None,
) -> None:
    from cellkey.hierarchy import format_hierarchy, write_hierarchy

    if output is None:
        typer.echo(format_hierarchy(hierarchy, form or "json", wrapped=wrapped), nl=False)
        return
    write_hierarchy(hierarchy, output, form, wrapped=wrapped)
    typer.echo(f"wrote {len(hierarchy)} cell types to {output}", err=True)


def _lint(file: str, cells: Path | None, tissue: str | None, species: str | None) -> None:
    from cellkey.hierarchy import lint_hierarchy

    findings = lint_hierarchy(file, tissue=tissue, species=species)
    hierarchy = None if _count(findings, "error") else _quietly_read(file, tissue, species)
    if hierarchy is not None:
        findings = [*_gating_findings(hierarchy), *findings]
    for finding in findings:
        typer.echo(f"{finding.severity:<8}{finding}")
    typer.echo(_summary(file, findings, hierarchy))
    if _count(findings, "error"):
        raise typer.Exit(2)
    if cells is not None and hierarchy is not None:
        typer.echo("\n" + _coverage_text(hierarchy, cells))


def _count(findings: list[Finding], severity: str) -> int:
    return sum(f.severity == severity for f in findings)


def _quietly_read(file: str, tissue: str | None, species: str | None) -> Hierarchy:
    """Read a hierarchy whose findings have just been listed."""
    import warnings

    from cellkey.errors import CellkeyWarning
    from cellkey.hierarchy import read_hierarchy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CellkeyWarning)
        return read_hierarchy(file, tissue=tissue, species=species)


def _gating_findings(hierarchy: Hierarchy) -> list[Finding]:
    """Return what is wrong with the gating parameters that the map carries."""
    from cellkey.errors import ParameterError
    from cellkey.hierarchy import Finding
    from cellkey.routing.limits import merge_gating

    try:
        merge_gating(hierarchy.gating, names=("_gating_params",))
    except ParameterError as error:
        return [Finding("error", f"{p.where}: {p.what}", fix=p.fix) for p in error.problems]
    return []


def _summary(file: str, findings: list[Finding], hierarchy: Hierarchy | None) -> str:
    counts = [(s, _count(findings, s)) for s in ("error", "warning", "note")]
    found = ", ".join(f"{n} {s}{'s' if n > 1 else ''}" for s, n in counts if n) or "nothing to mend"
    size = "" if hierarchy is None else f" ({len(hierarchy)} cell types, {len(hierarchy.all_markers())} markers)"
    return f"{file}{size}: {found}"


def _coverage_text(hierarchy: Hierarchy, cells: Path) -> str:
    from cellkey.hierarchy import no_marker_measured, resolve_names
    from cellkey.hierarchy.panel import panel_report
    from cellkey.io import read_cells

    variables = read_cells(cells, backed=True).var
    columns = {str(c): variables[c].astype(str).tolist() for c in variables.columns}
    resolution = resolve_names(hierarchy.all_markers(), variables.index.astype(str).tolist(), var_columns=columns)
    if not resolution.found:
        raise no_marker_measured(resolution, hierarchy.name or "the hierarchy")
    table = resolution.table()
    renamed = table[table["how"].isin(["alias", "var_column", "punctuation"])]
    missing = table[table["how"] == "missing"]
    report = panel_report(hierarchy, resolution)
    lines = [f"{cells}: {resolution.summary()}", *(f"note    {n}" for n in resolution.notes)]
    lines += ["", "found under another name:"]
    lines += [f"  {n} is {v} ({h})" for n, v, h in renamed[["listed", "variable", "how"]].to_numpy()]
    lines += ["", "not measured:"]
    lines += [f"  {n}" + (f" (close: {c})" if c else "") for n, c in missing[["listed", "close_matches"]].to_numpy()]
    lines += ["", "cell types (measured of listed markers):"]
    counts = report.loc[report["n_markers"] > 0, ["n_measured", "n_markers", "path"]]
    lines += [f"  {found}/{listed}  {path}" for found, listed, path in counts.to_numpy()]
    alike = [f"  {path} and {others}" for path, others in report[["path", "alike"]].to_numpy() if others]
    lines += ["", "cannot be told apart with these variables:", *alike] if alike else []
    return "\n".join(lines)
