"""The sessions of a user, on every device and in every framework on the same store: list them, end them, step up."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, TypeVar

from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.base import UpdateError
from django.core.exceptions import PermissionDenied
from django.utils.crypto import constant_time_compare

from ...errors import ReauthenticationRequired, SessionEnded, UnknownSession
from ...records import Session
from ...settings import PAGE_LIMIT_MAX
from .asking import Steps, arun, ask, run

View = TypeVar("View", bound=Callable[..., Any])


def owner_of(user: Any) -> str:
    """Return the owner whose sessions are those of a user of Django: the primary key as text."""
    return str(user._meta.pk.value_to_string(user))


def sessions_of(user: Any) -> list[Session]:
    """Return the living sessions of a user, the newest first.

    Those that Django would end at their next use, for the password has changed since, are left out.
    """
    return run(_sessions_of(user))


async def asessions_of(user: Any) -> list[Session]:
    """Do the same on an event loop."""
    return await arun(_sessions_of(user))


def _sessions_of(user: Any) -> Steps[list[Session]]:
    listed: list[Session] = []
    after = None
    while True:
        page = yield ask("list_sessions", owner_of(user), after=after, limit=PAGE_LIMIT_MAX)
        listed += page.items
        after = page.after
        if after is None:
            break
    return [session for session in reversed(listed) if _knows_the_password(session, user)]


def _knows_the_password(session: Session, user: Any) -> bool:
    known = session.data.get(HASH_SESSION_KEY)
    return not isinstance(known, str) or is_of_password(known, user)


def is_of_password(known: str, user: Any) -> bool:
    """Whether what a session keeps of the password is of the present one, under any key that is still accepted."""
    if not hasattr(user, "get_session_auth_hash"):
        return True
    hashes = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    return any(constant_time_compare(known, each) for each in hashes)


def end_session_of(user: Any, id: str) -> bool:
    """End a session of a user by its id; another user's stays. Return whether one was ended."""
    return run(_end_session_of(user, id))


def _end_session_of(user: Any, id: str) -> Steps[bool]:
    session = yield ask("get_session", id)
    if session is None or session.owner != owner_of(user):
        return False
    ended: bool = yield ask("destroy_session", id)
    return ended


def end_others(request: Any) -> int:
    """End all sessions of the user but the one of this request, in one instant; return how many were ended.

    Raises:
        UpdateError: this session has ended itself; nothing was ended.
        PermissionDenied: the session of this request is not the user's, who was found by a token for example; nothing
            was ended.
    """
    if not request.user.is_authenticated:
        return 0
    _check_whose(request.session.get(SESSION_KEY), request.user)
    request.session.save()  # one that logs in with this request is not there before
    return run(_end_others(request.user, request.session.id))


async def aend_others(request: Any) -> int:
    """Do the same on an event loop."""
    user = await request.auser()
    if not user.is_authenticated:
        return 0
    _check_whose(await request.session.aget(SESSION_KEY), user)
    await request.session.asave()
    return await arun(_end_others(user, request.session.id))


def _check_whose(known: Any, user: Any) -> None:
    if known is None or str(known) != owner_of(user):
        raise PermissionDenied("the session of this request is not the user's, so there are no others beside it")


def _end_others(user: Any, kept: str) -> Steps[int]:
    try:
        ended: int = yield ask("destroy_sessions", owner_of(user), except_session=kept)
    except (SessionEnded, UnknownSession) as error:
        raise UpdateError("the session of this request has ended, and nothing was ended beside it") from error
    return ended


def recent_login_required(minutes: float = 10, *, acr: str | Collection[str] | None = None) -> Callable[[View], View]:
    """Let a view be seen only by those who proved who they are at most ``minutes`` ago; others log in (again).

    Args:
        minutes: how long ago it may be.
        acr: how surely, where that matters: what ``request.session.proved_by(acr=…)`` kept, or all that will do.
    """

    def decorate(view: View) -> View:
        if iscoroutinefunction(view):

            @wraps(view)
            async def awaited(request: Any, *args: Any, **kwargs: Any) -> Any:
                await request.session.aget(HASH_SESSION_KEY)
                if is_recent(await request.auser(), request.session, minutes, acr):
                    return await view(request, *args, **kwargs)
                return _to_log_in(request)

            return awaited  # type: ignore[return-value]  # it is called as the view is

        @wraps(view)
        def seen(request: Any, *args: Any, **kwargs: Any) -> Any:
            if is_recent(request.user, request.session, minutes, acr):
                return view(request, *args, **kwargs)
            return _to_log_in(request)

        return seen  # type: ignore[return-value]  # it is called as the view is

    return decorate


def _to_log_in(request: Any) -> Any:
    from django.contrib.auth.views import redirect_to_login  # needs applications, which are not ready when we load

    return redirect_to_login(request.get_full_path())


def is_recent(user: Any, session: Any, minutes: float, acr: str | Collection[str] | None) -> bool:
    """Whether a user proved who they are at most ``minutes`` ago, and with one of these ``acr`` if any is named.

    The session must be theirs: a request may bear the token of one user and the cookie of another, or of a visitor.
    """
    record = session.record if user.is_authenticated else None
    if record is None or not hasattr(user, "_meta") or record.owner != owner_of(user):
        return False
    try:
        record.require_recent(minutes * 60, acr=acr)
    except ReauthenticationRequired:
        return False
    return True
