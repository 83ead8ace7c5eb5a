"""The PostgreSQL store: two thin shells, asyncio and blocking, over one pure core.

Theory of operation. A read is one statement (``postgres_reading``), a commit one call of a function that takes locks,
compares stamps and writes (``postgres_commit``, ``sql/``). No transaction is open between round trips and nothing is
kept in the server's session, so a transaction pooler may stand in between. The store keeps the server's clock.

Durability: a command is answered after its commit record is on the server's disk (``synchronous_commit`` is on by
default, and the store does not touch it). What a fail-over can lose is what PostgreSQL itself can lose: with
asynchronous replicas the last commits, with ``synchronous_standby_names`` none.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from typing import Any, Final, cast

from ...contract.coalesce import Batch, CoalescingStore
from ...contract.conflict_queue import ConflictQueue
from ...contract.optimistic import BlockingOptimisticStore, Commit
from ...contract.queries import Key, Query, Snapshot
from ...crypto.key_file import given_keyring
from ...crypto.minting import Pepper, PepperKeyring
from ...errors import InvalidInput, StoreBusy, StoreError, StoreUnavailable
from ...events import Listeners
from ...records import OwnerEntry, Session, Token
from ..common.copying import Dump
from ..common.retry import Retrying, RetryPolicy
from ..common.server_clock import ServerClock
from .address import Address, address_of
from .check import Problem, Progress, checking
from .commit import commit_statement
from .dump import dump_of, dump_statement
from .queries import (
    Reading,
    Statement,
    session_answer,
    session_statement,
    token_answer,
    token_statement,
)
from .rows import Decoder

try:
    from .errors import CLASH, FAILURES, TAKEN, is_of_another_role, is_unprepared, sqlstate_of, store_error
    from .pool import AsyncPool, Pool
    from .schema import Command, Script, looking, migrating, opening
except ImportError as error:  # psycopg itself, or the libpq that it needs
    raise InvalidInput(
        f"a PostgreSQL store needs psycopg ({error}); install it: pip install 'session-tokens[postgres]'"
    ) from error

log = logging.getLogger("session_tokens.contract.store")

MIGRATION_TIMEOUT_S: Final = 600.0
SCRIPT_TIMEOUT_S: Final = 30.0
"""For each statement of an opening; connecting has the store's time-out."""
CHECK_TIMEOUT_S: Final = 600.0
"""For each statement of a check, some of which go through a whole table."""

Rows = Sequence[tuple[Any, ...]]


class _Core:
    """What both shells know: the address, the keys, the decoder, the statements, the meaning of failures."""

    def __init__(self, address: Address, keyring: PepperKeyring) -> None:
        self.address = address
        self.schema = address.schema
        self.keyring = keyring
        self.clock = ServerClock()
        self.decoder = Decoder(keyring, self.clock)
        self.retrying = Retrying(RetryPolicy(timeout_s=address.timeout_s))
        self.prepared = address.prepared
        # Locks are given up before the client gives up, so that a commit that waited is surely not carried out.
        self._lock_timeout_ms = max(1, int(address.timeout_s * 800))

    def commit(self, commits: Sequence[Commit]) -> Statement:
        return commit_statement(self.schema, self.keyring, commits, self._lock_timeout_ms)

    def due(self, now: int, limit: int) -> Statement:
        return Statement(f"SELECT kind, id FROM {self.schema}.due_v1(%s, %s)", (now, limit))

    def batch(self, asked: Reading, rows: Rows) -> Batch:
        batch = asked.batch(rows, self.decoder)
        self.clock.heard(batch.now)
        return batch

    def is_unprepared(self, error: Exception) -> bool:
        """Whether a pooler knows no prepared statements: then none are used from now on.

        The question was not carried out. Others may have been asked in the same way meanwhile; each is told so.
        """
        if not is_unprepared(error):
            return False
        if self.prepared:
            log.warning("a pooler before PostgreSQL knows no prepared statements; going on without them")
        self.prepared = False
        return True


def _not_written(error: StoreError) -> bool:
    """Whether a commit was taken back because others were faster: the command is run again."""
    state = sqlstate_of(error.__cause__)
    return state in CLASH or state == TAKEN


