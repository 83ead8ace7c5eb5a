"""What a service verified lately, kept in this process for as long as an answer may be old. No I/O.

Theory of operation. Nobody tells a client what changes in the service. So what was verified is answered for the bound
after it was *asked* for, and no longer; a change that this client makes is seen at once, for everything that was found
before the service answered it is forgotten. What is kept is judged by its own deadline at each answer, by the service's
clock; a use that is due to be written down, and whatever is not kept, is asked for. Absence is never kept.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from ..contract.generational_cache import GenerationalCache
from ..contract.near_cache import KEPT_MAX, MARGIN_S
from ..crypto.minting import PepperKeyring
from ..records import Session, Token
from ..rules.expiry import touch_is_due

R = TypeVar("R", Session, Token)


class Asking(NamedTuple):
    """That the service is asked for something now.

    Attributes:
        lookup: of the secret, by a pepper of this process alone.
        changes: which was the last change of this client before.
        until_s: until when the answer may be kept, on the steady clock.
    """

    lookup: str
    changes: int
    until_s: float


class _Kept(NamedTuple):
    record: Session | Token
    asking: Asking


class NearAnswers:
    """Verifications of one service; safe for threads, as each step is one operation.

    Args:
        bound_s: seconds that an answer may be older than a change made elsewhere.
        now: the service's time as well as it is known, in milliseconds.
        monotonic_s: seconds on a clock that never goes back.
    """

    def __init__(
        self, bound_s: float, now: Callable[[], int], *, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._lease_s = bound_s - MARGIN_S
        self._now, self._monotonic_s = now, monotonic_s
        self._keyring = PepperKeyring(secrets.token_bytes(32))
        self._kept: GenerationalCache[str, _Kept] = GenerationalCache(2 * KEPT_MAX)
        self._numbers = itertools.count(1)
        self._changes = 0

    def session(self, secret: str, *, touch: bool) -> Session | Asking:
        """Return the session that a well-formed secret opens, or that the service is to be asked.

        Args:
            secret: a session's.
            touch: whether this is a use, which the service is told when it is due to be written down.
        """
        asking = self._asking(secret)
        session, now = self._holding(asking, Session), self._now()
        if session is None or not session.authenticates(now, None) or (touch and touch_is_due(session, now)):
            return asking
        return session

    def token(self, secret: str) -> Token | Asking:
        """Return the token that a well-formed secret opens, or that the service is to be asked."""
        asking = self._asking(secret)
        token, now = self._holding(asking, Token), self._now()
        if token is None or now >= token.deadline:
            return asking
        return token.offered_at(now)

    def keep(self, asking: Asking, record: Session | Token | None) -> None:
        """Keep what was answered, unless this client changed something meanwhile, or the secret is a former one."""
        is_former = isinstance(record, Session) and record.secret_until is not None
        if record is not None and not is_former and asking.changes == self._changes:
            self._kept.keep(asking.lookup, _Kept(record, asking))

    def changed(self) -> None:
        """Forget all answers, those that are under way too: this client changed something, may have, or is closed."""
        self._changes = next(self._numbers)

    def _asking(self, secret: str) -> Asking:
        return Asking(self._keyring.lookups(secret)[0], self._changes, self._monotonic_s() + self._lease_s)

    def _holding(self, asking: Asking, kind: type[R]) -> R | None:
        kept = self._kept.get(asking.lookup)
        if kept is None or kept.asking.changes != self._changes or self._monotonic_s() >= kept.asking.until_s:
            return None
        return kept.record if isinstance(kept.record, kind) else None
