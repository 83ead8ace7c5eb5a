"""From where a request comes: its peer's address, or what a trusted proxy says."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from ..errors import InvalidInput

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAPPED_BITS = 96
"""How many bits stand before an address of IPv4 that is written as one of IPv6 (RFC 4291, section 2.5.5.2)."""
MAPPED = ipaddress.IPv6Address("::ffff:0:0")
EVERY_IPV4 = ipaddress.IPv4Network("0.0.0.0/0")


def address_in(text: str) -> Address:
    """Return an address; one of IPv4 as such, also where a socket for both kinds writes it as one of IPv6.

    Raises:
        ValueError: it is none.
    """
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def network_in(text: str) -> Network:
    """Return a network; one of IPv4 as such, also where it is written as one of IPv6, as addresses are.

    Raises:
        ValueError: it is none.
    """
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - MAPPED_BITS))
    return network


def proxies_of(texts: Sequence[str]) -> list[Network]:
    """Return networks written as ``10.0.0.0/8`` or single addresses; in ``::/0`` are those of IPv4 too.

    Raises:
        InvalidInput: one is none.
    """
    try:
        networks = [network_in(text) for text in texts]
        if any(isinstance(network, ipaddress.IPv6Network) and MAPPED in network for network in networks):
            networks.append(EVERY_IPV4)
        return networks
    except ValueError:
        raise InvalidInput("a trusted proxy is an address or a network such as 10.0.0.0/8") from None


def source_of(address: str | None, forwarded: str | None, trusted_proxies: Sequence[Network]) -> str:
    """Return the address that a request comes from: its peer's, or what a trusted proxy says.

    Args:
        address: the peer's, ``None`` where it has none.
        forwarded: the header ``X-Forwarded-For``, if there was one.
        trusted_proxies: networks whose word is trusted; nobody's if empty.
    """
    peer = address or "local"
    if not trusted_proxies or forwarded is None:
        return peer
    source = peer
    # From the nearest hop outwards: the first address that is no proxy of ours. On a Unix socket the nearest is ours.
    hops = [*reversed(forwarded.split(","))]
    for hop in hops if address is None else (address, *hops):
        try:
            ip = address_in(hop.strip())
        except ValueError:
            return source
        source = str(ip)
        if not any(ip in network for network in trusted_proxies):
            break
    return source
