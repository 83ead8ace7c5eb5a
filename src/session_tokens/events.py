"""What happened, reported once: each committed state change has exactly one event.

Callbacks of this process hear of it after the commit (``Listeners``). Where a store keeps events, they are written in
the commit itself, and each has an id that is its place in the store's log.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from .crypto.secret_form import PARTITION
from .errors import CorruptRecord, InvalidInput
from .records import JSON, ServiceKey, Session, Token

log = logging.getLogger("session_tokens.events")

SESSION_OPENED: Final = "session_opened"
SESSION_ROTATED: Final = "session_rotated"
SESSION_DETACHED: Final = "session_detached"
SESSION_ATTACHED: Final = "session_attached"
SESSION_CHANGED: Final = "session_changed"
SESSION_ENDED: Final = "session_ended"
OWNER_DISABLED: Final = "owner_disabled"
OWNER_ENABLED: Final = "owner_enabled"
OWNER_RENAMED: Final = "owner_renamed"
OWNER_FORGOTTEN: Final = "owner_forgotten"
TOKEN_ISSUED: Final = "token_issued"
TOKEN_CHANGED: Final = "token_changed"
TOKEN_TRANSFERRED: Final = "token_transferred"
TOKEN_CLAIMED: Final = "token_claimed"
TOKEN_REISSUED: Final = "token_reissued"
TOKEN_OFFERED: Final = "token_offered"
TOKEN_WITHDRAWN: Final = "token_withdrawn"
TOKEN_ENDED: Final = "token_ended"
TOKEN_CONSUMED: Final = "token_consumed"
TOKEN_RELEASED: Final = "token_released"
TOKEN_LENT: Final = "token_lent"
TOKEN_RECALLED: Final = "token_recalled"
KEY_CREATED: Final = "key_created"
KEY_ROTATED: Final = "key_rotated"
KEY_REVOKED: Final = "key_revoked"
WEBHOOK_ADDED: Final = "webhook_added"
WEBHOOK_CHANGED: Final = "webhook_changed"
WEBHOOK_ROTATED: Final = "webhook_rotated"
WEBHOOK_REPLAYED: Final = "webhook_replayed"
WEBHOOK_REMOVED: Final = "webhook_removed"
SETTING_CHANGED: Final = "setting_changed"
GAP: Final = "gap"
"""Sent to a follower in place of events that are not kept any more, or were never written down."""

KINDS = (
    SESSION_OPENED, SESSION_ROTATED, SESSION_DETACHED, SESSION_ATTACHED, SESSION_CHANGED, SESSION_ENDED,
    OWNER_DISABLED, OWNER_ENABLED, OWNER_RENAMED, OWNER_FORGOTTEN, TOKEN_ISSUED, TOKEN_CHANGED, TOKEN_TRANSFERRED,
    TOKEN_CLAIMED, TOKEN_REISSUED, TOKEN_OFFERED, TOKEN_WITHDRAWN, TOKEN_ENDED, TOKEN_CONSUMED, TOKEN_RELEASED,
    TOKEN_LENT, TOKEN_RECALLED, KEY_CREATED, KEY_ROTATED, KEY_REVOKED, WEBHOOK_ADDED, WEBHOOK_CHANGED, WEBHOOK_ROTATED,
    WEBHOOK_REPLAYED, WEBHOOK_REMOVED, SETTING_CHANGED,
)  # fmt: skip
"""What happens; a gap is none of it."""

WEBHOOK_KINDS = frozenset({WEBHOOK_ADDED, WEBHOOK_CHANGED, WEBHOOK_ROTATED, WEBHOOK_REPLAYED, WEBHOOK_REMOVED})
_OF_NO_OWNER = WEBHOOK_KINDS | {SETTING_CHANGED}
_OF_OWNERS = frozenset({OWNER_DISABLED, OWNER_ENABLED, OWNER_RENAMED, OWNER_FORGOTTEN})

Place = tuple[int, int]
"""Where an event stands in a store's log; later ones have greater places."""
NOWHERE: Place = (0, 0)
"""Before the first event of every log."""

_ID = re.compile(f"evt_{PARTITION}([0-9a-f]{{16}})([0-9a-f]{{8}})")


class Event(NamedTuple):
    """One committed state change.

    Attributes:
        kind: one of the names of this module, such as ``session_ended``.
        at: when, on the store's clock, in milliseconds since the epoch.
        subject_id: the public id of the session, token, service key or webhook, the owner for ``owner_*`` (a pseudonym
            for ``owner_forgotten``), the name for ``setting_changed``; empty for ``gap``.
        owner: the owner afterwards, ``None`` where there is none.
        reason: why a session or token ended or events are missing, the role for ``key_*``, what was changed for
            ``webhook_changed``, what is stored, or ``unset``, for ``setting_changed``; ``None`` for all others.
        previous_owner: who gave it, for a transfer, a claim or a release, the name before for ``owner_renamed``; else
            ``None``.
        id: its own, by which a follower goes on and knows it again; empty where the store keeps no events.
        terms: on what an offer was accepted (``price`` as text, ``currency``, ``settlement``), or a token lent
            (``borrower``, ``until`` in milliseconds); for ``owner_forgotten`` the owner's pseudonyms under other keys
            (``also``), where there are such; ``None`` for all others.
    """

    kind: str
    at: int
    subject_id: str
    owner: str | None
    reason: str | None = None
    previous_owner: str | None = None
    id: str = ""
    terms: Mapping[str, JSON] | None = None

    def to_dict(self) -> dict[str, JSON]:
        """Return it for JSON."""
        return {
            "id": self.id,
            "kind": self.kind,
            "at": self.at,
            "subject_id": self.subject_id,
            "owner": self.owner,
            "reason": self.reason,
            "previous_owner": self.previous_owner,
            "terms": None if self.terms is None else dict(self.terms),
        }


