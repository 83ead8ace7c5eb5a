"""Connections of a store on a server: made when they are needed, kept while they are whole, for threads and for tasks.

Theory of operation. What is said over a connection is an exchange: a generator that yields what to ask and is sent the
answer (``contract.drive``). Whoever has one takes an idle connection, the one used last first, or makes one; at most
``size`` are out at once. Nothing runs in the background: whoever finds the server gone hears so at once, and whoever
comes when it is back connects anew. An idle connection on which something can be read has been closed by the server,
and is not used: so a restart of the server does not fail the next command. One that was left within a transaction, or
with an answer unread, is closed. A server that turns out not to be the primary (``Elsewhere``) is left with all
connections made so far, so that the next one may lead to that; so is one that is silent, where there are others.

What differs from server to server is ``Links``.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final, Generic, Protocol, TypeVar

from ...contract.drive import drive, drive_now
from ...contract.forks import Owned, anew_in_children
from ...errors import StoreBusy
from .retry import Closed, Elsewhere, NotExecuted, Silent, Waited

CONNECTING_MAX = 2
"""Connections that one pool makes at once."""
LOCK_PATIENCE_S: Final = 10.0
"""How long a step of a script waits for what others hold; what it does then may take longer by far."""

T = TypeVar("T")
Exchange = Generator[Any, Any, T]
"""What is said over one connection: it yields what to ask, is sent the answer, and returns what came of it."""


class _Link(Protocol):
    """What the connections of both kinds have in common.

    Attributes:
        generation: of the pool when the connection was made.
    """

    generation: int

    @property
    def is_idle(self) -> bool:
        """Whether it waits for the next question, outside any transaction."""
        ...

    @property
    def is_whole(self) -> bool:
        """Whether the server has not closed it while it was idle."""
        ...

    def close(self) -> None:
        """Let go of the connection; never raises."""
        ...


class Link(_Link, Protocol):
    """A connection for threads, one exchange at a time."""

    def ask(self, step: Any, timeout_s: float) -> Any:
        """Return the answer to one step of an exchange, within that many seconds.

        Raises:
            StoreError: the server said no, or nothing in time; then the connection is not idle any more.
        """
        ...


class AsyncLink(_Link, Protocol):
    """A connection of one event loop."""

    def ask(self, step: Any, timeout_s: float) -> Awaitable[Any]:
        """As ``Link.ask``. A caller that is cancelled leaves the connection busy, or closed."""
        ...

    def when_free(self, call: Callable[[Any], None]) -> None:
        """Call ``call(self)`` once no answer is under way any more: at once, where none is."""
        ...


def lock_patience_s(timeout_s: float, step_s: float) -> float:
    """Return how long a step may wait for what others hold.

    Args:
        timeout_s: of the store; whoever lets commands wait for longer means scripts too.
        step_s: that the step may take.
    """
    return min(step_s, max(LOCK_PATIENCE_S, timeout_s))


class Links(Protocol):
    """How a server is connected to.

    Attributes:
        server: its name, for people.
        holders: what shows who holds something there, for people.
        size: connections at most.
        timeout_s: seconds in which a connection must be made.
        has_other_hosts: whether another server may take the place of the one that is asked.
    """

    @property
    def server(self) -> str: ...  # noqa: D102  # above
    @property
    def holders(self) -> str: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102
    @property
    def timeout_s(self) -> float: ...  # noqa: D102
    @property
    def has_other_hosts(self) -> bool: ...  # noqa: D102

    def connect(self, timeout_s: float, step_s: float) -> Link:
        """Make a connection.

        Args:
            timeout_s: seconds in which it must be made.
            step_s: seconds that a question over it may take at the most, for servers that give up by themselves.

        Raises:
            StoreError: the server cannot be reached in time, or refuses.
        """
        ...

    async def connect_async(self, timeout_s: float, step_s: float) -> AsyncLink:
        """As ``connect``, for the running event loop."""
        ...


K = TypeVar("K", Link, AsyncLink)


class _Idle(Generic[K]):
    """The idle connections of one process; those of the process that it was forked from are not its own.

    These are kept, not closed: closing would ask the server to end the parent's connections.

    Safe for threads; as a connection comes and goes by one operation on a list, that needs no lock.

    Attributes:
        made: how many connections there are, those in use too.
        generation: how often the server turned out not to be the primary.
    """

    def __init__(self) -> None:
        self.made = self.generation = self._own_from = 0
        self._links: list[K] = []
        self._inherited: list[K] = []
        self._counting = threading.Lock()

    def begin_anew(self) -> None:
        """Leave all connections to the process that this one was forked from, those in use too."""
        self._inherited += self._links
        self._links, self.made = [], 0
        self.generation += 1
        self._own_from = self.generation
        self._counting = threading.Lock()

    def pop(self) -> K | None:
        """Return the connection that was used last and is whole, if there is one."""
        try:
            while True:
                link = self._links.pop()
                if link.is_whole:
                    return link
                self._drop(link)
        except IndexError:
            return None

    def push(self, link: K) -> None:
        """Keep a connection for the next caller, if it is in order and leads to the primary as far as is known."""
        if link.is_idle and link.generation == self.generation:
            self._links.append(link)
        else:
            self._drop(link)

    def count(self, link: K) -> K:
        """Count a connection that was made."""
        link.generation = self.generation
        with self._counting:
            self.made += 1
        return link

    def turn(self, link: K) -> None:
        """Close the idle connections, and those in use when they come back: where this one leads is no primary."""
        if link.generation == self.generation:
            self.generation += 1
            self.close()

    def _drop(self, link: K) -> None:
        if link.generation < self._own_from:
            self._inherited.append(link)
            return
        with self._counting:
            self.made -= 1
        link.close()

    def close(self) -> None:
        """Close all of them."""
        try:
            while True:
                self._drop(self._links.pop())
        except IndexError:
            return


def _closed() -> Closed:
    return Closed("the store is closed; open it again")


def _busy(links: Links) -> NotExecuted:
    return NotExecuted(
        f"all {links.size} connections to {links.server} were in use for {links.timeout_s:g} s; "
        "set a larger pool_size in the store's URL"
    )


def _left_s(until_s: float) -> float:
    """Return the seconds that are left, and a moment if none are."""
    return max(0.001, until_s - time.monotonic())


class _Waiter:
    """A thread that waits for a connection, or for leave to make one."""

    __slots__ = ("called", "link")

    def __init__(self) -> None:
        self.called = threading.Event()
        self.link: Link | None = None


class Pool:
    """Connections for threads.

    Who waits longest is served first: nobody who comes later takes a connection away from one who waits. Few are made
    at once: to those who wait, one that comes back is worth more than a server busy with new ones.

    Raises:
        StoreUnavailable: by ``take``, when all are in use for the length of the time-out, or after ``close_all``.
    """

    def __init__(self, links: Links) -> None:
        self._links = links
        self._idle: _Idle[Link] = _Idle()
        self._owned = Owned()
        self._is_closed = False
        self._begin()
        anew_in_children(self)

    def _begin(self) -> None:
        self._waiters: deque[_Waiter] = deque()
        self._lock = threading.Lock()
        self._connecting = 0

    def begin_anew(self) -> None:
        """Have connections of its own in the child of a fork, where nobody else waits for one or makes one."""
        self._begin()
        self._idle.begin_anew()

    def run(self, timeout_s: float, make: Callable[..., Exchange[T]], *args: object) -> T:
        """Return what an exchange over a connection of the pool returns.

        Args:
            timeout_s: seconds that all its steps may take together.
            make: makes the exchange.
            args: for ``make``.

        Raises:
            StoreError: the server said no, or nothing in time.
        """
        until_s = time.monotonic() + timeout_s
        link = self.take(timeout_s)
        try:
            return drive_now(make(*args), lambda step: link.ask(step, _left_s(until_s)))
        except (Elsewhere, Silent) as error:
            if isinstance(error, Elsewhere) or self._links.has_other_hosts:
                self._idle.turn(link)
            raise
        finally:
            self.give(link)

    def ask_one(self, timeout_s: float, step: Any) -> Any:
        """As ``run``, for an exchange of one step."""
        until_s = time.monotonic() + timeout_s
        link = self.take(timeout_s)
        try:
            return link.ask(step, _left_s(until_s))
        except (Elsewhere, Silent) as error:
            if isinstance(error, Elsewhere) or self._links.has_other_hosts:
                self._idle.turn(link)
            raise
        finally:
            self.give(link)

    def run_script(self, timeout_s: float, make: Callable[..., Exchange[T]], *args: object) -> T:
        """As ``run``, over a connection of its own, with ``timeout_s`` for each step."""
        link = self._links.connect(self._links.timeout_s, timeout_s)
        try:
            return drive_now(make(*args), lambda step: link.ask(step, timeout_s))
        except Waited as error:
            raise held_by_others(self._links) from error
        finally:
            link.close()

    def take(self, timeout_s: float) -> Link:
        """Return a whole connection; give it back."""
        self._owned.look(self.begin_anew)
        link = None if self._waiters else self._idle.pop()
        if self._is_closed:
            if link is not None:
                link.close()
            raise _closed()
        if link is not None:
            return link
        until_s = time.monotonic() + timeout_s
        return self._waited_for(timeout_s) or self._made(_left_s(until_s))

    def _waited_for(self, timeout_s: float) -> Link | None:
        """Return a connection that came back, or none with leave to make one."""
        waiter = _Waiter()
        with self._lock:
            self._waiters.append(waiter)
            self._serve()
        try:
            waiter.called.wait(timeout_s)
        except BaseException:  # interrupted
            self._leave(waiter)
            raise
        if self._is_closed or not waiter.called.is_set():
            self._leave(waiter)
            raise _closed() if self._is_closed else _busy(self._links)
        return waiter.link

    def _leave(self, waiter: _Waiter) -> None:
        """Let a thread go that waits no longer; what it was given meanwhile is for the next."""
        with self._lock:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif waiter.link is None:
                self._connecting -= 1
        if waiter.link is not None:
            self.give(waiter.link)
        else:
            with self._lock:
                self._serve()

    def _serve(self) -> None:
        """Call those for whom there is a connection, or leave to make one; the lock is held."""
        while self._waiters and not self._is_closed:
            link = self._idle.pop()
            if link is None:
                if self._connecting >= min(CONNECTING_MAX, self._links.size - self._idle.made):
                    return
                self._connecting += 1
            waiter = self._waiters.popleft()
            waiter.link = link
            waiter.called.set()

    def _made(self, timeout_s: float) -> Link:
        try:
            return self._idle.count(self._links.connect(timeout_s, self._links.timeout_s))
        finally:
            with self._lock:
                self._connecting -= 1
                self._serve()

    def give(self, link: Link) -> None:
        """Take back a connection; a broken one is closed."""
        self._idle.push(link)
        if self._is_closed:
            self._idle.close()
        elif self._waiters:
            with self._lock:
                self._serve()

    def close_all(self) -> None:
        """Close all idle connections; those in use are closed when they come back."""
        with self._lock:
            self._is_closed = True
            self._idle.close()
            for waiter in self._waiters:
                waiter.called.set()  # it takes itself away


class AsyncPool:
    """Connections for the tasks of one event loop."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._idle: _Idle[AsyncLink] = _Idle()
        self._free = asyncio.Semaphore(links.size)
        self._is_closed = False
        anew_in_children(self)

    def begin_anew(self) -> None:
        """As ``Pool.begin_anew``."""
        self._free = asyncio.Semaphore(self._links.size)
        self._idle.begin_anew()

    async def run(self, timeout_s: float, make: Callable[..., Exchange[T]], *args: object) -> T:
        """As ``Pool.run``."""
        until_s = time.monotonic() + timeout_s
        link = await self.take(timeout_s)
        try:
            return await drive(make(*args), lambda step: link.ask(step, _left_s(until_s)))
        except (Elsewhere, Silent) as error:
            if isinstance(error, Elsewhere) or self._links.has_other_hosts:
                self._idle.turn(link)
            raise
        finally:
            link.when_free(self._give)

    async def ask_one(self, timeout_s: float, step: Any) -> Any:
        """As ``Pool.ask_one``."""
        until_s = time.monotonic() + timeout_s
        link = await self.take(timeout_s)
        try:
            return await link.ask(step, _left_s(until_s))
        except (Elsewhere, Silent) as error:
            if isinstance(error, Elsewhere) or self._links.has_other_hosts:
                self._idle.turn(link)
            raise
        finally:
            link.when_free(self._give)

    async def run_script(self, timeout_s: float, make: Callable[..., Exchange[T]], *args: object) -> T:
        """As ``Pool.run_script``."""
        link = await self._links.connect_async(self._links.timeout_s, timeout_s)
        try:
            return await drive(make(*args), lambda step: link.ask(step, timeout_s))
        except Waited as error:
            raise held_by_others(self._links) from error
        finally:
            link.close()

    async def take(self, timeout_s: float) -> AsyncLink:
        """Return a whole connection; give it back by ``when_free``."""
        if self._is_closed:
            raise _closed()
        if self._free.locked():
            until_s = time.monotonic() + timeout_s
            try:
                async with asyncio.timeout(timeout_s):
                    await self._free.acquire()
            except TimeoutError:
                raise _busy(self._links) from None
            timeout_s = _left_s(until_s)
        else:
            await self._free.acquire()
        try:
            return self._idle.pop() or self._idle.count(
                await self._links.connect_async(timeout_s, self._links.timeout_s)
            )
        except BaseException:
            self._free.release()
            raise

    def _give(self, link: AsyncLink) -> None:
        self._idle.push(link)
        if self._is_closed:
            self._idle.close()
        self._free.release()

    async def close_all(self) -> None:
        """Wait for the answers that are under way, each of which has its time-out, and close all connections."""
        self._is_closed = True
        taken = 0
        try:
            for _ in range(self._links.size):
                await self._free.acquire()
                taken += 1
        finally:  # cancelled too: what is in use then is closed when it comes back, and the next call waits for it
            self._idle.close()
            for _ in range(taken):
                self._free.release()


def held_by_others(links: Links) -> StoreBusy:
    """Return what is said where a step of a script waited in vain."""
    return StoreBusy(
        f"somebody holds what this needs in {links.server}, such as a transaction that was left open, a backup or a "
        f"migration; see who by {links.holders}, let it end, and try again"
    )
