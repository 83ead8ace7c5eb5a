"""A base for async stores on a server: runs rules optimistically, and sends concurrent calls together.

A store that subclasses ``CoalescingStore`` writes ``read_batch`` and ``commit_batch`` and gets the rest.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Sequence

from .batch import Batch, snapshot_of
from .coalesce import SHARE_FROM, Coalescer, Home
from .optimistic import Commit, OptimisticStore
from .queries import Query, Snapshot


class CoalescingStore(OptimisticStore):
    """An optimistic store whose concurrent calls travel together."""

    def __init__(self) -> None:
        self._home = Home()
        self._reads: Coalescer[Sequence[Query], Snapshot] = Coalescer(
            self._carry_reads, share_from=SHARE_FROM, home=self._home
        )
        self._commits: Coalescer[Commit, bool] = Coalescer(self._carry_commits, share_from=SHARE_FROM, home=self._home)

    @abstractmethod
    async def read_batch(self, queries: Sequence[Query]) -> Batch:
        """Return the results of queries as of one instant, in one round trip.

        Raises:
            StoreUnavailable: the store cannot be asked.
        """

    @abstractmethod
    async def commit_batch(self, commits: Sequence[Commit]) -> Sequence[bool | Exception]:
        """Return for each commit whether it was written; each is atomic by itself.

        Raises:
            StoreUnavailable: the store cannot be asked; the outcome of all of them may be unknown.
        """

    async def read(self, queries: Sequence[Query]) -> Snapshot:
        """Return the results of all queries as of one instant, together with what others ask in this turn."""
        return await self._reads.ask(queries)

    def commit(self, commit: Commit) -> Awaitable[bool]:
        """Write all changes if every stamp is as given, in one round trip with the other commits of this turn."""
        return self._commits.ask(commit)

    async def close_queues(self) -> None:
        """Refuse further calls and wait for those under way; ``close`` calls this first."""
        await self._reads.close()
        await self._commits.close()

    async def _carry_reads(self, calls: Sequence[Sequence[Query]]) -> Sequence[Snapshot | Exception]:
        if len(calls) == 1:
            now, found = await self.read_batch(calls[0])
            return [snapshot_of(now, found)]
        places: dict[Query, int] = {}
        calls_places = [[places.setdefault(query, len(places)) for query in queries] for queries in calls]
        now, found = await self.read_batch(list(places))
        return [snapshot_of(now, [found[place] for place in call_places]) for call_places in calls_places]

    async def _carry_commits(self, commits: Sequence[Commit]) -> Sequence[bool | Exception]:
        try:
            return await self.commit_batch(commits)
        finally:
            if self.near_cache is not None:  # also where the outcome is unknown
                for commit in commits:
                    self.near_cache.wrote(commit.changes)
