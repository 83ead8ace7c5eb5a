"""Reading records from an SQLite connection: each question is one SELECT, each row is checked against its MAC.

A look-up compares what came back with what was asked for: an index that someone has bent could otherwise lead from
one secret to another's row. Used by readers, and by the transaction of the writer.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..clock import NEVER, Clock
from ..errors import UNREADABLE, CorruptRecord
from ..minting import Keyring
from ..records import IdempotencyRecord, OwnerEntry, ServiceKey, Session, Token
from ..unreadable import Unreadables
from ..wants import (
    NO_SESSION,
    NO_TOKEN,
    AllKeys,
    EntryOf,
    IdempotencyOf,
    Key,
    KeyById,
    KeyByLookup,
    ParkedTokens,
    SessionById,
    SessionByLookup,
    SessionFound,
    SessionListing,
    SessionsOf,
    SettingOf,
    TokenById,
    TokenByLookup,
    TokenCountOf,
    TokenFound,
    TokenListing,
    TokensOf,
    TransferablesOf,
    Unreadable,
)
from .record_codec import (
    ENTRY_COLUMNS,
    KEY_COLUMNS,
    SESSION_COLUMNS,
    TOKEN_COLUMNS,
    check_mac,
    outcome_of,
    session_of,
    token_of,
    unreadable_of,
)

T = TypeVar("T")

PEPPERS_MAX = 16
"""Live peppers of one store; a secret is looked up under each of them."""
REMEMBERED_MAX = 16_384
"""Rows that a store remembers to have checked: about 25 MB."""

Believed = dict[str, tuple[tuple[Any, ...], Any]]
"""Look-up key or id → a row that was checked, and what was found in it."""

IDEMPOTENCY_COLUMNS = IdempotencyRecord._fields
SETTING_COLUMNS = ("name", "text")

COLUMNS_OF = {
    "sessions": SESSION_COLUMNS,
    "tokens": TOKEN_COLUMNS,
    "owner_entries": ENTRY_COLUMNS,
    "idempotency": IDEMPOTENCY_COLUMNS,
    "settings": SETTING_COLUMNS,
    "service_keys": KEY_COLUMNS,
}
"""The columns of each signed table, in the order of its rows; ``mac`` follows."""

_SESSION_WIDTH = len(SESSION_COLUMNS) + 1
_TOKEN_WIDTH = len(TOKEN_COLUMNS) + 1
_PLACE_OF = {"id": 0, "lookup": 2}
"""Where these columns stand in the rows of sessions and tokens."""
_MARKS = ["", "= ?", *[f"IN ({', '.join('?' * count)})" for count in range(2, PEPPERS_MAX + 1)]]
"""How a condition goes on that asks for so many keys."""
_LISTED_FIELDS = {"transferable": "t.kind = 'transferable'", "sellable": "t.listed = 1"}


def _columns(letter: str, table: str) -> str:
    return ", ".join(f"{letter}.{name}" for name in (*COLUMNS_OF[table], "mac"))


class Records:
    """Reads the records of one name space through one connection.

    Args:
        connection: its own; one thread at a time.
        beginning: how the names of the tables begin.
        keyring: checks the MACs.
        clock: goes into the sessions, which tell their time left by it.
        believed: what was found in rows whose MACs were right, so that an equal row need not be checked and decoded
            again; all readers of a store share it.
        unreadables: told of each row that is left out of a list because it cannot be read.

    Attributes:
        left_out: what the answer to the last want left out.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        beginning: str,
        keyring: Keyring,
        clock: Clock,
        believed: Believed,
        unreadables: Unreadables,
    ) -> None:
        self.connection = connection
        self.beginning = beginning
        self._execute = connection.execute
        self._keyring = keyring
        self._clock = clock
        self._believed = believed
        self._unreadables = unreadables
        self.left_out: list[Unreadable] = []
        self._version: int | None = None
        self._sessions_lately: dict[str, SessionFound] = {}
        self._tokens_lately: dict[str, TokenFound] = {}
        self._sessions, self._tokens = f"{beginning}sessions", f"{beginning}tokens"
        self._entries = f"{beginning}owner_entries"
        session, token, entry = _columns("s", "sessions"), _columns("t", "tokens"), _columns("e", "owner_entries")
        with_entry = f"LEFT JOIN {self._entries} e ON e.owner = s.owner"
        self._session_alone = f"SELECT {session} FROM {self._sessions} s"
        self._sessions_found = f"SELECT {session}, {entry} FROM {self._sessions} s {with_entry}"
        self._token_alone = f"SELECT {token} FROM {self._tokens} t"
        self._tokens_found = (
            f"SELECT {token}, {session}, {entry} FROM {self._tokens} t "
            f"LEFT JOIN {self._sessions} s ON s.id = t.session_id {with_entry}"
        )
        key_columns = ", ".join((*KEY_COLUMNS, "mac"))
        self._key_by_lookup = f"SELECT {key_columns} FROM {beginning}service_keys WHERE lookup = ?"
        self._session_found = {column: f"{self._sessions_found} WHERE s.{column} " for column in _PLACE_OF}
        self._token_found = {column: f"{self._tokens_found} WHERE t.{column} " for column in _PLACE_OF}

    # From rows to records.

    def _session(self, row: Sequence[Any]) -> Session:
        columns = row[: _SESSION_WIDTH - 1]
        check_mac(self._keyring, self._sessions, columns, row[_SESSION_WIDTH - 1])
        return session_of(columns, self._clock)

    def _token(self, row: Sequence[Any]) -> Token:
        columns = row[: _TOKEN_WIDTH - 1]
        check_mac(self._keyring, self._tokens, columns, row[_TOKEN_WIDTH - 1])
        return token_of(columns)

    def _entry(self, row: Sequence[Any]) -> OwnerEntry | None:
        if row[0] is None:
            return None
        check_mac(self._keyring, self._entries, row[:4], row[4])
        return OwnerEntry(*row[:4])

    def _session_with_entry(self, row: Sequence[Any]) -> SessionFound:
        return SessionFound(self._session(row), self._entry(row[_SESSION_WIDTH:]))

    def _token_with_session(self, row: Sequence[Any]) -> TokenFound:
        token = self._token(row)
        if row[_TOKEN_WIDTH] is None:
            return TokenFound(token, None, None)
        found = self._session_with_entry(row[_TOKEN_WIDTH:])
        return TokenFound(token, found.session, found.entry)

    def _readable(self, statement: str, values: Sequence[object], decode: Callable[[Sequence[Any]], T]) -> list[T]:
        """Answer what the rows of a statement say; one that cannot be read is left out, and told."""
        records: list[T] = []
        for row in self._all(statement, values):
            try:
                records.append(decode(row))
            except UNREADABLE as error:
                self._unreadables.met(error)
                self.left_out.append(unreadable_of(row, error))
        return records

    def _all(self, statement: str, values: Sequence[object]) -> list[Any]:
        """Answer the rows of a statement, also where a text of one is not UTF-8: its MAC will be wrong."""
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
        """Answer the first row of a statement, if there is one; as ``_all``."""
        try:
            return self._execute(statement, values).fetchone()
        except sqlite3.OperationalError:
            return next(iter(self._all(statement, values)), None)

    def _signed(self, table: str, key_column: str, key: str) -> tuple[Any, ...] | None:
        columns = ", ".join((*COLUMNS_OF[table], "mac"))
        statement = f"SELECT {columns} FROM {self.beginning}{table} WHERE {key_column} = ?"
        row: tuple[Any, ...] | None = self._first(statement, (key,))
        if row is None:
            return None
        check_mac(self._keyring, f"{self.beginning}{table}", row[:-1], row[-1])
        return _asked_for(row[:-1], COLUMNS_OF[table].index(key_column), (key,))

    # The hot path: what was found lately still holds if nobody has committed anything to the file since.

    def session_lately(self, lookups: Sequence[str]) -> SessionFound:
        """Answer the session that is looked up by one of these, with its owner's entry."""
        if not self._is_unchanged() or (found := self._sessions_lately.get(lookups[0])) is None:
            found = self.session_found("lookup", lookups)
            if found.session is not None:  # strangers' guesses are not worth remembering
                _remember(self._sessions_lately, lookups[0], found)
        return found

    def token_lately(self, lookups: Sequence[str]) -> TokenFound:
        """Answer the token that is looked up by one of these, with its session and that owner's entry."""
        if not self._is_unchanged() or (found := self._tokens_lately.get(lookups[0])) is None:
            found = self.token_found("lookup", lookups)
            if found.token is not None:
                _remember(self._tokens_lately, lookups[0], found)
        return found

    def _is_unchanged(self) -> bool:
        """Whether no other connection, of any process, has committed since this was last asked.

        It costs a third of a look-up. What is found after it was asked is at least as new as its answer, so a commit
        in between makes the next answer another one.
        """
        (version,) = self._execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return True
        self._version = version
        self._sessions_lately.clear()
        self._tokens_lately.clear()
        return False

    # One record with what it is judged by.

    def session_found(self, column: str, keys: Sequence[str]) -> SessionFound:
        """Answer the session whose ``column`` (``id`` or ``lookup``) is one of these, with its owner's entry."""
        row = self._first(self._session_found[column] + _MARKS[len(keys)], keys)
        if row is None:
            return NO_SESSION
        believed = self._believed.get(keys[0])
        if believed is not None and believed[0] == row:
            return believed[1]  # type: ignore[no-any-return]  # an equal row was found for the same question
        found = self._session_with_entry(_asked_for(row, _PLACE_OF[column], keys))
        _remember(self._believed, keys[0], (row, found))
        return found

    def token_found(self, column: str, keys: Sequence[str]) -> TokenFound:
        """Answer the token whose ``column`` is one of these, with its session and that owner's entry."""
        row = self._first(self._token_found[column] + _MARKS[len(keys)], keys)
        if row is None:
            return NO_TOKEN
        believed = self._believed.get(keys[0])
        if believed is not None and believed[0] == row:
            return believed[1]  # type: ignore[no-any-return]  # an equal row was found for the same question
        found = self._token_with_session(_asked_for(row, _PLACE_OF[column], keys))
        _remember(self._believed, keys[0], (row, found))
        return found

    # Single records, as a transaction reads them.

    def session(self, id: str) -> Session | None:
        """The session of an id."""
        row = self._first(f"{self._session_alone} WHERE s.id = ?", (id,))
        return None if row is None else self._session(_asked_for(row, 0, (id,)))

    def session_by_lookup(self, lookup: str) -> Session | None:
        """The session whose present secret is looked up by that."""
        row = self._first(f"{self._session_alone} WHERE s.lookup = ?", (lookup,))
        return None if row is None else self._session(_asked_for(row, 2, (lookup,)))

    def entry(self, owner: str) -> OwnerEntry | None:
        """The entry of an owner."""
        row = self._signed("owner_entries", "owner", owner)
        return None if row is None else OwnerEntry(*row)

    def token(self, id: str) -> Token | None:
        """The token of an id."""
        row = self._first(f"{self._token_alone} WHERE t.id = ?", (id,))
        return None if row is None else self._token(_asked_for(row, 0, (id,)))

    def token_by_lookup(self, lookup: str) -> Token | None:
        """The token whose present secret is looked up by that."""
        row = self._first(f"{self._token_alone} WHERE t.lookup = ?", (lookup,))
        return None if row is None else self._token(_asked_for(row, 2, (lookup,)))

    def idempotency(self, key: str) -> IdempotencyRecord | None:
        """The first outcome under that key."""
        row = self._signed("idempotency", "key", key)
        if row is None:
            return None
        key, request, nonce, key_id, outcome, expires_at = row
        return IdempotencyRecord(key, request, nonce, key_id, outcome_of(outcome, self._clock), expires_at)

    def setting(self, name: str) -> str | None:
        """A setting that all processes share."""
        row = self._signed("settings", "name", name)
        return None if row is None else row[1]

    def service_key(self, id: str) -> ServiceKey | None:
        """The service key of an id."""
        row = self._signed("service_keys", "id", id)
        return None if row is None else ServiceKey(*row)

    def service_key_by_lookup(self, lookup: str) -> ServiceKey | None:
        """The service key whose secret is looked up by that."""
        row = self._first(self._key_by_lookup, (lookup,))
        if row is None:
            return None
        believed = self._believed.get(lookup)
        if believed is not None and believed[0] == row:
            return believed[1]  # type: ignore[no-any-return]  # an equal row was found for the same question
        check_mac(self._keyring, f"{self.beginning}service_keys", row[:-1], row[-1])
        key = ServiceKey(*_asked_for(row[:-1], KEY_COLUMNS.index("lookup"), (lookup,)))
        _remember(self._believed, lookup, (row, key))
        return key

    # Several records.

    def sessions_of(self, owner: str) -> list[Session]:
        """All sessions of an owner that were not ended, oldest first."""
        statement = f"{self._session_alone} WHERE s.owner = ? AND s.ended_at IS NULL ORDER BY s.created_at, s.id"
        return self._readable(statement, (owner,), self._session)

    def _tokens_where(self, condition: str, value: str, limit: int | None = None) -> list[Token]:
        statement = f"{self._token_alone} WHERE {condition} ORDER BY t.created_at, t.id LIMIT ?"
        asked = -1 if limit is None else limit
        while True:
            before = len(self.left_out)
            tokens = self._readable(statement, (value, asked), self._token)
            left_out = len(self.left_out) - before
            if limit is None or len(tokens) >= limit or len(tokens) + left_out < asked:
                return tokens if limit is None else tokens[:limit]
            asked, self.left_out[before:] = asked + left_out, []

    def tokens_of(self, session_id: str, limit: int | None) -> list[Token]:
        """The tokens that name that session as their holder, oldest first, at most ``limit``."""
        return self._tokens_where("t.session_id = ?", session_id, limit)

    def transferables_of(self, session_id: str) -> list[Token]:
        """All transferable tokens that name that session as their holder, oldest first."""
        return self._tokens_where("t.session_id = ? AND t.kind = 'transferable'", session_id)

    def parked_tokens(self, owner: str) -> list[Token]:
        """All tokens that an owner holds without a session, oldest first."""
        return self._tokens_where("t.session_id IS NULL AND t.owner = ? AND t.kind = 'transferable'", owner)

    def token_count_of(self, session_id: str) -> int:
        """How many tokens name that session as their holder."""
        statement = f"SELECT count(*) FROM {self._tokens} WHERE session_id = ?"
        count: int = self._execute(statement, (session_id,)).fetchone()[0]
        return count

    def _all_keys(self, want: AllKeys, now: int) -> list[ServiceKey]:
        table = f"{self.beginning}service_keys"
        columns = ", ".join((*KEY_COLUMNS, "mac"))

        def decode(row: Sequence[Any]) -> ServiceKey:
            check_mac(self._keyring, table, row[:-1], row[-1])
            return ServiceKey(*row[:-1])

        return self._readable(f"SELECT {columns} FROM {table} ORDER BY created_at, id", (), decode)

    def _sessions_listed(self, want: SessionListing, now: int) -> list[SessionFound]:
        conditions, values = ["s.ended_at IS NULL"], list[object]()
        if want.owner is not None:
            conditions.append("s.owner = ?")
            values.append(want.owner)
        if want.detached is not None:
            conditions.append("s.detached_at IS NOT NULL" if want.detached else "s.detached_at IS NULL")
        _start_after(want.after, "s", conditions, values)
        statement = (
            f"{self._sessions_found} WHERE {' AND '.join(conditions)} ORDER BY s.created_at, s.id LIMIT {want.limit:d}"
        )
        return self._readable(statement, values, self._session_with_entry)

    def _tokens_listed(self, want: TokenListing, now: int) -> list[TokenFound]:
        conditions, values = list[str](), list[object]()
        if want.owner is not None:
            conditions.append("t.owner = ?")
            values.append(want.owner)
        if want.session_id is not None:
            conditions.append("t.session_id = ?")
            values.append(want.session_id)
        for field, condition in _LISTED_FIELDS.items():
            asked = getattr(want, field)
            if asked is not None:
                conditions.append(condition if asked else f"({condition}) IS NOT TRUE")
        _start_after(want.after, "t", conditions, values)
        if want.unassigned:
            return self._unassigned_listed(conditions, values, want.limit, now)
        if want.unassigned is not None:
            conditions.append("t.unassigned_at IS NULL")
        statement = (
            f"{self._tokens_found} WHERE {' AND '.join(conditions) or 'TRUE'} "
            f"ORDER BY t.created_at, t.id LIMIT {want.limit:d}"
        )
        return self._readable(statement, values, self._token_with_session)

    def _unassigned_listed(self, conditions: list[str], values: list[object], limit: int, now: int) -> list[TokenFound]:
        """Answer tokens that are unassigned, or may be by now: their session's time is over, or its owner's entry."""
        also = " AND ".join(["t.kind = 'transferable'", *conditions])
        first = f"ORDER BY t.created_at, t.id LIMIT {limit:d}"
        statement = (
            f"{self._tokens_found} WHERE t.id IN ("
            f"SELECT id FROM (SELECT t.id FROM {self._tokens} t WHERE t.unassigned_at IS NOT NULL AND {also} {first}) "
            f"UNION SELECT id FROM (SELECT t.id FROM {self._sessions} s JOIN {self._tokens} t ON t.session_id = s.id "
            f"WHERE s.sweep_at <= ? AND s.sweep_at < {NEVER} AND {also} {first}) "
            f"UNION SELECT id FROM (SELECT t.id FROM {self._entries} e "
            f"JOIN {self._sessions} s ON s.owner = e.owner AND s.ended_at IS NULL AND s.owner_epoch <> e.epoch "
            f"JOIN {self._tokens} t ON t.session_id = s.id WHERE {also} {first})) {first}"
        )
        return self._readable(statement, (*values, now, *values, *values), self._token_with_session)

    def due(self, now: int, limit: int) -> list[Key]:
        """Answer at most ``limit`` keys of what should be swept at ``now``, longest due first."""
        due: list[tuple[int, str, str]] = []
        for kind, column, source in (
            ("session", "id", f"sweep_at AS at FROM {self._sessions} WHERE sweep_at < {NEVER} AND sweep_at"),
            ("token", "id", f"deadline AS at FROM {self._tokens} WHERE deadline < {NEVER} AND deadline"),
            ("idempotency", "key", f"expires_at AS at FROM {self.beginning}idempotency WHERE expires_at"),
        ):
            rows = self._execute(f"SELECT {column}, {source} <= ? ORDER BY at LIMIT ?", (now, limit)).fetchall()
            due.extend((at, kind, id) for id, at in rows)
        due.sort(key=lambda item: item[0])
        return [Key(kind, id) for _, kind, id in due[:limit]]

    def answer(self, want: Any, now: int) -> Any:
        """Answer one want; ``left_out`` says what is missing from a list."""
        self.left_out = []
        return _ANSWERS[type(want)](self, want, now)


