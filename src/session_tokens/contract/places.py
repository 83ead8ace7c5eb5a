"""In which indexes a record stands; the difference between its old and new places is what a commit moves.

Theory of operation. A store that keeps indexes by itself, or locks sets by their names, asks here where a record
stands. Databases that keep indexes have the same as conditions (``stores/common/kinds``), memory by hand for speed;
a test compares all three. A record stands in one place of an index, or in none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..clock import NEVER
from ..records import (
    NO_DETAILS,
    NO_TOKEN_DETAILS,
    TRANSFERABLE,
    IdempotencyRecord,
    OwnerEntry,
    ServiceKey,
    Session,
    Token,
)

Place = tuple[str, str, int]
"""The index, whose part of it (empty in one that has no parts), and where in the order of that: an instant."""
Move = tuple[str, Place | None, Place | None]
"""An index, and a record's former and present place in it."""

SESSIONS: Final = "sessions_in_order"
SESSIONS_OF: Final = "sessions_of_owner"
DETACHED: Final = "sessions_detached"
PREDECESSORS_OF: Final = "sessions_replaced"
SESSION_DUE: Final = "sessions_to_sweep"
TOKENS: Final = "tokens_in_order"
BOUND_OF: Final = "tokens_of_session"
TRANSFERABLES_OF: Final = "transferables_of_session"
"""Of the tokens that a session holds, those that may leave it; the others are in ``BOUND_OF``."""
PARKED: Final = "tokens_parked"
LISTED: Final = "tokens_listed"
UNASSIGNED: Final = "tokens_unassigned"
TAGGED: Final = "tokens_tagged"
WAITING: Final = "tokens_waiting"
WAITING_TAGGED: Final = "tokens_waiting_tagged"
"""Unassigned tokens, all and by tag, in the order in which they became so."""
TOKEN_DUE: Final = "tokens_to_sweep"
OWNERS: Final = "owners_in_order"
SERVICE_KEYS: Final = "service_keys_in_order"
OUTCOME_DUE: Final = "idempotency_to_sweep"

NOWHERE: Final[tuple[Place, ...]] = ()


def session_places(session: Session | None) -> Sequence[Place]:
    """Return where a session stands: as one of its owner until it was ended, as a predecessor until that is over."""
    if session is None:
        return NOWHERE
    at, sweep_at, details = session.created_at, session.sweep_at, session.details
    places: list[Place] = []
    if session.ended_at is None:
        places = [(SESSIONS_OF, session.owner, at), (SESSIONS, "", at)]
        if session.detached_at is not None:
            places.append((DETACHED, "", at))
    if details is not NO_DETAILS and details.successor is not None:
        places.append((PREDECESSORS_OF, details.successor, at))
    if sweep_at != NEVER:
        places.append((SESSION_DUE, "", sweep_at))
    return places


def stand_alike(old: Session, new: Session) -> bool:
    """Whether a session stands where it stood, as most that are changed do: then its places need not be listed."""
    return (
        old.sweep_at == new.sweep_at
        and old.ended_at is new.ended_at is None
        and old.detached_at == new.detached_at
        and (old.details is new.details or old.details.successor == new.details.successor)
        and old.created_at == new.created_at
        and old.owner == new.owner
    )


def token_places(token: Token | None) -> Sequence[Place]:
    """Return where a token stands: with its session, or parked with its owner, and in the listings that show it."""
    if token is None:
        return NOWHERE
    at, is_transferable = token.created_at, token.traits.kind is TRANSFERABLE
    places: list[Place] = [(TOKENS, "", at)]
    if token.session_id is not None:
        places.append((TRANSFERABLES_OF if is_transferable else BOUND_OF, token.session_id, at))
    elif is_transferable and token.owner is not None:
        places.append((PARKED, token.owner, at))
    if token.unassigned_at is not None:
        places += ((UNASSIGNED, "", at), (WAITING, "", token.unassigned_at))
    details = token.details
    if details is not NO_TOKEN_DETAILS:
        if token.unassigned_at is not None and details.tag is not None:
            places.append((WAITING_TAGGED, details.tag, token.unassigned_at))
        if token.is_sellable:
            places.append((LISTED, "", at))
        if details.tag is not None:
            places.append((TAGGED, details.tag, at))
    if token.deadline != NEVER:
        places.append((TOKEN_DUE, "", token.deadline))
    return places


def are_held_alike(old: Token, new: Token) -> bool:
    """Whether a token that sessions held and hold stands where it stood, but for the session that holds it."""
    return (
        old.details is new.details
        and old.session_id is not None
        and new.session_id is not None
        and old.deadline == new.deadline
        and old.unassigned_at is new.unassigned_at is None
        and old.traits.kind is new.traits.kind
        and old.created_at == new.created_at
    )


def entry_places(entry: OwnerEntry | None) -> Sequence[Place]:
    """Return where an owner's entry stands: among all of them."""
    return NOWHERE if entry is None else ((OWNERS, "", 0),)


def service_key_places(key: ServiceKey | None) -> Sequence[Place]:
    """Return where a service key stands: among all of them."""
    return NOWHERE if key is None else ((SERVICE_KEYS, "", key.created_at),)


def outcome_places(record: IdempotencyRecord | None) -> Sequence[Place]:
    """Return where a kept outcome stands: among what is due."""
    return NOWHERE if record is None else ((OUTCOME_DUE, "", record.expires_at),)


def places_of(record: object) -> Sequence[Place]:
    """Return where a record of any kind stands; a setting stands in no index."""
    match record:
        case Session():
            return session_places(record)
        case Token():
            return token_places(record)
        case OwnerEntry():
            return entry_places(record)
        case ServiceKey():
            return service_key_places(record)
        case IdempotencyRecord():
            return outcome_places(record)
    return NOWHERE


def moves(old: Sequence[Place], new: Sequence[Place]) -> Sequence[Move]:
    """Return in which indexes a record moves, from where and to where; ``None`` is nowhere."""
    if old == new:
        return ()
    if not old:
        return [(place[0], None, place) for place in new]
    before = {place[0]: place for place in old if place not in new}
    moved: list[Move] = [(place[0], before.pop(place[0], None), place) for place in new if place not in old]
    moved += [(index, place, None) for index, place in before.items()]
    return moved
