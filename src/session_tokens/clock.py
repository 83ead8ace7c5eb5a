"""The clocks: instants are integer milliseconds since the epoch, and a clock never goes back while a process lives."""

from __future__ import annotations

import threading
from time import monotonic_ns, time_ns
from typing import Protocol

from .errors import InvalidInput

NEVER = 2**63 - 1
"""The deadline of what has no deadline, in milliseconds: later than any instant."""

JITTER_NS = 100_000
"""How far two clocks read one after the other may differ and still show the same instant."""


class Clock(Protocol):
    """What tells the time to a store that keeps its own."""

    def now(self) -> int:
        """Answer the present instant in integer milliseconds since the epoch; never less than an earlier answer."""
        ...

    def raise_to(self, mark_ms: int) -> None:
        """Never answer less than ``mark_ms`` from now on."""
        ...


class SteadyClock:
    """The host's wall clock, made steady: when the wall steps back, time goes on by the monotonic clock.

    now = max(wall clock, last now + monotonic time elapsed since it), so it always advances.
    """

    __slots__ = ("_lead_ns", "_lock")

    def __init__(self) -> None:
        self._lead_ns = time_ns() - monotonic_ns()
        self._lock = threading.Lock()

    def now(self) -> int:
        """Answer the present instant in integer milliseconds since the epoch."""
        wall = time_ns()
        monotonic = monotonic_ns()
        if wall - monotonic - self._lead_ns > JITTER_NS:
            self._lead_by(wall - monotonic)
        return (monotonic + self._lead_ns) // 1_000_000

    def _lead_by(self, lead_ns: int) -> None:
        with self._lock:
            self._lead_ns = max(self._lead_ns, lead_ns)

    def raise_to(self, mark_ms: int) -> None:
        """Never answer less than ``mark_ms`` from now on (a high-water mark read from a store)."""
        self._lead_by(mark_ms * 1_000_000 - monotonic_ns())


class ManualClock:
    """A clock that moves only when told, for tests of stores and applications.

    Args:
        start_ms: the first instant, in milliseconds since the epoch.
    """

    def __init__(self, start_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = start_ms
        self._lock = threading.Lock()

    def now(self) -> int:
        """Answer the instant that the clock was last moved to, in milliseconds."""
        return self._now_ms

    def advance(self, seconds: float = 0, *, ms: int = 0) -> int:
        """Move the clock on by ``seconds`` and ``ms``; answer the new instant in milliseconds.

        Raises:
            InvalidInput: for a step back; a store's clock never goes back.
        """
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
