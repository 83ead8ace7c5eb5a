"""Where a race is run: a store, opened once for each player where it has several handles."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, Settings
from session_tokens.contract.store import BlockingStore, Store
from session_tokens.stores.connect import open_store, open_store_now
from session_tokens.stores.memory.store import MemoryStore
from tests.helpers.optimistic_memory import BlockingOptimisticMemoryStore, OptimisticMemoryStore, Server
from tests.helpers.servers.cluster import shared_cluster

PEPPER = bytes(range(32))
ALL = Settings(max_sessions=None)


class Field:
    """Where a race is run: opens the API for one more player.

    Args:
        url: of a store that several processes share, or ``None`` for one that lives in this process.
        open_here, open_async_here: one more handle on a store in this process.
    """

    def __init__(
        self,
        url: str | None,
        open_here: Callable[[], BlockingStore] | None = None,
        open_async_here: Callable[[], Store] | None = None,
    ) -> None:
        self.url, self._open_here, self._open_async_here = url, open_here, open_async_here
        self.opened: list[SessionTokens] = []

    def api(self, settings: Settings = ALL) -> SessionTokens:
        """Open the API for threads; it is closed after the test."""
        if self.url is None:
            assert self._open_here is not None
            store = self._open_here()
        else:
            store = open_store_now(self.url, pepper=PEPPER)
        self.opened.append(SessionTokens(store, settings))
        return self.opened[-1]

    async def async_api(self, settings: Settings = ALL) -> AsyncSessionTokens:
        """Open the API for asyncio; the caller closes it."""
        if self.url is None:
            assert self._open_async_here is not None
            return AsyncSessionTokens(self._open_async_here(), settings)
        return AsyncSessionTokens(await open_store(self.url, pepper=PEPPER), settings)

    def close(self) -> None:
        for api in self.opened:
            api.close()


def field_of(name: str, request: pytest.FixtureRequest) -> Field:
    if name == "memory":
        memory = MemoryStore()
        return Field(None, lambda: memory, lambda: memory)
    if name == "optimistic":
        server = Server()
        return Field(None, lambda: BlockingOptimisticMemoryStore(server, 0.0005), lambda: OptimisticMemoryStore(server))
    if name == "sqlite":
        path: Path = request.getfixturevalue("tmp_path")
        return Field(f"sqlite:///{path / 'race.db'}")
    if name == "cluster":
        return Field(f"{shared_cluster().url}?timeout=20&namespace=r{uuid.uuid4().hex[:12]}")
    url = request.getfixturevalue(f"{name}_url")
    # A race is about orders: with a second for each round trip it would measure how busy the machine is.
    return Field(f"{url}?timeout=20" if name in ("postgres", "mariadb") else url)
