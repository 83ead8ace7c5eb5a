"""What a store that keeps events answers about its log.

A store that keeps events writes ``Changes.events`` in the commit of the change set, in their order, and gives each a
place. Places only grow: an event that a reader can see is never followed by one that comes to stand before it. Those
of one subject stand in the order of their commits.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from ..errors import UNREADABLE
from ..events import NOWHERE, Event, Place, event_id
from .unreadable import Unreadables

T = TypeVar("T")

EVENT_POLL_S = 0.02
"""How often a follower looks whether there is something new, in seconds."""
LATE_MS = 5_000
"""After how long it is told that events are held back, in milliseconds."""
BEYOND: Place = (2**63 - 1, 0)
"""A place that no log reaches: reading from there tells of the log and brings no event."""
LOOKED_AT_ONCE = 500
"""Events that are read at once where some are rewritten."""
TRIMMED_AT_ONCE = 2_000
"""Events that one write takes away, so that no command waits for long behind it."""


class LogRead(NamedTuple):
    """A stretch of a store's log, as of one instant.

    Attributes:
        events: in their order; what cannot be read is left out.
        last: the place of the last one read, left out ones too; where the stretch began if there was none.
        is_full: whether as many were read as were asked for: more may follow.
        trimmed: the place up to which events were taken away.
        newest: no event that can be shown stands after this place, and all that are to come do.
        unreadable: the ids of events that are left out.
        held_back_ms: for how long the oldest event that is written and cannot be shown yet has been waiting.
    """

    events: Sequence[Event]
    last: Place
    is_full: bool
    trimmed: Place
    newest: Place
    unreadable: Sequence[str] = ()
    held_back_ms: int = 0


def stretch_of(
    rows: Iterable[tuple[Place, T]],
    event_in: Callable[[Place, T], Event],
    after: Place,
    limit: int,
    trimmed: Place,
    newest: Place,
    unreadables: Unreadables,
    held_back_ms: int = 0,
) -> LogRead:
    """Return a stretch of a log; what cannot be read is left out, named and reported.

    Args:
        rows: at most ``limit``, each with its place.
        event_in: returns the event of one; raises ``CorruptRecord`` or ``UnknownPepper``.
        after: where the stretch began.
        limit: how many were asked for.
        trimmed, newest, held_back_ms: as in ``LogRead``.
        unreadables: told of each that is left out.
    """
    events: list[Event] = []
    unreadable: list[str] = []
    last, count = after, 0
    for last, row in rows:
        count += 1
        try:
            events.append(event_in(last, row))
        except UNREADABLE as error:
            unreadable.append(event_id(last))
            unreadables.met(error)
    return LogRead(events, last, count == limit, trimmed, newest, unreadable, held_back_ms)


class EventLog:
    """The log of a store in memory, or one that a store is tried with: events in order; used under the store's lock."""

    __slots__ = ("_events", "_last", "_places", "_trimmed")

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._events: list[Event] = []
        self._last = self._trimmed = NOWHERE

    def append(self, events: Sequence[Event], now: int) -> None:
        """Add the events of a commit at ``now`` (milliseconds); places are microseconds, each commit later."""
        number = max(self._last[0] + 1, now * 1000)
        for minor, event in enumerate(events):
            self._last = (number, minor)
            self._places.append(self._last)
            self._events.append(event._replace(id=event_id(self._last)))

    def read(self, after: Place, limit: int) -> LogRead:
        """Return events that stand after a place."""
        start = bisect_right(self._places, after)
        events = self._events[start : start + limit]
        last = self._places[start + len(events) - 1] if events else after
        return LogRead(events, last, len(events) == limit, self._trimmed, self._last)

    def rewrite(self, change: Callable[[Event], Event]) -> int:
        """Put changed events in the place of others; return how many."""
        count = 0
        for at, event in enumerate(self._events):
            changed = change(event)
            if changed != event:
                self._events[at] = changed
                count += 1
        return count

    def trim(self, keep: int) -> int:
        """Take the oldest events away."""
        count = min(len(self._events) - keep, TRIMMED_AT_ONCE)
        if count <= 0:
            return 0
        self._trimmed = self._places[count - 1]
        del self._places[:count], self._events[:count]
        return count
