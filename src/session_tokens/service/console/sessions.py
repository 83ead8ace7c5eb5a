"""The sessions: their list, what narrows it, and the page of one."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.responses import Response

from ...records import Session
from ..reserved import is_console_owner
from . import tokens as token_pages
from .addresses import address
from .explaining import gone
from .happened import timeline
from .html import Child, Html, h
from .lists import OLDEST, Call, Cut, by_creation, by_other, cut, exports, has, pager, tally
from .pieces import (
    button_link,
    card,
    copy,
    device_of,
    facts,
    form,
    hidden,
    id_link,
    instant,
    missing,
    moment,
    owner_link,
    picked,
    seconds,
    state_of,
    table,
    title,
    typed,
)
from .view import View

PATH = "/console/sessions"
STATES = (("", "any state"), ("attached", "attached"), ("detached", "detached"))
WHO = (("", "users"), ("visitors", "users and visitors"), ("console", "the console's own"))
SORTS = (
    ("", "last opened first"),
    (OLDEST, "first opened first"),
    ("seen", "last seen first"),
    ("ends", "next to end first"),
)
NEVER = 2**63 - 1


def query_of(view: View) -> dict[str, str]:
    """Return what an address narrows and orders a list of sessions by."""
    return {
        "q": view.given("q"),
        "owner": view.request.query_params.get("owner", ""),
        "state": view.one_of("state", "", "attached", "detached"),
        "who": view.one_of("who", "", "visitors", "console"),
        "sort": view.one_of("sort", "", OLDEST, "seen", "ends"),
    }


def listing_of(view: View, query: dict[str, str]) -> tuple[Call[Session], Callable[[Session], bool]]:
    """Return what reads a list of sessions, and whether one of them matches."""
    text, who, owner = query["q"], query["who"], query["owner"]
    detached = {"attached": False, "detached": True}.get(query["state"])
    call = partial(view.tokens.list_sessions, owner or None, detached=detached, anonymous=who == "visitors")

    def takes(session: Session) -> bool:
        if not owner and is_console_owner(session.owner) is not (who == "console"):
            return False
        return not text or matches(session, text)

    return call, takes


def matches(session: Session, text: str) -> bool:
    """Whether a session has a text in what it is known by."""
    return has(text, (session.owner, session.label, session.address, session.user_agent), (session.id,))


def sorted_by(sort: str) -> Callable[[Session], Any] | None:
    """Return the order of a list of sessions; ``None`` for that in which they are kept."""
    if sort == "seen":
        return lambda session: -session.last_seen_at
    if sort == "ends":
        return lambda session: NEVER if session.expires_at is None else session.expires_at
    return None


async def list_page(view: View) -> Child:
    """Return a page of living sessions."""
    query = query_of(view)
    call, takes = listing_of(view, query)
    shown = await cut(view, PATH, query, call, takes, sorted_by(query["sort"]), "sessions")
    heading = "Sessions"
    if query["owner"]:
        heading = f"Sessions of {query['owner']}"
    filters = h(
        "form",
        typed("q", "Owner, label, address, id or agent has", query["q"], type="search", maxlength=200),
        picked("state", "State", query["state"], STATES),
        picked("who", "Whose", query["who"], WHO) if not query["owner"] else hidden("owner", query["owner"]),
        picked("sort", "Order", query["sort"], SORTS),
        h("button", "Apply"),
        button_link("Reset", PATH, quiet=True),
        action=PATH,
        class_="filters",
    )
    empty = "No session here." if shown.after is None else "None in the part that was looked through; look further."
    inside: Child = sessions_table(heading, shown.items, view, query=query, empty=empty)
    if view.visitor.may("end_session") and shown.items:
        inside = form(PATH + "/end", view.visitor, inside, _bulk(query, shown), id="bulk")
    head = h("div", tally(shown, "session"), exports(PATH, query), class_="over")
    return h(
        "div", h("h1", heading), card("Living now", filters, head, inside, missing(shown.unreadable), pager(shown))
    )


def _bulk(query: dict[str, str], shown: Cut) -> Html:
    """Return the bar that ends many at once."""
    narrowed = {name: query[name] for name in ("q", "owner", "state", "who") if query[name]}
    all_of_them: Child = None
    if narrowed and shown.known > len(shown.items):
        words = f"End all that match ({shown.known:,}{'' if shown.is_all else '+'}) …"
        all_of_them = h("button", words, name="matching", value=address("", **narrowed)[1:], class_="danger")
    return h(
        "div",
        h("label", h("input", type="checkbox", id="tick-all"), "All on this page", class_="tick scripted"),
        h("button", "End those ticked …", class_="danger"),
        all_of_them,
        class_="bulk",
    )


def sessions_table(
    caption: str, sessions: list[Session], view: View, *, query: dict[str, str] | None = None, empty: str
) -> Html:
    """Return sessions as a table; with boxes to tick and headings to sort by in a list of its own."""
    opened, seen, ends = "Opened", "Last seen", "Ends"
    columns: list[Any] = ["Session", "Owner", "State", "Label, address", opened, seen, ends]
    rows: list[list[Child]] = [
        [
            id_link("sessions", s.id),
            owner_link(s.owner),
            state_of(s),
            device_of(s),
            instant(s.opened_at, view),
            instant(s.last_seen_at, view),
            instant(s.expires_at, view),
        ]
        for s in sessions
    ]
    if query is not None:
        columns[4:] = [
            by_creation(opened, PATH, query),
            by_other(seen, "seen", "descending", PATH, query),
            by_other(ends, "ends", "ascending", PATH, query),
        ]
        if view.visitor.may("end_session"):
            columns.insert(0, "Tick")
            for row, session in zip(rows, sessions, strict=True):
                row.insert(0, h("input", type="checkbox", name="id", value=session.id, aria_label=f"Tick {session.id}"))
    return table(caption, columns, rows, empty=empty)


async def session_page(view: View) -> Child | Response:
    """Return the page of one session."""
    id = view.request.path_params["id"]
    session = await view.tokens.get_session(id)
    if session is None:
        return await gone(view, id)
    return h(
        "div",
        title("Session", session.id),
        card("What it is", about(session, view)),
        card("Acts", acts(session, view)),
        card("Tokens that it holds", await token_pages.some(view, session=session.id)),
        card("Data", _data(session, view)),
        card("What happened", await timeline(view, session.id)),
    )


def about(session: Session, view: View) -> Html:
    """Return what there is to know of a session."""
    methods, rotated_at = ", ".join(session.amr), session.rotated_at
    proven: Child = [moment(session.authenticated_at, view), h("br"), f"{session.acr or ''} {methods}".strip() or None]
    return facts(
        [
            ("Owner", owner_link(session.owner)),
            ("State", state_of(session)),
            ("Label", session.label or h("span", "none", class_="muted")),
            ("Address", session.address or h("span", "unknown", class_="muted")),
            ("Opened", moment(session.opened_at, view)),
            ("Last seen", moment(session.last_seen_at, view)),
            ("Ends if not used", moment(session.expires_at, view)),
            ("Logged in", proven),
            ("Idle timeout", seconds(session.idle_timeout)),
            ("Maximum age", seconds(session.max_age)),
            ("Detached timeout", seconds(session.detached_timeout)),
            ("Rotated with grace", "never" if rotated_at is None else moment(rotated_at, view)),
            ("Detachable", "yes" if session.detachable else "no"),
            ("Opened by key", _key(session.client_id)),
            ("Version", session.version),
            ("User agent", session.user_agent or h("span", "unknown", class_="muted")),
        ]
    )


def _key(id: str | None) -> Child:
    return h("span", "none", class_="muted") if id is None else h("span", id, class_="id")


def acts(session: Session, view: View) -> Html:
    """Return what the visitor may do with a session."""
    at, visitor = f"{PATH}/{session.id}", view.visitor
    shown: list[Child] = []
    if visitor.may("detach_session") and session.detachable and not session.is_detached:
        shown.append(form(f"{at}/detach", visitor, h("button", "Detach", class_="quiet")))
    if visitor.may("attach_session") and session.is_detached:
        shown.append(form(f"{at}/attach", visitor, h("button", "Attach", class_="quiet")))
    if visitor.may("end_session"):
        shown.append(form(f"{at}/end", visitor, h("button", "End this session", class_="danger")))
    if visitor.may("explain"):
        shown.append(button_link("Explain it", address("/console/explain", id=session.id), quiet=True))
    return h("div", shown or h("p", "Your role only looks.", class_="muted"), class_="acts")


def _data(session: Session, view: View) -> Child:
    count = len(session.data)
    if not count:
        return h("p", "It keeps none.", class_="empty")
    if view.given("data") != "shown":
        words = f"Show the data ({count} field{'' if count == 1 else 's'})"
        return h("p", button_link(words, f"{PATH}/{session.id}?data=shown", quiet=True))
    text = json.dumps(json.loads(session.details.data_text), ensure_ascii=False, indent=2)
    return [h("code", text, class_="block", tabindex="0"), copy(text, "the data")]


async def some(view: View, owner: str) -> Child:
    """Return the first sessions of an owner, and where all of them are."""
    page = await view.tokens.list_sessions(owner, newest=True, limit=10)
    listed = sessions_table("Sessions", page.items, view, empty="No living session.")
    more = None
    if page.after is not None:
        more = h("p", button_link("All sessions of this owner", address(PATH, owner=owner), quiet=True))
    return [listed, missing(page.unreadable), more]


def as_row(session: Session) -> dict[str, Any]:
    """Return a session as a row of an export: what the list shows, whole; data are not in it."""
    whole = session.to_dict()
    del whole["data"]
    return whole
