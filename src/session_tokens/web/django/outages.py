"""A store that cannot be asked is a 503 with ``Retry-After``: from our middleware, or as the site's ``handler500``."""

from __future__ import annotations

import logging
import sys
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.defaults import server_error

from ...errors import StoreError

log = logging.getLogger("session_tokens.web.django")

RETRY_AFTER_S = 2


def unavailable(error: Exception) -> HttpResponse:
    """Return the response for a request whose session can be read or written only later."""
    log.error("sessions cannot be read or written: %s", error)
    return HttpResponse(
        "The service is not available for a moment.",
        status=503,
        headers={"Retry-After": str(RETRY_AFTER_S), "Cache-Control": "no-store", "Vary": "Cookie"},
        content_type="text/plain; charset=utf-8",
    )


def handler500(request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
    """Answer 503 with ``Retry-After`` where the store of the sessions is away, and as Django does for other errors.

    For sites that keep Django's own session middleware, in the root URLconf:
    ``handler500 = "session_tokens.web.django.handler500"``. Django asks it for nothing while ``DEBUG`` is on.

    Args:
        request: that could not be answered.
        args, options: as for ``django.views.defaults.server_error``, which answers other errors.
    """
    error = sys.exc_info()[1]
    return unavailable(error) if isinstance(error, StoreError) else server_error(request, *args, **options)
