"""The frame of every page: its head, its bar, its foot, and the keys that are pressed in it."""

from __future__ import annotations

import json

from .access import Visitor
from .html import Child, Html, h, join
from .pieces import form
from .view import AGO, LOCAL, UTC_TIMES, Look

NAVIGATION = (
    ("/console", "Overview", "read_sessions"),
    ("/console/sessions", "Sessions", "read_sessions"),
    ("/console/owners", "Owners", "read_owners"),
    ("/console/tokens", "Tokens", "read_tokens"),
    ("/console/unassigned", "Unassigned", "read_tokens"),
    ("/console/market", "Market", "read_tokens"),
    ("/console/explain", "Explain", "explain"),
    ("/console/audit", "Audit", "read_audit"),
    ("/console/keys", "Keys", "read_keys"),
)
KEYS = (
    ("/", "find an owner, session, token, address or label"),
    ("o", "overview"),
    ("s", "sessions"),
    ("w", "owners"),
    ("t", "tokens"),
    ("u", "unassigned tokens"),
    ("e", "explain an id"),
    ("n", "next page of a list"),
    ("p", "previous page of a list"),
    ("?", "these keys"),
)
HTMX_CONFIG = json.dumps({"includeIndicatorStyles": False, "allowEval": False, "selfRequestsOnly": True})
STATIC = "/console/static/"


def document(title: str, body: Child, *, look: Look, visitor: Visitor | None = None, path: str = "") -> str:
    """Return a whole page."""
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("meta", name="htmx-config", content=HTMX_CONFIG),
        h("meta", name="color-scheme", content=look.theme or "light dark"),
        h("title", f"{title} · session-tokens"),
        h("link", rel="icon", href="data:,"),
        h("link", rel="stylesheet", href=STATIC + "vendor/uPlot-1.6.32.min.css"),
        h("link", rel="stylesheet", href=STATIC + "console.css"),
        h("script", src=STATIC + "vendor/htmx-2.0.11.min.js", defer=True),
        h("script", src=STATIC + "vendor/uPlot-1.6.32.iife.min.js", defer=True),
        h("script", src=STATIC + "console.js", defer=True),
    )
    headers = None if visitor is None else json.dumps({"X-CSRF-Token": visitor.csrf})
    inner: Child = body
    if visitor is not None:
        skip = h("a", "Skip to the content", href="#main", class_="skip")
        inner = [
            skip, _bar(visitor, path, look), h("main", body, id="main", tabindex="-1", class_="page"), _foot(visitor),
            _keys(),
        ]  # fmt: skip
    page = h(
        "html", head, h("body", join(inner), hx_headers=headers), lang="en", data_theme=look.theme,
        data_times=look.times,
    )  # fmt: skip
    return "<!doctype html>" + page


def _bar(visitor: Visitor, path: str, look: Look) -> Html:
    links = [
        h("a", name, href=address, aria_current="page" if address == path else None)
        for address, name, act in NAVIGATION
        if visitor.may(act)
    ]
    field = h(
        "input", type="search", name="q", placeholder="Owner, id, label, address", id="find", maxlength=200,
        aria_label="Find by part of an owner, label, address or id", autocomplete="off",
    )  # fmt: skip
    search = h("form", field, h("kbd", "/", aria_hidden="true"), action="/console/find", class_="find", role="search")
    return h(
        "header",
        h("div", h("a", "session-tokens", href="/console", class_="brand"), search, _settings(look), class_="upper"),
        h("nav", links, aria_label="Console"),
        class_="top",
    )


def _settings(look: Look) -> Html:
    words = ((AGO, "Times: ago"), (UTC_TIMES, "Times: UTC"), (LOCAL, "Times: here"))
    options = [h("option", said, value=times, selected=times == look.times) for times, said in words]
    return h(
        "div",
        h("select", options, id="times", aria_label="How times are written", autocomplete="off"),
        h("button", "Theme", type="button", id="theme", class_="quiet"),
        class_="settings",
    )


def _foot(visitor: Visitor) -> Html:
    return h(
        "footer",
        h("span", "Entered as ", h("b", visitor.key.role), " with ", h("span", visitor.key.id, class_="id")),
        h("button", "Keys ", h("kbd", "?"), type="button", id="show-keys", class_="quiet"),
        form("/console/leave", visitor, h("button", "Leave", class_="quiet")),
        class_="foot",
    )


def _keys() -> Html:
    listed = [h("div", h("dt", h("kbd", key)), h("dd", what)) for key, what in KEYS]
    closing = h("form", h("button", "Close", class_="quiet"), method="dialog")
    return h(
        "dialog", h("h2", "Keys", id="keys-title"), h("dl", listed), closing, id="keys", aria_labelledby="keys-title"
    )
