"""What is done in the console, and what is said about it afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import parse_qsl, quote

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from ...crypto.secret_form import SESSION_ID, is_id
from ...errors import UNREADABLE, SessionTokensError, StoreError
from ...service_keys.keys import get_key, revoke_key
from ..reserved import refuse_to_disable
from . import operating, sessions
from .confirming import done
from .entrance import asked_for
from .explaining import answer
from .html import Html, h
from .lists import looked_through
from .owners import owner_in
from .pieces import button_link, card, counted, device_of, form, hidden, owner_address, some_of, typed
from .view import View

Fields = dict[str, str]

BULK_MAX = 500
"""Sessions that one act ends at the most."""
HANDED_MAX = 10_000
"""Tokens that one act hands over at the most."""


async def end_session(view: View, fields: Fields) -> Response:
    """End a session."""
    id = view.request.path_params["id"]
    was_living = await view.tokens.destroy_session(id, reason="revoked")
    words = f"Ended the session {id}." if was_living else "Nothing was done: no session lives under that id."
    return done(f"{sessions.PATH}/{quote(id)}", view.visitor, words, is_done=was_living)


async def detach(view: View, fields: Fields) -> Response:
    """Detach a session."""
    session = await view.tokens.detach_session(view.request.path_params["id"])
    words = "Detached the session: its secret is dead, the session goes on."
    return done(f"{sessions.PATH}/{session.id}", view.visitor, words)


async def attach(view: View, fields: Fields) -> Response:
    """Attach a session; nobody is shown its new secret."""
    issued = await view.tokens.attach_session(view.request.path_params["id"])
    words = "Attached the session with a new secret that nobody has seen; its owner gets one by logging in."
    return done(f"{sessions.PATH}/{issued.id}", view.visitor, words)


async def end_token(view: View, fields: Fields) -> Response:
    """End a token."""
    id = view.request.path_params["id"]
    was_living = await view.tokens.destroy_token(id)
    words = f"Ended the token {id}." if was_living else "Nothing was done: no token lives under that id."
    return done(f"/console/tokens/{quote(id)}", view.visitor, words, is_done=was_living)


async def withdraw(view: View, fields: Fields) -> Response:
    """Take a token's offer back."""
    token = await view.tokens.withdraw_token(view.request.path_params["id"])
    return done(f"/console/tokens/{token.id}", view.visitor, "Withdrew the offer: nobody can accept it any more.")


async def recall(view: View, fields: Fields) -> Response:
    """End all loans of a token."""
    token = await view.tokens.recall_token(view.request.path_params["id"])
    return done(f"/console/tokens/{token.id}", view.visitor, "Recalled it: no borrower's secret opens it any more.")


async def release(view: View, fields: Fields) -> Response:
    """Take a token from its owner, as whom the page showed: it waits for a claim or a transfer."""
    owner = fields.get("owner", "")
    token = await view.tokens.release_token(view.request.path_params["id"], owner=owner)
    words = f"Took it from {owner}: its secret is dead, and it waits for a claim or a transfer."
    return done(f"/console/tokens/{token.id}", view.visitor, words)


# --- many sessions ---


async def end_many(view: View, fields: Fields) -> Response:
    """End sessions that were ticked, or all that match; first say which, and have their number typed."""
    if "typed" not in fields:
        return await _asked_first(view, await _chosen(view, fields))
    ids = _ids_in(fields.get("ids", ""))
    if not ids or fields["typed"].strip() != str(len(ids)):
        return said(view, 422, f"The number was not typed as it is: {len(ids)}. Nothing was done.")
    ended, unreadable = 0, []
    for id in ids:
        try:
            ended += await view.tokens.destroy_session(id, reason="revoked")
        except UNREADABLE:
            unreadable.append(id)
        except SessionTokensError as error:
            status = 503 if isinstance(error, StoreError) else 409
            return said(view, status, f"{ended} of {len(ids)} sessions were ended, then this went wrong: {error}")
    return done(sessions.PATH, view.visitor, _ended(ended, len(ids), unreadable), is_done=bool(ended))


def _ended(ended: int, asked: int, unreadable: Sequence[str]) -> str:
    """Return what became of sessions that were to end."""
    over = asked - ended - len(unreadable)
    words = f"Ended {counted(ended, 'session')}."
    if over:
        words += f" {over} {'was' if over == 1 else 'were'} over already."
    if unreadable:
        words += f" Not ended, as {len(unreadable)} cannot be read: {some_of(unreadable)}; see session-tokens check."
    return words


def _ids_in(text: str) -> list[str]:
    """Return the ids of sessions that stand in a field, each once."""
    return [id for id in dict.fromkeys(text.split()) if is_id(SESSION_ID, id)][:BULK_MAX]


async def _chosen(view: View, fields: Fields) -> list[str]:
    if "matching" not in fields:
        return _ids_in(fields.get("id", ""))
    try:
        given = QueryParams(parse_qsl(fields["matching"], max_num_fields=8))
    except ValueError:  # no list is narrowed by as many
        return []
    asked = view._replace(request=Request({**view.request.scope, "query_string": str(given).encode("ascii")}))
    call, takes = sessions.listing_of(asked, sessions.query_of(asked))
    window = await looked_through(call, takes, after=None, newest=True, enough=BULK_MAX)
    return [session.id for session in window.items[:BULK_MAX]]


