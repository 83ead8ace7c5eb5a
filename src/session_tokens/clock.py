"""The clocks: instants are integer milliseconds since the epoch, and a clock never goes back while a process lives."""

from __future__ import annotations

import threading
from datetime import timedelta
from time import monotonic, monotonic_ns, time_ns
from typing import Any, Final, Protocol

from .compiler_hints import mypyc_attr
from .errors import InvalidInput

NEVER: Final = 2**63 - 1
"""The deadline of what has no deadline, in milliseconds: later than any instant.

What is on the way of every call asks ``is not NEVER`` before it compares: compiled code keeps a number of this size as
an object, and takes 300 instructions to compare two.
"""

LOCK_TIMEOUT_S = 0.1
_passed_s: Final = monotonic
"""At hand: compiled code looks for the names of another module in a dictionary, each time."""


class Clock(Protocol):
    """The time of a store that keeps its own."""

    def now(self) -> int:
        """Return the present instant in integer milliseconds since the epoch; never less than an earlier answer."""
        ...

    def raise_to(self, mark_ms: int) -> None:
        """Never answer less than ``mark_ms`` from now on."""
        ...


@mypyc_attr(allow_interpreted_subclasses=True)
class LocalClock:
    """A clock that compiled code can ask without looking for its method by name."""

    __slots__ = ()

    def now(self) -> int:
        """Return the present instant, as ``Clock.now`` does."""
        raise NotImplementedError


class _Adapted(LocalClock):
    """Another clock, such as one of an application's own."""

    __slots__ = ("_clock",)

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> int:
        """Return that clock's instant."""
        return self._clock.now()


def local(clock: Clock) -> LocalClock:
    """Return a clock as one that compiled code can ask at once; those of this module are that already."""
    return clock if isinstance(clock, LocalClock) else _Adapted(clock)


class SteadyClock(LocalClock):
    """The host's wall clock, made steady: when the wall steps back, time goes on by the monotonic clock.

    now = max(wall clock, last now + monotonic time elapsed since it), so it always advances. Within a millisecond the
    answer is that of its first call, which spares a busy program the arithmetic: half of what a verification costs.
    Whether that millisecond is over is asked in seconds, for two floats are compared in a fraction of the time of two
    large integers; they tell nanoseconds apart until the host has been up for months, and then still microseconds.
    """

    __slots__ = ("_lead_ns", "_lock", "_now_ms", "_until_s")

    def __init__(self) -> None:
        self._lead_ns = time_ns() - monotonic_ns()
        self._lock = threading.Lock()
        self._now_ms = 0
        self._until_s = 0.0  # the end of that millisecond on the monotonic clock

    def __reduce__(self) -> tuple[Any, ...]:
        return SteadyClock, ()  # of the host where it is taken out of a pickle

    def now(self) -> int:
        """Return the present instant in integer milliseconds since the epoch."""
        return self._now_ms if _passed_s() < self._until_s else self._next()

    def _next(self) -> int:
        # In the child of a fork the lock may be held for ever by a thread that is not there: then go on without it.
        held = self._lock.acquire(timeout=LOCK_TIMEOUT_S)
        try:
            passed = monotonic_ns()
            self._lead_ns = max(self._lead_ns, time_ns() - passed)
            now_ms, passed_ns = divmod(passed + self._lead_ns, 1_000_000)
            self._now_ms = now_ms  # before its end is set: a reader takes no lock
            self._until_s = (passed + 1_000_000 - passed_ns) / 1e9
            return now_ms
        finally:
            if held:
                self._lock.release()
            else:
                self._lock = threading.Lock()

    def raise_to(self, mark_ms: int) -> None:
        """Never answer less than ``mark_ms`` from now on (a high-water mark read from a store)."""
        lead_ns = mark_ms * 1_000_000 - monotonic_ns()
        if lead_ns > self._lead_ns:  # else what is known of this millisecond still holds
            self._lead_ns = lead_ns
            self._until_s = 0.0


@mypyc_attr(allow_interpreted_subclasses=True)
class ManualClock(LocalClock):
    """A clock that moves only when the test moves it, for tests of stores and applications.

    Args:
        start_ms: the first instant, in milliseconds since the epoch.
    """

    def __init__(self, start_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = start_ms
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return ManualClock, (self._now_ms,)

    def now(self) -> int:
        """Return the instant that the clock was last moved to, in milliseconds."""
        return self._now_ms

    def advance(self, seconds: float | timedelta = 0, *, ms: int = 0) -> int:
        """Move the clock on by ``seconds``, which may be a ``timedelta``, and ``ms``; return the new instant in ms.

        Raises:
            TypeError: for anything else.
            InvalidInput: for a step back; a store's clock never goes back.
        """
        if isinstance(seconds, timedelta):
            seconds = seconds.total_seconds()
        elif not isinstance(seconds, int | float):
            raise TypeError(f"a clock advances by seconds (int or float) or a timedelta, not {type(seconds).__name__}")
        step_ms = round(seconds * 1000) + ms
        if step_ms < 0:
            raise InvalidInput("a clock only advances; give a step of zero or more")
        with self._lock:
            self._now_ms += step_ms
            return self._now_ms

    def raise_to(self, mark_ms: int) -> None:
        """Move the clock on to ``mark_ms`` if it is behind."""
        with self._lock:
            self._now_ms = max(self._now_ms, mark_ms)
