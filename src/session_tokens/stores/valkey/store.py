"""The Valkey and Redis stores: two thin shells, for asyncio and for threads, over one codec and one function library.

Theory of operation. Reads of one turn of the event loop become one call of a read-only function, commits one call of
the commit function, which carries out each whole or not at all; see ``coalesce``, ``rows`` and
``library``. The server's clock judges. Nothing depends on keys expiring: what is over is dead when
it is read, and a key's own time-to-live, a week beyond the deadline, only brings space back where nobody sweeps.

Durability. What a command answered is on the server; what the server can lose is a choice of its operator and URL:

- ``durability=fast`` (the default): what the server's persistence can lose. With ``appendonly yes`` and
  ``appendfsync everysec`` a crash of its machine loses about the last second, with ``always`` nothing; with snapshots
  alone everything since the last one. A fail-over to a replica loses what had not reached it.
- ``durability=replicated&replicas=n``: a command is answered only after n replicas have it in memory (``WAIT``), else
  ``StoreUnavailable``, its outcome unknown. A fail-over to one of those loses nothing; all of them crashing at once
  loses what persistence loses.

``min-replicas-to-write`` of the server is no such promise: it fences off a primary without replicas.

What is lost is lost as a whole command; a session that was ended within the time lost is alive again, and no store on
such a server can prevent that. Where this matters use ``appendfsync always``.
"""

from __future__ import annotations

import re
from functools import partial
from importlib import import_module
from typing import Any

from ...crypto.key_file import given_keyring
from ...crypto.minting import Pepper
from ...errors import InvalidInput, StoreError
from .async_cluster import ClusterStore
from .async_store import ValkeyStore
from .blocking_cluster import BlockingClusterStore
from .blocking_store import BlockingValkeyStore
from .primaries import DriverPool
from .schema import Address

__all__ = [
    "BlockingClusterStore", "BlockingValkeyStore", "ClusterStore", "ValkeyStore", "is_there", "open_valkey",
    "open_valkey_blocking",
]  # fmt: skip

DRIVERS = ("valkey", "redis")
UNTAKEN = re.compile(r"unexpected keyword argument '(\w+)'")
"""What a driver says of an option that it does not know."""


async def open_valkey(
    url: str = "", *, pepper: Pepper | None, space: str = "", client: Any = None, sealed: bool | None = None
) -> ValkeyStore | ClusterStore:
    """Open the store on the Valkey or Redis server that a URL names, for asyncio.

    Args:
        url: ``valkey://user:password@host:port/db`` (also ``valkeys://``, ``redis://``, ``rediss://``,
            ``valkey+unix:///path``, ``valkey+sentinel://host:port,host:port/name`` with the hosts of Sentinels, and
            ``valkey+cluster://host:port,host:port`` with those of nodes), with ``?timeout=`` (seconds, default 1),
            ``durability=fast`` or ``replicated``, ``replicas=``, ``namespace=`` (what key names begin with, default
            ``st``), ``partitions=1`` (all in one slot of a cluster) and the driver's own options.
        pepper: at least 32 bytes, or key id → bytes of which the first is the current one. It is kept apart from the
            server: whoever holds only one of them can do nothing.
        space: a name space beside the main one: keys of its own.
        client: an existing ``valkey.asyncio.Valkey`` or ``redis.asyncio.Redis`` instead of the address in the URL. The
            store makes connections as the client does, and leaves the client's own alone.
        sealed: whether a new store seals values; ``None``: as it was made, a new one in clear.

    Raises:
        InvalidInput: no pepper, a wrong one, or a URL that can never be right.
        StoreUnavailable: the server cannot be reached, or refuses user or password.
        StoreError: the server is too old, would evict keys, or holds another text of the function library.
    """
    address = Address(url)
    keyring = given_keyring(pepper, "Valkey", sealed)
    pool = _pool_of(client, "asyncio") if client is not None else _pool_of_url(address, ".asyncio")
    if address.way == "cluster":
        spread = ClusterStore(address, pool, keyring, space)
        try:
            insist_on_partitions(address.partitions, await spread.found_in())
            if address.partitions > 1:
                if client is None:
                    spread.tracked_pool = partial(_pool_of_url, address, "")
                await spread.open()
                return spread
            await spread.close()
        except BaseException:
            await spread.close()
            raise
    store = ValkeyStore(address, pool, keyring, space)
    if client is None:
        store.tracked_pool = partial(_pool_of_url, address, "")
    await store.open()
    return store


