"""Copies the log of events of one store into another, and says where in it each event of the first one stands.

Each store gives events places of its own kind, so the copy's ids are others: events are written in their order by
commits of the target, with their instants. Whatever names an event, such as how far a follower has come, is moved by
``MovedEvents``. A copy that was broken off goes on: what the target has is a stretch of what the source has.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from ...contract.event_log import BEYOND, LogRead
from ...contract.queries import Get
from ...contract.store import BlockingStore
from ...contract.transaction import Transaction, reads
from ...errors import StoreError
from ...events import NOWHERE, Event, Place, event_id, kept_of, place_of_event
from ...settings import PAGE_LIMIT_MAX
from .copy_marks import MARK, insist_on_mark, put_mark

NOT_THERE: Final = event_id(BEYOND)
"""An id that no log reaches: who goes on from it is told of a gap, and goes on with the oldest event."""
BATCH: Final = 200
"""Events in one commit."""
SHOWN_WITHIN_S: Final = 10.0
"""How long to wait for events that a transaction of others holds back, in seconds."""


@reads(lambda events, mark: [Get("setting", MARK)])
def put_events(tx: Transaction, events: Sequence[Event], mark: str) -> None:
    """Write events of another log, as they are but for their ids, beside the mark of a copy.

    Raises:
        Conflict: the store is not marked so any more.
    """
    insist_on_mark(tx, mark)
    tx.put_setting(MARK, mark)
    tx.changes.events = events


class Log:
    """All events that a store can show, and where they stand.

    Args:
        events: in their order.
        trimmed, newest: as in ``LogRead``.
    """

    def __init__(self, events: Sequence[Event], trimmed: Place, newest: Place) -> None:
        self.events, self.trimmed, self.newest = events, trimmed, newest
        self.places = [place_of_event(event.id) for event in events]

    def said(self) -> list[Sequence[object]]:
        """Return the events without their ids."""
        return [kept_of(event) for event in self.events]


def log_of(store: BlockingStore) -> Log:
    """Return all events that a store can show.

    Raises:
        StoreError: some are held back by a transaction that others have left open.
    """
    events: list[Event] = []
    place = NOWHERE
    while True:
        stretch = _shown(store, place)
        events += stretch.events
        if not stretch.is_full:
            return Log(events, stretch.trimmed, stretch.newest)
        place = stretch.last


def _shown(store: BlockingStore, after: Place) -> LogRead:
    """Return a stretch of a log of which nothing is held back."""
    until_s = time.monotonic() + SHOWN_WITHIN_S
    while True:
        stretch = store.read_events_now(after, PAGE_LIMIT_MAX)
        if not stretch.held_back_ms:
            return stretch
        if time.monotonic() > until_s:
            raise StoreError(
                "events are held back by a transaction that is open on the server, maybe in another database; end it "
                "(see pg_stat_activity, backend_xid), then copy again"
            )
        store.await_events_now()


class MovedEvents:
    """Where the events of one log stand in a copy of it.

    Args:
        source: the log that was copied.
        target: the copy, which holds the same events in the same order.
    """

    def __init__(self, source: Log, target: Log) -> None:
        self._source, self._target = source, target
        self._ids = {old.id: new.id for old, new in zip(source.events, target.events, strict=True)}

    def event(self, id: str) -> str | None:
        """Return the id of an event in the copy; ``None`` for one that was not kept any more."""
        return self._ids.get(id)

    def cursor(self, id: str) -> str:
        """Return the id from which who had come to ``id`` goes on in the copy; ``NOT_THERE`` where events are gone."""
        place, source, target = place_of_event(id), self._source, self._target
        if place < source.trimmed or place > source.newest:
            return NOT_THERE
        taken = bisect_right(source.places, place)
        return event_id(target.places[taken - 1] if taken else target.trimmed)


class DifferentLog(Exception):
    """Two stores hold different events."""


def compared_events(source: BlockingStore, target: BlockingStore) -> MovedEvents:
    """Return where the events of one store stand in another that holds the same.

    Raises:
        DifferentLog: it does not.
        StoreError: events are held back.
    """
    ours, theirs = log_of(source), log_of(target)
    if ours.said() != theirs.said():
        raise DifferentLog
    return MovedEvents(ours, theirs)


def copied_events(source: BlockingStore, target: BlockingStore, mark: str) -> tuple[MovedEvents, int]:
    """Copy the events that the target lacks; return where all of them stand, and how many were written.

    Args:
        source: of the events.
        target: marked so; it may hold a part of them from an earlier run.
        mark: of this run.

    Raises:
        Conflict: the target is not marked so any more.
        StoreError: events are held back, or a store is in use.
    """
    ours = log_of(source)
    wanted, there = ours.said(), log_of(target).said()
    begun = next(at for at in range(len(there) + 1) if there[at:] == wanted[: len(there) - at])
    target.run_now(put_mark, mark, mark)
    while begun and (gone := target.trim_events_now(len(there) - begun)):  # the source has forgotten them since
        there, begun = there[gone:], begun - gone
    missing = ours.events[len(there) :]
    for at in range(0, len(missing), BATCH):
        target.run_now(put_events, missing[at : at + BATCH], mark)
    try:
        return compared_events(source, target), len(missing)
    except DifferentLog:
        raise StoreError("the events in the copy are not those of the source: stop what uses either of them") from None


def put_log(ours: Log, target: BlockingStore, mark: str) -> MovedEvents:
    """Write the events of a log, as of one instant, into an empty store; return where they stand there.

    Args:
        ours: the log.
        target: empty, and marked so.
        mark: of this run.
    """
    for at in range(0, len(ours.events), BATCH):
        target.run_now(put_events, ours.events[at : at + BATCH], mark)
    return MovedEvents(ours, log_of(target))
