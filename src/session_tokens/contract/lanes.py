"""Queues of questions, one for each server that answers some of them: a server that is slow holds up its own alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Generic, TypeVar

from ..errors import StoreUnavailable
from .batch import Direct
from .coalesce import Coalescer, Home

K = TypeVar("K", bound=Hashable)
Q = TypeVar("Q")
A = TypeVar("A")


class Lanes(Generic[K, Q, A]):
    """For asyncio: the questions of one turn to one server travel together, and those to others beside them.

    While one batch is under way to a server the next one grows, and this process works on what the others have said.

    Args:
        carry: answers many questions to the server that is named; as for ``Coalescer``.
        home: the event loop of the store.
    """

    def __init__(self, carry: Callable[[K, Sequence[Q]], Awaitable[Sequence[A | Exception]]], *, home: Home) -> None:
        self._carry = carry
        self._home = home
        self._lanes: dict[K, Coalescer[Q, A]] = {}
        self._closed = False

    def ask(self, server: K, question: Q) -> Awaitable[A]:
        """Return what a server answers; as ``Coalescer.ask``."""
        lane = self._lanes.get(server)
        if lane is None:
            if self._closed:
                raise StoreUnavailable("the store is closed; open it again")
            lane = self._lanes[server] = Coalescer(partial(self._carry, server), in_flight_max=1, home=self._home)
        return lane.ask(question)

    async def close(self) -> None:
        """Refuse what waits and wait for what is under way."""
        self._closed = True
        for lane in list(self._lanes.values()):
            await lane.close()


class DirectLanes(Generic[K, Q, A]):
    """For threads, where each question goes by itself; as ``Lanes``."""

    def __init__(self, carry: Callable[[K, Sequence[Q]], Sequence[A | Exception]]) -> None:
        self._carry = carry
        self._lanes: dict[K, Direct[Q, A]] = {}
        self._closed = False

    def ask(self, server: K, question: Q) -> A:
        """Return what a server answers; as ``Direct.ask``."""
        lane = self._lanes.get(server)
        if lane is None:
            if self._closed:
                raise StoreUnavailable("the store is closed; open it again")
            lane = self._lanes[server] = Direct(partial(self._carry, server))
        return lane.ask(question)

    def close(self) -> None:
        """Refuse further questions."""
        self._closed = True
        for lane in list(self._lanes.values()):
            lane.close()
