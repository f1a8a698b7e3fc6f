"""One door to all forms: read a run, write the files of one form, all or none."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellkey.errors import ParameterError, did_you_mean
from cellkey.exports.labelled import LabelledCells, open_labelled
from cellkey.exports.settings import check_settings
from cellkey.records.atomic import atomic_directory
from cellkey.records.run import MANIFEST, read_manifest, write_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FORMS", "Form", "export_run"]


@dataclass(frozen=True, slots=True)
class Form:
    """A form that cells can be exported to: its module and what it is for."""

    name: str
    meaning: str

    def settings(self) -> dict[str, str]:
        """Names of settings and their meanings."""
        found: dict[str, str] = getattr(self._module(), "SETTINGS", {})
        return found

    def write(self, cells: LabelledCells, folder: Path, settings: Mapping[str, str]) -> list[str]:
        """Write the files into an empty folder; return what to know about them."""
        notes: list[str] = self._module().write(cells, folder, settings)
        return notes

    def _module(self) -> Any:
        return import_module(f"cellkey.exports.{self.name}")


FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Form("cellxgene", "an .h5ad file after the CELLxGENE schema, for submission and for cellxgene"),
        Form("cas", "Cell Annotation Schema: an .h5ad file with its columns, and its JSON file"),
        Form("vitessce", "a Zarr store and a Vitessce configuration with the labels as nested sets"),
        Form("xenium", "CSV files of cell groups for Xenium Explorer, one per level"),
        Form("cellbrowser", "a folder for cbBuild of the UCSC Cell Browser"),
        Form("spatialdata", "a SpatialData store that holds the labelled table"),
        Form("seurat", "CSV files of cell metadata and colours for Seurat"),
    )
}
"""All forms by name."""


def export_run(
    run: str | Path, to: str, output: str | Path | None = None, *, settings: Mapping[str, str] | None = None
) -> tuple[Path, list[str]]:
    """Export the labelled cells of a run.

    Parameters
    ----------
    run
        Run directory, or an ``.h5ad`` file that cellkey labelled.
    to
        One of :data:`FORMS`.
    output
        Folder to write; ``RUN/exports/<to>`` if None. It must be new, empty or made by an earlier export, which is
        then replaced as a whole.
    settings
        See ``FORMS[to].settings()``.

    Returns
    -------
    The folder, and what to know about its files.

    Raises
    ------
    ParameterError
        If there is no such form.
    InputError
        If the run has no labels, a setting is unknown, or the form needs what is not there; all problems at once.
    RunError
        If the folder holds something else or cannot be written.
    """
    if to not in FORMS:
        msg = f"there is no export to {to!r}{did_you_mean(to, FORMS)}; there is {', '.join(FORMS)}"
        raise ParameterError(msg)
    form, given = FORMS[to], dict(settings or {})
    check_settings(to, given, form.settings())
    cells = open_labelled(run)
    source = Path(run)
    target = Path(output) if output is not None else (
        source if source.is_dir() else source.parent) / "exports" / to
    with atomic_directory(target, ours=_is_export) as folder:
        notes = form.write(cells, folder, given)
        write_manifest(folder, {
            "kind": "export", "form": to, "input": {"name": source.name}, "settings": given, "notes": notes,
        })
    return target, notes


def _is_export(folder: Path) -> bool:
    return (folder / MANIFEST).is_file() and read_manifest(folder).get("kind") == "export"
