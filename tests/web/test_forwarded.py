"""Proxies that each add a line of `X-Forwarded-For` of their own, as HAProxy does, say the same as one that appends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp_session
import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient as AiohttpClient
from aiohttp.test_utils import TestServer
from litestar import Litestar, Request, post
from quart import Quart

from session_tokens import AsyncSessionTokens, SessionTokens
from session_tokens.web.aiohttp import SessionTokensStorage
from session_tokens.web.aiohttp import login as log_in_to_aiohttp
from session_tokens.web.asgi import SessionMiddleware
from session_tokens.web.litestar import SessionTokensConfig, current_session
from session_tokens.web.quart import QuartSessionTokensInterface
from session_tokens.web.quart import login as log_in_to_quart
from tests.helpers.web_sites import serving, starlette_site

PROXIES: Any = {"trusted_proxies": ["127.0.0.1", "10.0.0.0/8"]}
MADE_UP, BROWSER, OUTER_PROXY = "192.0.2.66", "203.0.113.7", "10.0.0.1"
LINES = (MADE_UP, BROWSER, OUTER_PROXY)
"""What the browser made up, what our outer proxy saw, and what our inner one saw."""


@pytest.fixture
async def tokens() -> AsyncIterator[AsyncSessionTokens]:
    async with await AsyncSessionTokens.open("memory://", sweep=False) as st:
        yield st


async def addresses(tokens: AsyncSessionTokens) -> list[str | None]:
    return [session.address for session in (await tokens.list_sessions("ann")).items]


async def asked(app: Any) -> int:
    """Log in over plain ASGI; return the status."""
    sent, is_answered = list[Any](), asyncio.Event()
    body = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if body:
            return body.pop()
        await is_answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            is_answered.set()

    headers = [(b"host", b"shop.example"), *((b"x-forwarded-for", line.encode()) for line in LINES)]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": "/",
        "raw_path": b"/", "query_string": b"", "root_path": "", "scheme": "http", "headers": headers,
        "client": ("127.0.0.1", 1), "server": ("shop.example", 80), "state": {},
    }  # fmt: skip
    await app(scope, receive, send)
    status: int = sent[0]["status"]
    return status


async def test_in_plain_asgi(tokens: AsyncSessionTokens) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"].login("ann")
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    assert await asked(SessionMiddleware(app, tokens, **PROXIES)) == 204
    assert await addresses(tokens) == [BROWSER]


async def test_in_litestar(tokens: AsyncSessionTokens) -> None:
    @post("/", status_code=204)
    async def enter(request: Request[Any, Any, Any]) -> None:
        current_session(request).login("ann")

    app = Litestar([enter], middleware=[SessionTokensConfig(tokens, **PROXIES).middleware])
    assert await asked(app) == 204
    assert await addresses(tokens) == [BROWSER]


async def test_in_quart(tokens: AsyncSessionTokens) -> None:
    app = Quart("shop")
    app.session_interface = QuartSessionTokensInterface(tokens, **PROXIES)  # type: ignore[assignment]

    @app.post("/")
    async def enter() -> str:
        log_in_to_quart("ann")
        return "in"

    assert await asked(app) == 200
    assert await addresses(tokens) == [BROWSER]


async def test_in_aiohttp(tokens: AsyncSessionTokens) -> None:
    async def enter(request: web.Request) -> web.Response:
        await log_in_to_aiohttp(request, "ann")
        return web.Response()

    app = web.Application()
    aiohttp_session.setup(app, SessionTokensStorage(tokens, **PROXIES))
    app.router.add_post("/", enter)
    async with AiohttpClient(TestServer(app)) as client:
        lines = [("X-Forwarded-For", line) for line in LINES]
        assert (await client.post("/", headers=lines)).status == 200
    assert await addresses(tokens) == [BROWSER]


def test_behind_a_socket_for_both_kinds_of_addresses() -> None:
    """It writes addresses of IPv4 as such of IPv6; so do proxies that have one."""
    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::ffff:127.0.0.1", 0))
    with SessionTokens.open("memory://", sweep=False) as st:
        app = starlette_site(st, [], **PROXIES)
        line = {"X-Forwarded-For": f"{MADE_UP}, ::ffff:{BROWSER}, ::ffff:{OUTER_PROXY}", "X-Forwarded-Proto": "https"}
        with serving(app, is_asgi=True, listener=listener) as url:
            answer = httpx.post(f"{url}/log-in?name=ann", headers=line)
        (session,) = st.list_sessions("ann").items

    assert answer.headers["set-cookie"].startswith("__Host-session=")
    assert session.address == BROWSER


@pytest.mark.parametrize("name", ["Origin", "Sec-Fetch-Site"])
async def test_an_empty_header_says_that_it_is_not_ours(tokens: AsyncSessionTokens, name: str) -> None:
    """No browser sends one; where it stands, it names no origin of ours in any framework."""
    app = Quart("shop")
    app.session_interface = QuartSessionTokensInterface(tokens)  # type: ignore[assignment]

    async def enter(request: web.Request) -> web.Response:
        await log_in_to_aiohttp(request, "ann")
        return web.Response()

    @app.post("/")
    async def enter_quart() -> str:
        log_in_to_quart("ann")
        return "in"

    other = web.Application()
    aiohttp_session.setup(other, SessionTokensStorage(tokens))
    other.router.add_post("/", enter)
    async with AiohttpClient(TestServer(other)) as client:
        assert (await client.post("/", headers={name: ""})).status == 403
    assert (await app.test_client().post("/", headers={name: ""})).status_code == 403
