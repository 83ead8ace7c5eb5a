# Generated from stores/postgres/async_store.py by tools/generate_sync.py; change that file and run it again.
"""The PostgreSQL store for threads; see ``store``."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Final, cast

from ...contract.batch import Batch
from ...contract.conflict_queue import ConflictQueue
from ...contract.direct import DirectStore
from ...contract.event_log import LogRead
from ...contract.optimistic import Commit
from ...contract.queries import Key, Query
from ...crypto.minting import PepperKeyring
from ...errors import StoreError, StoreUnavailable
from ...events import Listeners, Place
from ...records import OwnerEntry, Session, Token
from ..common.copying import Dump
from ..common.findings import Finding, Progress
from ..common.kinds import KINDS
from .address import Address
from .check import checking
from .core import PostgresCore, Rows, not_written
from .dump import WHOLE_TABLE_TIMEOUT_S, clearing, counting, dump_of, dump_statement
from .event_log import log_read, read_statement, trim_statement
from .pool import Pool
from .queries import Reading, Statement, session_answer, session_statement, token_answer, token_statement
from .schema import Script, looking, migrating, opening

MIGRATION_TIMEOUT_S: Final = 600.0
SCRIPT_TIMEOUT_S: Final = 30.0
"""For each statement of an opening; connecting has the store's time-out."""
CHECK_TIMEOUT_S: Final = 600.0
"""For each statement of a check, some of which go through a whole table."""


class BlockingPostgresStore(DirectStore):
    """Sessions and tokens in PostgreSQL, for any number of threads.

    Made by ``open_postgres_blocking``.

    Attributes:
        address: where the store is.
        retrying: the time-outs and the breaker.
    """

    keeps_events = True

    def __init__(self, address: Address, keyring: PepperKeyring) -> None:
        super().__init__()
        self.address = address
        self.keyring = keyring
        self.listeners = Listeners()
        self._core = PostgresCore(address, keyring)
        self.unreadables = self._core.decoder.unreadables
        self.clock = self._core.clock
        self.retrying = self._core.retrying
        self.conflict_queue = ConflictQueue(Lock, address.timeout_s)
        self._pool = Pool(address)

    def find_session_now(self, lookups: Sequence[str]) -> tuple[int, Session | None, OwnerEntry | None]:
        """Return now and the session of a secret with its owner's entry; a forged or torn record is no session.

        Who comes alone asks at once; who comes while one asks travels with the others.
        """
        if self._pool.is_shared:
            return super().find_session_now(lookups)
        statement = session_statement(self._core.schema, lookups)
        rows = self.retrying.ask_now(self._pool.ask_alone, statement, idempotent=True)
        self._core.clock.heard(rows[0][0])
        answer = session_answer(rows[0], lookups, self._core.decoder)
        if answer[1] is None:
            self.insist_on_peppers_now()
        return answer

    def find_token_now(self, lookups: Sequence[str]) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        """Return now and the token of a secret with its session and that owner's entry; as ``find_session``."""
        if self._pool.is_shared:
            return super().find_token_now(lookups)
        statement = token_statement(self._core.schema, lookups)
        rows = self.retrying.ask_now(self._pool.ask_alone, statement, idempotent=True)
        self._core.clock.heard(rows[0][0])
        answer = token_answer(rows[0], lookups, self._core.decoder)
        if answer[1] is None:
            self.insist_on_peppers_now()
        return answer

    def read_batch(self, queries: Sequence[Query]) -> Batch:
        """Return the results of distinct queries as of one instant, in one statement."""
        asked = Reading(self._core.schema, queries)
        return self._core.batch(asked, self._read(asked.statement))

    def commit_batch(self, commits: Sequence[Commit]) -> Sequence[bool | Exception]:
        """Commit several commands in one statement and one transaction, each whole or not at all, in their order."""
        try:
            rows = self.retrying.ask_now(self._pool.ask, self._core.commit(commits), idempotent=False)
        except StoreUnavailable:
            raise
        except StoreError as error:
            if len(commits) == 1:
                return [False if not_written(error) else error]
            # Nothing was written. One by one, each command gets its own answer.
            return [(self.commit_batch([commit]))[0] for commit in commits]
        written: Sequence[bool] = rows[0][0]
        return written

    def due_now(self, now: int, limit: int) -> Sequence[Key]:
        """Return at most ``limit`` keys of what should be swept at ``now``, longest due first."""
        return [Key(*row) for row in self._read(self._core.due(now, limit))]

    def read_events_now(self, after: Place, limit: int) -> LogRead:
        """Return at most ``limit`` events that stand after a place, in one round trip."""
        rows = self._read(read_statement(self._core.schema, after, limit))
        return log_read(self._core, rows, after, limit)

    def trim_events_now(self, keep: int) -> int:
        """Take away the oldest of the events beyond ``keep``, ``TRIMMED_AT_ONCE`` at most; return how many were."""
        rows = self._read(trim_statement(self._core.schema, keep))
        return int(rows[0][0])

    def check_now(self, *, fix: bool = False, progress: Progress | None = None) -> Sequence[Finding]:
        """Look at every record, index and function: are they as they were written, do they agree?

        Reads in batches, each in one round trip; what changes meanwhile may be reported wrongly.

        Args:
            fix: whether to mend what can be mended; indexes and functions by the role that owns them.
            progress: ``progress(done, total)``, called now and then with a number of records.

        Return what was wrong, and of each thing what was done about it.
        """
        script = checking(self.address, self._core.keyring, self._core.decoder, fix, progress)
        return cast("Sequence[Finding]", self._run_script(script, CHECK_TIMEOUT_S))

    def dump_now(self, kind: str, after: str, limit: int) -> Dump:
        """Return a batch of all records of a kind; see ``copying.Copyable``."""
        rows = self._read(dump_statement(self._core.schema, KINDS[kind], after, limit))
        return dump_of(KINDS[kind], rows, self._core.decoder, limit)

    def count_now(self) -> int:
        """Return how many records there are in the name space."""
        return cast("int", self._run_script(counting(self._core.schema), WHOLE_TABLE_TIMEOUT_S))

    def clear_now(self) -> None:
        """Delete every record of the name space, and which peppers it had, all or none."""
        self._run_script(clearing(self._core.schema), WHOLE_TABLE_TIMEOUT_S)

    def open(self) -> None:
        """Make the tables if there are none and the role may; see that they and the peppers are the right ones."""
        self._run_script(opening(self.address, self._core.keyring), SCRIPT_TIMEOUT_S)

    def is_there(self) -> bool:
        """Whether the database holds the tables of the name space; makes nothing."""
        return bool(self._run_script(looking(self.address), SCRIPT_TIMEOUT_S))

    def migrate(self, grant_to: str | None) -> list[int]:
        """Bring the tables up to this version; return the numbers of the steps taken."""
        steps = self._run_script(migrating(self.address, grant_to), MIGRATION_TIMEOUT_S)
        return cast("list[int]", steps)

    def close_now(self) -> None:
        """Wait for what is under way and let go of all connections; calling it again does nothing."""
        self.close_queues()
        self._pool.close_all()

    def _read(self, statement: Statement) -> Rows:
        return self.retrying.ask_now(self._pool.ask, statement, idempotent=True)

    def _run_script(self, script: Script, timeout_s: float) -> object:
        return self._pool.run_script(script, timeout_s)
