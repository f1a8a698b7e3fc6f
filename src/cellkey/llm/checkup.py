"""Whether a model can be asked from here: one short table instead of a failed run."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from cellkey.errors import CellkeyError
from cellkey.llm.cache import default_cache_file
from cellkey.llm.setup import SCRIPTED, ClientTeam

if TYPE_CHECKING:
    from pathlib import Path

    from cellkey.llm.setup import ModelSettings

__all__ = ["check_model"]


def check_model(settings: ModelSettings, *, probe: bool = True) -> list[tuple[str, bool, str]]:
    """Return what is needed for asking a model, whether it is there, and what was found; keys are never shown.

    Parameters
    ----------
    settings
        Provider, model, key file.
    probe
        Whether one tiny call is made, which may cost a fraction of a cent.
    """
    rows = [_terms(), _writable("cache of answers", default_cache_file().parent)]
    try:
        team = ClientTeam(settings.updated(cache="off"))
    except CellkeyError as error:
        return [*rows, ("provider and key", False, str(error))]
    with team:
        provider = team.main.provider
        key = "a key was found" if provider.key is not None else "no key, which this address does not need"
        rows.append(("provider and key", True, f"{provider.name} at {provider.host}; {key}"))
        price = team.main.price
        shown = f"${price.input_per_million:g}/M in, ${price.output_per_million:g}/M out ({price.source})"
        rows.append(("price", price.is_known, shown))
        if probe and provider.name != SCRIPTED:
            rows.append(_answer(team))
    return rows


def _answer(team: ClientTeam) -> tuple[str, bool, str]:
    begun = time.monotonic()
    try:
        reply = team.main.probe()
    except CellkeyError as error:
        return "answer", False, str(error)
    return "answer", True, f"{reply.model} answered in {time.monotonic() - begun:.1f} s"


def _terms() -> tuple[str, bool, str]:
    from cellkey.hierarchy.ontology import bundled_ontology

    ontology = bundled_ontology()
    return "Cell Ontology", len(ontology) > 0, f"{len(ontology)} terms, release {ontology.version}"


def _writable(what: str, folder: Path) -> tuple[str, bool, str]:
    there = next(p for p in (folder, *folder.parents) if p.exists())
    good = os.access(there, os.W_OK)
    return what, good, str(folder) if good else f"{there} cannot be written; CELLKEY_CACHE_DIR names another folder"
