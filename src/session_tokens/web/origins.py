"""Whether a request that changes something was sent by a page of another origin (cross-site request forgery).

Browsers say where a request comes from: ``Sec-Fetch-Site``, or ``Origin`` where they are older (Fetch Standard; the
order is that of Go's ``http.CrossOriginProtection``). What says neither is no browser, and carries no cookie that it
was not given. The scheme is not compared, for a proxy may speak another one to us than browsers do to it.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from ..errors import InvalidInput

FORGED = "The request comes from a page of another origin; see trusted_origins."
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that change nothing (RFC 9110, section 9.2.1)."""
SOCKET = "websocket"
"""What a GET asks for in ``Upgrade`` that opens a WebSocket (RFC 6455, section 4.1)."""


def opens_socket(upgrade: str | None) -> bool:
    """Whether a request opens a WebSocket, by its header ``Upgrade``: it may change something, though it is a GET.

    Its response sets no cookie.
    """
    return upgrade is not None and upgrade.lower() == SOCKET


def origins_of(texts: Collection[str]) -> frozenset[str]:
    """Return origins written as ``https://shop.example`` or ``https://shop.example:8443``.

    Raises:
        TypeError: one text instead of many.
        InvalidInput: one is no origin.
    """
    if isinstance(texts, str):
        raise TypeError("trusted_origins is a list of str, such as ['https://shop.example']")
    for text in texts:
        parts = urlsplit(text)
        if not parts.scheme or not parts.netloc or text != f"{parts.scheme}://{parts.netloc}":
            raise InvalidInput("a trusted origin is a scheme and a host alone, such as https://shop.example")
    return frozenset(text.lower() for text in texts)


def is_cross_origin(origin: str | None, fetch_site: str | None, host: str | None, trusted: Collection[str]) -> bool:
    """Whether a request that may change something comes from a page of another origin that is not trusted.

    Args:
        origin, fetch_site, host: its headers ``Origin``, ``Sec-Fetch-Site`` and ``Host``, ``None`` without.
        trusted: what ``origins_of`` returned.
    """
    if origin is not None and origin.lower() in trusted:
        return False
    if fetch_site is not None:
        return fetch_site not in ("same-origin", "none")
    if origin is None:
        return False
    try:
        return host is None or urlsplit(origin).netloc.lower() != host.lower()
    except ValueError:
        return True
