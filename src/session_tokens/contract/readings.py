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
        self._begun = self._taken = 0
        self._under_way: list[str] = []

    def begin(self) -> int:
        """Return the number of a reading that begins now."""
        with self._lock:
            self._begun += 1
            return self._begun

    @contextmanager
    def latest(self, reading: int) -> Iterator[bool]:
        """Tell whether what a reading found is to be taken within the block, where no other one is."""
        with self._lock:
            is_latest = reading > self._taken
            if is_latest:
                self._taken = reading
            yield is_latest

    def is_changing(self, name: str) -> bool:
        """Whether a change of something is under way, which what is read by now may know or not."""
        return name in self._under_way

    @contextmanager
    def changing(self, name: str) -> Iterator[None]:
        """Change something within the block: what began to be read until its end is not taken after it."""
        with self._lock:
            self._under_way.append(name)
        try:
            yield
        finally:
            with self._lock:
                self._under_way.remove(name)
                self._begun += 1
                self._taken = self._begun
