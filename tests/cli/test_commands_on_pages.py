"""Commands that the documentation shows exist, with every option that they are shown with."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from cellkey.cli import build_app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [p for p in [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"] if "generated" not in p.parts]
BLOCK = re.compile(r"^ *```(?:bash|console|\{code-cell\})\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?:\$ )?(?:cellkey|ctr) (.*)")


def commands(text: str) -> Iterator[list[str]]:
    """Words of every command in the shell blocks of a page, and in its running text."""
    blocks = "\n".join(BLOCK.findall(text)).replace("\\\n", " ").splitlines()
    for line in [*map(str.strip, blocks), *re.findall(r"`((?:cellkey|ctr) [^`\n]+)`", text)]:
        if found := COMMAND.match(line):
            yield shlex.split(found[1], comments=True)


def unknown(words: list[str], command: Any) -> list[str]:
    """What a command line holds that the command does not know."""
    while getattr(command, "commands", None) and words[:1] != ["--help"]:
        if not words or words[0] not in command.commands:
            return words[:1] or ["(a command is missing)"]
        command, words = command.commands[words[0]], words[1:]
    known = {"--help", "-h", *(o for p in command.params for o in (*p.opts, *p.secondary_opts))}
    own = words[:words.index("--")] if "--" in words else words
    return [w for w in own if w.startswith("--") and w.partition("=")[0] not in known]


@pytest.mark.skipif(len(PAGES) < 2, reason="the pages are not beside the tests")
def test_commands_on_pages_exist() -> None:
    """A renamed command or option is renamed on every page."""
    app = get_command(build_app())  # type: ignore[arg-type]
    shown = [(page, words) for page in PAGES for words in commands(page.read_text(encoding="utf-8"))]
    assert len(shown) > 100
    wrong = [f"{page.relative_to(ROOT)}: cellkey {' '.join(words)}: {', '.join(missing)}"
             for page, words in shown if (missing := unknown(words, app))]
    assert not wrong, "\n".join(wrong)
