"""Reads all records of a kind from an SQLite file, in order of their keys, for a copy."""

from __future__ import annotations

from typing import Any

from ..clock import Clock
from ..minting import Keyring
from ..records import IdempotencyRecord, OwnerEntry, ServiceKey
from .copying import Copied, Dump, Setting
from .record_codec import check_mac, outcome_of, session_of, token_of
from .sqlite_records import COLUMNS_OF, Records

_TABLES = {
    "owner": "owner_entries",
    "setting": "settings",
    "service key": "service_keys",
    "session": "sessions",
    "token": "tokens",
    "idempotency": "idempotency",
}


def dump(records: Records, keyring: Keyring, clock: Clock, kind: str, after: str, limit: int) -> Dump:
    """Answer a batch of records; see ``Copyable.dump_now``."""
    table = _TABLES[kind]
    name, columns = records.beginning + table, COLUMNS_OF[table]
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
