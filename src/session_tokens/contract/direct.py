# Generated from contract/coalescing.py by tools/generate_sync.py; change that file and run it again.
"""A base for async stores on a server: runs rules optimistically, and sends concurrent calls together.

A store that subclasses ``DirectStore`` writes ``read_batch`` and ``commit_batch`` and gets the rest.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from .batch import Batch, Direct, snapshot_of
from .optimistic import BlockingOptimisticStore, Commit
from .queries import Query, Snapshot


class DirectStore(BlockingOptimisticStore):
    """An optimistic store whose calls have a connection each."""

    def __init__(self) -> None:
        self._reads: Direct[Sequence[Query], Snapshot] = Direct(self._carry_reads)
        self._commits: Direct[Commit, bool] = Direct(self._carry_commits)

    @abstractmethod
    def read_batch(self, queries: Sequence[Query]) -> Batch:
        """Return the results of queries as of one instant, in one round trip.

        Raises:
            StoreUnavailable: the store cannot be asked.
        """

    @abstractmethod
    def commit_batch(self, commits: Sequence[Commit]) -> Sequence[bool | Exception]:
        """Return for each commit whether it was written; each is atomic by itself.

        Raises:
            StoreUnavailable: the store cannot be asked; the outcome of all of them may be unknown.
        """

    def read_now(self, queries: Sequence[Query]) -> Snapshot:
        """Return the results of all queries as of one instant."""
        return self._reads.ask(queries)

    def commit_now(self, commit: Commit) -> bool:
        """Write all changes if every stamp is as given, in one round trip."""
        return self._commits.ask(commit)

    def close_queues(self) -> None:
        """Refuse further calls and wait for those under way; ``close`` calls this first."""
        self._reads.close()
        self._commits.close()

    def _carry_reads(self, calls: Sequence[Sequence[Query]]) -> Sequence[Snapshot | Exception]:
        if len(calls) == 1:
            now, found = self.read_batch(calls[0])
            return [snapshot_of(now, found)]
        places: dict[Query, int] = {}
        calls_places = [[places.setdefault(query, len(places)) for query in queries] for queries in calls]
        now, found = self.read_batch(list(places))
        return [snapshot_of(now, [found[place] for place in call_places]) for call_places in calls_places]

    def _carry_commits(self, commits: Sequence[Commit]) -> Sequence[bool | Exception]:
        try:
            return self.commit_batch(commits)
        finally:
            if self.near_cache is not None:  # also where the outcome is unknown
                for commit in commits:
                    self.near_cache.wrote(commit.changes)
