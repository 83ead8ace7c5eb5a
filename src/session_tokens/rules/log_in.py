"""What a log-in does: a session for the user takes the place of the one that the browser had before."""

from __future__ import annotations

from collections.abc import Sequence

from ..clock import Clock
from ..contract.queries import Get, Query
from ..contract.transaction import Transaction, reads
from ..errors import AlreadyExists, CorruptRecord, InvalidInput
from ..events import SESSION_ENDED, TOKEN_TRANSFERRED
from ..records import JSON, Session, SessionDetails
from ..records.compact import compact, read_compact
from ..settings import Policy
from .expiry import end_session, replace_session
from .loans import read_loans_ahead, take_loans_away
from .lookup import Key, Stolen, lasts, lives, of_secret, session_queries
from .reserved import is_anonymous
from .sessions import Opening, open_session, opening_queries, refuse_stale


def log_in_queries(policy: Policy, opening: Opening, former: Key, lookups: Sequence[str]) -> list[Query]:
    """Return what a log-in reads."""
    unused = [Get("session_lookup", lookup) for lookup in lookups]
    return [*opening_queries(policy, opening.owner), *session_queries(former), *unused]


@reads(lambda policy, opening, former, lookups, *_: log_in_queries(policy, opening, former, lookups))
def log_in(
    tx: Transaction,
    policy: Policy,
    opening: Opening,
    former: Key,
    lookups: Sequence[str],
    changes: dict[str, str | None],
    clock: Clock,
    version: int | None = None,
) -> Session:
    """Open a session for a user who has just proved who they are, and end the one before, in one step.

    The session before, if it lives, ends: its session-bound tokens too. Of a visitor, or of the same owner, it is
    ``replaced``: its data is carried over and its transferable tokens are in the new session, with their secrets; of
    a visitor they come into the user's hands (epoch + 1). Of another owner it is a ``logout``: nothing is carried over,
    its transferable tokens become unassigned; and of one that a previous secret names after its grace, a ``theft``. One
    that is over, or unknown, hinders no log-in.

    Args:
        former: the session before: its id, or what its secret is looked up by (empty: there is none).
        lookups: what the new secret may be looked up by; nobody but the session before may have it.
        changes: what the new session's data is beside what is carried over: field → JSON text, ``None`` to leave a
            field behind.
        version: of the session before, that the caller has seen.

    Raises:
        OwnerDisabled, LimitReached: as ``open_session``; nothing was ended.
        Conflict: one of the fields of ``changes`` that would be carried over was changed since ``version``.
        AlreadyExists: another session has the secret; it is never adopted.
        InvalidInput: the data would be too large.
    """
    stored, is_stolen = _former(tx, former)
    for lookup in lookups:
        present = tx.session_by_lookup(lookup)
        if present is not None and (stored is None or present.id != stored.id):
            raise AlreadyExists("another session has that secret; mint a new one")
    leaving = None
    if stored is not None:
        entry = tx.entry(stored.owner)
        if lives(tx, stored, entry):
            leaving = stored
        else:
            end = stored.end(tx.now, entry)
            end_session(tx, stored, end.at, end.reason)
    is_known = leaving is not None and (leaving.owner == opening.owner or is_anonymous(leaving.owner))
    is_carried = is_known and not is_stolen
    if leaving is not None and is_carried:
        refuse_stale(leaving, changes, version)
    carried: dict[str, JSON] = read_compact(leaving.details.data_text) if leaving is not None and is_carried else {}
    details = _with_data(opening.details, carried, changes, policy.max_data_bytes)
    if leaving is not None:  # before the opening: both may have the same secret, one after the other
        if is_stolen:
            end_session(tx, leaving, tx.now, "theft")
        elif leaving.owner == opening.owner:
            replace_session(tx, policy, leaving, opening.id)
        elif is_carried:
            _hand_over(tx, leaving, opening)
        else:
            end_session(tx, leaving, tx.now, "logout")
    return open_session(tx, policy, opening.with_details(details), clock, leaving)


def _with_data(
    details: SessionDetails, carried: dict[str, JSON], changes: dict[str, str | None], bytes_max: int
) -> SessionDetails:
    for field, text in changes.items():
        if text is None:
            carried.pop(field, None)
        else:
            carried[field] = read_compact(text)
    if not carried:
        return details
    data_text = compact(carried)
    if len(data_text.encode()) > bytes_max:
        raise InvalidInput(
            f"the session's data would pass {bytes_max} bytes of JSON; keep large data elsewhere, or set max_data_bytes"
        )
    return details._replace(data_text=data_text, data_versions=dict.fromkeys(carried, 1))


def _former(tx: Transaction, key: Key) -> tuple[Session | None, bool]:
    """Return the session that a browser had before, dead or alive, and whether it came with a secret of long ago.

    ``None`` if it was ended, is unknown or damaged.
    """
    try:
        if isinstance(key, str):
            session = tx.session(key)
            return (session if session is not None and session.ended_at is None else None), False
        found = next(filter(None, map(tx.session_by_lookup, key)), None)
        return (None if found is None else of_secret(tx, found)), False
    except Stolen as stolen:
        return tx.session(stolen.id), True
    except CorruptRecord:
        return None, False


def _hand_over(tx: Transaction, visitor: Session, user: Opening) -> None:
    """End a visitor's session; all that was transferable in it is the user's, each under the secret that it has."""
    tokens = tx.transferables_of(visitor.id)
    read_loans_ahead(tx, tokens)
    for token in tokens:
        if lasts(tx, token):
            take_loans_away(tx, token)
            held = token.held_by(user.owner, user.id, token.lookup, tx.now)
            tx.put_token(token, held)
            tx.note((TOKEN_TRANSFERRED, held, held.previous_owner))
    ended = visitor.ended(tx.now, "replaced")
    tx.put_session(visitor, ended)
    tx.note((SESSION_ENDED, ended, "replaced"))
