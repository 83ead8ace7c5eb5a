"""The store that Django's settings name, opened once per process: for threads, and for each event loop that lasts.

``SESSION_TOKENS_STORE`` is its address, as for ``SessionTokens.open``; without it the environment variable of that name
holds, and with ``DEBUG`` a file beside ``BASE_DIR``. ``SESSION_TOKENS`` is a mapping of fields of ``Settings``,
``pepper``, ``trusted_proxies`` (networks that are trusted when they say from where a request comes) and
``migrate_from``: the engine that the sessions of logged-in users come from, see ``moving_in``. Without an
``idle_timeout`` a session ends ``SESSION_COOKIE_AGE`` after its last use, without a ``max_age`` it has no other end.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from asgiref.sync import AsyncToSync
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from ... import AsyncSessionTokens, InvalidInput, SessionTokens, Settings
from ... import validation as inputs
from ...crypto.secret_form import SHORT_SECRET
from ...json_values import data_changes_of
from ...records import JSON, Session
from ...rules.sessions import rotate_session
from ...stores.memory.store import MemoryStore
from ...stores.sqlite.store import SqliteStore
from ..ends import Ends
from ..incoming import Trust
from ..process_store import OneAttempt
from ..rotating import GRACE_S, Rotating, rotating

STORE = "SESSION_TOKENS_STORE"
OPTIONS = "SESSION_TOKENS"
WATCHED = frozenset({STORE, OPTIONS, "SESSION_COOKIE_AGE", "DEBUG", "BASE_DIR"})
EMBEDDED = ("memory:", "sqlite:")
"""How the addresses begin of stores in this process."""
FIELDS = frozenset(field.name for field in fields(Settings))
OTHERS = frozenset({"migrate_from", "pepper", "rotate_every", "rotation_grace", "trusted_proxies"})
"""What ``SESSION_TOKENS`` holds beside fields of ``Settings``."""


class BlockingSessions(SessionTokens):
    """The library for threads, whose sessions have the short secrets that fit Django's session keys."""

    _secret_kind = SHORT_SECRET

    def renew(
        self,
        key: str,
        secret: str,
        changes: Mapping[str, JSON],
        *,
        removed: Collection[str],
        authenticated: bool,
        acr: str | None = None,
        amr: Collection[str] = (),
    ) -> Session:
        """Give a session a secret that was minted before, and change its data, in one command.

        See ``rotate_session`` and ``update_session_data`` for the arguments, and for what it raises.
        """
        self._know_settings()
        bytes_max, lookup = self._policy.max_data_bytes, self._keyring.lookup(secret)
        how = authenticated, None, "", inputs.class_of(acr), inputs.methods_of(amr)
        merged = data_changes_of(changes, removed, bytes_max)
        return self._run(rotate_session, self._session_key(key), lookup, *how, merged, bytes_max)

    def under(self, settings: Settings) -> BlockingSessions:
        """Return what takes the place of this one, with other general settings on the same store."""
        other = BlockingSessions(self.store, settings)
        other._sweeper, self._sweeper = self._sweeper, None
        return other


class AsyncSessions(AsyncSessionTokens):
    """The same for asyncio."""

    _secret_kind = SHORT_SECRET

    async def renew(
        self,
        key: str,
        secret: str,
        changes: Mapping[str, JSON],
        *,
        removed: Collection[str],
        authenticated: bool,
        acr: str | None = None,
        amr: Collection[str] = (),
    ) -> Session:
        """Give a session a secret that was minted before, and change its data, in one command.

        See ``rotate_session`` and ``update_session_data`` for the arguments, and for what it raises.
        """
        await self._know_settings()
        bytes_max, lookup = self._policy.max_data_bytes, self._keyring.lookup(secret)
        how = authenticated, None, "", inputs.class_of(acr), inputs.methods_of(amr)
        merged = data_changes_of(changes, removed, bytes_max)
        return await self._run(rotate_session, self._session_key(key), lookup, *how, merged, bytes_max)


