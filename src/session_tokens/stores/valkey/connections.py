"""Connections of valkey-py or redis-py, each held by one exchange at a time, to the primary of the day.

An exchange sends its commands in one go and reads as many replies. Whatever disturbs it, a time-out or a cancelled
task too, closes the connection, so that no reply is ever left over for the next exchange.

An address may come to lead to another server, and a server may become a replica while connections to it stay open.
So each new connection asks which run of which server it leads to, and whether that is a primary. Each read carries a
write that changes nothing (``PERSIST`` of a key that never expires), which a replica refuses. Who is refused like that
closes this connection and all idle ones. Where a new connection leads to another run than those before, they are closed
too, what was remembered of records is forgotten, and a commit that was judged on the other run is not sent.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Protocol

from ...errors import StoreError, StoreUnavailable
from ..common.retry import Declined, Elsewhere
from .diagnosis import diagnosis
from .errors import (
    UNKNOWN_OUTCOME,
    is_driver_error,
    is_of_a_primary,
    is_of_another_role,
    is_refusal,
    not_a_primary,
    trouble,
)
from .keys import keys_of
from .rows import Reply

IDLE_MAX = 16
"""Connections kept for later exchanges."""
LOOK_AFTER_S = 0.05
"""A connection that lay idle for longer is looked at before it is used: its server may have gone meanwhile."""


class Moved(Exception):
    """A commit was not sent: the address leads to another server than the one on which it was judged."""


def _pack(words: Sequence[bytes]) -> bytes:
    return b"*%d\r\n%b" % (len(words), b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words]))


def _packer() -> Callable[[Sequence[bytes]], bytes]:
    """Return what packs words: the C code that the drivers' fast parsers bring along, else our own line."""
    for name in ("libvalkey", "hiredis"):
        try:
            packer: Callable[[tuple[bytes, ...]], bytes] = import_module(name).pack_command
        except (ImportError, AttributeError):
            continue
        return lambda words: packer(tuple(words))
    return _pack


pack = _packer()
"""Return a command as the server reads it."""


class _AsyncConnection(Protocol):
    """What is used of a connection of valkey-py or redis-py for asyncio."""

    socket_timeout: float | None
    socket_connect_timeout: float | None

    async def connect(self) -> None: ...
    async def send_packed_command(self, command: Any, check_health: bool = True) -> None: ...
    async def read_response(self, disable_decoding: bool = False) -> Any: ...
    async def can_read_destructive(self) -> bool: ...
    async def disconnect(self, nowait: bool = False) -> None: ...


class _BlockingConnection(Protocol):
    """What is used of a connection of valkey-py or redis-py."""

    socket_timeout: float | None
    socket_connect_timeout: float | None

    def connect(self) -> None: ...
    def send_packed_command(self, command: Any, check_health: bool = True) -> None: ...
    def read_response(self, disable_decoding: bool = False) -> Any: ...
    def can_read(self, timeout: float = 0) -> bool: ...
    def disconnect(self) -> None: ...


class Pool(Protocol):
    """Where a client keeps how its connections are made."""

    connection_class: Any
    connection_kwargs: Any


def fields_of(info: bytes) -> dict[str, str]:
    """Return what a reply to ``INFO`` says: name → text."""
    lines = info.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


_GREETING = pack([b"INFO", b"server"]) + pack([b"INFO", b"replication"])
_GREETING_REPLIES = 2

_Idle = tuple[Any, str, float]
"""A connection, the run that it leads to, and since when it is idle, in seconds."""


