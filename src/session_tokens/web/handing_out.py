"""Whether a secret may still be handed out with a response: another request may have got the browser another since.

A request takes its time, and a WebSocket much more of it. Meanwhile the browser's other requests log in, or get a new
cookie. What was read at the beginning is then no secret any more, and worse: a cookie with it would take the place of
the good one, and to ask for it, once its grace is over, would end the session, as of a thief.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from ..errors import StoreError
from ..records import Session
from .commands import Command, CookieChange


def is_present(record: Session, secret: str) -> Generator[Command, Any, bool]:
    """Return whether a secret is still the present one of its session; none of before is asked for.

    Args:
        record: the session as it was read, or given the secret, a while ago.
        secret: that it had then.
    """
    if record.secret_until is not None:
        return False
    found: Session | None = yield Command("get_session", (record.id,))
    if found is None or found.secret_since != record.secret_since:
        return False
    return (yield Command("verify_session", (secret,), {"touch": False})) is not None


def handing_out(given: Session | None, secret: str | None) -> Generator[Command, Any, CookieChange]:
    """Return what becomes of the cookie of a session that nothing else happened to with this request.

    Args:
        given: the session as it was when this request gave it a secret; ``None``: it did not.
        secret: that it has since then.
    """
    if given is None or secret is None:
        return CookieChange.KEEP
    try:
        return CookieChange.SET if (yield from is_present(given, secret)) else CookieChange.KEEP
    except StoreError:  # the browser has no other cookie, as far as is known
        return CookieChange.SET
