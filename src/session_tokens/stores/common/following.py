"""Follows the changes of a store on a server for a near cache: on a thread and a connection of its own.

Theory of operation. It is a thread for asyncio too: an event loop that is busy for a while must not keep anyone from
hearing that something has changed. Whatever goes wrong, an error of any kind or silence, ends what is followed: what
was kept of it is forgotten, verifications ask the store as if there were none, and a new connection is made. A forked
process begins to follow when it first asks.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from typing import Final
from weakref import WeakSet

from ...contract.forks import in_children
from ...contract.near_cache import Lease, NearCache
from ...contract.threads import started
from ...errors import StoreUnavailable

log = logging.getLogger("session_tokens.stores")

BEAT_S: Final = 0.05
"""How often the server is asked, which is what the lease of what is kept rests on."""
PAUSE_S_MAX: Final = 1.0
"""The longest pause before a new connection."""
TOLD_EVERY_S: Final = 60.0

_of_this_process: WeakSet[Following] = WeakSet()


def _begin_anew() -> None:
    for following in list(_of_this_process):
        following.begin_anew()


in_children(_begin_anew)


class Following(ABC):
    """One thread that keeps one near cache right, of one server.

    Args:
        near: is told what has changed.
        timeout_s: seconds after which a server that says nothing is left.

    Attributes:
        lease: under which what the server answers is kept.
        lost: what is logged when it ends by an error.
    """

    lost = "the near cache of a server was emptied; it is asked until it can be followed again"

    def __init__(self, near: NearCache, timeout_s: float) -> None:
        self.near = near
        self._timeout_s = timeout_s
        self._tell_again_at_s = float("-inf")
        self._stopping = threading.Event()
        self.begin_anew()
        _of_this_process.add(self)

    def begin_anew(self) -> None:
        """Be as if nothing had been followed yet: a thread that does is one of the process before a fork."""
        is_stopping = self.is_stopping
        self._stopping = threading.Event()  # another thread may have held the lock of the former one
        if is_stopping:
            self._stopping.set()
        self._starting = threading.Lock()
        self.lease = Lease()
        self._thread: threading.Thread | None = None

    @abstractmethod
    def follow(self, lease: Lease) -> None:
        """Connect, and follow until ``is_stopping`` or the lease is over; it is called again after any exception."""

    @abstractmethod
    def wake(self) -> None:
        """Have ``follow`` look whether it is to end."""

    @property
    def is_stopping(self) -> bool:
        """Whether the store is being closed."""
        return self._stopping.is_set()

    def pause(self, seconds: float) -> bool:
        """Wait; return whether the store is being closed."""
        return self._stopping.wait(seconds)

    def start(self) -> None:
        """Begin to follow; calling it again does nothing."""
        if self._thread is not None:
            return
        with self._starting:
            if self._thread is None and not self.is_stopping:
                try:
                    self._thread = started("near cache", self._run)
                except StoreUnavailable as error:  # nothing is near, and whoever asks next begins it
                    self._tell(error)

    def leave(self) -> None:
        """Have the thread end, without waiting for it."""
        self._stopping.set()
        self.wake()

    def stop(self) -> None:
        """End the thread and wait for it; calling it again does nothing."""
        self.leave()
        with self._starting:  # who is beginning it lets it run first
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        pause_s = 0.0
        while not self._stopping.wait(pause_s):
            began_s = time.monotonic()
            lease = self.lease = self.near.new_lease()
            try:
                self.follow(lease)
            except Exception as error:
                self._tell(error)
            finally:
                self.near.end(lease)
            lasted = time.monotonic() - began_s > PAUSE_S_MAX
            pause_s = BEAT_S if lasted else min(PAUSE_S_MAX, 2 * pause_s + BEAT_S)

    def _tell(self, error: Exception) -> None:
        now_s = time.monotonic()
        if now_s >= self._tell_again_at_s:
            self._tell_again_at_s = now_s + TOLD_EVERY_S
            log.warning("%s: %s", self.lost, error)
