"""Many callers at the same time: threads that start together, and a child that is forked."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, TypeVar

from session_tokens import SessionTokensError

T = TypeVar("T")

CHILD_S = 20
"""After which a forked child that hangs is ended."""


def at_once(count: int, call: Callable[[int], T]) -> tuple[list[T], list[SessionTokensError]]:
    """Call with every number below ``count``, each on a thread of its own, all starting together."""
    barrier = threading.Barrier(count)

    def start(number: int) -> T | SessionTokensError:
        barrier.wait(60)
        try:
            return call(number)
        except SessionTokensError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        done = list(pool.map(start, range(count)))
    refused = [outcome for outcome in done if isinstance(outcome, SessionTokensError)]
    return [outcome for outcome in done if not isinstance(outcome, SessionTokensError)], refused


def outcomes_at_once(count: int, command: Callable[[int], Any]) -> Counter[str]:
    """Run a command in so many threads at once; count what came of it."""
    start = threading.Barrier(count)
    outcomes: Counter[str] = Counter()
    lock = threading.Lock()

    def run(number: int) -> None:
        start.wait()
        try:
            command(number)
            outcome = "done"
        except SessionTokensError as error:
            outcome = type(error).__name__
        with lock:
            outcomes[outcome] += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def _end_with(act: Callable[[], object]) -> NoReturn:
    """Do ``act`` and end this process, a forked child: 0 if it did not raise; nothing that its parent left is run."""
    code = 1
    signal.alarm(CHILD_S)
    try:
        act()
        code = 0
    finally:
        os._exit(code)


def forked_silently(act: Callable[[], object]) -> int:
    """Do ``act`` in a child that is forked beside Python, which is not told of it, as by uWSGI; return its id."""
    child: int = ctypes.PyDLL(None).fork()
    if child == 0:
        _end_with(act)
    return child


def in_a_child(act: Callable[[], object]) -> int:
    """Do ``act`` in a forked child; answer its exit code, 0 if it did not raise, below 0 if it never ended.

    Newer Pythons warn of the threads that are not there.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _end_with(act)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
