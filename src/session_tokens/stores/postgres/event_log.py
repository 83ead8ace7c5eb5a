"""The events that a PostgreSQL store keeps: rows of the commit, shown below the oldest open transaction. No I/O."""

from __future__ import annotations

from collections.abc import Iterator

from ...contract.event_log import TRIMMED_AT_ONCE, LogRead
from ...crypto.minting import Keyring
from ...errors import UNREADABLE
from ...events import Event, Place, event_id, event_of
from ..common.record_codec import message_of, not_written
from .connections import Rows
from .queries import Statement
from .rows import Decoder

_PLACE_MAX, _MINOR_MAX = 2**63 - 1, 2**31 - 1


def read_statement(schema: str, after: Place, limit: int) -> Statement:
    """Return what asks for events after a place."""
    place = (min(after[0], _PLACE_MAX), min(after[1], _MINOR_MAX))
    return Statement(f"SELECT * FROM {schema}.events_v1(%s, %s, %s)", (*place, limit))


def log_read(keyring: Keyring, decoder: Decoder, rows: Rows, after: Place, limit: int) -> LogRead:
    """Return what the log holds after a place."""
    now, trimmed_place, trimmed_minor, newest, waits_since = rows[0][:5]
    events: list[Event] = []
    unreadable: list[str] = []
    last, count = after, 0
    for *_, place, minor, text, mac in rows[1:]:
        count, last = count + 1, (place, minor)
        try:
            if not keyring.mac_is_right(mac, message_of("events", (text,))):
                raise not_written(keyring, "events", (event_id(last), text), mac)
            events.append(event_of(last, text))
        except UNREADABLE as error:
            unreadable.append(event_id(last))
            decoder.unreadables.met(error)
    held_back_ms = 0 if waits_since is None else max(0, now - waits_since)
    trimmed = (trimmed_place, trimmed_minor)
    return LogRead(events, last, count == limit, trimmed, (newest, _MINOR_MAX), unreadable, held_back_ms)


def trim_statement(schema: str, keep: int) -> Statement:
    """Return what takes the oldest events away."""
    return Statement(f"SELECT {schema}.trim_events_v1(%s, %s)", (keep, TRIMMED_AT_ONCE))


def clearing_events(schema: str) -> Iterator[Statement]:
    """Yield what deletes all events, within the transaction that empties the store.

    What came with a dump from another server was never shown, and stands beyond what is.
    """
    shown = f"place < {schema}.place_v1(pg_snapshot_xmax(pg_current_snapshot()))"
    newest = f"SELECT place, minor FROM {schema}.events WHERE {shown} ORDER BY place DESC, minor DESC LIMIT 1"
    mark = f"UPDATE {schema}.events_trimmed t SET place = e.place, minor = e.minor FROM ({newest}) e"
    yield Statement(f"{mark} WHERE t.single AND (t.place, t.minor) < (e.place, e.minor)", ())
    yield Statement(f"DELETE FROM {schema}.events", ())
