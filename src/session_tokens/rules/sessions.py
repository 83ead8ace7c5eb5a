"""The rules of sessions: opening, renewing, detaching, changing and ending them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..clock import Clock
from ..compiled_core import COMPILED
from ..contract.queries import Count, Get, Members, Query
from ..contract.transaction import Transaction, reads
from ..errors import (
    Conflict,
    InvalidInput,
    NotDetachable,
    OwnerDisabled,
    SessionEnded,
    UnknownSession,
)
from ..events import (
    SESSION_ATTACHED,
    SESSION_CHANGED,
    SESSION_DETACHED,
    SESSION_OPENED,
    SESSION_ROTATED,
)
from ..records import JSON, NO_DETAILS, Session, SessionDetails
from ..records.compact import compact, read_compact
from ..records.record import maker_of
from ..records.session import Session as NewSession
from ..records.traits import SessionTraits, session_traits
from ..settings import SESSIONS_OF_OWNER_MAX, UNSET, Policy, Unset
from .caps import at_the_cap, refuse_too_many
from .expiry import (
    attached_deadline,
    detached_deadline,
    end_session,
    look_at,
    replace_session,
    touch_is_due,
)
from .former_secrets import without_former
from .lookup import Key, Stolen, lasts, lives, living_session, only_ends, session_queries
from .reserved import may_have_new_secret
from .rotation import OtherKind, end_stolen_session


class Opening:
    """What an opening brings along: its minted id and look-up key, its clocks and its details.

    Its fields are read often, which costs a fraction of what it would of a tuple. A dataclass would be as quick, but
    not where the core is compiled.
    """

    __slots__ = ("details", "id", "lookup", "name", "owner", "traits")

    def __init__(
        self,
        id: str,
        lookup: str | None,
        owner: str,
        traits: SessionTraits,
        details: SessionDetails = NO_DETAILS,
        name: str | None = None,
    ) -> None:
        self.id = id
        self.lookup = lookup
        self.owner = owner
        self.traits = traits
        self.details = details
        self.name = name

    def looked_up_by(self, lookup: str) -> Opening:
        """Take the look-up key of its secret, once that is minted, and return itself."""
        self.lookup = lookup
        return self

    def with_details(self, details: SessionDetails) -> Opening:
        """Return the same opening with other details."""
        return Opening(self.id, self.lookup, self.owner, self.traits, details, self.name)


def opening_queries(policy: Policy, owner: str) -> list[Query]:
    """Return what opening a session reads: with a cap all of the owner's, else the newest and how many there are."""
    queries: list[Query] = [Get("entry", owner), Members("parked_tokens", owner, policy.cleaning_batch)]
    if policy.max_sessions is None:
        return [*queries, Members("sessions_of", owner, 1, True), Count("sessions_of", owner)]
    return [*queries, Members("sessions_of", owner), Count("sessions_of", owner)]


def open_session(
    tx: Transaction, policy: Policy, opening: Opening, clock: Clock, leaving: Session | None = None
) -> Session:
    """Open a session for an owner; at the owner's cap, replace or refuse as the policy says.

    One that cannot be read gives way before any that can: it may live for a process that has its pepper. Where the
    policy is ``refuse`` it does not count, so that it keeps nobody out.

    A replaced session's transferable tokens move to the new one, parked tokens of the owner join it: a batch here, the
    rest by the sweeper. Openings of one owner are in order: ``created_at`` is later than that of all the others.

    Args:
        leaving: a session that the same transaction ends, which does not count at the cap.

    Raises:
        OwnerDisabled: the owner is disabled.
        LimitReached: the cap is reached and the policy is ``refuse``, or there are ``SESSIONS_OF_OWNER_MAX``.
    """
    now, owner = tx.now, opening.owner
    entry = tx.entry(owner)
    if entry is not None and entry.disabled_at is not None:
        raise OwnerDisabled("the owner is disabled; enable_owner() lifts it", owner=owner)
    replaced: Sequence[Session] = ()
    epoch = 0 if entry is None else entry.epoch
    cap = policy.max_sessions
    if cap is None:
        others = tx.sessions_of(owner, 1, True)
        if others and tx.session_count_of(owner) >= SESSIONS_OF_OWNER_MAX:
            refuse_too_many(tx, owner, entry)
    else:
        count = tx.session_count_of(owner)
        others = tx.sessions_of(owner) if count else ()
        if count >= cap:
            replaced, epoch = at_the_cap(tx, policy, cap, owner, entry, others, count, leaving)
    created_at, details = now, opening.details
    if others and others[-1].created_at >= now:
        created_at = others[-1].created_at + 1
        details = details._replace(ahead_ms=created_at - now)
    parked = tx.parked_tokens(owner, policy.cleaning_batch)
    traits = opening.traits
    deadline = attached_deadline(now, traits.max_age_ms, now, traits.idle_timeout_ms)
    session = NewSession(
        opening.id, owner, opening.lookup, created_at, now, now, deadline, None, None, None,
        now if parked and len(parked) == policy.cleaning_batch else deadline, epoch, 1, details, opening.name, clock,
        traits,
    )  # fmt: skip
    if replaced or parked:
        for other in replaced:
            replace_session(tx, policy, other, session.id)
        for token in parked:
            if lasts(tx, token):
                tx.put_token(token, token.in_session(session.id))
    tx.put_session(None, session)
    tx.note((SESSION_OPENED, session, None))
    return session


