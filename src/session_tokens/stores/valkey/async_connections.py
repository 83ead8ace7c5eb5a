"""Exchanges over connections of valkey-py or redis-py, for asyncio; see ``connections``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from ...contract.drive import drive
from ...contract.threads import in_thread
from ...errors import StoreError
from ..common.retry import LONGEST_AFTER, NotExecuted, OnTheMove, pause_before_s
from .connections import (
    ASKED_AT_LEAST,
    IDLE_MAX,
    LOOK_AFTER_S,
    LOOKED_FOR,
    SHORTEST_S,
    TIME,
    Connections,
    Moved,
    NoTimeLeft,
    Steps,
    arrived,
    leaves_nothing,
)
from .errors import LibraryLost, NotReached, is_driver_error, is_of_a_primary, trouble
from .packing import milliseconds, pack
from .primaries import Question
from .rows import Reply
from .survey import surveying


class _AsyncConnection(Protocol):
    """What is used of a connection of valkey-py or redis-py for asyncio."""

    socket_timeout: float | None
    socket_connect_timeout: float | None

    async def connect(self) -> None: ...
    async def send_packed_command(self, command: Any, check_health: bool = True) -> None: ...
    async def read_response(self, disable_decoding: bool = False) -> Any: ...
    async def can_read_destructive(self) -> bool: ...
    async def disconnect(self, nowait: bool = False) -> None: ...


class AsyncConnections(Connections):
    """Connections for asyncio."""

    async def ask(self, timeout_s: float, packed: bytes, replies: int, probe: bytes) -> list[Reply]:
        """As ``exchange``; a server that has lost the function library gets it again first.

        Raises:
            OnTheMove: nothing was carried out, for it had lost it.
        """
        try:
            return await self.exchange(packed, replies, timeout_s, probe)
        except LibraryLost as lost:
            await self.carry_out(self._preparing(), timeout_s)
            raise OnTheMove(str(lost)) from lost

    async def carry_out(self, steps: Steps, timeout_s: float) -> None:
        """Send one command after another, each of which may be sent twice."""

        async def send(words: list[bytes]) -> Reply:
            return (await self.exchange(pack(words), 1, timeout_s, self.probe))[0]

        await drive(steps, send)

    async def carry_out_first(self, begin: Callable[[], Steps]) -> None:
        """As ``carry_out``, on a server never spoken to before: where it fails, all connections are closed.

        Args:
            begin: makes the steps, anew where the keys have moved to another server meanwhile.

        Raises:
            NotExecuted: it was not reached; the port was asked why.
        """
        retry, until_s = 0, time.monotonic() + self._timeout_s
        try:
            while True:
                try:
                    await self.carry_out(begin(), self._timeout_s)
                    return
                except (OnTheMove, LibraryLost):
                    if time.monotonic() > until_s:
                        raise
                await asyncio.sleep(pause_before_s(min(retry, LONGEST_AFTER)))
                retry += 1
        except NotExecuted as error:
            await self.close_all()
            lost = error if isinstance(error, NotReached) else error.__cause__  # of a Sentinel, who was asked first
            if not isinstance(lost, NotReached):
                raise
            ask = partial(self.why_not_reached, lost, error)
            raise await in_thread(ask) from lost
        except BaseException:
            await self.close_all()
            raise

    async def look_around(self) -> None:
        """Look at all servers that may be the primary one day, where they are known; if one is unfit, close all.

        Raises:
            StoreError: one cannot hold the store, or is replaced sooner than the store would wait for it.
        """
        try:
            await drive(surveying(self._primary), partial(self._ask_another, self._timeout_s))
        except BaseException:
            await self.close_all()
            raise

    async def exchange(self, packed: bytes, replies: int, timeout_s: float, probe: bytes = b"") -> list[Reply]:
        """Send packed commands and return their replies, and of a read what the probe told.

        Args:
            packed: the commands.
            replies: how many they are.
            timeout_s: seconds it may take.
            probe: ``self.probe`` or ``self.timed_probe`` for a read, which may be sent twice, and is answered if the
                server is a primary still. Empty for a commit, which the commands after the first do not undo.

        Raises:
            Moved: it is a commit, and was not sent because the address leads elsewhere.
            NotExecuted: nothing was carried out.
            StoreUnavailable: it failed, and what was asked may have been carried out.
        """
        sent, run = False, ""
        answers: list[Reply] = []
        connection: _AsyncConnection | None = None
        try:
            with self._deadlines.within(timeout_s):
                run_before = self.run
                connection, run = await self._connection(timeout_s)
                if not probe:
                    await self._insist(connection, run_before, run)
                sent = True
                await connection.send_packed_command([packed + probe], check_health=False)
                read = connection.read_response
                answers = [await read(disable_decoding=True)]
                while len(answers) < replies:
                    for reply in arrived(connection, replies - len(answers)):
                        if isinstance(reply, Exception):
                            raise reply
                        answers.append(reply)  # what came before an error counts
                    if len(answers) < replies:
                        answers.append(await read(disable_decoding=True))
                if probe:
                    try:
                        answers.append(await read(disable_decoding=True))
                    except Exception as error:
                        answers.append(await self._told_otherwise(connection, error))
        except Exception as error:
            await self._let_go(connection, run, error, is_whole=leaves_nothing(error, replies, probe))
            if not is_driver_error(error):
                raise
            raise trouble(error, sent=sent, is_done=bool(answers) and not probe, keys=self._keys) from error
        except BaseException:
            if connection is not None:
                await connection.disconnect(nowait=True)
            raise
        await self.give_back(connection, run)
        self._believe(run, probe)
        return answers

    async def give_back(self, connection: Any, run: str) -> None:
        """Keep a connection for a later exchange, or close it."""
        if run == self.run and not self._closed and len(self._idle) < IDLE_MAX:
            self._idle.append((connection, run, time.monotonic()))
            if self._closed:  # by another thread, since it was looked at
                await self._drop_idle()
        else:
            await connection.disconnect(nowait=True)

    async def _insist(self, connection: _AsyncConnection, run_before: str, run: str) -> None:
        """Return if a commit may be sent: to the run on which it was judged, and where replicas can confirm it."""
        if run_before not in ("", run):
            raise Moved
        if self._replicas and not self._was_followed:
            await self._greet(connection)
            if not self._was_followed:
                raise self._never_followed()

    async def _let_go(self, connection: _AsyncConnection | None, run: str, error: Exception, *, is_whole: bool) -> None:
        """Keep a connection after an error, or close it; all idle ones too, where the server may be no primary."""
        if connection is not None:
            if is_whole:
                await self.give_back(connection, run)
            else:
                await connection.disconnect(nowait=True)
        if self._is_led_astray(error):
            self._primary.led_astray(error)
            await self._drop_idle()

    async def _told_otherwise(self, connection: _AsyncConnection, error: Exception) -> Reply:
        """Return the answer of a probe that was refused, if a primary did so that may not write now; else raise."""
        if not is_of_a_primary(error):
            raise error
        await self._greet(connection)
        await connection.send_packed_command([TIME], check_health=False)
        return milliseconds(await connection.read_response(disable_decoding=True))

    async def _greet(self, connection: _AsyncConnection) -> str:
        await connection.send_packed_command([self._greeting], check_health=False)
        return self._greeted([await connection.read_response(disable_decoding=True) for _ in self._primary.greeting])

    async def has_moved(self, timeout_s: float) -> bool:
        """Whether the primary is not where the last connection led; where nobody tells in part of the time, it is."""
        until_s = time.monotonic() + timeout_s * LOOKED_FOR
        try:
            return await drive(self._primary.locating(), partial(self._ask_until, until_s)) != self._at
        except (StoreError, NoTimeLeft):
            return False

    async def _ask_until(self, until_s: float, question: Question) -> list[Reply]:
        left_s = until_s - time.monotonic()
        if left_s <= SHORTEST_S:
            raise NoTimeLeft
        return await self._ask_another(left_s, question)

    async def _greet_again(self, connection: _AsyncConnection) -> None:
        try:
            await self._greet(connection)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    async def _ask_another(self, timeout_s: float, question: Question) -> list[Reply]:
        """Ask another server than the primary something, over a connection of its own.

        Raises:
            StoreError: it did not answer, or with an error.
        """
        connection: _AsyncConnection = self._new(question.options)
        limit_s = min(timeout_s, self._timeout_s / ASKED_AT_LEAST)
        connection.socket_timeout = connection.socket_connect_timeout = limit_s
        try:
            await connection.connect()
            await connection.send_packed_command([question.packed], check_health=False)
            return [await connection.read_response(disable_decoding=True) for _ in range(question.replies)]
        except Exception as error:
            if not is_driver_error(error):
                raise
            meant = trouble(error, sent=False, keys=self._keys)
            if isinstance(meant, NotReached):
                meant.options = question.options
            raise meant from error
        finally:
            await connection.disconnect(nowait=True)

    async def _connection(self, timeout_s: float) -> tuple[_AsyncConnection, str]:
        connection: _AsyncConnection
        self._owned.look(self._taken_idle)
        now_s = time.monotonic()
        if now_s > self._primary.ask_at_s and await self.has_moved(timeout_s):
            await self._drop_idle()
        while self._idle:
            try:
                connection, run, since_s = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if now_s - since_s < LOOK_AFTER_S:
                return connection, run  # all of the time is left
            if await _is_usable(connection):
                if now_s - since_s > self._primary.trusted_s:
                    await self._greet_again(connection)
                return connection, run  # the exchange has a deadline
        self._at = await drive(self._primary.locating(), partial(self._ask_another, timeout_s))
        connection = self._new(self._at)
        connection.socket_timeout = None  # the exchange has a time-out as a whole
        connection.socket_connect_timeout = timeout_s
        run_before = self.run
        try:
            await connection.connect()
            run = await self._greet(connection)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        if run_before not in ("", run):
            await self._drop_idle()
        return connection, run  # the exchange has a deadline

    async def take(self) -> _AsyncConnection:
        """Return a new connection to the primary, for somebody who closes it."""
        return (await self._connection(self._timeout_s))[0]

    async def _drop_idle(self) -> None:
        for connection, _, _ in self._taken_idle():
            await connection.disconnect(nowait=True)

    async def close_all(self) -> None:
        """Close all connections; those in use follow when their exchange is over."""
        self._closed = True
        for connection, _, _ in self._taken_idle():
            connection.socket_connect_timeout = 1.0
            try:
                await connection.disconnect()
            except Exception as error:
                if not is_driver_error(error):
                    raise


async def _is_usable(connection: _AsyncConnection) -> bool:
    """Whether a connection that lay idle is still open and has nothing left over."""
    try:
        if not await connection.can_read_destructive():
            return True
    except BaseException as error:
        await connection.disconnect(nowait=True)
        if not is_driver_error(error):
            raise
        return False
    await connection.disconnect(nowait=True)
    return False
