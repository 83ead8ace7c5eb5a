"""Connections to MariaDB or MySQL: made, set up and seen to be set up; each question is one packet with its answers.

Theory of operation. PyMySQL speaks for threads, asyncmy for event loops; of both only the few methods are used that
they have in common. What a connection is set to (isolation, strictness, how long it waits for locks) is set once and
read back: a proxy that loses it would let a commit rest on an old snapshot.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, TypeVar

import asyncmy
import pymysql
from pymysql.constants import CLIENT, SERVER_STATUS

from ...contract.drive import drive, drive_now
from ...errors import StoreError
from ..common.pools import lock_patience_s
from ..common.retry import Elsewhere, NotExecuted
from .address import Address
from .errors import FAILURES, NO_PRIMARY, store_error
from .statements import Packet, Rows

SQL_MODE = "STRICT_TRANS_TABLES"
ISOLATION = "READ-COMMITTED"
IDLE_TRANSACTION_MAX_S = 5
"""Seconds at most that a client may stop within a transaction, however long a packet may take; MariaDB only."""
IDLE_MAX_S = 30
"""Seconds after which MySQL, which cannot tell the two apart, closes a connection that asks nothing."""

L = TypeVar("L", "MySQLLink", "AsyncMySQLLink")
_AS_OTHERS = "completion_type = 0, sql_select_limit = 18446744073709551615, sql_big_selects = 1, sql_safe_updates = 0"
"""Where these are set otherwise, a commit begins a transaction or ends the connection, and statements leave rows out or
are refused. ``DEFAULT`` would be what the server is set to."""
_SETTINGS = "'tx_isolation', 'transaction_isolation', 'sql_mode', 'autocommit'"


def takes_writes(read_only: object) -> bool:
    """Whether a server is no replica, from its variable ``read_only``: a number, or a word in newer ones."""
    return str(read_only) in ("0", "OFF")


def setting_up(version: str, step_s: float, lock_s: float) -> Generator[Packet, Any, None]:
    """Set a new connection up.

    Args:
        version: what the server calls itself.
        step_s: seconds that a packet may take.
        lock_s: seconds that it may wait for what others hold.

    Raises:
        Elsewhere: the server takes no writes.
        NotExecuted: something between us and the server does not keep what is set.
    """
    # Statements are given up before the client gives up, so that what waited for a lock is surely not carried out;
    # and a client that stops within a transaction keeps its locks no longer than others would wait for them.
    # MySQL has no limit for that alone, so there a connection ends wherever it stops; the pool makes another one.
    idle_s = min(max(1, round(step_s)), IDLE_TRANSACTION_MAX_S)
    wait_s = max(1, int(lock_s * 0.8))
    limits = f"wait_timeout = {IDLE_MAX_S}"
    if "MariaDB" in version:
        limits = f"max_statement_time = {step_s * 0.8:.3f}, idle_transaction_timeout = {idle_s}"
    *_, kept, found = yield Packet(
        [
            f"SET SESSION {_AS_OTHERS}",
            f"SET SESSION sql_mode = '{SQL_MODE}', autocommit = 1",
            f"SET SESSION innodb_lock_wait_timeout = {wait_s}, lock_wait_timeout = {wait_s}",
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            f"SET SESSION {limits}",
            f"SHOW SESSION VARIABLES WHERE Variable_name IN ({_SETTINGS})",
            "SELECT @@global.read_only",
        ]
    )
    settings = {_word(name): _word(value) for name, value in kept}
    if (
        settings.pop("sql_mode", "") != SQL_MODE
        or settings.pop("autocommit", "") != "ON"
        or set(settings.values()) != {ISOLATION}
    ):
        raise NotExecuted(
            "what stands between this process and the database does not keep what a connection is set to; let it keep "
            "a server's connection for each of its clients, or name the server itself"
        )
    if not takes_writes(_word(found[0][0])):
        raise Elsewhere(NO_PRIMARY)


def _word(value: object) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)


class _Said:
    """What a connection of either kind knows of itself."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.generation = 0
        self._failed = False

    @property
    def version(self) -> str:
        """What the server calls itself."""
        return str(self.connection.get_server_info())


