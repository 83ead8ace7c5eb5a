"""The PostgreSQL store: two thin shells, asyncio and blocking, over one pure core.

Theory of operation. A read is one statement (``queries``), a commit one call of a function that takes locks,
compares stamps and writes (``commit``, ``sql/``). No transaction is open between round trips and nothing is
kept in the server's session, so a transaction pooler may stand in between. The store keeps the server's clock.

Durability: a command is answered after its commit record is on the server's disk (``synchronous_commit`` is on by
default, and the store does not touch it). What a fail-over can lose is what PostgreSQL itself can lose: with
asynchronous replicas the last commits, with ``synchronous_standby_names`` none.
"""

from __future__ import annotations

from ...crypto.key_file import given_keyring
from ...crypto.minting import Pepper, PepperKeyring
from ...errors import InvalidInput

try:
    from .address import address_of
    from .async_store import PostgresStore
    from .blocking_store import BlockingPostgresStore
except ImportError as error:  # psycopg itself, or the libpq that it needs
    raise InvalidInput(
        f"a PostgreSQL store needs psycopg ({error}); install it: pip install 'session-tokens[postgres]'"
    ) from error

__all__ = [
    "BlockingPostgresStore",
    "PostgresStore",
    "is_there",
    "migrate_postgres",
    "open_postgres",
    "open_postgres_blocking",
]


async def open_postgres(
    url: str, *, pepper: Pepper | None = None, space: str = "", sealed: bool | None = None
) -> PostgresStore:
    """Open the PostgreSQL store that a URL names, for asyncio; make its tables if there are none and the role may.

    Args:
        url: ``postgresql://user@host:port/database?namespace=…&timeout=…&pool_size=…&prepared=…`` and the driver's own
            parameters; ``timeout`` is in seconds.
        pepper: at least 32 bytes, or key id → bytes of which the first is the current one. It is kept apart from the
            database: whoever holds only one of them can do nothing.
        space: a name space beside the main one: a schema of its own.
        sealed: whether a new store seals values; ``None``: as it was made, a new one in clear.

    Raises:
        InvalidInput: no pepper, or one that rows need is missing or another one, or a URL that can never be right.
        StoreUnavailable: the server cannot be reached in time.
        StoreError: the tables are not there and the role may not make them, or they are of another version.
    """
    store = PostgresStore(address_of(url, space), given_keyring(pepper, "PostgreSQL", sealed))
    await store.open()
    return store


def open_postgres_blocking(
    url: str, *, pepper: Pepper | None = None, space: str = "", sealed: bool | None = None
) -> BlockingPostgresStore:
    """Open a store as ``open_postgres`` does, for callers without an event loop."""
    store = BlockingPostgresStore(address_of(url, space), given_keyring(pepper, "PostgreSQL", sealed))
    store.open()
    return store


def is_there(url: str, space: str = "") -> bool:
    """Whether a database holds the tables of a name space; makes nothing.

    Raises:
        InvalidInput: the URL can never be right.
        StoreUnavailable: the server cannot be reached in time.
    """
    store = BlockingPostgresStore(address_of(url, space), PepperKeyring(bytes(32)))
    try:
        return store.is_there()
    finally:
        store.close_now()


def migrate_postgres(url: str, *, space: str = "", grant_to: str | None = None) -> list[int]:
    """Bring the tables of a store up to this version; return the numbers of the steps taken, none if it was.

    Args:
        url: as for ``open_postgres``, of a role that owns the tables or may make them.
        space: the name space.
        grant_to: the role that will use the tables, which need not own them.

    Raises:
        InvalidInput: the URL can never be right.
        StoreUnavailable: the server cannot be reached in time.
        StoreError: the tables are newer than this library, or the role may not do it.
    """
    return BlockingPostgresStore(address_of(url, space), PepperKeyring(bytes(32))).migrate(grant_to)
