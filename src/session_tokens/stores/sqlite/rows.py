"""From the rows of an SQLite file to records: each row is checked against its MAC."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from ...clock import Clock
from ...contract.queries import SessionResult, TokenResult, Unreadable
from ...contract.unreadable import Unreadables
from ...crypto.minting import Keyring
from ...errors import UNREADABLE, CorruptRecord
from ...records import OwnerEntry, Session, Token
from ..common.kinds import KINDS, OWNER, RECORD_SETS, SERVICE_KEY, SESSION, TOKEN, Kind
from ..common.record_codec import check_mac, unreadable_of
from ..common.sealed_rows import record_in
from ..common.sql_tables import Dialect, columns_of, condition_of

K = TypeVar("K")
T = TypeVar("T")

DIALECT = Dialect(
    {"name": "TEXT", "text": "TEXT", "number": "INTEGER", "flag": "INTEGER"},
    # Not deadline > 0: each use moves the deadline, and would then rewrite the indexes with this condition.
    living="ended_at IS NULL",
    # Inserts are a quarter faster with a rowid at 100,000 rows, look-ups as fast; these two are small.
    table_options=lambda kind: " WITHOUT ROWID" if kind.table in ("owners", "settings") else "",
)

REMEMBERED_MAX = 16_384
"""Rows that a store remembers to have checked: about 25 MB."""

CheckedRows = dict[str, tuple[tuple[Any, ...], Any]]
"""Look-up key or id → a row that was checked, and what was found in it."""

Reading = tuple[str, Callable[[Any], Any]]
"""A statement, and what makes a record of each of its rows."""

_SESSION_WIDTH = len(SESSION.columns) + 1
_TOKEN_WIDTH = len(TOKEN.columns) + 1
PLACE_OF = {"id": 0, "lookup": 2}
"""Where these columns stand in the rows of sessions and tokens."""


class Rows:
    """Makes records of the rows of one name space, which it reads through one connection.

    Args:
        connection: its own; one thread at a time.
        beginning: how the names of the tables begin.
        keyring: checks the MACs.
        clock: goes into the sessions, which compute their time left by it.
        checked: what was found in rows whose MACs were right, so that an equal row need not be checked and decoded
            again; all readers of a store share it.
        unreadables: gets each row that is left out of a list because it cannot be read.

    Attributes:
        left_out: what the answer to the last query left out.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        table_prefix: str,
        keyring: Keyring,
        clock: Clock,
        checked: CheckedRows,
        unreadables: Unreadables,
    ) -> None:
        self.connection = connection
        self.table_prefix = table_prefix
        self._execute = connection.execute
        self._keyring = keyring
        self._clock = clock
        self._checked = checked
        self._unreadables = unreadables
        self.left_out: list[Unreadable] = []
        self._sessions, self._tokens = f"{table_prefix}sessions", f"{table_prefix}tokens"
        self._entries = f"{table_prefix}{OWNER.table}"
        session, token, entry = columns_of(SESSION, "s"), columns_of(TOKEN, "t"), columns_of(OWNER, "e")
        with_entry = f"LEFT JOIN {self._entries} e ON e.owner = s.owner"
        self._session_alone = f"SELECT {session} FROM {self._sessions} s"
        self._sessions_found = f"SELECT {session}, {entry} FROM {self._sessions} s {with_entry}"
        self._token_alone = f"SELECT {token} FROM {self._tokens} t"
        self._tokens_found = (
            f"SELECT {token}, {session}, {entry} FROM {self._tokens} t "
            f"LEFT JOIN {self._sessions} s ON s.id = t.session_id {with_entry}"
        )
        self._key_by_lookup = f"SELECT {columns_of(SERVICE_KEY)} FROM {table_prefix}{SERVICE_KEY.table} WHERE lookup "
        self._session_where = {column: f"{self._session_alone} WHERE s.{column} = ?" for column in PLACE_OF}
        self._token_where = {column: f"{self._token_alone} WHERE t.{column} = ?" for column in PLACE_OF}
        self._kept_where = {
            kind.name: f"SELECT {columns_of(kind)} FROM {table_prefix}{kind.table} WHERE {kind.key} = ?"
            for kind in KINDS.values()
        }
        self._sets: dict[str, tuple[Reading, Reading]] = {}
        self._count_of: dict[str, str] = {}
        for what, of in RECORD_SETS.items():
            also = f" AND r.{condition_of(of.where, DIALECT)}" if of.where else ""
            members = f"FROM {table_prefix}{of.kind.table} r WHERE r.{of.of} = ?{also}"
            records = f"SELECT {columns_of(of.kind, 'r')} {members} ORDER BY r.created_at"
            decode = self._session if of.kind is SESSION else self._token
            # Only of the newest, which are few: the rest of a long list would push everything else out of memory.
            known = partial(self._known, decode=decode)
            self._sets[what] = ((f"{records}, r.id LIMIT ?", decode), (f"{records} DESC, r.id DESC LIMIT ?", known))
            self._count_of[what] = f"SELECT count(*) {members}"
        self._session_found = {column: f"{self._sessions_found} WHERE s.{column} " for column in PLACE_OF}
        self._token_found = {column: f"{self._tokens_found} WHERE t.{column} " for column in PLACE_OF}

    # From rows to records.

    def _session(self, row: Sequence[Any]) -> Session:
        columns = row[: _SESSION_WIDTH - 1]
        check_mac(self._keyring, self._sessions, columns, row[_SESSION_WIDTH - 1])
        session: Session = record_in(self._keyring, SESSION, columns, self._clock)
        return session

    def _known(self, row: tuple[Any, ...], decode: Callable[[Sequence[Any]], T]) -> T:
        """Return the record of a row that stands by itself; an equal row was checked and decoded before."""
        known = self._checked.get(row[0])
        if known is not None and known[0] == row:
            return known[1]  # type: ignore[no-any-return]  # what the same row said
        record = decode(row)
        remember(self._checked, row[0], (row, record))
        return record

    def _token(self, row: Sequence[Any]) -> Token:
        columns = row[: _TOKEN_WIDTH - 1]
        check_mac(self._keyring, self._tokens, columns, row[_TOKEN_WIDTH - 1])
        token: Token = record_in(self._keyring, TOKEN, columns, self._clock)
        return token

    def _entry(self, row: Sequence[Any]) -> OwnerEntry | None:
        if row[0] is None:
            return None
        width = len(OWNER.columns)
        check_mac(self._keyring, self._entries, row[:width], row[width])
        return OwnerEntry(*row[:width])

    def _session_with_entry(self, row: Sequence[Any]) -> SessionResult:
        return SessionResult(self._session(row), self._entry(row[_SESSION_WIDTH:]))

    def _token_with_session(self, row: Sequence[Any]) -> TokenResult:
        token = self._token(row)
        if row[_TOKEN_WIDTH] is None:
            return TokenResult(token, None, None)
        found = self._session_with_entry(row[_TOKEN_WIDTH:])
        return TokenResult(token, found.session, found.entry)

    def _readable(self, statement: str, values: Sequence[object], decode: Callable[[Sequence[Any]], T]) -> list[T]:
        """Return what the rows of a statement say; one that cannot be read is left out, and logged."""
        records: list[T] = []
        for row in self._all(statement, values):
            try:
                records.append(decode(row))
            except UNREADABLE as error:
                self._unreadables.met(error)
                self.left_out.append(unreadable_of(row, error))
        return records

    def _all(self, statement: str, values: Sequence[object]) -> list[Any]:
        """Return the rows of a statement, also where a text of one is not UTF-8: its MAC will be wrong."""
        try:
            return self._execute(statement, values).fetchall()
        except sqlite3.OperationalError as error:
            if "decode" not in str(error):
                raise
            self.connection.text_factory = any_text
            try:
                return self._execute(statement, values).fetchall()
            finally:
                self.connection.text_factory = str

    def _first(self, statement: str, values: Sequence[object]) -> Any:
        """Return the first row of a statement, if there is one; as ``_all``."""
        try:
            return self._execute(statement, values).fetchone()
        except sqlite3.OperationalError:
            return next(iter(self._all(statement, values)), None)

    def kept(self, kind: Kind, key: str) -> Any:
        """Return the record of a key, ``None`` where there is none."""
        row: tuple[Any, ...] | None = self._first(self._kept_where[kind.name], (key,))
        if row is None:
            return None
        return self._genuine(kind, asked_for(row, 0, (key,)))

    def _genuine(self, kind: Kind, row: Sequence[Any]) -> Any:
        """Return the record in a row of a kind whose MAC is right."""
        check_mac(self._keyring, self.table_prefix + kind.table, row[:-1], row[-1])
        return record_in(self._keyring, kind, row[:-1], self._clock)


def asked_for(row: tuple[Any, ...], column: int, keys: Sequence[str]) -> tuple[Any, ...]:
    """Return a row that is one of those asked for; an index may point to another."""
    if row[column] not in keys:
        raise CorruptRecord("an index of the database leads to another row; run session-tokens check --fix")
    return row


def any_text(raw: bytes) -> str:
    """Return text, also where it is not UTF-8."""
    return raw.decode("utf-8", "surrogateescape")


def remember(memory: dict[K, T], key: K, found: T) -> None:
    """Keep what was found, in the place of everything where there is too much."""
    if len(memory) >= REMEMBERED_MAX:
        memory.clear()
    memory[key] = found
