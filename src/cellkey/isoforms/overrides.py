"""``block.key=value`` settings of the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from cellkey.errors import ParameterError, Problem

__all__ = ["merge_settings", "parse_overrides"]


def parse_overrides(texts: Iterable[str]) -> dict[str, Any]:
    """Return nested settings from ``key=value`` and ``block.key=value`` texts.

    Values are YAML: numbers, ``true``, text, ``[a, b]``. ``null`` means the default, so such keys are left out.

    Raises
    ------
    ParameterError
        With one problem per text that is not of this form or that sets a block and a key of it.
    """
    nested: dict[str, Any] = {}
    problems = []
    for text in texts:
        key, sign, raw = text.lstrip("+").partition("=")
        parts = key.strip().split(".")
        if not sign or not all(parts):
            problems.append(Problem("is not of the form key=value or block.key=value", repr(text)))
            continue
        try:
            value = yaml.safe_load(raw)
        except yaml.YAMLError as error:
            problems.append(Problem(f"the value cannot be read: {str(error).splitlines()[0]}", repr(text)))
            continue
        if value is not None and not _put(nested, parts, value):
            problems.append(Problem("sets a key inside a value that is no block", repr(text)))
    if problems:
        msg = f"{len(problems)} override(s) cannot be used"
        raise ParameterError(msg, problems)
    return nested


def _put(nested: dict[str, Any], parts: list[str], value: Any) -> bool:
    place = nested
    for part in parts[:-1]:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            return False
    place[parts[-1]] = value
    return True


def merge_settings(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings in which later layers win key by key."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = merged.get(key)
            merged[key] = (
                merge_settings(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
            )
    return merged
