"""What the tests of the console stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from session_tokens import AsyncSessionTokens
from session_tokens.service.app import Options, Service
from session_tokens.service.console.app import Console
from session_tokens.service_keys.keys import IssuedKey, create_key
from session_tokens.testing import ManualClock


class Desk:
    """A console in this process, and browsers to look at it with."""

    def __init__(self, tokens: AsyncSessionTokens, clock: ManualClock) -> None:
        self.tokens, self.clock = tokens, clock
        self.console = Console(tokens)
        self.service = Service(tokens, Options(more_routes=self.console.routes))
        self.keys: dict[str, IssuedKey] = {}

    def browser(self) -> httpx.AsyncClient:
        """Answer a client that keeps its cookies, as a browser does."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.service), base_url="https://desk.test")

    async def entered(self, role: str = "admin") -> httpx.AsyncClient:
        """Answer a browser in which a key of that role entered."""
        if role not in self.keys:
            self.keys[role] = await create_key(self.tokens.store, role)
        browser = self.browser()
        response = await browser.post("/console/enter", data={"secret": self.keys[role].secret})
        assert response.status_code == 303, response.text
        return browser


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    clock = ManualClock()
    async with await AsyncSessionTokens.open("memory://", clock=clock, sweep=False) as tokens:
        yield Desk(tokens, clock)
