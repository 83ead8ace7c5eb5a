"""From where a service key may be used, and when it last was: what a key is bound to, and what it leaves behind.

The networks stand in the key's own record, under its MAC: as a setting of their own, someone who writes to the store
could delete them, and the key would be good everywhere. The last use is a setting: nothing is
decided by it. It is written down at most once a minute, in the background, so that asking costs no write.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache

from ..contract.queries import KeyById, SettingOf
from ..contract.store import Store
from ..contract.transaction import Transaction, reads
from ..errors import InvalidInput, StoreError
from ..records import ServiceKey

log = logging.getLogger("session_tokens.service")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NETWORKS_MAX = 16
"""Networks that one key may be used from."""
USED = "key_used:"
"""How the names of the settings begin that tell when a key was used last, in milliseconds."""
USED_EVERY_S = 60
"""How old a last use may be before a newer one is written down."""
KEYS_MAX = 1_000
"""Keys whose last use is remembered to be written; more are written down a little more often."""


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
        return [str(ipaddress.ip_network(text)) for text in texts]
    except ValueError:
        raise InvalidInput("a network is an address or like 10.0.0.0/8, with nothing set behind its length") from None


def networks_of(key: ServiceKey) -> tuple[Network, ...]:
    """Return the networks that a key may be used from; none for everywhere."""
    return () if key.networks is None else _networks_in(key.networks)


@lru_cache(maxsize=KEYS_MAX)
def _networks_in(texts: str) -> tuple[Network, ...]:
    return tuple(map(ipaddress.ip_network, texts.split()))


def may_come_from(key: ServiceKey, source: str) -> bool:
    """Whether a key may be used from an address; one that is bound to networks never from what is no address."""
    networks = networks_of(key)
    if not networks:
        return True
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)


def source_of(address: str | None, forwarded: str | None, trusted_proxies: Sequence[Network]) -> str:
    """Return the address that a request comes from: its peer's, or what a trusted proxy says.

    Args:
        address: the peer's, ``None`` where it has none.
        forwarded: the header ``X-Forwarded-For``, if there was one.
        trusted_proxies: networks whose word is believed; nobody's if empty.
    """
    peer = address or "local"
    if not trusted_proxies or forwarded is None:
        return peer
    source = peer
    # From the nearest hop outwards: the first address that is no proxy of ours. On a Unix socket the nearest is ours.
    hops = [*reversed(forwarded.split(","))]
    for hop in hops if address is None else (address, *hops):
        try:
            ip = ipaddress.ip_address(hop.strip())
        except ValueError:
            return source
        source = str(ip)
        if not any(ip in network for network in trusted_proxies):
            break
    return source


@reads(lambda id: [KeyById(id), SettingOf(USED + id)])
def note_use(tx: Transaction, id: str) -> None:
    """Write down that a key was used, unless a process did so within the last minute or the key is gone."""
    last = tx.setting(USED + id)
    if tx.service_key(id) is not None and (last is None or tx.now - int(last) >= USED_EVERY_S * 1000):
        tx.put_setting(USED + id, str(tx.now))


def forget_use(tx: Transaction, id: str) -> None:
    """Delete what a key left behind."""
    if tx.setting(USED + id) is not None:
        tx.put_setting(USED + id, None)


async def last_used(store: Store, keys: Sequence[ServiceKey]) -> dict[str, int]:
    """Return when each key was used last, in milliseconds and up to a minute early; without those that never were."""
    _, found = await store.read([SettingOf(USED + key.id) for key in keys])
    return {key.id: int(one.value) for key, one in zip(keys, found, strict=True) if one.value is not None}


class Uses:
    """Notes the uses of keys in the background, at most once a minute for each key.

    Args:
        store: where keys are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._again_at_s: dict[str, float] = {}
        self._under_way: set[asyncio.Task[None]] = set()

    def saw(self, id: str) -> None:
        """Take note that a key was used; returns at once."""
        now_s = time.monotonic()
        if now_s < self._again_at_s.get(id, 0.0):
            return
        if len(self._again_at_s) >= KEYS_MAX:
            self._again_at_s.clear()
        self._again_at_s[id] = now_s + USED_EVERY_S
        task = asyncio.get_running_loop().create_task(self._write(id))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _write(self, id: str) -> None:
        try:
            await self._store.run(note_use, id)
        except StoreError as error:
            log.debug("the last use of a key was not written down: %s", error)

    def forget(self) -> None:
        """Write each key's next use down, however short ago the last was."""
        self._again_at_s.clear()
