"""Requests that pages of other sites send, with which browsers send no cookie, told by what Django's settings trust.

``Sec-Fetch-Site`` (Fetch Metadata) alone tells of them here: an ``Origin`` that is not the host's may be a page of the
same site, with which the cookie is sent, or lie behind a proxy that changes the host.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.http import is_same_domain

from ..origins import SAFE, opens_socket
from ..withheld import Dropped

dropped = Dropped(logging.getLogger("session_tokens.web.django"), "CSRF_TRUSTED_ORIGINS")


def is_partitioned() -> bool:
    """Whether the session cookie goes with requests from pages of all sites, kept apart for each."""
    return bool(getattr(settings, "SESSION_COOKIE_PARTITIONED", False))


def same_site() -> Any:
    """Return the ``SameSite`` that the session cookie is given."""
    return "None" if is_partitioned() else settings.SESSION_COOKIE_SAMESITE


def is_withheld(request: Any) -> bool:
    """Whether a page of another site sent a request that is not trusted, so that browsers sent no cookie with it."""
    header = request.META.get
    if request.method in SAFE and not opens_socket(header("HTTP_UPGRADE")):
        return False
    if header("HTTP_SEC_FETCH_SITE") != "cross-site" or same_site() == "None":
        return False
    origin = header("HTTP_ORIGIN")
    return origin is None or not _is_trusted(origin)


def _is_trusted(origin: str) -> bool:
    """Whether ``CSRF_TRUSTED_ORIGINS`` names an origin, as ``CsrfViewMiddleware`` reads it."""
    try:
        scheme, host = urlsplit(origin.lower())[:2]
    except ValueError:
        return False
    named = (each.lower().partition("://") for each in settings.CSRF_TRUSTED_ORIGINS)
    return any(scheme == trusted and is_same_domain(host, pattern.lstrip("*")) for trusted, _, pattern in named)
