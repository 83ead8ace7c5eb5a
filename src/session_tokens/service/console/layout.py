"""The frame of every page, and the pieces that pages are made of."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from ...records import Session, Token
from .access import Visitor
from .html import Child, Html, h, join

NAVIGATION = (
    ("/console", "Overview", "read_sessions"),
    ("/console/sessions", "Sessions", "read_sessions"),
    ("/console/sessions?detached=yes", "Detached", "read_sessions"),
    ("/console/tokens", "Tokens", "read_tokens"),
    ("/console/market", "Market", "read_tokens"),
    ("/console/unassigned", "Unassigned", "read_tokens"),
    ("/console/audit", "Audit", "read_keys"),
    ("/console/keys", "Keys", "read_keys"),
)
HTMX_CONFIG = json.dumps({"includeIndicatorStyles": False, "allowEval": False, "selfRequestsOnly": True})
STATIC = "/console/static/"


def document(title: str, body: Child, *, theme: str | None, visitor: Visitor | None = None, path: str = "") -> str:
    """Return a whole page."""
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("meta", name="htmx-config", content=HTMX_CONFIG),
        h("meta", name="color-scheme", content=theme or "light dark"),
        h("title", f"{title} · session-tokens"),
        h("link", rel="icon", href="data:,"),
        h("link", rel="stylesheet", href=STATIC + "vendor/uPlot-1.6.32.min.css"),
        h("link", rel="stylesheet", href=STATIC + "console.css"),
        h("script", src=STATIC + "vendor/htmx-2.0.11.min.js", defer=True),
        h("script", src=STATIC + "vendor/uPlot-1.6.32.iife.min.js", defer=True),
        h("script", src=STATIC + "console.js", defer=True),
    )
    headers = None if visitor is None else json.dumps({"X-CSRF-Token": visitor.csrf})
    inner = (
        body
        if visitor is None
        else join([_top(visitor, path), h("main", body, id="main", tabindex="-1", class_="page")])
    )
    skip = None if visitor is None else h("a", "Skip to the content", href="#main", class_="skip")
    page = h("html", head, h("body", skip, inner, hx_headers=headers), lang="en", data_theme=theme)
    return "<!doctype html>" + page


def _top(visitor: Visitor, path: str) -> Html:
    links = [
        h("a", name, href=address, aria_current="page" if address == path else None)
        for address, name, act in NAVIGATION
        if visitor.may(act)
    ]
    search = h(
        "form",
        h("input", type="search", name="q", placeholder="Owner or id", aria_label="Find an owner or an id", id="find"),
        action="/console/find",
        class_="find",
        role="search",
    )
    person = h(
        "div",
        h("button", "Theme", type="button", id="theme", class_="quiet"),
        h("span", visitor.key.role, class_="role", title=visitor.key.id),
        form("/console/leave", visitor, h("button", "Leave", class_="quiet")),
        class_="person",
    )
    return h(
        "header",
        h("a", "session-tokens", href="/console", class_="brand"),
        h("nav", links, aria_label="Console"),
        search,
        person,
        class_="top",
    )


def form(action: str, visitor: Visitor, *children: Child, class_: str | None = None) -> Html:
    """Return a form that changes something; it carries the visitor's CSRF token."""
    token = h("input", type="hidden", name="csrf", value=visitor.csrf)
    return h("form", token, children, method="post", action=action, class_=class_)


def instant(at_ms: int | None, *, now_ms: int | None = None) -> Html:
    """Return an instant relative to now, exact when pointed at."""
    if at_ms is None:
        return h("span", "never", class_="muted")
    exact = datetime.fromtimestamp(at_ms / 1000, UTC)
    now_ms = int(time.time() * 1000) if now_ms is None else now_ms
    return h(
        "time", relative(at_ms - now_ms), datetime=exact.isoformat(), title=exact.strftime("%Y-%m-%d %H:%M:%S UTC")
    )


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


def owner_link(owner: str | None) -> Child:
    """Return a link to an owner's page."""
    return h("span", "none", class_="muted") if owner is None else h("a", owner, href=owner_address(owner))


def id_link(kind: str, id: str | None) -> Child:
    """Return a link to a session (``sessions``) or token (``tokens``), its id cut short."""
    if id is None:
        return h("span", "none", class_="muted")
    return h("a", id[:10] + "…" + id[-4:], href=f"/console/{kind}/{id}", class_="id", title=id)


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Child]], *, empty: str) -> Html:
    """Return a table that scrolls by itself on a small screen; an empty one says so in words."""
    if not rows:
        return h("p", empty, class_="empty")
    head = h("thead", h("tr", [h("th", column, scope="col") for column in columns]))
    body = h("tbody", [h("tr", [h("td", cell) for cell in row]) for row in rows])
    made = h("table", h("caption", caption, class_="unseen"), head, body)
    return h("div", made, class_="scroll", tabindex="0", role="region", aria_label=caption)


def facts(pairs: Sequence[tuple[str, Child]]) -> Html:
    """Return names and values side by side."""
    return h("dl", [h("div", h("dt", name), h("dd", value)) for name, value in pairs], class_="facts")


def card(title: str, *children: Child, class_: str = "") -> Html:
    """Return a titled part of a page."""
    return h("section", h("h2", title), children, class_=f"card {class_}".rstrip())


def more(cursor: str | None, address: str) -> Child:
    """Return a link to the next page of a listing, where there is one."""
    if cursor is None:
        return None
    return h("p", h("a", "Next page", href=f"{address}{'&' if '?' in address else '?'}after={cursor}", class_="button"))
