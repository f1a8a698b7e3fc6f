"""Finding the datasets of a folder tree ``root/tissue/h5ad_unlabelled/dataset.h5ad``."""

from __future__ import annotations

import fnmatch
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cellkey.errors import InputError, NothingToDoError, Problem, did_you_mean
from cellkey.records.atomic import safe_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["CELLS_FOLDER", "Dataset", "discover"]

log = logging.getLogger(__name__)

CELLS_FOLDER = "h5ad_unlabelled"
_IGNORED = ("__MACOSX",)

Layout = Literal["unlabelled", "flat"]


@dataclass(frozen=True, slots=True)
class Dataset:
    """One file of cells and the tissue it stands under.

    ``folder`` is where its results go inside a run: the names, made safe for every file system.
    """

    tissue: str
    name: str
    path: Path

    @property
    def folder(self) -> Path:
        """Folder of the results, relative to the run."""
        return Path(safe_name(self.tissue)) / safe_name(self.name)

    @property
    def prefix(self) -> str:
        """How the names of the result files begin."""
        return safe_name(self.name)


def discover(
    data_root: str | Path,
    tissues: Sequence[str] | None = None,
    pattern: str = "*.h5ad",
    *,
    layout: Layout = "unlabelled",
) -> list[Dataset]:
    """Return the datasets under ``data_root``, tissues and files in byte order.

    Parameters
    ----------
    data_root
        Folder with one folder per tissue.
    tissues
        Names of tissue folders; None for all. The order given decides nothing but the name of the run.
    pattern
        Shell pattern on the file name, case-sensitive.
    layout
        ``unlabelled``: files lie in ``tissue/h5ad_unlabelled``; ``flat``: directly in ``tissue`` as well.

    Raises
    ------
    InputError
        If the root or a tissue does not exist, or results of two files would go to the same place.
    NothingToDoError
        If no file is left.
    """
    root = Path(data_root)
    if not root.is_dir():
        msg = f"data root {root} does not exist or is no folder"
        raise InputError(msg)
    found = _tissue_folders(root, layout)
    wanted = list(found) if tissues is None else list(dict.fromkeys(tissues))
    _check_tissues(wanted, found, root)
    datasets = [
        Dataset(tissue, file.name.removesuffix(".h5ad"), file)
        for tissue in sorted(wanted, key=_bytes)
        for file in _files(found[tissue], pattern, layout)
    ]
    if not datasets:
        where = f" in {', '.join(wanted)}" if tissues is not None else ""
        msg = f"no file under {root}{where} matches {pattern!r}"
        raise NothingToDoError(msg)
    _check_places(datasets)
    return datasets


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name in _IGNORED


def _tissue_folders(root: Path, layout: Layout) -> dict[str, Path]:
    folders = sorted((p for p in root.iterdir() if p.is_dir() and not _is_hidden(p)), key=lambda p: _bytes(p.name))
    if layout == "flat":
        return {p.name: p for p in folders}
    return {p.name: p for p in folders if (p / CELLS_FOLDER).is_dir()}


def _check_tissues(wanted: Iterable[str], found: dict[str, Path], root: Path) -> None:
    problems = [
        Problem(f"there is no folder {t}/{CELLS_FOLDER}{did_you_mean(t, found)}", t) for t in wanted if t not in found
    ]
    if problems:
        known = ", ".join(found) or "none"
        msg = f"unknown tissue under {root}; available: {known}"
        raise InputError(msg, problems)


def _files(tissue: Path, pattern: str, layout: Layout) -> list[Path]:
    folders = [tissue / CELLS_FOLDER] + ([tissue] if layout == "flat" else [])
    candidates = [p for f in folders if f.is_dir() for p in f.iterdir() if fnmatch.fnmatchcase(p.name, pattern)]
    kept = []
    for path in sorted(candidates, key=lambda p: _bytes(p.name)):
        if _is_hidden(path) or not path.name.endswith(".h5ad"):
            continue
        if not path.is_file():
            log.warning("%s is a broken link or no file; left out", path)
            continue
        kept.append(path)
    return kept


def _check_places(datasets: Iterable[Dataset]) -> None:
    """Refuse files whose results would meet: same name but for case, or but for characters that are replaced."""
    places: dict[str, Dataset] = {}
    problems = []
    for dataset in datasets:
        place = str(dataset.folder).casefold()
        if place in places:
            problems.append(
                Problem(
                    "results would go to the same folder",
                    f"{places[place].path} and {dataset.path}",
                    "rename one of the files",
                )
            )
        places.setdefault(place, dataset)
    if problems:
        msg = "some datasets cannot be told apart by name on every file system"
        raise InputError(msg, problems)
