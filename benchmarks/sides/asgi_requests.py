"""Call an application of Starlette as a server does, with our middleware around it or with none; argument: which.

`visitor` is a request without a cookie to a page that looks at no session.
"""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import version
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from benchmarks.sides.serving import Stopwatch, serve
from session_tokens.web.asgi import SessionMiddleware

HEADERS = [
    (b"host", b"shop.example"), (b"user-agent", b"benchmark"), (b"accept", b"*/*"), (b"accept-encoding", b"gzip"),
    (b"connection", b"keep-alive"),
]  # fmt: skip


async def page(_: Request) -> PlainTextResponse:
    return PlainTextResponse("bare")


class Requests:
    """The application on a loop of its own."""

    def __init__(self, kind: str) -> None:
        self.runner = asyncio.Runner()
        self.app: Any = Starlette(routes=[Route("/bare", page)])
        if kind == "session-tokens":
            self.app.add_middleware(SessionMiddleware, store="memory://")

    def request(self, what: str, count: int) -> dict[str, Any]:
        """Send so many requests of visitors, one after another."""
        assert what == "visitor"
        return self.runner.run(self._request(count))

    async def _request(self, count: int) -> dict[str, Any]:
        right = 0
        watch = Stopwatch()
        for _ in range(count):
            right += await self._call() == b"bare"
        return watch.answer(count, right)

    async def _call(self) -> bytes:
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": "/bare",
            "raw_path": b"/bare", "query_string": b"", "root_path": "", "scheme": "http", "headers": list(HEADERS),
            "client": ("127.0.0.1", 1), "server": ("shop.example", 80), "state": {},
        }  # fmt: skip
        body: list[bytes] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            body.append(message.get("body", b""))

        await self.app(scope, receive, send)
        return b"".join(body)

    def describe(self) -> dict[str, str]:
        """Tell the versions."""
        return {"starlette": version("starlette")}


if __name__ == "__main__":
    side = Requests(sys.argv[1])
    serve({"request": side.request, "describe": side.describe})
