"""The events that an SQLite store keeps: rows of a table, written in the commit that they describe."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ...contract.event_log import TRIMMED_AT_ONCE, LogRead, stretch_of
from ...contract.unreadable import Unreadables
from ...crypto.minting import Keyring
from ...events import Event, Place, event_id, event_of, event_text
from ..common.record_codec import check_mac, mac_of
from .queries import Records


def append_events(
    connection: sqlite3.Connection, table_prefix: str, keyring: Keyring, events: Sequence[Event], now: int
) -> None:
    """Write the events of one change set down, within its transaction; each stands after all that are or were there."""
    name = f"{table_prefix}events"
    last = _newest(connection, table_prefix) or _trimmed(connection, table_prefix)
    number = max(last + 1, now * 1000)
    rows = []
    for place, event in enumerate(events, number):
        text = event_text(event)
        rows.append((place, text, mac_of(keyring, name, (event_id((place, 0)), text))))
    connection.executemany(f"INSERT INTO {name} VALUES (?, ?, ?)", rows)


def read_events(records: Records, keyring: Keyring, unreadables: Unreadables, after: Place, limit: int) -> LogRead:
    """Return events that stand after a place, as of one instant."""
    connection, table_prefix = records.connection, records.table_prefix
    name = f"{table_prefix}events"
    connection.execute("BEGIN")
    rows = connection.execute(
        f"SELECT number, text, mac FROM {name} WHERE number > ? ORDER BY number LIMIT ?", (_number(after), limit)
    ).fetchall()
    newest, trimmed = _newest(connection, table_prefix), _trimmed(connection, table_prefix)
    connection.execute("COMMIT")

    def event_in(place: Place, row: tuple[str, str]) -> Event:
        text, mac = row
        check_mac(keyring, name, (event_id(place), text), mac)
        return event_of(place, text)

    found = (((number, 0), (text, mac)) for number, text, mac in rows)
    return stretch_of(found, event_in, after, limit, (trimmed, 0), (max(newest, trimmed), 0), unreadables)


def cut_of(records: Records, keep: int) -> int | None:
    """Return the number of the newest event beyond the newest ``keep``; ``None`` where there are no more."""
    row = records.connection.execute(
        f"SELECT number FROM {records.table_prefix}events ORDER BY number DESC LIMIT 1 OFFSET ?", (keep,)
    ).fetchone()
    return None if row is None else int(row[0])


def trim_events(connection: sqlite3.Connection, table_prefix: str, cut: int) -> int:
    """Delete the oldest events up to ``cut``, at most ``TRIMMED_AT_ONCE``, in a transaction; return how many."""
    name = f"{table_prefix}events"
    (last, count) = connection.execute(
        f"SELECT max(number), count(*) FROM (SELECT number FROM {name} WHERE number <= ? ORDER BY number LIMIT ?)",
        (cut, TRIMMED_AT_ONCE),
    ).fetchone()
    if count:
        connection.execute(f"DELETE FROM {name} WHERE number <= ?", (last,))
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_mark(table_prefix), last))
    return int(count)


def clear_events(connection: sqlite3.Connection, table_prefix: str) -> None:
    """Delete all events, within the transaction that empties the store."""
    newest = _newest(connection, table_prefix)
    if newest:
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_mark(table_prefix), newest))
    connection.execute(f"DELETE FROM {table_prefix}events")


def _mark(table_prefix: str) -> str:
    return f"events_trimmed:{table_prefix}"


def _trimmed(connection: sqlite3.Connection, table_prefix: str) -> int:
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (_mark(table_prefix),)).fetchone()
    return row[0] if row is not None and isinstance(row[0], int) else 0


def _newest(connection: sqlite3.Connection, table_prefix: str) -> int:
    (newest,) = connection.execute(f"SELECT max(number) FROM {table_prefix}events").fetchone()
    return newest or 0


def _number(place: Place) -> int:
    """Return the number of a place, which may be that of another log."""
    return min(place[0], 2**63 - 1)
