"""What a copy asks of an SQLite file: its records in order of their keys, how many there are, and to be emptied."""

from __future__ import annotations

import sqlite3
from typing import Any

from ...clock import Clock
from ...crypto.minting import Keyring
from ...records import IdempotencyRecord, OwnerEntry, ServiceKey
from ..common.copying import Copied, Dump, Setting
from ..common.record_codec import check_mac, outcome_of, session_of, token_of
from .queries import Records
from .rows import COLUMNS_OF

_TABLES = {
    "owner": "owner_entries",
    "setting": "settings",
    "service key": "service_keys",
    "session": "sessions",
    "token": "tokens",
    "idempotency": "idempotency",
}


def dump(records: Records, keyring: Keyring, clock: Clock, kind: str, after: str, limit: int) -> Dump:
    """Return a batch of records; see ``Copyable.dump_now``."""
    table = _TABLES[kind]
    name, columns = records.table_prefix + table, COLUMNS_OF[table]
    key = columns[0]
    statement = f"SELECT {', '.join(columns)}, mac FROM {name} WHERE {key} > ? ORDER BY {key} LIMIT ?"
    rows = records.connection.execute(statement, (after, limit)).fetchall()
    for row in rows:
        check_mac(keyring, name, row[:-1], row[-1])
    return Dump([_record_of(kind, row[:-1], clock) for row in rows], None if len(rows) < limit else str(rows[-1][0]))


def _record_of(kind: str, row: tuple[Any, ...], clock: Clock) -> Copied:
    if kind == "session":
        return session_of(row, clock)
    if kind == "token":
        return token_of(row)
    if kind == "idempotency":
        key, request, nonce, key_id, outcome, expires_at = row
        return IdempotencyRecord(key, request, nonce, key_id, outcome_of(outcome, clock), expires_at)
    if kind == "owner":
        return OwnerEntry(*row)
    return Setting(*row) if kind == "setting" else ServiceKey(*row)


def count(records: Records) -> int:
    """Return how many records there are in the store's name space."""
    counts = ", ".join(f"(SELECT count(*) FROM {records.table_prefix}{table})" for table in _TABLES.values())
    return sum(records.connection.execute(f"SELECT {counts}").fetchone())


def clear(connection: sqlite3.Connection, table_prefix: str) -> None:
    """Delete every record of the store's name space, all or none."""
    connection.execute("BEGIN IMMEDIATE")
    for table in _TABLES.values():
        connection.execute(f"DELETE FROM {table_prefix}{table}")
    connection.execute(f"DELETE FROM {table_prefix}events")
    if not table_prefix:  # the last of the name spaces: from now on the file may have other peppers
        connection.execute("DELETE FROM meta WHERE name LIKE 'pepper%'")
    connection.execute("COMMIT")