async def _line_about(view: View, id: str) -> Html:
    """Return a line about a session: its id, its owner, its label and address."""
    try:
        session = await view.tokens.get_session(id)
    except UNREADABLE:
        return h("li", h("span", id, class_="id"), h("div", "cannot be read, and stays", class_="muted small"))
    if session is None:
        return h("li", h("span", id, class_="id"), h("div", "over already", class_="muted small"))
    return h("li", h("span", id, class_="id"), h("div", session.owner), h("div", device_of(session), class_="small"))


async def _asked_first(view: View, ids: list[str]) -> Response:
    """Return the page that says what would be ended and asks for the number."""
    if not ids:
        return said(view, 422, "No session was ticked, so that there is nothing to end.")
    lines = await asyncio.gather(*(_line_about(view, id) for id in ids))
    many = counted(len(ids), "session")
    field = typed("typed", f"Type {len(ids)} to end {many}", required=True, inputmode="numeric", autofocus=True)
    asking = form(
        sessions.PATH + "/end", view.visitor, hidden("ids", " ".join(ids)), field,
        h("button", f"End {many}", class_="danger"), button_link("Do nothing", sessions.PATH, quiet=True), class_="act",
    )  # fmt: skip
    listed = h("ul", lines, class_="ids", tabindex="0", aria_label="Sessions")
    words = (
        "They end at once: their bound tokens with them, their transferable ones become unassigned. Nothing undoes it."
    )
    most = h("p", f"One act ends {BULK_MAX} at the most.", class_="muted small") if len(ids) == BULK_MAX else None
    inside = h("div", h("h1", f"End {many}?"), card("Which", h("p", words), most, asking, listed, class_="danger"))
    return answer(view, f"End {many}?", inside, 200)


# --- owners ---


async def end_all(view: View, fields: Fields) -> Response:
    """End all sessions of an owner."""
    owner = owner_in(view)
    if fields.get("typed") != owner:
        return _not_typed(view)
    count = await view.tokens.destroy_sessions(owner, reason="revoked")
    words = f"Ended {counted(count, 'session')} of {owner}." if count else f"Nothing was done: {owner} had no session."
    return done(owner_address(owner), view.visitor, words, is_done=bool(count))


async def disable(view: View, fields: Fields) -> Response:
    """Disable an owner."""
    owner = owner_in(view)
    refuse_to_disable(owner)
    if fields.get("typed") != owner:
        return _not_typed(view)
    is_new = await view.tokens.disable_owner(owner)
    words = (
        f"Disabled {owner}: all their sessions are over, none is opened."
        if is_new
        else f"{owner} was disabled already."
    )
    return done(owner_address(owner), view.visitor, words, is_done=is_new)


async def enable(view: View, fields: Fields) -> Response:
    """Enable an owner again."""
    owner = owner_in(view)
    is_new = await view.tokens.enable_owner(owner)
    words = f"Enabled {owner}: sessions are opened for them again." if is_new else f"{owner} was not disabled."
    return done(owner_address(owner), view.visitor, words, is_done=is_new)


async def hand_over(view: View, fields: Fields) -> Response:
    """Hand all that an owner can hand on to another one."""
    owner, receiver = owner_in(view), fields.get("receiver", "")
    if fields.get("typed") != owner:
        return _not_typed(view)
    count = await view.tokens.hand_over(owner, receiver=receiver, limit=HANDED_MAX)
    words = f"Handed {counted(count, 'token')} of {owner} over to {receiver}, who gets new secrets by asking for them."
    if count == HANDED_MAX:
        words += " There may be more: do it once more."
    if not count:
        words = f"Nothing was done: {owner} has no token to hand over."
    return done(owner_address(owner), view.visitor, words, is_done=bool(count))


async def forget(view: View, fields: Fields) -> Response:
    """Forget an owner: from then on a pseudonym stands wherever they were named."""
    owner = owner_in(view)
    refuse_to_disable(owner)
    if fields.get("typed") != owner:
        return _not_typed(view)
    forgotten = await view.tokens.forget_owner(owner)
    words = (
        f"Forgotten: they are {forgotten.pseudonym} now in {counted(forgotten.sessions, 'session')}, "
        f"{counted(forgotten.tokens, 'token')}, {counted(forgotten.events + forgotten.webhook_events, 'event')} and "
        f"{counted(forgotten.audit_entries, 'audit entry', 'audit entries')}."
    )
    return done("/console/owners", view.visitor, words)


def _not_typed(view: View) -> Response:
    return said(view, 422, "The owner was not typed as it is written; nothing was done.")


# --- keys ---

NO_KEY = "Nothing was done: there is no key of that id."


async def revoke(view: View, fields: Fields) -> Response:
    """Revoke a service key; first say whose it is, and have that confirmed."""
    id = view.request.path_params["id"]
    if "confirmed" not in fields:
        key = await get_key(view.tokens.store, id)
        if key is not None:
            return answer(view, "Revoke a key?", await operating.asked_before_revoking(view, key), 200)
    was_there = await revoke_key(view.tokens.store, id, audit=view.tokens.audit)
    words = f"Revoked the key {id}: nothing answers to it any more." if was_there else NO_KEY
    return done(operating.KEYS, view.visitor, words, is_done=was_there)


def said(view: View, status: int, words: str) -> Response:
    """Return a page that says why something is not done."""
    way = h("p", button_link("Back", asked_for(view.request), quiet=True)) if view.request.method == "POST" else None
    inside = h("div", h("h1", "Not done"), h("p", words, class_="notice bad", role="alert"), way)
    return answer(view, "Not done", inside, status)
