"""What happened, told once: each committed state change has exactly one event."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from .records import ServiceKey, Session, Token

log = logging.getLogger("session_tokens.events")

SESSION_OPENED = "session_opened"
SESSION_ROTATED = "session_rotated"
SESSION_DETACHED = "session_detached"
SESSION_ATTACHED = "session_attached"
SESSION_CHANGED = "session_changed"
SESSION_ENDED = "session_ended"
OWNER_DISABLED = "owner_disabled"
OWNER_ENABLED = "owner_enabled"
TOKEN_ISSUED = "token_issued"
TOKEN_CHANGED = "token_changed"
TOKEN_TRANSFERRED = "token_transferred"
TOKEN_CLAIMED = "token_claimed"
TOKEN_REISSUED = "token_reissued"
TOKEN_OFFERED = "token_offered"
TOKEN_WITHDRAWN = "token_withdrawn"
TOKEN_ENDED = "token_ended"
KEY_CREATED = "key_created"
KEY_ROTATED = "key_rotated"
KEY_REVOKED = "key_revoked"


class Event(NamedTuple):
    """One committed state change.

    Attributes:
        kind: one of the names of this module, such as ``session_ended``.
        at: when, on the store's clock, in milliseconds since the epoch.
        subject_id: the public id of the session, token or service key, or the owner for ``owner_*``.
        owner: the owner afterwards, ``None`` where there is none.
        reason: why a session or token ended, the role for ``key_*``; ``None`` for everything else.
        previous_owner: who gave it, for a transfer or a claim; else ``None``.
    """

    kind: str
    at: int
    subject_id: str
    owner: str | None
    reason: str | None = None
    previous_owner: str | None = None


Note = tuple[str, Session | Token | ServiceKey | str, str | None]
"""What a rule notes down: the event's kind, the record after the change (or an owner), the reason or previous owner."""

Listener = Callable[[Event], None]


def events_of(notes: Iterable[Note], now: int) -> list[Event]:
    """Make the events of one commit from what its rules noted down."""
    events = []
    for kind, subject, extra in notes:
        if isinstance(subject, str):
            events.append(Event(kind, now, subject, subject))
        elif isinstance(subject, ServiceKey):
            events.append(Event(kind, now, subject.id, None, subject.role))
        elif kind in (TOKEN_TRANSFERRED, TOKEN_CLAIMED):
            events.append(Event(kind, now, subject.id, subject.owner, None, extra))
        else:
            events.append(Event(kind, now, subject.id, subject.owner, extra))
    return events


class Listeners:
    """The callbacks of one store in this process, called after each commit, in commit order per caller.

    A callback that raises is logged and does not disturb the command: what was committed stays committed.
    """

    __slots__ = ("callbacks",)

    def __init__(self) -> None:
        self.callbacks: tuple[Listener, ...] = ()

    def add(self, callback: Listener) -> Callable[[], None]:
        """Call ``callback`` with each event from now on; the answer takes it off again."""
        self.callbacks = (*self.callbacks, callback)

        def remove() -> None:
            self.callbacks = tuple(kept for kept in self.callbacks if kept is not callback)

        return remove

    def tell(self, notes: Sequence[Note], now: int) -> None:
        """Tell all callbacks what one commit noted down."""
        if not self.callbacks:
            return
        for event in events_of(notes, now):
            for callback in self.callbacks:
                try:
                    callback(event)
                except Exception:
                    log.exception("an event listener failed on %s of %s", event.kind, event.subject_id)
