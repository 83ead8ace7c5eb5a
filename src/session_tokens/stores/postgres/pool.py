"""Connections to PostgreSQL: made when they are needed, kept while they are whole, each answer bounded in time.

Theory of operation. A caller takes an idle connection, the one used last first, or makes one; at most ``pool_size``
are out at once. Nothing runs in the background: whoever finds the server gone hears so at once, and whoever comes when
it is back connects anew. An idle connection on which something can be read has been closed by the server, and is not
used: so a restart of the server does not fail the next command. What is asked, and what becomes of an answer whose
caller has gone, is ``connections``'s.
(``psycopg_pool`` fails callers only after its own time-out and reconnects in growing intervals.)
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Generator
from typing import Any, Generic, TypeVar

import psycopg
from psycopg import AsyncConnection, Connection

from ...contract.drive import drive, drive_now
from ...errors import StoreUnavailable
from ..common.retry import NotExecuted
from .address import Address
from .connections import AsyncTalk, Rows, Talk
from .errors import FAILURES, bounded, is_of_another_role, is_unprepared, store_error
from .queries import Statement
from .schema import Command, Script

log = logging.getLogger("session_tokens.stores")

CONNECTING_MAX = 2
"""Connections that one pool makes at once."""
LOOK_IN_S = 0.1
"""How often a waiting driver looks whether its time is over."""


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


T = TypeVar("T", Talk, AsyncTalk)


class _Idle(Generic[T]):
    """The idle connections of one process; those of the process that it was forked from are not its own.

    Safe for threads; as a connection comes and goes by one operation on a list, that needs no lock.

    Attributes:
        made: how many connections there are, those in use too.
        generation: how often the server turned out not to be the primary.
    """

    def __init__(self) -> None:
        self.made = self.generation = 0
        self._talks: list[T] = []
        self._inherited: list[T] = []
        self._pid = os.getpid()
        self._counting = threading.Lock()

    def pop(self) -> T | None:
        """Return the connection that was used last and is whole, if there is one."""
        if self._pid != os.getpid():
            # Kept, not closed: closing would tell the server to end the parent's connections.
            self._inherited += self._talks
            self._talks, self._pid, self.made = [], os.getpid(), 0
        try:
            while True:
                talk = self._talks.pop()
                if talk.is_whole:
                    return talk
                self._drop(talk)
        except IndexError:
            return None

    def push(self, talk: T) -> None:
        """Keep a connection for the next caller, if it is in order and leads to the primary as far as is known."""
        if talk.is_idle and talk.generation == self.generation:
            self._talks.append(talk)
        else:
            self._drop(talk)

    def count(self, talk: T) -> T:
        """Count a connection that was made."""
        talk.generation = self.generation
        with self._counting:
            self.made += 1
        return talk

    def turn(self, talk: T) -> None:
        """Close the idle connections, and those in use when they come back: where this one leads is no primary."""
        if talk.generation == self.generation:
            self.generation += 1
            self.close()

    def _drop(self, talk: T) -> None:
        with self._counting:
            self.made -= 1
        talk.close()

    def close(self) -> None:
        """Close all of them."""
        try:
            while True:
                self._drop(self._talks.pop())
        except IndexError:
            return


def _connect_options(address: Address, timeout_s: float) -> dict[str, Any]:
    return {
        "autocommit": True,
        "prepare_threshold": None,  # scripts are run once
        "connect_timeout": max(1, round(timeout_s)),
    }


def _params_of(step: Statement | Command) -> Any:
    return None if isinstance(step, Command) else step.params


def _closed() -> StoreUnavailable:
    return StoreUnavailable("the store is closed; open it again")


def _busy(address: Address) -> NotExecuted:
    return NotExecuted(
        f"all {address.pool_size} connections to PostgreSQL were in use for {address.timeout_s:g} s; "
        "set a larger pool_size in the store's URL"
    )


class _Prepared:
    """Whether statements are prepared: until a pooler before the server turns out to know none."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.prepared = address.prepared

    def _turns_out_unprepared(self, error: Exception) -> bool:
        """Whether a pooler knows no prepared statements: then none are used from now on.

        The question was not carried out. Others may have been asked in the same way meanwhile; each is told so.
        """
        if not is_unprepared(error):
            return False
        if self.prepared:
            log.warning("a pooler before PostgreSQL knows no prepared statements; going on without them")
        self.prepared = False
        return True


