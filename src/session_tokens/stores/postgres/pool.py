"""Connections to PostgreSQL for the pools of ``common.pools``: how they are made, and how scripts are run over one.

What is asked, and what becomes of an answer whose caller has gone, is ``connections``'s.
(``psycopg_pool`` fails callers only after its own time-out and reconnects in growing intervals.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import nullcontext
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection, Connection

from ...contract.drive import drive, drive_now
from ...errors import StoreError
from ..common import pools
from ..common.pools import Exchange, held_by_others
from ..common.retry import Waited
from .address import Address
from .connecting import LOOK_IN_S, Hosts
from .connections import AsyncTalk, Preparing, Rows, Talk
from .errors import FAILURES, bounded, store_error
from .queries import Statement
from .schema import PlainStatement, patience

T = TypeVar("T")


class BoundedConnection(Connection[tuple[Any, ...]]):
    """A connection for scripts, which waits for an answer no longer than ``timeout_s``."""

    timeout_s = 1.0

    def wait(self, gen: Generator[Any, Any, Any], interval: float = LOOK_IN_S, *_: Any, **__: Any) -> Any:
        """Drive the driver's generator to its end."""
        try:
            return super().wait(bounded(gen, self.timeout_s), min(interval, LOOK_IN_S, self.timeout_s))
        except psycopg.Error:
            if self.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise


class BoundedAsyncConnection(AsyncConnection[tuple[Any, ...]]):
    """The same for asyncio."""

    timeout_s = 1.0

    async def wait(self, gen: Generator[Any, Any, Any], interval: float = LOOK_IN_S, *_: Any, **__: Any) -> Any:
        """Drive the driver's generator to its end."""
        driven = bounded(gen, self.timeout_s)
        try:
            return await psycopg.waiting.wait_async(
                driven, self.pgconn.socket, interval=min(interval, LOOK_IN_S, self.timeout_s)
            )
        except BaseException:  # cancelled too
            if self.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise


class PostgresLinks:
    """How the servers of one address are connected to; see ``pools.Links``.

    Attributes:
        loop: the one of its connections, once there are any for asyncio.
    """

    server = "PostgreSQL"
    holders = "pg_locks and pg_stat_activity"

    def __init__(self, address: Address) -> None:
        self.address = address
        self.size = address.pool_size
        self.timeout_s = address.timeout_s
        self.has_other_hosts = address.hosts > 1
        self.preparing = Preparing(address.prepared)
        self._hosts = Hosts(address.conninfo)
        self.loop: asyncio.AbstractEventLoop | None = None

    def connect(self, timeout_s: float, step_s: float) -> Talk:
        """Make a connection for questions, each of which brings its own time."""
        return Talk(self.connection(timeout_s), self.preparing)

    async def connect_async(self, timeout_s: float, step_s: float) -> AsyncTalk:
        """Connect as ``connect`` does, for the running event loop."""
        talk = AsyncTalk(await self.async_connection(timeout_s), self.preparing)
        self.loop = asyncio.get_running_loop()
        return talk

    def error_of(self, error: Exception) -> StoreError:
        """Return the store's error for one of the driver's that ended a script."""
        meant = store_error(error, sent=True)
        return held_by_others(self) if isinstance(meant, Waited) else meant

    def connection(self, timeout_s: float) -> BoundedConnection:
        """Make a connection of the driver's, within that many seconds."""
        try:
            connection = BoundedConnection(self._hosts.connect(timeout_s))
            connection.autocommit = True
        except FAILURES as error:
            raise store_error(error, sent=False) from error
        connection.prepare_threshold = None  # scripts are run once
        return connection

    async def async_connection(self, timeout_s: float) -> BoundedAsyncConnection:
        """As ``connection``, for the running event loop."""
        try:
            async with asyncio.timeout(timeout_s):  # finding a host's address has no time-out of its own
                connection = BoundedAsyncConnection(await self._hosts.connect_async(timeout_s))
            try:
                await connection.set_autocommit(True)
            except BaseException:  # cancelled: the driver lets a busy loop go on there, though it asks nothing
                connection.pgconn.finish()
                raise
        except FAILURES as error:
            raise store_error(error, sent=False) from error
        connection.prepare_threshold = None
        return connection


