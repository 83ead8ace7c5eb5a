"""The rules of rotation with grace: the secret before is good for a while, and used after that it ends the session."""

from __future__ import annotations

from typing import NamedTuple

from ..contract.queries import Get
from ..contract.transaction import Transaction, reads
from ..errors import Conflict
from ..events import SESSION_ROTATED
from ..records import Session
from ..records.rotation import FORMER_MAX, Former, Rotation
from .expiry import end_session
from .former_secrets import drop_former, former_secret
from .lookup import Key, living_session, only_ends, session_queries
from .reserved import may_have_new_secret


class OtherKind(Exception):
    """A new secret was minted for a session whose secrets are of another kind; nothing was changed.

    Attributes:
        kind: how its secrets begin.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Renewal(NamedTuple):
    """What a rotation with grace brings along.

    Attributes:
        lookup: by what the new secret is looked up.
        nonce: of which and a pepper it was made.
        key_id: of that pepper.
        former_id: of the record that the secret before will lead to.
        grace_ms: for how long that one is good.
    """

    lookup: str
    nonce: str
    key_id: str
    former_id: str
    grace_ms: int


@reads(lambda key, renewal, kind, own="": session_queries(key))
def renew_session(tx: Transaction, key: Key, renewal: Renewal, kind: str, own: str = "") -> Session:
    """Give a session a new secret; the one before is good for the grace, and after that ends the session.

    By a previous secret nothing is changed: the session has its new one already, and tells of which nonce.

    Args:
        kind: how the new secret begins.
        own: as for ``rotate_session``.

    Raises:
        UnknownSession, SessionEnded: no living session answers to ``key``.
        Conflict: it is detached; attach it instead.
        InvalidInput: it is one of the console.
        OtherKind: its secrets do not begin with ``kind``.
        Stolen: ``key`` is a previous secret whose grace is over.
    """
    session = may_have_new_secret(living_session(tx, key), own)
    if session.secret_kind != kind:
        raise OtherKind(session.secret_kind)
    if session.detached_at is not None:
        raise Conflict("a detached session has no secret to rotate; attach_session() gives it one", id=session.id)
    if not isinstance(key, str) and session.lookup not in key:
        return session
    before = () if session.details.rotation is None else session.details.rotation.former
    kept, dropped = before[1 - FORMER_MAX :], before[: 1 - FORMER_MAX]
    former = former_secret(session, renewal.former_id, tx.now)
    until = tx.now + renewal.grace_ms
    rotation = Rotation(tx.now, renewal.nonce, renewal.key_id, (*kept, Former(former.id, until)))
    details = session.details._replace(rotation=rotation)
    renewed = session.replace(lookup=renewal.lookup, version=session.version + 1, details=details)
    drop_former(tx, dropped)
    tx.put_session(session, renewed)  # before the other, to which its look-up key goes
    tx.put_session(None, former)
    tx.note((SESSION_ROTATED, renewed, None))
    return renewed


@reads(lambda id, former_id: [Get("session", id)])
def end_stolen_session(tx: Transaction, id: str, former_id: str) -> bool:
    """End a session one of whose previous secrets was used after its grace; return whether that was so."""
    session = tx.session(id)
    if session is None or not session.authenticates(tx.now, tx.entry(session.owner)):
        return False
    until = session.former_until(former_id)
    if until is None or tx.now < until:
        return False
    end_session(tx, session, tx.now, "theft")
    only_ends(tx)
    return True
