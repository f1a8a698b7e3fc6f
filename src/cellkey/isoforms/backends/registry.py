"""Names of backends; a backend is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from cellkey.errors import ParameterError, did_you_mean

if TYPE_CHECKING:
    from cellkey.isoforms.backends.interface import Backend

__all__ = ["backend_names", "get_backend"]

_BACKENDS = ("spectral", "correlation", "baseline", "latent", "graph", "multiplex", "vae", "wgcna")
"""A backend and its module have one name."""


def backend_names() -> tuple[str, ...]:
    """Return the names of all backends, the default first."""
    return _BACKENDS


def get_backend(name: str) -> Backend:
    """Return a backend by name.

    Raises
    ------
    ParameterError
        If there is no such backend.
    """
    if name not in _BACKENDS:
        msg = f"unknown backend {name!r}{did_you_mean(name, _BACKENDS)}; backends are {', '.join(_BACKENDS)}"
        raise ParameterError(msg)
    backend: Backend = import_module(f"cellkey.isoforms.backends.{name}").BACKEND
    return backend
