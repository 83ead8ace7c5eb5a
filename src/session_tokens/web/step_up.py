"""What a guard of a view wants of a log-in, in every framework: that it is recent, and that it proved enough."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from ..errors import InvalidInput
from ..settings import Duration, duration_ms


class Proving(Protocol):
    """What knows when and how its user has logged in: a session, as each framework has it."""

    def require_recent(self, max_age: Duration, *, acr: str | Collection[str] | None = None) -> None:
        """Accept only if that was at most ``max_age`` ago."""
        ...


class StepUp:
    """What a guard wants of a log-in: that it is recent, and perhaps that it proved enough.

    Args:
        max_age: how long ago it may be, in seconds or a ``timedelta``.
        minutes: the same in minutes; 10 where neither is given.
        acr: the value that the log-in must have been made with, or all that will do.

    Raises:
        InvalidInput: both durations are given, or what no duration can be.
    """

    def __init__(self, max_age: Duration | None, minutes: float | None, acr: str | Collection[str] | None) -> None:
        if max_age is not None and minutes is not None:
            raise InvalidInput("give max_age or minutes, not both")
        self.max_age = max_age if max_age is not None else (10 if minutes is None else minutes) * 60
        self.acr = (acr,) if isinstance(acr, str) else acr
        age_s = (duration_ms("max_age", self.max_age) or 0) // 1000
        values = "" if self.acr is None else f', acr_values="{" ".join(self.acr)}"'
        self.challenge = f'Session error="insufficient_user_authentication", max_age={age_s}{values}'

    def check(self, session: Proving) -> None:
        """Accept a session whose log-in is as it is wanted.

        Raises:
            ReauthenticationRequired: it is not, or nobody is logged in. ``challenge`` is what ``WWW-Authenticate``
                says then, as RFC 9470 does for bearer tokens.
        """
        session.require_recent(self.max_age, acr=self.acr)