class _Waiter:
    """A thread that waits for a connection, or for leave to make one."""

    __slots__ = ("called", "talk")

    def __init__(self) -> None:
        self.called = threading.Event()
        self.talk: Talk | None = None


class Pool(_Prepared):
    """Connections for threads.

    Who waits longest is served first: nobody who comes later takes a connection away from one who waits. Few are made
    at once: to those who wait, one that comes back is worth more than a server busy with new ones.

    Raises:
        StoreUnavailable: by ``take``, when all are in use for the length of the time-out, or after ``close_all``.

    Attributes:
        is_shared: whether who comes now would do better to travel with others: a thread never does.
    """

    is_shared = False

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._idle: _Idle[Talk] = _Idle()
        self._waiters: deque[_Waiter] = deque()
        self._lock = threading.Lock()
        self._connecting = 0
        self._is_closed = False

    def ask(self, timeout_s: float, statement: Statement) -> Rows:
        """Return a statement's rows.

        Raises:
            StoreError: the server said no, or nothing in time.
        """
        try:
            talk = self.take(timeout_s)
        except FAILURES as error:
            raise store_error(error, sent=False) from error
        prepared = self.prepared
        try:
            try:
                return talk.ask(statement, timeout_s, prepare=prepared)
            except FAILURES as error:
                if not (prepared and self._turns_out_unprepared(error)):
                    raise
            return talk.ask(statement, timeout_s, prepare=False)
        except FAILURES as error:
            if is_of_another_role(error):
                self.leave(talk)
            raise store_error(error, sent=True) from error
        finally:
            self.give(talk)

    ask_alone = ask

    def run_script(self, script: Script, timeout_s: float) -> object:
        """Run a script over a connection of its own; what was begun is rolled back if it fails."""
        sent = False
        try:
            connection = self.connect(self.address.timeout_s)
            connection.timeout_s, sent = timeout_s, True

            def execute(step: Statement | Command) -> list[tuple[Any, ...]]:
                cursor = connection.execute(step.text, _params_of(step), prepare=False)
                return cursor.fetchall() if cursor.description else []

            try:
                return drive_now(script, execute)
            finally:
                connection.pgconn.finish()
        except FAILURES as error:
            raise store_error(error, sent=sent) from error

    def connect(self, timeout_s: float) -> BoundedConnection:
        """Make a connection of its own, outside the pool."""
        return BoundedConnection.connect(self.address.conninfo, **_connect_options(self.address, timeout_s))

    def take(self, timeout_s: float) -> Talk:
        """Return a whole connection; give it back."""
        talk = None if self._waiters else self._idle.pop()
        if self._is_closed:
            if talk is not None:
                talk.close()
            raise _closed()
        return talk or self._waited_for(timeout_s) or self._made(timeout_s)

    def _waited_for(self, timeout_s: float) -> Talk | None:
        """Return a connection that came back, or none with leave to make one."""
        waiter = _Waiter()
        with self._lock:
            self._waiters.append(waiter)
            self._serve()
        try:
            waiter.called.wait(timeout_s)
        except BaseException:  # interrupted
            self._leave(waiter)
            raise
        if self._is_closed or not waiter.called.is_set():
            self._leave(waiter)
            raise _closed() if self._is_closed else _busy(self.address)
        return waiter.talk

    def _leave(self, waiter: _Waiter) -> None:
        """Let a thread go that waits no longer; what it was given meanwhile is for the next."""
        with self._lock:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif waiter.talk is None:
                self._connecting -= 1
        if waiter.talk is not None:
            self.give(waiter.talk)
        else:
            with self._lock:
                self._serve()

    def _serve(self) -> None:
        """Call those for whom there is a connection, or leave to make one; the lock is held."""
        while self._waiters and not self._is_closed:
            talk = self._idle.pop()
            if talk is None:
                if self._connecting >= min(CONNECTING_MAX, self.address.pool_size - self._idle.made):
                    return
                self._connecting += 1
            waiter = self._waiters.popleft()
            waiter.talk = talk
            waiter.called.set()

    def _made(self, timeout_s: float) -> Talk:
        try:
            return self._idle.count(Talk(self.connect(timeout_s)))
        finally:
            with self._lock:
                self._connecting -= 1
                self._serve()

    def leave(self, talk: Talk) -> None:
        """Let go of all connections made so far; this one, which its caller still has, leads to no primary."""
        self._idle.turn(talk)

    def give(self, talk: Talk) -> None:
        """Take back a connection; a broken one is closed."""
        self._idle.push(talk)
        if self._is_closed:
            self._idle.close()
        elif self._waiters:
            with self._lock:
                self._serve()

    def close_all(self) -> None:
        """Close all idle connections; those in use are closed when they come back."""
        with self._lock:
            self._is_closed = True
            self._idle.close()
            for waiter in self._waiters:
                waiter.called.set()  # it takes itself away


