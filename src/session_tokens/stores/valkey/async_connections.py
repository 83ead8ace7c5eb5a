"""Exchanges over connections of valkey-py or redis-py, for asyncio; see ``connections``."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Protocol

from ...contract.drive import drive
from ..common.retry import NotExecuted
from .connections import (
    GREETING,
    GREETING_REPLIES,
    IDLE_MAX,
    LOOK_AFTER_S,
    Connections,
    Moved,
    Steps,
    leaves_nothing,
    pack,
)
from .errors import LibraryLost, NotReached, is_driver_error, is_of_a_primary, is_of_another_role, trouble
from .rows import Reply


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

    async def ask(self, timeout_s: float, packed: bytes, replies: int, is_read: bool) -> list[Reply]:
        """As ``exchange``; a server that has lost the function library gets it again first.

        Raises:
            NotExecuted: nothing was carried out, for it had lost it.
        """
        try:
            return await self.exchange(packed, replies, timeout_s, is_read=is_read)
        except LibraryLost as lost:
            await self.carry_out(self._preparing(), timeout_s)
            raise NotExecuted(str(lost)) from lost

    async def carry_out(self, steps: Steps, timeout_s: float) -> None:
        """Send one command after another, each of which may be sent twice."""

        async def send(words: list[bytes]) -> Reply:
            (reply,) = await self.exchange(pack(words), 1, timeout_s, is_read=True)
            return reply

        await drive(steps, send)

    async def carry_out_first(self, steps: Steps) -> None:
        """As ``carry_out``, on a server never spoken to before: where it fails, all connections are closed.

        Raises:
            NotExecuted: it was not reached; the port was asked why.
        """
        try:
            await self.carry_out(steps, self._timeout_s)
        except NotReached as error:
            await self.close_all()
            why: str | None = await asyncio.to_thread(self.why_not_reached)
            raise NotExecuted(why or str(error)) from error
        except BaseException:
            await self.close_all()
            raise

    async def exchange(self, packed: bytes, replies: int, timeout_s: float, *, is_read: bool) -> list[Reply]:
        """Send packed commands and return their replies.

        Args:
            packed: the commands.
            replies: how many they are.
            timeout_s: seconds it may take.
            is_read: whether it may be sent twice; then the server must still be a primary when it has answered. Else
                the first command is a commit, and the others do not undo it.

        Raises:
            Moved: it is no read, and was not sent because the address leads elsewhere.
            NotExecuted: nothing was carried out.
            StoreUnavailable: it failed, and what was asked may have been carried out.
        """
        sent, run = False, ""
        answers: list[Reply] = []
        connection: _AsyncConnection | None = None
        try:
            async with asyncio.timeout(timeout_s):
                run_before = self._run
                connection, run = await self._connection(timeout_s)
                if not is_read and run_before not in ("", run):
                    raise Moved
                if self._replicas and not (is_read or self._was_followed):
                    await self._greet(connection)
                    if not self._was_followed:
                        raise self._never_followed()
                sent = True
                await connection.send_packed_command([packed + self._probe if is_read else packed], check_health=False)
                read = connection.read_response
                for _ in range(replies):
                    answers.append(await read(disable_decoding=True))  # what came before an error counts
                if is_read:
                    await self._prove(connection)
        except Exception as error:
            if connection is not None:
                await self._put_back(connection, run, is_whole=leaves_nothing(error, replies, is_read=is_read))
            if is_of_another_role(error):
                await self._drop_idle()
            if not is_driver_error(error):
                raise
            raise trouble(error, sent=sent, is_done=bool(answers) and not is_read, keys=self._keys) from error
        except BaseException:
            if connection is not None:
                await connection.disconnect(nowait=True)
            raise
        if run == self._run and not self._closed and len(self._idle) < IDLE_MAX:
            self._idle.append((connection, run, time.monotonic()))
        else:
            await connection.disconnect(nowait=True)
            self._believe(run, is_read=is_read)
        return answers

    async def _put_back(self, connection: _AsyncConnection, run: str, *, is_whole: bool) -> None:
        """Keep a connection after an error, or close it."""
        if is_whole and run == self._run:
            self._idle.append((connection, run, time.monotonic()))
        else:
            await connection.disconnect(nowait=True)

    async def _prove(self, connection: _AsyncConnection) -> None:
        """Read what became of the probe; raise unless the server is a primary."""
        try:
            await connection.read_response(disable_decoding=True)
        except Exception as error:
            if not is_of_a_primary(error):
                raise
            await self._greet(connection)  # it writes for nobody now; whether it is a primary it tells

    async def _greet(self, connection: _AsyncConnection) -> str:
        await connection.send_packed_command([GREETING], check_health=False)
        server, replication = [await connection.read_response(disable_decoding=True) for _ in range(GREETING_REPLIES)]
        return self._greeted(server, replication)

    async def _connection(self, timeout_s: float) -> tuple[_AsyncConnection, str]:
        connection: _AsyncConnection
        while self._idle:
            try:
                connection, run, since_s = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if time.monotonic() - since_s < LOOK_AFTER_S or await _is_usable(connection):
                return connection, run
        connection = self._new()
        connection.socket_timeout = None  # the exchange has a time-out as a whole
        connection.socket_connect_timeout = timeout_s
        run_before = self._run
        try:
            await connection.connect()
            run = await self._greet(connection)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        if run_before not in ("", run):
            await self._drop_idle()
        return connection, run

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
    except Exception as error:
        if not is_driver_error(error):
            raise
    await connection.disconnect(nowait=True)
    return False
