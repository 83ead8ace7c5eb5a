"""What the request says in every framework: address, scheme, host and origin, headers only of trusted proxies.

Headers that proxies set are taken from trusted proxies alone: ``X-Forwarded-For`` (the client's address),
``X-Forwarded-Proto`` and ``X-Forwarded-Host`` (what the browser called).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from .addresses import proxies_of, source_of
from .origins import SAFE, is_cross_origin, opens_socket, origins_of

_NOBODY = "192.0.2.0"
"""An address that no client has (RFC 5737): what a trusted peer is asked to pass on."""


class Incoming(NamedTuple):
    """What is known of a request.

    Attributes:
        address: of the client.
        is_https: whether the browser is on https.
        is_forged: whether a page of another origin sent it that is not trusted, and it may change something.
    """

    address: str
    is_https: bool
    is_forged: bool


class Trust:
    """Whom an application trusts beside itself.

    Args:
        trusted_origins: origins whose pages may send requests that change something, beside our own.
        trusted_proxies: networks of proxies that are trusted when they say from where a request comes.

    Raises:
        TypeError: one text instead of many.
        InvalidInput: one is no origin, or no network.
    """

    def __init__(self, trusted_origins: Collection[str] = (), trusted_proxies: Collection[str] = ()) -> None:
        if isinstance(trusted_proxies, str):
            raise TypeError("trusted_proxies is a list of str, such as ['10.0.0.0/8']")
        self._origins = origins_of(trusted_origins)
        self._proxies = proxies_of(list(trusted_proxies))

    def address_of(self, peer: str | None, forwarded: str | None) -> str:
        """Return the client's address: the peer's, or what ``X-Forwarded-For`` of a trusted proxy says."""
        return source_of(peer, forwarded, self._proxies)

    def is_https(self, peer: str | None, header: Callable[[str], str | None], *, is_https: bool) -> bool:
        """Return whether the browser is on https; the arguments are those of ``look_at``."""
        return is_https or (self._is_proxy(peer) and _first(header("x-forwarded-proto")) == "https")

    def _is_proxy(self, peer: str | None) -> bool:
        if not self._proxies:
            return False
        return peer is None or source_of(peer, _NOBODY, self._proxies) == _NOBODY

    def look_at(
        self, method: str, peer: str | None, header: Callable[[str], str | None], *, is_https: bool
    ) -> Incoming:
        """Return what is known of a request.

        Args:
            method: of the request; of a WebSocket that no header tells, as over HTTP/2, one that changes something.
            peer: the address that it comes from; ``None`` for a Unix socket, whose other end is a proxy of ours.
            header: returns a header by its name in lower case, ``None`` where it is not there.
            is_https: whether it came to us by https.
        """
        upgrade = header("upgrade") if method in SAFE else None
        is_judged = method not in SAFE if upgrade is None else opens_socket(upgrade)
        host = header("host") if is_judged else None
        if self._is_proxy(peer):
            is_https = self.is_https(peer, header, is_https=is_https)
            host = _first(header("x-forwarded-host")) or host
        is_forged = is_judged and is_cross_origin(header("origin"), header("sec-fetch-site"), host, self._origins)
        forwarded = header("x-forwarded-for") if self._proxies else None
        return Incoming(self.address_of(peer, forwarded), is_https, is_forged)


def _first(value: str | None) -> str:
    """Return what the first of several proxies said, which is nearest to the browser."""
    return (value or "").partition(",")[0].strip()