class AsyncPool(_Prepared):
    """Connections for the tasks of one event loop.

    Attributes:
        loop: the one of its connections, once there are any.
    """

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self.loop: asyncio.AbstractEventLoop | None = None
        self._idle: _Idle[AsyncTalk] = _Idle()
        self._someone_asks = False
        self._free = asyncio.Semaphore(address.pool_size)
        self._is_closed = False

    @property
    def is_shared(self) -> bool:
        """Whether who comes now travels with others: someone asks alone, or the loop is not known yet."""
        return self._someone_asks or self.loop is not asyncio.get_running_loop()

    async def ask(self, timeout_s: float, statement: Statement) -> Rows:
        """As ``Pool.ask``."""
        try:
            talk = await self.take(timeout_s)
        except FAILURES as error:
            raise store_error(error, sent=False) from error
        prepared = self.prepared
        try:
            return await talk.ask(statement, timeout_s, prepare=prepared)
        except FAILURES as error:
            if is_of_another_role(error):
                self.leave(talk)
            if not (prepared and self._turns_out_unprepared(error)):
                raise store_error(error, sent=True) from error
        return await self.ask(timeout_s, statement)

    async def ask_alone(self, timeout_s: float, statement: Statement) -> Rows:
        """As ``ask``; who comes meanwhile travels with others."""
        self._someone_asks = True
        try:
            return await self.ask(timeout_s, statement)
        finally:
            self._someone_asks = False

    async def run_script(self, script: Script, timeout_s: float) -> object:
        """As ``Pool.run_script``."""
        sent = False
        try:
            connection = await self.connect(self.address.timeout_s)
            connection.timeout_s, sent = timeout_s, True

            async def execute(step: Statement | Command) -> list[tuple[Any, ...]]:
                cursor = await connection.execute(step.text, _params_of(step), prepare=False)
                return await cursor.fetchall() if cursor.description else []

            try:
                return await drive(script, execute)
            finally:
                connection.pgconn.finish()
        except FAILURES as error:
            raise store_error(error, sent=sent) from error

    async def connect(self, timeout_s: float) -> BoundedAsyncConnection:
        """Make a connection of its own, outside the pool."""
        async with asyncio.timeout(timeout_s * self.address.hosts):
            return await BoundedAsyncConnection.connect(
                self.address.conninfo, **_connect_options(self.address, timeout_s)
            )

    async def take(self, timeout_s: float) -> AsyncTalk:
        """Return a whole connection; ask it at once: it comes back by itself when it has answered."""
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
            return self._idle.pop() or await self._made(timeout_s)
        except BaseException:
            self._free.release()
            raise

    async def _made(self, timeout_s: float) -> AsyncTalk:
        talk = AsyncTalk(await self.connect(timeout_s), self._give)
        self.loop = asyncio.get_running_loop()
        return self._idle.count(talk)

    def leave(self, talk: AsyncTalk) -> None:
        """Let go of all connections made so far: this one leads to no primary."""
        self._idle.turn(talk)

    def _give(self, talk: AsyncTalk) -> None:
        self._idle.push(talk)
        self._free.release()

    async def close_all(self) -> None:
        """Wait for the answers that are under way, each of which has its time-out, and close all connections."""
        self._is_closed = True
        for _ in range(self.address.pool_size):
            await self._free.acquire()
        self._idle.close()
        for _ in range(self.address.pool_size):
            self._free.release()
