"""The store of an application of asyncio: opened with it or at its first request, for each event loop that serves."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
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


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the loop that serves; raise ``RuntimeError`` where it is not of asyncio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "sessions need an event loop of asyncio: serve the application with asyncio or uvloop, not with trio"
        ) from None


_unfinished: set[asyncio.Task[None]] = set()


async def to_the_end(doing: Coroutine[Any, Any, None]) -> None:
    """Await what is to be done to its end, though the task that asks for it is cancelled, and perhaps once more."""
    task = asyncio.get_running_loop().create_task(doing)
    _unfinished.add(task)
    task.add_done_callback(_unfinished.discard)
    await asyncio.shield(task)


class _OfLoop:
    """What one event loop has of a store.

    Attributes:
        tokens: the API, once it is open; connections to a server belong to their loop.
        ends: notifies those on the loop who wait for the end of a session.
        opening: held by the one task that opens it.
        failures, failure: how often that failed, and how it did the last time.
    """

    def __init__(self) -> None:
        self.tokens: AsyncSessionTokens | None = None
        self.ends: Ends | None = None
        self.opening = asyncio.Lock()
        self.failures, self.failure = 0, ""


class SharedStore:
    """The store of an application: opened with it or at its first request, closed with it if it was opened here.

    Several event loops may serve the application at once, on threads of their own: a store in this process is one for
    all of them, and each has its own connections to one on a server.

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
        self._used: AsyncSessionTokens | None = None
        self._of_all = None if isinstance(store, str) else store
        self._by_loop: dict[asyncio.AbstractEventLoop, _OfLoop] = {}
        self._changing = threading.Lock()

    def at_hand(self, loop: asyncio.AbstractEventLoop | None = None) -> AsyncSessionTokens | None:
        """Return the API on the store if it is open for a loop, by default the running one."""
        if self._used is not None:
            return self._used
        if self._of_all is not None:
            return self._of_all
        here = self._by_loop.get(loop or running_loop())
        return None if here is None else here.tokens

    def _here(self) -> _OfLoop:
        loop = running_loop()
        here = self._by_loop.get(loop)
        if here is None:
            with self._changing:
                for other in [each for each in self._by_loop if each.is_closed()]:  # a test client's, of each request
                    del self._by_loop[other]
                here = self._by_loop.setdefault(loop, _OfLoop())
        return here

    async def tokens(self) -> AsyncSessionTokens:
        """Return the API on the store, opened if it is not yet; who waits while that fails is told so at once.

        Raises:
            StoreUnavailable: it cannot be reached.
        """
        ready = self.at_hand()
        if ready is not None:
            return ready
        here = self._here()
        failures = here.failures
        async with here.opening:
            ready = self.at_hand()
            if ready is not None:
                return ready
            if here.failures > failures:
                raise StoreUnavailable(here.failure)
            return await self._opened(here)

    async def _opened(self, here: _OfLoop) -> AsyncSessionTokens:
        try:
            tokens = await AsyncSessionTokens.open(str(self._url), settings=self._settings, pepper=self._pepper)
        except StoreUnavailable as error:
            here.failures, here.failure = here.failures + 1, str(error)
            raise
        here.failures = 0
        if not tokens.store.blocking:
            here.tokens = tokens
            return tokens
        with self._changing:
            if self._of_all is None:
                self._of_all = tokens
            kept = self._of_all
        if kept is not tokens:  # another loop was quicker
            await tokens.close()
        return kept

    async def tokens_for_visitor(self) -> AsyncSessionTokens:
        """Return the API for a request that need not ask the store: while that is away, one that opens it when asked.

        So pages that look at no session, as those for the health of the application, are answered meanwhile.
        """
        if self.at_hand() is not None or not self._here().failures:
            try:
                return await self.tokens()
            except StoreUnavailable as error:
                log.warning("the store of the sessions is not there yet: %s", error)
        return self.when_asked()

    def when_asked(self, loop: asyncio.AbstractEventLoop | None = None) -> AsyncSessionTokens:
        """Return the API on the store if it is open for a loop, else one that opens it when it is asked."""
        return self.at_hand(loop) or cast("AsyncSessionTokens", OpenedWhenAsked(self))

    def use(self, tokens: AsyncSessionTokens | None) -> AsyncSessionTokens | None:
        """Keep sessions with another API from now on, as tests do; return the one that was given before."""
        before, self._used = self._used, tokens
        return before

    def ends(self, tokens: AsyncSessionTokens) -> Ends:
        """Return what notifies those on this loop who wait for the end of a session."""
        here = self._here()
        if here.ends is None or here.ends.tokens is not tokens:
            here.ends = Ends(tokens)
        return here.ends

    async def close(self) -> None:
        """Close what was opened here, of a server what is the running loop's; the next request opens it again."""
        here = self._by_loop.pop(asyncio.get_running_loop(), None)
        if here is not None and here.ends is not None:
            await here.ends.close()
        tokens = None if here is None else here.tokens
        if tokens is None and self._url is not None:
            tokens, self._of_all = self._of_all, None
        if tokens is not None:
            await tokens.close()
