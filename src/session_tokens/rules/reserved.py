"""Reserved owners, which no application can choose: those of the console, and of sessions before a log-in.

A session of the console proves who is there, and holds nothing: its owner is ``console:`` and the id of a service key,
and its client the console, which no request can choose. A visitor who has not logged in has a session of the owner
``anonymous:`` and a random name.
"""

from __future__ import annotations

from ..errors import InvalidInput
from ..records import Session
from ..settings import ANONYMOUS_OWNERS, CONSOLE_OWNERS

CONSOLE_CLIENT = "console"


def is_console(session: Session) -> bool:
    """Whether a session was opened by the console."""
    return session.client_id == CONSOLE_CLIENT and session.owner.startswith(CONSOLE_OWNERS)


def applications(session: Session | None) -> Session | None:
    """Return a session that an application opened; ``None`` for the console's, as for none."""
    return None if session is None or is_console(session) else session


def may_hold_tokens(session: Session) -> Session:
    """Return a session under which a token is issued or claimed.

    Raises:
        InvalidInput: it is one of the console.
    """
    if session.client_id == CONSOLE_CLIENT and is_console(session):
        raise InvalidInput("a session of the console holds no tokens; name one that an application opened")
    return session


def may_have_new_secret(session: Session, own: str) -> Session:
    """Return a session that is given a new secret: whoever gets that of a console session enters as its operator.

    Args:
        own: the reserved beginning of the owners for whom the caller, and no other, opens sessions; empty: none.

    Raises:
        InvalidInput: it is one of the console, and the caller is not.
    """
    if own != CONSOLE_OWNERS and is_console(session):
        raise InvalidInput("only the console gives its sessions a new secret; end this one, and enter again")
    return session


def is_anonymous(owner: str) -> bool:
    """Whether an owner is a visitor before a log-in; lists of owners leave them out unless they are asked for."""
    return owner.startswith(ANONYMOUS_OWNERS)
