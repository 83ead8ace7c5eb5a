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


def count_right(
    call: Callable[..., object], asked: Iterable[tuple[Any, ...]], expected: Iterable[object]
) -> dict[str, Any]:
    """Time `call(*arguments)` for every entry of `asked`, comparing each answer with the expected one.

    The comparison is part of the loop, on every side alike: a call whose answer is thrown away may do nothing.
    """
    pairs = list(zip(asked, expected, strict=True))
    right = 0
    start = time.perf_counter()
    for arguments, answer in pairs:
        if call(*arguments) == answer:
            right += 1
    return {"seconds": time.perf_counter() - start, "operations": len(pairs), "right": right}


def rss_bytes() -> int:
    """Read the resident memory of this process, in bytes (Linux; elsewhere the peak so far)."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
