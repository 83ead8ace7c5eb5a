"""Finds what an id or secret names, and whether it is alive.

An id manages whatever lives, a secret must authenticate to be a key at all.

What a rule judges alive here it may rest on until the least deadline of all that, ``Changes.not_after``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..clock import NEVER
from ..contract.queries import Get, Query, SessionResult
from ..contract.transaction import Transaction
from ..errors import SessionEnded, UnknownSession, UnknownToken
from ..records import NO_DETAILS, NO_TOKEN_DETAILS, OwnerEntry, Session, Token
from ..settings import ENDED_RETENTION_MS

Key = str | tuple[str, ...]
"""An id, or what a secret may be looked up by (one for each live pepper; empty: a secret that cannot be one)."""


def session_queries(key: Key) -> Sequence[Query]:
    """Return what finding a session by ``key`` reads."""
    return [Get("session", key)] if isinstance(key, str) else [Get("session_lookup", lookup) for lookup in key]


def token_queries(key: Key) -> Sequence[Query]:
    """Return what finding a token by ``key`` reads."""
    return [Get("token", key)] if isinstance(key, str) else [Get("token_lookup", lookup) for lookup in key]


def lives(tx: Transaction, session: Session, entry: OwnerEntry | None) -> bool:
    """Whether a session is alive now; if it is, what rests on that is written before its deadline or not at all.

    An end may come late: it asks ``Session.alive`` instead, or says ``only_ends`` afterwards.
    """
    if not session.alive(tx.now, entry):
        return False
    changes = tx.changes
    if session.deadline < changes.not_after:
        changes.not_after = session.deadline
    return True


def lasts(tx: Transaction, token: Token) -> bool:
    """Whether a token's own time goes on, its session aside; as for ``lives``."""
    if tx.now >= token.deadline:
        return False
    changes = tx.changes
    if token.deadline < changes.not_after:
        changes.not_after = token.deadline
    return True


def standing(tx: Transaction, stored: Token, session: Session | None) -> Token | None:
    """Return a token as it stands now with the session that holds it, ``None`` if it is over; as for ``lives``."""
    entry = None if session is None else tx.entry(session.owner)
    token = stored.as_of(tx.now, session, entry)
    if token is not None:
        changes = tx.changes
        if token.deadline < changes.not_after:
            changes.not_after = token.deadline
        if session is not None and token.session_id is not None and session.deadline < changes.not_after:
            changes.not_after = session.deadline
    return token


def only_ends(tx: Transaction) -> None:
    """Let a change set be written however late it comes and however full the store is: it ends or frees."""
    tx.changes.not_after = NEVER
    tx.changes.only_ends = True


class Stolen(Exception):
    """A previous secret of a living session came after its grace; nothing was done, the session is to be ended.

    Attributes:
        id: of the session.
        former_id: of the record to which that secret leads.
    """

    def __init__(self, id: str, former_id: str) -> None:
        super().__init__(id)
        self.id = id
        self.former_id = former_id


def living_session(tx: Transaction, key: Key) -> Session:
    """Return the living session that ``key`` names; by a secret only an attached one.

    Raises:
        SessionEnded: it is over, with its reason (by id only, while it is remembered).
        UnknownSession: there is none.
        Stolen: it was named by a previous secret whose grace is over.
    """
    session = tx.session(key) if isinstance(key, str) else _by_lookups(tx, key)
    if session is None:
        raise UnknownSession("no living session answers to that key; list_sessions() shows those of an owner")
    entry = tx.entry(session.owner)
    if session.alive(tx.now, entry):
        changes = tx.changes  # as in lives(), on the way of every command on a session
        if session.deadline < changes.not_after:
            changes.not_after = session.deadline
        return session
    if not isinstance(key, str):
        raise UnknownSession("no living session answers to that key; open a new one")
    raise _over(tx.now, session, entry)


