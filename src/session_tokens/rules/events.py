"""Which events a reader of a store's log is shown, and what is remembered of who follows it."""

from __future__ import annotations

from collections.abc import Sequence

from ..contract.event_log import LogRead
from ..contract.queries import Get
from ..contract.transaction import Transaction, reads
from ..events import GAP, NOWHERE, Event, Place, event_id
from ..settings import EVENTS_SETTING

CURSORS = "events:cursor:"
"""The prefix of the shared settings that say up to which event a named follower has come."""


@reads(lambda text: [Get("setting", EVENTS_SETTING)])
def switch_events(tx: Transaction, text: str) -> None:
    """Have every process write events down from now on, or no more.

    Where they were off meanwhile, those who follow get an event for the gap.
    """
    before = tx.setting(EVENTS_SETTING)
    if before == text:
        return
    tx.put_setting(EVENTS_SETTING, text)
    if before is not None and text == "durable":
        tx.note((GAP, "", "events were off"))


@reads(lambda name, id: [Get("setting", CURSORS + name)])
def move_cursor(tx: Transaction, name: str, id: str | None) -> None:
    """Remember up to which event a named follower has come; ``None`` forgets the follower."""
    if tx.setting(CURSORS + name) != id:
        tx.put_setting(CURSORS + name, id)


def shown(read: LogRead, now: int, after: Place | None, owner: str | None) -> tuple[Sequence[Event], Place]:
    """Return which events of a stretch a reader is shown, and the place where they go on.

    Whoever had come to a place whose next events are gone, or to one that this log has not reached (it is another one:
    a copy, or restored from a backup), gets an event for the gap and goes on with the oldest that is kept.

    Args:
        read: what stands after ``after``, or in the whole log.
        now: when, in milliseconds.
        after: where the reader had come to; ``None`` for one that begins.
        owner: only what concerns them, as owner or as the one before.
    """
    if after is not None and after > read.newest:
        place = read.trimmed
        return [_gap(now, place, "the log has not come to that event; it is another one, or was restored")], place
    events = read.events
    if owner is not None:
        events = [event for event in events if event.kind == GAP or owner in (event.owner, event.previous_owner)]
    if after is not None and after < read.trimmed:
        gap = _gap(now, read.trimmed, "older events are not kept any more")
        return [gap, *events], max(read.last, read.trimmed)
    return events, read.last


def _gap(now: int, place: Place, reason: str) -> Event:
    return Event(GAP, now, "", None, reason, None, event_id(place))


def beginning(after: Place | None) -> Place:
    """Return the place after which a reader's next stretch stands."""
    return NOWHERE if after is None else after