class _Connections:
    """What connections for asyncio and for threads have in common.

    Args:
        pool: the connection pool of a client; only how it makes connections is used.
        key: of the store, one that has no expiry.
        when_moved: called when a connection leads to another server run than those before.
        replicas: how many are to confirm each commit.
    """

    def __init__(self, pool: Pool, key: bytes, when_moved: Callable[[], None], replicas: int) -> None:
        self._pool = pool
        self._replicas = replicas
        self._was_followed = False
        self._probe = pack([b"PERSIST", key])
        self._keys = keys_of(key)
        self._when_moved = when_moved
        self._run = ""
        self._idle: list[_Idle] = []
        self._closed = False

    def _greeted(self, server: bytes, replication: bytes) -> str:
        """Return the run to which a new connection leads; what is known of another one is forgotten.

        Raises:
            StoreError: it leads to a Sentinel.
            Unsent: it leads to a replica.
        """
        told = fields_of(server)
        if "sentinel" in (told.get("redis_mode"), told.get("server_mode")):
            raise StoreError(
                "the address is that of a Sentinel, not of a server; give the primary's, which it tells: "
                "SENTINEL GET-PRIMARY-ADDR-BY-NAME (on Redis GET-MASTER-ADDR-BY-NAME)"
            )
        told_of_replicas = fields_of(replication)
        if told_of_replicas.get("role", "master") != "master":
            raise not_a_primary()
        self._was_followed = told_of_replicas.get("master_repl_offset", "0") != "0"
        run = told.get("run_id", "")
        if run != self._run:
            is_first, self._run = not self._run, run
            if not is_first:
                self._when_moved()
        return run

    def _never_followed(self) -> Declined:
        """Return the error for a primary that never had a replica, where replicas are to confirm.

        Its replication offset is 0, and ``WAIT`` for that counts a first replica before it has loaded anything.
        """
        return Declined(f"0 of {self._replicas} replicas have ever been there; nothing was written")

    def why_not_reached(self) -> str | None:
        """Ask the port what is wrong with how it was spoken to; takes up to three seconds."""
        tls = any(kind.__name__ == "SSLConnection" for kind in self._pool.connection_class.__mro__)
        return diagnosis(self._pool.connection_kwargs, wants_tls=tls)

    def _believe(self, run: str, *, is_read: bool) -> None:
        """Refuse answers of another server than the one to which the address leads by now."""
        if run != self._run:
            raise Elsewhere(_MOVED) if is_read else StoreUnavailable(f"{_MOVED}; {UNKNOWN_OUTCOME}")


_MOVED = "the address of the store came to lead to another server meanwhile"


class AsyncConnections(_Connections):
    """Connections for asyncio."""

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
            Unsent: nothing was carried out.
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
                if run == self._run and _leaves_nothing(error, replies, is_read=is_read):
                    self._idle.append((connection, run, time.monotonic()))
                else:
                    await connection.disconnect(nowait=True)
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

    async def _prove(self, connection: _AsyncConnection) -> None:
        """Read what became of the probe; raise unless the server is a primary."""
        try:
            await connection.read_response(disable_decoding=True)
        except Exception as error:
            if not is_of_a_primary(error):
                raise
            await self._greet(connection)  # it writes for nobody now; whether it is a primary it tells

    async def _greet(self, connection: _AsyncConnection) -> str:
        await connection.send_packed_command([_GREETING], check_health=False)
        server, replication = [await connection.read_response(disable_decoding=True) for _ in range(_GREETING_REPLIES)]
        return self._greeted(server, replication)

    async def _connection(self, timeout_s: float) -> tuple[_AsyncConnection, str]:
        while self._idle:
            connection: _AsyncConnection
            connection, run, since_s = self._idle.pop()
            if time.monotonic() - since_s < LOOK_AFTER_S or await _is_usable(connection):
                return connection, run
        connection = self._pool.connection_class(**self._pool.connection_kwargs)
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
        while self._idle:
            await self._idle.pop()[0].disconnect(nowait=True)

    async def close(self) -> None:
        """Close all connections; those in use follow when their exchange is over."""
        self._closed = True
        while self._idle:
            connection: _AsyncConnection = self._idle.pop()[0]
            connection.socket_connect_timeout = 1.0
            try:
                await connection.disconnect()
            except Exception as error:
                if not is_driver_error(error):
                    raise


