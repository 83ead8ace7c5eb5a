"""Which store a URL names; each is loaded only when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from hashlib import sha256
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..clock import Clock
from ..contract.queries import Get
from ..contract.store import BlockingStore, Store
from ..crypto.key_file import insist_on_keys_of_source
from ..crypto.minting import Pepper, PepperKeyring
from ..crypto.sealing import sealed_in
from ..errors import Conflict, CorruptRecord, InvalidInput
from ..settings import EVENTS_SETTING
from .common.store_url import PORTS, StoreURL, store_url_of
from .memory.store import MemoryStore

if TYPE_CHECKING:
    from .common.copying import MoveSetting

SQLITE_OPTIONS = frozenset({"synchronous", "busy_timeout"})


async def open_store(
    url: str,
    *,
    pepper: Pepper | None = None,
    clock: Clock | None = None,
    space: str = "",
    sealed: bool | None = None,
) -> Store:
    """Open the store that a URL names, for asyncio.

    Args:
        url: see ``AsyncSessionTokens.open``.
        pepper: for stores that outlive the process.
        clock: for embedded stores.
        space: the name space of its records within the store.
        sealed: whether a new store seals values, and one that is there must; ``None``: as the environment's
            ``SESSION_TOKENS_SEALED`` says, else as it was made, a new one in clear.

    Raises:
        InvalidInput: no store is named so, or it needs what is not installed or given, or keeps values otherwise.
        StoreUnavailable: it cannot be reached.
        StoreError: a copy into it was not finished, or it cannot be used as it is.
    """
    store = await _open_anyway(url, pepper, clock, space, _wanted(sealed))
    if not isinstance(store, MemoryStore):
        try:
            await _look_first(store)
        except BaseException:
            await store.close()
            raise
    return store


def _wanted(sealed: bool | None) -> bool | None:
    return sealed_in(os.environ) if sealed is None else sealed


async def _open_anyway(url: str, pepper: Pepper | None, clock: Clock | None, space: str, sealed: bool | None) -> Store:
    """Open a store as ``open_store`` does, also where a copy into the store was not finished."""
    named = store_url_of(url)
    if named.kind == "valkey":
        from .valkey import store as valkey

        return await valkey.open_valkey(url, pepper=pepper, space=space, sealed=sealed)
    if named.kind == "postgres":
        from .postgres import store as postgres

        return await postgres.open_postgres(url, pepper=pepper, space=space, sealed=sealed)
    if named.kind == "mysql":
        from .mysql import store as mysql

        return await mysql.open_mysql(url, pepper=pepper, space=space, sealed=sealed)
    return _open_embedded(named, pepper, clock, space, sealed)


async def _look_first(store: Store) -> None:
    """Refuse a store into which a copy was not finished; learn whether it keeps events."""
    from .common.copy_marks import MARK, unfinished

    _, (mark, events) = await store.read([Get("setting", MARK), Get("setting", EVENTS_SETTING)])
    error = unfinished(mark.value)
    if error is not None:
        raise error
    store.listeners.keep(store.keeps_events and events.value == "durable")


def open_store_now(
    url: str,
    *,
    pepper: Pepper | None = None,
    clock: Clock | None = None,
    space: str = "",
    sealed: bool | None = None,
) -> BlockingStore:
    """Open a store as ``open_store`` does, for callers without an event loop."""
    return _looked_at_first(open_anyway_now(url, pepper, clock, space, _wanted(sealed)))


def opened_to_read(url: str, opened: ExitStack) -> dict[str, BlockingStore]:
    """Open all name spaces of a store as ``open_store_now`` does, sealed or not, until the stack ends; make none.

    Raises:
        InvalidInput: the store is not there.
    """
    from .absent import Absent
    from .common.copying import SPACES

    insist_it_is_there(url)
    there = {
        space: opened.enter_context(closing_now(_looked_at_first(open_anyway_now(url, space=space))))
        for space in SPACES
        if is_there(url, space)
    }
    keyring = next(iter(there.values())).keyring
    return {space: there.get(space) or Absent(keyring) for space in SPACES}


def _looked_at_first(store: BlockingStore) -> BlockingStore:
    if not isinstance(store, MemoryStore):
        from .common.copy_marks import MARK, unfinished

        try:
            _, (mark, events) = store.read_now([Get("setting", MARK), Get("setting", EVENTS_SETTING)])
            error = unfinished(mark.value)
            if error is not None:
                raise error
            store.listeners.keep(store.keeps_events and events.value == "durable")
        except BaseException:
            store.close_now()
            raise
    return store


def open_anyway_now(
    url: str,
    pepper: Pepper | None = None,
    clock: Clock | None = None,
    space: str = "",
    sealed: bool | None = None,
) -> BlockingStore:
    """Open a store as ``open_store_now`` does, also where a copy into the store was not finished.

    Args:
        sealed: as there, whatever the environment says.
    """
    named = store_url_of(url)
    if named.kind == "valkey":
        from .valkey import store as valkey

        return valkey.open_valkey_blocking(url, pepper=pepper, space=space, sealed=sealed)
    if named.kind == "postgres":
        from .postgres import store as postgres

        return postgres.open_postgres_blocking(url, pepper=pepper, space=space, sealed=sealed)
    if named.kind == "mysql":
        from .mysql import store as mysql

        return mysql.open_mysql_blocking(url, pepper=pepper, space=space, sealed=sealed)
    return _open_embedded(named, pepper, clock, space, sealed)


def _open_embedded(
    named: StoreURL,
    pepper: Pepper | None,
    clock: Clock | None,
    space: str,
    sealed: bool | None = None,
    *,
    fix_clock: bool = False,
) -> BlockingStore:
    if named.kind == "memory":
        if pepper is not None:
            PepperKeyring(pepper)  # it needs none, and refuses what no store would take
        return MemoryStore(clock=clock)
    from .sqlite import store as sqlite

    named.known_options(SQLITE_OPTIONS)
    if clock is not None and not hasattr(clock, "raise_to"):
        raise TypeError(f"a clock of SQLite has raise_to(mark_ms), too, which {type(clock).__name__} has not")
    options: dict[str, Any] = {}
    if "synchronous" in named.options:
        options["synchronous"] = named.options["synchronous"]
    if "busy_timeout" in named.options:
        options["busy_timeout_s"] = named.number("busy_timeout", 0, 0, 3600)
    return sqlite.open_sqlite(
        named.path, pepper=pepper, clock=clock, space=space, fix_clock=fix_clock, sealed=sealed, **options
    )


def check_store(url: str, *, fix: bool, progress: Callable[[int, int], None]) -> Sequence[object]:
    """Check the records and indexes of the store that a URL names; return what is wrong, a line each.

    Args:
        url: see ``open_store``; one into which a copy was not finished is checked too, and called that.
        fix: whether to mend what can be mended.
        progress: ``progress(done, total)``, called now and then.

    Raises:
        InvalidInput: the store cannot be checked, or cannot mend itself.
    """
    insist_it_is_there(url)
    if store_url_of(url).kind not in PORTS:
        return _checked(url, "", fix=fix, progress=progress)  # a file is looked over whole
    from .common.copying import SPACES

    findings: list[object] = []
    for space in (space for space in SPACES if is_there(url, space)):
        said = _checked(url, space, fix=fix, progress=progress)
        findings += [f"{space} {finding}" for finding in said] if space else said
    return findings


def _checked(url: str, space: str, *, fix: bool, progress: Callable[[int, int], None]) -> Sequence[object]:
    from ..contract.event_log import BEYOND, LATE_MS
    from .common.copy_marks import mark_of, unfinished
    from .common.findings import Finding

    with closing_now(open_anyway_now(url, space=space)) as store:
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
        findings = list(check(**options))
        with suppress(CorruptRecord):  # then it is among the findings
            if not space and (error := unfinished(mark_of(store))):
                findings.append(error)
        if not space and (late := store.read_events_now(BEYOND, 1).held_back_ms) > LATE_MS:
            findings.append(Finding("events", "", _held_back(late), what="held_back"))
        return findings


def _held_back(late_ms: int) -> str:
    return (
        f"held back for {late_ms // 1000} s by a transaction that has written and is open on the server, maybe in "
        "another database; end it (see pg_stat_activity, backend_xid)"
    )


def fix_store_clock(url: str) -> None:
    """Clear a high-water mark of the clock that lies in the future.

    Raises:
        InvalidInput: the store has no such mark: servers keep their own clock.
    """
    named = store_url_of(url)
    if named.kind != "sqlite":
        raise InvalidInput("only SQLite keeps a high-water mark; servers tell their own time")
    insist_it_is_there(url)
    _open_embedded(named, None, None, "", fix_clock=True).close_now()


def migrate_store(url: str, *, grant_to: str | None = None) -> dict[str, list[int]] | None:
    """Bring the tables of a store up to this version: of each name space the numbers of the steps taken.

    Args:
        url: see ``open_store``; of a role that owns the tables or may make them.
        grant_to: a role that may then use the tables without owning them.

    Raises:
        InvalidInput: a role is named, and the store knows none.
        StoreError: the tables are newer than this library, or the role may not do it.

    Return ``None`` for stores that have nothing to migrate, or do it when they are opened.
    """
    kind = store_url_of(url).kind
    if kind != "postgres" and grant_to is not None:
        raise InvalidInput("only PostgreSQL knows roles that a store is granted to; for Valkey see deploy/valkey")
    from .common.copying import SPACES

    if kind == "mysql":
        from .mysql import store as mysql

        return {space: mysql.migrate_mysql(url, space=space) for space in SPACES}
    if kind != "postgres":
        return None
    from .postgres import store as postgres

    return {space: postgres.migrate_postgres(url, space=space, grant_to=grant_to) for space in SPACES}


def copy_store(
    source: str,
    target: str,
    progress: Callable[[int, int], None],
    move: MoveSetting,
    *,
    sealed: bool | None = None,
) -> tuple[dict[str, int], int, int]:
    """Copy everything from one store into another; run again, it goes on where it was broken off.

    Args:
        source: the URL of the store that is read; nothing may write to it meanwhile.
        target: the URL of an empty store, or of one into which this copy was begun.
        progress: ``progress(done, total)``, called now and then.
        move: ``move(name, text, moved)``, the text of a setting where events have other ids; it is in
            ``rules.copied_settings``.
        sealed: whether a new target seals values; ``None``: as the environment says, else as the source does.

    Return how many records of each kind there are, and how many records and how many events had to be written.

    Raises:
        InvalidInput: a store in memory, one that is not there, the same one twice, or other keys.
        Conflict: the target holds other records.
    """
    from .common.copying import Copying

    _insist_it_outlives(source)
    _insist_it_outlives(target)
    insist_it_is_there(source)
    if store_url_of(source).place == store_url_of(target).place:
        raise InvalidInput("both URLs name the same store; name another one to copy into")
    if store_url_of(target).kind == "sqlite" and not is_there(target):
        insist_on_keys_of_source(Path(store_url_of(target).path))

    def open_target(space: str, is_sealed: bool) -> BlockingStore:
        return open_copy(target, space, sealed, is_sealed)

    copying = Copying(partial(opened_to_read, source), open_target, copy_mark_of(source), progress, move)
    copying.run()
    return copying.counts, copying.written, copying.events


def open_copy(target: str, space: str, sealed: bool | None, is_sealed: bool) -> BlockingStore:
    """Open a store to copy into, which must be sealed if the source is, unless something else was asked for.

    Args:
        target: its URL.
        space: the name space.
        sealed: what was asked for; ``None``: as the environment says.
        is_sealed: whether a name space of the source is sealed.
    """
    wanted = _wanted(sealed)
    return open_anyway_now(target, space=space, sealed=(is_sealed or None) if wanted is None else wanted)


def abandon_store(url: str) -> None:
    """Empty a store into which a copy was begun and not finished, so that it can be used or copied into anew.

    Args:
        url: see ``open_store``; given as to the copy.

    Raises:
        InvalidInput: a store in memory, or a file that is not there.
        Conflict: no copy into that store is unfinished; nothing was deleted.
    """
    from .common.copy_marks import mark_of, name_in, new_mark, put_mark
    from .common.copying import SPACES, copyable
    from .common.retry import Full

    _insist_it_outlives(url)
    insist_it_is_there(url)
    with ExitStack() as opened:
        stores = [opened.enter_context(closing_now(open_anyway_now(url, space=space))) for space in SPACES]
        found = [mark_of(store) for store in stores]
        if found[0] is None:
            raise Conflict("no copy into that store is unfinished, so nothing was deleted")
        ours = new_mark(name_in(found[0]))
        for store, mark in zip(stores, found, strict=True):
            with suppress(Full):  # then the mark goes with the rest, which whoever still copies into it finds too
                store.run_now(put_mark, mark, ours)  # whoever still copies into it writes no more
        for store in reversed(stores):  # the first is asked whether a copy is under way, so it is emptied last
            copyable(store).clear_now()


@contextmanager
def closing_now(store: BlockingStore) -> Iterator[BlockingStore]:
    """Return a store that is closed at the end."""
    try:
        yield store
    finally:
        store.close_now()


def _insist_it_outlives(url: str) -> None:
    if store_url_of(url).kind == "memory":
        raise InvalidInput("a store in memory ends with its process and cannot be copied; name one that outlives it")


def is_there(url: str, space: str = "") -> bool:
    """Return whether a store is there; make nothing. One in memory always is.

    Args:
        url: see ``open_store``.
        space: the name space of its records; an SQLite file holds all of them.

    Raises:
        InvalidInput: no store is named so, or it needs what is not installed or given.
        StoreUnavailable: it cannot be reached.
    """
    named = store_url_of(url)
    if named.kind == "sqlite":
        named.known_options(SQLITE_OPTIONS)
        path = Path(named.path)
        return path.exists() and not (path.is_file() and path.stat().st_size == 0)
    if named.kind == "memory":
        return True
    there: bool = import_module(f".{named.kind}.store", __package__).is_there(url, space)
    return there


def insist_it_is_there(url: str) -> None:
    """Refuse a store that is not there, for what only reads or changes one.

    Raises:
        InvalidInput: it is not; nothing was made.
    """
    from .common.copying import SPACES

    if not any(is_there(url, space) for space in SPACES):
        where = {
            "sqlite": "there is no SQLite store at that path; look at its name and at the slashes of its URL (three "
            "before a relative path, four before /)",
            "valkey": "there is no store on that server under that number of a database and namespace; look at the URL",
            "postgres": "there is no store in that database under that namespace; look at the URL, or make one with "
            "session-tokens store migrate",
            "mysql": "there is no store in that database under that namespace; look at the URL, or make one with "
            "session-tokens store migrate",
        }[store_url_of(url).kind]
        raise InvalidInput(f"{where}. The first session, token or service key makes one")


def copy_mark_of(url: str) -> str:
    """Return how a target is marked while a copy from that store is under way."""
    return sha256(store_url_of(url).place.encode()).hexdigest()[:32]
