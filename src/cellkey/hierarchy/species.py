"""What names of genes tell of the species: Ensembl ids, and the letters of symbols."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ENSEMBL_ID", "ENSEMBL_VERSION", "MOUSE_STYLE", "guess_species"]

ENSEMBL_ID: Final = re.compile(r"^ENS(?P<species>[A-Z]{0,5}?)(?P<kind>[GT])\d{11}(?P<version>\.\d+)?$")
ENSEMBL_VERSION: Final = re.compile(r"\.\d+$")
_SPECIES_OF: Final = {
    "": "human", "MUS": "mouse", "RNO": "rat", "DAR": "zebrafish", "MMU": "macaque", "SSC": "pig",
}
MOUSE_STYLE: Final = re.compile(r"^[A-Z][a-z][A-Za-z0-9.\-]*$|^[A-Z]\d*[a-z][a-z0-9.\-]*$")


def guess_species(names: Sequence[str]) -> str | None:
    """Return the species that Ensembl ids or the letters of gene symbols tell of, None if they do not.

    Symbols tell only in number: at least 50 names with letters are needed, more than seven tenths of them as in mouse
    (``Cd3e``) or more than nine tenths as in human (``CD3E``).
    """
    ids = [match["species"] for n in names[:2000] if (match := ENSEMBL_ID.match(n))]
    if len(ids) > 0.5 * len(names[:2000]):
        return _SPECIES_OF.get(Counter(ids).most_common(1)[0][0])
    worded = [n for n in names if (len(n) > 1 and n[:2].isalpha()) or sum(c.isalpha() for c in n[:4]) >= 2]
    if len(worded) < 50:
        return None
    mixed = [n for n in worded if n != n.upper()]
    lower = sum(MOUSE_STYLE.match(n) is not None for n in mixed) / len(worded)
    upper = (len(worded) - len(mixed) + sum(map(_is_open_reading_frame, mixed))) / len(worded)
    return "mouse" if lower > 0.7 else "human" if upper > 0.9 else None


def _is_open_reading_frame(name: str) -> bool:
    return re.match(r"^C[\dXY]+orf\d+", name) is not None
