"""Let a side be driven by one JSON request a line on standard input, one JSON answer a line on standard output.

A side measures itself: only the loop around the measured calls is timed, never the pipe.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Command = Callable[..., dict[str, Any]]


def serve(commands: Mapping[str, Command]) -> None:
    """Answer requests until standard input ends; an exception becomes an answer with `error`."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer: dict[str, Any] = {"answer": commands[request.pop("command")](**request)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)


class Stopwatch:
    """Measures from its making to `stop`, or between `start` and `stop` several times, by two clocks.

    The processor time is that of the whole process, so that a collector or compiler on a thread of its own counts.
    On a machine that others use it tells more than the time on the wall, which holds their turns too.
    """

    def __init__(self, *, running: bool = True) -> None:
        self._seconds = self._cpu_seconds = 0.0
        self._running = False
        if running:
            self.start()

    def start(self) -> None:
        self._running = True
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self._seconds += wall - self._wall
        self._cpu_seconds += cpu - self._cpu
        self._running = False

    def answer(self, operations: int, right: int, checked: int | None = None) -> dict[str, Any]:
        """Stop, and answer the times with how many operations there were and how many of those checked were right."""
        if self._running:
            self.stop()
        return {
            "seconds": self._seconds,
            "cpu_seconds": self._cpu_seconds,
            "operations": operations,
            "right": right,
            "checked": operations if checked is None else checked,
        }


def count_right(
    call: Callable[..., object], asked: Iterable[tuple[Any, ...]], expected: Iterable[object]
) -> dict[str, Any]:
    """Time `call(*arguments)` for every entry of `asked`, comparing each answer with the expected one.

    The comparison is part of the loop, on every side alike: a call whose answer is thrown away may do nothing.
    """
    pairs = list(zip(asked, expected, strict=True))
    right = 0
    watch = Stopwatch()
    for arguments, answer in pairs:
        if call(*arguments) == answer:
            right += 1
    return watch.answer(len(pairs), right)


def rss_bytes() -> int:
    """Read the resident memory of this process, in bytes (Linux; elsewhere the peak so far)."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
