"""The owners: who has sessions, who is disabled, and the page of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from ...contract.queries import Count, Get
from ...crypto.secret_form import SESSION_ID
from ...records import OwnerSummary
from ...validation import cursor_of
from ..exchange import decoded
from ..reserved import is_console_owner
from . import sessions, tokens
from .addresses import address
from .explaining import NOTHING, answer
from .happened import seen_of, timeline
from .html import Child, Html, h
from .lists import OLDEST, SHOWN, by_creation, by_other, cut, exports, has, pager, tally
from .pieces import (
    Column,
    button_link,
    card,
    copy,
    counted,
    facts,
    form,
    instant,
    missing,
    moment,
    owner_address,
    owner_link,
    picked,
    table,
    typed,
)
from .view import View

PATH = "/console/owners"
WHICH = (("", "with sessions"), ("disabled", "disabled"))
SORTS = (
    ("", "newest first"),
    (OLDEST, "oldest first"),
    ("sessions", "most sessions first"),
    ("name", "by name"),
)
AT_ONCE = 150
"""Owners of one read: a little less than the sessions of one step of such a list, so that one step is enough."""
LOOKED_AT = 3 * AT_ONCE
"""Owners that one page looks at: each of them is four records."""
OLDEST_ID = SESSION_ID + 24 * "0"
"""Stands for the id of a session that is gone."""


def owner_in(view: View) -> str:
    """Return the owner that an address names, in its path or its query.

    Raises:
        InvalidInput: the path is not percent-encoded UTF-8.
    """
    request = view.request
    return decoded(request.path_params.get("owner", "")) or request.query_params.get("owner", "")


def query_of(view: View) -> dict[str, str]:
    """Return what an address narrows and orders a list of owners by."""
    return {
        "q": view.given("q"),
        "which": view.one_of("which", *(which for which, _ in WHICH)),
        "sort": view.one_of("sort", *(sort for sort, _ in SORTS)),
    }


def takes_of(query: dict[str, str]) -> Callable[[OwnerSummary], bool]:
    """Return whether an owner belongs in a list; those of the console belong in none."""
    text = query["q"]
    return lambda each: not is_console_owner(each.owner) and (not text or has(text, (each.owner,)))


def sorted_by(sort: str) -> Callable[[OwnerSummary], Any] | None:
    """Return the order of a list of owners; ``None`` for that in which their oldest sessions were opened."""
    if sort == "sessions":
        return lambda each: (-each.sessions, each.owner)
    if sort == "name":
        return lambda each: (each.owner.casefold(), each.owner)
    return None


async def owners(view: View) -> Child | Response:
    """Return the list of owners, or the page of the one that the query names."""
    if "owner" in view.request.query_params:
        return await owner_page(view)
    query = query_of(view)
    inside = await (_disabled(view, query) if query["which"] == "disabled" else _living(view, query))
    return h("div", h("h1", "Owners"), inside)


async def _living(view: View, query: dict[str, str]) -> Html:
    """Return a page of the owners who have living sessions."""

    async def place_of(each: OwnerSummary) -> str:
        """Return where in the list an owner is: at the oldest of their sessions."""
        oldest = (await view.tokens.list_sessions(each.owner, limit=1)).items
        return cursor_of((oldest[0].created_at, oldest[0].id) if oldest else (each.since or 0, OLDEST_ID))

    call, takes = view.tokens.list_owners, takes_of(query)
    shown = await cut(
        view,
        PATH,
        query,
        call,
        takes,
        sorted_by(query["sort"]),
        "owners",
        place_of=place_of,
        most=LOOKED_AT,
        at_once=AT_ONCE,
    )
    empty = "No owner has a living session."
    if query["q"] or shown.after is not None:
        empty = "No owner here." if shown.after is None else "None in the part that was looked through; look further."
    columns: list[str | Column] = [
        by_other("Owner", "name", "ascending", PATH, query),
        "State",
        by_other("Sessions", "sessions", "descending", PATH, query),
        by_creation("Oldest opened", PATH, query),
    ]
    rows: list[list[Child]] = [
        [owner_link(each.owner), _state(each.disabled_at), f"{each.sessions:,}", instant(each.since, view)]
        for each in shown.items
    ]
    head = h("div", tally(shown, "owner"), exports(PATH, query), class_="over")
    said = "With living sessions, in order of the oldest of them"
    listed = table("Owners", columns, rows, empty=empty)
    return card(said, _filters(query), head, listed, missing(shown.unreadable), pager(shown))


async def _disabled(view: View, query: dict[str, str]) -> Html:
    """Return a page of the owners who are disabled; the store lists them in an order of its own, one way."""
    after, takes = view.given("after") or None, takes_of(query)
    page = await view.tokens.list_disabled_owners(after=after, limit=SHOWN)
    found = sorted(filter(takes, page), key=lambda each: -(each.disabled_at or 0))
    rows: list[list[Child]] = [
        [owner_link(each.owner), _state(each.disabled_at), instant(each.disabled_at, view)] for each in found
    ]
    empty = "No owner is disabled."
    if query["q"] or after is not None or page.after is not None:
        empty = "None in this part of the list" + ("." if page.after is None else "; go on.")
    links: list[Child] = []
    if after is not None:
        links.append(button_link("← To the beginning", address(PATH, **query), quiet=True, id="previous-page"))
    if page.after is not None:
        links.append(button_link("Next page →", address(PATH, **query, after=page.after), quiet=True, id="next-page"))
    on_page = "" if after is None and page.after is None else " on this page"
    head = h(
        "div", h("span", counted(len(rows), "owner") + on_page, class_="tally"), exports(PATH, query), class_="over"
    )
    listed = table("Owners", ("Owner", "State", "Disabled since"), rows, empty=empty)
    way = h("div", links, class_="pager") if links else None
    return card("Disabled: nothing is opened for them", _filters(query), head, listed, missing(page.unreadable), way)


def _filters(query: dict[str, str]) -> Html:
    """Return the fields that narrow and order a list of owners."""
    return h(
        "form",
        typed("q", "Owner has", query["q"], type="search", maxlength=200),
        picked("which", "Which", query["which"], WHICH),
        picked("sort", "Order", query["sort"], SORTS) if query["which"] != "disabled" else None,
        h("button", "Apply"),
        button_link("Reset", PATH, quiet=True),
        action=PATH,
        class_="filters",
    )


def _state(disabled_at: int | None) -> Html:
    word, look = ("active", "attached") if disabled_at is None else ("disabled", "ended")
    return h("span", word, class_=f"badge {look}")


async def known(view: View, owner: str) -> OwnerSummary | None:
    """Return what the store knows of an owner; ``None`` where it knows nothing: no session, no entry, no token."""
    _, (entry, count) = await view.tokens.store.read([Get("entry", owner), Count("sessions_of", owner)])
    disabled_at = None if entry.value is None else entry.value.disabled_at
    if count.value or entry.value is not None or (await view.tokens.list_tokens(owner=owner, limit=1)).items:
        return OwnerSummary(owner, count.value, None, disabled_at)
    return None


async def owner_page(view: View) -> Child | Response:
    """Return the page of one owner; of whom nothing is known, that it is so."""
    owner = owner_in(view)
    if not owner:
        return answer(view, "Not here", h("div", h("h1", "Not here"), h("p", NOTHING, class_="notice")), 404)
    summary = await known(view, owner)
    seen = await seen_of(view, owner, is_owner=True)
    if summary is None and not seen.happened:
        looked = "No living session or token is theirs, they are not disabled, and nothing is known to have happened."
        link = h("a", "Find what has that in it", href=address("/console/find", q=owner))
        inside = [h("h1", "Owner ", owner), h("p", NOTHING, class_="notice"), h("p", looked, " ", link)]
        return answer(view, "Not here", h("div", inside), 404)
    summary = summary or OwnerSummary(owner, 0, None, None)
    is_disabled = summary.disabled_at is not None
    about = facts(
        [
            ("State", _state(summary.disabled_at)),
            ("Disabled since", moment(summary.disabled_at, view, never="not disabled")),
            ("Sessions", summary.sessions),
        ]
    )
    mark = h("span", "disabled", class_="badge ended") if is_disabled else None
    return h(
        "div",
        h("div", h("h1", "Owner ", owner), copy(owner), mark, class_="headed"),
        card("What they are", about),
        card("Sessions", await sessions.some(view, owner)),
        card("Tokens", await tokens.some(view, owner=owner)),
        _acts(view, owner, is_disabled=is_disabled),
        card("What happened", await timeline(view, owner, seen, is_owner=True)),
    )


def _acts(view: View, owner: str, *, is_disabled: bool) -> Html:
    """Return what the visitor may do to an owner: of disabling and enabling the one that changes something."""
    visitor = view.visitor
    shown: list[Child] = []
    if visitor.may("end_session"):
        field = typed("typed", "Type the owner to end all their sessions", required=True)
        button = h("button", "End all sessions", class_="danger")
        shown.append(form(owner_address(owner, "end"), visitor, field, button, class_="act"))
    if is_console_owner(owner):
        pass  # a service key in the console; it is revoked instead
    elif is_disabled and visitor.may("enable_owner"):
        said = h("p", "Sessions may be opened for them again; what ended stays ended.", class_="muted small")
        button = h("button", "Enable again", class_="quiet")
        shown.append(form(owner_address(owner, "enable"), visitor, said, button, class_="act"))
    elif not is_disabled and visitor.may("disable_owner"):
        field = typed("typed", "Type the owner to disable them: all their sessions end, none is opened", required=True)
        button = h("button", "Disable", class_="danger")
        shown.append(form(owner_address(owner, "disable"), visitor, field, button, class_="act"))
    if not is_console_owner(owner) and visitor.may("hand_over"):
        receiver = typed("receiver", "Hand all their transferable tokens over to", required=True, maxlength=255)
        field = typed("typed", "Type the owner who gives them", required=True)
        button = h("button", "Hand over", class_="danger")
        shown.append(form(owner_address(owner, "hand-over"), visitor, receiver, field, button, class_="act"))
    if not is_console_owner(owner) and visitor.may("forget_owner"):
        words = "Type the owner to forget them: all of theirs ends, and a pseudonym stands for them, for ever"
        button = h("button", "Forget", class_="danger")
        shown.append(
            form(owner_address(owner, "forget"), visitor, typed("typed", words, required=True), button, class_="act")
        )
    return card(
        "Acts", h("div", shown or h("p", "Your role only looks.", class_="muted"), class_="acts each"), class_="danger"
    )
