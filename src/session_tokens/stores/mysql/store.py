"""The store in MariaDB or MySQL: what its server is asked, for the two shells of ``common.server_store``.

Theory of operation. A read is one packet (``queries``), a commit two packets in one transaction that takes locks,
compares stamps and writes (``commit``). The store keeps the server's clock.

Durability: a command is answered after its commit is in the server's log (``innodb_flush_log_at_trx_commit`` is 1 by
default, and the store does not touch it). A fail-over can lose what the server itself can lose: with asynchronous
replicas the last commits. Locks are those of one server: where several take writes (Galera), all processes must name
the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...contract.batch import Batch
from ...contract.changes import Changes
from ...contract.event_log import LogRead
from ...contract.optimistic import Commit
from ...contract.queries import Query
from ...crypto.key_file import given_keyring
from ...crypto.minting import Pepper, PepperKeyring
from ...errors import InvalidInput
from ...events import Place
from ..common.async_server_store import AsyncServerStore
from ..common.backend import Backend
from ..common.findings import Finding, Progress
from ..common.kinds import Kind
from ..common.pools import Exchange
from ..common.seen_parts import SeenParts
from ..common.server_store import ServerStore
from ..common.sql_upkeep import Rows, SqlUpkeep, Words
from .address import Address, address_of

try:
    from .check import checking
    from .commit import BEGIN, Writing, committing
    from .connections import MySQLLinks
    from .event_log import clearing_events, reading_events, trimming_events
    from .queries import Asker
    from .rows import Decoder, selected
    from .schema import looking, migrating, preparing
    from .statements import NOW, Packet, literal, plain
except ImportError as error:
    raise InvalidInput(
        f"a store in MariaDB or MySQL needs its drivers ({error}); install them: pip install 'session-tokens[mysql]'"
    ) from error


class MySQLBackend(SqlUpkeep, Backend):
    """What a server is asked, and what its answers mean."""

    words = Words(now=NOW, begin=BEGIN, put_new="INSERT IGNORE INTO {}", quote="`")

    def __init__(self, address: Address, keyring: PepperKeyring) -> None:
        super().__init__(MySQLLinks(address), keyring)
        self.prefix = address.table_prefix
        self.address = address
        self._decoder = Decoder(keyring, self.clock, self.unreadables)
        self.record_cache: SeenParts = self._decoder.seen
        self._asker = Asker(self.prefix, self._decoder)

    def asking(self, text: str, *values: object, lasts: bool = False) -> Exchange[Rows]:
        """Ask one statement; return its rows."""
        answer: Sequence[Rows] = yield Packet([text % tuple(map(literal, values)) if values else text], lasts)
        return answer[0]

    def selected(self, kind: Kind, letter: str) -> str:
        """Return the columns of a record as they stand in a ``SELECT``."""
        return selected(kind, letter)

    def read(self, kind: Kind, row: Sequence[Any]) -> Any:
        """Return the record in a row."""
        return self._decoder.record(kind, tuple(row))[0]

    def columns_in(self, row: Sequence[Any]) -> Sequence[Any]:
        """Return what a row says, its MAC and stamp with it."""
        return [self.plain(column) for column in row]

    def kept(self, text: str) -> bytes:
        """Return text as it comes in rows."""
        return text.encode("utf-8", "surrogatepass")

    def plain(self, value: Any) -> Any:
        """Return a value in a row as it was given."""
        return plain(value)

    def locking_all(self) -> Exchange[None]:
        """Wait until nobody else commits."""
        yield Packet([f"SELECT COUNT(*) FROM {self.prefix}slots FOR UPDATE"])

    def writing(self, changes: Changes) -> Exchange[None]:
        """Write changes, within a transaction in which everything is locked."""
        yield Packet(list(Writing(self.prefix, self.keyring).statements(changes)))

    def clearing_events(self) -> Exchange[None]:
        """Delete all events within a transaction, and note up to where."""
        yield Packet(list(clearing_events(self.prefix)))

    def fetch(self, queries: Sequence[Query]) -> Exchange[Batch]:
        """Return the results of queries as of one instant."""
        return self._asker.fetch(queries)

    def commit(self, commits: Sequence[Commit]) -> Exchange[Sequence[bool | Exception]]:
        """Write each command whole or not at all."""
        return committing(self.prefix, self.keyring, commits, self._decoder.seen)

    def prepare(self) -> Exchange[None]:
        """Make the tables if there are none and the user may; see that they and the peppers are the right ones."""
        return preparing(self)

    def is_there(self) -> Exchange[bool]:
        """Return whether the database holds the tables."""
        return looking(self)

    def migrate(self, grant_to: str | None) -> Exchange[list[int]]:
        """Bring the tables up to this version."""
        if grant_to is not None:
            raise InvalidInput(
                "in MariaDB and MySQL grants are given by the administrator; see docs/reference/stores.md"
            )
        return migrating(self)

    def read_events(self, after: Place, limit: int) -> Exchange[LogRead]:
        """Return events that stand after a place."""
        return reading_events(self.prefix, self.keyring, self.unreadables, after, limit)

    def trim_events(self, keep: int) -> Exchange[int]:
        """Take the oldest events away."""
        return trimming_events(self.prefix, keep)

    def check(self, fix: bool, progress: Progress | None) -> Exchange[Sequence[Finding]]:
        """Look at every record, and at the tables."""
        return checking(self, fix, progress)


async def open_mysql(
    url: str, *, pepper: Pepper | None = None, space: str = "", sealed: bool | None = None
) -> AsyncServerStore:
    """Open the store in MariaDB or MySQL that a URL names, for asyncio; make its tables if there are none.

    Args:
        url: see ``address.address_of``.
        pepper: at least 32 bytes, or key id → bytes of which the first is the current one. It is kept apart from the
            database: whoever holds only one of them can do nothing.
        space: a name space beside the main one: tables of its own.
        sealed: whether a new store seals values; ``None``: as it was made, a new one in clear.

    Raises:
        InvalidInput: no pepper, or one that rows need is missing or another one, or a URL that can never be right.
        StoreUnavailable: the server cannot be reached in time, or takes no writes.
        StoreError: the tables are not there and the user may not make them, or they are of another version.
    """
    store = AsyncServerStore(MySQLBackend(address_of(url, space), given_keyring(pepper, "MariaDB and MySQL", sealed)))
    await store.open()
    return store


def open_mysql_blocking(
    url: str, *, pepper: Pepper | None = None, space: str = "", sealed: bool | None = None
) -> ServerStore:
    """Open a store as ``open_mysql`` does, for callers without an event loop."""
    store = ServerStore(MySQLBackend(address_of(url, space), given_keyring(pepper, "MariaDB and MySQL", sealed)))
    store.open()
    return store


def _unkeyed(url: str, space: str) -> ServerStore:
    return ServerStore(MySQLBackend(address_of(url, space), PepperKeyring(bytes(32))))


def is_there(url: str, space: str = "") -> bool:
    """Return whether a database holds the tables of a name space; make nothing.

    Raises:
        InvalidInput: the URL can never be right.
        StoreUnavailable: the server cannot be reached in time.
    """
    return _unkeyed(url, space).is_there()


def migrate_mysql(url: str, *, space: str = "") -> list[int]:
    """Bring the tables of a store up to this version; return the numbers of the steps taken, none if it was.

    Raises:
        InvalidInput: the URL can never be right.
        StoreUnavailable: the server cannot be reached in time.
        StoreError: the tables are newer than this library, or the user may not do it.
    """
    return _unkeyed(url, space).migrate(None)
