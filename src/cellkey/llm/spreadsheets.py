"""Texts of others in tables that people open with a spreadsheet program."""

from __future__ import annotations

import re

__all__ = ["neutral_cell", "one_line", "original_cell"]

_RUNS = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def neutral_cell(text: str) -> str:
    """Return ``text`` so that a spreadsheet shows it and never runs it.

    Texts that begin with ``=``, ``+``, ``-``, ``@`` or a control character get an apostrophe in front, which
    spreadsheet programs take as "this is text". Plain numbers stay as they are.
    """
    return f"'{text}" if text[:1] in _RUNS and _NUMBER.fullmatch(text) is None else text


def original_cell(text: str) -> str:
    """Return the text that :func:`neutral_cell` changed."""
    return text[1:] if text[:1] == "'" and text[1:2] in _RUNS and text[1:2] else text


def one_line(text: str) -> str:
    """Return ``text`` on one line, blanks and line ends as single blanks."""
    return " ".join(text.split())
