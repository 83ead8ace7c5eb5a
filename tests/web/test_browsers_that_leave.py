"""A browser that leaves while its log-out is answered, or is kept waiting too long: it is logged out all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from litestar import Litestar, Request, post
from quart import Quart
from quart import session as quart_session
from starlette.applications import Starlette
from starlette.requests import Request as StarlettesRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from session_tokens import AsyncSessionTokens
from session_tokens.web import quart as of_quart
from session_tokens.web.asgi import SessionMiddleware
from session_tokens.web.litestar import SessionTokensConfig
from session_tokens.web.litestar import logout as log_out_of_litestar


@pytest.fixture
async def tokens() -> AsyncIterator[AsyncSessionTokens]:
    async with await AsyncSessionTokens.open("memory://", sweep=False) as tokens:
        yield tokens


class Waiting:
    """A view that has logged out and answers never."""

    def __init__(self) -> None:
        self.has_begun = asyncio.Event()

    async def forever(self) -> None:
        self.has_begun.set()
        await asyncio.Event().wait()


def in_starlette(tokens: AsyncSessionTokens, waiting: Waiting, how: str) -> Any:
    async def view(request: StarlettesRequest) -> PlainTextResponse:
        if how == "log-out":
            request.session.logout()  # type: ignore[attr-defined]  # it is ours
        elif how == "field":
            del request.session["user"]
        await waiting.forever()
        return PlainTextResponse("never")

    app = Starlette(routes=[Route("/", view, methods=["POST"])])
    return SessionMiddleware(app, tokens, owner_key="user")


def in_litestar(tokens: AsyncSessionTokens, waiting: Waiting, how: str) -> Any:
    @post("/")
    async def view(request: Request[Any, Any, Any]) -> str:
        if how == "log-out":
            log_out_of_litestar(request)
        elif how == "field":
            del request.session["user"]
        await waiting.forever()
        return "never"

    return Litestar([view], middleware=[SessionTokensConfig(store=tokens, owner_key="user").middleware])


def in_quart(tokens: AsyncSessionTokens, waiting: Waiting, how: str) -> Any:
    app = Quart("shop")
    interface: Any = of_quart.QuartSessionTokensInterface(tokens, owner_key="user")
    app.session_interface = interface

    @app.post("/")
    async def view() -> str:
        if how == "log-out":
            of_quart.logout()
        elif how == "field":
            del quart_session["user"]
        await waiting.forever()
        return "never"

    return app


@pytest.mark.parametrize("made", [in_starlette, in_litestar, in_quart])
@pytest.mark.parametrize("how", ["log-out", "field", "neither"])
async def test_a_log_out_is_done_all_the_same(tokens: AsyncSessionTokens, made: Any, how: str) -> None:
    issued = await tokens.log_in("ann", data={"user": "ann"})
    waiting = Waiting()
    app = made(tokens, waiting, how)
    said: asyncio.Queue[Any] = asyncio.Queue()
    said.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    cookie = f"session={issued.secret}".encode()
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/", "raw_path": b"/", "query_string": b"", "root_path": "", "server": ("shop", 80),
        "client": ("192.0.2.7", 4711), "headers": [(b"host", b"shop"), (b"cookie", cookie)],
        "extensions": {}, "state": {},
    }  # fmt: skip

    async def heard(message: Any) -> None:
        """Let nothing that is sent matter: nobody is there."""

    served = asyncio.ensure_future(app(scope, said.get, heard))
    await asyncio.wait_for(waiting.has_begun.wait(), 30)
    if made is in_quart:
        said.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(served, 30)
    else:
        served.cancel()
        with pytest.raises(asyncio.CancelledError):
            await served

    if how == "neither":
        assert await tokens.verify_session(issued.secret) is not None
        return
    async with asyncio.timeout(30):
        while await tokens.get_session(issued.session.id) is not None:  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0)
