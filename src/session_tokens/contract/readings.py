"""Which of several readings of what all processes share is the latest, where some are made side by side."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .forks import held_over_forks


class Readings:
    """Tells which of several readings is the latest: what an earlier one found is not taken after it.

    A change by this process is one too: what began to be read before its end may not know it.
    """

    def __init__(self) -> None:
        self._lock = held_over_forks(threading.Lock())
        self._begun = self._taken = self._changes = 0

    def begin(self) -> int:
        """Return the number of a reading that begins now."""
        with self._lock:
            self._begun += 1
            return self._begun

    @contextmanager
    def latest(self, reading: int) -> Iterator[bool]:
        """Tell whether what a reading found is to be taken within the block, where no other one is."""
        with self._lock:
            is_latest = reading > self._taken and not self._changes
            if is_latest:
                self._taken = reading
            yield is_latest

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Change something within the block: what is read until its end is not taken."""
        with self._lock:
            self._changes += 1
        try:
            yield
        finally:
            with self._lock:
                self._changes -= 1
                self._begun += 1
                self._taken = self._begun
