"""Cookies that a browser may have withheld: none of ours is to take their place.

A request that a page of another origin sends comes without a cookie of ``SameSite=Lax``: the return of a payment or of
SAML by POST, or what a hostile page has sent. A visitor's session that it opened would take the place of the user's in
the browser, which is a log-out that the user did not ask for. So none is opened.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

TOLD_EVERY_S = 60.0


class Dropped:
    """Tells the log that what such a request put into its session was dropped, at most once a minute.

    Args:
        log: what is told.
        remedy: the name of the argument, or setting, that names origins which are trusted.
        monotonic_s: seconds on a clock that never goes back.
    """

    def __init__(self, log: logging.Logger, remedy: str, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._log, self._remedy, self._monotonic_s = log, remedy, monotonic_s
        self.tell_again_at_s = float("-inf")

    def tell(self) -> None:
        """Tell it, unless that was done lately."""
        now_s = self._monotonic_s()
        if now_s >= self.tell_again_at_s:
            self.tell_again_at_s = now_s + TOLD_EVERY_S
            self._log.warning(
                "what a request put into its session is dropped: a page of another origin sent it, without a cookie of "
                "ours, and the cookie of a new session could take the place of the user's; %s names origins whose "
                "pages may",
                self._remedy,
            )


dropped = Dropped(logging.getLogger("session_tokens.web"), "trusted_origins")
