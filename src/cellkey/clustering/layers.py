"""Which matrix of an AnnData object to work on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellkey.errors import MissingFieldError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData

__all__ = ["pick_layer"]


def pick_layer(adata: AnnData, layer: str | None = None) -> tuple[str, Any]:
    """Return the name and the matrix to work on.

    ``layer`` if given, else ``layers["batchcorr"]``, else ``layers["aligned"]``, else ``X``.

    Raises
    ------
    MissingFieldError
        If ``layer`` is given but absent, or there is no matrix at all.
    """
    known = list(adata.layers)
    if layer is None:
        layer = next((name for name in ("batchcorr", "aligned") if name in known), "X")
    if layer in known:
        return layer, adata.layers[layer]
    if layer != "X":
        hint = did_you_mean(layer, [*known, "X"])
        msg = f"layer {layer!r} is not there{hint}; found: {_listed(['X', *known])}"
        raise MissingFieldError(msg)
    if adata.X is None:
        msg = f"the data have no X; name a layer instead (found: {_listed(known)})"
        raise MissingFieldError(msg)
    return "X", adata.X


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
