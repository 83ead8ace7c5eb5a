"""What reading costs by the byte, in processor time of this thread, so that a loaded machine changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from time import thread_time_ns

SAMPLE_NS_MIN = 200_000
ROUNDS_MAX = 25
SPENT_NS_MAX = 3_000_000_000
"""After so much processor time what is not linear by then is taken for quadratic."""
GROWTH_MAX = 3.0


def growth(read: Callable[[bytes], object], worst: Callable[[int], bytes], size: int) -> float:
    """Return how much dearer a byte is at a size than at a tenth of it.

    Both are read in turn, and the cheapest reading of each counts: whatever else the machine does only adds. The first
    round that shows linear cost ends it; what is dearer is never shown to be, however often it is read.

    Args:
        read: takes the bytes, or raises what it refuses them with.
        worst: makes an input of a number of bytes.
        size: the most that the reader takes.
    """
    small, large = worst(size // 10), worst(size)
    cheapest = {small: float("inf"), large: float("inf")}
    found = float("inf")
    began_ns = thread_time_ns()
    for _ in range(ROUNDS_MAX):
        for given in (small, large):
            cheapest[given] = min(cheapest[given], _cost_ns(read, given) / len(given))
        found = cheapest[large] / cheapest[small]
        if found <= GROWTH_MAX or thread_time_ns() - began_ns > SPENT_NS_MAX:
            break
    return found


def _cost_ns(read: Callable[[bytes], object], given: bytes) -> float:
    """Return the time of one reading: of so many that the clock's own grain does not matter."""
    times, took_ns = 0, 0
    began_ns = thread_time_ns()
    while took_ns < SAMPLE_NS_MIN:
        _attempt(read, given)
        times += 1
        took_ns = thread_time_ns() - began_ns
    return took_ns / times


def _attempt(read: Callable[[bytes], object], given: bytes) -> None:
    try:
        read(given)
    except Exception:  # to refuse is an answer too, and what it costs is asked here
        pass
