"""The client of the service as the API of a store, so that the shipped checks run over it, in tasks and in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar

import httpx2

from session_tokens import AsyncSessionTokens
from session_tokens.client.async_client import AsyncRemoteTokens
from session_tokens.client.blocking_client import RemoteTokens
from session_tokens.contract.store import Store
from session_tokens.service.app import Service
from session_tokens.service_keys.keys import create_key
from session_tokens.settings import Settings
from session_tokens.testing.checks.listings import ListingChecks
from session_tokens.testing.checks.log_in import LogInChecks
from session_tokens.testing.checks.passing import PassingChecks
from session_tokens.testing.checks.races import RaceChecks
from session_tokens.testing.checks.rotation import RotationChecks
from session_tokens.testing.checks.sessions import SessionChecks
from session_tokens.testing.checks.tokens import TokenChecks
from session_tokens.testing.harness import checks_of
from tests.helpers.conformance import ByUrl

ADDRESS = "http://localhost"
SUITES: tuple[type, ...] = (
    SessionChecks, TokenChecks, PassingChecks, LogInChecks, RotationChecks, ListingChecks, RaceChecks,
)  # fmt: skip
"""The checks of what the API does; the others look into a store."""
CLIENTS = ThreadPoolExecutor(8)
"""The threads of clients, which wait for the service: its store reads on those of the loop, and must find some free."""


class InLoop(httpx2.BaseTransport):
    """Carries the requests of threads to an application on a loop."""

    def __init__(self, app: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = httpx2.ASGITransport(app), loop

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return asyncio.run_coroutine_threadsafe(self._answer(request), self._loop).result(60)

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        sent = httpx2.Request(request.method, request.url, headers=request.headers, content=request.read())
        answer = await self._transport.handle_async_request(sent)
        return httpx2.Response(answer.status_code, headers=answer.headers, content=await answer.aread())


class InThreads:
    """A blocking client whose calls are awaited, each on a thread."""

    def __init__(self, client: RemoteTokens) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)

        def call(*args: Any, **options: Any) -> Any:
            return asyncio.get_running_loop().run_in_executor(CLIENTS, partial(method, *args, **options))

        return call


class OverService(ByUrl):
    """The shipped checks over the client.

    Attributes:
        in_threads: whether the client is that of threads.
    """

    in_threads: ClassVar[bool] = False
    key: str | None = None

    async def api(self, store: Store, settings: Settings) -> Any:
        inner = AsyncSessionTokens(store, settings)
        service = Service(inner)
        key = self.key  # one for all clients: what is sent twice is known again by it
        if key is None:
            key = self.key = (await create_key(store, "admin")).secret
        client: Any
        if self.in_threads:
            transport = InLoop(service, asyncio.get_running_loop())
            client = InThreads(RemoteTokens(ADDRESS, key=key, transport=transport))
        else:
            client = AsyncRemoteTokens(ADDRESS, key=key, transport=httpx2.ASGITransport(service))
        client.sweep = inner.sweep  # what the service does by itself
        return client


def without(left_out: dict[str, str]) -> Callable[[type], type]:
    """Leave a suite with the checks of the API, without those that are named with the reason."""

    def reduced(suite: type) -> type:
        kept = {name for part in SUITES for name in checks_of(part)} - left_out.keys()
        for name in set(checks_of(suite)) - kept:
            setattr(suite, name, None)
        return suite

    return reduced
