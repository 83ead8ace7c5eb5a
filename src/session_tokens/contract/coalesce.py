"""Joins what concurrent calls on an async store ask in one turn of the event loop into one batch for the server.

Theory of operation. A call puts its queries (or its commit) and a future into a queue and waits for the future. At the
end of the turn a worker, a task of its own, carries the queue to the store: queries that several calls have in common
are asked once, commits travel side by side, each still atomic by itself. While all workers are under way the queue
grows, so the batches become larger as the load does.

- *Linearizable*: a call only ever joins a batch that has not been sent, so what it reads is as of a later instant.
- *Cancelled calls*: only the caller's own future is cancelled. The worker who holds the connection goes on and reads
  the reply to its end, so no reply is left over that could be handed to another caller. A call that is cancelled
  before its batch is sent is never sent.
- *Back-pressure*: a queue holds at most ``WAITING_MAX`` calls; further callers wait until there is room.

``CoalescingStore`` stands on it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from ..errors import StoreUnavailable
from .own_errors import own_copy

Q = TypeVar("Q")
A = TypeVar("A")

BATCH_MAX = 256
"""Calls that travel together at the most."""
IN_FLIGHT_MAX = 2
"""Workers of one kind: one waits for the server while the other makes the next batch ready."""
SHARE_FROM = 16
"""Calls from which on two workers share them."""
WAITING_MAX = 10_000
"""Calls of one kind that may wait to be sent."""


class Home:
    """The one event loop of a store, with which all its queues and connections are: that on which it is first asked."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def insist(self, loop: asyncio.AbstractEventLoop) -> None:
        """Accept it if it is that one.

        Raises:
            RuntimeError: it is another.
        """
        if self._loop is None:
            self._loop = loop
        elif loop is not self._loop:
            raise RuntimeError("an async store belongs to the event loop it was first used on; open one for each loop")