class PostgresStore(CoalescingStore):
    """Sessions and tokens in PostgreSQL, for the tasks of one event loop; what they ask at once travels together.

    Made by ``open_postgres``.

    Attributes:
        address: where the store is.
        outage: the time-outs and the breaker.
    """

    def __init__(self, address: Address, keyring: PepperKeyring) -> None:
        super().__init__()
        self.address = address
        self.keyring = keyring
        self.listeners = Listeners()
        self._core = _Core(address, keyring)
        self.unreadables = self._core.decoder.unreadables
        self.clock = self._core.clock
        self.retrying = self._core.retrying
        self.conflict_queue = ConflictQueue(asyncio.Lock, address.timeout_s)
        self._pool = AsyncPool(address)
        self._someone_asks = False

    async def find_session(self, lookups: Sequence[str]) -> tuple[int, Session | None, OwnerEntry | None]:
        """Return now and the session of a secret with its owner's entry; a forged or torn record is no session.

        Who comes alone asks at once; who comes while one asks travels with the others.
        """
        if self._someone_asks or self._pool.loop is not asyncio.get_running_loop():
            return await super().find_session(lookups)
        self._someone_asks = True
        try:
            rows = await self._read(session_statement(self._core.schema, lookups))
        finally:
            self._someone_asks = False
        self._core.clock.heard(rows[0][0])
        answer = session_answer(rows[0], lookups, self._core.decoder)
        if answer[1] is None:
            await self.insist_on_peppers()
        return answer

    async def find_token(self, lookups: Sequence[str]) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        """Return now and the token of a secret with its session and that owner's entry; as ``find_session``."""
        if self._someone_asks or self._pool.loop is not asyncio.get_running_loop():
            return await super().find_token(lookups)
        self._someone_asks = True
        try:
            rows = await self._read(token_statement(self._core.schema, lookups))
        finally:
            self._someone_asks = False
        self._core.clock.heard(rows[0][0])
        answer = token_answer(rows[0], lookups, self._core.decoder)
        if answer[1] is None:
            await self.insist_on_peppers()
        return answer

    async def read_batch(self, queries: Sequence[Query]) -> Batch:
        """Return the results of distinct queries as of one instant, in one statement."""
        asked = Reading(self._core.schema, queries)
        return self._core.batch(asked, await self._read(asked.statement))

    async def commit_batch(self, commits: Sequence[Commit]) -> Sequence[bool | Exception]:
        """Commit several commands in one statement and one transaction, each whole or not at all, in their order."""
        try:
            rows = await self._tried(self._core.commit(commits), idempotent=False)
        except StoreUnavailable:
            raise
        except StoreError as error:
            if len(commits) == 1:
                return [False if _not_written(error) else error]
            # Nothing was written. One by one, each command gets its own answer.
            return [(await self.commit_batch([commit]))[0] for commit in commits]
        written: Sequence[bool] = rows[0][0]
        return written

    async def due(self, now: int, limit: int) -> Sequence[Key]:
        """Return at most ``limit`` keys of what should be swept at ``now``, longest due first."""
        return [Key(*row) for row in await self._read(self._core.due(now, limit))]

    async def check(self, *, fix: bool = False, progress: Progress | None = None) -> Sequence[Problem]:
        """Look at every record, index and function: are they as they were written, do they agree?

        Reads in batches, each in one round trip; what changes meanwhile may be reported wrongly.

        Args:
            fix: whether to mend what can be mended; indexes and functions by the role that owns them.
            progress: ``progress(done, total)``, called now and then with a number of records.

        Return what was wrong, and of each thing what was done about it.
        """
        script = checking(self.address, self._core.keyring, self._core.decoder, fix, progress)
        return cast("Sequence[Problem]", await self._run_script(script, CHECK_TIMEOUT_S))

    async def close(self) -> None:
        """Wait for what is under way and let go of all connections; calling it again does nothing."""
        await self.close_queues()
        await self._pool.close()

    async def _read(self, statement: Statement) -> Rows:
        return await self._tried(statement, idempotent=True)

    async def _tried(self, statement: Statement, *, idempotent: bool) -> Rows:
        return await self.retrying.ask(self._ask, statement, idempotent=idempotent)

    async def _ask(self, timeout_s: float, statement: Statement) -> Rows:
        try:
            talk = await self._pool.take(timeout_s)
        except FAILURES as error:
            raise store_error(error, sent=False) from error
        prepared = self._core.prepared
        try:
            return await talk.ask(statement, timeout_s, prepare=prepared)
        except FAILURES as error:
            if is_of_another_role(error):
                self._pool.leave(talk)
            if not (prepared and self._core.is_unprepared(error)):
                raise store_error(error, sent=True) from error
        return await self._ask(timeout_s, statement)

    async def _run_script(self, script: Script, timeout_s: float) -> object:
        """Run a script over a connection of its own; what was begun is rolled back if it fails."""
        sent = False
        try:
            connection = await self._pool.connect(self.address.timeout_s)
            connection.timeout_s, sent = timeout_s, True
            try:
                step = next(script)
                while True:
                    params = None if isinstance(step, Command) else step.params
                    cursor = await connection.execute(step.text, params, prepare=False)
                    step = script.send(await cursor.fetchall() if cursor.description else [])
            except StopIteration as stop:
                return stop.value
            finally:
                connection.pgconn.finish()
        except FAILURES as error:
            raise store_error(error, sent=sent) from error


