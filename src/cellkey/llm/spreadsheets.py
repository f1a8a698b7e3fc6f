"""Texts of others in tables that people open with a spreadsheet program."""

from __future__ import annotations

__all__ = ["neutral_cell", "one_line"]


def neutral_cell(text: str) -> str:
    """Return ``text`` so that a spreadsheet shows it and never runs it: an apostrophe before ``= + - @``."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def one_line(text: str) -> str:
    """Return ``text`` on one line, blanks and line ends as single blanks."""
    return " ".join(text.split())
