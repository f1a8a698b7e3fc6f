"""Progress of long work: a bar in notebooks and on terminals, silence elsewhere.

``CELLKEY_PROGRESS=0`` in the environment silences all bars.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

__all__ = ["Progress", "in_notebook", "shown_progress", "with_progress"]

Progress = Callable[[str, "float | None"], None]

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")


def in_notebook() -> bool:
    """Return whether the code runs in a kernel that shows images and widgets."""
    shell = sys.modules.get("IPython")
    running = shell.get_ipython() if shell is not None and hasattr(shell, "get_ipython") else None
    return running is not None and hasattr(running, "kernel")


def with_progress(function: Callable[_Given, _Answer]) -> Callable[_Given, _Answer]:
    """Let a function with a callback ``progress`` also take True, False and None; see :func:`shown_progress`."""
    @functools.wraps(function)
    def run(*arguments: _Given.args, **named: _Given.kwargs) -> _Answer:
        chosen: Any = named.get("progress")
        with shown_progress(chosen) as tell:
            named["progress"] = tell
            return function(*arguments, **named)

    return run


@contextlib.contextmanager
def shown_progress(wanted: Progress | bool | None = None) -> Iterator[Progress | None]:
    """Yield a callback for the name of the step and the share done; None where nothing is to be shown.

    Parameters
    ----------
    wanted
        A callback is passed on. None shows a bar in notebooks and in interactive sessions on a terminal; True shows one
        on any terminal; False shows none.
    """
    if callable(wanted):
        yield wanted
    elif wanted is False or os.environ.get("CELLKEY_PROGRESS", "") == "0":
        yield None
    elif in_notebook():
        with _notebook_bar() as tell:
            yield tell
    elif sys.stderr is not None and sys.stderr.isatty() and (wanted is True or hasattr(sys, "ps1")):
        with _terminal_bar() as tell:
            yield tell
    else:
        yield None


@contextlib.contextmanager
def _notebook_bar() -> Iterator[Progress | None]:
    """A bar of tqdm, as a widget where these are installed; it goes when the work is done."""
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tqdm warns where ipywidgets is missing, and draws text instead
            from tqdm.auto import tqdm
    except ImportError:
        yield None
        return
    with tqdm(total=1.0, leave=False, bar_format="{desc}: {bar} {elapsed}") as bar:
        def report(step: str, share: float | None) -> None:
            bar.set_description_str(step)
            bar.n = 0.0 if share is None else min(share, 1.0)
            bar.refresh()

        yield report


@contextlib.contextmanager
def _terminal_bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def report(step: str, share: float | None) -> None:
            bar.update(task, description=step, total=None if share is None else 1.0, completed=share or 0.0)

        yield report
