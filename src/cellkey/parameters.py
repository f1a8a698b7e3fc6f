"""Frozen, validated parameter models that read alike from JSON, YAML, flags and Python.

Every tunable part of cellkey declares its parameters as a subclass of :class:`Parameters`. Unknown keys are
errors with a suggestion, all problems are reported at once, and the whole model goes into the run record.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from cellkey.errors import ParameterError, Problem, did_you_mean

__all__ = ["Parameters", "read_mapping"]


class Parameters(BaseModel):
    """Base of all parameter models: immutable, strict about names, comparable by value."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=True)

    @classmethod
    def parse(cls, source: str | Path | Mapping[str, Any] | None = None, *, option: str = "") -> Self:
        """Return a validated model.

        Parameters
        ----------
        source
            A mapping, inline JSON, a path to a JSON or YAML file, ``@path``, or None for all defaults.
        option
            How the user named the source (``"--scoring-params"``), used in messages.

        Raises
        ------
        ParameterError
            With one problem per unknown key, wrong type or value out of range.
        """
        values = read_mapping(source, option=option)
        try:
            return cls(**values)
        except ValidationError as error:
            problems = [_problem(cls, detail) for detail in error.errors()]
            title = f"{option or cls.__name__}: {len(problems)} invalid setting(s)"
            raise ParameterError(title, problems) from None

    def updated(self, **changes: Any) -> Self:
        """Return a validated copy with some values replaced."""
        return type(self).parse({**self.model_dump(), **changes})


def read_mapping(source: str | Path | Mapping[str, Any] | None, *, option: str = "") -> dict[str, Any]:
    """Return the mapping that ``source`` holds: a mapping, inline JSON, a file path or ``@path``.

    Raises
    ------
    ParameterError
        If the text is not valid, the file is missing, or the content is not a mapping.
    """
    if source is None:
        return {}
    if isinstance(source, Mapping):
        return dict(source)
    text, name = _text_of(source, option)
    value = _value_of(text, name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        msg = f"{name} must hold an object of names and values, but holds {type(value).__name__}"
        raise ParameterError(msg)
    return {str(k): v for k, v in value.items()}


def _text_of(source: str | Path, option: str) -> tuple[str, str]:
    inline = isinstance(source, str) and (source.lstrip().startswith("{") or _is_dots(source.strip()))
    if inline:
        return str(source), option or "the inline parameters"
    path = Path(str(source).removeprefix("@"))
    name = f"{option} {path}".strip()
    if not str(source):
        msg = f"{option or 'the parameters'}: an empty text; leave the option out, or give inline JSON or a file"
        raise ParameterError(msg)
    try:
        return path.read_text(encoding="utf-8-sig"), name
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except UnicodeDecodeError:
        reason = "not UTF-8 text"
    msg = f"{name}: {reason}; give inline JSON such as '{{\"name\": 1}}' or the path of a JSON or YAML file"
    raise ParameterError(msg)


def _value_of(text: str, name: str) -> Any:
    """Parse JSON, or YAML where the text does not begin like JSON; every way to fail is one message."""
    try:
        bare = _COMMENT.sub(lambda found: found[1] or re.sub(r"[^\n]", " ", found[0]), text)  # no place moves
        if bare.lstrip().startswith("{"):
            value = json.loads(bare, object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)
        else:
            value = None if _is_dots(text.strip()) else yaml.safe_load(text)
    except json.JSONDecodeError as error:
        msg = f"{name} is not valid JSON: line {error.lineno}, column {error.colno}: {_json_trouble(text, error)}"
    except yaml.YAMLError as error:
        spaces = "; indent with spaces, YAML takes no tabs" if "'\\t'" in str(error) else ""
        msg = f"{name} is neither valid JSON nor valid YAML: {error}{spaces}"
    except RecursionError:
        msg = f"{name} cannot be used: values are nested too deeply"
    except ValueError as error:  # a repeated name or NaN; else Python's own limit of 4,300 digits
        reason = "a number has thousands of digits" if "digits" in str(error) else str(error)
        msg = f"{name} cannot be used: {reason}"
    else:
        if _is_dots(text.strip()):
            msg = f"{name} holds {_PLACEHOLDER}"
        elif (number := _unusable_number(value)) is not None:
            msg = f"{name} holds the number {str(number)[:24]}, which is beyond what any setting can mean"
        else:
            return value
    raise ParameterError(msg) from None


_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)  # or a text, which is kept
_PLACEHOLDER = "'...', which is a placeholder: write the real content there, or remove it"


def _is_dots(text: str) -> bool:
    return text in ("...", "\u2026")


def _json_trouble(text: str, error: json.JSONDecodeError) -> str:
    rest = text[error.pos :].lstrip()
    if rest.startswith(("...", "\u2026")):
        return f"there is {_PLACEHOLDER}"
    return error.msg + ("; names and texts stand in double quotes" if rest.startswith("'") else "")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            msg = f"{name!r} is given more than once, keep one of them"
            raise ValueError(msg)
        values[name] = value
    return values


def _refuse_constant(word: str) -> NoReturn:
    msg = f"{word} is not a JSON value, leave the setting out for no limit"
    raise ValueError(msg)


def _unusable_number(value: Any) -> float | int | None:
    """Return the first number inside that no setting can mean: infinite, NaN, or beyond 64 bits."""
    if isinstance(value, Mapping | list):
        parts = value.values() if isinstance(value, Mapping) else value
        return next((n for part in parts if (n := _unusable_number(part)) is not None), None)
    if isinstance(value, float):
        return None if math.isfinite(value) else value
    return value if isinstance(value, int) and abs(value) >= 2**63 else None


def _problem(model: type[BaseModel], detail: Any) -> Problem:
    where = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        known = _known_names(model, detail["loc"][:-1])
        hint = did_you_mean(str(detail["loc"][-1]), known)
        return Problem(f"unknown setting{hint}", where, "" if hint else f"known: {', '.join(sorted(known))}")
    message = detail["msg"].removeprefix("Value error, ")
    value = detail.get("input")
    shown = "" if isinstance(value, Mapping) else f", but got {value!r}"
    return Problem(message[:1].lower() + message[1:] + shown, where)


def _known_names(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Names a setting may have at ``location``, following nested models and mappings of models."""
    current: Any = model
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel) and str(part) in current.model_fields:
            current = current.model_fields[str(part)].annotation
        current = _nested_model(current) or current
    if not (isinstance(current, type) and issubclass(current, BaseModel)):
        return []
    aliases = (f.alias or name for name, f in current.model_fields.items())
    return list(aliases)


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _nested_model(argument)
        if found is not None:
            return found
    return None