def any_text(raw: bytes) -> str:
    """Answer text, also where it is not UTF-8."""
    return raw.decode("utf-8", "surrogateescape")


def _remember(memory: dict[str, T], key: str, found: T) -> None:
    if len(memory) >= REMEMBERED_MAX:
        memory.clear()
    memory[key] = found


def _asked_for(row: tuple[Any, ...], column: int, keys: Sequence[str]) -> tuple[Any, ...]:
    """Answer a row that is one of those asked for; an index may have led to another."""
    if row[column] not in keys:
        raise CorruptRecord("an index of the database leads to another row; run session-tokens check --fix")
    return row


def _start_after(after: tuple[int, str] | None, letter: str, conditions: list[str], values: list[object]) -> None:
    if after is not None:
        conditions.append(f"({letter}.created_at, {letter}.id) > (?, ?)")
        values.extend(after)


_ANSWERS: dict[type, Callable[[Records, Any, int], Any]] = {
    SessionById: lambda records, want, now: records.session_found("id", (want.id,)),
    SessionByLookup: lambda records, want, now: records.session_found("lookup", (want.lookup,)),
    SessionsOf: lambda records, want, now: records.sessions_of(want.owner),
    EntryOf: lambda records, want, now: records.entry(want.owner),
    TokenById: lambda records, want, now: records.token_found("id", (want.id,)),
    TokenByLookup: lambda records, want, now: records.token_found("lookup", (want.lookup,)),
    TokensOf: lambda records, want, now: records.tokens_of(want.session_id, want.limit),
    TransferablesOf: lambda records, want, now: records.transferables_of(want.session_id),
    TokenCountOf: lambda records, want, now: records.token_count_of(want.session_id),
    ParkedTokens: lambda records, want, now: records.parked_tokens(want.owner),
    IdempotencyOf: lambda records, want, now: records.idempotency(want.key),
    SettingOf: lambda records, want, now: records.setting(want.name),
    KeyByLookup: lambda records, want, now: records.service_key_by_lookup(want.lookup),
    KeyById: lambda records, want, now: records.service_key(want.id),
    AllKeys: Records._all_keys,
    SessionListing: Records._sessions_listed,
    TokenListing: Records._tokens_listed,
}
