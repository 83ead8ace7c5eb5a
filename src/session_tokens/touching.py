"""Writes that only record that a session was used: where the store cannot take them, verification still succeeds.

A use restarts the idle clock, and is written down now and then. Who shows a secret is answered by what was *read*; a
use that cannot be written costs them at most ``PATIENCE_S``, is counted, and logged once a minute. For
``QUIET_S`` after it no other is tried by this process, so that a store in trouble is not asked by every request.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from .errors import StoreError

log = logging.getLogger("session_tokens.touching")

PATIENCE_S = 0.1
"""How long a verification waits for its use to be written down, in seconds."""
QUIET_S = 1.0
"""For how long after a failure no use is written down, in seconds."""
TOLD_EVERY_S = 60.0


class Touches:
    """Whether uses are written down, and how often that failed.

    Args:
        monotonic_s: seconds on a clock that never goes back.

    Attributes:
        failed: how many uses could not be written down.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.monotonic_s = monotonic_s
        self.failed = 0
        self._told = 0
        self._quiet_until_s = self._tell_again_at_s = float("-inf")

    def may_try(self) -> bool:
        """Whether a use should be written down now."""
        return self.failed == 0 or self.monotonic_s() >= self._quiet_until_s

    def could_not(self, error: StoreError) -> None:
        """Count a use that was not written down, and log it unless that was done lately."""
        now_s = self.monotonic_s()
        self.failed += 1
        self._quiet_until_s = now_s + QUIET_S
        if now_s >= self._tell_again_at_s:
            self._tell_again_at_s = now_s + TOLD_EVERY_S
            since, self._told = self.failed - self._told, self.failed
            log.warning(
                "%d uses of sessions could not be written down; they were answered all the same, but their idle "
                "timeouts go on: %s", since, error,
            )  # fmt: skip
