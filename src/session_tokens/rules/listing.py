"""Which of the records that a store answers belong in a listing, as they stand now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..contract.queries import Result, Scan, SessionResult, TokenResult
from ..records import Session, Token
from .reserved import is_anonymous


def sessions_listed(listing: Scan, found: Iterable[SessionResult], now: int) -> list[Session]:
    """Return the living sessions that match the listing."""
    return [
        session
        for session, entry in found
        if session is not None
        and session.alive(now, entry)
        and (listing.owner is None or session.owner == listing.owner)
        and (listing.detached is None or listing.detached == (session.detached_at is not None))
    ]


def users_sessions_listed(listing: Scan, found: Iterable[SessionResult], now: int) -> list[Session]:
    """As ``sessions_listed``, without those of visitors who have not logged in."""
    return [session for session in sessions_listed(listing, found, now) if not is_anonymous(session.owner)]


def tokens_listed(listing: Scan, found: Iterable[TokenResult], now: int) -> list[Token]:
    """Return the living tokens that match the listing, each as it stands now and as callers see it."""
    listed = []
    for each in found:
        present, session, entry = each.followed()
        token = None if present is None else present.as_of(now, session, entry)
        if (
            token is not None
            and (listing.owner is None or token.owner == listing.owner)
            and (listing.session_id is None or token.session_id == listing.session_id)
            and (listing.transferable is None or listing.transferable == token.is_transferable)
            and (listing.sellable is None or listing.sellable == token.is_sellable)
            and (listing.unassigned is None or listing.unassigned == token.is_unassigned)
            and (listing.tag is None or listing.tag == token.tag)
        ):
            listed.append(token.seen_with(session))
    return listed


def what_follows(listing: Any, found: Result) -> Any:
    """Return the listing that goes on where an answer stopped; ``None`` when that was all.

    What could not be read has taken places of the answer without telling its own place in the order: where nothing
    else came, twice as much is asked for.
    """
    if len(found.value) + len(found.unreadable) < listing.limit:
        return None
    if not found.value:
        return listing._replace(limit=2 * listing.limit)
    last = found.value[-1][0]
    return listing._replace(after=(last.created_at, last.id))