class Opened:
    """What is open in this process; reopened when the settings name another store, or the process was forked."""

    def __init__(self) -> None:
        self._opening = OneAttempt()
        self._blocking: BlockingSessions | None = None
        self._address: str | None = None  # what it was opened at; None where it was given by ``use``
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncSessions] = WeakKeyDictionary()
        self._ends: WeakKeyDictionary[asyncio.AbstractEventLoop, Ends] = WeakKeyDictionary()
        self._pid = 0

    def blocking(self) -> BlockingSessions:
        """Return the library on the store that the settings name, for threads.

        Raises:
            ImproperlyConfigured: the settings name no store, or something that can never be right.
            StoreUnavailable: it cannot be reached.
        """
        ready = self._blocking
        if ready is not None and self._is_ours(ready):
            return ready
        with self._opening:
            if self._blocking is None or not self._is_ours(self._blocking):
                try:
                    self._address = address()
                    self._blocking = BlockingSessions.open(
                        self._address, settings=general_settings(), pepper=options().get("pepper")
                    )
                except InvalidInput as error:
                    raise ImproperlyConfigured(f"{STORE} or {OPTIONS}: {error}") from error
                self._pid = os.getpid()
            return self._blocking

    def _is_ours(self, ready: BlockingSessions) -> bool:
        """Whether it may be used here: connections to a server are not for a fork of the process that made them."""
        if self._pid == os.getpid() or isinstance(ready.store, MemoryStore):
            return True
        return isinstance(ready.store, SqliteStore) and not ready.store.is_closed

    async def on_this_loop(self) -> AsyncSessions | None:
        """Return the library for the running loop; ``None`` on one that ends with the call which it was made for.

        Stores in this process serve every loop. Connections to a server belong to a loop, and are not worth making
        for one of ``async_to_sync``.
        """
        loop = asyncio.get_running_loop()
        ready = self._by_loop.get(loop)
        if ready is not None:
            return ready
        if self._serves_every_loop():
            return self._by_loop.setdefault(loop, AsyncSessions(self.blocking().store, general_settings()))
        if loop in AsyncToSync.loop_thread_executors:
            return None
        made = await AsyncSessions.open(address(), settings=general_settings(), pepper=options().get("pepper"))
        kept = self._by_loop.setdefault(loop, made)
        if kept is not made:  # another task was quicker
            await made.close()
        return kept

    def _is_given(self) -> bool:
        return self._blocking is not None and self._address is None

    def _is_memory_of(self, ready: BlockingSessions, url: str) -> bool:
        return isinstance(ready.store, MemoryStore) and self._address == url

    def _serves_every_loop(self) -> bool:
        if self._is_given():
            return isinstance(self.blocking().store, MemoryStore | SqliteStore)
        return address().startswith(EMBEDDED)

    def use(self, tokens: SessionTokens) -> BlockingSessions:
        """Keep sessions in the store of another API until ``close()``, as tests do; return ours on it."""
        if self._blocking is None or self._blocking.store is not tokens.store:
            self.close()
            self._blocking, self._pid = BlockingSessions(tokens.store, general_settings()), os.getpid()
            self._address = None
        return self._blocking

    def look_again(self) -> None:
        """Take in that settings have changed, as in a test: what is kept in memory alone goes on under them."""
        before, settings = self._blocking, None
        with suppress(ImproperlyConfigured):
            if before is not None and (self._is_given() or self._is_memory_of(before, address())):
                settings = general_settings()
        if before is None or settings is None:
            self.close()
            return
        with self._opening.closing():
            self._blocking = before.under(settings)
            self._by_loop, self._ends = WeakKeyDictionary(), WeakKeyDictionary()

    async def ends(self) -> Ends | None:
        """Return what notifies the running loop of the ends of sessions; ``None`` as ``on_this_loop``."""
        tokens = await self.on_this_loop()
        if tokens is None:
            return None
        loop = asyncio.get_running_loop()
        kept = self._ends.get(loop)
        if kept is None or kept.tokens is not tokens:
            blocking = self.blocking()  # views of threads end sessions too
            kept = self._ends[loop] = Ends(tokens, *(() if blocking.store is tokens.store else (blocking,)))
        return kept

    async def aclose(self) -> None:
        """Close what is open for the running loop."""
        ends = self._ends.pop(asyncio.get_running_loop(), None)
        if ends is not None:
            await ends.close()
        ready = self._by_loop.pop(asyncio.get_running_loop(), None)
        if ready is not None and not isinstance(ready.store, MemoryStore | SqliteStore):
            await ready.close()

    def close(self) -> None:
        """Close what is open; the next call opens it again."""
        with self._opening.closing():
            if self._blocking is not None:
                self._blocking.close()
            self._blocking = None
            self._by_loop, self._ends = WeakKeyDictionary(), WeakKeyDictionary()


