"""The Python blocks of the article that presents HierAnnot, taken from its text where that is at hand."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

__all__ = ["article_text", "python_blocks"]

_QUOTES = str.maketrans({"\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'", "\u00a0": " "})


def article_text() -> str | None:
    """Return the article: the file named by ``CELLKEY_ARTICLE``, else the one beside the labelled data."""
    named = os.environ.get("CELLKEY_ARTICLE")
    if named:
        return Path(named).read_text(encoding="utf-8")
    folder = Path(__file__).resolve().parents[3] / "shared" / "seeds"
    found = sorted(folder.glob("002*.txt")) if folder.is_dir() else []
    return found[0].read_text(encoding="utf-8") if found else None


def python_blocks(text: str) -> list[str]:
    """Return the blocks in order: after each line ``Code``, the longest run of lines that is Python."""
    lines = text.translate(_QUOTES).split("\n")
    starts = [i + 1 for i, line in enumerate(lines) if line.strip() == "Code"]
    blocks = []
    for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True):
        if lines[start].strip() in ("R", "Terminal"):
            continue
        blocks.append(_longest_python(lines[start : stop - 1]))
    return blocks


def _longest_python(lines: list[str]) -> str:
    for end in range(len(lines), 0, -1):
        source = "\n".join(lines[:end]) + "\n"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compile(source, "article", "exec")
        except SyntaxError:
            continue
        return source
    return ""
