"""What kind of values a matrix holds, and the step that brings them to the scale used for scoring."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy.sparse as sp

from cellkey.clustering import _kernels
from cellkey.clustering._blocks import sweep
from cellkey.errors import (
    CellkeyWarning,
    InputError,
    ParameterError,
    ScaleError,
    did_you_mean,
)
from cellkey.profiles.survey import MatrixScan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = [
    "Kind",
    "MatrixReport",
    "Transform",
    "inspect_matrix",
    "require_numbers",
    "scan_matrix",
]

Kind = Literal["counts", "log-normalised", "intensity"]
Transform = Literal["normalise", "log1p", "none"]

_ASSUMED: dict[str, Kind] = {
    "counts": "counts",
    "lognorm": "log-normalised",
    "log-normalised": "log-normalised",
    "intensity": "intensity",
}

# Whole numbers above this are counts: log1p of counts per 10,000 ends at 9.2, log2 of anything at about 20.
_LARGEST_LOG = 50.0
# Panels up to this size are taken for protein panels unless the values say otherwise.
_PANEL_VARIABLES = 100
# Whole numbers up to 50: counts only with more variables than this and mostly zeros.
_SHALLOW_VARIABLES = 50
_SHALLOW_DENSITY = 0.5
_RAW_INTENSITY_DENSITY = 0.9
_CELLS_FOR_TOTALS = 4096


@dataclass(frozen=True, slots=True)
class MatrixReport:
    """What was found in a cells x genes matrix.

    Parameters
    ----------
    kind
        ``"counts"``, ``"log-normalised"`` or ``"intensity"``.
    transform
        What brings the values to the scale used for scoring: ``"normalise"`` (each cell to a common total,
        then ``log1p``), ``"log1p"`` (raw fluorescence) or ``"none"``.
    storage
        ``"csr"``, ``"csc"`` or ``"dense"``, with ``" (backed)"`` when the values stay on disk.
    shape, dtype
        Cells and genes; NumPy type of the stored values.
    minimum, maximum
        Over all values, zeros included.
    density
        Share of values that are not zero.
    n_zero_cells
        Cells in which every value is zero.
    integer_valued
        Whether every value is a whole number.
    common_total
        Total per cell before the logarithm, when all cells share one (a sure sign of log-normalised data).
    assumed
        Whether the kind was given by the caller.
    notes
        Sentences a user should read; also given as warnings by :func:`inspect_matrix`.
    name
        How the matrix was called (``"X"`` or a layer).
    """

    kind: Kind
    transform: Transform
    storage: str
    shape: tuple[int, int]
    dtype: str
    minimum: float
    maximum: float
    density: float
    n_zero_cells: int
    integer_valued: bool
    common_total: float | None = None
    assumed: bool = False
    notes: tuple[str, ...] = ()
    name: str = "X"

    def describe(self) -> str:
        """Say in two sentences what was found and what will be done."""
        n_cells, n_vars = self.shape
        whole = "whole numbers" if self.integer_valued else "numbers with fractions"
        found = (
            f"{self.name}: {n_cells:,} cells x {n_vars:,} variables, {self.storage}, {whole} from "
            f"{self.minimum:.6g} to {self.maximum:.6g}, {100 * (1 - self.density):.1f} % zeros"
        )
        why = "taken as" if self.assumed else "found to be"
        return f"{found}; {why} {_MEANING[self.kind]}. {_DONE[self.transform]}"


_MEANING: dict[str, str] = {
    "counts": "counts",
    "log-normalised": "log-normalised values",
    "intensity": "normalised intensities",
}
_DONE: dict[str, str] = {
    "normalise": "Each cell is scaled to a total of 10,000 and log1p is taken, in working blocks only.",
    "log1p": "log1p is taken, in working blocks only.",
    "none": "Values are used as they are.",
}


def inspect_matrix(
    X: Any,
    *,
    var_names: Sequence[str] | None = None,
    assume: str | None = None,
    name: str = "X",
    warn: bool = True,
    scan: MatrixScan | None = None,
) -> MatrixReport:
    """Find out on which scale the values of a matrix are, in one sweep that never makes it dense.

    Rules, the first that fits:

    - whole numbers, maximum above 50: counts; no logarithm of expression is that large.
    - whole numbers, maximum 2 to 50, more than 50 variables, more than half zeros: counts; shallow imaging
      panels count few molecules per cell, and rounded logarithms or scores have few zeros.
    - other whole numbers: intensity (scores, classes, presence), used as they are; noted.
    - some negative: intensity, z-scored or batch-corrected; noted.
    - the same total in every cell before the logarithm: log-normalised; only normalisation makes totals equal.
    - maximum above 50, more than 100 variables, at least a tenth zeros: counts, either estimated or scaled without
      logarithm; noted.
    - maximum above 50 otherwise: intensity, raw fluorescence; log1p is taken; noted.
    - at most 100 variables: intensity (a protein panel).
    - otherwise: log-normalised.

    Parameters
    ----------
    X
        Cells x genes; dense array, CSR or CSC, in memory or backed.
    var_names
        Names used in messages.
    assume
        ``"counts"``, ``"lognorm"`` or ``"intensity"``: overrides the rules (values are still checked).
    name
        How to call the matrix in messages.
    warn
        Whether notes are given as :class:`~cellkey.errors.CellkeyWarning`.
    scan
        What :func:`scan_matrix` found in these values, if they were swept before.

    Raises
    ------
    InputError
        If the matrix has no cells or no genes, or holds zeros only.
    ScaleError
        For NaN or infinite values, negative counts, or values that are not numbers.
    """
    assumed = _assumed_kind(assume)
    require_numbers(X, name)
    scan = scan_matrix(X) if scan is None else scan
    if scan.n_not_finite:
        raise ScaleError(_where(X, name, var_names, lambda v: ~np.isfinite(v), "NaN or infinite values"))
    negative = scan.minimum < 0
    if negative and (scan.integer_valued or assumed == "counts"):
        raise ScaleError(_where(X, name, var_names, lambda v: v < 0, "negative counts"))
    if scan.n_not_zero == 0:
        msg = f"{name} holds only zeros ({X.shape[0]:,} cells x {X.shape[1]:,} variables)"
        raise InputError(msg)
    density = scan.n_not_zero / (X.shape[0] * X.shape[1])
    total = None if scan.integer_valued or negative or scan.maximum > _LARGEST_LOG else _common_total(X)
    kind, transform, notes = _classify(scan, X.shape[1], density, total, assumed, name)
    n_zero_cells = int(np.count_nonzero(~scan.has_value))
    if n_zero_cells:
        notes = (*notes, f"{n_zero_cells:,} of {X.shape[0]:,} cells of {name} hold only zeros")
    if warn:
        for note in notes:
            warnings.warn(note, CellkeyWarning, stacklevel=2)
    return MatrixReport(
        kind=kind,
        transform=transform,
        storage=_storage(X),
        shape=(int(X.shape[0]), int(X.shape[1])),
        dtype=str(X.dtype),
        minimum=scan.minimum,
        maximum=scan.maximum,
        density=density,
        n_zero_cells=n_zero_cells,
        integer_valued=scan.integer_valued,
        common_total=total,
        assumed=assumed is not None,
        notes=notes,
        name=name,
    )


def scan_matrix(X: Any) -> MatrixScan:
    """Sweep a matrix once and return what :func:`inspect_matrix` decides from."""
    low, high, n_bad, n_not_zero, whole = np.inf, -np.inf, 0, 0, True
    has_value = np.zeros(X.shape[0], dtype=bool)
    for axis, start, block in sweep(X):
        values = np.ascontiguousarray(block.data if sp.issparse(block) else block.ravel())
        a, b, bad, some, fraction = _scan_values(values)
        if sp.issparse(block) and len(values) < block.shape[0] * block.shape[1]:
            a, b = min(a, 0.0), max(b, 0.0)
        low, high = min(low, a), max(high, b)
        n_bad += bad
        n_not_zero += some
        whole = whole and not fraction
        _mark_cells(has_value, axis, start, block)
    return MatrixScan(float(low), float(high), int(n_bad), int(n_not_zero), bool(whole), has_value)


def _scan_values(values: NDArray[Any]) -> tuple[float, float, int, int, bool]:
    """Minimum, maximum, number not finite, number not zero, any fraction."""
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    if values.dtype.kind in "iu":
        if len(values) == 0:
            return np.inf, -np.inf, 0, 0, False
        return float(values.min()), float(values.max()), 0, int(np.count_nonzero(values)), False
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    found: tuple[float, float, int, int, bool] = _kernels.scan_values(values)
    return found


def _mark_cells(has_value: NDArray[np.bool_], axis: int, start: int, block: Any) -> None:
    if not sp.issparse(block):
        has_value[start : start + len(block)] = (block != 0).any(axis=1)
    elif axis == 1:
        has_value[block.indices[block.data != 0]] = True
    else:
        stored = np.diff(block.indptr) > 0
        if block.nnz and not block.data.all():  # stored zeros do not count
            stored = np.diff(np.concatenate([[0], np.cumsum(block.data != 0)])[block.indptr]) > 0
        has_value[start : start + block.shape[0]] = stored


def _classify(
    scan: MatrixScan, n_vars: int, density: float, common_total: float | None, assumed: Kind | None, name: str
) -> tuple[Kind, Transform, tuple[str, ...]]:
    panel = n_vars <= _PANEL_VARIABLES
    large = scan.maximum > _LARGEST_LOG
    raw_intensity: Transform = "log1p" if large and scan.minimum >= 0 else "none"
    if assumed is not None:
        steps: dict[Kind, Transform] = {
            "counts": "normalise",
            "log-normalised": "none",
            "intensity": raw_intensity,
        }
        return assumed, steps[assumed], ()
    if scan.integer_valued:
        return _classify_whole(scan, n_vars, density, name)
    if scan.minimum < 0:
        note = (
            f"{name} holds negative values (minimum {scan.minimum:.6g}): taken as z-scored or "
            "batch-corrected intensities and used as they are; detection-based statistics are weaker "
            "on such values"
        )
        return "intensity", "none", (note,)
    if common_total is not None:
        return "log-normalised", "none", ()
    if not large:
        return ("intensity" if panel else "log-normalised"), "none", ()
    if panel or density >= _RAW_INTENSITY_DENSITY:
        note = (
            f"{name} holds values up to {scan.maximum:.6g}: taken as raw intensities, log1p is taken for "
            "clustering and scoring (X itself stays as it is)"
        )
        return "intensity", "log1p", (note,)
    note = (
        f"{name} holds values with fractions up to {scan.maximum:.6g}: taken as estimated counts, or as "
        "scaled counts without logarithm; cells are scaled to 10,000 and log1p is taken "
        "(X itself stays as it is)"
    )
    return "counts", "normalise", (note,)


def _classify_whole(
    scan: MatrixScan, n_vars: int, density: float, name: str
) -> tuple[Kind, Transform, tuple[str, ...]]:
    shallow = scan.maximum > 1 and n_vars > _SHALLOW_VARIABLES and density < _SHALLOW_DENSITY
    if not shallow and scan.maximum <= _LARGEST_LOG:
        note = (
            f"{name} holds whole numbers up to {scan.maximum:.6g}, too few to be sure that they are counts: "
            "used as they are (assume='counts' treats them as counts)"
        )
        return "intensity", "none", (note,)
    notes = [f"{name} holds counts: each cell is scaled to 10,000 and log1p is taken (X itself stays as it is)"]
    if n_vars <= _PANEL_VARIABLES and density >= _RAW_INTENSITY_DENSITY:
        notes.append(
            f"{name} is a panel of {n_vars} variables with hardly any zero: if these are intensities and not "
            "counts, say so (assume='intensity')"
        )
    return "counts", "normalise", tuple(notes)


def _common_total(X: Any) -> float | None:
    """Total per cell of ``expm1(X)`` if the first cells share one to 0.1 %, else None."""
    if getattr(X, "format", "dense") == "csc" and not sp.issparse(X):
        return None  # rows of a gene-major file are scattered; not worth a second sweep
    block = X[: min(_CELLS_FOR_TOTALS, X.shape[0])]
    if sp.issparse(block):
        block = sp.csr_matrix(block, dtype=np.float64, copy=True)
        np.expm1(block.data, out=block.data)
    else:
        block = np.expm1(np.asarray(block, dtype=np.float64))
    totals = np.asarray(block.sum(axis=1)).ravel()
    totals = totals[totals > 0]
    if len(totals) < 2:
        return None
    middle = float(np.median(totals))
    return middle if np.abs(totals / middle - 1).max() < 1e-3 else None


def _assumed_kind(assume: str | None) -> Kind | None:
    if assume is None or assume == "auto":
        return None
    if assume not in _ASSUMED:
        hint = did_you_mean(assume, _ASSUMED)
        msg = f"assume={assume!r} is not known{hint or '; known: counts, lognorm, intensity'}"
        raise ParameterError(msg)
    return _ASSUMED[assume]


def require_numbers(X: Any, name: str) -> None:
    """Refuse a matrix without cells or genes, or whose values are not numbers."""
    if X.shape[0] == 0 or X.shape[1] == 0:
        msg = f"{name} is empty: {X.shape[0]:,} cells x {X.shape[1]:,} variables"
        raise InputError(msg)
    if np.dtype(X.dtype).kind not in "buif":
        msg = f"{name} holds values of type {X.dtype}, expected numbers"
        raise ScaleError(msg)


def _where(X: Any, name: str, var_names: Sequence[str] | None, is_bad: Callable[[Any], Any], what: str) -> str:
    cells = np.zeros(X.shape[0], dtype=bool)
    variables = np.zeros(X.shape[1], dtype=bool)
    for axis, start, block in sweep(X):
        rows, columns = _positions(block, is_bad)
        cells[rows + (start if axis == 0 else 0)] = True
        variables[columns + (start if axis == 1 else 0)] = True
    named = np.flatnonzero(variables)
    shown = ", ".join(str(var_names[i]) if var_names is not None else str(i) for i in named[:5])
    more = f" and {len(named) - 5:,} more" if len(named) > 5 else ""
    return (
        f"{name} holds {what} in {int(cells.sum()):,} of {X.shape[0]:,} cells; first variables: "
        f"{shown}{more}. Remove these cells or variables, or replace the values, before annotation"
    )


def _positions(block: Any, is_bad: Callable[[Any], Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    if not sp.issparse(block):
        rows, columns = np.nonzero(is_bad(block))
        return rows, columns
    entries = block.tocoo()
    bad = is_bad(entries.data)
    return entries.row[bad].astype(np.intp), entries.col[bad].astype(np.intp)


def _storage(X: Any) -> str:
    form = str(getattr(X, "source_format", None) or getattr(X, "format", "dense"))
    return form if isinstance(X, np.ndarray) or sp.issparse(X) else f"{form} (backed)"