# No decorator: compiled, a rule calls another one at once only by its own name.
reads(lambda policy, opening, clock: opening_queries(policy, opening.owner))(open_session)


@reads(lambda id, lookup, read_under=None: [Get("session", id)])
def touch_session(tx: Transaction, id: str, lookup: str, read_under: str | None = None) -> Session | None:
    """Write down that an attached living session was used, and under which current pepper its secret is looked up.

    Return the session, ``None`` if it no longer authenticates. No event, and the version stays.

    Args:
        lookup: the present secret's look-up key under the current pepper.
        read_under: the one under which it was found. Where it has got another secret since, nothing is written.
    """
    session = tx.session(id)
    if session is None or session.detached_at is not None or not lives(tx, session, tx.entry(session.owner)):
        return None
    if read_under is not None and session.lookup not in (lookup, read_under):
        return None if session.details.rotation is None else session  # with grace, the secret is good all the same
    seen_at = tx.now if touch_is_due(session, tx.now) else session.last_seen_at
    deadline = attached_deadline(session.opened_at, session.max_age_ms, seen_at, session.idle_timeout_ms)
    if seen_at == session.last_seen_at and lookup == session.lookup:
        return session
    touched = session.replace(
        last_seen_at=seen_at, deadline=deadline, sweep_at=look_at(session, deadline), lookup=lookup
    )
    tx.put_session(session, touched)
    return touched


@reads(lambda key, lookup, authenticated, *how: session_queries(key))
def rotate_session(
    tx: Transaction,
    key: Key,
    lookup: str,
    authenticated: bool,
    kind: str | None = None,
    own: str = "",
    acr: str | None = None,
    amr_text: str | None = None,
    changes: dict[str, str | None] | None = None,
    bytes_max: int = 0,
) -> Session:
    """Give a session a new secret, the old one and those before it dead at once.

    Args:
        authenticated: whether its owner has just proved who they are, which restarts idle and step-up clocks.
        kind: how the secret begins that ``lookup`` was made of; ``None`` where strings are the application's own.
        own: how the reserved owners begin whose sessions are the caller's.
        acr, amr_text: how they proved it, where they have; nothing is kept of the time before.
        changes, bytes_max: as for ``update_session_data``, in the same step; ``None`` for none.

    Raises:
        UnknownSession, SessionEnded: no living session answers to ``key``.
        Conflict: it is detached; attach it instead.
        InvalidInput: it is one of the console, or the data would be too large.
        OtherKind: its secrets do not begin with ``kind``.
    """
    session = may_have_new_secret(living_session(tx, key), own)
    if kind is not None and session.secret_kind != kind:
        raise OtherKind(session.secret_kind)
    if session.detached_at is not None:
        raise Conflict("a detached session has no secret to rotate; attach_session() gives it one", id=session.id)
    seen_at = tx.now if authenticated else session.last_seen_at
    deadline = attached_deadline(session.opened_at, session.max_age_ms, seen_at, session.idle_timeout_ms)
    details = without_former(tx, session)
    if changes:
        details = _with_data(session, details, changes, bytes_max)
    rotated = session.replace(
        lookup=lookup,
        version=session.version + 1,
        last_seen_at=seen_at,
        authenticated_at=tx.now if authenticated else session.authenticated_at,
        details=details._replace(acr=acr, amr_text=amr_text) if authenticated else details,
        deadline=deadline,
        sweep_at=look_at(session, deadline),
    )
    tx.put_session(session, rotated)
    tx.note((SESSION_ROTATED, rotated, None))
    if changes:
        tx.note((SESSION_CHANGED, rotated, None))
    return rotated


