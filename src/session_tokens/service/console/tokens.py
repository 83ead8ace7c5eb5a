"""The tokens: their lists, those on offer and those without an owner, and the page of one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from starlette.responses import Response

from ...contract.queries import Get
from ...errors import UNREADABLE
from ...records import Token
from ...rules.loans import borrowers_of, loan_ids
from .addresses import address
from .explaining import gone
from .happened import seen_of, timeline
from .html import Child, Html, h
from .lists import OLDEST, Call, by_creation, by_other, cut, exports, has, pager, tally
from .pieces import (
    button_link,
    card,
    copy,
    facts,
    form,
    hidden,
    id_link,
    instant,
    kind_of,
    missing,
    moment,
    owner_link,
    picked,
    price_of,
    seconds,
    table,
    title,
    typed,
)
from .view import View, disabled_among

ALL, MARKET, UNASSIGNED = "tokens", "market", "unassigned"
TITLES = {ALL: "Tokens", MARKET: "Market", UNASSIGNED: "Unassigned tokens"}
SAID = {
    ALL: "Living now",
    MARKET: "Offered for a transfer; an offer locks nothing, and no money moves here",
    UNASSIGNED: "Without an owner; each waits for a claim or a transfer until its time is over",
}
KINDS = (
    ("", "any kind"), ("session-bound", "session-bound"), ("transferable", "transferable"), ("free", "free"),
)  # fmt: skip
SORTS = (("", "last issued first"), (OLDEST, "first issued first"), ("ends", "next to end first"))
NEVER = 2**63 - 1
HANDS = ("token_issued", "token_transferred", "token_claimed", "token_released")
"""Kinds of event after which another one holds a token, or nobody."""


def query_of(view: View) -> dict[str, str]:
    """Return what an address narrows and orders a list of tokens by."""
    return {
        "q": view.given("q"),
        "owner": view.request.query_params.get("owner", ""),
        "session": view.given("session"),
        "tag": view.given("tag"),
        "kind": view.one_of("kind", *(kind for kind, _ in KINDS)),
        "sort": view.one_of("sort", *(sort for sort, _ in SORTS)),
    }


def listing_of(view: View, which: str, query: dict[str, str]) -> tuple[Call[Token], Callable[[Token], bool]]:
    """Return what reads a list of tokens, and whether one of them matches."""
    filters: dict[str, Any] = {MARKET: {"sellable": True}, UNASSIGNED: {"unassigned": True}}.get(which, {})
    for name in ("owner", "session", "tag"):
        if query[name]:
            filters[name] = query[name]
    text, kind = query["q"], query["kind"]
    call = partial(view.tokens.list_tokens, **filters)

    def takes(token: Token) -> bool:
        return (not text or matches(token, text)) and (not kind or token.kind.value == kind)

    return call, takes


def matches(token: Token, text: str) -> bool:
    """Whether a token has a text in what it is known by."""
    return has(text, (token.owner, token.previous_owner, token.tag), (token.id, token.session_id))


def sorted_by(sort: str) -> Callable[[Token], Any] | None:
    """Return the order of a list of tokens; ``None`` for that in which they are kept."""
    if sort == "ends":
        return lambda token: NEVER if token.expires_at is None else token.expires_at
    return None


async def list_page(view: View, which: str) -> Child:
    """Return a page of living tokens: all, those on offer, or those unassigned."""
    query, path = query_of(view), f"/console/{which}"
    call, takes = listing_of(view, which, query)
    shown = await cut(view, path, query, call, takes, sorted_by(query["sort"]), "tokens")
    heading = TITLES[which]
    if query["owner"]:
        heading = f"{heading} of {query['owner']}"
    if query["session"]:
        heading = f"{heading} in {query['session'][:10]}…"
    kept: list[Child] = [hidden(name, query[name]) for name in ("owner", "session") if query[name]]
    filters = h(
        "form",
        typed("q", "Owner, previous owner, tag, session or id has", query["q"], type="search", maxlength=200),
        typed("tag", "Tag is", query["tag"], maxlength=64),
        picked("kind", "Kind", query["kind"], KINDS) if which == ALL else None,
        picked("sort", "Order", query["sort"], SORTS),
        kept,
        h("button", "Apply"),
        button_link("Reset", path, quiet=True),
        action=path,
        class_="filters",
    )
    empty = "No token here." if shown.after is None else "None in the part that was looked through; look further."
    listed = await tokens_table(heading, shown.items, view, which, query=query, empty=empty)
    head = h("div", tally(shown, "token"), exports(path, query), class_="over")
    return h("div", h("h1", heading), card(SAID[which], filters, head, listed, missing(shown.unreadable), pager(shown)))


async def tokens_table(
    caption: str, tokens: list[Token], view: View, which: str = ALL, *, query: dict[str, str] | None = None, empty: str
) -> Html:
    """Return tokens as a table, their owners marked where they are disabled; values are not shown in lists."""
    named = {owner for token in tokens for owner in (token.owner, token.previous_owner) if owner is not None}
    disabled = await disabled_among(view.tokens, named)
    columns: list[Any] = ["Token", "Kind"]
    rows: list[list[Child]] = [[id_link("tokens", token.id), kind_of(token)] for token in tokens]

    def add(name: Any, cell: Callable[[Token], Child]) -> None:
        columns.append(name)
        for row, token in zip(rows, tokens, strict=True):
            row.append(cell(token))

    path, sortable = f"/console/{which}", query or {}
    if which == UNASSIGNED:
        add("Previous owner", lambda token: owner_link(token.previous_owner, disabled))
        add("Waits since", lambda token: instant(token.unassigned_at, view))
    else:
        add("Owner", lambda token: owner_link(token.owner, disabled))
        add("Session", lambda token: id_link("sessions", token.session_id))
    add("Tag", lambda token: token.tag or h("span", "none", class_="muted"))
    add("Price", price_of)
    issued = "Issued" if query is None else by_creation("Issued", path, sortable)
    add(issued, lambda token: instant(token.created_at, view))
    ends = "Ends" if query is None else by_other("Ends", "ends", "ascending", path, sortable)
    add(ends, lambda token: instant(token.expires_at, view))
    return table(caption, columns, rows, empty=empty)


async def some(view: View, *, owner: str = "", session: str = "") -> Child:
    """Return the first tokens of an owner or in a session, and where all of them are."""
    filters = {"owner": owner} if owner else {"session": session}
    page = await view.tokens.list_tokens(**filters, newest=True, limit=10)  # type: ignore[arg-type]  # one of its names
    listed = await tokens_table("Tokens", page.items, view, empty="No token.")
    words = "All tokens of this owner" if owner else "All tokens in this session"
    where = address("/console/tokens", owner=owner, session=session)
    more = None if page.after is None else h("p", button_link(words, where, quiet=True))
    return [listed, missing(page.unreadable), more]


def offered_to(token: Token) -> str:
    """Return to whom a token is offered."""
    return token.reserved_for or ("everybody" if token.is_sellable else "nobody")


async def token_page(view: View) -> Child | Response:
    """Return the page of one token; its value only when asked for."""
    id = view.request.path_params["id"]
    token = await view.tokens.get_token(id)
    if token is None:
        return await gone(view, id)
    named = {owner for owner in (token.owner, token.previous_owner) if owner is not None}
    disabled = await disabled_among(view.tokens, named)
    lent_to = await _borrowers(token, view)
    seen = await seen_of(view, id)
    chain = [happening.owner or "nobody" for happening in reversed(seen.happened) if happening.kind in HANDS]
    return h(
        "div",
        title("Token", token.id),
        card("What it is", about(token, view, disabled, lent_to)),
        card("Acts", _acts(token, view, is_lent=bool(lent_to))),
        card("Value", _value(token, view)),
        card("Owners, as far as is known", h("p", " → ".join(chain) or "No change of hands seen.", class_="muted")),
        card("What happened", await timeline(view, id, seen)),
    )


async def _borrowers(token: Token, view: View) -> list[str]:
    """Return to whom a token is lent."""
    named: list[str] = []
    for id in loan_ids(token):
        try:
            now, (found,) = await view.tokens.store.read([Get("token", id)])
        except UNREADABLE:
            named.append(f"somebody whose loan {id} cannot be read")
        else:
            named += borrowers_of(token, now, [found.value])
    return named


def about(token: Token, view: View, disabled: dict[str, int], lent_to: Sequence[str]) -> Html:
    """Return what there is to know of a token."""
    none = h("span", "none", class_="muted")
    return facts(
        [
            ("Kind", kind_of(token)),
            ("Owner", owner_link(token.owner, disabled)),
            ("Held in", id_link("sessions", token.session_id)),
            ("Previous owner", owner_link(token.previous_owner, disabled)),
            ("Issued", moment(token.created_at, view)),
            ("Held since", moment(token.held_since, view)),
            ("Unassigned since", moment(token.unassigned_at, view, never="it has an owner or is free")),
            ("Ends", moment(token.expires_at, view)),
            ("May wait unassigned", seconds(token.disownment_timeout)),
            ("Changes of hands", token.epoch),
            ("Price", price_of(token)),
            ("Offered to", offered_to(token)),
            ("Lent to", ", ".join(lent_to) or none),
            ("Tag", token.tag or none),
            ("Scope", token.scope or none),
            ("Audience", ", ".join(token.audience) or none),
            ("Uses left", "not counted" if token.uses_left is None else token.uses_left),
            ("For client", token.for_client or none),
            ("Issued by key", none if token.client_id is None else h("span", token.client_id, class_="id")),
            ("Version", token.version),
        ]
    )


def _acts(token: Token, view: View, *, is_lent: bool) -> Html:
    at, visitor = f"/console/tokens/{token.id}", view.visitor
    shown: list[Child] = []
    if token.is_sellable and visitor.may("move_token"):
        shown.append(form(f"{at}/withdraw", visitor, h("button", "Withdraw the offer", class_="quiet")))
    if is_lent and visitor.may("lend_token"):
        shown.append(form(f"{at}/recall", visitor, h("button", "Recall all loans", class_="quiet")))
    if token.is_transferable and token.owner is not None and visitor.may("release_token"):
        owner = hidden("owner", token.owner)
        shown.append(form(f"{at}/release", visitor, owner, h("button", "Take it from its owner", class_="danger")))
    if visitor.may("destroy_token"):
        shown.append(form(f"{at}/end", visitor, h("button", "End this token", class_="danger")))
    if visitor.may("explain"):
        shown.append(button_link("Explain it", address("/console/explain", id=token.id), quiet=True))
    return h("div", shown or h("p", "Your role only looks.", class_="muted"), class_="acts")


def _value(token: Token, view: View) -> Child:
    if view.given("value") != "shown":
        return h("p", button_link("Show the value", f"/console/tokens/{token.id}?value=shown", quiet=True))
    text = json.dumps(token.value, ensure_ascii=False, indent=2)
    return [h("code", text, class_="block", tabindex="0"), copy(text, "the value")]


def as_row(token: Token) -> dict[str, Any]:
    """Return a token as a row of an export: what the list shows, whole; its value is not in it."""
    whole = token.to_dict()
    del whole["value"]
    return whole
