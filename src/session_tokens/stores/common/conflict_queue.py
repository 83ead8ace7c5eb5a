"""Commands of one process on the same owner, session or token: after a refusal they take turns.

Theory of operation. A commit that finds a stamp moved is refused and its command run again. Of n commands at once on
one owner one wins each time, so that n x n / 2 are refused, each with a round trip for its reads and another for its
commit, on a connection that it keeps from commands on other owners: with 64 threads on one owner that was over a
thousand refused commits, and four seconds. Therefore a command that was refused waits for its turn before it reads
again, and whoever comes while others wait queues up behind them: of each process one at a time goes on. Commands that
never disturb each other never wait: nothing is locked before the first refusal.

What a command reads first names what it is about (``queries_of``). There are few turns, picked by hash; two things may
share one, which costs only time. A turn is no lock that anything rests on: who waited for as long as the store's
time-out goes on without it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import TypeVar

from ...contract.queries import Query
from ...contract.store import BlockingOptimisticStore, Commit, OptimisticStore, attempts, pause_s
from ...contract.transaction import Rule

T = TypeVar("T")

TURNS = 64


def _place(queries: Sequence[Query]) -> int:
    return hash(queries[0]) % TURNS if queries else 0


class ConflictQueue(OptimisticStore):
    """Takes turns after a refusal, for tasks.

    Attributes:
        patience_s: how long a command waits for its turn at the most.
    """

    patience_s = 1.0

    def __init__(self) -> None:
        super().__init__()
        self._turns = [asyncio.Lock() for _ in range(TURNS)]

    async def run(self, rule: Rule[T], *args: object) -> T:
        """Read ahead, run, commit; again while a stamp moved, bounded, one after the other."""
        steps = attempts(rule, args)
        step, refused, held = next(steps), 0, False
        assert not isinstance(step, Commit)  # the first thing that a command does is to read
        turn = self._turns[_place(step)]
        try:
            held = turn.locked() and await self._taken(turn)
            while True:
                if isinstance(step, Commit):
                    written = await self.commit(step)
                    if not written:
                        refused += 1
                        self.conflicts += 1
                        if not held:
                            held = await self._taken(turn)
                        else:
                            await asyncio.sleep(pause_s(refused))
                    step = steps.send(written)
                else:
                    step = steps.send(await self.read(step))
        except StopIteration as stop:
            result, changes, now = stop.value
            self.listeners.tell(changes.notes, now)
            answer: T = result
            return answer
        finally:
            if held:
                turn.release()

    async def _taken(self, turn: asyncio.Lock) -> bool:
        try:
            async with asyncio.timeout(self.patience_s):
                return await turn.acquire()
        except TimeoutError:
            return False


class BlockingConflictQueue(BlockingOptimisticStore):
    """Takes turns after a refusal, for threads.

    Attributes:
        patience_s: how long a command waits for its turn at the most.
    """

    patience_s = 1.0

    def __init__(self) -> None:
        self._turns = [threading.Lock() for _ in range(TURNS)]

    def run_now(self, rule: Rule[T], *args: object) -> T:
        """Read ahead, run, commit; again while a stamp moved, bounded, one after the other."""
        steps = attempts(rule, args)
        step, refused, held = next(steps), 0, False
        assert not isinstance(step, Commit)  # the first thing that a command does is to read
        turn = self._turns[_place(step)]
        try:
            held = turn.locked() and turn.acquire(timeout=self.patience_s)
            while True:
                if isinstance(step, Commit):
                    written = self.commit_now(step)
                    if not written:
                        refused += 1
                        self.conflicts += 1
                        if not held:
                            held = turn.acquire(timeout=self.patience_s)
                        else:
                            time.sleep(pause_s(refused))
                    step = steps.send(written)
                else:
                    step = steps.send(self.read_now(step))
        except StopIteration as stop:
            result, changes, now = stop.value
            self.listeners.tell(changes.notes, now)
            answer: T = result
            return answer
        finally:
            if held:
                turn.release()
