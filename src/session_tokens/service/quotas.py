"""Rate limits and quotas of service keys, counted in this process: a bucket for each key, a count for each owner."""

from __future__ import annotations

import time
from typing import TypeVar

from ..records import ServiceKey
from .problems import Problem

COUNTED_MAX = 10_000
"""Keys and owners that are counted at once; the one that was counted first is forgotten."""
WINDOW_S = 60.0

K = TypeVar("K")
V = TypeVar("V")


class Quotas:
    """Holds keys to their rate and to what they may make for one owner."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}
        self._made: dict[tuple[str, str], tuple[float, int]] = {}

    def asked(self, key: ServiceKey, now_s: float | None = None) -> None:
        """Take a request out of a key's bucket, which holds what it may send in a second, and fills as fast.

        Args:
            key: that sends it.
            now_s: of a clock that never goes back; the process's own if not given.

        Raises:
            Problem: 429, the bucket is empty.
        """
        if key.rate is None:
            return
        now_s = time.monotonic() if now_s is None else now_s
        left, at_s = self._buckets.pop(key.id, (float(key.rate), now_s))
        left = min(float(key.rate), left + (now_s - at_s) * key.rate)
        _keep(self._buckets, key.id, (left - 1 if left >= 1 else left, now_s))
        if left < 1:
            raise _too_many(f"this service key may send {key.rate} requests a second; send fewer", 1)

    def makes(self, key: ServiceKey, owner: str, now_s: float | None = None) -> None:
        """Count a session or token that a key makes for an owner, an empty one for what has none.

        Raises:
            Problem: 429, the key made as many within a minute as it may.
        """
        if key.owner_creations is None:
            return
        now_s = time.monotonic() if now_s is None else now_s
        since_s, count = self._made.pop((key.id, owner), (now_s, 0))
        if now_s - since_s >= WINDOW_S:
            since_s, count = now_s, 0
        _keep(self._made, (key.id, owner), (since_s, min(count + 1, key.owner_creations)))
        if count >= key.owner_creations:
            raise _too_many(
                f"this service key may make {key.owner_creations} sessions and tokens a minute for one owner; wait",
                max(1, round(WINDOW_S - (now_s - since_s))),
            )


def _keep(counted: dict[K, V], name: K, value: V) -> None:
    if len(counted) >= COUNTED_MAX:
        counted.pop(next(iter(counted)))
    counted[name] = value


def _too_many(detail: str, wait_s: int) -> Problem:
    return Problem(
        429,
        "rate_limited",
        detail,
        headers=[(b"retry-after", str(wait_s).encode("ascii"))],
        oauth_error="temporarily_unavailable",
    )
