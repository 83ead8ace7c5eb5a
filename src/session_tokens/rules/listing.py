"""Which of the records that a store answers belong in a listing, as they stand now.

Theory of operation. A store lists by what is written; what counts is what a record stands for now. That makes one
difference: a token whose session is over may be unassigned though its record names an owner. So where unassigned ones
are listed by their index, the tokens of sessions that may be over are read with them (``stretch``).
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Generator, Iterable, Sequence
from typing import Any

from ..contract.queries import Members, Query, Result, Scan, SessionResult, Snapshot, TokenResult
from ..errors import InvalidInput
from ..records import Session, Token
from .reserved import is_anonymous

OVER_MAX = 200
"""Sessions that may be over, of which the tokens are read one session after another; of more, all tokens are."""
TEXT_CURSOR = "place."
"""How the cursors of listings begin whose places are texts."""
_DUE = Scan("due", limit=OVER_MAX + 1)


def stretch(listing: Scan) -> Generator[Sequence[Query], Snapshot, tuple[int, Result]]:
    """Yield what to read for the next stretch of a listing and take what came; return the instant and the stretch."""
    if listing.what != "tokens" or listing.by[0] != "unassigned":
        now, (found,) = yield [listing]
        return now, found
    now, (due, found) = yield [_DUE, listing]
    over = {session.id for session, entry in due.value if not session.alive(now, entry)}
    # Where all sessions of an owner ended in one write, one of them at least is due until each was ended by itself.
    owners = {session.owner for session, entry in due.value if entry is not None and entry.epoch > session.owner_epoch}
    if owners and len(due.value) <= OVER_MAX:
        theirs: list[Query] = [Members("sessions_of", owner, OVER_MAX + 1) for owner in owners]
        _, sets = yield theirs
        over.update(session.id for each in sets for session in each.value)
    if len(due.value) > OVER_MAX or len(over) > OVER_MAX:
        now, (found,) = yield [listing._replace(unassigned=None)]
        return now, found
    if over:
        held = [listing._replace(unassigned=None, session_id=id) for id in over]
        now, all_found = yield [listing, *held]
        found = _merged(listing, all_found)
    return now, found


def _merged(listing: Scan, parts: Sequence[Result]) -> Result:
    """Return the first records of several stretches, as far as each of them goes."""
    lines = {(line.token.created_at, line.token.id): line for part in parts for line in part.value}
    places = sorted(lines, reverse=listing.newest)
    full = [part for part in parts if len(part.value) + len(part.unreadable) >= listing.limit]
    if not all(part.value for part in full):  # nothing of one can be read, and it comes before all others
        places = []
    elif full:
        ends = [(part.value[-1].token.created_at, part.value[-1].token.id) for part in full]
        until = max(ends) if listing.newest else min(ends)
        places = [place for place in places if (place >= until if listing.newest else place <= until)]
    unreadable = [each for part in parts for each in part.unreadable]
    return Result([lines[place] for place in places[: listing.limit]], (), unreadable)


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
    """Return what ``sessions_listed`` does, without those of visitors who have not logged in."""
    return [session for session in sessions_listed(listing, found, now) if not is_anonymous(session.owner)]


def tokens_listed(listing: Scan, found: Iterable[TokenResult], now: int) -> list[Token]:
    """Return the living tokens that match the listing, each as it stands now and as callers see it."""
    listed = []
    for each in found:
        present, session, entry = each.followed()
        token = None if present is None else present.as_of(now, session, entry)
        if (
            token is not None
            and not token.is_loan
            and (listing.owner is None or token.owner == listing.owner)
            and (listing.session_id is None or token.session_id == listing.session_id)
            and (listing.transferable is None or listing.transferable == token.is_transferable)
            and (listing.sellable is None or listing.sellable == token.is_sellable)
            and (listing.unassigned is None or listing.unassigned == token.is_unassigned)
            and (listing.tag is None or listing.tag == token.tag)
        ):
            listed.append(token.seen_with(session))
    return listed


def what_follows(listing: Scan, found: Result) -> Scan | None:
    """Return the listing that goes on where an answer stopped; ``None`` when that was all.

    What could not be read has taken places of the answer without telling its own place in the order: where nothing
    else came, twice as much is asked for.
    """
    if len(found.value) + len(found.unreadable) < listing.limit:
        return None
    if not found.value:
        return listing._replace(limit=2 * listing.limit)
    return listing._replace(after=_place_in(listing, found.value[-1][0]))


def _place_in(listing: Scan, record: Any) -> tuple[int, str]:
    """Return the place of a record in the order of a listing."""
    return (record.unassigned_at if listing.what == "waiting" else record.created_at), record.id


def cursor_of_text(place: str) -> str:
    """Return the cursor of a place in a listing whose places are texts that the store alone understands."""
    return TEXT_CURSOR + urlsafe_b64encode(place.encode("utf-8")).decode("ascii")


def text_of_cursor(given: object) -> str | None:
    """Return the place that ``cursor_of_text`` made a cursor of; ``None`` where none is given.

    Raises:
        TypeError: it is neither ``str`` nor ``None``.
        InvalidInput: it was not the ``after`` of such a listing.
    """
    if given is None:
        return None
    if not isinstance(given, str):
        raise TypeError(f"after is a page's .after or None, not {type(given).__name__}")
    try:
        place = urlsafe_b64decode(given.removeprefix(TEXT_CURSOR).encode("ascii")).decode("utf-8")
    except ValueError:
        place = ""
    if not place or cursor_of_text(place) != given:
        raise InvalidInput("after is not what a page of this listing gave for the next one; begin without it")
    return place
