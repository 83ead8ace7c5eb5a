"""Connections to PostgreSQL: made when they are needed, kept while they are whole, each answer bounded in time.

Theory of operation. A caller takes an idle connection, the one used last first, or makes one; at most ``pool_size``
are out at once. Nothing runs in the background: whoever finds the server gone hears so at once, and whoever comes when
it is back connects anew. An idle connection on which something can be read has been closed by the server, and is not
used: so a restart of the server does not fail the next command. A connection whose caller was cancelled or timed out
is closed, because an answer may still be under way on it: it could only reach the wrong caller.
(``psycopg_pool`` fails callers only after its own time-out and reconnects in growing intervals.)
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
from collections.abc import Generator
from typing import Any, Generic, TypeVar

import psycopg
from psycopg import AsyncConnection, Connection

from ..errors import StoreUnavailable
from .outage import Unsent
from .postgres_address import Address
from .postgres_wire import bounded

PREPARE_THRESHOLD = 5
LOOK_IN_S = 0.1
"""How often a waiting driver looks whether its time is over."""


class BoundedConnection(Connection[tuple[Any, ...]]):
    """A connection that waits for an answer no longer than ``timeout_s``."""

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


C = TypeVar("C", BoundedConnection, BoundedAsyncConnection)


class _Idle(Generic[C]):
    """The idle connections of one process; those of the process that it was forked from are not its own."""

    def __init__(self) -> None:
        self._connections: list[C] = []
        self._inherited: list[C] = []
        self._pid = os.getpid()

    def pop(self) -> C | None:
        """Answer the connection that was used last and is whole, if there is one."""
        if self._pid != os.getpid():
            # Kept, not closed: closing would tell the server to end the parent's connections.
            self._inherited += self._connections
            self._connections, self._pid = [], os.getpid()
        while self._connections:
            connection = self._connections.pop()
            if not _is_stale(connection):
                return connection
            connection.pgconn.finish()
        return None

    def push(self, connection: C) -> bool:
        """Keep a connection for the next caller; answer whether it is whole."""
        if connection.pgconn.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            connection.pgconn.finish()
            return False
        self._connections.append(connection)
        return True

    def close(self) -> None:
        """Close all of them."""
        for connection in self._connections:
            connection.pgconn.finish()
        self._connections.clear()


def _is_stale(connection: BoundedConnection | BoundedAsyncConnection) -> bool:
    """Whether the server has closed an idle connection: nothing else can be read from one."""
    if connection.pgconn.status != psycopg.pq.ConnStatus.OK:
        return True
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))


def _connect_options(address: Address, timeout_s: float) -> dict[str, Any]:
    return {
        "autocommit": True,
        "prepare_threshold": PREPARE_THRESHOLD if address.prepared else None,
        "connect_timeout": max(1, round(timeout_s)),
    }


def _closed() -> StoreUnavailable:
    return StoreUnavailable("the store is closed; open it again")


def _busy(address: Address) -> Unsent:
    return Unsent(
        f"all {address.pool_size} connections to PostgreSQL were in use for {address.timeout_s:g} s; "
        "set a larger pool_size in the store's URL"
    )


class Pool:
    """Connections for threads.

    Raises:
        StoreUnavailable: by ``take``, when all are in use for the length of the time-out, or after ``close``.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._idle: _Idle[BoundedConnection] = _Idle()
        self._free = threading.BoundedSemaphore(address.pool_size)
        self._lock = threading.Lock()
        self._is_closed = False

    def connect(self, timeout_s: float) -> BoundedConnection:
        """Make a connection of its own, outside the pool."""
        return BoundedConnection.connect(self.address.conninfo, **_connect_options(self.address, timeout_s))

    def take(self, timeout_s: float) -> BoundedConnection:
        """Answer a whole connection that answers within that many seconds; give it back."""
        if self._is_closed:
            raise _closed()
        if not self._free.acquire(timeout=timeout_s):
            raise _busy(self.address)
        try:
            with self._lock:
                connection = self._idle.pop()
            connection = connection or self.connect(timeout_s)
            connection.timeout_s = timeout_s
            return connection
        except BaseException:
            self._free.release()
            raise

    def give(self, connection: BoundedConnection) -> None:
        """Take back a connection; a broken one is closed."""
        with self._lock:
            self._idle.push(connection)
            if self._is_closed:
                self._idle.close()
        self._free.release()

    def close(self) -> None:
        """Close all idle connections; those in use are closed when they come back."""
        self._is_closed = True
        with self._lock:
            self._idle.close()


class AsyncPool:
    """Connections for the tasks of one event loop."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._idle: _Idle[BoundedAsyncConnection] = _Idle()
        self._free = asyncio.Semaphore(address.pool_size)
        self._is_closed = False

    async def connect(self, timeout_s: float) -> BoundedAsyncConnection:
        """Make a connection of its own, outside the pool."""
        async with asyncio.timeout(timeout_s):
            return await BoundedAsyncConnection.connect(
                self.address.conninfo, **_connect_options(self.address, timeout_s)
            )

    async def take(self, timeout_s: float) -> BoundedAsyncConnection:
        """Answer a whole connection that answers within that many seconds; give it back."""
        if self._is_closed:
            raise _closed()
        if self._free.locked():
            try:
                async with asyncio.timeout(timeout_s):
                    await self._free.acquire()
            except TimeoutError:
                raise _busy(self.address) from None
        else:
            await self._free.acquire()
        try:
            connection = self._idle.pop() or await self.connect(timeout_s)
            connection.timeout_s = timeout_s
            return connection
        except BaseException:
            self._free.release()
            raise

    def give(self, connection: BoundedAsyncConnection) -> None:
        """Take back a connection; a broken one is closed."""
        self._idle.push(connection)
        if self._is_closed:
            self._idle.close()
        self._free.release()

    def close(self) -> None:
        """Close all idle connections; those in use are closed when they come back."""
        self._is_closed = True
        self._idle.close()