@reads(lambda key: session_queries(key))
def detach_session(tx: Transaction, key: Key) -> Session:
    """Log a session out but let it live; its secret is dead, its tokens and work go on. Twice changes nothing.

    Raises:
        UnknownSession, SessionEnded: no living session answers to ``key``.
        NotDetachable: it was not opened as detachable.
    """
    session = living_session(tx, key)
    if session.detached_at is not None:
        return session
    if not session.detachable:
        raise NotDetachable("the session is not detachable; open it with detachable=True", id=session.id)
    deadline = detached_deadline(session.opened_at, session.max_age_ms, tx.now, session.detached_timeout_ms)
    detached = session.replace(
        lookup=None,
        detached_at=tx.now,
        deadline=deadline,
        sweep_at=look_at(session, deadline),
        version=session.version + 1,
        details=without_former(tx, session),
    )
    tx.put_session(session, detached)
    tx.note((SESSION_DETACHED, detached, None))
    tx.changes.only_ends = True  # it ends a secret; but in time, for the session lives on
    return detached


@reads(lambda id, lookup, kind=None, own="": [Get("session", id)])
def attach_session(tx: Transaction, id: str, lookup: str | None, kind: str | None = None, own: str = "") -> Session:
    """Log a detached session in again with a new secret; its idle clock restarts.

    Raises:
        UnknownSession, SessionEnded: no living session has that id.
        Conflict: it is attached.
        InvalidInput: it is one of the console; see ``rotate_session``.
        OtherKind: its secrets do not begin with ``kind``.
    """
    session = may_have_new_secret(living_session(tx, id), own)
    if kind is not None and session.secret_kind != kind:
        raise OtherKind(session.secret_kind)
    if session.detached_at is None:
        raise Conflict("the session is attached already; rotate_session() gives it a new secret", id=id)
    deadline = attached_deadline(session.opened_at, session.max_age_ms, tx.now, session.idle_timeout_ms)
    attached = session.replace(
        lookup=lookup,
        detached_at=None,
        last_seen_at=tx.now,
        authenticated_at=tx.now,
        deadline=deadline,
        sweep_at=look_at(session, deadline),
        version=session.version + 1,
    )
    tx.put_session(session, attached)
    tx.note((SESSION_ATTACHED, attached, None))
    return attached


class SessionChange(NamedTuple):
    """What to change of a session; durations in milliseconds, ``max_age_ms`` counting from its opening.

    ``from_now`` counts ``max_age_ms`` from now instead, as the seed's timeout does.
    """

    idle_timeout_ms: int | None | Unset = UNSET
    max_age_ms: int | None | Unset = UNSET
    detached_timeout_ms: int | None | Unset = UNSET
    detachable: bool | Unset = UNSET
    label: str | None | Unset = UNSET
    version: int | None = None
    from_now: bool = False


_SAME_TRAITS = (UNSET,) * 4
"""How a change begins that leaves clocks and detachability alone."""


@reads(lambda key, change: session_queries(key))
def change_session(tx: Transaction, key: Key, change: SessionChange) -> Session:
    """Change clocks, detachability or label of a living session.

    A new idle timeout counts from now (uses are written down late, or never without one), a new detached timeout from
    the detaching, a new maximum age from the opening.

    Raises:
        UnknownSession, SessionEnded: no living session answers to ``key``.
        Conflict: ``change.version`` is given and is not the session's.
    """
    session = living_session(tx, key)
    _check_version(session.version, change.version)
    traits = session.traits if change[:4] == _SAME_TRAITS else _changed_traits(tx, session, change)
    seen_at = session.last_seen_at if change.idle_timeout_ms is UNSET else tx.now
    if session.detached_at is None:
        deadline = attached_deadline(session.opened_at, traits.max_age_ms, seen_at, traits.idle_timeout_ms)
    else:
        deadline = detached_deadline(
            session.opened_at, traits.max_age_ms, session.detached_at, traits.detached_timeout_ms
        )
    deadline = max(deadline, tx.now)  # what would have ended in the past ends now: it lived until now
    changed = session.replace(
        last_seen_at=seen_at,
        traits=traits,
        details=session.details if change.label is UNSET else session.details._replace(label=change.label),
        version=session.version + 1,
        deadline=deadline,
        sweep_at=look_at(session, deadline),
    )
    tx.put_session(session, changed)
    tx.note((SESSION_CHANGED, changed, None))
    return changed


