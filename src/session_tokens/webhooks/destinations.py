"""Where a webhook may lead: over https to a public address, which is looked up once and then kept to.

Whoever adds a webhook makes the service send requests. So an address of the service's own network is refused, whatever
name leads there, unless the operator who runs the service has allowed that host.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Collection
from concurrent.futures import Executor
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit

from ..errors import InvalidInput
from ..validation import may_be_host, plain

URL_LENGTH_MAX = 2_048
_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
"""NAT64: the last four bytes are an address of IPv4."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Forbidden(Exception):
    """A webhook leads where it may not."""


class Destination(NamedTuple):
    """Where a request goes.

    Attributes:
        scheme: ``https``, or ``http`` where that host is allowed.
        host: the name, which certificates and the header ``Host`` name.
        port: the port.
        target: path and query.
        address: what the name was found to mean.
    """

    scheme: str
    host: str
    port: int
    target: str
    address: str


def url_of(given: object) -> str:
    """Return the URL of a webhook.

    Raises:
        TypeError: it is not a ``str``.
        InvalidInput: it is none that could ever be sent to.
    """
    if not isinstance(given, str):
        raise TypeError(f"url is a str, not {type(given).__name__}")
    try:
        parts = urlsplit(given)
        port_is_right = parts.port is None or parts.port > 0
        host_is_right = bool(parts.hostname) and may_be_host(parts.hostname or "")
    except ValueError:
        raise InvalidInput("the webhook's URL cannot be read") from None
    if parts.scheme not in ("https", "http") or not host_is_right or not port_is_right:
        raise InvalidInput("a webhook's URL is https:// and a host, such as https://app.example/hooks")
    if parts.username is not None or parts.password is not None or parts.fragment or "\\" in given:
        raise InvalidInput("a webhook's URL holds no user, password, fragment or backslash")
    if len(given) > URL_LENGTH_MAX or not given.isascii() or not given.isprintable() or " " in given:
        raise InvalidInput(f"a webhook's URL is at most {URL_LENGTH_MAX} printable ASCII characters without blanks")
    return plain(given)


async def destination_of(url: str, allowed: Collection[str] = (), threads: Executor | None = None) -> Destination:
    """Look up where a webhook leads.

    Args:
        url: of the webhook.
        allowed: hosts, each with or without ``:port`` (an address of IPv6 in brackets, as in a URL), that may be
            reached by http, and where they are not public.
        threads: where the name is looked up; those of the loop if not given.

    Raises:
        Forbidden: it may not lead there.
        OSError: the name is not found.
    """
    parts = urlsplit(url)
    host, scheme = parts.hostname or "", parts.scheme
    port = parts.port or (443 if scheme == "https" else 80)
    shown = f"[{host}]" if ":" in host else host
    is_allowed = not {host, shown, f"{host}:{port}", f"{shown}:{port}"}.isdisjoint(each.lower() for each in allowed)
    if scheme != "https" and not is_allowed:
        raise Forbidden("only https is sent to")
    find = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(threads, find)
    addresses = [str(entry[4][0]) for entry in found]
    if not is_allowed and not all(is_public(address) for address in addresses):
        raise Forbidden("it leads to an address that is not public; serve --webhook-allow lets a host be")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Destination(scheme, host, port, target, addresses[0])


def is_public(text: str) -> bool:
    """Whether an address is one of the public network, also where it wraps one of IPv4."""
    try:
        address: Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and any(address in network for network in _TRANSLATED):
            inner = ipaddress.IPv4Address(address.packed[-4:])
        if address.is_site_local:  # fec0::/10, withdrawn in RFC 3879 and routed by some still
            return False
        if inner is not None:
            address = inner
    return address.is_global and not address.is_multicast and not address.is_reserved
