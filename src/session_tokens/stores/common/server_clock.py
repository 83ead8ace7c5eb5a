"""An estimate of the server's clock, from the instants in its answers."""

from __future__ import annotations

import time

_DRIFT_NS = 1_000_000_000


class ServerClock:
    """The server's clock as this process knows it; records compute their time left by it, and no rule judges by it.

    An answer's instant is older than its arrival, so of several estimates the later one is the better one, until
    they fall behind by more than a second: then the server's clock was set back. Before the first answer it is the
    host's clock.
    """

    __slots__ = ("_lead_ns",)

    def __init__(self) -> None:
        self._lead_ns = time.time_ns() - time.monotonic_ns()

    def now(self) -> int:
        """Return the present instant on the server's clock in integer milliseconds, as well as it is known."""
        return (time.monotonic_ns() + self._lead_ns) // 1_000_000

    def heard(self, now_ms: int) -> None:
        """Take in the instant of an answer that has just arrived."""
        lead = now_ms * 1_000_000 - time.monotonic_ns()
        if lead > self._lead_ns or self._lead_ns - lead > _DRIFT_NS:
            self._lead_ns = lead

    def raise_to(self, mark_ms: int) -> None:
        """Never answer less than ``mark_ms`` until the next answer says otherwise."""
        self._lead_ns = max(self._lead_ns, mark_ms * 1_000_000 - time.monotonic_ns())
