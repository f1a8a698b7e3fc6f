"""Numbers as compact text: fixed-point integers in base64, which a browser turns into typed arrays at once."""

from __future__ import annotations

import base64
import gzip
import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["fixed_point", "packed", "squeezed"]

MISSING = {"i2": -32768, "u2": 65535, "u1": 255}
"""What stands for a missing value in each type of integer."""


def packed(values: NDArray[Any], kind: str) -> str:
    """Return integers as base64 of little-endian ``i2``, ``u2`` or ``u1``."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=f"<{kind}").tobytes()).decode("ascii")


def fixed_point(values: ArrayLike, kind: str, steps: float) -> str:
    """Return numbers as ``round(value * steps)``, cut to what the integers hold; NaN as the missing value."""
    numbers = np.asarray(values, dtype=np.float64)
    limits = np.iinfo(np.dtype(kind))
    low, high = limits.min + (kind == "i2"), limits.max - (kind != "i2")
    absent = np.isnan(numbers)
    whole = np.clip(np.rint(np.where(absent, 0.0, numbers) * steps), low, high).astype(np.int64)
    return packed(np.where(absent, MISSING[kind], whole), kind)


def squeezed(values: Any) -> str:
    """Return JSON values as base64 of gzip, for long texts that are rarely looked at; always the same bytes."""
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), 6, mtime=0)).decode("ascii")
