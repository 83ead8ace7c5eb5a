"""Handshakes of WebSockets: GET requests that may change something, whosever page sends them, and set no cookie."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp_session
import pytest
from aiohttp import WSServerHandshakeError, web
from aiohttp.test_utils import TestClient, TestServer
from flask import Flask
from flask import session as flask_session
from quart import Quart, websocket
from werkzeug.test import Client as WerkzeugClient
from werkzeug.wrappers import Request, Response

from session_tokens import AsyncSessionTokens, SessionTokens
from session_tokens.testing import ManualClock
from session_tokens.web.aiohttp import SessionTokensStorage
from session_tokens.web.aiohttp import current_session as session_of_aiohttp
from session_tokens.web.flask import SessionTokensInterface
from session_tokens.web.quart import QuartSessionTokensInterface, current_session
from session_tokens.web.wsgi import SessionMiddleware, session_of
from tests.helpers.asgi_socket import SocketClosed, quart_socket

EVIL = {"Origin": "https://evil.example"}
PARTNER = "https://partner.example"
ROTATING: Any = {"rotate_every": 600}
HANDSHAKE = {"Upgrade": "WebSocket", "Connection": "Upgrade"}


@pytest.fixture
async def tokens() -> AsyncIterator[AsyncSessionTokens]:
    async with await AsyncSessionTokens.open("memory://", sweep=False) as st:
        yield st


async def test_in_quart(tokens: AsyncSessionTokens) -> None:
    app = Quart("sockets")
    app.session_interface = QuartSessionTokensInterface(tokens, trusted_origins=[PARTNER])  # type: ignore[assignment]

    @app.websocket("/")
    async def who() -> None:
        await websocket.send(str(current_session().owner))

    client = app.test_client()
    client.set_cookie("localhost", "session", (await tokens.log_in("ann")).secret)
    for headers in ({}, {"Origin": "http://localhost"}, {"Origin": PARTNER}):
        async with quart_socket(client, "/", headers=headers) as socket:
            assert await socket.receive() == "ann"
    with pytest.raises(SocketClosed) as refused:
        async with quart_socket(client, "/", headers=EVIL) as socket:
            await socket.receive()

    assert refused.value.code == 403


async def test_in_aiohttp(tokens: AsyncSessionTokens) -> None:
    async def who(request: web.Request) -> web.WebSocketResponse:
        owner, socket = (await session_of_aiohttp(request)).owner, web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(str(owner))
        return socket

    app = web.Application()
    aiohttp_session.setup(app, SessionTokensStorage(tokens, trusted_origins=[PARTNER]))
    app.router.add_get("/", who)
    cookie = f"session={(await tokens.log_in('ann')).secret}"
    async with TestClient(TestServer(app)) as client:
        for headers in ({}, {"Origin": PARTNER}):
            async with client.ws_connect("/", headers={"Cookie": cookie, **headers}) as socket:
                assert await socket.receive_str() == "ann"
        with pytest.raises(WSServerHandshakeError) as refused:
            await client.ws_connect("/", headers={"Cookie": cookie, **EVIL})

    assert refused.value.status == 403


def in_flask(st: SessionTokens) -> Any:
    app = Flask("sockets")
    app.session_interface = SessionTokensInterface(st, **ROTATING)

    @app.route("/", websocket=True)
    @app.get("/")
    def who() -> str:
        return str(flask_session.get("name"))

    return app


def under_wsgi(st: SessionTokens) -> Any:
    @Request.application
    def who(request: Request) -> Response:
        return Response(str(session_of(request.environ).get("name")))

    return SessionMiddleware(who, st, **ROTATING)


@pytest.mark.parametrize("made", [in_flask, under_wsgi])
def test_of_wsgi(made: Any) -> None:
    with SessionTokens.open("memory://", sweep=False) as st:
        client = WerkzeugClient(made(st))
        client.set_cookie("session", st.log_in("ann", data={"name": "Ann"}).secret)
        answers = [client.get("/", headers=headers) for headers in (HANDSHAKE, EVIL, {**HANDSHAKE, **EVIL})]

    assert [answer.status_code for answer in answers] == [200, 200, 403]
    assert [answer.text for answer in answers[:2]] == ["Ann", "Ann"]


@pytest.mark.parametrize("made", [in_flask, under_wsgi])
def test_no_cookie_is_replaced_over_a_socket_of_wsgi(made: Any, clock: ManualClock) -> None:
    with SessionTokens.open("memory://", clock=clock, sweep=False) as st:
        client, secret = WerkzeugClient(made(st)), st.log_in("ann", data={"name": "Ann"}).secret
        client.set_cookie("session", secret)
        clock.advance(601)
        answers = [client.get("/", headers=headers) for headers in (HANDSHAKE, {})]

        assert [(answer.text, "Set-Cookie" in answer.headers) for answer in answers] == [("Ann", False), ("Ann", True)]


async def test_no_cookie_is_replaced_over_a_socket_of_aiohttp(clock: ManualClock) -> None:
    async def who(request: web.Request) -> web.StreamResponse:
        owner = str((await session_of_aiohttp(request)).owner)
        if "Upgrade" not in request.headers:
            return web.Response(text=owner)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(owner)
        return socket

    async with await AsyncSessionTokens.open("memory://", clock=clock, sweep=False) as st:
        app = web.Application()
        aiohttp_session.setup(app, SessionTokensStorage(st, **ROTATING))
        app.router.add_get("/", who)
        cookie = {"Cookie": f"session={(await st.log_in('ann')).secret}"}
        clock.advance(601)
        async with TestClient(TestServer(app)) as client:
            for seconds in (0, 120):  # longer than the cookie before is good
                clock.advance(seconds)
                async with client.ws_connect("/", headers=cookie) as socket:
                    assert await socket.receive_str() == "ann"
            answer = await client.get("/", headers=cookie)

            assert (await answer.text(), "Set-Cookie" in answer.headers) == ("ann", True)
