"""Backends that find modules of genes in a feature matrix."""

from __future__ import annotations

from cellkey.isoforms.backends.interface import Backend, Network, edge_frame
from cellkey.isoforms.backends.registry import backend_names, get_backend

__all__ = ["Backend", "Network", "backend_names", "edge_frame", "get_backend"]
