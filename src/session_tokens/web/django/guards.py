"""Guards of views by the secret of a token, as programs send it: ``Authorization: Bearer stt_…`` (RFC 6750)."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, TypeVar

from django.http import HttpResponse, JsonResponse

from ...errors import StoreError
from ...records import Token
from .asking import Steps, arun, ask, run

View = TypeVar("View", bound=Callable[..., Any])

RETRY_AFTER_S = 2


def require_token(view: View) -> View:
    """Let a view be called only with the secret of a living token, which is ``request.token`` in it.

    Without one the answer is 401 with ``WWW-Authenticate: Bearer``; with one that is unknown, ended or unassigned it
    says ``invalid_token`` (RFC 6750, section 3.1). A store that cannot be asked is a 503, never a 401.
    """
    if iscoroutinefunction(view):

        @wraps(view)
        async def awaited(request: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                request.token = await arun(token_of(request))
            except StoreError:
                return _refusal(503, "temporarily_unavailable", {"Retry-After": str(RETRY_AFTER_S)})
            return _refused(request) or await view(request, *args, **kwargs)

        return awaited  # type: ignore[return-value]  # it is called as the view is

    @wraps(view)
    def guarded(request: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            request.token = run(token_of(request))
        except StoreError:
            return _refusal(503, "temporarily_unavailable", {"Retry-After": str(RETRY_AFTER_S)})
        return _refused(request) or view(request, *args, **kwargs)

    return guarded  # type: ignore[return-value]  # it is called as the view is


def presented_in(request: Any) -> str:
    """Return the bearer string that a request presents; empty where it presents none."""
    scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
    return presented.strip() if scheme.lower() == "bearer" else ""


def token_of(request: Any) -> Steps[Token | None]:
    """Return the living token that a request presents, in steps."""
    presented = presented_in(request)
    token: Token | None = (yield ask("verify_token", presented)) if presented else None
    return token


def _refused(request: Any) -> HttpResponse | None:
    if request.token is not None:
        return None
    if not presented_in(request):
        return _refusal(401, "no_token", {"WWW-Authenticate": "Bearer"})
    return _refusal(401, "invalid_token", {"WWW-Authenticate": 'Bearer error="invalid_token"'})


def _refusal(status: int, code: str, headers: dict[str, str]) -> HttpResponse:
    return JsonResponse(
        {"error": code}, status=status, headers={**headers, "Cache-Control": "no-store", "Vary": "Authorization"}
    )
