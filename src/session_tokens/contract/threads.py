"""Threads of a store, which may be more than the process can start."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import TypeVar

from ..errors import StoreUnavailable

T = TypeVar("T")


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
        raise _not_started(error) from error


async def in_thread(work: Callable[..., T], *args: object) -> T:
    """Return what ``work`` answers on a thread of the event loop's own, without holding the loop.

    Raises:
        StoreUnavailable: as ``started``; or the loop is about to end.
    """
    from asyncio import get_running_loop  # a program without an event loop never pays for it

    try:
        answer = get_running_loop().run_in_executor(None, partial(copy_context().run, work, *args))
    except RuntimeError as error:
        raise _not_started(error) from error
    return await answer


def _not_started(error: RuntimeError) -> StoreUnavailable:
    return StoreUnavailable(f"no thread can be started in this process: {error}")
