"""Frozen, validated parameter models that read alike from JSON, YAML, flags and Python.

Every tunable part of cellkey declares its parameters as a subclass of :class:`Parameters`. Unknown keys are
errors with a suggestion, all problems are reported at once, and the whole model goes into the run record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, get_args

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
    try:
        value = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        place = f"line {error.lineno}, column {error.colno}: {error.msg}" if isinstance(
            error, json.JSONDecodeError) else str(error)
        msg = f"{name} is not valid JSON: {place}"
        raise ParameterError(msg) from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        msg = f"{name} must hold an object of names and values, but holds {type(value).__name__}"
        raise ParameterError(msg)
    return {str(k): v for k, v in value.items()}


def _text_of(source: str | Path, option: str) -> tuple[str, str]:
    if isinstance(source, str) and source.lstrip().startswith("{"):
        return source, option or "the inline parameters"
    path = Path(str(source).removeprefix("@"))
    name = f"{option} {path}".strip()
    try:
        return path.read_text(encoding="utf-8"), name
    except OSError as error:
        reason = error.strerror or type(error).__name__
        msg = f"{name}: {reason}; give inline JSON such as '{{\"name\": 1}}' or the path of a JSON or YAML file"
        raise ParameterError(msg) from None


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
