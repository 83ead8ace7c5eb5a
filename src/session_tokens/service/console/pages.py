"""The pages of single things and of lists; each answers the inside of a page, and decides nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..._async.api import AsyncSessionTokens
from ...audit.reader import cursor_of
from ...events import Event
from ...records import ServiceKey, Session, Token
from ...service_keys.networks import networks_of
from ..reserved import is_console_owner
from .access import Visitor
from .activity import Activity
from .html import Child, Html, h
from .layout import card, facts, form, id_link, instant, kind_of, more, owner_address, owner_link, state_of, table

LIMIT = 50
MISSING_MAX = 20
WORDS = {
    "session_opened": "opened", "session_rotated": "new secret", "session_detached": "detached",
    "session_attached": "attached", "session_changed": "changed", "session_ended": "ended",
    "owner_disabled": "disabled", "owner_enabled": "enabled",
    "owner_renamed": "renamed", "token_issued": "issued", "token_changed": "changed",
    "token_transferred": "transferred", "token_claimed": "claimed", "token_reissued": "new secret",
    "token_offered": "offered", "token_withdrawn": "withdrawn", "token_ended": "ended", "key_created": "key made",
    "key_rotated": "key rotated", "key_revoked": "key revoked", "webhook_added": "webhook added",
    "webhook_changed": "webhook changed", "webhook_rotated": "webhook key rotated",
    "webhook_replayed": "webhook replayed", "webhook_removed": "webhook removed",
    "setting_changed": "setting changed", "token_consumed": "used", "token_released": "put back",
    "token_lent": "lent", "token_recalled": "loans ended",
}  # fmt: skip


def session_rows(sessions: Sequence[Session], now_ms: int) -> list[list[Child]]:
    """Return sessions as rows of a table."""
    return [
        [
            id_link("sessions", s.id),
            owner_link(s.owner),
            state_of(s),
            s.label,
            instant(s.created_at, now_ms=now_ms),
            instant(s.last_seen_at, now_ms=now_ms),
            instant(s.expires_at, now_ms=now_ms),
        ]
        for s in sessions
    ]


SESSION_COLUMNS = ("Session", "Owner", "State", "Label", "Opened", "Last seen", "Ends")
TOKEN_COLUMNS = ("Token", "Kind", "Owner", "Session", "Price", "Issued", "Ends")


def token_rows(tokens: Sequence[Token], now_ms: int) -> list[list[Child]]:
    """Return tokens as rows of a table; values are not shown in lists."""
    return [
        [
            id_link("tokens", t.id),
            kind_of(t),
            owner_link(t.owner),
            id_link("sessions", t.session_id),
            price_of(t),
            instant(t.created_at, now_ms=now_ms),
            instant(t.expires_at, now_ms=now_ms),
        ]
        for t in tokens
    ]


def price_of(token: Token) -> Child:
    """Return a token's price, and whether it is a gift."""
    if token.gift:
        return "gift"
    if not token.is_sellable:
        return h("span", "not offered", class_="muted")
    if token.price is None:
        return "offered, no price"
    return f"{token.price} {token.currency or ''}".strip()


def missing(unreadable: Sequence[str]) -> Child:
    """Return a note of what a list leaves out because it cannot be read."""
    if not unreadable:
        return ""
    named = ", ".join(unreadable[:MISSING_MAX]) + (" …" if len(unreadable) > MISSING_MAX else "")
    return h(
        "p", f"Left out, as {len(unreadable)} cannot be read: {named}. session-tokens check says why.", class_="muted"
    )


