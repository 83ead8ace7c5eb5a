"""Commits change sets to SQLite: create, update and delete are different statements; each refuses what is not as read.

Only columns that changed are written: an update of all would rewrite every index of the row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import compress
from operator import ne
from typing import Any

from ...contract.changes import Changes, Rare
from ...crypto.minting import Keyring
from ...records import Token
from ..common.kinds import IDEMPOTENCY, OWNER, SERVICE_KEY, SESSION, SETTING, TOKEN, Kind
from ..common.record_codec import Row, mac_of, mac_of_trimmed, padded
from ..common.sealed_rows import kept_row, trimmed_kept_row
from ..common.sql_tables import SIGNED
from .event_log import append_events
from .rows import CheckedRows, remember


class Applier:
    """Writes change sets of one name space through the writer's connection, inside its transaction.

    Args:
        connection: the writer's.
        beginning: how the names of the tables begin.
        keyring: signs the rows.
        checked: gets the tokens that are written, each of which is mostly read again soon.
    """

    def __init__(
        self, connection: sqlite3.Connection, table_prefix: str, keyring: Keyring, checked: CheckedRows
    ) -> None:
        self._checked = checked
        self._connection = connection
        self._execute = connection.execute
        self._beginning = table_prefix
        self._keyring = keyring
        self._inserts: dict[tuple[str, str, int], str] = {}
        self._updates: dict[tuple[str, tuple[int, ...]], str] = {}

    def apply(self, changes: Changes, now: int) -> None:
        """Write all of a change set of the instant ``now`` (milliseconds), or nothing of it.

        Raises:
            sqlite3.IntegrityError: a record to create is there already.
            AssertionError: a record to replace or delete is not as it was read, which cannot be under the lock.
        """
        if len(changes.sessions) + len(changes.tokens) == 1 and changes.rare is None and not changes.events:
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
            self._put(SESSION, old_session, new_session)
        for old_token, new_token in changes.tokens:
            self._put(TOKEN, old_token, new_token)
        if changes.rare is not None:
            self._apply_rare(changes.rare)

    def _apply_rare(self, changes: Rare) -> None:
        for old_entry, new_entry in changes.entries:
            self._put(OWNER, old_entry, new_entry)
        for record in changes.idempotency:
            self._insert(IDEMPOTENCY, trimmed_kept_row(self._keyring, IDEMPOTENCY, record), "INSERT OR REPLACE")
        for key in changes.forgotten:
            self._execute(f"DELETE FROM {self._beginning}{IDEMPOTENCY.table} WHERE key = ?", (key,))
        for name, text in changes.settings:
            if text is None:
                self._execute(f"DELETE FROM {self._beginning}{SETTING.table} WHERE name = ?", (name,))
            else:
                self._insert(SETTING, (name, text), "INSERT OR REPLACE")
        for old_key, new_key in changes.keys:
            self._put(SERVICE_KEY, old_key, new_key)

    def _put(self, kind: Kind, old: Any, new: Any) -> None:
        """Create, replace or delete a record."""
        if old is None:
            assert new is not None, "a change from nothing to nothing"
            row = trimmed_kept_row(self._keyring, kind, new)
            mac = self._insert(kind, row, "INSERT")
            if kind is TOKEN:
                self._remember(padded(row, len(kind.columns)), mac, new)
            return
        before, stamp = kind.row(old), kind.stamp_place  # in clear, so that what is sealed is written anew
        if new is None:
            statement = f"DELETE FROM {self._beginning}{kind.table} WHERE {_as_read(kind)}"
            count = self._execute(statement, (before[0], before[stamp])).rowcount
        else:
            after = kept_row(self._keyring, kind, new)
            assert after[0] == before[0], "a record keeps its key"
            changed = tuple(compress(range(len(after)), map(ne, before, after)))
            mac = self._mac(kind, after)
            values = [*[after[place] for place in changed], mac, before[0], before[stamp]]
            count = self._execute(self._update_of(kind, changed), values).rowcount
            if kind is TOKEN:
                self._remember(after, mac, new)
        assert count == 1, f"a row of {kind.table} is not as it was read, under the lock"

    def _insert(self, kind: Kind, row: Row, verb: str) -> str:
        """Write a new row and return its MAC.

        Args:
            kind: what it is.
            row: its columns without what is absent at the end, which is not named: a NULL is dear to bind.
            verb: how.
        """
        statement = self._inserts.get((verb, kind.name, len(row)))
        if statement is None:
            columns = ", ".join([*kind.names[: len(row)], SIGNED])
            marks = ", ".join("?" * (len(row) + 1))
            statement = f"{verb} INTO {self._beginning}{kind.table} ({columns}) VALUES ({marks})"
            self._inserts[verb, kind.name, len(row)] = statement
        mac = mac_of_trimmed(self._keyring, self._beginning + kind.table, row)
        self._execute(statement, (*row, mac))
        return mac

    def _remember(self, row: Sequence[Any], mac: str, token: Token) -> None:
        """Keep what a token's row says: it holds for an equal row only, so also where this one is rolled back.

        Not that of a session, which may have come from another store, with its clock.
        """
        remember(self._checked, str(row[0]), ((*row, mac), token))

    def _mac(self, kind: Kind, row: Row) -> str:
        return mac_of(self._keyring, self._beginning + kind.table, row)

    def _update_of(self, kind: Kind, changed: tuple[int, ...]) -> str:
        statement = self._updates.get((kind.name, changed))
        if statement is None:
            columns = [*[kind.columns[place].name for place in changed], SIGNED]
            assignments = ", ".join(f"{column} = ?" for column in columns)
            statement = f"UPDATE {self._beginning}{kind.table} SET {assignments} WHERE {_as_read(kind)}"
            self._updates[kind.name, changed] = statement
        return statement


def _as_read(kind: Kind) -> str:
    return f"{kind.key} = ? AND {kind.stamp} = ?"
