"""What each operation of the PostgreSQL stores sends, written once for asyncio and threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...contract.batch import Batch
from ...contract.changes import Changes
from ...contract.event_log import LogRead
from ...contract.optimistic import Commit
from ...contract.queries import DueRecord, Query
from ...crypto.minting import PepperKeyring
from ...errors import StoreError, StoreUnavailable
from ...events import Place
from ..common.backend import Backend
from ..common.findings import Finding, Progress
from ..common.kinds import Kind
from ..common.one_by_one import one_by_one
from ..common.pools import LOCK_PATIENCE_S, Exchange
from ..common.seen_parts import new_stamp
from ..common.sql_upkeep import Rows, SqlUpkeep, Words
from .address import Address
from .check import checking
from .commit import commit_statement
from .errors import CLASH, TAKEN, sqlstate_of
from .event_log import clearing_events, log_read, read_statement, trim_statement
from .functions import json_function
from .pool import PostgresLinks
from .queries import ReadStatement, Statement
from .rows import Decoder, columns_in, escaped
from .schema import looking, migrating, opening

LOCK_TIMEOUT_MS = int(LOCK_PATIENCE_S * 1000)
"""For what waits until nobody else commits."""


class PostgresBackend(SqlUpkeep, Backend):
    """What a server is asked, and what its answers mean."""

    words = Words(
        now="floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
        # With another level as the default it would see the past.
        begin=("BEGIN ISOLATION LEVEL READ COMMITTED", f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"),
        put_new="INSERT INTO {} ON CONFLICT DO NOTHING",
    )

    def __init__(self, address: Address, keyring: PepperKeyring, links: PostgresLinks) -> None:
        super().__init__(links, keyring)
        self.prefix = f"{address.schema}."
        self.address = address
        self.schema = address.schema
        self.decoder = Decoder(keyring, self.clock, self.unreadables)
        self.record_cache = self.decoder.seen
        # Locks are given up before the client gives up, so that a commit that waited is surely not carried out.
        self._lock_timeout_ms = max(1, int(address.timeout_s * 800))

    def asking(self, text: str, *values: object, lasts: bool = False) -> Exchange[Rows]:
        """Ask one statement; return its rows."""
        rows: Rows = yield Statement(text, values)
        return rows

    def selected(self, kind: Kind, letter: str) -> str:
        """Return the key of a record and its JSON, as they stand in a ``SELECT``."""
        return f"{letter}.{kind.key}, {self.schema}.{json_function(kind)}({letter})"

    def read(self, kind: Kind, row: Sequence[Any]) -> Any:
        """Return the record in such a row."""
        return self.decoder.record(kind, row[1])[0]

    def columns_in(self, row: Sequence[Any]) -> Sequence[Any]:
        """Return what such a row says: the columns of its kind, its MAC and its stamp."""
        return columns_in(row[1])

    def kept(self, text: str) -> str:
        """Return text as it comes in rows."""
        return escaped(text)

    def locking_all(self) -> Exchange[None]:
        """Wait until nobody else commits."""
        locks = f'{{"alone": true, "lock_timeout_ms": "{LOCK_TIMEOUT_MS}"}}'
        yield Statement(f"SELECT {self.schema}.lock_v1(%s::jsonb)", (locks,))

    def writing(self, changes: Changes) -> Exchange[None]:
        """Write changes, within a transaction in which everything is locked."""
        yield commit_statement(self.schema, self.keyring, [Commit(changes, {}, 0)], [new_stamp()], LOCK_TIMEOUT_MS)

    def clearing_events(self) -> Exchange[None]:
        """Delete all events within a transaction, and note up to where."""
        yield from clearing_events(self.schema)

    def fetch(self, queries: Sequence[Query]) -> Exchange[Batch]:
        """Return the results of distinct queries as of one instant, in one statement."""
        asked = ReadStatement(self.schema, queries)
        return asked.batch((yield asked.statement), self.decoder)

    def commit(self, commits: Sequence[Commit]) -> Exchange[Sequence[bool | Exception]]:
        """Commit several commands in one statement and one transaction, each whole or not at all, in their order."""
        stamps = [new_stamp() for _ in commits]
        try:
            rows = yield commit_statement(
                self.schema, self.keyring, commits, stamps, self._lock_timeout_ms, self.address.replicas
            )
        except StoreUnavailable:
            raise
        except StoreError as error:
            if len(commits) == 1:
                return [False if _not_written(error) else error]
        else:
            written: Sequence[bool] = rows[0][0]
            for commit, is_written, stamp in zip(commits, written, stamps, strict=True):
                if is_written:
                    self.decoder.seen.wrote(commit, stamp)
            return written
        return (yield from one_by_one(self.commit, commits))  # nothing was written

    def due(self, now: int, limit: int) -> Exchange[Sequence[DueRecord]]:
        """Return at most ``limit`` keys of what should be swept, longest due first."""
        rows = yield Statement(f"SELECT kind, id FROM {self.schema}.due_v1(%s, %s)", (now, limit))
        return [DueRecord(*row) for row in rows]

    def read_events(self, after: Place, limit: int) -> Exchange[LogRead]:
        """Return events that stand after a place, in one round trip."""
        rows = yield read_statement(self.schema, after, limit)
        self.clock.heard(rows[0][0])
        return log_read(self.keyring, self.decoder, rows, after, limit)

    def trim_events(self, keep: int) -> Exchange[int]:
        """Take the oldest events away."""
        return int((yield trim_statement(self.schema, keep))[0][0])

    def prepare(self) -> Exchange[None]:
        """Make the tables if there are none and the role may; see that they and the peppers are the right ones."""
        return opening(self, self.address)

    def is_there(self) -> Exchange[bool]:
        """Return whether the database holds the tables."""
        return looking(self.address)

    def migrate(self, grant_to: str | None) -> Exchange[list[int]]:
        """Bring the tables up to this version."""
        return migrating(self, self.address, grant_to)

    def check(self, fix: bool, progress: Progress | None) -> Exchange[Sequence[Finding]]:
        """Look at every record, index and function, in batches; indexes and functions are mended by their owner."""
        return checking(self, self.address, fix, progress)


def _not_written(error: StoreError) -> bool:
    """Whether a commit was taken back because others were faster: the command is run again."""
    state = sqlstate_of(error.__cause__)
    return state in CLASH or state == TAKEN
