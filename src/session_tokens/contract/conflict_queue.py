"""Has the commands of one process that collide on an owner, session or token take turns after the first collision.

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

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from .forks import anew_in_children
from .queries import Query

TURNS = 64


class Turn(Protocol):
    """A lock: ``asyncio.Lock`` for tasks, ``threading.Lock`` for threads."""

    @property
    def acquire(self) -> Any:
        """Wait for the turn, as the kind of lock does."""

    def locked(self) -> bool:
        """Whether someone has the turn."""

    def release(self) -> None:
        """Let the next one go on."""


class ConflictQueue:
    """The turns of one store.

    Args:
        lock: makes a lock: ``asyncio.Lock`` or ``threading.Lock``.
        patience_s: how long a command waits for its turn at the most.
    """

    def __init__(self, lock: Callable[[], Turn], patience_s: float) -> None:
        self._lock = lock
        self.patience_s = patience_s
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        """Let nobody have a turn: in the child of a fork, those who had one are not there to let go of it."""
        self._turns = [self._lock() for _ in range(TURNS)]

    def turn_of(self, queries: Sequence[Query]) -> Turn:
        """Return the turn of a command that reads this first."""
        return self._turns[hash(queries[0]) % TURNS if queries else 0]


class Pause(NamedTuple):
    """What a command does before it goes on.

    Attributes:
        seconds: how long it waits, at the most.
        turn: what it waits for, if it does not just let time pass.
    """

    seconds: float
    turn: Turn | None = None


def pause_after(refused: int) -> Pause:
    """Return how long to wait before the next attempt: full jitter, doubling from 1 ms to 64 ms, none at first."""
    return Pause(0.0 if refused < 2 else random.uniform(0, min(0.064, 0.001 * 2**refused)))


async def paused(pause: Pause) -> bool:
    """Wait, and return whether the command has its turn now."""
    from asyncio import sleep, timeout  # a program without an event loop never pays for it

    if pause.turn is None:
        await sleep(pause.seconds)
        return False
    try:
        async with timeout(pause.seconds):
            return bool(await pause.turn.acquire())
    except TimeoutError:
        return False


def paused_now(pause: Pause) -> bool:
    """As ``paused``, on the caller's thread."""
    if pause.turn is None:
        time.sleep(pause.seconds)
        return False
    return bool(pause.turn.acquire(timeout=pause.seconds))
