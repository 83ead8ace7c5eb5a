"""The store for asyncio on any server of which there is a ``Backend``; see ``backend``."""

from __future__ import annotations

from asyncio import Lock
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from ...contract.batch import Batch
from ...contract.coalescing import CoalescingStore
from ...contract.conflict_queue import ConflictQueue
from ...contract.event_log import LogRead
from ...contract.near_cache import NearCache, Reading
from ...contract.optimistic import Commit
from ...contract.queries import DueRecord, Query, SessionResult, TokenResult
from ...contract.threads import in_thread
from ...events import Event, Listeners, Place
from ...records import OwnerEntry, Session, Token
from .backend import Backend
from .copying import Dump
from .findings import Finding, Progress
from .log_following import LogFollowing
from .pepper_records import Mark
from .pools import AsyncPool, Exchange
from .retry import Retrying, RetryPolicy
from .seen_parts import NAMES

SCRIPT_TIMEOUT_S: Final = 30.0
"""For each step of an opening; connecting has the store's time-out."""
WHOLE_TIMEOUT_S: Final = 600.0
"""For each step of what goes through a whole store."""

T = TypeVar("T")


class AsyncServerStore(CoalescingStore):
    """Sessions and tokens on a server, for the tasks of one event loop; what they ask at once travels together.

    Attributes:
        backend: what the server is asked.
        retrying: the time-outs and the breaker.
    """

    keeps_events = True
    _log_following: LogFollowing | None = None

    def __init__(self, backend: Backend, pool: AsyncPool | None = None) -> None:
        super().__init__()
        self.backend = backend
        self.keyring = backend.keyring
        self.listeners = Listeners()
        self.unreadables = backend.unreadables
        self.clock = backend.clock
        self.record_cache = backend.record_cache
        self.retrying = Retrying(RetryPolicy(timeout_s=backend.links.timeout_s))
        self.conflict_queue = ConflictQueue(Lock, backend.links.timeout_s)
        self._pool = AsyncPool(backend.links) if pool is None else pool

    def begin_near_cache(self, bound_s: float) -> None:
        """Keep what verifications find, each for as long as the bound allows, or until the log tells of a change."""
        self.near_cache = NearCache(NAMES, self.clock.now, bound_s, is_followed=False)
        self._log_following = LogFollowing(self.near_cache, self.backend, lambda: self.listeners.kept)

    def begin_reading(self, near: NearCache) -> Reading:
        """Return a reading that begins now; the first one of a process while events are kept begins to follow them."""
        if self._log_following is not None and self.listeners.kept:
            self._log_following.start()
        return near.begin()

    async def find_session(self, lookups: Sequence[str]) -> tuple[int, Session | None, OwnerEntry | None]:
        """Return now and the session of a secret with its owner's entry."""
        near = self.near_cache
        reading = None if near is None else self.begin_reading(near)
        now, session, entry = await super().find_session(lookups)
        if near is not None and reading is not None:
            near.keep_session(reading, lookups[0], SessionResult(session, entry))
        return now, session, entry

    async def find_token(self, lookups: Sequence[str]) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        """Return now and the token of a secret with its session and that owner's entry."""
        near = self.near_cache
        reading = None if near is None else self.begin_reading(near)
        now, token, session, entry = await super().find_token(lookups)
        if near is not None and reading is not None:
            near.keep_token(reading, lookups[0], TokenResult(token, session, entry))
        return now, token, session, entry

    async def read_batch(self, queries: Sequence[Query]) -> Batch:
        """Return the results of distinct queries as of one instant."""
        return self.backend.heard(await self._ask(True, self.backend.fetch, queries))

    async def commit_batch(self, commits: Sequence[Commit]) -> Sequence[bool | Exception]:
        """Commit several commands, each whole or not at all, in their order: in one transaction, where that can be."""
        return await self._ask(False, self.backend.commit, commits)

    async def due(self, now: int, limit: int) -> Sequence[DueRecord]:
        """Return at most ``limit`` keys of what should be swept at ``now``, longest due first."""
        return await self._ask(True, self.backend.due, now, limit)

    async def read_events(self, after: Place, limit: int) -> LogRead:
        """Return at most ``limit`` events that stand after a place."""
        return await self._ask(True, self.backend.read_events, after, limit)

    async def trim_events(self, keep: int) -> int:
        """Take away the oldest of the events beyond ``keep``, ``TRIMMED_AT_ONCE`` at most; return how many were."""
        return await self._ask(True, self.backend.trim_events, keep)

    async def rewrite_events(self, change: Callable[[Event], Event]) -> int:
        """Put what ``change`` returns in the place of each event that it changes; return how many those were."""
        return await self._pool.run_script(WHOLE_TIMEOUT_S, self.backend.rewrite_events, change)

    async def check(self, *, fix: bool = False, progress: Progress | None = None) -> Sequence[Finding]:
        """Look at every record and what they rest on: are they as they were written, do they agree?

        What changes meanwhile may be reported wrongly.

        Args:
            fix: whether to mend what can be mended.
            progress: ``progress(done, total)``, called now and then with a number of records.

        Return what was wrong, and of each thing what was done about it.
        """
        return await self._pool.run_script(WHOLE_TIMEOUT_S, self.backend.check, fix, progress)

    async def dump(self, kind: str, after: str, limit: int) -> Dump:
        """Return a batch of all records of a kind; see ``copying.Copyable``."""
        return await self._ask(True, self.backend.scan, kind, after, limit)

    async def count(self) -> int:
        """Return how many records there are in the name space."""
        return await self._pool.run_script(WHOLE_TIMEOUT_S, self.backend.count)

    async def clear(self) -> None:
        """Delete every record of the name space, and which peppers it had."""
        await self._pool.run_script(WHOLE_TIMEOUT_S, self.backend.clear)

    async def open(self) -> None:
        """Make what records need if it is not there; see that it and the peppers are the right ones."""
        await self._pool.run_script(SCRIPT_TIMEOUT_S, self.backend.prepare)

    async def is_there(self) -> bool:
        """Whether there is a store of the name space; makes nothing."""
        return await self._pool.run_script(SCRIPT_TIMEOUT_S, self.backend.is_there)

    async def migrate(self, grant_to: str | None) -> list[int]:
        """Bring what is there up to this version; return the numbers of the steps taken."""
        return await self._pool.run_script(WHOLE_TIMEOUT_S, self.backend.migrate, grant_to)

    async def pepper_marks(self) -> dict[str, Mark]:
        """Return what is recorded of each pepper, by its key id."""
        return await self._ask(True, self.backend.pepper_marks)

    async def forget_pepper(self, key_id: str) -> None:
        """Record of a pepper nothing any more."""
        await self._ask(True, self.backend.forget_pepper, key_id)

    async def close(self) -> None:
        """Wait for what is under way and let go of all connections; calling it again does nothing."""
        if self._log_following is not None:
            await in_thread(self._log_following.stop)
        if self.near_cache is not None:
            self.near_cache.drop()
        await self.close_queues()
        await self._pool.close_all()

    async def _ask(self, idempotent: bool, make: Callable[..., Exchange[T]], *args: object) -> T:
        answer: T = await self.retrying.ask(self._pool.run, make, *args, idempotent=idempotent)
        return answer
