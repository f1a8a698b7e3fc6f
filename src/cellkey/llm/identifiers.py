"""Cluster identifiers are opaque text: how they are read, compared and sorted."""

from __future__ import annotations

import math
import re
from typing import Any

__all__ = ["cluster_id", "natural_key"]

_NUMBER = re.compile(r"(\d+)")


def cluster_id(value: Any) -> str:
    """Return the identifier of a cluster as text: integral floats lose their ``.0``, missing values are
    ``""``.
    """
    if value is None:
        return ""
    if isinstance(value, float) or type(value).__name__.startswith("float"):
        if math.isnan(value):
            return ""
        return str(int(value)) if float(value).is_integer() else str(value)
    text = str(value)
    return "" if text in ("<NA>", "nan", "NaT") else text


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key that compares numbers inside text as numbers, so that ``10`` follows ``9``."""
    parts = _NUMBER.split(text)
    return tuple((0, int(p), p) if p.isdecimal() and p.isascii() else (1, 0, p) for p in parts if p)
