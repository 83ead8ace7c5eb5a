"""The PostgreSQL store for asyncio; see ``store``."""

from __future__ import annotations

from asyncio import Lock
from collections.abc import Awaitable, Sequence
from typing import Final, cast

from ...contract.batch import Batch
from ...contract.coalescing import CoalescingStore
from ...contract.conflict_queue import ConflictQueue
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
from .pool import AsyncPool
from .queries import Reading, Statement, session_answer, session_statement, token_answer, token_statement
from .schema import Script, looking, migrating, opening

MIGRATION_TIMEOUT_S: Final = 600.0
SCRIPT_TIMEOUT_S: Final = 30.0
"""For each statement of an opening; connecting has the store's time-out."""
CHECK_TIMEOUT_S: Final = 600.0
"""For each statement of a check, some of which go through a whole table."""


class PostgresStore(CoalescingStore):
    """Sessions and tokens in PostgreSQL, for the tasks of one event loop; what they ask at once travels together.

    Made by ``open_postgres``.

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
        self._pool = AsyncPool(address)

    async def find_session(self, lookups: Sequence[str]) -> tuple[int, Session | None, OwnerEntry | None]:
        """Return now and the session of a secret with its owner's entry; a forged or torn record is no session.

        Who comes alone asks at once; who comes while one asks travels with the others.
        """
        if self._pool.is_shared:
            return await super().find_session(lookups)
        statement = session_statement(self._core.schema, lookups)
        rows = await self.retrying.ask(self._pool.ask_alone, statement, idempotent=True)
        self._core.clock.heard(rows[0][0])
        answer = session_answer(rows[0], lookups, self._core.decoder)
        if answer[1] is None:
            await self.insist_on_peppers()
        return answer

    async def find_token(self, lookups: Sequence[str]) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        """Return now and the token of a secret with its session and that owner's entry; as ``find_session``."""
        if self._pool.is_shared:
            return await super().find_token(lookups)
        statement = token_statement(self._core.schema, lookups)
        rows = await self.retrying.ask(self._pool.ask_alone, statement, idempotent=True)
        self._core.clock.heard(rows[0][0])
        answer = token_answer(rows[0], lookups, self._core.decoder)
        if answer[1] is None:
            await self.insist_on_peppers()
        return answer

    async def read_batch(self, queries: Sequence[Query]) -> Batch:
        """Return the results of distinct queries as of one instant, in one statement."""
        asked = Reading(self._core.schema, queries)
        return self._core.batch(asked, await self._read(asked.statement))

    async def commit_batch(self, commits: Sequence[Commit]) -> Sequence[bool | Exception]:
        """Commit several commands in one statement and one transaction, each whole or not at all, in their order."""
        try:
            rows = await self.retrying.ask(self._pool.ask, self._core.commit(commits), idempotent=False)
        except StoreUnavailable:
            raise
        except StoreError as error:
            if len(commits) == 1:
                return [False if not_written(error) else error]
            # Nothing was written. One by one, each command gets its own answer.
            return [(await self.commit_batch([commit]))[0] for commit in commits]
        written: Sequence[bool] = rows[0][0]
        return written

    async def due(self, now: int, limit: int) -> Sequence[Key]:
        """Return at most ``limit`` keys of what should be swept at ``now``, longest due first."""
        return [Key(*row) for row in await self._read(self._core.due(now, limit))]

    async def read_events(self, after: Place, limit: int) -> LogRead:
        """Return at most ``limit`` events that stand after a place, in one round trip."""
        rows = await self._read(read_statement(self._core.schema, after, limit))
        return log_read(self._core, rows, after, limit)

    async def trim_events(self, keep: int) -> int:
        """Take away the oldest of the events beyond ``keep``, ``TRIMMED_AT_ONCE`` at most; return how many were."""
        rows = await self._read(trim_statement(self._core.schema, keep))
        return int(rows[0][0])

    async def check(self, *, fix: bool = False, progress: Progress | None = None) -> Sequence[Finding]:
        """Look at every record, index and function: are they as they were written, do they agree?

        Reads in batches, each in one round trip; what changes meanwhile may be reported wrongly.

        Args:
            fix: whether to mend what can be mended; indexes and functions by the role that owns them.
            progress: ``progress(done, total)``, called now and then with a number of records.

        Return what was wrong, and of each thing what was done about it.
        """
        script = checking(self.address, self._core.keyring, self._core.decoder, fix, progress)
        return cast("Sequence[Finding]", await self._run_script(script, CHECK_TIMEOUT_S))

    async def dump(self, kind: str, after: str, limit: int) -> Dump:
        """Return a batch of all records of a kind; see ``copying.Copyable``."""
        rows = await self._read(dump_statement(self._core.schema, KINDS[kind], after, limit))
        return dump_of(KINDS[kind], rows, self._core.decoder, limit)

    async def count(self) -> int:
        """Return how many records there are in the name space."""
        return cast("int", await self._run_script(counting(self._core.schema), WHOLE_TABLE_TIMEOUT_S))

    async def clear(self) -> None:
        """Delete every record of the name space, and which peppers it had, all or none."""
        await self._run_script(clearing(self._core.schema), WHOLE_TABLE_TIMEOUT_S)

    async def open(self) -> None:
        """Make the tables if there are none and the role may; see that they and the peppers are the right ones."""
        await self._run_script(opening(self.address, self._core.keyring), SCRIPT_TIMEOUT_S)

    async def is_there(self) -> bool:
        """Whether the database holds the tables of the name space; makes nothing."""
        return bool(await self._run_script(looking(self.address), SCRIPT_TIMEOUT_S))

    async def migrate(self, grant_to: str | None) -> list[int]:
        """Bring the tables up to this version; return the numbers of the steps taken."""
        steps = await self._run_script(migrating(self.address, grant_to), MIGRATION_TIMEOUT_S)
        return cast("list[int]", steps)

    async def close(self) -> None:
        """Wait for what is under way and let go of all connections; calling it again does nothing."""
        await self.close_queues()
        await self._pool.close_all()

    def _read(self, statement: Statement) -> Awaitable[Rows]:
        return self.retrying.ask(self._pool.ask, statement, idempotent=True)

    async def _run_script(self, script: Script, timeout_s: float) -> object:
        return await self._pool.run_script(script, timeout_s)
