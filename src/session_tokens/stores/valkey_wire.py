"""Connections of valkey-py or redis-py, each held by one exchange at a time, and what their errors mean to us.

An exchange sends its commands in one go and reads as many replies. Whatever disturbs it, a time-out or a cancelled
task too, closes the connection, so that no reply is ever left over for the next exchange.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Protocol

from ..errors import StoreError, StoreUnavailable
from .outage import Declined, Unsent
from .valkey_codec import Reply

IDLE_MAX = 16
"""Connections kept for later exchanges."""
LOOK_AFTER_S = 0.05
"""A connection that lay idle for longer is looked at before it is used: its server may have gone meanwhile."""

_NOT_DONE = {
    "LOADING": "the server is loading its data; it will answer soon",
    "BUSYLOADING": "the server is loading its data; it will answer soon",
    "READONLY": "the server is a read-only replica; give the address of the primary",
    "MASTERDOWN": "the server is a replica that has lost its primary; give the address of the primary",
    "MISCONF": "the server refuses writes because it cannot save to disk; look at its log",
    "OOM": "the server is out of memory; give it more (maxmemory), or sweep",
    "OUTOFMEMORY": "the server is out of memory; give it more (maxmemory), or sweep",
    "NOAUTH": "the server wants a password; put user and password into the URL",
    "AUTHENTICATION": "the server refused user or password; correct the URL",
    "WRONGPASS": "the server refused user or password; correct the URL",
    "NOPERM": "the server's ACL forbids this user what the store needs; see deploy/valkey",
    "NOPERMISSION": "the server's ACL forbids this user what the store needs; see deploy/valkey",
    "MOVED": "the server belongs to a cluster and another node holds these keys; give the address of a single server",
    "ASK": "the server belongs to a cluster and is moving these keys; give the address of a single server",
    "CLUSTERDOWN": "the cluster is down",
    "CROSSSLOT": "the server belongs to a cluster; give the address of a single server",
    "NOREPLICAS": "the server has too few replicas to accept writes",
    "BUSY": "the server is held up by another script; it will answer later",
    "TRYAGAIN": "the server is moving keys; it will answer later",
    "MAXCLIENTS": "the server has no connection to spare; raise maxclients",
    "UNBLOCKED": "the server was demoted meanwhile; give the address of the primary",
}
"""First word of a server's error, or of the driver's name for it → what it means; nothing was carried out."""

_DECLINED = frozenset({"READONLY", "MISCONF", "OOM", "OUTOFMEMORY", "NOPERM", "NOPERMISSION", "NOREPLICAS"})
"""Those after which the server goes on answering others: reads, mostly."""


class LibraryLost(Unsent):
    """The server does not know our function library (any more); it is loaded again."""


def trouble(error: BaseException, *, sent: bool) -> StoreError:
    """Answer what an error of the driver or the server means.

    Args:
        sent: whether the commands may have reached the server.
    """
    if isinstance(error, StoreError):
        return error
    name = type(error).__name__.removesuffix("Error").upper()
    text = str(error)[:200]
    word = text.partition(" ")[0].rstrip(":").upper()
    if "function not found" in text.lower():
        return LibraryLost("the server lost the function library; it is being loaded again")
    for known in (name, word):
        if known in _NOT_DONE:
            return (Declined if known in _DECLINED else Unsent)(_NOT_DONE[known])
    if "max number of clients" in text:
        return Unsent(_NOT_DONE["MAXCLIENTS"])
    if is_refusal(error):
        return StoreUnavailable(f"the server refused a command of the store: {text}")
    if not sent:
        return Unsent(_not_reached(type(error).__name__, text))
    return StoreUnavailable(
        "the server did not answer in time or the connection broke; the outcome of a command is unknown, an "
        "idempotency key tells when it is sent again"
    )


def _not_reached(kind: str, text: str) -> str:
    """Answer why a server was not reached, for people who have only the store's URL to change."""
    distrust = text.partition("certificate verify failed: ")[2].partition(" (_ssl")[0].rstrip(".")
    if distrust:
        return f"the server's certificate is not trusted ({distrust}); {_remedy_of(distrust)}"
    if "[SSL" in text:
        return "the server and the store do not agree on TLS; is its TLS port named, and is TLS wanted (valkeys://)?"
    if "No such file" in text:
        return (
            "a file that the store's URL names is not there: the socket, or one of ssl_ca_certs, ssl_certfile, "
            "ssl_keyfile"
        )
    return f"the server cannot be reached ({kind}); is it running, is the address right, does it want TLS (valkeys://)?"


def _remedy_of(distrust: str) -> str:
    """Answer what to do about a certificate, by what OpenSSL says of it."""
    if "mismatch" in distrust.lower() or "not valid for" in distrust:
        return "name the host in the store's URL as the certificate does"
    if distrust.startswith("Missing "):  # from Python 3.13 on, which asks for what RFC 5280 asks of an authority
        return "the authority has to make the certificate anew with that extension; Python 3.13 and later demand it"
    if "expired" in distrust or "not yet valid" in distrust:
        return "the server needs a new certificate, or one of the two clocks is wrong"
    return "name the authority that signed it: ?ssl_ca_certs=FILE in the store's URL"


