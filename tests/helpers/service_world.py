"""A service in this process on a manual clock, asked as a client asks it."""

from __future__ import annotations

from typing import Any

import httpx

from session_tokens import AsyncSessionTokens
from session_tokens.clock import ManualClock
from session_tokens.service.app import Options, Service
from session_tokens.service_keys.keys import IssuedKey, create_key


class World:
    """A service in this process, on a clock that moves when told.

    Attributes:
        http: sends no key by itself.
        keys: the keys made so far, by role.
    """

    def __init__(self, tokens: AsyncSessionTokens, clock: ManualClock, options: Options | None = None) -> None:
        self.tokens = tokens
        self.clock = clock
        self.service = Service(tokens, options)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(self.service), base_url="http://service.test")
        self.keys: dict[str, IssuedKey] = {}

    async def key(self, role: str = "admin") -> IssuedKey:
        """Return the key of a role, the same each time."""
        if role not in self.keys:
            self.keys[role] = await create_key(self.tokens.store, role)
        return self.keys[role]

    async def ask(self, method: str, path: str, *, role: str = "admin", **options: Any) -> httpx.Response:
        """Send a request with the key of a role."""
        headers = {"Authorization": f"Bearer {(await self.key(role)).secret}", **options.pop("headers", {})}
        return await self.http.request(method, path, headers=headers, **options)

    async def introspect(self, secret: str) -> dict[str, Any]:
        """Return what introspection says about a secret."""
        response = await self.ask("POST", "/introspect", data={"token": secret})
        assert response.status_code == 200
        answer: dict[str, Any] = response.json()
        return answer

    async def open_session(self, owner: str = "alice", **fields: Any) -> dict[str, Any]:
        """Open a session over HTTP; answer `{"session": …, "secret": …}`."""
        response = await self.ask("POST", "/v1/sessions", json={"owner": owner, **fields})
        assert response.status_code == 201, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def issue_token(self, session_id: str | None, **fields: Any) -> dict[str, Any]:
        """Issue a token over HTTP; answer `{"token": …, "secret": …}`."""
        response = await self.ask("POST", "/v1/tokens", json={"session": session_id, **fields})
        assert response.status_code == 201, response.text
        answer: dict[str, Any] = response.json()
        return answer
