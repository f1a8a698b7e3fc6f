"""Print constraints.txt: the versions that are installed for the named extras of cellkey, and nothing else.

Run it with the Python of an environment in which the tests pass:
``.venv/bin/python .ci/pin.py > constraints.txt``
"""

from __future__ import annotations

import importlib.metadata as metadata
import sys

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("dask", "docs", "isoforms", "lint", "llm", "mcp", "peers", "scanpy", "spatial", "spreadsheet", "test", "umap")
HEADER = f"""\
# Versions that the tests and the documentation of this release ran with; used by the Makefile.
# Made by .ci/pin.py from the extras {", ".join(EXTRAS)}.
"""


def pinned(package: str, extras: tuple[str, ...]) -> dict[str, str]:
    """Return name and version of everything that ``package`` with ``extras`` needs, without itself."""
    versions: dict[str, str] = {}
    seen: set[tuple[str, tuple[str, ...]]] = set()
    waiting = [(package, extras)]
    while waiting:
        item = waiting.pop()
        if item in seen:
            continue
        seen.add(item)
        name, wanted = item
        distribution = metadata.distribution(name)
        versions[name] = distribution.version
        for line in distribution.requires or []:
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in (*wanted, "")):
                waiting.append((canonicalize_name(requirement.name), tuple(sorted(requirement.extras))))
    del versions[package]
    return versions


if __name__ == "__main__":
    lines = (f"{name}=={version}\n" for name, version in sorted(pinned("cellkey", EXTRAS).items()))
    sys.stdout.write(HEADER + "".join(lines))
