"""Views that ask the store themselves while it is away: 503 with Retry-After in each framework."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from io import BytesIO, StringIO
from typing import Any

import aiohttp_session
import bottle
import falcon.asgi
import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from flask import Flask
from litestar import Litestar, Request, get
from quart import Quart
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from session_tokens.crypto.minting import new_secret
from session_tokens.crypto.secret_form import TOKEN_SECRET
from session_tokens.errors import StoreBusy, StoreUnavailable
from session_tokens.web.aiohttp import SessionTokensStorage, outages
from session_tokens.web.aiohttp import current_session as session_of_aiohttp
from session_tokens.web.asgi import SessionMiddleware as SessionMiddlewareOfAsgi
from session_tokens.web.flask import SessionTokensInterface, api_of
from session_tokens.web.litestar import SessionTokensConfig
from session_tokens.web.litestar import current_session as session_of_litestar
from session_tokens.web.quart import QuartSessionTokensInterface
from session_tokens.web.wsgi import SessionMiddleware, session_of
from tests.helpers.servers.valkey import ValkeyServer

PEPPER = bytes(32)


def in_starlette(url: str) -> Any:
    async def ask(request: StarletteRequest) -> Response:
        session: Any = request.session
        return PlainTextResponse(str(await session.tokens.verify_token(new_secret(TOKEN_SECRET))))

    async def fail(request: StarletteRequest) -> Response:
        raise RuntimeError("of the application's own")

    app = Starlette(routes=[Route("/ask", ask), Route("/fail", fail)])
    app.add_middleware(SessionMiddlewareOfAsgi, store=url, pepper=PEPPER)
    return app


def in_litestar(url: str) -> Any:
    @get("/ask")
    async def ask(request: Request[Any, Any, Any]) -> str:
        return str(await session_of_litestar(request).tokens.verify_token(new_secret(TOKEN_SECRET)))

    @get("/fail")
    async def fail() -> str:
        raise RuntimeError("of the application's own")

    return Litestar([ask, fail], middleware=[SessionTokensConfig(store=url, pepper=PEPPER).middleware])


def in_quart(url: str) -> Any:
    app, interface = Quart("asks"), QuartSessionTokensInterface(url, pepper=PEPPER)
    app.session_interface = interface  # type: ignore[assignment]  # Quart says that it is its own one

    @app.get("/ask")
    async def ask() -> str:
        tokens = await interface.tokens_of(app)
        return str(await tokens.verify_token(new_secret(TOKEN_SECRET)))

    @app.get("/fail")
    async def fail() -> str:
        raise RuntimeError("of the application's own")

    return app


def in_falcon_of_asgi(url: str) -> Any:
    class Ask:
        async def on_get(self, request: Any, response: Any) -> None:
            response.text = str(await request.scope["session"].tokens.verify_token(new_secret(TOKEN_SECRET)))

    class Fail:
        async def on_get(self, request: Any, response: Any) -> None:
            raise RuntimeError("of the application's own")

    async def handed_on(request: Any, response: Any, error: Exception, params: Any) -> None:
        raise error

    app: Any = falcon.asgi.App()
    app.add_route("/ask", Ask())
    app.add_route("/fail", Fail())
    app.add_error_handler((StoreUnavailable, StoreBusy), handed_on)
    return SessionMiddlewareOfAsgi(app, url, pepper=PEPPER)


@pytest.mark.parametrize("made", [in_starlette, in_litestar, in_quart, in_falcon_of_asgi])
async def test_of_asgi(private_valkey: Callable[..., ValkeyServer], made: Callable[[str], Any]) -> None:
    server = private_valkey()
    server.kill()
    transport = httpx.ASGITransport(made(server.url), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as browser:
        answers = [await browser.get(path) for path in ("/ask", "/fail")]

    assert [answer.status_code for answer in answers] == [503, 500]
    assert ["retry-after" in answer.headers for answer in answers] == [True, False]


def test_of_flask(private_valkey: Callable[..., ValkeyServer]) -> None:
    server = private_valkey()
    server.kill()
    app = Flask("asks")
    app.session_interface = SessionTokensInterface(server.url, pepper=PEPPER)

    @app.get("/ask")
    def ask() -> str:
        return str(api_of(app).verify_token(new_secret(TOKEN_SECRET)))

    @app.get("/fail")
    def fail() -> str:
        raise RuntimeError("of the application's own")

    answers = [app.test_client().get(path) for path in ("/ask", "/fail")]

    assert [answer.status_code for answer in answers] == [503, 500]
    assert [answer.headers.get("Retry-After") for answer in answers] == ["2", None]


def in_bottle(url: str) -> Any:
    app = bottle.Bottle()

    def ask() -> str:
        return str(session_of(bottle.request.environ).tokens.verify_token(new_secret(TOKEN_SECRET)))

    def fail() -> str:
        raise RuntimeError("of the application's own")

    app.get("/ask", callback=ask)
    app.get("/fail", callback=fail)
    return SessionMiddleware(app, url, pepper=PEPPER)


def in_falcon(url: str) -> Any:
    class Ask:
        def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
            response.text = str(session_of(request.env).tokens.verify_token(new_secret(TOKEN_SECRET)))

    class Fail:
        def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
            raise RuntimeError("of the application's own")

    def handed_on(request: Any, response: Any, error: Exception, params: Any) -> None:
        raise error

    app: Any = falcon.App()
    app.add_route("/ask", Ask())
    app.add_route("/fail", Fail())
    app.add_error_handler((StoreUnavailable, StoreBusy), handed_on)
    return SessionMiddleware(app, url, pepper=PEPPER)


def of_generators(url: str) -> Any:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        if environ["PATH_INFO"] == "/ask":
            session_of(environ).tokens.verify_token(new_secret(TOKEN_SECRET))
        start_response("500 Internal Server Error", [])
        yield b"of the application's own"

    return SessionMiddleware(app, url, pepper=PEPPER)


def answer_of(app: Any, path: str) -> tuple[str, dict[str, str]]:
    """Return the status and the headers of an answer, as a server takes them."""
    begun: list[tuple[str, dict[str, str]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:
        begun.append((status[:3], {name.lower(): value for name, value in headers}))

    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "wsgi.url_scheme": "http",
        "wsgi.errors": StringIO(),
    }
    environ |= {"wsgi.input": BytesIO(), "SERVER_NAME": "shop", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1"}
    list(app(environ, start_response))
    return begun[-1]


@pytest.mark.parametrize("made", [in_bottle, in_falcon, of_generators])
def test_of_wsgi(private_valkey: Callable[..., ValkeyServer], made: Callable[[str], Any]) -> None:
    server = private_valkey()
    server.kill()
    answers = [answer_of(made(server.url), path) for path in ("/ask", "/fail")]

    assert [status for status, _ in answers] == ["503", "500"]
    assert [headers.get("retry-after") for _, headers in answers] == ["1", None]


async def test_of_aiohttp(private_valkey: Callable[..., ValkeyServer]) -> None:
    async def ask(request: web.Request) -> web.Response:
        tokens = (await session_of_aiohttp(request)).tokens
        return web.Response(text=str(await tokens.verify_token(new_secret(TOKEN_SECRET))))

    server = private_valkey()
    app = web.Application(middlewares=[outages])
    storage = SessionTokensStorage(server.url, pepper=PEPPER)
    aiohttp_session.setup(app, storage)
    app.on_cleanup.append(storage.close)
    app.router.add_get("/ask", ask)
    async with TestClient(TestServer(app)) as browser:
        here = await browser.get("/ask")
        await asyncio.to_thread(server.kill)
        away = await browser.get("/ask")

    assert (here.status, away.status, "Retry-After" in away.headers) == (200, 503, True)
