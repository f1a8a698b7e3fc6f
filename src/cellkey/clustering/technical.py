"""Technical markers: stains and loading controls that say how well a cell was measured, not what it is."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

import numpy as np

from cellkey.errors import CellkeyWarning, MissingFieldError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellkey.profiles.expression import Expression

__all__ = ["DEFAULT_TECHNICAL_MARKERS", "find_technical", "intensity_column", "technical_intensities"]

#: Nuclear stain, extracellular matrix and loading control of multiplexed imaging panels.
DEFAULT_TECHNICAL_MARKERS: tuple[str, ...] = ("DAPI", "Collagen IV", "Beta-actin")

_IGNORED = str.maketrans(dict.fromkeys(" \t\n-_,"))
_NOT_WORD = re.compile(r"[^A-Za-z0-9_]")


def intensity_column(name: str) -> str:
    """Return the obs column of a technical marker: ``"Beta-actin"`` becomes ``"Beta_actin_intensity"``."""
    return f"{_NOT_WORD.sub('_', name)}_intensity"


def find_technical(
    var_names: Sequence[str], markers: Sequence[str] | None = None
) -> tuple[dict[str, int], NDArray[np.bool_]]:
    """Find technical markers among the variables, ignoring case, spaces, hyphens, underscores and commas.

    Parameters
    ----------
    var_names
        Names of all variables.
    markers
        Names to look for; None takes :data:`DEFAULT_TECHNICAL_MARKERS`, of which absent ones are passed
        over in silence. Empty means none. Names given here but absent are warned about.

    Returns
    -------
    Column of each marker found, under the name looked for, and the mask of variables that are features
    (shape (genes,)). Where several variables match (``DAPI`` and ``dapi``), the one spelt exactly as looked
    for, else the first by name, gives the column; none of them is a feature.
    """
    wanted = DEFAULT_TECHNICAL_MARKERS if markers is None else tuple(dict.fromkeys(markers))
    by_form: dict[str, list[int]] = {_folded(name): [] for name in wanted}
    for position, form in enumerate(_all_folded([str(name) for name in var_names])):
        if form in by_form:
            by_form[form].append(position)
    found: dict[str, int] = {}
    is_feature = np.ones(len(var_names), dtype=bool)
    for name in wanted:
        hits = by_form[_folded(name)]
        if not hits:
            if markers is not None:
                hint = did_you_mean(name, map(str, var_names))
                warnings.warn(f"technical marker {name!r} is not measured{hint}", CellkeyWarning, stacklevel=2)
            continue
        found[name] = min(hits, key=lambda p: (str(var_names[p]) != name, str(var_names[p])))
        is_feature[hits] = False
    return found, is_feature


def technical_intensities(expression: Expression, found: dict[str, int]) -> dict[str, NDArray[np.float32]]:
    """Return the unscaled values of technical markers as obs columns, float32, shape (cells,) each.

    Raises
    ------
    MissingFieldError
        If two markers would share a column name.
    """
    if not found:
        return {}
    columns = [intensity_column(name) for name in found]
    if len(set(columns)) < len(columns):
        msg = f"technical markers {', '.join(found)} would share a column of obs"
        raise MissingFieldError(msg)
    values = expression.columns(np.fromiter(found.values(), dtype=np.intp)).toarray()
    return {column: np.ascontiguousarray(values[:, i]) for i, column in enumerate(columns)}


def _folded(name: str) -> str:
    return name.translate(_IGNORED).casefold()


def _all_folded(names: list[str]) -> list[str]:
    """:func:`_folded` of every name, in one go: twenty thousand genes are folded as one text."""
    mark = "\x1f"
    if any(mark in name for name in names):
        return [_folded(name) for name in names]
    return _folded(mark.join(names)).split(mark) if names else []
