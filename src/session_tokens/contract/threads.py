"""Threads of a store, which may be more than the process can start."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..errors import StoreUnavailable


def started(name: str, work: Callable[..., object], *args: object) -> threading.Thread:
    """Return a thread that has been started; whoever keeps it knows that its work is done, or under way.

    Raises:
        StoreUnavailable: the process has too many, or is about to end (Python 3.12 and later start none then).
    """
    thread = to_be_started(name, work, *args)
    start(thread)
    return thread


def to_be_started(name: str, work: Callable[..., object], *args: object) -> threading.Thread:
    """Return a thread for whoever must know of it before it begins."""
    return threading.Thread(target=work, args=args, name=f"session-tokens {name}", daemon=True)


def start(thread: threading.Thread) -> None:
    """Start a thread; as ``started``."""
    try:
        thread.start()
    except RuntimeError as error:
        raise StoreUnavailable(f"no thread can be started in this process: {error}") from error
