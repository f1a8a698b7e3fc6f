"""Settings of exports, given as ``NAME=VALUE``: checked against what the form knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellkey.errors import InputError, ParameterError, Problem, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["check_settings", "parse_settings"]


def parse_settings(texts: Iterable[str]) -> dict[str, str]:
    """Return ``NAME=VALUE`` texts as a mapping.

    Raises
    ------
    ParameterError
        For a text without ``=``, or a name given twice with different values.
    """
    settings: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            msg = f"--set {text!r} is not of the form NAME=VALUE, such as --set uns.title='Blood of three donors'"
            raise ParameterError(msg)
        if settings.get(name, value) != value:
            msg = f"--set gives {name} twice: {settings[name]!r} and {value!r}"
            raise ParameterError(msg)
        settings[name] = value
    return settings


def check_settings(form: str, given: Mapping[str, str], known: Mapping[str, str]) -> None:
    """Refuse settings that the form does not know.

    Parameters
    ----------
    known
        Names and meanings; a name that ends with ``*`` stands for all that begin so.

    Raises
    ------
    InputError
        With all unknown names.
    """
    prefixes = tuple(k[:-1] for k in known if k.endswith("*"))
    unknown = [n for n in given if n not in known and not (prefixes and n.startswith(prefixes))]
    if unknown:
        names = ", ".join(known) or "none"
        msg = f"the export to {form} has no such setting; it has: {names}"
        raise InputError(msg, [Problem(f"unknown setting{did_you_mean(n, known)}", n) for n in unknown])
