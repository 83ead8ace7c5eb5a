"""From where a service key may be used.

The networks stand in the key's own record, under its MAC: as a setting of their own, someone who writes to the store
could delete them, and the key would be good everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from ..errors import InvalidInput
from ..records import ServiceKey
from ..web.addresses import Network, address_in, network_in

NETWORKS_MAX = 16
"""Networks that one key may be used from."""
KNOWN_MAX = 1_000
"""Lists of networks that are kept ready; one more costs its parsing."""


def networks_given(given: object) -> list[str]:
    """Return networks as they are kept; none is everywhere.

    Raises:
        TypeError: it is no list of texts.
        InvalidInput: too many, or one that is none.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError("networks are a list of str, such as ['10.0.0.0/8']")
    texts = list(given)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a network is a str, such as '10.0.0.0/8'")
    if len(texts) > NETWORKS_MAX:
        raise InvalidInput(f"a key is used from at most {NETWORKS_MAX} networks; name larger networks")
    try:
        return [str(network_in(text)) for text in texts]
    except ValueError:
        raise InvalidInput("a network is an address or like 10.0.0.0/8, with nothing set behind its length") from None


def networks_of(key: ServiceKey) -> tuple[Network, ...]:
    """Return the networks that a key may be used from; none for everywhere."""
    return () if key.networks is None else _networks_in(key.networks)


@lru_cache(maxsize=KNOWN_MAX)
def _networks_in(texts: str) -> tuple[Network, ...]:
    return tuple(map(network_in, texts.split()))


def may_come_from(key: ServiceKey, source: str) -> bool:
    """Whether a key may be used from an address; one that is bound to networks never from what is no address."""
    networks = networks_of(key)
    if not networks:
        return True
    try:
        address = address_in(source)
    except ValueError:
        return False
    return any(address in network for network in networks)
