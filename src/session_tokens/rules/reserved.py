"""Sessions of the service's own console: they prove who is at the console, and hold nothing.

Their owner is ``console:`` and the id of a service key, and their client the console, which no request can choose.
"""

from __future__ import annotations

from ..errors import InvalidInput
from ..records import Session
from ..settings import CONSOLE_OWNERS

CONSOLE_CLIENT = "console"


def is_console(session: Session) -> bool:
    """Whether a session was opened by the console."""
    return session.client_id == CONSOLE_CLIENT and session.owner.startswith(CONSOLE_OWNERS)


def may_hold_tokens(session: Session) -> Session:
    """Return a session under which a token is issued or claimed.

    Raises:
        InvalidInput: it is one of the console.
    """
    if is_console(session):
        raise InvalidInput("a session of the console holds no tokens; name one that an application opened")
    return session
