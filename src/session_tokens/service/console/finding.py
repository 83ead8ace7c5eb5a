"""Finding what somebody knows only in part: an owner, a label, an address, an id."""

from __future__ import annotations

from typing import Any

from starlette.responses import RedirectResponse, Response

from ...crypto.secret_form import KEY_ID, SECRET_BEGINNINGS, SESSION_ID, TOKEN_ID, is_id
from ..reserved import is_console_owner
from . import sessions, tokens
from .addresses import address
from .explaining import NOTHING, answer
from .html import Child, h
from .lists import LOOKED_AT, Window, looked_through
from .owners import known
from .pieces import button_link, card, counted, exact, missing, owner_address, owner_link
from .view import View, disabled_among

SHOWN = 10


async def find(view: View) -> Child | Response:
    """Return what is known under a text; the page of the one thing that it is the id or owner of."""
    asked = view.given("q")
    if not asked:
        return RedirectResponse("/console", 303)
    for kind, path in ((SESSION_ID, "sessions/"), (TOKEN_ID, "tokens/"), (KEY_ID, "explain?id=")):
        if is_id(kind, asked):
            return RedirectResponse(f"/console/{path}{asked}", 303)
    if asked.startswith(SECRET_BEGINNINGS):
        words = "That looks like a secret. Search for ids or owners; secrets belong nowhere here."
        return answer(view, "Not done", h("div", h("h1", "Not done"), h("p", words, class_="notice")), 422)
    opened = await looked_through(
        view.tokens.list_sessions,
        lambda session: not is_console_owner(session.owner) and sessions.matches(session, asked),
        after=None,
        newest=True,
    )
    issued = await looked_through(
        view.tokens.list_tokens, lambda token: tokens.matches(token, asked), after=None, newest=True
    )
    named = {session.owner for session in opened.items} | {
        owner for token in issued.items for owner in (token.owner, token.previous_owner) if owner is not None
    }
    owners = sorted(owner for owner in named if asked.casefold() in owner.casefold())
    exactly = await known(view, asked)
    if exactly is not None:
        owners = [asked, *(owner for owner in owners if owner != asked)]
    if owners == [asked] and all(session.owner == asked for session in opened.items):
        return RedirectResponse(owner_address(asked), 303)
    found = opened.items
    further = _further(asked, opened, issued)
    heading = h("h1", "Found under ", h("q", asked))
    if not (owners or found or issued.items):
        said = h("p", NOTHING, class_="notice")
        return answer(
            view, "Find", h("div", h("h1", "Find ", h("q", asked)), said, card("How far was looked", further)), 404
        )
    disabled = await disabled_among(view.tokens, set(owners[:SHOWN]))
    listed = h("ul", [h("li", owner_link(owner, disabled)) for owner in owners[:SHOWN]], class_="owners")
    parts: list[Child] = []
    if owners:
        parts.append(card(counted(len(owners), "owner"), listed, _more(len(owners), "/console/owners", asked)))
    if found:
        rows = sessions.sessions_table("Sessions", found[:SHOWN], view, empty="")
        parts.append(card(counted(len(found), "session"), rows, _more(len(found), sessions.PATH, asked)))
    if issued.items:
        rows = await tokens.tokens_table("Tokens", issued.items[:SHOWN], view, empty="")
        parts.append(
            card(counted(len(issued.items), "token"), rows, _more(len(issued.items), "/console/tokens", asked))
        )
    unreadable = missing([*opened.unreadable, *issued.unreadable])
    return h("div", heading, parts, card("How far was looked", further, unreadable))


def _more(count: int, path: str, asked: str) -> Child:
    return h("p", button_link("All of these", address(path, q=asked), quiet=True)) if count > SHOWN else None


def _further(asked: str, *windows: Window[Any]) -> Child:
    """Return how far was looked, with the links that look further."""
    said: list[Child] = []
    paths = ((sessions.PATH, "sessions", "opened"), ("/console/tokens", "tokens", "issued"))
    for window, (path, things, made) in zip(windows, paths, strict=True):
        if window.rest is None:
            said.append(h("p", f"All {things} that live were looked through."))
            continue
        at = exact(int(window.rest.partition(".")[0]))
        words = f"Of the {things} the {LOOKED_AT:,} {made} last were looked through, back to {at}. "
        link = h("a", f"Look through older {things}", href=address(path, q=asked, after=window.rest))
        said.append(h("p", words, link))
    said.append(h("p", "An owner who is named in full is found however old their sessions are.", class_="muted small"))
    return said