class Coalescer(Generic[Q, A]):
    """Carries the questions of one turn of the loop together.

    Args:
        carry: answers many questions in one go, in their order; an exception in place of an answer goes to the one
            caller that asked, a raised one to all of them.
        batch_max: questions that travel together at the most.
        waiting_max: questions that may wait; further callers wait until there is room.
        share_from: questions from which on two workers share them, so that the server works on one half while this
            process works on the other; 0 for never, where the server's part is small.
        alone: answers one question that travels by itself, where that is less work; raises what is for its caller.
        in_flight_max: how many workers there are.
        home: the event loop of all the queues of a store; a queue by itself has one of its own.
    """

    def __init__(
        self,
        carry: Callable[[Sequence[Q]], Awaitable[Sequence[A | Exception]]],
        *,
        batch_max: int = BATCH_MAX,
        waiting_max: int = WAITING_MAX,
        share_from: int = 0,
        alone: Callable[[Q], Awaitable[A]] | None = None,
        in_flight_max: int = IN_FLIGHT_MAX,
        home: Home | None = None,
    ) -> None:
        self._carry = carry
        self._alone = alone
        self._in_flight_max = in_flight_max
        self._share_from = share_from
        self._batch_max = batch_max
        self._waiting_max = waiting_max
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()
        self._for_room: deque[asyncio.Future[None]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._idle: list[asyncio.Future[None]] = []
        self._called = False
        self._coming: asyncio.Task[None] | None = None
        self._closed = False
        self._home = Home() if home is None else home
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def waiting(self) -> int:
        """How many questions wait to be sent."""
        return len(self._waiting)

    def ask(self, question: Q) -> Awaitable[A]:
        """Return one question, carried together with the others of this turn; to be awaited at once.

        Raises:
            StoreUnavailable: it was closed; or whatever the store raised for this question.
            RuntimeError: it is used from another event loop than before.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._home.insist(loop)
            self._loop = loop
        if len(self._waiting) >= self._waiting_max:
            return self._ask_later(question, loop)
        if self._closed:
            raise StoreUnavailable("the store is closed; open it again")
        future: asyncio.Future[A] = loop.create_future()
        self._waiting.append((question, future))
        if not self._called:
            self._call(loop)
        return future

    async def _ask_later(self, question: Q, loop: asyncio.AbstractEventLoop) -> A:
        while len(self._waiting) >= self._waiting_max:
            await self._room(loop)
        return await self.ask(question)

    def _call(self, loop: asyncio.AbstractEventLoop) -> None:
        """Call a worker, who comes at the end of the turn; while all are on their way, the next one back comes."""
        while self._idle:
            idle = self._idle.pop()
            if not idle.done():  # else that worker was cancelled, and comes no more
                self._called = True
                idle.set_result(None)
                return
        if len(self._workers) < self._in_flight_max:
            self._called = True
            worker = self._coming = loop.create_task(self._worker(loop), name="session-tokens worker")
            self._workers.add(worker)
            worker.add_done_callback(self._ended)

    def _ended(self, worker: asyncio.Task[None]) -> None:
        """Call another one for those who wait if a worker was cancelled, as a program does that cancels all tasks."""
        self._workers.discard(worker)
        if worker is self._coming:  # before its first step
            self._coming, self._called = None, False
        if not self._called and any(not future.done() for _, future in self._waiting):
            self._call(worker.get_loop())

    async def _worker(self, loop: asyncio.AbstractEventLoop) -> None:
        """Carry batch after batch until the store is closed."""
        self._coming = None
        while True:
            self._called = False
            batch = self._taken()
            if self._waiting:
                self._call(loop)
            if batch:
                await self._travel(batch)
                if self._waiting and not self._called:  # some of those just answered will ask more in the next turn
                    self._called = True
                    await self._called_until(asyncio.sleep(0))
            elif self._closed:
                return
            else:
                idle: asyncio.Future[None] = loop.create_future()
                self._idle.append(idle)
                await self._called_until(idle)

    async def _called_until(self, turn: Awaitable[None]) -> None:
        """Wait for the turn of a worker; if it ends before, somebody else has to be called."""
        try:
            await turn
        except asyncio.CancelledError:
            self._called = False
            raise

    def _taken(self) -> list[tuple[Q, asyncio.Future[A]]]:
        """Take what waits, up to a batch, out of the queue; calls whose caller has gone are dropped."""
        waiting, limit = self._waiting, self._batch_max
        if 0 < self._share_from <= len(waiting) and (self._idle or len(self._workers) < self._in_flight_max):
            limit = min(limit, (len(waiting) + 1) // 2)
        if len(waiting) <= limit:
            batch = [call for call in waiting if not call[1].done()]
            waiting.clear()
        else:
            batch = []
            while waiting and len(batch) < limit:
                call = waiting.popleft()
                if not call[1].done():
                    batch.append(call)
        if self._for_room:
            self._wake(self._waiting_max - len(self._waiting))
        return batch

    async def _room(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait until the queue may have room; the one woken passes the word on if it leaves without using it."""
        room: asyncio.Future[None] = loop.create_future()
        self._for_room.append(room)
        try:
            await room
        except asyncio.CancelledError:
            if room.done() and not room.cancelled():
                self._wake(1)
            raise

    def _wake(self, places: int) -> None:
        while self._for_room and places > 0:
            room = self._for_room.popleft()
            if not room.done():
                room.set_result(None)
                places -= 1

    async def _travel(self, batch: Sequence[tuple[Q, asyncio.Future[A]]]) -> None:
        try:
            answers: Sequence[A | Exception]
            if self._alone is not None and len(batch) == 1:
                answers = [await self._alone(batch[0][0])]
            else:
                answers = await self._carry([question for question, _ in batch])
                assert len(answers) == len(batch)
        except BaseException as error:
            ended = isinstance(error, Exception)
            for _, future in batch:
                if not future.done():
                    future.set_exception(own_copy(error) if ended else StoreUnavailable("the event loop is ending"))
            if not ended:
                raise
            return
        told: set[int] | None = None
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                told = set() if told is None else told
                future.set_exception(own_copy(answer) if id(answer) in told else answer)
                told.add(id(answer))
            else:
                future.set_result(answer)

    async def close(self) -> None:
        """Refuse what waits and wait for what is under way."""
        self._closed = True
        while self._waiting:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(StoreUnavailable("the store was closed before this was sent"))
        self._wake(len(self._for_room))
        for idle in self._idle:
            if not idle.done():
                idle.set_result(None)
        while self._workers:
            await asyncio.wait(self._workers)
