"""What the npm package ``session_tokens`` keeps in its DB: sessions that are shared, and values of tokens.

A shared session lies under its own string as the JSON of its timing, with what is left of it and no instant; whose it
is, only a hash tells that the DB checks. A token's value lies under the token; nothing says whose it is.
"""

from __future__ import annotations

import json
import math
from typing import NamedTuple

TIMING = frozenset({"_time_left", "_time_allotted", "_detachment_allowed"})
KEPT_MS = 400 * 86_400_000
"""For how long it is remembered that a string was moved; the package itself forgets it never."""


class FormerSession(NamedTuple):
    """A living session of the package.

    Attributes:
        left_ms: what is left of it; ``None`` for ever.
        is_detachable: whether it may be detached.
    """

    left_ms: int | None
    is_detachable: bool


def is_timing(text: str) -> bool:
    """Return whether a value is the timing of a session, and so no token's."""
    return _timing_in(text) is not None


def former_session(text: str | None) -> FormerSession | None:
    """Return the session of a text under a session's string; ``None`` where it is none, or over."""
    timing = None if text is None else _timing_in(text)
    if timing is None:
        return None
    left = timing["_time_left"]
    if left is not None:  # JavaScript writes Infinity as null
        if isinstance(left, bool) or not isinstance(left, int | float) or not math.isfinite(left) or left < 1:
            return None
        left = int(left)
    return FormerSession(left, timing["_detachment_allowed"] is True)


def _timing_in(text: str) -> dict[str, object] | None:
    if not text.startswith("{") or len(text) > 1_024:
        return None
    try:
        timing = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return timing if isinstance(timing, dict) and timing.keys() >= TIMING else None
