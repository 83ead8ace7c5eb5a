"""Requests that pages of other origins send, told by what Django's settings trust."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.utils.http import is_same_domain

from ..origins import SAFE, is_cross_origin, opens_socket
from ..withheld import Dropped

dropped = Dropped(logging.getLogger("session_tokens.web.django"), "CSRF_TRUSTED_ORIGINS")


def is_forged(request: Any) -> bool:
    """Whether a page of another origin sent a request that is not trusted, and it may change something."""
    header = request.META.get
    if request.method in SAFE and not opens_socket(header("HTTP_UPGRADE")):
        return False
    origin = header("HTTP_ORIGIN")
    if origin is not None and _is_trusted(origin):
        return False
    try:
        host = request.get_host()
    except DisallowedHost:
        host = None
    return is_cross_origin(origin, header("HTTP_SEC_FETCH_SITE"), host, ())


def _is_trusted(origin: str) -> bool:
    """Whether ``CSRF_TRUSTED_ORIGINS`` names an origin, as ``CsrfViewMiddleware`` reads it."""
    try:
        scheme, host = urlsplit(origin.lower())[:2]
    except ValueError:
        return False
    named = (each.lower().partition("://") for each in settings.CSRF_TRUSTED_ORIGINS)
    return any(scheme == trusted and is_same_domain(host, pattern.lstrip("*")) for trusted, _, pattern in named)