def open_valkey_blocking(
    url: str = "", *, pepper: Pepper | None, space: str = "", client: Any = None, sealed: bool | None = None
) -> BlockingValkeyStore | BlockingClusterStore:
    """As ``open_valkey``, for threads; ``client`` is then a ``valkey.Valkey`` or ``redis.Redis``."""
    address = Address(url)
    keyring = given_keyring(pepper, "Valkey", sealed)
    pool = _pool_of(client, "") if client is not None else _pool_of_url(address, "")
    if address.way == "cluster":
        spread = BlockingClusterStore(address, pool, keyring, space)
        try:
            insist_on_partitions(address.partitions, spread.found_in())
            if address.partitions > 1:
                if client is None:
                    spread.tracked_pool = partial(_pool_of_url, address, "")
                spread.open()
                return spread
            spread.close_now()
        except BaseException:
            spread.close_now()
            raise
    store = BlockingValkeyStore(address, pool, keyring, space)
    if client is None:
        store.tracked_pool = partial(_pool_of_url, address, "")
    store.open()
    return store


def is_there(url: str, space: str = "") -> bool:
    """Whether a server holds a name space's records; makes nothing.

    Raises:
        InvalidInput: no pepper, or a URL that can never be right.
        StoreUnavailable: the server cannot be reached, or refuses user or password.
    """
    address = Address(url)
    pool, keyring = _pool_of_url(address, ""), given_keyring(None, "Valkey")
    store: BlockingValkeyStore | BlockingClusterStore
    if address.way == "cluster":
        store = BlockingClusterStore(address, pool, keyring, space)
    else:
        store = BlockingValkeyStore(address, pool, keyring, space)
    try:
        return store.is_there()
    finally:
        store.close_now()


def insist_on_partitions(wanted: int, found: list[int]) -> None:
    """Raise ``StoreError`` if a name space lies in another number of partitions than is wanted."""
    if found and wanted not in found:
        raise StoreError(
            f"the records of this name space lie in {found[0]} partition{'s' if found[0] > 1 else ''}, as it was made; "
            f"name it with partitions={found[0]}, or copy it into another name space (session-tokens store copy)"
        )


def _pool_of(client: Any, kind: str) -> DriverPool:
    """Return how a client makes its connections."""
    pool: DriverPool | None = getattr(client, "connection_pool", None)
    if pool is None or ("asyncio" in type(pool).__module__.split(".")) != (kind == "asyncio"):
        module = f"valkey.{kind}" if kind else "valkey"
        raise TypeError(
            f"client is a {module}.Valkey or the like, not {type(client).__module__}.{type(client).__name__}"
        )
    return pool


def _pool_of_url(address: Address, submodule: str) -> DriverPool:
    """Return a pool of a driver that is installed and takes its options, for an address."""
    untaken = ""
    for scheme in DRIVERS:
        try:
            driver = import_module(scheme + submodule)
        except ImportError:
            continue
        try:
            pool: DriverPool = driver.ConnectionPool.from_url(address.driver_url(scheme))
            pool.connection_class(**pool.connection_kwargs)
        except (ValueError, TypeError) as error:
            named = UNTAKEN.search(str(error))
            if named is not None:
                untaken = untaken or f"{scheme}{submodule} does not take the option {named[1]} of the store's URL"
                continue
            raise InvalidInput(
                f"the driver does not take the store's URL or its options ({type(error).__name__})"
            ) from None
        return pool
    if untaken:
        raise InvalidInput(f"{untaken}; leave it out, or install the other driver, which may (valkey, redis)")
    raise InvalidInput("a valkey:// or redis:// store needs its driver: pip install 'session-tokens[valkey]'")
