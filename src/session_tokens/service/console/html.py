"""HTML that escapes by itself: whatever is not made here is text."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

VOID = frozenset({"meta", "link", "input", "br", "img", "wbr"})


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = str | int | None | Iterable["Child"]


def h(name: str, /, *children: Child, **attributes: str | bool | int | None) -> Html:
    """Return an element; attributes are written ``class_`` or ``hx_get``; ``None`` and ``False`` leave one out."""
    written = [name]
    for key, value in attributes.items():
        attribute = key.rstrip("_").replace("_", "-")
        if value is True:
            written.append(attribute)
        elif value is not None and value is not False:
            written.append(f'{attribute}="{escape(str(value))}"')
    opening = f"<{' '.join(written)}>"
    return Html(opening if name in VOID else f"{opening}{join(children)}</{name}>")


def join(children: Child) -> Html:
    """Return children one after the other, texts escaped."""
    if children is None:
        return Html("")
    if isinstance(children, Html):
        return children
    if isinstance(children, str | int):
        return Html(escape(str(children)))
    return Html("".join(join(child) for child in children))