class MySQLLink(_Said):
    """A connection for threads; see ``pools.Link``."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self._poll = select.poll()
        self._poll.register(connection._sock, select.POLLIN)  # the driver does not say whether the server has gone

    @property
    def is_idle(self) -> bool:
        """Whether it waits for the next question, outside any transaction."""
        status = self.connection.server_status
        return not self._failed and self.connection.open and not status & SERVER_STATUS.SERVER_STATUS_IN_TRANS

    @property
    def is_whole(self) -> bool:
        """Whether the server has not closed it while it was idle: nothing else can be read then."""
        return self.connection.open and not self._poll.poll(0)

    def ask(self, packet: Packet, timeout_s: float) -> list[Rows]:
        """Return the rows of each statement; see ``pools.Link``."""
        self.connection._read_timeout = timeout_s  # the driver takes one when it connects, and reads it each time
        self._failed = True
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(";".join(packet.statements))
                answers = [cursor.fetchall()]
                while cursor.nextset():
                    answers.append(cursor.fetchall())
        except FAILURES as error:
            raise store_error(error, sent=packet.lasts) from error
        self._failed = False
        return answers

    def close(self) -> None:
        """Let go of the connection, in haste: the server notices."""
        self.connection._force_close()


class AsyncMySQLLink(_Said):
    """A connection of one event loop; see ``pools.AsyncLink``."""

    @property
    def is_idle(self) -> bool:
        """Whether it waits for the next question, outside any transaction."""
        return not self._failed and self.is_whole and not self.connection.get_transaction_status()

    @property
    def is_whole(self) -> bool:
        """Whether the server has not closed it while it was idle."""
        connection = self.connection  # to the driver one is connected until it asks over it
        return connection.connected and not connection._stream_broken

    async def ask(self, packet: Packet, timeout_s: float) -> list[Rows]:
        """As ``MySQLLink.ask``."""
        self._failed = True
        try:
            async with asyncio.timeout(timeout_s), self.connection.cursor() as cursor:
                await cursor.execute(";".join(packet.statements))
                answers = [await cursor.fetchall()]
                while await cursor.nextset():
                    answers.append(await cursor.fetchall())
        except FAILURES as error:
            raise store_error(error, sent=packet.lasts) from error
        self._failed = False
        return answers

    def when_free(self, call: Callable[[Any], None]) -> None:
        """Give it back at once: one whose caller has gone is closed."""
        call(self)

    def close(self) -> None:
        """Let go of the connection."""
        self.connection.close()


class MySQLLinks:
    """How the servers of one address are connected to; see ``pools.Links``."""

    server = "the database"
    holders = "SHOW FULL PROCESSLIST"

    def __init__(self, address: Address) -> None:
        self.address = address
        self.size = address.pool_size
        self.timeout_s = address.timeout_s
        self.has_other_hosts = len(address.hosts) > 1

    def connect(self, timeout_s: float, step_s: float) -> MySQLLink:
        """Connect to the first server that takes writes."""
        last: StoreError | None = None
        for host, port in self.address.hosts:
            try:
                options = self._options(host, port, timeout_s)
                link = MySQLLink(
                    pymysql.connect(**options, read_timeout=timeout_s, write_timeout=timeout_s, **self._tls())
                )
            except FAILURES as error:
                last = _connecting(error)
                continue
            try:
                drive_now(
                    setting_up(link.version, step_s, lock_patience_s(self.timeout_s, step_s)),
                    partial(link.ask, timeout_s=timeout_s),
                )
            except StoreError as error:
                link.close()
                last = error
                continue
            return link
        assert last is not None, "an address has a host"
        raise last

    async def connect_async(self, timeout_s: float, step_s: float) -> AsyncMySQLLink:
        """Connect as ``connect`` does, for the running event loop."""
        last: StoreError | None = None
        for host, port in self.address.hosts:
            try:
                async with asyncio.timeout(timeout_s):
                    connection = await asyncmy.connect(**self._options(host, port, timeout_s), ssl=self.address.tls)
            except FAILURES as error:
                last = _connecting(error)
                continue
            link = AsyncMySQLLink(connection)
            try:
                await drive(
                    setting_up(link.version, step_s, lock_patience_s(self.timeout_s, step_s)),
                    partial(link.ask, timeout_s=timeout_s),
                )
            except BaseException as error:
                link.close()
                if not isinstance(error, StoreError):
                    raise
                last = error
                continue
            return link
        assert last is not None, "an address has a host"
        raise last

    def _options(self, host: str, port: int, timeout_s: float) -> dict[str, Any]:
        address = self.address
        return {
            "host": host, "port": port, "unix_socket": address.socket, "user": address.user or None,
            "password": address.password, "database": address.database, "charset": "utf8mb4", "autocommit": True,
            "client_flag": CLIENT.MULTI_STATEMENTS | CLIENT.MULTI_RESULTS, "connect_timeout": max(1, round(timeout_s)),
        }  # fmt: skip

    def _tls(self) -> dict[str, Any]:
        tls = self.address.tls
        return {"ssl_disabled": True} if tls is None else {"ssl": tls}


def _connecting(error: BaseException) -> StoreError:
    return store_error(error, sent=False)