def _changed_traits(tx: Transaction, session: Session, change: SessionChange) -> SessionTraits:
    """Return the traits that a session has after a change of its clocks or detachability."""
    traits = session.traits
    max_age_ms = traits.max_age_ms if change.max_age_ms is UNSET else change.max_age_ms
    if change.from_now and isinstance(change.max_age_ms, int):
        max_age_ms = tx.now - session.opened_at + change.max_age_ms
    return session_traits(
        traits.idle_timeout_ms if change.idle_timeout_ms is UNSET else change.idle_timeout_ms,
        max_age_ms,
        traits.detached_timeout_ms if change.detached_timeout_ms is UNSET else change.detached_timeout_ms,
        traits.detachable if change.detachable is UNSET else change.detachable,
        traits.client_id,
    )


@reads(lambda key, changes, version, bytes_max: session_queries(key))
def update_session_data(
    tx: Transaction, key: Key, changes: dict[str, str | None], version: int | None, bytes_max: int
) -> Session:
    """Merge fields into a session's data.

    Args:
        changes: field → JSON text of its value, ``None`` to remove it.
        version: the session's version that the caller has seen: a field changed since then is a conflict.
        bytes_max: what the data may be as JSON text.

    Raises:
        UnknownSession, SessionEnded: no living session answers to ``key``.
        Conflict: another caller changed one of the fields meanwhile.
        InvalidInput: the data would be too large.
    """
    session = living_session(tx, key)
    refuse_stale(session, changes, version)
    details = _with_data(session, session.details, changes, bytes_max)
    changed = session.replace(details=details, version=session.version + 1)
    tx.put_session(session, changed)
    tx.note((SESSION_CHANGED, changed, None))
    return changed


def _with_data(
    session: Session, details: SessionDetails, changes: dict[str, str | None], bytes_max: int
) -> SessionDetails:
    """Return the details of a session's next version, with fields put in and taken out.

    Raises:
        InvalidInput: the data would be too large.
    """
    versions = dict(details.data_versions)
    data: dict[str, JSON] = read_compact(details.data_text)
    for field, text in changes.items():
        versions[field] = session.version + 1
        if text is None:
            data.pop(field, None)
        else:
            data[field] = read_compact(text)
    data_text = compact(data)
    if len(data_text.encode()) > bytes_max or _versions_pass(versions, 2 * bytes_max):
        raise InvalidInput(
            f"the session's data would pass {bytes_max} bytes of JSON; keep large data elsewhere, or set max_data_bytes"
        )
    return details._replace(data_text=data_text, data_versions=versions)


def refuse_stale(session: Session, fields: Iterable[str], version: int | None) -> None:
    """Accept that fields of a session's data are written over, or all of them where no version is given.

    Raises:
        Conflict: one was changed since the version that the caller has seen.
    """
    if version is None:
        return
    if version > session.version:
        raise Conflict("that version of the session is not there yet; read it again", id=session.id)
    versions = session.details.data_versions
    stale = sorted(field for field in fields if versions.get(field, 0) > version)
    if stale:
        raise Conflict(f"changed meanwhile: {', '.join(stale)}; read the session again", id=session.id, fields=stale)


@reads(lambda key, reason, version: session_queries(key))
def destroy_session(tx: Transaction, key: Key, reason: str, version: int | None) -> bool:
    """End a session; return whether one lived under ``key``. Twice changes nothing.

    Raises:
        Conflict: ``version`` is given and is not the session's.
    """
    try:
        session = living_session(tx, key)
    except (UnknownSession, SessionEnded):
        return False
    except Stolen as stolen:
        end_stolen_session(tx, stolen.id, stolen.former_id)
        return False
    _check_version(session.version, version)
    end_session(tx, session, tx.now, reason)
    only_ends(tx)
    return True


def _versions_pass(versions: dict[str, int], bytes_max: int) -> bool:
    """Whether the versions of the fields are too long as JSON; most are so few that nobody needs to write them down."""
    at_most = 12 * sum(map(len, versions)) + len('"": , ') * len(versions) + 20 * len(versions)
    return at_most > bytes_max and len(json.dumps(versions)) > bytes_max


def _check_version(present: int, expected: int | None) -> None:
    if expected is not None and expected != present:
        raise Conflict(f"the version is {present}, not {expected}; read it again", version=present)


if not COMPILED:
    globals()["Opening"] = maker_of(Opening)
