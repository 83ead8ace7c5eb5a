# Generated from stores/common/async_server_store.py by tools/generate_sync.py; change that file and run it again.
"""The store for threads on any server of which there is a ``Backend``; see ``backend``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Final, TypeVar

from ...contract.batch import Batch
from ...contract.conflict_queue import ConflictQueue
from ...contract.direct import DirectStore
from ...contract.event_log import LogRead
from ...contract.near_cache import NearCache, Reading
from ...contract.optimistic import Commit
from ...contract.queries import DueRecord, Query, SessionResult, TokenResult
from ...events import Event, Listeners, Place
from ...records import OwnerEntry, Session, Token
from .backend import Backend
from .copying import Dump
from .findings import Finding, Progress
from .log_following import LogFollowing
from .pepper_records import Mark
from .pools import Exchange, Pool
from .retry import Retrying, RetryPolicy
from .seen_parts import NAMES

SCRIPT_TIMEOUT_S: Final = 30.0
"""For each step of an opening; connecting has the store's time-out."""
WHOLE_TIMEOUT_S: Final = 600.0
"""For each step of what goes through a whole store."""

T = TypeVar("T")


class ServerStore(DirectStore):
    """Sessions and tokens on a server, for any number of threads.

    Attributes:
        backend: what the server is asked.
        retrying: the time-outs and the breaker.
    """

    keeps_events = True
    _log_following: LogFollowing | None = None

    def __init__(self, backend: Backend, pool: Pool | None = None) -> None:
        super().__init__()
        self.backend = backend
        self.keyring = backend.keyring
        self.listeners = Listeners()
        self.unreadables = backend.unreadables
        self.clock = backend.clock
        self.record_cache = backend.record_cache
        self.retrying = Retrying(RetryPolicy(timeout_s=backend.links.timeout_s))
        self.conflict_queue = ConflictQueue(Lock, backend.links.timeout_s)
        self._pool = Pool(backend.links) if pool is None else pool

    def begin_near_cache(self, bound_s: float) -> None:
        """Keep what verifications find, each for as long as the bound allows, or until the log tells of a change."""
        self.near_cache = NearCache(NAMES, self.clock.now, bound_s, is_followed=False)
        self._log_following = LogFollowing(self.near_cache, self.backend, lambda: self.listeners.kept)

    def begin_reading(self, near: NearCache) -> Reading:
        """Return a reading that begins now; the first one of a process while events are kept begins to follow them."""
        if self._log_following is not None and self.listeners.kept:
            self._log_following.start()
        return near.begin()

    def find_session_now(self, lookups: Sequence[str]) -> tuple[int, Session | None, OwnerEntry | None]:
        """Return now and the session of a secret with its owner's entry."""
        near = self.near_cache
        reading = None if near is None else self.begin_reading(near)
        now, session, entry = super().find_session_now(lookups)
        if near is not None and reading is not None:
            near.keep_session(reading, lookups[0], SessionResult(session, entry))
        return now, session, entry

    def find_token_now(self, lookups: Sequence[str]) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        """Return now and the token of a secret with its session and that owner's entry."""
        near = self.near_cache
        reading = None if near is None else self.begin_reading(near)
        now, token, session, entry = super().find_token_now(lookups)
        if near is not None and reading is not None:
            near.keep_token(reading, lookups[0], TokenResult(token, session, entry))
        return now, token, session, entry

    def read_batch(self, queries: Sequence[Query]) -> Batch:
        """Return the results of distinct queries as of one instant."""
        return self.backend.heard(self._ask(True, self.backend.fetch, queries))

    def commit_batch(self, commits: Sequence[Commit]) -> Sequence[bool | Exception]:
        """Commit several commands, each whole or not at all, in their order: in one transaction, where that can be."""
        return self._ask(False, self.backend.commit, commits)

    def due_now(self, now: int, limit: int) -> Sequence[DueRecord]:
        """Return at most ``limit`` keys of what should be swept at ``now``, longest due first."""
        return self._ask(True, self.backend.due, now, limit)

    def read_events_now(self, after: Place, limit: int) -> LogRead:
        """Return at most ``limit`` events that stand after a place."""
        return self._ask(True, self.backend.read_events, after, limit)

    def trim_events_now(self, keep: int) -> int:
        """Take away the oldest of the events beyond ``keep``, ``TRIMMED_AT_ONCE`` at most; return how many were."""
        return self._ask(True, self.backend.trim_events, keep)

    def rewrite_events_now(self, change: Callable[[Event], Event]) -> int:
        """Put what ``change`` returns in the place of each event that it changes; return how many those were."""
        return self._pool.run_script(WHOLE_TIMEOUT_S, self.backend.rewrite_events, change)

    def check_now(self, *, fix: bool = False, progress: Progress | None = None) -> Sequence[Finding]:
        """Look at every record and what they rest on: are they as they were written, do they agree?

        What changes meanwhile may be reported wrongly.

        Args:
            fix: whether to mend what can be mended.
            progress: ``progress(done, total)``, called now and then with a number of records.

        Return what was wrong, and of each thing what was done about it.
        """
        return self._pool.run_script(WHOLE_TIMEOUT_S, self.backend.check, fix, progress)

    def dump_now(self, kind: str, after: str, limit: int) -> Dump:
        """Return a batch of all records of a kind; see ``copying.Copyable``."""
        return self._ask(True, self.backend.scan, kind, after, limit)

    def count_now(self) -> int:
        """Return how many records there are in the name space."""
        return self._pool.run_script(WHOLE_TIMEOUT_S, self.backend.count)

    def clear_now(self) -> None:
        """Delete every record of the name space, and which peppers it had."""
        self._pool.run_script(WHOLE_TIMEOUT_S, self.backend.clear)

    def open(self) -> None:
        """Make what records need if it is not there; see that it and the peppers are the right ones."""
        self._pool.run_script(SCRIPT_TIMEOUT_S, self.backend.prepare)

    def is_there(self) -> bool:
        """Whether there is a store of the name space; makes nothing."""
        return self._pool.run_script(SCRIPT_TIMEOUT_S, self.backend.is_there)

    def migrate(self, grant_to: str | None) -> list[int]:
        """Bring what is there up to this version; return the numbers of the steps taken."""
        return self._pool.run_script(WHOLE_TIMEOUT_S, self.backend.migrate, grant_to)

    def pepper_marks(self) -> dict[str, Mark]:
        """Return what is recorded of each pepper, by its key id."""
        return self._ask(True, self.backend.pepper_marks)

    def forget_pepper(self, key_id: str) -> None:
        """Record of a pepper nothing any more."""
        self._ask(True, self.backend.forget_pepper, key_id)

    def close_now(self) -> None:
        """Wait for what is under way and let go of all connections; calling it again does nothing."""
        if self._log_following is not None:
            self._log_following.stop()
        if self.near_cache is not None:
            self.near_cache.drop()
        self.close_queues()
        self._pool.close_all()

    def _ask(self, idempotent: bool, make: Callable[..., Exchange[T]], *args: object) -> T:
        answer: T = self.retrying.ask_now(self._pool.run, make, *args, idempotent=idempotent)
        return answer
