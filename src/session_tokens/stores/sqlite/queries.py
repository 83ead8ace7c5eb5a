"""Reading records from an SQLite connection: each question is one SELECT, each row is checked against its MAC.

A look-up compares what came back with what was asked for: an index that someone has bent could otherwise lead from
one secret to another's row. Used by readers, and by the transaction of the writer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from ...clock import NEVER
from ...contract.queries import (
    NO_SESSION,
    NO_TOKEN,
    Count,
    Get,
    Members,
    Query,
    Result,
    Scan,
    SessionResult,
    SetName,
    TokenResult,
)
from ...records import IdempotencyRecord, OwnerEntry, ServiceKey, Session, Token
from ..common.kinds import IDEMPOTENCY, OWNER, RECORDS, SERVICE_KEY, SESSION, SETTING, TOKEN
from ..common.record_codec import Setting
from ..common.sql_tables import columns_of
from .rows import PLACE_OF, Rows, asked_for, remember
from .wal_index import WalIndex

K = TypeVar("K")
T = TypeVar("T")

PEPPERS_MAX = 16
"""Live peppers of one store; a secret is looked up under each of them."""

TokenNow = tuple[Token | None, Session | None, OwnerEntry | None]
"""A token in the session where it is now, that one, and its owner's entry; see ``TokenResult.followed``."""

_MARKS = ["", "= ?", *[f"IN ({', '.join('?' * count)})" for count in range(2, PEPPERS_MAX + 1)]]
"""How a condition goes on that asks for so many keys."""


