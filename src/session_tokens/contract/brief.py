"""Waits for something, up to a bound; then the caller goes on, the work too, and its result is dropped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar, cast

from ..errors import StoreBusy, StoreUnavailable
from .forks import in_children
from .threads import started

T = TypeVar("T")

THREADS_MAX = 32
"""Threads of a process in which something is done for callers who do not wait for long."""

_under_way: set[Any] = set()  # tasks that nobody waits for: without a name they would be collected
_places = threading.BoundedSemaphore(THREADS_MAX)


def _begin_anew() -> None:
    """Give all places free in a forked process: the threads that held them are not there."""
    global _places
    _places = threading.BoundedSemaphore(THREADS_MAX)


in_children(_begin_anew)


def late(patience_s: float) -> StoreBusy:
    """Return the error for who does not wait any longer."""
    return StoreBusy(f"the store did not carry it out within {patience_s:g} s; it may still do so")


async def awaited_within(patience_s: float, call: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine answers, if it does within ``patience_s`` seconds.

    It goes on by itself for who is cancelled meanwhile, too.

    Raises:
        StoreBusy: it did not; it goes on by itself.
    """
    from asyncio import create_task, wait  # a program without an event loop never pays for it

    task = create_task(call)
    _under_way.add(task)
    task.add_done_callback(_let_go)
    done, _ = await wait([task], timeout=patience_s)
    if not done:
        raise late(patience_s)
    return task.result()


def _let_go(task: Any) -> None:
    _under_way.discard(task)
    if not task.cancelled():
        task.exception()  # read, so that asyncio does not log it as never retrieved


def done_within(patience_s: float, call: Callable[[], T]) -> T:
    """Make a call in a thread of its own; return what it answers, if it does within ``patience_s`` seconds.

    Raises:
        StoreBusy: it did not, and goes on by itself; or all threads are taken, and it was not made.
        StoreUnavailable: no thread can be started.
    """
    places, until_s = _places, time.monotonic() + patience_s
    if not places.acquire(timeout=patience_s):
        raise late(patience_s)
    made = _Call(call, places)
    try:
        started("brief call", made.make)
    except StoreUnavailable:
        places.release()
        raise
    return made.outcome(until_s, patience_s)


class _Call(Generic[T]):
    """A call and its outcome."""

    def __init__(self, call: Callable[[], T], places: threading.BoundedSemaphore) -> None:
        self._call = call
        self._places = places
        self._done = threading.Event()
        self._answer: T | None = None
        self._error: BaseException | None = None

    def make(self) -> None:
        try:
            self._answer = self._call()
        except BaseException as error:
            self._error = error
        finally:
            self._places.release()
            self._done.set()

    def outcome(self, until_s: float, patience_s: float) -> T:
        if not self._done.wait(max(0.0, until_s - time.monotonic())):
            raise late(patience_s)
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # a traceback that holds its own error is only freed by the collector
        return cast("T", self._answer)
