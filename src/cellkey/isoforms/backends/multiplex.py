"""Both channels as layers of one graph: the graph backend with edges between abundance features too."""

from __future__ import annotations

from cellkey.isoforms.backend_settings import MultiplexParameters
from cellkey.isoforms.backends.baseline import ORIGINAL_FEATURES
from cellkey.isoforms.backends.graph import infer
from cellkey.isoforms.backends.interface import Backend

__all__ = ["BACKEND"]

BACKEND = Backend(
    name="multiplex",
    description="the graph backend with edges inside both channels, their abundance threshold chosen from a grid",
    parameters=MultiplexParameters,
    infer=infer,
    feature_defaults=ORIGINAL_FEATURES,
)
