"""The pieces that pages are made of: instants, ids, owners, badges, tables, facts, forms."""

from __future__ import annotations

from collections.abc import Container, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote

from ...records import Session, Token
from .access import Visitor
from .html import Child, Html, h, join
from .view import AGO, View

MISSING_MAX = 20


def form(action: str, visitor: Visitor, *children: Child, class_: str | None = None, id: str | None = None) -> Html:
    """Return a form that changes something; it carries the visitor's CSRF token."""
    token = h("input", type="hidden", name="csrf", value=visitor.csrf)
    return h("form", token, children, method="post", action=action, class_=class_, id=id)


def hidden(name: str, value: str) -> Html:
    """Return a field that is sent and not seen."""
    return h("input", type="hidden", name=name, value=value)


def button_link(words: str, address: str, *, quiet: bool = False, **attributes: str | None) -> Html:
    """Return a link that looks like a button."""
    return h("a", words, href=address, class_="button quiet" if quiet else "button", **attributes)


# --- time ---


def exact(at_ms: int) -> str:
    """Return an instant as people read it, in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def instant(at_ms: int | None, view: View, *, never: str = "never") -> Html:
    """Return an instant as the visitor wants it: relative to now, in UTC, or (by the script) where the browser is."""
    if at_ms is None:
        return h("span", never, class_="muted")
    ago, absolute = relative(at_ms - view.now_ms), exact(at_ms)
    moment = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
    return h("time", ago if view.times == AGO else absolute, datetime=moment, title=absolute, data_ago=ago)


def moment(at_ms: int | None, view: View, *, never: str = "never") -> Child:
    """Return an instant both ways: the exact one, and how far away it is."""
    if at_ms is None:
        return h("span", never, class_="muted")
    exactly = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
    return [
        h("time", exact(at_ms), datetime=exactly, class_="exact"),
        h("span", " ", relative(at_ms - view.now_ms), class_="muted small"),
    ]


def relative(difference_ms: int) -> str:
    """Return a difference in words: ``in 5 min``, ``3 h ago``."""
    seconds = abs(difference_ms) // 1000
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            said = f"{seconds // size} {unit}"
            break
    else:
        said = f"{seconds} s"
    return f"in {said}" if difference_ms > 0 else f"{said} ago"


def seconds(duration: float | None) -> str:
    """Return a duration in words."""
    if duration is None:
        return "never"
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if duration >= size and duration % size == 0:
            return f"{int(duration // size)} {unit}"
    return f"{duration:g} s"


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a number with its word: ``1 session``, ``3,000 sessions``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


# --- names ---


def state_of(session: Session) -> Html:
    """Return a session's state as a badge."""
    word = "detached" if session.is_detached else "attached"
    return h("span", word, class_=f"badge {word}")


def kind_of(token: Token) -> Html:
    """Return a token's kind as a badge."""
    word = "unassigned" if token.is_unassigned else token.kind.value
    return h("span", word, class_=f"badge {word}")


def owner_address(owner: str, act: str = "") -> str:
    """Return the address of an owner's page, or of an act on it.

    Browsers take ``.`` and ``..`` out of a path, percent-encoded ones too; owners of these names stand in the query.
    """
    end = f"/{act}" if act else ""
    if owner in (".", ".."):
        return f"/console/owners{end}?owner={owner}"
    return f"/console/owners/{quote(owner, safe='')}{end}"


def owner_link(owner: str | None, disabled: Container[str] = ()) -> Child:
    """Return a link to an owner's page, marked where they are disabled."""
    if owner is None:
        return h("span", "none", class_="muted")
    link = h("a", owner, href=owner_address(owner))
    return [link, " ", h("span", "disabled", class_="badge ended")] if owner in disabled else link


def id_link(kind: str, id: str | None) -> Child:
    """Return a link to a session (``sessions``) or token (``tokens``), its id cut short, and a button to copy it."""
    if id is None:
        return h("span", "none", class_="muted")
    short = h("a", id[:10] + "…" + id[-4:], href=f"/console/{kind}/{id}", class_="id", title=id)
    return h("span", short, copy(id), class_="copied")


def id_shown(id: str) -> Html:
    """Return an id that leads nowhere, cut short, and a button to copy it."""
    return h("span", h("span", id[:10] + "…" + id[-4:], class_="id", title=id), copy(id), class_="copied")