class Told(NamedTuple):
    """What few events tell beside a reason or a previous owner: see ``Event.terms``."""

    extra: str | None
    terms: Mapping[str, JSON]


Note = tuple[str, Session | Token | ServiceKey | str, str | None | Told]
"""What a rule notes down: the event's kind, the record after the change (or an owner, or the id of a webhook), the
reason or previous owner."""

Listener = Callable[[Event], None]


def owners_replaced(event: Event, replaced: Callable[[str | None], str | None]) -> Event:
    """Return an event with other owners in it: its own and the one before, its subject, whom a token was lent to."""
    subject_id, terms = event.subject_id, event.terms
    if event.kind in _OF_OWNERS:
        subject_id = replaced(subject_id) or subject_id
    if terms is not None and isinstance(borrower := terms.get("borrower"), str):
        terms = {**terms, "borrower": replaced(borrower)}
    owner, previous_owner = replaced(event.owner), replaced(event.previous_owner)
    return Event(event.kind, event.at, subject_id, owner, event.reason, previous_owner, event.id, terms)


def events_of(notes: Iterable[Note], now: int) -> list[Event]:
    """Make the events of one commit from what its rules noted down."""
    events = []
    for kind, subject, said in notes:
        extra, terms = (said.extra, said.terms) if isinstance(said, Told) else (said, None)
        if kind is GAP:
            events.append(Event(kind, now, "", None, extra))
        elif isinstance(subject, str):
            if kind is OWNER_RENAMED:
                events.append(Event(kind, now, subject, subject, None, extra))
            elif kind is OWNER_FORGOTTEN:
                events.append(Event(kind, now, subject, subject, None, None, "", terms))
            else:
                has_owner = kind not in _OF_NO_OWNER
                events.append(
                    Event(kind, now, subject, subject) if has_owner else Event(kind, now, subject, None, extra)
                )
        elif isinstance(subject, ServiceKey):
            events.append(Event(kind, now, subject.id, None, subject.role))
        elif kind in (TOKEN_TRANSFERRED, TOKEN_CLAIMED, TOKEN_RELEASED):
            events.append(Event(kind, now, subject.id, subject.owner, None, extra, "", terms))
        else:
            events.append(Event(kind, now, subject.id, subject.owner, extra, None, "", terms))
    return events


def event_id(place: Place) -> str:
    """Return the id of the event at a place; ids sort as places do."""
    return f"evt_{PARTITION}{place[0]:016x}{place[1]:08x}"


def place_of_event(id: object) -> Place:
    """Return the place of an event in its log.

    Raises:
        TypeError: it is not a ``str``.
        InvalidInput: it is not the id of an event.
    """
    if not isinstance(id, str):
        raise TypeError(f"the id of an event is a str, not {type(id).__name__}")
    found = _ID.fullmatch(id)
    if found is None:
        raise InvalidInput("that is not the id of an event (evt_…); give the id of the last one that you have")
    return int(found[1], 16), int(found[2], 16)


def event_text(event: Event) -> str:
    """Return an event as it is kept: JSON without its id, which follows from its place."""
    return json.dumps(kept_of(event), ensure_ascii=False, separators=(",", ":"))


def kept_of(event: Event) -> Sequence[Any]:
    """Return what is kept of an event, as ``event_of`` takes it back."""
    return event[:6] if event.terms is None else (*event[:6], event.terms)


def event_of(place: Place, kept: str | Sequence[Any]) -> Event:
    """Return the event that is kept at a place.

    Args:
        place: where it stands in the log.
        kept: what ``event_text`` made, or what that means.

    Raises:
        CorruptRecord: it is not as it was written; it hinders no other.
    """
    id = event_id(place)
    try:
        row: Sequence[Any] = json.loads(kept) if isinstance(kept, str) else kept
        kind, at, subject_id, owner, reason, previous_owner, *rest = row
        (terms,) = rest or (None,)
    except (ValueError, TypeError):
        raise CorruptRecord(f"the event {id} is not as it was written; it is left out", table="events", id=id) from None
    return Event(kind, at, subject_id, owner, reason, previous_owner, id, terms)


class Listeners:
    """Who gets events: the callbacks of one store in this process, and the store itself where it keeps them.

    Callbacks are called after each commit, in commit order per caller. One that raises is logged and does not disturb
    the command: what was committed stays committed.

    Attributes:
        callbacks: of this process.
        kept: whether the store writes the events of a change set down in its commit.
        any: whether anybody gets them.
    """

    __slots__ = ("any", "callbacks", "kept")

    def __init__(self) -> None:
        self.callbacks: tuple[Listener, ...] = ()
        self.kept = False
        self.any = False

    def add(self, callback: Listener) -> Callable[[], None]:
        """Call ``callback`` with each event from now on; the answer takes it off again."""
        self.callbacks = (*self.callbacks, callback)
        self.any = True

        def remove() -> None:
            self.callbacks = tuple(kept for kept in self.callbacks if kept is not callback)
            self.any = self.kept or bool(self.callbacks)

        return remove

    def keep(self, kept: bool) -> None:
        """Have the store write events down from now on, or no more."""
        self.kept = kept
        self.any = kept or bool(self.callbacks)

    def tell(self, notes: Sequence[Note], now: int) -> None:
        """Call all callbacks with what one commit noted down."""
        if not self.callbacks:
            return
        for event in events_of(notes, now):
            for callback in self.callbacks:
                try:
                    callback(event)
                except Exception:
                    log.exception("an event listener failed on %s of %s", event.kind, event.subject_id)
