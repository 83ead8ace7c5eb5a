"""The store of an application of asyncio: opened with it or at its first request, for each event loop that serves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, cast

from .._async.api import AsyncSessionTokens
from ..crypto.minting import Pepper
from ..errors import StoreUnavailable
from ..settings import Settings
from .ends import Ends

log = logging.getLogger("session_tokens.web")


class OpenedWhenAsked:
    """What stands for the API as long as its store is away: each call tries to open it, and fails as that does.

    Args:
        store: of the application.
    """

    def __init__(self, store: SharedStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if not iscoroutinefunction(getattr(AsyncSessionTokens, name, None)):
            raise StoreUnavailable("the store of the sessions is not there yet; try again")

        async def call(*args: Any, **options: Any) -> Any:
            return await getattr(await self._store.tokens(), name)(*args, **options)

        return call


class SharedStore:
    """The store of an application: opened with it or at its first request, closed with it if it was opened here.

    Args:
        store: its URL, or an ``AsyncSessionTokens`` of the application's own, which is never closed here.
        settings, pepper: as for ``AsyncSessionTokens.open``.
    """

    def __init__(
        self, store: str | AsyncSessionTokens, settings: Settings | None = None, pepper: Pepper | None = None
    ) -> None:
        if not isinstance(store, str | AsyncSessionTokens):
            raise TypeError("store is the URL of a store, such as 'sqlite:///sessions.db', or an AsyncSessionTokens")
        self._url = store if isinstance(store, str) else None
        self._settings, self._pepper = settings, pepper
        self._tokens = None if isinstance(store, str) else store
        self._used: AsyncSessionTokens | None = None
        self._ends: Ends | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()
        self._failures, self._failure = 0, ""

    def at_hand(self) -> AsyncSessionTokens | None:
        """Return the API on the store if it is open for the running loop."""
        if self._used is not None:
            return self._used
        tokens = self._tokens
        if tokens is None or self._url is None or tokens.store.blocking or self._loop is asyncio.get_running_loop():
            return tokens
        return None

    async def tokens(self) -> AsyncSessionTokens:
        """Return the API on the store, opened if it is not yet; who waits while that fails is told so at once.

        Raises:
            StoreUnavailable: it cannot be reached.
        """
        ready = self.at_hand()
        if ready is not None:
            return ready
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._tokens, self._opening, self._loop = None, asyncio.Lock(), loop
        failures = self._failures
        async with self._opening:
            if self._tokens is None:
                if self._failures > failures:
                    raise StoreUnavailable(self._failure)
                self._tokens = await self._opened()
            return self._tokens

    async def _opened(self) -> AsyncSessionTokens:
        try:
            tokens = await AsyncSessionTokens.open(str(self._url), settings=self._settings, pepper=self._pepper)
        except StoreUnavailable as error:
            self._failures, self._failure = self._failures + 1, str(error)
            raise
        self._failures = 0
        return tokens

    async def tokens_for_visitor(self) -> AsyncSessionTokens:
        """Return the API for a request that need not ask the store: while that is away, one that opens it when asked.

        So pages that look at no session, as those for the health of the application, are answered meanwhile.
        """
        if self.at_hand() is not None or not self._failures:
            try:
                return await self.tokens()
            except StoreUnavailable as error:
                log.warning("the store of the sessions is not there yet: %s", error)
        return self.when_asked()

    def when_asked(self) -> AsyncSessionTokens:
        """Return the API on the store if it is open, else one that opens it when it is asked."""
        return self.at_hand() or cast("AsyncSessionTokens", OpenedWhenAsked(self))

    def use(self, tokens: AsyncSessionTokens | None) -> AsyncSessionTokens | None:
        """Keep sessions with another API from now on, as tests do; return the one that was given before."""
        before, self._used = self._used, tokens
        return before

    def ends(self, tokens: AsyncSessionTokens) -> Ends:
        """Return what notifies those on this loop who wait for the end of a session."""
        if self._ends is None or self._ends.tokens is not tokens or self._ends.loop is not asyncio.get_running_loop():
            self._ends = Ends(tokens)
        return self._ends

    async def close(self) -> None:
        """Close the store if it was opened here; the next request opens it again."""
        if self._ends is not None and self._ends.loop is asyncio.get_running_loop():
            await self._ends.close()
        self._ends = None
        if self._url is not None and self._tokens is not None:
            tokens, self._tokens = self._tokens, None
            await tokens.close()
