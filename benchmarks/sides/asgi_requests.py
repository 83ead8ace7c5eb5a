"""Serve an application of Starlette by uvicorn, with our middleware around it or with none, and load it.

Argument: `session-tokens` or `none`. A visitor's request has no cookie, and the page looks at no session. The processor
time is the server's alone.
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.sides.http_load import Load
from benchmarks.sides.serving import serve

REQUEST = (
    b"GET /bare HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: benchmark\r\nAccept: text/html\r\n"
    b"Accept-Encoding: gzip\r\nConnection: keep-alive\r\n\r\n"
)


def main(kind: str) -> None:
    """Serve the application; the first line printed says where."""
    import socket

    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    from session_tokens.web.asgi import SessionMiddleware

    async def page(_: Request) -> PlainTextResponse:
        return PlainTextResponse("a page")

    app = Starlette(routes=[Route("/bare", page)])
    if kind == "session-tokens":
        app.add_middleware(SessionMiddleware, store="memory://")
    # With the protocol named, asyncio switches Nagle's algorithm off, as it does where uvicorn opens the port itself.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning")).run(sockets=[listener])


class Visitors(Load):
    """The server, and requests without a cookie."""

    def prepare(self, sessions: int) -> dict[str, Any]:
        """Start the server; a visitor has no session."""
        self._start([sys.executable, "-m", "benchmarks.sides.asgi_requests", self._kind, "serve"])
        self._requests = [(REQUEST, b"a page")]
        return {"sessions": sessions}


if __name__ == "__main__":
    if sys.argv[2:] == ["serve"]:
        main(sys.argv[1])
    else:
        load = Visitors(sys.argv[1], "")
        try:
            serve({"prepare": load.prepare, "request": load.introspect, "describe": load.describe})
        finally:
            load.stop()
