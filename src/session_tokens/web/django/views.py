"""The page with a user's devices."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.sessions.backends.base import UpdateError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from .devices import end_others, end_session_of, sessions_of


@never_cache
@login_required
def devices(request: Any) -> HttpResponse:
    """Show where the user is logged in."""
    context = {"sessions": sessions_of(request.user), "current": request.session.id}
    return render(request, "session_tokens/devices.html", context)


@require_POST
@login_required
def end(request: Any, id: str) -> HttpResponse:
    """End one session of the user; another user's, or one that is over, stays as it is."""
    end_session_of(request.user, id)
    return redirect("session_tokens:devices")


@require_POST
@login_required
def end_all_others(request: HttpRequest) -> HttpResponse:
    """End all sessions of the user but this one; none where it has ended meanwhile, which the page then shows."""
    with suppress(UpdateError):
        end_others(request)
    return redirect("session_tokens:devices")
