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

from ...clock import NEVER
from ...contract.batch import Batch
from ...contract.event_log import LogRead
from ...contract.optimistic import Commit
from ...contract.queries import DueRecord, Query
from ...crypto.key_file import given_keyring
from ...crypto.minting import Pepper, PepperKeyring
from ...errors import InvalidInput
from ...events import Place
from ..common.async_server_store import AsyncServerStore
from ..common.backend import Backend
from ..common.copying import Dump
from ..common.findings import Finding, Progress
from ..common.kinds import KINDS
from ..common.pepper_records import Mark
from ..common.pools import Exchange
from ..common.server_store import ServerStore
from .address import Address, address_of

try:
    from .check import checking
    from .commit import committing
    from .connections import MySQLLinks
    from .event_log import clearing_events, reading_events, trimming_events
    from .queries import Asker
    from .rows import Decoder, selected
    from .schema import forget_statement, marks_statement, migrating, preparing
    from .schema import is_there as looking
    from .statements import Packet, literal, plain
except ImportError as error:
    raise InvalidInput(
        f"a store in MariaDB or MySQL needs its drivers ({error}); install them: pip install 'session-tokens[mysql]'"
    ) from error


class MySQLBackend(Backend):
    """What a server is asked, and what its answers mean."""

    def __init__(self, address: Address, keyring: PepperKeyring) -> None:
        super().__init__(MySQLLinks(address), keyring)
        self.address = address
        self.prefix = address.table_prefix
        self._decoder = Decoder(keyring, self.clock, self.unreadables)
        self._asker = Asker(self.prefix, self._decoder)

    def fetch(self, queries: Sequence[Query]) -> Exchange[Batch]:
        """Return the results of queries as of one instant."""
        return self._asker.fetch(queries)

    def commit(self, commits: Sequence[Commit]) -> Exchange[Sequence[bool | Exception]]:
        """Write each command whole or not at all."""
        return committing(self.prefix, self.keyring, commits)

    def due(self, now: int, limit: int) -> Exchange[Sequence[DueRecord]]:
        """Return at most ``limit`` keys of what should be swept."""
        due = [
            f"SELECT {key}, {at} FROM {self.prefix}{table} WHERE {at} <= {now} AND {at} < {NEVER}"
            f" ORDER BY {at} LIMIT {limit}"
            for table, key, at in (
                ("sessions", "id", "sweep_at"), ("tokens", "id", "deadline"), ("idempotency", "`key`", "expires_at"),
            )
        ]  # fmt: skip
        answer = yield Packet(due)
        found = [
            (at, kind, plain(id))
            for kind, rows in zip(("session", "token", "idempotency"), answer, strict=True)
            for id, at in rows
        ]
        return [DueRecord(kind, id) for _, kind, id in sorted(found)[:limit]]

    def prepare(self) -> Exchange[None]:
        """Make the tables if there are none and the user may; see that they and the peppers are the right ones."""
        return preparing(self.prefix, self.keyring)

    def scan(self, kind: str, after: str, limit: int) -> Exchange[Dump]:
        """Return a batch of all records of a kind in the order of their keys."""
        of = KINDS[kind]
        place = f"{self.prefix}{of.table} r WHERE r.{of.key} > {literal(after)}"
        (rows,) = yield Packet([f"SELECT {selected(of, 'r')} FROM {place} ORDER BY r.{of.key} LIMIT {limit}"])
        records = [self._decoder.record(of, row)[0] for row in rows]
        return Dump(records, None if len(rows) < limit else plain(rows[-1][0]))

    def count(self) -> Exchange[int]:
        """Return how many records there are."""
        answer = yield Packet([f"SELECT COUNT(*) FROM {self.prefix}{kind.table}" for kind in KINDS.values()])
        return sum(rows[0][0] for rows in answer)

    def clear(self) -> Exchange[None]:
        """Delete every record, and which peppers they had, all or none."""
        names = [*(kind.table for kind in KINDS.values()), "peppers"]
        deleting = [f"DELETE FROM {self.prefix}{name}" for name in names]
        yield Packet(["START TRANSACTION", *deleting, *clearing_events(self.prefix), "COMMIT"], lasts=True)

    def is_there(self) -> Exchange[bool]:
        """Return whether the database holds the tables."""
        return looking(self.prefix)

    def migrate(self, grant_to: str | None) -> Exchange[list[int]]:
        """Bring the tables up to this version."""
        if grant_to is not None:
            raise InvalidInput(
                "in MariaDB and MySQL grants are given by the administrator; see docs/reference/stores.md"
            )
        return migrating(self.prefix)

    def read_events(self, after: Place, limit: int) -> Exchange[LogRead]:
        """Return events that stand after a place."""
        return reading_events(self.prefix, self.keyring, self.unreadables, after, limit)

    def trim_events(self, keep: int) -> Exchange[int]:
        """Take the oldest events away."""
        return trimming_events(self.prefix, keep)

    def pepper_marks(self) -> Exchange[dict[str, Mark]]:
        """Return what is recorded of each pepper."""
        (rows,) = yield Packet([marks_statement(self.prefix)])
        return {plain(key_id): Mark(at, bool(is_used)) for key_id, at, is_used in rows}

    def forget_pepper(self, key_id: str) -> Exchange[None]:
        """Record of a pepper nothing any more."""
        yield Packet([forget_statement(self.prefix, key_id)], lasts=True)

    def check(self, fix: bool, progress: Progress | None) -> Exchange[Sequence[Finding]]:
        """Look at every record, and at the tables."""
        return checking(self.prefix, self.keyring, self._decoder, fix, progress)


async def open_mysql(url: str, *, pepper: Pepper | None = None, space: str = "") -> AsyncServerStore:
    """Open the store in MariaDB or MySQL that a URL names, for asyncio; make its tables if there are none.

    Args:
        url: see ``address.address_of``.
        pepper: at least 32 bytes, or key id → bytes of which the first is the current one. It is kept apart from the
            database: whoever holds only one of them can do nothing.
        space: a name space beside the main one: tables of its own.

    Raises:
        InvalidInput: no pepper, or one that rows need is missing or another one, or a URL that can never be right.
        StoreUnavailable: the server cannot be reached in time, or takes no writes.
        StoreError: the tables are not there and the user may not make them, or they are of another version.
    """
    store = AsyncServerStore(MySQLBackend(address_of(url, space), given_keyring(pepper, "MariaDB and MySQL")))
    await store.open()
    return store


def open_mysql_blocking(url: str, *, pepper: Pepper | None = None, space: str = "") -> ServerStore:
    """As ``open_mysql``, for callers without an event loop."""
    store = ServerStore(MySQLBackend(address_of(url, space), given_keyring(pepper, "MariaDB and MySQL")))
    store.open()
    return store


def _unkeyed(url: str, space: str) -> ServerStore:
    return ServerStore(MySQLBackend(address_of(url, space), PepperKeyring(bytes(32))))


def is_there(url: str, space: str = "") -> bool:
    """Whether a database holds the tables of a name space; makes nothing.

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