class Records(Rows):
    """Return the questions of one name space; see ``Rows``."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._version: int | None = None
        self._state = object()
        self._is_mapped = False
        self._index: WalIndex | None = None
        self._header = b""
        self._sessions_lately: dict[str, SessionResult] = {}
        self._tokens_lately: dict[str, TokenNow] = {}
        self._results_lately: dict[Get, Result] = {}
        # What a transaction asks, without another call of Python between.
        self.sessions_of = partial(self.members, "sessions_of")
        self.session_count_of = partial(self.count, "sessions_of")
        self.predecessors_of = partial(self.members, "predecessors_of")
        self.tokens_of = partial(self.members, "tokens_of")
        self.transferables_of = partial(self.members, "transferables_of")
        self.parked_tokens = partial(self.members, "parked_tokens")

    # The hot path: what was found lately still holds if nobody has committed anything to the file since.

    def session_lately(self, lookups: Sequence[str]) -> SessionResult:
        """Return the session that is looked up by one of these, with its owner's entry."""
        found = self._sessions_lately.get(lookups[0])
        if found is None or not self._is_unchanged():
            found = self.session_found("lookup", lookups)
            if found.session is not None:  # strangers' guesses are not worth remembering
                remember(self._sessions_lately, lookups[0], found)
        return found

    def token_lately(self, lookups: Sequence[str]) -> TokenNow:
        """Return the token that is looked up by one of these, with its session and that owner's entry."""
        found = self._tokens_lately.get(lookups[0])
        if found is None or not self._is_unchanged():
            found = self.token_found("lookup", lookups).followed()
            if found[0] is not None:
                remember(self._tokens_lately, lookups[0], found)
        return found

    def _is_unchanged(self) -> bool:
        """Whether no other connection, of any process, has committed since this was last asked.

        All that is remembered was found after it was asked the last time, so it is at least as new as that answer, and
        a commit since makes the next another. SQLite takes longer to tell than to look something up, so where nothing
        changes for long the header of the WAL index is compared instead.
        """
        index, header = self._index, b""
        if index is not None:
            header = index.header.raw  # before SQLite is asked: what changes it meanwhile is asked for the next time
            if header == self._header:
                return True
        (version,) = self._execute("PRAGMA data_version").fetchone()
        self._header = header
        if version == self._version:
            if index is None and not self._is_mapped:
                self._is_mapped = True
                self._index = WalIndex.of(self._execute("PRAGMA database_list").fetchone()[2])
            return True
        self._version = version
        self._state = object()
        self._sessions_lately.clear()
        self._tokens_lately.clear()
        self._results_lately.clear()
        return False

    def state(self) -> object:
        """Return another object than before if anything was committed since."""
        self._is_unchanged()
        return self._state

    def found(self, queries: Sequence[Query], now: int) -> list[Result]:
        """Return the results of queries as of one instant."""
        if len(queries) == 1:
            return [Result(self.answer(queries[0], now), (), self.left_out)]
        if not queries:
            return []
        self._execute("BEGIN")
        results = [Result(self.answer(query, now), (), self.left_out) for query in queries]
        self._execute("COMMIT")
        return results

    def found_lately(self, queries: Sequence[Get], now: int) -> list[Result]:
        """As ``found``, for queries by look-up keys: only what is not remembered is read."""
        if not self._is_unchanged():
            return self._found_anew(queries, now)
        lately = self._results_lately
        results = [lately.get(query) for query in queries]
        if None in results:
            missing = [query for query, result in zip(queries, results, strict=True) if result is None]
            read = iter(self._found_anew(missing, now))
            results = [result or next(read) for result in results]
            if len(missing) < len(queries) and not self._is_unchanged():  # else not all as of one instant
                return self._found_anew(queries, now)
        return results  # type: ignore[return-value]  # none is missing now

    def _found_anew(self, queries: Sequence[Get], now: int) -> list[Result]:
        results = self.found(queries, now)
        for query, result in zip(queries, results, strict=True):
            if result.value is not None and result.value[0] is not None:  # a stranger's guess, as above
                remember(self._results_lately, query, result)
        return results

    # One record with what it is judged by.

    def session_found(self, column: str, keys: Sequence[str]) -> SessionResult:
        """Return the session whose ``column`` (``id`` or ``lookup``) is one of these, with its owner's entry."""
        row = self._first(self._session_found[column] + _MARKS[len(keys)], keys)
        if row is None:
            return NO_SESSION
        checked = self._checked.get(keys[0])
        if checked is not None and checked[0] == row:
            return checked[1]  # type: ignore[no-any-return]  # an equal row was found for the same question
        found = self._session_with_entry(asked_for(row, PLACE_OF[column], keys))
        remember(self._checked, keys[0], (row, found))
        return found

    def token_found(self, column: str, keys: Sequence[str]) -> TokenResult:
        """Return the token whose ``column`` is one of these, with its session, that one's successor and the entry."""
        row = self._first(self._token_found[column] + _MARKS[len(keys)], keys)
        if row is None:
            return NO_TOKEN
        checked = self._checked.get(keys[0])
        if checked is not None and checked[0] == row:
            found: TokenResult = checked[1]  # an equal row was found for the same question
        else:
            found = self._token_with_session(asked_for(row, PLACE_OF[column], keys))
            remember(self._checked, keys[0], (row, found))
        if found.session is None or found.session.details.successor is None:
            return found
        if self.connection.in_transaction:
            return self._with_heir(found)
        return self.at_once(lambda: self.token_found(column, keys))  # both as of one instant

    def at_once(self, read: Callable[[], T]) -> T:
        """Return what several statements read, as of one instant."""
        if self.connection.in_transaction:
            return read()
        self._execute("BEGIN")
        answer = read()
        self._execute("COMMIT")
        return answer

    def _with_heir(self, found: TokenResult) -> TokenResult:
        """Return what was found of a token with the successor of its session, where that was replaced."""
        if found.session is None or found.session.details.successor is None:
            return found
        return found._replace(heir=self.session(found.session.details.successor))

    # Single records, as a transaction reads them.

    def session(self, id: str) -> Session | None:
        """Return the session of an id."""
        row = self._first(self._session_where["id"], (id,))
        return None if row is None else self._known(asked_for(row, 0, (id,)), self._session)

    def session_by_lookup(self, lookup: str) -> Session | None:
        """Return the session whose present secret is looked up by that."""
        row = self._first(self._session_where["lookup"], (lookup,))
        return None if row is None else self._known(asked_for(row, 2, (lookup,)), self._session)

    def entry(self, owner: str) -> OwnerEntry | None:
        """Return the entry of an owner."""
        entry: OwnerEntry | None = self.kept(OWNER, owner)
        return entry

    def token(self, id: str) -> Token | None:
        """Return the token of an id."""
        row = self._first(self._token_where["id"], (id,))
        return None if row is None else self._known(asked_for(row, 0, (id,)), self._token)

    def token_by_lookup(self, lookup: str) -> Token | None:
        """Return the token whose present secret is looked up by that."""
        row = self._first(self._token_where["lookup"], (lookup,))
        return None if row is None else self._known(asked_for(row, 2, (lookup,)), self._token)

    def idempotency(self, key: str) -> IdempotencyRecord | None:
        """Return the first outcome under that key."""
        record: IdempotencyRecord | None = self.kept(IDEMPOTENCY, key)
        return record

    def setting(self, name: str) -> str | None:
        """Return a setting that all processes share."""
        setting: Setting | None = self.kept(SETTING, name)
        return None if setting is None else setting.text

    def service_key(self, id: str) -> ServiceKey | None:
        """Return the service key of an id."""
        key: ServiceKey | None = self.kept(SERVICE_KEY, id)
        return key

    def service_key_by_lookup(self, *lookups: str) -> ServiceKey | None:
        """Return the service key whose secret is looked up by one of these."""
        row, lookup = self._first(self._key_by_lookup + _MARKS[len(lookups)], lookups), lookups[0]
        if row is None:
            return None
        checked = self._checked.get(lookup)
        if checked is not None and checked[0] == row:
            return checked[1]  # type: ignore[no-any-return]  # an equal row was found for the same question
        key: ServiceKey = self._genuine(SERVICE_KEY, asked_for(row, SERVICE_KEY.names.index("lookup"), lookups))
        remember(self._checked, lookup, (row, key))
        return key

    # Several records.

    def ahead(self, queries: Sequence[object]) -> None:
        """Read nothing ahead, under the writer's lock."""

    def members(self, what: SetName, whose: str, limit: int | None = None, newest: bool = False) -> list[Any]:
        """Return the records of a set, oldest first: at most the oldest or newest few.

        However many cannot be read, as many are answered as there are others.
        """
        statement, decode = self._sets[what][newest]
        asked, before = -1 if limit is None else limit, len(self.left_out)
        records = self._readable(statement, (whose, asked), decode)
        while limit is not None and (left_out := len(self.left_out) - before) and len(records) < limit:
            if len(records) + left_out < asked:
                break
            asked, self.left_out[before:] = asked + left_out, []
            records = self._readable(statement, (whose, asked), decode)
        if limit is not None and asked > limit:
            del records[limit:]
        return records[::-1] if newest else records

    def count(self, what: SetName, whose: str) -> int:
        """How many records are in a set."""
        count: int = self._execute(self._count_of[what], (whose,)).fetchone()[0]
        return count

    def token_count_of(self, session_id: str, transferable: bool = False) -> int:
        """How many tokens, or transferable ones, name that session as their holder."""
        return self.count("transferables_of" if transferable else "tokens_of", session_id)

    def _scanned(self, query: Scan, now: int) -> list[Any]:
        if query.what == "tokens":
            return self.at_once(lambda: [self._with_heir(found) for found in self._tokens_in(query)])
        if query.what == "sessions":
            return self._sessions_listed(query)
        if query.what == "waiting":
            return self._tokens_waiting(query)
        if query.what == "due":
            due = f"s.sweep_at <= ? AND s.sweep_at < {NEVER} ORDER BY s.sweep_at LIMIT ?"
            return self._readable(f"{self._sessions_found} WHERE {due}", (now, query.limit), self._session_with_entry)
        if query.what == "keys":
            keys = f"SELECT {columns_of(SERVICE_KEY)} FROM {self.table_prefix}service_keys ORDER BY created_at, id"
            return self._readable(keys, (), lambda row: self._genuine(SERVICE_KEY, row))
        rows = self._execute("SELECT key_id FROM peppers WHERE used_at IS NOT NULL ORDER BY key_id")
        return [key_id for (key_id,) in rows.fetchall()]

    def _sessions_listed(self, query: Scan) -> list[SessionResult]:
        by, whose = query.by
        conditions, values = ["s.ended_at IS NULL"], list[object]()
        if by == "owner":
            conditions.append("s.owner = ?")
            values.append(whose)
        elif by == "detached":
            conditions.append("s.detached_at IS NOT NULL")
        order = _start_after(query, "s", conditions, values)
        statement = f"{self._sessions_found} WHERE {' AND '.join(conditions)} {order} LIMIT {query.limit:d}"
        return self._readable(statement, values, self._session_with_entry)

    def _tokens_in(self, query: Scan) -> list[TokenResult]:
        """Return a listing of a session from each of those whose tokens are in it."""
        if query.session_id is None:
            return self._tokens_naming(query)
        predecessors = self.predecessors_of(query.session_id)
        found = self._tokens_naming(query)
        if predecessors:
            for predecessor in predecessors:
                found += self._tokens_naming(query._replace(session_id=predecessor.id))
            found.sort(
                key=lambda each: (each.token.created_at, each.token.id) if each.token is not None else (0, ""),
                reverse=query.newest,
            )
        return found[: query.limit]

    def _tokens_naming(self, query: Scan) -> list[TokenResult]:
        """Return tokens in their order by the one index that spares most; what else is asked the rules look at."""
        by, whose = query.by
        conditions, values = list[str](), list[object]()
        if by in _TOKENS_BY:
            conditions.append(f"t.{_TOKENS_BY[by]} = ?")
            values.append(whose)
        elif by in _TOKENS_THAT:
            conditions.append(f"t.{_TOKENS_THAT[by]}")
        order = _start_after(query, "t", conditions, values)
        where = " AND ".join(conditions) or "TRUE"
        statement = f"{self._tokens_found} WHERE {where} {order} LIMIT {query.limit:d}"
        return self._readable(statement, values, self._token_with_session)

    def _tokens_waiting(self, query: Scan) -> list[TokenResult]:
        conditions, values = ["t.unassigned_at IS NOT NULL"], list[object]()
        if query.tag is not None:
            conditions.append("t.tag = ?")
            values.append(query.tag)
        if query.after is not None:
            conditions.append("(t.unassigned_at, t.id) > (?, ?)")
            values.extend(query.after)
        where = " AND ".join(conditions)
        statement = f"{self._tokens_found} WHERE {where} ORDER BY t.unassigned_at, t.id LIMIT {query.limit:d}"
        return self._readable(statement, values, self._token_with_session)

    def answer(self, query: Query, now: int) -> Any:
        """Return one query; ``left_out`` says what is missing from a list."""
        self.left_out = []
        if isinstance(query, Members):
            return self.members(*query)
        if isinstance(query, Count):
            return self.count(*query)
        if isinstance(query, Scan):
            return self._scanned(query, now)
        (kind, column), keys = RECORDS[query.what], (query.key, *query.others)
        if kind is SESSION:
            return self.session_found(column, keys)
        if kind is TOKEN:
            return self.token_found(column, keys)
        if query.what == "key_lookup":
            return self.service_key_by_lookup(*keys)
        return self.setting(query.key) if kind is SETTING else self.kept(kind, query.key)


def _start_after(query: Scan, letter: str, conditions: list[str], values: list[object]) -> str:
    """Add the condition that what is listed follows a place; return the order."""
    follows, descending = ("<", " DESC") if query.newest else (">", "")
    if query.after is not None:
        conditions.append(f"({letter}.created_at, {letter}.id) {follows} (?, ?)")
        values.extend(query.after)
    return f"ORDER BY {letter}.created_at{descending}, {letter}.id{descending}"


_TOKENS_BY = {"session": "session_id", "owner": "owner", "tag": "tag"}
"""Index of a scan → the column whose value it asks for."""
_TOKENS_THAT = {"unassigned": "unassigned_at IS NOT NULL", "sellable": "listed = 1"}
"""Index of a scan → the condition of what stands in it."""
