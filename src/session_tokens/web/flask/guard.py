"""Guards of views: for users, for those who logged in not long ago, and for programs with a living token (RFC 6750)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from flask import Response, current_app, g, request
from werkzeug.exceptions import Unauthorized

from ...errors import ReauthenticationRequired, StoreError
from ...settings import Duration
from ..step_up import StepUp
from .acts import api_of, current_session
from .by_flask import unavailable

P = ParamSpec("P")
T = TypeVar("T")

REALM = 'Bearer realm="session-tokens"'


def require_session(view: Callable[P, T]) -> Callable[P, T]:
    """Let a view be called only by whoever is logged in; a visitor is answered 401."""
    return _guarded(view, _user)


def require_recent(
    max_age: Duration | None = None, *, minutes: float | None = None, acr: str | Collection[str] | None = None
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let a view be called only by whoever logged in not long ago (step-up); all others are answered 401.

    Args:
        max_age: how long ago it may be, in seconds or a ``timedelta``.
        minutes: the same in minutes; 10 where neither is given.
        acr: how surely they must have proved who they are: the value of the log-in, or all that will do.

    Raises:
        InvalidInput: both durations are given, or a duration that can never be right.
    """
    wanted = StepUp(max_age, minutes, acr)

    def check() -> None:
        _user()
        try:
            wanted.check(current_session())
        except ReauthenticationRequired as error:
            raise _log_in(str(error), wanted.challenge) from None

    return lambda view: _guarded(view, check)


def require_token(view: Callable[P, T]) -> Callable[P, T]:
    """Let a view be called only with the secret of a living token; the token is ``flask.g.token`` in it.

    Without a token the answer is 401 with ``WWW-Authenticate: Bearer``; with one that is unknown, ended or unassigned
    it says ``invalid_token`` (RFC 6750, section 3.1). A store that cannot be asked is a 503, never a 401.
    """

    def check() -> None:
        g.token = token_of_request()

    return _guarded(view, check)


def _guarded(view: Callable[P, T], check: Callable[[], None]) -> Callable[P, T]:
    """Return a view, ``async`` or not, that is called after a check."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        check()
        ensured: Callable[..., Any] = current_app.ensure_sync(view)
        answer: T = ensured(*args, **kwargs)
        return answer

    return guarded


def _user() -> None:
    if current_session().owner is None:
        raise _log_in("log in first")


def _log_in(text: str, challenge: str = "Session") -> Unauthorized:
    return Unauthorized(response=Response(f"{text}\n", 401, {"WWW-Authenticate": challenge}, mimetype="text/plain"))


def token_of_request() -> Any:
    """Return the living token that the request presents.

    Raises:
        Unauthorized: it presents none, or one that does not authenticate.
        ServiceUnavailable: the store cannot be asked.
    """
    scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not presented.strip():
        raise _refusal(REALM)
    try:
        token = api_of(current_app).verify_token(presented.strip())
    except StoreError as error:
        raise unavailable(error) from error
    if token is None:
        raise _refusal(f'{REALM}, error="invalid_token"')
    return token


def _refusal(challenge: str) -> Unauthorized:
    refused = Response("a living token is needed: Authorization: Bearer stt_…\n", 401, mimetype="text/plain")
    refused.headers["WWW-Authenticate"] = challenge
    refused.headers["Cache-Control"] = "no-store"
    return Unauthorized(response=refused)
