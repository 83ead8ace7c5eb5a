"""An estimate of a server's clock, from the instants in its answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

_WINDOW_NS = 1_000_000_000


class ServerClock:
    """The server's clock as this process knows it; records compute their time left by it, and no rule judges by it.

    An answer's instant is older than its arrival, so of several estimates the latest one is the best one. They count
    for a second or two: a server's clock may be set back, by little or by much, and an estimate that stays ahead of it
    would have every command judged at an instant that the server has not reached. Before the first answer it is the
    host's clock.

    Args:
        steady_ns: returns the nanoseconds that have passed since whenever.
    """

    __slots__ = ("_lead_ns", "_recent_ns", "_steady_ns", "_until_ns")

    def __init__(self, steady_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._steady_ns = steady_ns
        at_ns = steady_ns()
        self._lead_ns = self._recent_ns = time.time_ns() - at_ns
        self._until_ns = at_ns - _WINDOW_NS  # over for long: the first answer counts, whatever the host's clock says

    def __reduce__(self) -> tuple[Any, ...]:
        # A steady clock counts from another instant on each host, and from each start of one; a wall clock does not.
        return _ahead_of_the_host, (self._steady_ns() + self._lead_ns - time.time_ns(),)

    def now(self) -> int:
        """Return the present instant on the server's clock in integer milliseconds, as well as it is known."""
        return (self._steady_ns() + self._lead_ns) // 1_000_000

    def heard(self, now_ms: int) -> None:
        """Take in the instant of an answer that has just arrived."""
        at_ns = self._steady_ns()
        lead_ns = now_ms * 1_000_000 - at_ns
        if at_ns >= self._until_ns:
            was_just_now = at_ns - self._until_ns < _WINDOW_NS
            self._lead_ns = max(self._recent_ns, lead_ns) if was_just_now else lead_ns
            self._recent_ns = lead_ns
            self._until_ns = at_ns + _WINDOW_NS
        elif lead_ns > self._recent_ns:
            self._recent_ns = lead_ns
            if lead_ns > self._lead_ns:
                self._lead_ns = lead_ns

    def raise_to(self, mark_ms: int) -> None:
        """Never answer less than ``mark_ms`` until answers of the next seconds say otherwise."""
        self._lead_ns = max(self._lead_ns, mark_ms * 1_000_000 - self._steady_ns())


def _ahead_of_the_host(ahead_ns: int) -> ServerClock:
    """Return the clock of a server that is so far ahead of the host's."""
    clock = ServerClock()
    clock._lead_ns = clock._recent_ns = clock._lead_ns + ahead_ns
    return clock
