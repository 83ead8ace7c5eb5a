"""How late it is that who verifies out of a near cache hears of an end elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable

from session_tokens import SessionTokens, StoreUnavailable
from tests.helpers.waiting import wait_until

BOUND_S = 1.0
"""Far above what a busy machine makes of 50 ms, far below how long the faults last."""
WATCHED_S = 2.5 * BOUND_S


def verifying(reader: SessionTokens, secret: str) -> Callable[[str], object]:
    """Return what verifies a secret of that kind."""
    return reader.verify_token if secret.startswith("stt_") else reader.verify_session


def answers_near(reader: SessionTokens, secret: str) -> bool:
    """Whether a verification is answered without the store, after one that was not."""
    near, verify = reader.store.near_cache, verifying(reader, secret)
    assert near is not None
    try:
        verify(secret)
    except StoreUnavailable:
        return False
    hits = near.hits
    return verify(secret) is not None and near.hits > hits


def stalest_s(reader: SessionTokens, secret: str, end: Callable[[], object]) -> float:
    """Return how many seconds after an end was acknowledged the last verification was asked that still succeeded.

    Args:
        reader: verifies, and does so out of its near cache before the end.
        secret: of the session that ends.
        end: ends it, and returns once that is acknowledged.
    """
    wait_until(lambda: answers_near(reader, secret))
    end()
    acknowledged_s = time.monotonic()
    last_s = 0.0
    while (asked_s := time.monotonic() - acknowledged_s) < WATCHED_S:
        try:
            if reader.verify_session(secret) is not None:
                last_s = asked_s
        except StoreUnavailable:
            pass
        time.sleep(0.005)
    return last_s
