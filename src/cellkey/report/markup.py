"""The few pieces of HTML that the report is put together from; whatever comes from data is escaped here."""

from __future__ import annotations

import html
import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Markup", "element", "json_island", "number", "table"]


class Markup(str):
    """Text that is HTML already; every other text is escaped where it enters a page."""

    __slots__ = ()


def _safe(value: Any) -> str:
    return value if isinstance(value, Markup) else html.escape(str(value), quote=True)


def element(name: str, *content: Any, **attributes: str | bool) -> Markup:
    """Return an element; ``class_`` gives ``class``, ``data_x`` gives ``data-x``, True an attribute without value."""
    parts = [name]
    for key, value in attributes.items():
        if value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        parts.append(attribute if value is True else f'{attribute}="{_safe(value)}"')
    return Markup(f"<{' '.join(parts)}>{''.join(map(_safe, content))}</{name}>")


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], **attributes: str | bool) -> Markup:
    """Return a table; numbers stand to the right."""
    titles = element("tr", *(element("th", h, scope="col") for h in head))
    body = [element("tr", *(_cell(v) for v in row)) for row in rows]
    inner = element("table", element("thead", titles), element("tbody", *body), **attributes)
    return element("div", inner, class_="wide")


def _cell(value: Any) -> Markup:
    text = value if isinstance(value, str) else number(value)
    return element("td", text, class_="" if isinstance(value, str) else "n")


def number(value: Any, digits: int = 2) -> str:
    """Return a number for readers: thousands apart, few decimals, nothing for NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and math.isfinite(value) and not value.is_integer():
        return f"{value:,.{digits}f}"
    return f"{int(value):,}" if isinstance(value, int | float) and math.isfinite(value) else str(value)


def json_island(values: Any, name: str) -> Markup:
    """Return values as JSON for programs that read the page; no text in them can end the element."""
    text = json.dumps(values, ensure_ascii=True, allow_nan=False, sort_keys=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(f'<script type="application/json" id="{html.escape(name)}">{text}</script>')
