"""A process that can start no thread, as one that has too many, or that is about to end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

MORE_THAN_THERE_IS = 1 << 47
"""Bytes of a stack for which no process has the addresses."""


@contextmanager
def no_thread_starts() -> Iterator[None]:
    """Let no thread be started."""
    before = threading.stack_size(MORE_THAN_THERE_IS)
    try:
        yield
    finally:
        threading.stack_size(before)
