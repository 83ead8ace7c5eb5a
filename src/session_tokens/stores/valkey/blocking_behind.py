"""What a store does behind its answers, for threads; see ``async_behind``."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from ...contract.forks import anew_in_children
from ...contract.threads import started
from ...errors import StoreError, StoreUnavailable
from .async_behind import FAILED, LEFT

log = logging.getLogger("session_tokens.stores")

IDLE_S = 5.0
"""Seconds for which a thread without work waits for more: starting one costs more than the work."""

Work = Callable[[Callable[[], None]], None]
"""Is given what to call when the part is over that somebody may wait for."""


class BlockingBehind:
    """A thread that ends when there was nothing to do for a while. A forked process has none of it."""

    def __init__(self) -> None:
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        """Have nothing to do: in the child of a fork, neither the thread nor who waits for it is there."""
        self._work: deque[Work] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._waited_for = 0
        self._closing = False

    @property
    def is_busy(self) -> bool:
        """Whether there is something to wait for."""
        return self._waited_for > 0

    def do(self, work: Work) -> None:
        """Begin some work; what fails of it is done by whoever needs it done."""
        with self._changed:
            if self._thread is None:
                try:
                    self._thread = started("finish", self._run)
                except StoreUnavailable as error:
                    log.info(LEFT, error)
                    return
            self._work.append(work)
            self._waited_for += 1
            self._changed.notify_all()

    def settle(self, patience_s: float | None = None) -> None:
        """Wait for what was begun, for so many seconds at the most."""
        until_s = None if patience_s is None else time.monotonic() + patience_s
        with self._changed:
            while self.is_busy:
                left_s = None if until_s is None else until_s - time.monotonic()
                if left_s is not None and left_s <= 0:
                    return
                self._changed.wait(left_s)

    def close(self) -> None:
        """Wait for everything."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._work and not self._closing:
                    self._changed.wait_for(lambda: self._work or self._closing, IDLE_S)
                if not self._work:
                    self._thread = None
                    return
                work = self._work.popleft()
            is_waited_for = True

            def is_over() -> None:
                nonlocal is_waited_for
                if is_waited_for:
                    is_waited_for = False
                    with self._changed:
                        self._waited_for -= 1
                        self._changed.notify_all()

            try:
                work(is_over)
            except StoreError as error:
                log.info(LEFT, error)
            except Exception:  # a fault of ours, and no reason to leave what comes next
                log.exception(FAILED)
            finally:
                is_over()
