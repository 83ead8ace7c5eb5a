"""Writing a change set down: create, update and delete as different statements, each refusing what is not as read.

Only columns that changed are written: an update of all would rewrite every index of the row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from ...contract.changes import Changes
from ...crypto.minting import Keyring
from ...records import Session, Token
from ..common.record_codec import Row, mac_of, outcome_text, session_row, token_row
from .event_log import append_events
from .rows import COLUMNS_OF

_STAMPS = {"sessions": "version", "tokens": "version", "owner_entries": "epoch", "service_keys": "lookup"}
"""The column that tells, together with the key, that a row is as it was read."""


class Applier:
    """Writes change sets of one name space through the writer's connection, inside its transaction.

    Args:
        connection: the writer's.
        beginning: how the names of the tables begin.
        keyring: signs the rows.
    """

    def __init__(self, connection: sqlite3.Connection, table_prefix: str, keyring: Keyring) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._beginning = table_prefix
        self._keyring = keyring
        self._inserts = {
            table: f"INTO {table_prefix}{table} VALUES ({', '.join('?' * (len(columns) + 1))})"
            for table, columns in COLUMNS_OF.items()
        }
        self._updates: dict[tuple[str, tuple[int, ...]], str] = {}

    def apply(self, changes: Changes, now: int) -> None:
        """Write all of a change set of the instant ``now`` (milliseconds), or nothing of it.

        Raises:
            sqlite3.IntegrityError: a record to create is there already.
            AssertionError: a record to replace or delete is not as it was read, which cannot be under the lock.
        """
        count = len(changes.sessions) + len(changes.tokens) + len(changes.entries) + len(changes.idempotency)
        count += len(changes.forgotten) + len(changes.settings) + len(changes.keys)
        if count == 1 and not changes.events:
            self._apply(changes)
            return
        self._execute("SAVEPOINT command")
        try:
            self._apply(changes)
            if changes.events:
                append_events(self._connection, self._beginning, self._keyring, changes.events, now)
        except BaseException:
            try:
                self._execute("ROLLBACK TO command")
                self._execute("RELEASE command")
            except sqlite3.Error:
                pass  # the transaction is gone as a whole, and the first error says why
            raise
        self._execute("RELEASE command")

    def _apply(self, changes: Changes) -> None:
        for old_session, new_session in changes.sessions:
            self._put("sessions", _session_row(old_session), _session_row(new_session))
        for old_token, new_token in changes.tokens:
            self._put("tokens", _token_row(old_token), _token_row(new_token))
        for old_entry, new_entry in changes.entries:
            self._put("owner_entries", old_entry, new_entry)
        for record in changes.idempotency:
            self._insert("idempotency", (*record[:4], outcome_text(record), record.expires_at), "INSERT OR REPLACE")
        for key in changes.forgotten:
            self._execute(f"DELETE FROM {self._beginning}idempotency WHERE key = ?", (key,))
        for name, text in changes.settings:
            if text is None:
                self._execute(f"DELETE FROM {self._beginning}settings WHERE name = ?", (name,))
            else:
                self._insert("settings", (name, text), "INSERT OR REPLACE")
        for old_key, new_key in changes.keys:
            self._put("service_keys", old_key, new_key)

    def _put(self, table: str, old: Sequence[Any] | None, new: Sequence[Any] | None) -> None:
        """Create, replace or delete a row."""
        if old is None:
            assert new is not None, "a change from nothing to nothing"
            self._insert(table, new, "INSERT")
            return
        stamp = COLUMNS_OF[table].index(_STAMPS[table])
        if new is None:
            statement = f"DELETE FROM {self._beginning}{table} WHERE {_as_read(table)}"
            count = self._execute(statement, (old[0], old[stamp])).rowcount
        else:
            assert new[0] == old[0], "a record keeps its key"
            changed = tuple([place for place, value in enumerate(old) if value != new[place]])
            values = [*[new[place] for place in changed], self._mac(table, new), old[0], old[stamp]]
            count = self._execute(self._update_of(table, changed), values).rowcount
        assert count == 1, f"a row of {table} is not as it was read, under the lock"

    def _insert(self, table: str, row: Sequence[Any], verb: str) -> None:
        self._execute(f"{verb} {self._inserts[table]}", (*row, self._mac(table, row)))

    def _mac(self, table: str, row: Sequence[Any]) -> str:
        return mac_of(self._keyring, self._beginning + table, row)

    def _update_of(self, table: str, changed: tuple[int, ...]) -> str:
        statement = self._updates.get((table, changed))
        if statement is None:
            columns = [*[COLUMNS_OF[table][place] for place in changed], "mac"]
            assignments = ", ".join(f"{column} = ?" for column in columns)
            statement = f"UPDATE {self._beginning}{table} SET {assignments} WHERE {_as_read(table)}"
            self._updates[table, changed] = statement
        return statement


def _as_read(table: str) -> str:
    return f"{COLUMNS_OF[table][0]} = ? AND {_STAMPS[table]} = ?"


def _session_row(session: Session | None) -> Row | None:
    return None if session is None else session_row(session)


def _token_row(token: Token | None) -> Row | None:
    return None if token is None else token_row(token)
