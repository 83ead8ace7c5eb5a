"""Hears from a store's log of events what changed elsewhere, for the near cache of a server that tells nobody.

Theory of operation. What is kept near of such a store is kept for the bound and no longer, whatever the log says. So
nothing rests on the log: where it is off, held back by a transaction that stays open, or cannot be asked, an end is
seen within the bound; where it is kept and shown, a beat after it was committed.

What is read is what was written since the following began; so all that was kept before is forgotten then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from ...contract.drive import drive_now
from ...contract.event_log import BEYOND, LogRead
from ...contract.near_cache import Lease, NearCache
from ...contract.record_cache import PartNames
from ...events import GAP, SESSION_ENDED, Event, Place
from .backend import Backend
from .following import BEAT_S, PAUSE_S_MAX, Following
from .pools import Link

READ_AT_ONCE: Final = 500


class LogFollowing(Following):
    """One thread and one connection that read the log each beat, for as long as the store keeps events.

    It is begun once events are kept; a thread that has begun waits without a connection while they are not.

    Args:
        near: is told what has changed.
        backend: whose log it is.
        is_kept: says whether events are written down, as far as this process knows.
    """

    lost = "the log of events cannot be read; ends elsewhere are seen within the bound of the near cache until it can"

    def __init__(self, near: NearCache, backend: Backend, is_kept: Callable[[], bool]) -> None:
        super().__init__(near, backend.links.timeout_s)
        self._backend = backend
        self._is_kept = is_kept

    def wake(self) -> None:
        """Do nothing: each beat looks whether it is to end."""

    def follow(self, lease: Lease) -> None:
        """Read the log each beat; any exception ends it."""
        while not self._is_kept():
            if self.pause(PAUSE_S_MAX):
                return
        link = self._backend.links.connect(self._timeout_s, self._timeout_s)
        try:
            read = self._read(link, BEYOND)
            place = read.newest
            self.near.drop()
            while not self.pause(pause_after(read)) and self._is_kept():
                read = self._read(link, place)
                place = take_in(self.near, read, place)
        finally:
            link.close()

    def _read(self, link: Link, after: Place) -> LogRead:
        reading = self._backend.read_events(after, READ_AT_ONCE)
        return drive_now(reading, lambda step: link.ask(step, self._timeout_s))


def pause_after(read: LogRead) -> float:
    """Return the seconds after which the log is read again: none where more may stand there."""
    return 0.0 if read.is_full else BEAT_S


def take_in(near: NearCache, read: LogRead, after: Place) -> Place:
    """Tell a near cache what the log says after a place; return where it goes on.

    Where some of it is lost (taken away, unreadable, never written, or the log is another one) all is forgotten.
    """
    is_other = after > read.newest
    if is_other or read.unreadable or after < read.trimmed or any(event.kind == GAP for event in read.events):
        near.drop()
    near.changed(parts_changed(read.events, near.names))
    return read.newest if is_other else max(read.last, read.trimmed)


def parts_changed(events: Sequence[Event], names: PartNames) -> Iterable[Any]:
    """Yield the parts that events say have changed."""
    for event in events:
        about = event.kind.partition("_")[0]
        if about == "session":
            yield names.session(event.subject_id)
            if event.kind == SESSION_ENDED and event.owner is not None:
                yield names.entry(event.owner)  # all of an owner's end at once, and are told of bit by bit
        elif about == "token":
            yield names.token(event.subject_id)
        elif about == "owner":
            yield from map(names.entry, {event.subject_id, event.previous_owner or event.subject_id})
