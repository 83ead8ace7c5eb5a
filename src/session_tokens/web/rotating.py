"""Rotation in passing: browsers get a new cookie now and then, so that a stolen one shows itself."""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import Any

from ..errors import Conflict, InvalidInput, SessionEnded, StoreError, UnknownSession
from ..records import Issued, Session
from ..settings import Duration, duration_ms
from ..validation import grace_of
from .session import Command, WebSession

log = logging.getLogger("session_tokens.web")

GRACE_S = 60
"""How long an old cookie is good, unless an application says otherwise: for requests that are under way."""


class Rotating:
    """When the cookie of a session is replaced, and for how long the one before is good.

    Args:
        every: a session gets a new secret with the first request after so long (seconds or a ``timedelta``).
        grace: how long the one before is good; after that its use ends the session.

    Raises:
        InvalidInput: a duration that can never be right, or a grace that is not shorter than ``every``.
    """

    def __init__(self, every: Duration, grace: Duration = GRACE_S) -> None:
        self.every_ms = duration_ms("rotate_every", every)
        self.grace_ms = grace_of(grace)
        if self.every_ms is None or self.grace_ms is None:
            raise InvalidInput("rotate_every and rotation_grace are seconds or a timedelta; leave rotate_every out")
        if self.grace_ms >= self.every_ms:
            raise InvalidInput("rotation_grace is shorter than rotate_every; make that longer")

    def is_due(self, record: Session) -> bool:
        """Whether a browser is given a cookie: its own is a previous one by now, or old enough."""
        return record.secret_until is not None or record.clock.now() - record.secret_since >= (self.every_ms or 0)

    def steps(self, record: Session | None, secret: str | None) -> Generator[Command, Any, Issued | None]:
        """Give a session that was read a new secret if that is due; ``None`` where it stays as it is.

        What hinders it is no reason to refuse the request: the next one tries again.
        """
        if record is None or secret is None or not self.is_due(record):
            return None
        try:
            issued: Issued = yield Command("rotate_session", (secret,), {"grace": (self.grace_ms or 0) / 1000})
        except (Conflict, SessionEnded, UnknownSession):  # it ended meanwhile, or somebody logged in
            return None
        except StoreError as error:
            log.warning("the cookie of session %s is not replaced this time: %s", record.id, error)
            return None
        return issued

    def take(self, session: WebSession) -> Generator[Command, Any, None]:
        """As ``steps``, for a session of a request; its response sets the cookie."""
        issued = yield from self.steps(session.record, session.secret)
        if issued is not None:
            session.rotated(issued)


def rotating(every: Duration | None, grace: Duration) -> Rotating | None:
    """Return how cookies are replaced, ``None`` where they are not."""
    return None if every is None else Rotating(every, grace)
