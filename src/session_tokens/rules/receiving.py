"""Where an owner receives a token, or borrows one: the newest of their sessions that lives."""

from __future__ import annotations

from ..contract.queries import Get, Members, Query
from ..contract.transaction import Transaction
from ..errors import OwnerDisabled
from ..records import Session
from ..settings import NEWEST_READ
from .lookup import lives


def receiving_queries(receiver: str) -> list[Query]:
    """Return what finding the session of a receiver reads."""
    return [Get("entry", receiver), Members("sessions_of", receiver, NEWEST_READ, True)]


def receiving_session(tx: Transaction, receiver: str) -> Session | None:
    """Return the session in which a receiver will hold a token: the newest that lives; ``None`` parks it.

    Raises:
        OwnerDisabled: the receiver is disabled.
    """
    entry = tx.entry(receiver)
    if entry is not None and entry.disabled_at is not None:
        raise OwnerDisabled("the receiver is disabled; enable_owner() lifts it", owner=receiver)
    newest = tx.sessions_of(receiver, NEWEST_READ, True)
    for session in newest if len(newest) == 1 else reversed(newest):
        if session.alive(tx.now, entry):
            changes = tx.changes  # as in lives(), on the way of every transfer
            if session.deadline < changes.not_after:
                changes.not_after = session.deadline
            return session
    if len(newest) == NEWEST_READ:
        for session in reversed(tx.sessions_of(receiver)):
            if lives(tx, session, entry):
                return session
    return None
