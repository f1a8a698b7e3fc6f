"""Tools for testing against cellkey: a model server with faults, scripted answers, clocks that do not wait,
a browser for the review page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellkey._lazy import lazy_names

if TYPE_CHECKING:
    from cellkey.testing.chromium import Chromium as Chromium
    from cellkey.testing.chromium import find_chromium as find_chromium
    from cellkey.testing.clocks import InstantClock as InstantClock
    from cellkey.testing.model_server import Fault as Fault
    from cellkey.testing.model_server import ModelServer as ModelServer
    from cellkey.testing.model_server import every_nth as every_nth
    from cellkey.testing.scripted_model import ScriptedModel as ScriptedModel
    from cellkey.testing.scripted_model import scripted_transport as scripted_transport

__getattr__, __dir__, __all__ = lazy_names(__name__, {
    "Chromium": "chromium",
    "Fault": "model_server",
    "InstantClock": "clocks",
    "ModelServer": "model_server",
    "ScriptedModel": "scripted_model",
    "every_nth": "model_server",
    "find_chromium": "chromium",
    "scripted_transport": "scripted_model",
})
