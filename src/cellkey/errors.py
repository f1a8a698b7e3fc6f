"""Everything cellkey raises or warns with.

::

    CellkeyError
    ├── InputError (ValueError)            bad input or option; the command line exits with 2
    │   ├── ParameterError                 unknown key, wrong type or value out of range
    │   ├── MissingFieldError (KeyError)   a column, layer or key that is not there
    │   ├── ScaleError                     values on another scale than the one needed
    │   ├── MissingGenesError              markers that the data do not measure
    │   ├── HierarchyError                 a marker hierarchy that cannot be used
    │   └── BundleError                    an isoform bundle that cannot be used
    ├── NothingToDoError                   the request selects nothing; exit code 3
    ├── RunError                           a run directory that cannot be read or written
    ├── ServiceError                       a remote service (language model)
    │   ├── RateLimitedError
    │   ├── RefusedError
    │   ├── AnswerInvalidError
    │   └── BudgetExceededError
    └── MissingDependencyError (ImportError)   an optional package; the message names the extra

    CellkeyWarning (UserWarning)
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "AnswerInvalidError",
    "BudgetExceededError",
    "BundleError",
    "CellkeyError",
    "CellkeyWarning",
    "HierarchyError",
    "InputError",
    "MissingDependencyError",
    "MissingFieldError",
    "MissingGenesError",
    "NothingToDoError",
    "ParameterError",
    "Problem",
    "RateLimitedError",
    "RefusedError",
    "RunError",
    "ScaleError",
    "ServiceError",
    "did_you_mean",
]


class CellkeyError(Exception):
    """Root of all errors that a caller can act on."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input: where it is, what was found, and what mends it."""

    what: str
    where: str = ""
    fix: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} ({self.fix})" if self.fix else text


class InputError(CellkeyError, ValueError):
    """Input or an option that cannot be used.

    Parameters
    ----------
    message
        One sentence: what was read, what was found, what was expected.
    problems
        All single findings, when there are several; they are listed below the message.
    """

    def __init__(self, message: str, problems: Iterable[Problem] = ()) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.message = message
        super().__init__("\n".join([message, *(f"  - {p}" for p in self.problems)]))

    def __str__(self) -> str:  # KeyError's own form would quote the text
        return str(self.args[0])


class ParameterError(InputError):
    """A parameter with an unknown name, a wrong type or a value out of range."""


class MissingFieldError(InputError, KeyError):
    """A column, layer, embedding or key that the input does not hold."""


class ScaleError(InputError):
    """Values on a scale that the step cannot use (NaN, negative counts, scaled values)."""


class MissingGenesError(InputError):
    """Markers that the data do not measure."""


class HierarchyError(InputError):
    """A marker hierarchy that cannot be read or is inconsistent."""


class BundleError(InputError):
    """An isoform bundle that cannot be read or is inconsistent."""


class NothingToDoError(CellkeyError):
    """The request is valid but selects nothing."""


class RunError(CellkeyError):
    """A run directory that cannot be created, written, read or resumed."""


class ServiceError(CellkeyError):
    """A remote service failed; the message never holds credentials."""


class RateLimitedError(ServiceError):
    """The service asked to slow down and patience ran out."""


class RefusedError(ServiceError):
    """The service refused the request (credentials, permissions, policy)."""


class AnswerInvalidError(ServiceError):
    """The service answered, but not in the agreed form."""


class BudgetExceededError(ServiceError):
    """The next call would exceed the budget of the run."""


class MissingDependencyError(CellkeyError, ImportError):
    """An optional package is needed.

    Parameters
    ----------
    package
        Name of the package that could not be imported.
    extra
        Extra of cellkey that brings it.
    purpose
        What it is needed for, as a noun phrase.
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}: pip install 'cellkey[{extra}]'")
        self.package = package
        self.extra = extra


class CellkeyWarning(UserWarning):
    """Something was done on the user's behalf that they should know of."""


def did_you_mean(name: str, known: Iterable[str], n: int = 3) -> str:
    """Return ``"; did you mean 'a' or 'b'?"`` for close matches of ``name``, else an empty string."""
    by_folded = {k.casefold(): k for k in known}
    hits: Sequence[str] = difflib.get_close_matches(name.casefold(), by_folded, n=n, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(by_folded[h]) for h in hits)}?" if hits else ""