class BlockingPostgresStore(BlockingOptimisticStore):
    """Sessions and tokens in PostgreSQL, for any number of threads.

    Made by ``open_postgres_blocking``.

    Attributes:
        address: where the store is.
        outage: the time-outs and the breaker.
    """

    def __init__(self, address: Address, keyring: PepperKeyring) -> None:
        self.address = address
        self.keyring = keyring
        self.listeners = Listeners()
        self._core = _Core(address, keyring)
        self.unreadables = self._core.decoder.unreadables
        self.clock = self._core.clock
        self.retrying = self._core.retrying
        self.conflict_queue = ConflictQueue(threading.Lock, address.timeout_s)
        self._pool = Pool(address)

    def read_now(self, queries: Sequence[Query]) -> Snapshot:
        """Return the results of all queries as of one instant, in one statement."""
        asked = Reading(self._core.schema, queries)
        now, found = self._core.batch(asked, self._read(asked.statement))
        answers = []
        for answer in found:
            if isinstance(answer, Exception):
                raise answer
            answers.append(answer)
        return Snapshot(now, answers)

    def find_session_now(self, lookups: Sequence[str]) -> tuple[int, Session | None, OwnerEntry | None]:
        """Return now and the session of a secret with its owner's entry: one statement; a forged row is none."""
        rows = self._read(session_statement(self._core.schema, lookups))
        self._core.clock.heard(rows[0][0])
        answer = session_answer(rows[0], lookups, self._core.decoder)
        if answer[1] is None:
            self.insist_on_peppers_now()
        return answer

    def find_token_now(self, lookups: Sequence[str]) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        """Return now and the token of a secret with its session and that owner's entry: one statement."""
        rows = self._read(token_statement(self._core.schema, lookups))
        self._core.clock.heard(rows[0][0])
        answer = token_answer(rows[0], lookups, self._core.decoder)
        if answer[1] is None:
            self.insist_on_peppers_now()
        return answer

    def commit_now(self, commit: Commit) -> bool:
        """Write all changes atomically if every stamp is as given; return whether they were written."""
        try:
            rows = self._tried(self._core.commit([commit]), idempotent=False)
        except (StoreBusy, StoreError) as error:
            if _not_written(error):
                return False
            raise
        written: bool = rows[0][0][0]
        return written

    def due_now(self, now: int, limit: int) -> Sequence[Key]:
        """Return at most ``limit`` keys of what should be swept at ``now``, longest due first."""
        return [Key(*row) for row in self._read(self._core.due(now, limit))]

    def check_now(self, *, fix: bool = False, progress: Progress | None = None) -> Sequence[Problem]:
        """As ``PostgresStore.check``."""
        script = checking(self.address, self._core.keyring, self._core.decoder, fix, progress)
        return cast("Sequence[Problem]", self._run_script(script, CHECK_TIMEOUT_S))

    def dump_now(self, kind: str, after: str, limit: int) -> Dump:
        """Return a batch of all records of a kind; see ``copying.Copyable``."""
        rows = self._read(dump_statement(self._core.schema, kind, after, limit))
        return dump_of(kind, rows, self._core.decoder, limit)

    def close_now(self) -> None:
        """Let go of all connections; calling it again does nothing."""
        self._pool.close()

    def _read(self, statement: Statement) -> Rows:
        return self._tried(statement, idempotent=True)

    def _tried(self, statement: Statement, *, idempotent: bool) -> Rows:
        return self.retrying.ask_now(self._ask, statement, idempotent=idempotent)

    def _ask(self, timeout_s: float, statement: Statement) -> Rows:
        try:
            talk = self._pool.take(timeout_s)
        except FAILURES as error:
            raise store_error(error, sent=False) from error
        prepared = self._core.prepared
        try:
            try:
                return talk.ask(statement, timeout_s, prepare=prepared)
            except FAILURES as error:
                if not (prepared and self._core.is_unprepared(error)):
                    raise
            return talk.ask(statement, timeout_s, prepare=False)
        except FAILURES as error:
            if is_of_another_role(error):
                self._pool.leave(talk)
            raise store_error(error, sent=True) from error
        finally:
            self._pool.give(talk)

    def _run_script(self, script: Script, timeout_s: float) -> object:
        """Run a script over a connection of its own; what was begun is rolled back if it fails."""
        sent = False
        try:
            connection = self._pool.connect(self.address.timeout_s)
            connection.timeout_s, sent = timeout_s, True
            try:
                step = next(script)
                while True:
                    params = None if isinstance(step, Command) else step.params
                    cursor = connection.execute(step.text, params, prepare=False)
                    step = script.send(cursor.fetchall() if cursor.description else [])
            except StopIteration as stop:
                return stop.value
            finally:
                connection.pgconn.finish()
        except FAILURES as error:
            raise store_error(error, sent=sent) from error