async def sessions_page(
    tokens: AsyncSessionTokens, detached: bool | None, after: str | None, *, visitors: bool
) -> Html:
    """Return a page of living sessions, with those of visitors before a log-in or without."""
    page = await tokens.list_sessions(detached=detached, anonymous=visitors, after=after, limit=LIMIT)
    title = "Detached sessions" if detached else "Sessions"
    alone = "/console/sessions" + ("?detached=yes" if detached else "")
    with_visitors = alone + ("&" if detached else "?") + "visitors=yes"
    address, other = (with_visitors, alone) if visitors else (alone, with_visitors)
    words = "Visitors who have not logged in are " + ("among them; " if visitors else "left out; ")
    empty = "No session here." if page.after is None else "None in this part of the list; go on."
    listed = table(title, SESSION_COLUMNS, session_rows(page.items, tokens.store.clock.now()), empty=empty)
    return h(
        "div",
        h("h1", title),
        card("Living now, in order of their opening", listed, missing(page.unreadable), more(page.after, address)),
        h("p", words, h("a", "hide them" if visitors else "show them", href=other), ".", class_="muted small"),
    )


async def tokens_page(tokens: AsyncSessionTokens, which: str, after: str | None) -> Html:
    """Return a page of living tokens: all, those on offer, or those unassigned."""
    filters: dict[str, Any] = {"market": {"sellable": True}, "unassigned": {"unassigned": True}}.get(which, {})
    page = await tokens.list_tokens(**filters, after=after, limit=LIMIT)
    title = {"market": "Market", "unassigned": "Unassigned tokens"}.get(which, "Tokens")
    said = {
        "market": "Offered for a transfer; an offer locks nothing, and no money moves here",
        "unassigned": "Their session ended; each waits for a claim or a transfer until its time is over",
    }.get(which, "Living now, in order of their issue")
    empty = "No token here." if page.after is None else "None in this part of the list; go on."
    listed = table(title, TOKEN_COLUMNS, token_rows(page.items, tokens.store.clock.now()), empty=empty)
    return h("div", h("h1", title), card(said, listed, missing(page.unreadable), more(page.after, f"/console/{which}")))


async def session_page(tokens: AsyncSessionTokens, activity: Activity, visitor: Visitor, session: Session) -> Html:
    """Return the page of one session."""
    now_ms = tokens.store.clock.now()
    held = await tokens.list_tokens(session=session.id, limit=LIMIT)
    clocks = facts(
        [
            ("Owner", owner_link(session.owner)),
            ("State", state_of(session)),
            ("Opened", instant(session.created_at, now_ms=now_ms)),
            ("Last seen", instant(session.last_seen_at, now_ms=now_ms)),
            ("Ends if not used", instant(session.expires_at, now_ms=now_ms)),
            ("Idle timeout", seconds(session.idle_timeout)),
            ("Maximum age", seconds(session.max_age)),
            ("Detached timeout", seconds(session.detached_timeout)),
            ("Detachable", "yes" if session.detachable else "no"),
            ("Label", session.label or "none"),
            ("Address", session.address or "unknown"),
            ("User agent", session.user_agent or "unknown"),
            ("Opened by key", session.client_id or "none"),
            ("Version", session.version),
        ]
    )
    at = f"/console/sessions/{session.id}"
    acts = []
    if visitor.may("detach_session") and session.detachable and not session.is_detached:
        acts.append(form(f"{at}/detach", visitor, h("button", "Detach", class_="quiet")))
    if visitor.may("attach_session") and session.is_detached:
        acts.append(form(f"{at}/attach", visitor, h("button", "Attach", class_="quiet")))
    if visitor.may("end_session"):
        acts.append(form(f"{at}/end", visitor, h("button", "End this session", class_="danger")))
    return h(
        "div",
        h("h1", "Session ", h("span", session.id, class_="id")),
        card("What it is", clocks),
        card("Acts", h("div", acts or h("p", "Your role only looks.", class_="muted"), class_="acts")),
        card(
            "Tokens that it holds",
            table("Tokens", TOKEN_COLUMNS, token_rows(held.items, now_ms), empty="It holds none."),
            missing(held.unreadable),
            more_note(held.after),
        ),
        card("What this process saw", timeline(activity.timeline(session.id), now_ms)),
    )


