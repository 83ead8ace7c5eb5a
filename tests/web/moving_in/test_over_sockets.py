"""A WebSocket that brings another library's cookie: it finds the session, and uses up nothing of the cookie's time.

Its response cannot hand out our cookie, and a page with an open socket may not ask for anything else for long.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp_session
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient as AiohttpClient
from aiohttp.test_utils import TestServer
from flask import Flask
from quart import Quart, websocket
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket
from werkzeug.test import Client as WerkzeugClient
from werkzeug.wrappers import Request as WerkzeugRequest
from werkzeug.wrappers import Response as WerkzeugResponse

from session_tokens import AsyncSessionTokens, SessionTokens
from session_tokens.testing import ManualClock
from session_tokens.web.aiohttp import SessionTokensStorage
from session_tokens.web.aiohttp import current_session as session_of_aiohttp
from session_tokens.web.asgi import SessionMiddleware
from session_tokens.web.flask import SessionTokensInterface
from session_tokens.web.flask import current_session as session_of_flask
from session_tokens.web.moving_in import Former
from session_tokens.web.quart import QuartSessionTokensInterface
from session_tokens.web.quart import current_session as session_of_quart
from session_tokens.web.wsgi import SessionMiddleware as WsgiMiddleware
from session_tokens.web.wsgi import session_of

LATER_S = 660
"""A minute more than the cookie leads to its session after a page was asked for with it."""
OPEN = {"Upgrade": "websocket", "Connection": "Upgrade"}


class OldLibrary:
    """Another library, in which Ann has logged in for a day."""

    cookie = "old"

    def read(self, value: str) -> Former | None:
        return Former("old:" + value, {"user": "ann"}, "ann", None, 86_400) if value == "ann" else None


Asking = Callable[[], Awaitable[str]]
"""Sends a request, and returns who is logged in."""


class Pages:
    """What a browser with the old cookie alone sees: of a socket, and of a page."""

    def __init__(self, socket: Asking, page: Asking) -> None:
        self.socket, self.page = socket, page


def for_threads(st: AsyncSessionTokens) -> SessionTokens:
    store: Any = st.store  # that in memory is for both
    return SessionTokens(store)


def of_wsgi(app: Any) -> Pages:
    client = WerkzeugClient(app, use_cookies=False)

    async def socket() -> str:
        return client.get("/", headers={**OPEN, "Cookie": "old=ann"}).text

    async def page() -> str:
        return client.get("/", headers={"Cookie": "old=ann"}).text

    return Pages(socket, page)


def flask_shop(st: AsyncSessionTokens) -> Flask:
    app = Flask("shop")
    app.session_interface = SessionTokensInterface(for_threads(st), migrate_from=OldLibrary())

    @app.route("/", websocket=True)
    @app.get("/")
    def who() -> str:
        return str(session_of_flask().owner)

    @app.errorhandler(404)
    def not_there(error: object) -> tuple[str, int]:
        return str(session_of_flask().owner), 404

    return app


def in_flask(st: AsyncSessionTokens) -> Pages:
    return of_wsgi(flask_shop(st))


def wsgi_shop(st: AsyncSessionTokens) -> WsgiMiddleware:
    @WerkzeugRequest.application
    def who(request: WerkzeugRequest) -> WerkzeugResponse:
        return WerkzeugResponse(str(session_of(request.environ).owner))

    return WsgiMiddleware(who, for_threads(st), migrate_from=OldLibrary())


def under_wsgi(st: AsyncSessionTokens) -> Pages:
    return of_wsgi(wsgi_shop(st))


def under_asgi(st: AsyncSessionTokens) -> Pages:
    async def who(request: Request) -> Response:
        return Response(str(request.session.owner))  # type: ignore[attr-defined]

    async def who_by_socket(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(str(socket.session.owner))  # type: ignore[attr-defined]
        await socket.close()

    app = Starlette(routes=[Route("/", who), WebSocketRoute("/ws", who_by_socket)])
    app.add_middleware(SessionMiddleware, store=st, migrate_from=OldLibrary())

    async def socket() -> str:
        with TestClient(app).websocket_connect("/ws", headers={"Cookie": "old=ann"}) as connected:
            return connected.receive_text()

    async def page() -> str:
        return TestClient(app).get("/", headers={"Cookie": "old=ann"}).text

    return Pages(socket, page)


def in_quart(st: AsyncSessionTokens) -> Pages:
    app = Quart("shop")
    app.session_interface = QuartSessionTokensInterface(st, migrate_from=OldLibrary())  # type: ignore[assignment]

    @app.get("/")
    async def who() -> str:
        return str(session_of_quart().owner)

    @app.websocket("/ws")
    async def who_by_socket() -> None:
        await websocket.send(str(session_of_quart().owner))

    async def socket() -> str:
        async with app.test_client().websocket("/ws", headers={"Cookie": "old=ann"}) as connected:
            return str(await connected.receive())

    async def page() -> str:
        answer = await app.test_client().get("/", headers={"Cookie": "old=ann"})
        return str(await answer.get_data(as_text=True))

    return Pages(socket, page)


def in_aiohttp(st: AsyncSessionTokens) -> Pages:
    async def who(request: web.Request) -> web.Response:
        return web.Response(text=str((await session_of_aiohttp(request)).owner))

    async def who_by_socket(request: web.Request) -> web.WebSocketResponse:
        owner, socket = (await session_of_aiohttp(request)).owner, web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(str(owner))
        return socket

    def made() -> AiohttpClient[Any, Any]:
        app = web.Application()
        aiohttp_session.setup(app, SessionTokensStorage(st, migrate_from=OldLibrary()))
        app.router.add_get("/", who)
        app.router.add_get("/ws", who_by_socket)
        return AiohttpClient(TestServer(app))

    async def socket() -> str:
        async with made() as client, client.ws_connect("/ws", headers={"Cookie": "old=ann"}) as connected:
            return await connected.receive_str()

    async def page() -> str:
        async with made() as client:
            return await (await client.get("/", headers={"Cookie": "old=ann"})).text()

    return Pages(socket, page)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000_000)


@pytest.fixture
async def st(clock: ManualClock) -> AsyncIterator[AsyncSessionTokens]:
    async with await AsyncSessionTokens.open("memory://", clock=clock, sweep=False) as tokens:
        yield tokens


@pytest.mark.parametrize("made", [in_flask, under_wsgi, under_asgi, in_quart, in_aiohttp])
async def test_a_socket_leaves_the_cookie_its_time(
    st: AsyncSessionTokens, clock: ManualClock, made: Callable[[AsyncSessionTokens], Pages]
) -> None:
    pages = made(st)
    for _ in range(3):
        assert await pages.socket() == "ann"
        clock.advance(LATER_S)

    assert await pages.page() == "ann"
    assert len((await st.list_sessions("ann")).items) == 1


@pytest.mark.parametrize("made", [in_flask, under_wsgi, under_asgi, in_quart, in_aiohttp])
async def test_a_cookie_that_a_page_has_used_up_opens_no_socket(
    st: AsyncSessionTokens, clock: ManualClock, made: Callable[[AsyncSessionTokens], Pages]
) -> None:
    pages = made(st)
    assert await pages.page() == "ann"
    assert await pages.socket() == "ann"
    clock.advance(LATER_S)

    assert (await pages.socket(), await pages.page()) == ("None", "None")
    assert len((await st.list_sessions("ann")).items) == 1


@pytest.mark.parametrize(
    ("made", "path", "headers"), [(flask_shop, "/", OPEN), (flask_shop, "/not/there", {}), (wsgi_shop, "/", OPEN)]
)
async def test_no_cookie_is_handed_out_for_one_that_was_not_presented(
    st: AsyncSessionTokens, made: Callable[[AsyncSessionTokens], Any], path: str, headers: dict[str, str]
) -> None:
    """With ours alone the other would never be: the session would wait for it, with clocks that are not the store's."""
    client = WerkzeugClient(made(st), use_cookies=False)
    answer = client.get(path, headers={**headers, "Cookie": "old=ann"})

    assert ("ann", None) == (answer.text, answer.headers.get("Set-Cookie"))
    page = client.get("/", headers={"Cookie": "old=ann"})
    assert ("ann", True) == (page.text, "Set-Cookie" in page.headers)
    (session,) = (await st.list_sessions("ann")).items
    assert session.max_age == st.settings.max_age


async def test_aiohttp_hands_no_cookie_out_for_one_that_was_not_presented(st: AsyncSessionTokens) -> None:
    async def who(request: web.Request) -> web.Response:
        return web.Response(text=str((await session_of_aiohttp(request)).owner))

    app = web.Application()
    aiohttp_session.setup(app, SessionTokensStorage(st, migrate_from=OldLibrary()))
    app.router.add_get("/", who)
    async with AiohttpClient(TestServer(app)) as client:
        answer = await client.get("/", headers={**OPEN, "Cookie": "old=ann"})

        assert ("ann", None) == (await answer.text(), answer.headers.get("Set-Cookie"))
