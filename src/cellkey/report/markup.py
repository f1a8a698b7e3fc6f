"""The few pieces of HTML that the report is put together from; whatever comes from data is escaped here."""

from __future__ import annotations

import html
import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Markup", "anchor", "element", "facts", "folded", "json_island", "number", "percent", "table"]


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


def facts(pairs: Iterable[tuple[str, Any]]) -> Markup:
    """Return a list of names and values, without those that are empty."""
    shown = [(k, v) for k, v in pairs if str(v) not in ("", "nan")]
    texts = [(k, v if isinstance(v, str) else number(v)) for k, v in shown]
    return element("dl", *(element("div", element("dt", k), element("dd", v)) for k, v in texts))


def folded(title: str | Markup, *content: Any, **attributes: str | bool) -> Markup:
    """Return content that opens on a click, also where scripts are off."""
    return element("details", element("summary", title), *content, **attributes)


def number(value: Any, digits: int = 2) -> str:
    """Return a number for readers: thousands apart, few decimals, nothing for NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and math.isfinite(value) and not value.is_integer():
        return f"{value:,.{digits}f}"
    return f"{int(value):,}" if isinstance(value, int | float) and math.isfinite(value) else str(value)


def percent(value: float) -> str:
    """Return a share as a percentage; nothing for NaN."""
    return "" if math.isnan(value) else f"{100 * value:.0f} %"


def anchor(*names: str) -> str:
    """Return an identifier for an element, the same for the same names and different for different ones."""
    return "c-" + "--".join("".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in n) for n in names)


def json_island(values: Any, name: str) -> Markup:
    """Return values as JSON for programs that read the page; no text in them can end the element."""
    text = json.dumps(values, ensure_ascii=True, allow_nan=False, sort_keys=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(f'<script type="application/json" id="{html.escape(name)}">{text}</script>')
