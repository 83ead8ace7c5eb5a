"""Rate limits and quotas of service keys: a bucket for each key, a count for each owner."""

from __future__ import annotations

import time

from ..records import ServiceKey
from .problems import Problem
from .tallies import OwnTallies, Tallies, Tally

WINDOW_S = 60.0


class Quotas:
    """Holds keys to their rate and to what they may make for one owner.

    Args:
        buckets: what is left for each key.
        made: what each key made for each owner.
    """

    def __init__(self, buckets: Tallies | None = None, made: Tallies | None = None) -> None:
        self._buckets = OwnTallies() if buckets is None else buckets
        self._made = OwnTallies() if made is None else made

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
        asked_s = time.monotonic() if now_s is None else now_s
        rate, is_empty = float(key.rate), False

        def take(before: Tally | None) -> Tally:
            nonlocal is_empty
            at_s, left = before or (asked_s, rate)
            left = min(rate, left + max(0.0, asked_s - at_s) * rate)
            is_empty = left < 1
            return max(at_s, asked_s), left if is_empty else left - 1

        self._buckets.change(key.id, take)
        if is_empty:
            raise _too_many(f"this service key may send {key.rate} requests a second; send fewer", 1)

    def makes(self, key: ServiceKey, owner: str, now_s: float | None = None) -> None:
        """Count a session or token that a key makes for an owner, an empty one for what has none.

        Raises:
            Problem: 429, the key made as many within a minute as it may.
        """
        most = key.owner_creations
        if most is None:
            return
        asked_s = time.monotonic() if now_s is None else now_s

        def count(before: Tally | None) -> Tally:
            since_s, made = before or (asked_s, 0)
            if asked_s - since_s >= WINDOW_S:
                since_s, made = asked_s, 0
            return since_s, min(made, most) + 1

        since_s, made = self._made.change(f"{key.id} {owner}", count)
        if made > most:
            raise _too_many(
                f"this service key may make {most} sessions and tokens a minute for one owner; wait",
                max(1, round(WINDOW_S - (asked_s - since_s))),
            )


def _too_many(detail: str, wait_s: int) -> Problem:
    return Problem(
        429,
        "rate_limited",
        detail,
        headers=[(b"retry-after", str(wait_s).encode("ascii"))],
        oauth_error="temporarily_unavailable",
    )
