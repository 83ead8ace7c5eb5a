"""Addresses as they were sent: a route is found before anything in a path is decoded.

Whatever stands in front of the service decides by the path that it reads, and may read ``/%63onsole`` or
``/console%2Fkeys`` as another path than ``/console``. So only the letters that a route is written in reach it, and
nothing but what stands in an address for an owner is decoded, once.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

from ..errors import InvalidInput
from .exchange import Scope


def as_sent(scope: Scope) -> Scope:
    """Return a request's scope with its path not decoded."""
    raw: bytes | None = scope.get("raw_path")
    if raw is None:  # a server need not give it
        return {**scope, "path": quote(scope["path"])}
    return scope if b"%" not in raw else {**scope, "path": raw.decode("latin-1")}


def decoded(part: str) -> str:
    """Return what a part of a path means.

    Raises:
        InvalidInput: it is not percent-encoded UTF-8.
    """
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise InvalidInput("the path is not percent-encoded UTF-8") from None
