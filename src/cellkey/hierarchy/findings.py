"""What reading a hierarchy finds: errors, warnings and notes, each with its line and node."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from cellkey.errors import Problem
from cellkey.hierarchy.cell_type import path_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Finding", "Findings", "Severity"]

Severity = Literal["error", "warning", "note"]
_ORDER: Final[dict[Severity, int]] = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found in a hierarchy file.

    Attributes
    ----------
    severity
        ``error``: the hierarchy cannot be used; ``warning``: it can, but probably not as meant; ``note``:
        good to know.
    message
        What was found.
    line
        Line in the file, counted from 1; None where there are no lines (values given in memory,
        spreadsheets).
    node
        Path text of the cell type, empty for the whole file.
    fix
        What mends it.
    """

    severity: Severity
    message: str
    line: int | None = None
    node: str = ""
    fix: str = ""

    @property
    def where(self) -> str:
        """Line and node as text."""
        return ", ".join(part for part in (f"line {self.line}" if self.line else "", self.node) if part)

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text} ({self.fix})" if self.fix else text

    def as_problem(self) -> Problem:
        """Return the finding in the form that errors list."""
        return Problem(self.message, self.where, self.fix)


@dataclass(slots=True)
class Findings:
    """Collects findings in the order of the file."""

    items: list[Finding] = field(default_factory=list)

    def error(self, message: str, line: int | None = None, node: Sequence[str] = (), fix: str = "") -> None:
        """Add something that makes the hierarchy unusable."""
        self.items.append(Finding("error", message, line, path_text(node), fix))

    def warning(self, message: str, line: int | None = None, node: Sequence[str] = (), fix: str = "") -> None:
        """Add something that is probably not meant."""
        self.items.append(Finding("warning", message, line, path_text(node), fix))

    def note(self, message: str, line: int | None = None, node: Sequence[str] = (), fix: str = "") -> None:
        """Add something good to know."""
        self.items.append(Finding("note", message, line, path_text(node), fix))

    def of(self, severity: Severity) -> list[Finding]:
        """Return the findings of one severity, by line, each once."""
        return [f for f in self.sorted() if f.severity == severity]

    def sorted(self) -> list[Finding]:
        """Return all findings, errors first, then by line; each once."""
        unique: Iterable[Finding] = dict.fromkeys(self.items)
        return sorted(unique, key=lambda f: (_ORDER[f.severity], f.line or 0))
