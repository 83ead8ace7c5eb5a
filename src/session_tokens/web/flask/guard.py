"""Lets a view be called with a living token only, as RFC 6750 has it: ``Authorization: Bearer stt_…``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from flask import Response, current_app, g, request
from werkzeug.exceptions import Unauthorized

from ...errors import StoreError
from .acts import api_of
from .interface import unavailable

P = ParamSpec("P")
T = TypeVar("T")

REALM = 'Bearer realm="session-tokens"'


def require_token(view: Callable[P, T]) -> Callable[P, T]:
    """Let a view be called only with the secret of a living token; the token is ``flask.g.token`` in it.

    Without a token the answer is 401 with ``WWW-Authenticate: Bearer``; with one that is unknown, ended or unassigned
    it says ``invalid_token`` (RFC 6750, section 3.1). A store that cannot be asked is a 503, never a 401.
    """

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        g.token = token_of_request()
        ensured: Callable[..., Any] = current_app.ensure_sync(view)
        answer: T = ensured(*args, **kwargs)
        return answer

    return guarded


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
