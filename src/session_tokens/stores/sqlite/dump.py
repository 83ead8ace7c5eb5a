"""What a copy asks of an SQLite file: its records in order of their keys, how many there are, and to be emptied."""

from __future__ import annotations

import sqlite3

from ...clock import Clock
from ...crypto.minting import Keyring
from ..common.copying import Dump
from ..common.kinds import KINDS
from ..common.record_codec import check_mac
from ..common.sql_tables import columns_of
from .event_log import clear_events
from .queries import Records


def dump(records: Records, keyring: Keyring, clock: Clock, kind: str, after: str, limit: int) -> Dump:
    """Return a batch of records; see ``Copyable.dump_now``."""
    of_kind = KINDS[kind]
    name, key = records.table_prefix + of_kind.table, of_kind.key
    statement = f"SELECT {columns_of(of_kind)} FROM {name} WHERE {key} > ? ORDER BY {key} LIMIT ?"
    rows = records.connection.execute(statement, (after, limit)).fetchall()
    for row in rows:
        check_mac(keyring, name, row[:-1], row[-1])
    after_these = None if len(rows) < limit else str(rows[-1][0])
    return Dump([of_kind.record(row[:-1], clock) for row in rows], after_these)


def count(records: Records) -> int:
    """Return how many records there are in the store's name space."""
    counts = ", ".join(f"(SELECT count(*) FROM {records.table_prefix}{kind.table})" for kind in KINDS.values())
    return sum(records.connection.execute(f"SELECT {counts}").fetchone())


def clear(connection: sqlite3.Connection, table_prefix: str) -> None:
    """Delete every record of the store's name space, all or none."""
    connection.execute("BEGIN IMMEDIATE")
    for kind in KINDS.values():
        connection.execute(f"DELETE FROM {table_prefix}{kind.table}")
    clear_events(connection, table_prefix)
    if not table_prefix:  # the last of the name spaces: from now on the file may have other peppers
        connection.execute("DELETE FROM meta WHERE name LIKE 'pepper%'")
    connection.execute("COMMIT")
