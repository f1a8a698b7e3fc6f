"""Output of shell cells as it was printed: pieces that arrive apart are joined without a line end between them.

The notebook kernel passes the output of ``%%bash`` on in pieces of a hundred characters, and the extension that merges
them ends each with a line break, in the middle of words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def whole_streams(outputs: list[Any]) -> list[Any]:
    """Return the outputs of a cell with all text of one stream in one place."""
    streams: dict[str, Any] = {}
    kept = []
    for output in outputs:
        name = output["name"] if output["output_type"] == "stream" else None
        if name in streams:
            streams[name]["text"] += output["text"]
            continue
        if name is not None:
            streams[name] = output
        kept.append(output)
    return kept


def setup(app: Sphinx) -> dict[str, Any]:
    """Take the place of the extension's own merging."""
    from myst_nb.core import render

    render.coalesce_streams = whole_streams  # type: ignore[attr-defined,unused-ignore]
    return {"parallel_read_safe": True}