def _is_alone(connection: BoundedConnection | BoundedAsyncConnection, step: Statement | PlainStatement) -> bool:
    """Whether a step of a script is a transaction by itself, which is told how long to wait for what others hold.

    It is told in the same one: a pooler may hand each transaction to another of its connections. What begins one tells
    it itself. A libpq that sends no two statements in one go (13 and older) waits as long as a step may take.
    """
    is_idle = connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
    return is_idle and not step.text.startswith("BEGIN") and psycopg.Pipeline.is_supported()


def _said(step: Statement | PlainStatement) -> tuple[str, Any]:
    return step.text, None if isinstance(step, PlainStatement) else step.params


class Pool(pools.Pool):
    """Connections for threads.

    Attributes:
        is_shared: whether who comes now would do better to travel with others: a thread never does.
    """

    is_shared = False

    def __init__(self, address: Address) -> None:
        self.address = address
        self.links = PostgresLinks(address)
        self._patience = patience(address)
        super().__init__(self.links)

    def ask_for(self, timeout_s: float, callers: int, statement: Statement) -> Rows:
        """As ``ask_one``, for so many callers."""
        rows: Rows = self.ask_one(timeout_s, statement)
        return rows

    def run_script(self, timeout_s: float, make: Callable[..., Exchange[T]], *args: object) -> T:
        """Run a script over a connection of its own; what was begun is rolled back if it fails."""
        connection = self.links.connection(self.address.timeout_s)
        connection.timeout_s = timeout_s

        def execute(step: Statement | PlainStatement) -> list[tuple[Any, ...]]:
            with connection.pipeline() if _is_alone(connection, step) else nullcontext() as together:
                if together is not None:
                    connection.execute(*self._patience, prepare=False)
                cursor = connection.execute(*_said(step), prepare=False)
            return cursor.fetchall() if cursor.description else []

        try:
            return drive_now(make(*args), execute)
        except FAILURES as error:
            raise self.links.error_of(error) from error
        finally:
            connection.pgconn.finish()


class AsyncPool(pools.AsyncPool):
    """Connections for the tasks of one event loop."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.links = PostgresLinks(address)
        self._asked = 0
        self._callers = 0
        self._patience = patience(address)
        super().__init__(self.links)

    @property
    def is_shared(self) -> bool:
        """Whether who comes now travels with others: some ask, or did together; or the loop is not known yet."""
        return self._asked > 0 or self._callers > 1 or self.links.loop is not asyncio.get_running_loop()

    async def ask_for(self, timeout_s: float, callers: int, statement: Statement) -> Rows:
        """As ``ask_one``, for so many callers; who comes meanwhile travels with others."""
        self._asked += 1
        self._callers = callers
        try:
            rows: Rows = await self.ask_one(timeout_s, statement)
            return rows
        finally:
            self._asked -= 1

    async def run_script(self, timeout_s: float, make: Callable[..., Exchange[T]], *args: object) -> T:
        """As ``Pool.run_script``."""
        connection = await self.links.async_connection(self.address.timeout_s)
        connection.timeout_s = timeout_s

        async def execute(step: Statement | PlainStatement) -> list[tuple[Any, ...]]:
            async with connection.pipeline() if _is_alone(connection, step) else nullcontext() as together:
                if together is not None:
                    await connection.execute(*self._patience, prepare=False)
                cursor = await connection.execute(*_said(step), prepare=False)
            return await cursor.fetchall() if cursor.description else []

        try:
            return await drive(make(*args), execute)
        except FAILURES as error:
            raise self.links.error_of(error) from error
        finally:
            connection.pgconn.finish()