def _over(now: int, session: Session, entry: OwnerEntry | None) -> UnknownSession | SessionEnded:
    """Return the error for the id of a session that is over: with its reason, while it is remembered."""
    end = session.end(now, entry)
    if now >= end.at + ENDED_RETENTION_MS or session.former_of is not None:
        return UnknownSession("no living session answers to that key; open a new one")
    return SessionEnded(
        f"the session ended ({end.reason}); open a new one", id=session.id, reason=end.reason, at=end.at
    )


def living_session_in(now: int, found: SessionResult) -> Session:
    """Return the living session that was found by its id.

    Raises:
        SessionEnded: it is over, with its reason, while it is remembered.
        UnknownSession: there is none.
    """
    session, entry = found
    if session is None:
        raise UnknownSession("no living session has that id")
    if not session.alive(now, entry):
        raise _over(now, session, entry)
    return session


def _by_lookups(tx: Transaction, lookups: Sequence[str]) -> Session | None:
    for lookup in lookups:
        session = tx.session_by_lookup(lookup)
        if session is not None and session.detached_at is None:
            return session if session.details is NO_DETAILS else of_secret(tx, session)
    return None


def of_secret(tx: Transaction, found: Session) -> Session | None:
    """Return the session of what a secret leads to: the very one, or that of which it is a previous secret.

    Raises:
        Stolen: it is one, and its grace is over.
    """
    if found.former_of is None:
        return found
    session = tx.session(found.former_of)
    if session is None or not session.authenticates(tx.now, tx.entry(session.owner)):
        return None
    until = session.former_until(found.id)
    if until is None:
        return None
    if tx.now >= until:
        raise Stolen(session.id, found.id)
    changes = tx.changes
    if until < changes.not_after:
        changes.not_after = until
    return session


def followed(tx: Transaction, stored: Token) -> tuple[Token, Session | None]:
    """Return a token in the session where it is now, as it will be written down, and that session, alive or not."""
    session = None if stored.session_id is None else tx.session(stored.session_id)
    if session is None or session.details.successor is None:
        return stored, session
    return stored.followed(session, tx.session(session.details.successor))


def stored_token(tx: Transaction, key: Key) -> Token | None:
    """Return the record that ``key`` names, of a token or a loan, as it is stored."""
    return tx.token(key) if isinstance(key, str) else next(filter(None, map(tx.token_by_lookup, key)), None)


def living_token(tx: Transaction, key: Key) -> tuple[Token, Token, Session | None]:
    """Return the token that ``key`` names: as it is stored, as it stands now, and the session that holds it now.

    Raises:
        UnknownToken: there is none, it is dead, or it was named by a secret and does not authenticate; that of a loan
            is a key for using the token, and for nothing else.
    """
    stored = tx.token(key) if isinstance(key, str) else stored_token(tx, key)
    if stored is None or (stored.details is not NO_TOKEN_DETAILS and stored.details.lent is not None):
        raise _unknown_token()
    token = stored
    if stored.session_id is None:
        session = entry = None
    else:
        session = tx.session(stored.session_id)
        if session is not None and session.details is not NO_DETAILS and session.details.successor is not None:
            token, session = stored.followed(session, tx.session(session.details.successor))
        entry = None if session is None else tx.entry(session.owner)
    # What authenticates stands as it is, but for an offer that is over; nearly all do, and it is less to ask.
    if not token.authenticates(tx.now, session, entry):
        standing_now = token.as_of(tx.now, session, entry)
        if standing_now is None or (standing_now.unassigned_at is not None and not isinstance(key, str)):
            raise _unknown_token()
        token = standing_now
        if token.session_id is None:
            session = None
    elif token.details is not NO_TOKEN_DETAILS:
        token = token.offered_at(tx.now)
    changes = tx.changes  # as in standing(), on the way of every command on a token
    if token.deadline is not NEVER and token.deadline < changes.not_after:
        changes.not_after = token.deadline
    if session is not None and (changes.not_after is NEVER or session.deadline < changes.not_after):
        changes.not_after = session.deadline
    return stored, token, session


def _unknown_token() -> UnknownToken:
    return UnknownToken("no living token answers to that key; list_tokens() shows those of an owner")