def _leaves_nothing(error: BaseException, replies: int, *, is_read: bool) -> bool:
    """Whether no reply is left over after an error, and the connection is good for the next exchange."""
    return isinstance(error, Moved | Declined) or (
        replies == 1 and not is_read and is_refusal(error) and not is_of_another_role(error)
    )


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


class BlockingConnections(_Connections):
    """Connections for threads; each exchange has one to itself. A forked process makes its own."""

    def __init__(self, pool: Pool, key: bytes, when_moved: Callable[[], None], replicas: int, timeout_s: float) -> None:
        super().__init__(pool, key, when_moved, replicas)
        self._timeout_s = timeout_s
        self._process_id = os.getpid()

    def exchange(self, packed: bytes, replies: int, *, is_read: bool) -> list[Reply]:
        """Send packed commands and return their replies; see ``AsyncLines.exchange``."""
        sent, run = False, ""
        answers: list[Reply] = []
        connection: _BlockingConnection | None = None
        try:
            run_before = self._run
            connection, run = self._connection()
            if not is_read and run_before not in ("", run):
                raise Moved
            if self._replicas and not (is_read or self._was_followed):
                self._greet(connection)
                if not self._was_followed:
                    raise self._never_followed()
            sent = True
            connection.send_packed_command([packed + self._probe if is_read else packed], check_health=False)
            read = connection.read_response
            for _ in range(replies):
                answers.append(read(disable_decoding=True))  # what came before an error counts
            if is_read:
                self._prove(connection)
        except Exception as error:
            if connection is not None:
                if run == self._run and _leaves_nothing(error, replies, is_read=is_read):
                    self._idle.append((connection, run, time.monotonic()))
                else:
                    connection.disconnect()
            if is_of_another_role(error):
                self._drop_idle()
            if not is_driver_error(error):
                raise
            raise trouble(error, sent=sent, is_done=bool(answers) and not is_read, keys=self._keys) from error
        except BaseException:
            if connection is not None:
                connection.disconnect()
            raise
        if run == self._run and not self._closed and len(self._idle) < IDLE_MAX:
            self._idle.append((connection, run, time.monotonic()))
        else:
            connection.disconnect()
            self._believe(run, is_read=is_read)
        return answers

    def _prove(self, connection: _BlockingConnection) -> None:
        try:
            connection.read_response(disable_decoding=True)
        except Exception as error:
            if not is_of_a_primary(error):
                raise
            self._greet(connection)

    def _greet(self, connection: _BlockingConnection) -> str:
        connection.send_packed_command([_GREETING], check_health=False)
        server, replication = [connection.read_response(disable_decoding=True) for _ in range(_GREETING_REPLIES)]
        return self._greeted(server, replication)

    def _connection(self) -> tuple[_BlockingConnection, str]:
        if os.getpid() != self._process_id:  # the parent's connections; its replies are not for us
            self._idle, self._process_id = [], os.getpid()
        while True:
            try:
                connection: _BlockingConnection
                connection, run, since_s = self._idle.pop()
            except IndexError:
                break
            if time.monotonic() - since_s < LOOK_AFTER_S or self._is_usable(connection):
                return connection, run
        connection = self._pool.connection_class(**self._pool.connection_kwargs)
        connection.socket_timeout = connection.socket_connect_timeout = self._timeout_s
        run_before = self._run
        try:
            connection.connect()
            run = self._greet(connection)
        except BaseException:
            connection.disconnect()
            raise
        if run_before not in ("", run):
            self._drop_idle()
        return connection, run

    @staticmethod
    def _is_usable(connection: _BlockingConnection) -> bool:
        try:
            if not connection.can_read(timeout=0):
                return True
        except Exception as error:
            if not is_driver_error(error):
                raise
        connection.disconnect()
        return False

    def _drop_idle(self) -> None:
        try:
            while True:
                self._idle.pop()[0].disconnect()
        except IndexError:
            return

    def close(self) -> None:
        """Close all connections; those in use follow when their exchange is over."""
        self._closed = True
        self._drop_idle()
