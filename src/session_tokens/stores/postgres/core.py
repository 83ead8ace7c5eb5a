"""What each operation of the PostgreSQL stores sends, written once for asyncio and threads."""

from __future__ import annotations

from collections.abc import Sequence

from ...contract.batch import Batch
from ...contract.event_log import LogRead
from ...contract.optimistic import Commit
from ...contract.queries import DueRecord, Query
from ...crypto.minting import PepperKeyring
from ...errors import StoreError, StoreUnavailable
from ...events import Place
from ..common.backend import Backend
from ..common.copying import Dump
from ..common.findings import Finding, Progress
from ..common.kinds import KINDS
from ..common.pepper_records import Mark
from ..common.pools import Exchange
from .address import Address
from .check import checking
from .commit import commit_statement
from .dump import clearing, counting, dump_of, dump_statement
from .errors import CLASH, TAKEN, sqlstate_of
from .event_log import log_read, read_statement, trim_statement
from .pool import PostgresLinks
from .queries import ReadStatement, Statement
from .rows import Decoder
from .schema import looking, migrating, opening


class PostgresBackend(Backend):
    """What a server is asked, and what its answers mean."""

    def __init__(self, address: Address, keyring: PepperKeyring, links: PostgresLinks) -> None:
        super().__init__(links, keyring)
        self.address = address
        self.schema = address.schema
        self.decoder = Decoder(keyring, self.clock)
        self.unreadables = self.decoder.unreadables
        # Locks are given up before the client gives up, so that a commit that waited is surely not carried out.
        self._lock_timeout_ms = max(1, int(address.timeout_s * 800))

    def fetch(self, queries: Sequence[Query]) -> Exchange[Batch]:
        """Return the results of distinct queries as of one instant, in one statement."""
        asked = ReadStatement(self.schema, queries)
        return asked.batch((yield asked.statement), self.decoder)

    def commit(self, commits: Sequence[Commit]) -> Exchange[Sequence[bool | Exception]]:
        """Commit several commands in one statement and one transaction, each whole or not at all, in their order."""
        try:
            rows = yield commit_statement(self.schema, self.keyring, commits, self._lock_timeout_ms)
        except StoreUnavailable:
            raise
        except StoreError as error:
            if len(commits) == 1:
                return [False if _not_written(error) else error]
        else:
            written: Sequence[bool] = rows[0][0]
            return written
        # Nothing was written. One by one, each command gets its own answer.
        outcomes: list[bool | Exception] = []
        for commit in commits:
            outcomes += yield from self.commit([commit])
        return outcomes

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

    def scan(self, kind: str, after: str, limit: int) -> Exchange[Dump]:
        """Return a batch of all records of a kind."""
        rows = yield dump_statement(self.schema, KINDS[kind], after, limit)
        return dump_of(KINDS[kind], rows, self.decoder, limit)

    def count(self) -> Exchange[int]:
        """Return how many records there are."""
        return counting(self.schema)

    def clear(self) -> Exchange[None]:
        """Delete every record, and which peppers they had, all or none."""
        return clearing(self.schema)

    def prepare(self) -> Exchange[None]:
        """Make the tables if there are none and the role may; see that they and the peppers are the right ones."""
        return opening(self.address, self.keyring)

    def is_there(self) -> Exchange[bool]:
        """Return whether the database holds the tables."""
        return looking(self.address)

    def migrate(self, grant_to: str | None) -> Exchange[list[int]]:
        """Bring the tables up to this version."""
        return migrating(self.address, grant_to)

    def check(self, fix: bool, progress: Progress | None) -> Exchange[Sequence[Finding]]:
        """Look at every record, index and function, in batches; indexes and functions are mended by their owner."""
        return checking(self.address, self.keyring, self.decoder, fix, progress)

    def pepper_marks(self) -> Exchange[dict[str, Mark]]:
        """Return what is recorded of each pepper."""
        at = "floor(extract(epoch FROM recorded_at) * 1000)::bigint"
        rows = yield Statement(f"SELECT key_id, {at}, used_at IS NOT NULL FROM {self.schema}.peppers", ())
        return {key_id: Mark(at, is_used) for key_id, at, is_used in rows}

    def forget_pepper(self, key_id: str) -> Exchange[None]:
        """Record of a pepper nothing any more."""
        yield Statement(f"DELETE FROM {self.schema}.peppers WHERE key_id = %s", (key_id,))


def _not_written(error: StoreError) -> bool:
    """Whether a commit was taken back because others were faster: the command is run again."""
    state = sqlstate_of(error.__cause__)
    return state in CLASH or state == TAKEN
