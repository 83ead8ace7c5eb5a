"""The sessions of whoever is logged in: what a user sees of their devices, and ends; for threads and for asyncio."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from ..errors import SessionEnded, UnknownSession
from ..records import Page, Session
from .session import Command, WebSession


def listing(session: WebSession, after: str | None, limit: int) -> Generator[Command, Any, Page[Session]]:
    """Return a page of the living sessions of whoever is logged in here, this one too; a visitor has none."""
    owner = session.owner
    if owner is None:
        return Page([], None)
    page: Page[Session] = yield Command("list_sessions", (owner,), {"after": after, "limit": limit})
    return page


def ending_other(session: WebSession, id: str) -> Generator[Command, Any, bool]:
    """End a session of the same user by its id; return whether one lived. Another user's is never touched."""
    owner = session.owner
    if owner is None or id == session.id:
        return False
    found: Session | None = yield Command("get_session", (id,))
    if found is None or found.owner != owner:
        return False
    ended: bool = yield Command("destroy_session", (id,))
    return ended


def ending_others(session: WebSession) -> Generator[Command, Any, int]:
    """End all sessions of the same user but this one, in one instant; return how many were ended.

    Where this one has ended meanwhile, none is: whoever asks is not logged in any more.
    """
    owner = session.owner
    if owner is None or session.is_logging_in:
        return 0
    try:
        ended: int = yield Command("destroy_sessions", (owner,), {"except_session": session.id})
    except (SessionEnded, UnknownSession):
        return 0
    return ended
