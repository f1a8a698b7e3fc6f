"""Tools for testing against cellkey: a model server with faults, scripted answers, clocks that do not wait,
a browser for the review page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellkey.testing.chromium import Chromium, find_chromium
    from cellkey.testing.clocks import InstantClock
    from cellkey.testing.model_server import Fault, ModelServer, every_nth
    from cellkey.testing.scripted_model import ScriptedModel, scripted_transport

__all__ = [
    "Chromium",
    "Fault",
    "InstantClock",
    "ModelServer",
    "ScriptedModel",
    "every_nth",
    "find_chromium",
    "scripted_transport",
]

_HOMES = {
    "Chromium": "chromium",
    "Fault": "model_server",
    "InstantClock": "clocks",
    "ModelServer": "model_server",
    "ScriptedModel": "scripted_model",
    "every_nth": "model_server",
    "find_chromium": "chromium",
    "scripted_transport": "scripted_model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(f"cellkey.testing.{_HOMES[name]}"), name)
