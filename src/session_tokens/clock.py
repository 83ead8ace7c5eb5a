"""The clocks: instants are integer milliseconds since the epoch, and a clock never goes back while a process lives."""

from __future__ import annotations

import threading
from time import monotonic, time
from typing import Protocol

from .errors import InvalidInput

NEVER = 2**63 - 1
"""The deadline of what has no deadline, in milliseconds: later than any instant."""

LOOK_AGAIN_S = 0.001
"""How long a steady clock goes on by the monotonic clock alone: below the millisecond that it counts in."""


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

    now = max(wall clock, last now + monotonic time elapsed since it), so it always advances. The wall is looked at
    again once ``LOOK_AGAIN_S`` has passed.
    """

    __slots__ = ("_lead_s", "_lock", "_look_at_s")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lead_s = time() - monotonic()
        self._look_at_s = 0.0

    def now(self) -> int:
        """Answer the present instant in integer milliseconds since the epoch."""
        now_s = monotonic()
        if now_s >= self._look_at_s:
            self._lead_by(time() - now_s)
            self._look_at_s = now_s + LOOK_AGAIN_S
        return int((now_s + self._lead_s) * 1000)

    def _lead_by(self, lead_s: float) -> None:
        if lead_s > self._lead_s:
            with self._lock:
                self._lead_s = max(self._lead_s, lead_s)

    def raise_to(self, mark_ms: int) -> None:
        """Never answer less than ``mark_ms`` from now on (a high-water mark read from a store)."""
        self._lead_by((mark_ms + 0.5) / 1000 - monotonic())


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
