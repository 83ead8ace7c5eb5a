"""Quart's plain views, of ``def``: it runs them on a thread on which there is no event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from quart import Quart, session

from session_tokens import AsyncSessionTokens
from session_tokens.web.quart import QuartSessionTokensInterface, login, logout


@pytest.fixture
async def tokens() -> AsyncIterator[AsyncSessionTokens]:
    async with await AsyncSessionTokens.open("memory://", sweep=False) as tokens:
        yield tokens


def leave(how: str) -> None:
    if how == "log-out":
        logout()
    elif how == "pop":
        session.pop("user")
    elif how == "none":
        session["user"] = None
    else:
        session.clear()


HOWS = ["log-out", "pop", "none", "clear"]


def made(store: str | AsyncSessionTokens) -> Quart:
    app = Quart("shop")
    interface: Any = QuartSessionTokensInterface(store, owner_key="user")
    app.session_interface = interface
    return app


@pytest.mark.parametrize("how", HOWS)
async def test_a_plain_view_logs_out(tokens: AsyncSessionTokens, how: str) -> None:
    app = made(tokens)

    @app.post("/leave")
    def out() -> str:
        leave(how)
        return "out"

    issued = await tokens.log_in("ann", data={"user": "ann"})
    client = app.test_client()
    client.set_cookie("localhost", "session", issued.secret)

    answer = await client.post("/leave")

    assert answer.status_code == 200
    assert await tokens.verify_session(issued.secret) is None


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("leaves_first", [False, True])
async def test_a_plain_view_logs_out_a_browser_that_leaves(
    tokens: AsyncSessionTokens, how: str, leaves_first: bool
) -> None:
    app = made(tokens)
    loop, has_begun, may_go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    @app.post("/leave")
    def out() -> str:
        if not leaves_first:
            leave(how)
        loop.call_soon_threadsafe(has_begun.set)
        may_go_on.wait(30)
        if leaves_first:
            leave(how)
        return "nobody hears it"

    issued = await tokens.log_in("ann", data={"user": "ann"})
    said: asyncio.Queue[Any] = asyncio.Queue()
    said.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    headers = [(b"host", b"shop"), (b"cookie", f"session={issued.secret}".encode())]
    scope: Any = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/leave", "raw_path": b"/leave", "query_string": b"", "root_path": "", "server": ("shop", 80),
        "client": ("192.0.2.7", 4711), "headers": headers, "extensions": {}, "state": {},
    }  # fmt: skip

    async def heard(message: Any) -> None:
        """Let nothing that is sent matter: nobody is there."""

    served = asyncio.ensure_future(app(scope, said.get, heard))
    try:
        await asyncio.wait_for(has_begun.wait(), 30)
        said.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(served, 30)
    finally:
        may_go_on.set()

    async with asyncio.timeout(30):
        while await tokens.get_session(issued.session.id) is not None:  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0)


@pytest.mark.parametrize("does", ["look", "put", "log-in"])
async def test_the_first_visitor_of_a_process_may_come_to_a_plain_view(tmp_path: Path, does: str) -> None:
    app = made(f"sqlite:///{tmp_path}/sessions.db")

    @app.post("/first")
    def first() -> str:
        if does == "put":
            session["cart"] = ["pen"]
        elif does == "log-in":
            login("ann")
        return repr(session.get("cart"))

    interface: Any = app.session_interface
    try:
        answer = await app.test_client().post("/first")
        assert answer.status_code == 200
        assert ("Set-Cookie" in answer.headers) == (does != "look")
    finally:
        await interface.close()
