"""Tables on real servers that tell the time of a test, for threads and for asyncio behind one face.

A server's clock is not ours to set, so the function by which it tells the time is replaced there by one that answers
what was set last; see ``tests/model/servers.py``. All else is the server's and the store's own.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import valkey

from session_tokens import AsyncTokenTables, TokenTables
from session_tokens.stores.postgres.store import migrate_postgres
from session_tokens.stores.valkey import schema as valkey_start
from session_tokens.stores.valkey.keys import prefix_of
from session_tokens.testing import ManualClock
from tests.helpers.servers.on_our_clock import library_on_our_clock, valkey_on_our_clock
from tests.helpers.servers.postgres import shared_server

Maker = Callable[[], TokenTables]
PEPPER = bytes(range(32))
TABLES = ("sessions", "tokens", "owners", "idempotency", "settings", "service_keys")


class ToldClock(ManualClock):
    """A clock that tells others when it is moved."""

    def __init__(self) -> None:
        super().__init__()
        self.followers: list[Callable[[int], object]] = []

    def advance(self, seconds: float | timedelta = 0, *, ms: int = 0) -> int:
        """Move the clock on, and those that follow it."""
        now = super().advance(seconds, ms=ms)
        for follow in self.followers:
            follow(now)
        return now

    def lead(self, follow: Callable[[int], object]) -> None:
        """Tell somebody the time, now and at each move."""
        self.followers.append(follow)
        follow(self.now())


class InALoop:
    """Tables for asyncio, called like those for threads."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        opening = AsyncTokenTables.open(url, pepper=PEPPER, sweep=False)
        self.tables = self._loop.run_until_complete(opening)

    def __getattr__(self, name: str) -> Any:
        command = getattr(self.tables, name)
        if not inspect.iscoroutinefunction(command):
            return command
        return lambda *positional, **named: self._loop.run_until_complete(command(*positional, **named))

    def shutdown(self) -> bool:
        """Shut the tables down, and the loop at the last."""
        if self._loop.is_closed():
            return True
        answer = self._loop.run_until_complete(self.tables.shutdown())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()
        return answer

    def close(self) -> None:
        """The same."""
        self.shutdown()


def opened(url: str, clock: ToldClock, *, for_asyncio: bool) -> Any:
    """Open tables whose own notes (the hints) are judged by our clock too."""
    tables: Any = InALoop(url) if for_asyncio else TokenTables.open(url, pepper=PEPPER, sweep=False)
    tables.store.clock = clock
    tables.store.record_cache.now = clock.now
    return tables


@functools.cache
def _tables_of_postgres() -> tuple[str, psycopg.Connection[Any]]:
    """Return the URL of tables on our clock, made once, and a connection to set it."""
    url = f"{shared_server().url()}?timeout=20&namespace=seed"
    migrate_postgres(url, space="tt")
    connection = psycopg.connect(shared_server().url(), autocommit=True)
    connection.execute("""
        CREATE TABLE seed_tt.our_clock (ms bigint);
        INSERT INTO seed_tt.our_clock VALUES (0);
        CREATE OR REPLACE FUNCTION seed_tt.now_v1() RETURNS bigint LANGUAGE sql VOLATILE AS
            'SELECT ms FROM seed_tt.our_clock'
    """)
    return url, connection


def on_postgres(clock: ToldClock, *, for_asyncio: bool) -> Callable[[], Any]:
    """Return what opens tables on one empty store."""
    url, connection = _tables_of_postgres()
    connection.execute(";".join(f"DELETE FROM seed_tt.{table}" for table in TABLES).encode())
    clock.lead(lambda now: connection.execute(f"UPDATE seed_tt.our_clock SET ms = {now:d}".encode()))
    return lambda: opened(url, clock, for_asyncio=for_asyncio)


@functools.cache
def _client_of_valkey() -> valkey.Valkey:
    client = valkey.Valkey.from_url(valkey_on_our_clock().url)
    client.function_load(library_on_our_clock().decode(), replace=True)
    return client


def on_valkey(clock: ToldClock, *, for_asyncio: bool) -> Callable[[], Any]:
    """Return what opens tables on one empty store."""
    client, prefix = _client_of_valkey(), f"s{uuid.uuid4().hex[:12]}"
    clock.lead(lambda now: client.set(prefix_of(prefix, "tt") + b"clock", now))

    def make() -> Any:
        with pytest.MonkeyPatch.context() as patched:  # the store insists on its own text of the library
            patched.setattr(valkey_start, "library_text", library_on_our_clock)
            tables = opened(
                f"{valkey_on_our_clock().url}?timeout=20&namespace={prefix}", clock, for_asyncio=for_asyncio
            )
        core = tables.store._core
        core.now_of = lambda time: clock.now()  # TIME is the server's own
        return tables

    return make


ON_SERVERS: dict[str, Callable[[ToldClock], Callable[[], Any]]] = {
    "postgres": functools.partial(on_postgres, for_asyncio=False),
    "postgres-asyncio": functools.partial(on_postgres, for_asyncio=True),
    "valkey": functools.partial(on_valkey, for_asyncio=False),
    "valkey-asyncio": functools.partial(on_valkey, for_asyncio=True),
}
