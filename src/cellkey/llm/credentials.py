"""Keys: found in the environment or in a private file, carried hidden, removed from every text that leaves."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from cellkey.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["KEY_FILES", "find_key", "read_key_file", "redact", "without_keys"]

KEY_FILES = ("api_keys.json", "../api_keys.json")
"""Files that are looked at, relative to the working directory, when no other is named."""

_KEY_LIKE = re.compile(r"\b(?:(?:sk|pk|rk)[-_]|AIza)[A-Za-z0-9_\-*.]{6,}|(?i:bearer)\s+[^\s'\",;}]{6,}")


def find_key(
    names: Sequence[str],
    *,
    given: str | SecretStr | None = None,
    file: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    fields: Sequence[str] = (),
) -> SecretStr | None:
    """Return the first key found: given, then environment, then file; None if there is none.

    Parameters
    ----------
    names
        Environment variables in order of preference.
    given
        A key passed by the caller.
    file
        JSON file of names and keys. Without it, :data:`KEY_FILES` are tried.
    environment
        Stands in for the process environment.
    fields
        Names of the key inside the file (``openai_api_key``, ``openai``).

    Raises
    ------
    InputError
        If the file is not JSON, is missing although named, or may be read by others.
    """
    if given is not None:
        return given if isinstance(given, SecretStr) else SecretStr(given)
    variables = os.environ if environment is None else environment
    for name in names:
        if variables.get(name, "").strip():
            return SecretStr(variables[name].strip())
    found = read_key_file(file) if file is not None else _read_first(KEY_FILES)
    for field in fields:
        value = found.get(field)
        if value is not None and value.get_secret_value():
            return value
    return None


def _read_first(files: Iterable[str]) -> dict[str, SecretStr]:
    for file in files:
        if Path(file).is_file():
            return read_key_file(file)
    return {}


def read_key_file(file: str | Path) -> dict[str, SecretStr]:
    """Return the keys of a private JSON file, hidden.

    Raises
    ------
    InputError
        If the file cannot be used; the message never quotes its content.
    """
    path = Path(file)
    try:
        mode = path.stat().st_mode
        values = _parsed(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        msg = f"key file {path}: {reason}"
        raise InputError(msg) from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        msg = f"key file {path} is open to other users ({stat.S_IMODE(mode):04o}): run  chmod 600 {path}"
        raise InputError(msg)
    if values is None:
        msg = f'key file {path} must hold a JSON object such as {{"openai_api_key": "..."}}'
        raise InputError(msg)
    return values


def _parsed(path: Path) -> dict[str, SecretStr] | None:
    """Hide the keys at once, and lose errors of the parser: they carry the whole text, keys included."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError:
        return None
    if not isinstance(values, dict):
        return None
    return {str(k): SecretStr(v.strip()) for k, v in values.items() if isinstance(v, str)}


def without_keys(text: str, keys: Iterable[SecretStr | None]) -> str:
    """Return ``text`` without the given keys."""
    for key in keys:
        if key is not None and key.get_secret_value():
            text = text.replace(key.get_secret_value(), "[key]")
    return text


def redact(text: str, keys: Iterable[SecretStr | None] = ()) -> str:
    """Return ``text`` without the given keys and without anything that looks like a key."""
    return _KEY_LIKE.sub("[key]", without_keys(text, keys))
