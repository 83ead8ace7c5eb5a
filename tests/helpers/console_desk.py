"""A console in this process, browsers to look at it with, and something to look at."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import httpx

from session_tokens import AsyncSessionTokens
from session_tokens.service.app import Options, Service
from session_tokens.service.console.app import Console
from session_tokens.service_keys.keys import IssuedKey, create_key
from session_tokens.testing import ManualClock

PAGES = [
    "/console", "/console/overview", "/console/sessions", "/console/sessions?state=detached", "/console/tokens",
    "/console/market", "/console/unassigned", "/console/owners/alice", "/console/audit", "/console/keys",
    "/console/owners", "/console/owners?which=disabled", "/console/explain", "/console/sessions.csv",
    "/console/tokens.json", "/console/static/console.css", "/console/static/nothing", "/console/find?q=alice",
]  # fmt: skip


class Desk:
    """A console in this process, and browsers to look at it with."""

    def __init__(self, tokens: AsyncSessionTokens, clock: ManualClock) -> None:
        self.tokens, self.clock = tokens, clock
        options = Options()
        self.console = Console(tokens, crew=options.crew)
        self.service = Service(tokens, replace(options, more_routes=self.console.routes))
        self.keys: dict[str, IssuedKey] = {}

    def browser(self) -> httpx.AsyncClient:
        """Return a client that keeps its cookies, as a browser does."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.service), base_url="https://desk.test")

    async def entered(self, role: str = "admin") -> httpx.AsyncClient:
        """Return a browser in which a key of that role entered."""
        if role not in self.keys:
            self.keys[role] = await create_key(self.tokens.store, role)
        browser = self.browser()
        response = await browser.post("/console/enter", data={"secret": self.keys[role].secret})
        assert response.status_code == 303, response.text
        return browser


async def csrf_of(browser: httpx.AsyncClient) -> str:
    found = re.search(r'name="csrf" value="(\w+)"', (await browser.get("/console")).text)
    assert found is not None
    return found[1]


async def act(browser: httpx.AsyncClient, path: str, **fields: str) -> httpx.Response:
    return await browser.post(path, data={"csrf": await csrf_of(browser), **fields})


async def everything(desk: Desk) -> dict[str, Any]:
    """Fill the store; answer ids and all secrets that exist."""
    session = await desk.tokens.open_session("alice", detachable=True, label="laptop", data={"a": 1})
    other = await desk.tokens.open_session("bob", detachable=True)
    token = await desk.tokens.issue_token(session.id, {"value": "canary-value"}, transferable=True)
    await desk.tokens.offer_token(token.id, price="3", currency="EUR")
    await desk.tokens.detach_session(other.id)
    return {"session": session, "other": other, "token": token}
