"""The events that a PostgreSQL store keeps: rows of the commit, shown below the oldest open transaction. No I/O."""

from __future__ import annotations

from collections.abc import Iterator

from ...contract.event_log import TRIMMED_AT_ONCE, LogRead, stretch_of
from ...crypto.minting import Keyring
from ...events import Place
from ..common.record_codec import signed_event
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
    held_back_ms = 0 if waits_since is None else max(0, now - waits_since)
    return stretch_of(
        (((place, minor), (text, mac)) for *_, place, minor, text, mac in rows[1:]),
        lambda place, row: signed_event(keyring, place, *row),
        after, limit, (trimmed_place, trimmed_minor), (newest, _MINOR_MAX), decoder.unreadables, held_back_ms,
    )  # fmt: skip


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