async def open_postgres(url: str, *, pepper: Pepper | None = None, space: str = "") -> PostgresStore:
    """Open the PostgreSQL store that a URL names, for asyncio; make its tables if there are none and the role may.

    Args:
        url: ``postgresql://user@host:port/database?namespace=…&timeout=…&pool_size=…&prepared=…`` and the driver's own
            parameters; ``timeout`` is in seconds.
        pepper: at least 32 bytes, or key id → bytes of which the first is the current one. It is kept apart from the
            database: whoever holds only one of them can do nothing.
        space: a name space beside the main one: a schema of its own.

    Raises:
        InvalidInput: no pepper, or one that rows need is missing or another one, or a URL that can never be right.
        StoreUnavailable: the server cannot be reached in time.
        StoreError: the tables are not there and the role may not make them, or they are of another version.
    """
    store = PostgresStore(address_of(url, space), given_keyring(pepper, "PostgreSQL"))
    await store._run_script(opening(store.address, store._core.keyring), SCRIPT_TIMEOUT_S)
    return store


def open_postgres_blocking(url: str, *, pepper: Pepper | None = None, space: str = "") -> BlockingPostgresStore:
    """As ``open_postgres``, for callers without an event loop."""
    store = BlockingPostgresStore(address_of(url, space), given_keyring(pepper, "PostgreSQL"))
    store._run_script(opening(store.address, store._core.keyring), SCRIPT_TIMEOUT_S)
    return store


def is_there(url: str, space: str = "") -> bool:
    """Whether a database holds the tables of a name space; makes nothing.

    Raises:
        InvalidInput: the URL can never be right.
        StoreUnavailable: the server cannot be reached in time.
    """
    store = BlockingPostgresStore(address_of(url, space), PepperKeyring(bytes(32)))
    try:
        return bool(store._run_script(looking(store.address), SCRIPT_TIMEOUT_S))
    finally:
        store.close_now()


def migrate_postgres(url: str, *, space: str = "", grant_to: str | None = None) -> list[int]:
    """Bring the tables of a store up to this version; return the numbers of the steps taken, none if it was.

    Args:
        url: as for ``open_postgres``, of a role that owns the tables or may make them.
        space: the name space.
        grant_to: the role that will use the tables, which need not own them.

    Raises:
        InvalidInput: the URL can never be right.
        StoreUnavailable: the server cannot be reached in time.
        StoreError: the tables are newer than this library, or the role may not do it.
    """
    address = address_of(url, space)
    store = BlockingPostgresStore(address, PepperKeyring(bytes(32)))
    return cast("list[int]", store._run_script(migrating(address, grant_to), MIGRATION_TIMEOUT_S))