def is_refusal(error: BaseException) -> bool:
    """Whether the server itself answered with an error."""
    return any(kind.__name__ == "ResponseError" for kind in type(error).__mro__)


def _pack(words: Sequence[bytes]) -> bytes:
    return b"*%d\r\n%b" % (len(words), b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words]))


def _packer() -> Callable[[Sequence[bytes]], bytes]:
    """Answer what packs words: the C code that the drivers' fast parsers bring along, else our own line."""
    for name in ("libvalkey", "hiredis"):
        try:
            packer: Callable[[tuple[bytes, ...]], bytes] = import_module(name).pack_command
        except (ImportError, AttributeError):
            continue
        return lambda words: packer(tuple(words))
    return _pack


pack = _packer()
"""Answers a command as the server reads it."""


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


_Idle = tuple[Any, float]
"""A connection, and since when it is idle, in seconds."""


class AsyncLines:
    """Connections for asyncio.

    Args:
        pool: the connection pool of a client; only how it makes connections is used.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._idle: list[_Idle] = []
        self._closed = False

    async def exchange(self, packed: bytes, replies: int, timeout_s: float) -> list[Reply]:
        """Send packed commands and answer their replies.

        Raises:
            Unsent: nothing was carried out.
            StoreUnavailable: it failed, and what was asked may have been carried out.
        """
        sent = False
        connection: _AsyncConnection | None = None
        try:
            async with asyncio.timeout(timeout_s):
                connection = await self._connection(timeout_s)
                sent = True
                await connection.send_packed_command([packed], check_health=False)
                answers = [await connection.read_response(disable_decoding=True) for _ in range(replies)]
        except Exception as error:
            if connection is not None:
                if is_refusal(error) and replies == 1:
                    self._keep(connection)
                else:
                    await connection.disconnect(nowait=True)
            if not is_driver_error(error):
                raise
            raise trouble(error, sent=sent) from error
        except BaseException:
            if connection is not None:
                await connection.disconnect(nowait=True)
            raise
        if self._closed or len(self._idle) >= IDLE_MAX:
            await connection.disconnect(nowait=True)
        else:
            self._keep(connection)
        return answers

    def _keep(self, connection: _AsyncConnection) -> None:
        self._idle.append((connection, time.monotonic()))

    async def _connection(self, timeout_s: float) -> _AsyncConnection:
        while self._idle:
            connection: _AsyncConnection
            connection, since_s = self._idle.pop()
            if time.monotonic() - since_s < LOOK_AFTER_S or await _is_usable(connection):
                return connection
        connection = self._pool.connection_class(**self._pool.connection_kwargs)
        connection.socket_timeout = None  # the exchange has a time-out as a whole
        connection.socket_connect_timeout = timeout_s
        try:
            await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

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


def is_driver_error(error: BaseException) -> bool:
    """Whether a driver or the operating system raised it."""
    return isinstance(error, OSError | EOFError) or type(error).__module__.partition(".")[0] in ("valkey", "redis")


class BlockingLines:
    """Connections for threads; each exchange has one to itself. A forked process makes its own."""

    def __init__(self, pool: Pool, timeout_s: float) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._idle: list[_Idle] = []
        self._closed = False
        self._process_id = os.getpid()

    def exchange(self, packed: bytes, replies: int) -> list[Reply]:
        """Send packed commands and answer their replies; see ``AsyncLines.exchange``."""
        sent = False
        connection: _BlockingConnection | None = None
        try:
            connection = self._connection()
            sent = True
            connection.send_packed_command([packed], check_health=False)
            answers = [connection.read_response(disable_decoding=True) for _ in range(replies)]
        except Exception as error:
            if connection is not None:
                if is_refusal(error) and replies == 1:
                    self._idle.append((connection, time.monotonic()))
                else:
                    connection.disconnect()
            if not is_driver_error(error):
                raise
            raise trouble(error, sent=sent) from error
        except BaseException:
            if connection is not None:
                connection.disconnect()
            raise
        if self._closed or len(self._idle) >= IDLE_MAX:
            connection.disconnect()
        else:
            self._idle.append((connection, time.monotonic()))
        return answers

    def _connection(self) -> _BlockingConnection:
        if os.getpid() != self._process_id:  # the parent's connections; its replies are not for us
            self._idle, self._process_id = [], os.getpid()
        while True:
            try:
                connection: _BlockingConnection
                connection, since_s = self._idle.pop()
            except IndexError:
                break
            if time.monotonic() - since_s < LOOK_AFTER_S or self._is_usable(connection):
                return connection
        connection = self._pool.connection_class(**self._pool.connection_kwargs)
        connection.socket_timeout = connection.socket_connect_timeout = self._timeout_s
        try:
            connection.connect()
        except BaseException:
            connection.disconnect()
            raise
        return connection

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

    def close(self) -> None:
        """Close all connections; those in use follow when their exchange is over."""
        self._closed = True
        while self._idle:
            self._idle.pop()[0].disconnect()