def offered_to(token: Token) -> str:
    """Return to whom a token is offered."""
    return token.reserved_for or ("everybody" if token.is_sellable else "nobody")


HANDS = ("token_issued", "token_transferred", "token_claimed", "token_released")
"""Kinds of event after which another one holds a token, or nobody."""


async def token_page(
    tokens: AsyncSessionTokens, activity: Activity, visitor: Visitor, token: Token, shown: bool
) -> Html:
    """Return the page of one token; its value only when asked for."""
    now_ms = tokens.store.clock.now()
    about = facts(
        [
            ("Kind", kind_of(token)),
            ("Owner", owner_link(token.owner)),
            ("Held in", id_link("sessions", token.session_id)),
            ("Previous owner", owner_link(token.previous_owner)),
            ("Changes of hands", token.epoch),
            ("Issued", instant(token.created_at, now_ms=now_ms)),
            ("Held since", instant(token.held_since, now_ms=now_ms)),
            ("Ends", instant(token.expires_at, now_ms=now_ms)),
            ("May wait unassigned", seconds(token.disownment_timeout)),
            ("Price", price_of(token)),
            ("Offered to", offered_to(token)),
            ("Tag", token.tag or "none"),
            ("Uses left", "not counted" if token.uses_left is None else token.uses_left),
            ("For client", token.for_client or "none"),
            ("Issued by key", token.client_id or "none"),
            ("Version", token.version),
        ]
    )
    at = f"/console/tokens/{token.id}"
    if shown:
        value: Child = h("code", json.dumps(token.value, ensure_ascii=False, indent=2), class_="block", tabindex="0")
    else:
        value = h("p", h("a", "Show the value", href=at + "?value=shown", class_="button"))
    events = activity.timeline(token.id)
    hands = [event for event in events if event.kind in HANDS]
    chain = " → ".join(event.owner or "nobody" for event in hands)
    ending = form(f"{at}/end", visitor, h("button", "End this token", class_="danger"))
    return h(
        "div",
        h("h1", "Token ", h("span", token.id, class_="id")),
        card("What it is", about),
        card("Value", value),
        card(
            "Acts", h("div", ending if visitor.may("destroy_token") else h("p", "Your role only looks."), class_="acts")
        ),
        card("Owners, as far as this process saw", h("p", chain or "No change of hands seen.", class_="muted")),
        card("What this process saw", timeline(events, now_ms)),
    )


async def owner_page(tokens: AsyncSessionTokens, activity: Activity, visitor: Visitor, owner: str) -> Html:
    """Return the page of one owner."""
    now_ms = tokens.store.clock.now()
    sessions = await tokens.list_sessions(owner, limit=LIMIT)
    held = await tokens.list_tokens(owner=owner, limit=LIMIT)
    acts: list[Child] = []
    if visitor.may("end_session"):
        typed = h("label", "Type the owner to end all their sessions", h("input", name="typed", autocomplete="off"))
        acts.append(
            form(
                owner_address(owner, "end"),
                visitor,
                typed,
                h("button", "End all sessions", class_="danger"),
                class_="acts",
            )
        )
    if visitor.may("disable_owner") and not is_console_owner(owner):
        typed = h("label", "Type the owner to disable them", h("input", name="typed", autocomplete="off"))
        acts.append(
            form(
                owner_address(owner, "disable"), visitor, typed, h("button", "Disable", class_="danger"), class_="acts"
            )
        )
    if visitor.may("enable_owner"):
        acts.append(form(owner_address(owner, "enable"), visitor, h("button", "Enable again", class_="quiet")))
    return h(
        "div",
        h("h1", "Owner ", owner),
        card(
            "Sessions",
            table("Sessions", SESSION_COLUMNS, session_rows(sessions.items, now_ms), empty="No living session."),
            missing(sessions.unreadable),
            more_note(sessions.after),
        ),
        card(
            "Tokens",
            table("Tokens", TOKEN_COLUMNS, token_rows(held.items, now_ms), empty="They own no token."),
            missing(held.unreadable),
            more_note(held.after),
        ),
        card("Acts", h("div", acts or h("p", "Your role only looks.", class_="muted"), class_="acts"), class_="danger"),
        card("What this process saw", timeline(activity.timeline(owner), now_ms)),
    )


