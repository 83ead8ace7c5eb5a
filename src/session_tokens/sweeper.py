"""The sweeper: cleans up behind deadlines, to free space and report each end as an event. Nothing depends on it.

What a log of events keeps too many of is cut in ``_async/core``, beside the sweep.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Awaitable, Callable

from .contract.queries import DueRecord
from .contract.threads import started
from .contract.transaction import Rule
from .errors import AdapterError, SessionTokensError, StoreBusy, StoreUnavailable
from .rules.expiry import sweep_idempotency, sweep_session, sweep_token

log = logging.getLogger("session_tokens.sweeper")

SWEEP_RULES: dict[str, Rule[bool]] = {
    "session": sweep_session,
    "token": sweep_token,
    "idempotency": sweep_idempotency,
}
"""Which rule looks at a key of each kind."""

BATCH = 1_000
PASSED_OVER_S = 600.0
PASSED_OVER_MAX = 100_000
OUTAGES = (StoreUnavailable, StoreBusy, AdapterError)
IDLE_INTERVALS_MAX = 4
"""After runs with nothing to do the next one waits longer, up to so many intervals."""


class PassedOver:
    """Keys of what is due and cannot be read: they stand first in what is due, so that many more must be asked for.

    After ``PASSED_OVER_S`` all are tried again: they may have been restored.
    """

    def __init__(self) -> None:
        self._keys: set[DueRecord] = set()
        self._since_s = 0.0

    def present(self) -> frozenset[DueRecord]:
        """Return the keys to pass over now."""
        if self._keys and time.monotonic() - self._since_s > PASSED_OVER_S:
            self._keys.clear()
        return frozenset(self._keys)

    def add(self, key: DueRecord) -> None:
        """Pass a key over from now on."""
        if not self._keys:
            self._since_s = time.monotonic()
        if not self.is_full:
            self._keys.add(key)

    @property
    def is_full(self) -> bool:
        """Whether no more are remembered."""
        return len(self._keys) >= PASSED_OVER_MAX


def _next_wait(cleaned: int, waited_s: float, interval_s: float) -> float:
    """Return how long to wait: not at all after a full batch, longer and longer while there is nothing to do."""
    if cleaned >= BATCH:
        return 0
    return interval_s if cleaned else min(max(waited_s, interval_s) * 2, interval_s * IDLE_INTERVALS_MAX)


class _Failures:
    """Logs that sweeps fail: one line when it begins, of each kind of error, and one when it is over.

    A store that is away has a line of its own in the log; one failure alone is made good by the next sweep.
    """

    def __init__(self) -> None:
        self._in_a_row = 0
        self._told: set[type[SessionTokensError]] = set()

    @property
    def are_none(self) -> bool:
        """Whether the last sweep went well; who takes turns though it fails would let the others wait for nothing."""
        return not self._in_a_row

    def failed(self, error: SessionTokensError) -> None:
        """Log a failure, if it is the second in a row of a store that is away, or says more than that."""
        self._in_a_row += 1
        is_outage = isinstance(error, OUTAGES)
        if type(error) in self._told or (is_outage and (self._in_a_row == 1 or getattr(error, "told", False))):
            return
        self._told.add(type(error))
        log.warning("sweeps fail, and are tried again: %s", error, exc_info=None if is_outage else error)

    def succeeded(self) -> None:
        """Log that sweeps go on, if it was logged that they failed."""
        if self._told:
            log.warning("sweeps go on after %d that failed", self._in_a_row)
            self._told.clear()
        self._in_a_row = 0


class ThreadSweeper:
    """Sweeps from a daemon thread until it is stopped or what it sweeps is gone.

    Args:
        swept: what is swept.
        sweep: sweeps it, so many records at the most, and in turn or not; returns how many were cleaned.
        interval_s: seconds between two runs.
    """

    def __init__(self, swept: object, sweep: Callable[..., int], interval_s: float) -> None:
        self._stop = threading.Event()
        self._thread = started("sweeper", _sweep_again_and_again, weakref.ref(swept), sweep, interval_s, self._stop)

    @classmethod
    def start(cls, swept: object, sweep: Callable[..., int], interval_s: float) -> ThreadSweeper:
        """Begin to sweep."""
        return cls(swept, sweep, interval_s)

    def stop(self) -> None:
        """Stop and wait for a run that is under way; calling it again does nothing."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=5)


def _sweep_again_and_again(
    reference: weakref.ref[object], sweep: Callable[..., int], interval_s: float, stop: threading.Event
) -> None:
    wait_s, failures = interval_s, _Failures()
    while not stop.wait(wait_s):
        swept = reference()
        if swept is None:
            return
        try:
            wait_s = _next_wait(sweep(swept, BATCH, in_turn=failures.are_none), wait_s, interval_s)
            failures.succeeded()
        except SessionTokensError as error:
            failures.failed(error)
            wait_s = interval_s
        del swept


class TaskSweeper:
    """Sweeps from a task of the running loop until it is stopped or what it sweeps is gone; as ``ThreadSweeper``."""

    def __init__(self, swept: object, sweep: Callable[..., Awaitable[int]], interval_s: float) -> None:
        import asyncio  # a program without an event loop never pays for it

        self._task = asyncio.get_running_loop().create_task(
            self._run(weakref.ref(swept), sweep, interval_s), name="session-tokens sweeper"
        )

    @classmethod
    def start(cls, swept: object, sweep: Callable[..., Awaitable[int]], interval_s: float) -> TaskSweeper | None:
        """Begin to sweep if an event loop runs; without one, answer ``None``: what is dead is dead unswept."""
        try:
            return cls(swept, sweep, interval_s)
        except RuntimeError:
            return None

    @staticmethod
    async def _run(reference: weakref.ref[object], sweep: Callable[..., Awaitable[int]], interval_s: float) -> None:
        from asyncio import sleep

        wait_s, failures = interval_s, _Failures()
        while True:
            await sleep(wait_s)
            swept = reference()
            if swept is None:
                return
            try:
                wait_s = _next_wait(await sweep(swept, BATCH, in_turn=failures.are_none), wait_s, interval_s)
                failures.succeeded()
            except SessionTokensError as error:
                failures.failed(error)
                wait_s = interval_s
            del swept

    async def stop(self) -> None:
        """Stop and wait for a run that is under way; calling it again does nothing.

        A store of this process serves several event loops, and may be closed on another one than it was opened on: that
        one is told, and nobody waits for it.
        """
        import asyncio

        loop = self._task.get_loop()
        if loop is not asyncio.get_running_loop():
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._task.cancel)
            return
        self._task.cancel()
        await asyncio.wait([self._task])  # awaited itself, it would keep from the caller that they are cancelled