def copy(text: str, named: str | None = None) -> Html:
    """Return a button that copies a text; without the script it is not shown."""
    return h("button", "Copy", type="button", class_="copy", data_copy=text, aria_label=f"Copy {named or text}")


def title(kind: str, id: str) -> Html:
    """Return the heading of a page about one thing."""
    return h("div", h("h1", kind, " ", h("span", id, class_="id")), copy(id), class_="headed")


def device_of(session: Session) -> Child:
    """Return what tells people which session it is: its label, its address."""
    if session.label is None and session.address is None:
        return h("span", "none", class_="muted")
    parts: list[Child] = []
    if session.label is not None:
        parts.append(session.label)
    if session.address is not None:
        parts.append(h("span", session.address, class_="muted small"))
    return h("span", parts[0], *([h("br"), parts[1]] if len(parts) > 1 else []))


def price_of(token: Token) -> Child:
    """Return a token's price, and whether it is a gift."""
    if token.gift:
        return "gift"
    if not token.is_sellable:
        return h("span", "not offered", class_="muted")
    if token.price is None:
        return "offered, no price"
    return f"{token.price} {token.currency or ''}".strip()


# --- tables and cards ---


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        name: its heading.
        sort: the address that sorts by it, if it can be sorted by.
        sorted_by: ``ascending`` or ``descending`` where the table is in its order.
    """

    name: str
    sort: str | None = None
    sorted_by: str | None = None


def table(caption: str, columns: Sequence[str | Column], rows: Sequence[Sequence[Child]], *, empty: str) -> Html:
    """Return a table whose rows become cards on a small screen; an empty one says so in words."""
    if not rows:
        return h("p", empty, class_="empty")
    heads = [column if isinstance(column, Column) else Column(column) for column in columns]
    head = h("thead", h("tr", [_heading(column) for column in heads], role="row"), role="rowgroup")
    body = [
        h(
            "tr",
            [
                h("td", h("div", cell), role="cell", data_label=column.name)
                for column, cell in zip(heads, row, strict=True)
            ],
            role="row",
        )
        for row in rows
    ]
    # What is shown as a card keeps being a table for those who hear it.
    return h(
        "table", h("caption", caption, class_="unseen"), head, h("tbody", body, role="rowgroup"), role="table",
    )  # fmt: skip


def _heading(column: Column) -> Html:
    inside: Child = column.name
    if column.sort is not None:
        arrow = {"ascending": " ↑", "descending": " ↓"}.get(column.sorted_by or "", "")
        inside = h("a", column.name, h("span", arrow, aria_hidden="true"), href=column.sort)
    return h("th", inside, scope="col", role="columnheader", aria_sort=column.sorted_by)


def facts(pairs: Sequence[tuple[str, Child]]) -> Html:
    """Return names and values side by side."""
    return h("dl", [h("div", h("dt", name), h("dd", value)) for name, value in pairs], class_="facts")


def card(title: str, *children: Child, class_: str = "") -> Html:
    """Return a titled part of a page."""
    return h("section", h("h2", title), children, class_=f"card {class_}".rstrip())


def missing(unreadable: Sequence[str]) -> Child:
    """Return a note of what a list leaves out because it cannot be read."""
    if not unreadable:
        return ""
    words = f"Left out, as {len(unreadable)} cannot be read: {some_of(unreadable)}. session-tokens check says why."
    return h("p", words, class_="muted")


def some_of(ids: Sequence[str]) -> str:
    """Return the first of many ids."""
    return ", ".join(ids[:MISSING_MAX]) + (" …" if len(ids) > MISSING_MAX else "")


def picked(name: str, label: str, chosen: str, choices: Sequence[tuple[str, str]]) -> Html:
    """Return a field in which one of some words is picked."""
    options = [h("option", said, value=value, selected=value == chosen) for value, said in choices]
    return h("label", label, h("select", options, name=name))


def typed(name: str, label: str, value: str = "", **attributes: str | bool | int | None) -> Html:
    """Return a field in which something is typed."""
    return h("label", label, h("input", name=name, value=value or None, autocomplete="off", **attributes))


def joined(*parts: Child) -> Html:
    """Return pieces one after the other."""
    return join(parts)