def keys_page(keys: Sequence[ServiceKey], used: dict[str, int], visitor: Visitor, now_ms: int) -> Html:
    """Return the service keys; they are made and rotated at the command line, where their secret is shown once."""
    rows: list[list[Child]] = []
    for key in keys:
        act: Child = None
        if visitor.may("manage_keys") and key.id != visitor.key.id:
            act = form(f"/console/keys/{key.id}/revoke", visitor, h("button", "Revoke", class_="danger"))
        elif key.id == visitor.key.id:
            act = h("span", "yours", class_="muted")
        rows.append(
            [
                h("span", key.id, class_="id"),
                key.role,
                key.label or "",
                ", ".join(map(str, networks_of(key))) or h("span", "everywhere", class_="muted"),
                instant(key.created_at, now_ms=now_ms),
                instant(used.get(key.id), now_ms=now_ms),
                instant(key.expires_at, now_ms=now_ms) if key.alive(now_ms) else "ended",
                act,
            ]
        )
    listed = table(
        "Service keys",
        ("Key", "Role", "Label", "From", "Made", "Last used", "Ends", "Act"),
        rows,
        empty="There is no key.",
    )
    how = h(
        "p",
        "Make or rotate one at the command line: ",
        h("code", "session-tokens keys create --role verify"),
        class_="muted",
    )
    return h("div", h("h1", "Service keys"), card("Programs that may call the service", listed, how))


def audit_page(entries: Sequence[dict[str, Any]]) -> Html:
    """Return the last entries of the audit log."""
    rows: list[list[Child]] = [
        [
            f"{entry.get('n')} / {entry['chain']}" if entry.get("chain") else entry.get("n"),
            instant(entry.get("at")),
            WORDS.get(str(entry.get("kind")), str(entry.get("kind"))),
            h("span", str(entry.get("subject_id", "")), class_="id"),
            owner_link(entry.get("owner")),
            entry.get("reason") or "",
            h("span", str(entry.get("actor") or ""), class_="id"),
        ]
        for entry in entries
    ]
    columns = ("No.", "When", "What", "Of", "Owner", "Why", "By key")
    listed = table("Audit log", columns, rows, empty="No audit log is kept: start the service with --audit.")
    how = h(
        "p", "Verify it at the command line: ", h("code", "session-tokens audit verify --anchor FILE"), class_="muted"
    )
    older = cursor_of(entries[-1]) if len(entries) == LIMIT else None
    following = None
    if older is not None:
        following = h("p", h("a", "Older entries", href=f"/console/audit?before={older}", class_="button"))
    return h("div", h("h1", "Audit log"), card("The last state changes", listed, following, how))


def timeline(events: Sequence[Event], now_ms: int) -> Child:
    """Return what happened, the newest first."""
    if not events:
        return h("p", "Nothing since this process started.", class_="empty")
    return h(
        "ol",
        [
            h(
                "li",
                h("strong", WORDS.get(event.kind, event.kind)),
                " ",
                f"({event.reason}) " if event.reason else "",
                f"to {event.owner} " if event.previous_owner and event.owner else "",
                h("span", instant(event.at, now_ms=now_ms), class_="muted"),
            )
            for event in reversed(events)
        ],
        class_="timeline",
    )


def more_note(cursor: str | None) -> Child:
    """Say that a list goes on."""
    return None if cursor is None else h("p", f"Only the first {LIMIT} are shown.", class_="muted small")


def seconds(duration: float | None) -> str:
    """Return a duration in words."""
    if duration is None:
        return "never"
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if duration >= size and duration % size == 0:
            return f"{int(duration // size)} {unit}"
    return f"{duration} s"
