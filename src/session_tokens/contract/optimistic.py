"""Runs rules with optimistic locking: read, run the rule, commit if nothing that was read has changed, else retry.

Where a store has a ``RecordCache``, a command on what was seen lately commits at once, and reads where that is refused.
``attempts`` is the one loop of it, for tasks and for threads, with and without a conflict queue. ``OptimisticStore``
and ``BlockingOptimisticStore`` drive it; their authors write ``read``, ``commit``, ``due`` and ``close``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Generator
from typing import Any, NamedTuple, TypeVar

from ..errors import UNREADABLE, StoreBusy, StoreError, StoreUnavailable
from ..settings import ATTEMPTS_MAX
from .changes import Changes
from .conflict_queue import ConflictQueue, Pause, pause_after, paused, paused_now
from .drive import drive, drive_now
from .queries import Query, Snapshot, Stamp
from .record_cache import RecordCache
from .store import BlockingStore, Store
from .transaction import Missing, ReadAhead, Rule, queries_of

T = TypeVar("T")


class Commit(NamedTuple):
    """What an optimistic store is asked to write: all of it if no stamp moved and it is not too late, else nothing.

    Attributes:
        changes: the pairs of old and new record.
        stamps: name of each part that was read → its stamp then (absent parts too).
        now: the instant at which the rule judged, in milliseconds.
    """

    changes: Changes
    stamps: dict[Any, Stamp]
    now: int

    @property
    def not_after(self) -> int:
        """The instant at which, and after which, it is refused as if a stamp had moved, in milliseconds."""
        return self.changes.not_after


Step = list[Query] | Commit | Pause
"""What to read (answered by a ``Snapshot``), to commit (by whether it was), or to wait for (by whether one has it)."""


def attempts(
    rule: Rule[T], args: tuple[object, ...], queue: ConflictQueue | None = None
) -> Generator[Step, Any, tuple[T, Changes, int]]:
    """Run a rule optimistically: yield what to do and take what came of it.

    Return the rule's answer, its change set and the instant of the commit. A refusal is only raised once the reads
    on which it rests are known to hold together, which one round trip gives; reads of several are checked by an
    empty commit.

    Args:
        rule: the rule.
        args: what it is called with, after the transaction.
        queue: where commands on the same things take turns after a refusal.

    Raises:
        StoreBusy: after ``ATTEMPTS_MAX`` commits that were refused: of as many callers at once, each gets its turn.
    """
    queries = list(dict.fromkeys(queries_of(rule, args)))
    turn = None if queue is None else queue.turn_of(queries)
    refused, has_turn = 0, False
    unread: dict[Query, StoreError] = {}
    try:
        if queue is not None and turn is not None and turn.locked():
            has_turn = yield Pause(queue.patience_s, turn)
        for _ in range(4 * ATTEMPTS_MAX):  # a run that only found what else to read is none of its own
            if refused == ATTEMPTS_MAX:
                break
            try:
                snapshot: Snapshot = yield queries
            except UNREADABLE:
                if not (yield from _told_apart(queries, unread)):
                    raise
                continue
            tx = ReadAhead(snapshot.now, dict(zip(queries, snapshot.found, strict=True)), unread)
            try:
                result = rule(tx, *args)
            except Missing as missing:
                if any(query in queries for query in missing.queries):
                    raise AssertionError(f"the store did not answer {missing.queries}") from None
                queries += dict.fromkeys(missing.queries)
                continue
            if not tx.changes or (yield Commit(tx.changes, tx.used, snapshot.now)):
                return result, tx.changes, snapshot.now
            refused += 1
            if queue is None or has_turn:
                yield pause_after(refused)
            else:
                has_turn = yield Pause(queue.patience_s, turn)
    finally:
        if has_turn and turn is not None:
            turn.release()
    raise StoreBusy(f"others changed the same records first, {ATTEMPTS_MAX} times; try again later")


def _told_apart(queries: list[Query], unread: dict[Query, StoreError]) -> Generator[Step, Any, bool]:
    """Take out of queries those whose records cannot be read, and keep their errors; return whether any was.

    So a rule that can do without such a record goes on, and every other one gets the error where it asks for it.
    """
    before = len(unread)
    for query in tuple(queries):
        try:
            yield [query]
        except UNREADABLE as error:
            unread[query] = error
            queries.remove(query)
    return len(unread) > before


class OptimisticStore(Store):
    """A store that commits a change set if no stamp moved since it was read, and nothing judged alive has died.

    Attributes:
        conflicts: how many commits were refused because a stamp had moved or it was too late.
        conflict_queue: where its commands take turns after a refusal; else they wait a little, each by itself.
        record_cache: what was seen lately, for stores that tell it what they read and wrote.
    """

    side_by_side = True
    conflicts = 0
    conflict_queue: ConflictQueue | None = None
    record_cache: RecordCache | None = None

    @abstractmethod
    def commit(self, commit: Commit) -> Awaitable[bool]:
        """Write all changes atomically if every stamp is as given and now is before ``not_after``; return whether.

        Raises:
            StoreUnavailable: the store cannot be asked; the outcome may be unknown.
        """

    async def run(self, rule: Rule[T], *args: object) -> T:
        """Commit on what was seen lately, or read ahead, run, commit; again while a stamp moved, with jitter."""
        cache, queue = self.record_cache, self.conflict_queue
        if cache is not None and (cached := cache.cached_run(rule, args, queue)) is not None:
            result, tx = cached  # most commands are done by this one step, so it is taken without a generator
            changes, now = tx.changes, tx.now
            if not await self._written(Commit(changes, tx.used, now)):
                cache.was_wrong()
                result, changes, now = await self._attempted(rule, args)
            elif cache.refusals:
                cache.was_right()
        else:
            result, changes, now = await self._attempted(rule, args)
        if self.listeners.callbacks:
            self.listeners.tell(changes.notes, now)
        return result

    async def _attempted(self, rule: Rule[T], args: tuple[object, ...]) -> tuple[T, Changes, int]:
        """Read, run and commit where nothing was known, or wrongly; return as ``attempts`` does."""
        return await drive(attempts(rule, args, self.conflict_queue), self._take)

    async def _written(self, guess: Commit) -> bool:
        """Commit what was judged on what was seen lately; return whether that was right."""
        if self.listeners.kept:
            guess.changes.keep_events(guess.now)
        try:
            if await self.commit(guess):
                return True
        except StoreUnavailable as error:
            if not error.did_nothing:
                raise
            return False  # what is there may need no room, as a command that was carried out before
        self.conflicts += 1
        return False

    async def _take(self, step: Step) -> Any:
        """Take one step of a command."""
        if isinstance(step, Commit):
            if self.listeners.kept:
                step.changes.keep_events(step.now)
            written = await self.commit(step)
            if not written:
                self.conflicts += 1
            return written
        if isinstance(step, Pause):
            return await paused(step)
        return await self.read(step)


class BlockingOptimisticStore(BlockingStore):
    """The same for a store whose work never waits on an event loop."""

    side_by_side = True
    conflicts = 0
    conflict_queue: ConflictQueue | None = None
    record_cache: RecordCache | None = None

    @abstractmethod
    def commit_now(self, commit: Commit) -> bool:
        """As ``OptimisticStore.commit``, at once."""

    def run_now(self, rule: Rule[T], *args: object) -> T:
        """Commit on what was seen lately, or read ahead, run, commit; again while a stamp moved, with jitter."""
        cache, queue = self.record_cache, self.conflict_queue
        if cache is not None and (cached := cache.cached_run(rule, args, queue)) is not None:
            result, tx = cached
            changes, now = tx.changes, tx.now
            if not self._written_now(Commit(changes, tx.used, now)):
                cache.was_wrong()
                result, changes, now = self._attempted_now(rule, args)
            elif cache.refusals:
                cache.was_right()
        else:
            result, changes, now = self._attempted_now(rule, args)
        if self.listeners.callbacks:
            self.listeners.tell(changes.notes, now)
        return result

    def _attempted_now(self, rule: Rule[T], args: tuple[object, ...]) -> tuple[T, Changes, int]:
        """As ``OptimisticStore._attempted``, at once."""
        return drive_now(attempts(rule, args, self.conflict_queue), self._take_now)

    def _written_now(self, guess: Commit) -> bool:
        """As ``OptimisticStore._written``, at once."""
        if self.listeners.kept:
            guess.changes.keep_events(guess.now)
        try:
            if self.commit_now(guess):
                return True
        except StoreUnavailable as error:
            if not error.did_nothing:
                raise
            return False
        self.conflicts += 1
        return False

    def _take_now(self, step: Step) -> Any:
        """Take one step of a command."""
        if isinstance(step, Commit):
            if self.listeners.kept:
                step.changes.keep_events(step.now)
            written = self.commit_now(step)
            if not written:
                self.conflicts += 1
            return written
        if isinstance(step, Pause):
            return paused_now(step)
        return self.read_now(step)
