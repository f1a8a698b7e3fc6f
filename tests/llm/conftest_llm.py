"""Marker tables of planted clusters, and clients of servers on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest

from cellkey.llm import (
    AnnotationResult,
    Journal,
    Lane,
    LiveTransport,
    ModelClient,
    RetryPolicy,
    Study,
    Timeouts,
    annotate_markers,
    provider_from,
)
from cellkey.testing import InstantClock, ModelServer

PLANTED = {
    "0": ("CD3D", "CD3E", "TRAC", "IL7R", "CD2", "CD247", "LCK", "CD3G", "TRBC1", "TRBC2"),
    "1": ("MS4A1", "CD79A", "CD79B", "CD19", "BANK1", "PAX5", "CD22", "VPREB3", "TCL1A", "FCRLA"),
    "10": ("LYZ", "CD14", "S100A8", "FCN1", "CST3", "CSF1R", "CD68", "MRC1", "CD163", "C1QA"),
    "CD4+ T_x": ("PECAM1", "VWF", "CDH5", "CLDN5", "KDR", "EGFL7", "FLT1", "TEK", "ERG", "EMCN"),
}
EXPECTED = {
    "0": "CD4-positive, alpha-beta T cell",
    "1": "mature B cell",
    "10": "monocyte",
    "CD4+ T_x": "endothelial cell",
}


def planted_markers(planted: dict[str, tuple[str, ...]] | None = None) -> pd.DataFrame:
    """A marker table in which each cluster has its own genes, and lacks those of the others."""
    clusters = planted or PLANTED
    rows = []
    for cluster, own in clusters.items():
        for other, genes in clusters.items():
            for rank, gene in enumerate(genes):
                high = other == cluster
                rows.append(
                    {
                        "cluster": cluster,
                        "gene": gene,
                        "avg_log2FC": 3.0 - 0.1 * rank if high else -2.0,
                        "pct.1": 0.9 if high else 0.05,
                        "pct.2": 0.1 if high else 0.6,
                        "p_val": 1e-50,
                        "p_val_adj": 1e-48,
                        "score": 40.0 - rank if high else -20.0,
                    }
                )
        assert own
    return pd.DataFrame(rows)


class Room:
    """A server, clients that do not really wait, and one call to annotate."""

    def __init__(self, server: ModelServer) -> None:
        self.server = server
        self.clock = InstantClock(time.time())
        self.clients: list[ModelClient] = []

    def client(self, **options: Any) -> ModelClient:
        """Return a client of the server; options are those of ``ModelClient``, and ``provider``'s name."""
        provider = options.pop("provider", None) or provider_from(self.server.url, environment={})
        model = options.pop("model", "scripted")
        options.setdefault("clock", self.clock)
        options.setdefault("timeouts", Timeouts(2.0, 0.5, 1.0))
        options.setdefault("lane", Lane(8, clock=options["clock"]))
        made = ModelClient(provider, model, options.pop("transport", None) or LiveTransport(), **options)
        self.clients.append(made)
        return made

    def annotate(self, client: ModelClient | None = None, **options: Any) -> AnnotationResult:
        """Annotate the planted clusters."""
        options.setdefault("study", Study("blood", "human", dataset="planted"))
        markers = options.pop("markers", None)
        return annotate_markers(
            planted_markers() if markers is None else markers, client or self.client(), clock=self.clock, **options
        )


@pytest.fixture
def markers() -> pd.DataFrame:
    return planted_markers()


@pytest.fixture
def room(request: pytest.FixtureRequest) -> Iterator[Room]:
    """A room around a server without faults; tests set ``room.server.plan``."""
    with ModelServer() as server:
        made = Room(server)
        yield made
        for client in made.clients:
            client.close()


@pytest.fixture
def patient() -> RetryPolicy:
    return RetryPolicy(retries=8)


@pytest.fixture
def journal_at(tmp_path: Any) -> Callable[[], Journal]:
    return lambda: Journal(tmp_path / "calls.jsonl")
