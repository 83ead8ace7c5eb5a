"""What a store has acknowledged while its servers came and went, to tasks and to threads."""

from __future__ import annotations

import asyncio
from typing import Any

from session_tokens import AsyncSessionTokens, Issued, SessionTokens, Settings
from session_tokens.stores.connect import open_store, open_store_now
from tests.helpers.waiting import eventually, until_answered

PEPPER = bytes(range(32))
ALL = Settings(max_sessions=None)


class Acknowledged:
    """A store that is written to by tasks and by a thread.

    Attributes:
        url: of the store.
        issued: what was acknowledged, in order.
    """

    def __init__(self, url: str, tokens: AsyncSessionTokens, blocking: SessionTokens) -> None:
        self.url, self._tokens, self._blocking = url, tokens, blocking
        self.issued: list[Issued] = []

    @classmethod
    async def at(cls, url: str) -> Acknowledged:
        """Open the store both ways."""
        tokens = AsyncSessionTokens(await open_store(url, pepper=PEPPER), ALL)
        blocking = SessionTokens(await asyncio.to_thread(open_store_now, url, pepper=PEPPER), ALL)
        return cls(url, tokens, blocking)

    async def write(self, turns: int) -> None:
        """Open four sessions as tasks and one on a thread, so many times; whatever is refused is asked for again."""

        async def open_one() -> None:
            self.issued.append(await until_answered(lambda: self._tokens.open_session("task")))

        for _ in range(turns):
            await asyncio.gather(*(open_one() for _ in range(4)))
            self.issued.append(await asyncio.to_thread(eventually, lambda: self._blocking.open_session("thread")))

    async def lost(self) -> list[Issued]:
        """Return what is not there any more, as this store says, or as one says that is opened now."""
        fresh = AsyncSessionTokens(await open_store(self.url, pepper=PEPPER), ALL)

        async def found(tokens: AsyncSessionTokens, issued: Issued) -> Any:
            return await until_answered(lambda: tokens.verify_session(issued.secret))

        lost = []
        for issued in self.issued:
            if not issued.session == await found(self._tokens, issued) == await found(fresh, issued):
                lost.append(issued)
        await fresh.close()
        return lost

    async def close(self) -> None:
        self._blocking.close()
        await self._tokens.close()
