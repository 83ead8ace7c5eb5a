"""Which store a URL names; each is loaded only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from ..clock import Clock
from ..errors import InvalidInput
from ..minting import Pepper
from ..store import BlockingStore, Store
from .memory import MemoryStore

SERVER_SCHEMES = {
    "valkey": "valkey", "valkeys": "valkey", "redis": "valkey", "rediss": "valkey", "valkey+unix": "valkey",
    "postgresql": "postgres", "postgres": "postgres",
}  # fmt: skip
SQLITE_OPTIONS = {"synchronous": str, "busy_timeout": float}
KNOWN = "memory://, sqlite:///path, valkey://host:port/db, redis://host:port/db, postgresql://host:port/name"


async def open_store(url: str, *, pepper: Pepper | None = None, clock: Clock | None = None, space: str = "") -> Store:
    """Open the store that a URL names, for asyncio.

    Args:
        url: see ``AsyncSessionTokens.open``.
        pepper: for stores that outlive the process.
        clock: for embedded stores.
        space: the name space of its records within the store.

    Raises:
        InvalidInput: no store is named so, or it needs what is not installed or given.
        StoreUnavailable: it cannot be reached.
    """
    kind = _kind_of(url)
    if kind == "valkey":
        from . import valkey

        return await valkey.open_valkey(url, pepper=pepper, space=space)
    if kind == "postgres":
        from . import postgres

        return await postgres.open_postgres(url, pepper=pepper, space=space)
    return _open_embedded(kind, url, pepper, clock, space)


def open_store_now(
    url: str, *, pepper: Pepper | None = None, clock: Clock | None = None, space: str = ""
) -> BlockingStore:
    """As ``open_store``, for callers without an event loop."""
    kind = _kind_of(url)
    if kind == "valkey":
        from . import valkey

        return valkey.open_valkey_blocking(url, pepper=pepper, space=space)
    if kind == "postgres":
        from . import postgres

        return postgres.open_postgres_blocking(url, pepper=pepper, space=space)
    return _open_embedded(kind, url, pepper, clock, space)


def _kind_of(url: object) -> str:
    if not isinstance(url, str):
        raise TypeError(f"a store's URL is a str, not {type(url).__name__}")
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    kind = SERVER_SCHEMES.get(scheme, scheme)
    if kind not in ("memory", "sqlite", "valkey", "postgres"):
        raise InvalidInput(f"no store is named by {scheme + '://' if scheme else 'that URL'}; use one of {KNOWN}")
    return kind


def _open_embedded(kind: str, url: str, pepper: Pepper | None, clock: Clock | None, space: str) -> BlockingStore:
    parts = urlsplit(url)
    if kind == "memory":
        if parts.netloc or parts.path.strip("/") or parts.query:
            raise InvalidInput("memory:// takes no host, path or options")
        return MemoryStore(clock=clock)
    if parts.netloc:
        raise InvalidInput("sqlite:// takes three slashes before a relative path (sqlite:///file.db), four before /")
    path = unquote(parts.path[1:])
    if not path or path == ":memory:":
        raise InvalidInput("sqlite:/// needs a path to a file; for a store in memory use memory://")
    from . import sqlite

    return sqlite.open_sqlite(path, pepper=pepper, clock=clock, space=space, **_options_of(parts.query, SQLITE_OPTIONS))


def _options_of(query: str, known: dict[str, type]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)):
        if name not in known or name in options:
            raise InvalidInput(f"the store's URL has an unknown or repeated option {name!r}; known: {', '.join(known)}")
        try:
            options[name] = known[name](text)
        except ValueError:
            raise InvalidInput(f"the option {name} of the store's URL is a {known[name].__name__}") from None
    if "busy_timeout" in options:
        options["busy_timeout_s"] = options.pop("busy_timeout")
    return options


def check_store(url: str, *, fix: bool, progress: Callable[..., None]) -> Sequence[object]:
    """Check the records and indexes of the store that a URL names; answer what is wrong, a line each.

    Args:
        url: see ``open_store``.
        fix: whether to mend what can be mended.
        progress: called now and then with the number of records looked at.

    Raises:
        InvalidInput: the store cannot be checked, or cannot mend itself.
    """
    store = open_store_now(url)
    try:
        check: Callable[..., Sequence[object]] | None
        check = getattr(store, "check_now", None) or getattr(store, "check", None)
        if check is None:
            raise InvalidInput("a store in memory has nothing to check")
        known = signature(check).parameters
        if fix and "fix" not in known:
            raise InvalidInput("this store cannot mend itself; restore the records that are named from a backup")
        options: dict[str, object] = {}
        if "fix" in known:
            options["fix"] = fix
        if "progress" in known:
            options["progress"] = progress
        findings: Sequence[object] = check(**options)
        return findings
    finally:
        store.close_now()


def fix_store_clock(url: str) -> None:
    """Clear a high-water mark of the clock that lies in the future.

    Raises:
        InvalidInput: the store has no such mark: servers keep their own clock.
    """
    if _kind_of(url) != "sqlite":
        raise InvalidInput("only SQLite keeps a high-water mark; servers tell their own time")
    from . import sqlite

    sqlite.open_sqlite(unquote(urlsplit(url).path[1:]), fix_clock=True).close_now()
