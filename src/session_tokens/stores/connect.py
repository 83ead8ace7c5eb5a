"""Which store a URL names; each is loaded only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from inspect import signature
from pathlib import Path
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
SERVERS = frozenset(SERVER_SCHEMES.values())
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
    if _kind_of(url) not in SERVERS:
        return _checked(url, "", fix=fix, progress=progress)  # a file is looked over whole
    from .copying import SPACES

    findings: list[object] = []
    for space in SPACES:
        said = _checked(url, space, fix=fix, progress=progress)
        findings += [f"{space} {finding}" for finding in said] if space else said
    return findings


def _checked(url: str, space: str, *, fix: bool, progress: Callable[..., None]) -> Sequence[object]:
    store = open_store_now(url, space=space)
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


def migrate_store(url: str, *, grant_to: str | None = None) -> dict[str, list[int]] | None:
    """Bring the tables of a store up to this version: of each name space the numbers of the steps taken.

    Args:
        url: see ``open_store``; of a role that owns the tables or may make them.
        grant_to: a role that may then use the tables without owning them.

    Raises:
        InvalidInput: a role is named, and the store knows none.
        StoreError: the tables are newer than this library, or the role may not do it.

    Answers ``None`` for stores that have nothing to migrate, or do it when they are opened.
    """
    if _kind_of(url) != "postgres":
        if grant_to is not None:
            raise InvalidInput("only PostgreSQL knows roles that a store is granted to; for Valkey see deploy/valkey")
        return None
    from . import postgres
    from .copying import SPACES

    return {space: postgres.migrate_postgres(url, space=space, grant_to=grant_to) for space in SPACES}


def copy_store(source: str, target: str, progress: Callable[[int], None]) -> tuple[dict[str, int], int]:
    """Copy everything from one store into another; run again, it goes on where it was broken off.

    Args:
        source: the URL of the store that is read; nothing may write to it meanwhile.
        target: the URL of an empty store, or of one into which this copy was begun.
        progress: called now and then with how many records were copied and compared.

    Answers how many records of each kind there are, and how many had to be written.

    Raises:
        InvalidInput: a store in memory, one that is not there, the same one twice, or other keys.
        Conflict: the target holds other records.
    """
    from .copying import Copying

    for url in (source, target):
        if _kind_of(url) == "memory":
            raise InvalidInput("a store in memory ends with its process and cannot be copied; name one that outlives")
    if _kind_of(source) == "sqlite" and not Path(unquote(urlsplit(source).path[1:])).exists():
        raise InvalidInput("there is no SQLite file to copy from; look at the number of slashes in its URL")
    if _place_of(source) == _place_of(target):
        raise InvalidInput("both URLs name the same store; name another one to copy into")

    def open_source(space: str) -> BlockingStore:
        return open_store_now(source, space=space)

    def open_target(space: str) -> BlockingStore:
        return open_store_now(target, space=space)

    copying = Copying(open_source, open_target, copy_mark_of(source), progress)
    copying.run()
    return copying.counts, copying.written


def copy_mark_of(url: str) -> str:
    """Answer how a target is marked while a copy from that store is under way."""
    return sha256(_place_of(url).encode()).hexdigest()[:32]


def _place_of(url: str) -> str:
    """Answer what tells one store from another, without users, passwords and time-outs."""
    parts = urlsplit(url)
    kind = _kind_of(url)
    if kind == "sqlite":
        return f"sqlite {Path(unquote(parts.path[1:])).resolve()}"
    options = dict(parse_qsl(parts.query))
    server = f"{parts.hostname or options.get('host', '')}:{parts.port or options.get('port', '')}"
    return f"{kind} {server} {parts.path.strip('/')} {options.get('prefix', '')}{options.get('namespace', '')}"
