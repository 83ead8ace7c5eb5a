"""Headers that some shared caches take in place of `Cache-Control` (RFC 9213): none stands beside a cookie of ours."""

from __future__ import annotations

from typing import Any

import aiohttp_session
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient as AiohttpClient
from aiohttp.test_utils import TestServer
from flask import Flask
from flask import session as flask_session
from litestar import Litestar, Request, Response, get
from litestar.testing import TestClient as LitestarClient
from quart import Quart
from quart import session as quart_session
from starlette.applications import Starlette
from starlette.requests import Request as StarlettesRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from werkzeug.test import Client

from session_tokens.web import flask as of_flask
from session_tokens.web import quart as of_quart
from session_tokens.web import wsgi
from session_tokens.web.aiohttp import SessionTokensStorage
from session_tokens.web.asgi import SessionMiddleware
from session_tokens.web.litestar import SessionTokensConfig

TOLD = {
    "Cache-Control": "private", "CDN-Cache-Control": "max-age=600", "Cloudflare-CDN-Cache-Control": "max-age=600",
    "Surrogate-Control": "max-age=600", "X-Accel-Expires": "600", "X-Other": "stays",
}  # fmt: skip


def check(headers: Any) -> None:
    names = set(map(str.lower, headers.keys()))
    assert names >= {"set-cookie", "x-other"} and headers["Cache-Control"] == "private"
    assert not names & {each.lower() for each in TOLD if each not in ("Cache-Control", "X-Other")}


def test_of_starlette() -> None:
    async def view(request: StarlettesRequest) -> PlainTextResponse:
        request.session["cart"] = ["pen"]
        return PlainTextResponse("put", headers=TOLD)

    with TestClient(SessionMiddleware(Starlette(routes=[Route("/", view)]), "memory://")) as client:
        check(client.get("/").headers)


def test_of_litestar() -> None:
    @get("/", sync_to_thread=False)
    def view(request: Request[Any, Any, Any]) -> Response[str]:
        request.session["cart"] = ["pen"]
        return Response("put", headers=TOLD)

    with LitestarClient(Litestar([view], middleware=[SessionTokensConfig(store="memory://").middleware])) as client:
        check(client.get("/").headers)


def test_of_wsgi() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        wsgi.session_of(environ)["cart"] = ["pen"]
        start_response("200 OK", list(TOLD.items()))
        return [b"put"]

    check(Client(wsgi.SessionMiddleware(app, "memory://")).get("/").headers)


async def test_of_aiohttp() -> None:
    async def view(request: web.Request) -> web.Response:
        (await aiohttp_session.get_session(request))["cart"] = ["pen"]
        return web.Response(text="put", headers=TOLD)

    app = web.Application()
    aiohttp_session.setup(app, SessionTokensStorage("memory://"))
    app.router.add_get("/", view)
    async with AiohttpClient(TestServer(app)) as client:
        check((await client.get("/")).headers)


@pytest.mark.parametrize("is_permanent", [False, True])
def test_of_flask(is_permanent: bool) -> None:
    app = Flask("shop")
    app.session_interface = of_flask.SessionTokensInterface("memory://")
    app.config["SESSION_PERMANENT"] = is_permanent

    @app.get("/")
    def view() -> tuple[str, dict[str, str]]:
        flask_session["cart"] = ["pen"]
        return "put", TOLD

    @app.get("/untouched")
    def untouched() -> tuple[str, dict[str, str]]:
        return "the same for all", {"CDN-Cache-Control": "max-age=600"}

    client = app.test_client()
    check(client.get("/").headers)
    for_all = client.get("/untouched").headers
    assert "Set-Cookie" not in for_all and for_all["CDN-Cache-Control"] == "max-age=600"


async def test_of_quart() -> None:
    app = Quart("shop")
    interface: Any = of_quart.QuartSessionTokensInterface("memory://")
    app.session_interface = interface

    @app.get("/")
    async def view() -> tuple[str, dict[str, str]]:
        quart_session["cart"] = ["pen"]
        return "put", TOLD

    check((await app.test_client().get("/")).headers)