opened = Opened()


def options() -> Mapping[str, Any]:
    """Return ``SESSION_TOKENS`` of Django's settings.

    Raises:
        ImproperlyConfigured: it is no mapping, or holds what means nothing.
    """
    given = getattr(django_settings, OPTIONS, {})
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(f"{OPTIONS} is a mapping of settings, not {type(given).__name__}")
    unknown = sorted(map(str, given.keys() - FIELDS - OTHERS))
    if unknown:
        known = ", ".join([*sorted(OTHERS), *sorted(FIELDS)])
        raise ImproperlyConfigured(f"{OPTIONS} holds {', '.join(unknown)}, which means nothing; it takes {known}")
    return given


def general_settings() -> Settings:
    """Return the general settings of the library as Django's settings say.

    Raises:
        ImproperlyConfigured: one of them can never be right.
    """
    given = {name: value for name, value in options().items() if name not in OTHERS}
    given.setdefault("max_age", None)
    if django_settings.SESSION_COOKIE_AGE > 0:
        given.setdefault("idle_timeout", django_settings.SESSION_COOKIE_AGE)
    try:
        return Settings(**given)
    except (InvalidInput, TypeError) as error:
        raise ImproperlyConfigured(f"{OPTIONS}: {error}") from error


def replaced() -> Rotating | None:
    """Return how Django's settings have cookies replaced, ``None`` where not.

    Raises:
        ImproperlyConfigured: one of them can never be right.
    """
    given = options()
    try:
        return rotating(given.get("rotate_every"), given.get("rotation_grace", GRACE_S))
    except (InvalidInput, TypeError) as error:
        raise ImproperlyConfigured(f"{OPTIONS}: {error}") from error


def trust() -> Trust:
    """Return whom Django's settings have us trust.

    Raises:
        ImproperlyConfigured: what they name is no network.
    """
    try:
        return Trust(trusted_proxies=options().get("trusted_proxies", ()))
    except (InvalidInput, TypeError) as error:
        raise ImproperlyConfigured(f"{OPTIONS}: {error}") from error


def address() -> str:
    """Return the address of the store.

    Raises:
        ImproperlyConfigured: none is named, and there is no default without ``DEBUG``.
    """
    named = getattr(django_settings, STORE, None) or os.environ.get(STORE)
    if named:
        return str(named)
    base = getattr(django_settings, "BASE_DIR", None)
    if not django_settings.DEBUG or base is None:
        raise ImproperlyConfigured(
            f'no store is named for the sessions; set {STORE} = "postgresql://…", "mysql://…", "valkey://…" or "sqlite:///…"'
        )
    return f"sqlite:///{Path(base) / 'session-tokens.db'}"


def _reopen(*, setting: str, **_: object) -> None:
    if setting in WATCHED:
        opened.look_again()


setting_changed.connect(_reopen, dispatch_uid="session_tokens")
