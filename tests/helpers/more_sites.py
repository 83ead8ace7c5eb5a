"""The small site of ``web_sites`` in Quart, Litestar, aiohttp and Bottle."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp_session
import bottle
import quart
from aiohttp import web
from litestar import Litestar, Request, Response, get, post

from session_tokens import AsyncSessionTokens, SessionTokens
from session_tokens.web import aiohttp as with_aiohttp
from session_tokens.web import litestar as with_litestar
from session_tokens.web import quart as with_quart
from session_tokens.web import wsgi
from tests.helpers.web_sites import Gate, outcome


def apart(store: SessionTokens) -> AsyncSessionTokens:
    """Return the API for asyncio on the same store."""
    return AsyncSessionTokens(store.store, store.settings)


def quart_site(store: SessionTokens, gates: list[Gate], **options: Any) -> Any:
    """Make it in Quart."""
    app = quart.Quart("site")
    interface: Any = with_quart.QuartSessionTokensInterface(apart(store), **options)
    app.session_interface = interface

    @app.get("/show")
    async def show() -> dict[str, Any]:
        return {"user": with_quart.current_session().owner, "fields": dict(quart.session)}

    @app.get("/untouched")
    async def untouched() -> str:
        return "nothing"

    @app.post("/put")
    async def put() -> str:
        quart.session.update(quart.request.args)
        return "put"

    @app.post("/log-in")
    async def log_in() -> tuple[str, int]:
        quart.session["note"] = "of the log-in"
        with_quart.login(quart.request.args["name"])
        return "in", outcome(quart.request.args)

    @app.post("/log-out")
    async def log_out() -> tuple[str, int]:
        with_quart.logout()
        return "out", outcome(quart.request.args)

    @app.post("/slow-put")
    async def slow_put() -> str:
        quart.session["late"] = quart.request.args["late"]
        await asyncio.to_thread(gates[0].wait)
        return "put"

    @app.get("/slow-show")
    async def slow_show() -> dict[str, Any]:
        seen = dict(quart.session)
        await asyncio.to_thread(gates[0].wait)
        return seen

    return app


def litestar_site(store: SessionTokens, gates: list[Gate], **options: Any) -> Any:
    """Make it in Litestar."""

    @get("/show", sync_to_thread=False)
    def show(request: Request[Any, Any, Any]) -> dict[str, Any]:
        return {"user": with_litestar.current_session(request).owner, "fields": dict(request.session)}

    @get("/untouched", sync_to_thread=False)
    def untouched() -> str:
        return "nothing"

    @post("/put", sync_to_thread=False, status_code=200)
    def put(request: Request[Any, Any, Any]) -> str:
        request.session.update({field: each[0] for field, each in request.query_params.dict().items()})
        return "put"

    @post("/log-in", sync_to_thread=False)
    def log_in(request: Request[Any, Any, Any]) -> Response[str]:
        request.session["note"] = "of the log-in"
        with_litestar.login(request, request.query_params["name"])
        return Response("in", status_code=outcome(request.query_params))

    @post("/log-out", sync_to_thread=False)
    def log_out(request: Request[Any, Any, Any]) -> Response[str]:
        with_litestar.logout(request)
        return Response("out", status_code=outcome(request.query_params))

    @post("/slow-put", status_code=200)
    async def slow_put(request: Request[Any, Any, Any]) -> str:
        request.session["late"] = request.query_params["late"]
        await asyncio.to_thread(gates[0].wait)
        return "put"

    @get("/slow-show")
    async def slow_show(request: Request[Any, Any, Any]) -> dict[str, Any]:
        seen = dict(request.session)
        await asyncio.to_thread(gates[0].wait)
        return seen

    config = with_litestar.SessionTokensConfig(apart(store), **options)
    views = [show, untouched, put, log_in, log_out, slow_put, slow_show]
    return Litestar(views, middleware=[config.middleware], openapi_config=None, logging_config=None)


def aiohttp_site(store: SessionTokens, gates: list[Gate], **options: Any) -> web.Application:
    """Make it in aiohttp."""

    async def show(request: web.Request) -> web.Response:
        session = await aiohttp_session.get_session(request)
        owner = (await with_aiohttp.current_session(request)).owner
        return web.json_response({"user": owner, "fields": dict(session)})

    async def untouched(_: web.Request) -> web.Response:
        return web.Response(text="nothing")

    async def put(request: web.Request) -> web.Response:
        (await aiohttp_session.get_session(request)).update(request.query)
        return web.Response(text="put")

    async def log_in(request: web.Request) -> web.Response:
        (await aiohttp_session.get_session(request))["note"] = "of the log-in"
        await with_aiohttp.login(request, request.query["name"])
        return web.Response(text="in", status=outcome(request.query))

    async def log_out(request: web.Request) -> web.Response:
        await with_aiohttp.logout(request)
        return web.Response(text="out", status=outcome(request.query))

    async def slow_put(request: web.Request) -> web.Response:
        (await aiohttp_session.get_session(request))["late"] = request.query["late"]
        await asyncio.to_thread(gates[0].wait)
        return web.Response(text="put")

    async def slow_show(request: web.Request) -> web.Response:
        seen = dict(await aiohttp_session.get_session(request))
        await asyncio.to_thread(gates[0].wait)
        return web.json_response(seen)

    app = web.Application(middlewares=[with_aiohttp.outages])
    aiohttp_session.setup(app, with_aiohttp.SessionTokensStorage(apart(store), **options))
    app.add_routes(
        [
            web.get("/show", show), web.get("/untouched", untouched), web.post("/put", put),
            web.post("/log-in", log_in), web.post("/log-out", log_out),
            web.post("/slow-put", slow_put), web.get("/slow-show", slow_show),
        ]
    )  # fmt: skip
    return app


def bottle_site(store: SessionTokens, gates: list[Gate], **options: Any) -> Any:
    """Make it in Bottle, which has no sessions of its own, as any application of WSGI."""
    app = bottle.Bottle()
    app.config["catchall"] = False

    def here() -> wsgi.WsgiSession:
        return wsgi.session_of(bottle.request.environ)

    def answer(text: str) -> str:
        bottle.response.status = outcome(bottle.request.query)
        return text

    @app.get("/show")
    def show() -> dict[str, Any]:
        return {"user": here().owner, "fields": dict(here())}

    @app.get("/untouched")
    def untouched() -> str:
        return "nothing"

    @app.post("/put")
    def put() -> str:
        here().update(bottle.request.query)
        return "put"

    @app.post("/log-in")
    def log_in() -> str:
        here()["note"] = "of the log-in"
        here().login(bottle.request.query["name"])
        return answer("in")

    @app.post("/log-out")
    def log_out() -> str:
        here().logout()
        return answer("out")

    @app.post("/slow-put")
    def slow_put() -> str:
        here()["late"] = bottle.request.query["late"]
        gates[0].wait()
        return "put"

    @app.get("/slow-show")
    def slow_show() -> dict[str, Any]:
        seen = dict(here())
        gates[0].wait()
        return seen

    return wsgi.SessionMiddleware(app, store, **options)


@contextmanager
def serving_aiohttp(app: web.Application) -> Iterator[str]:
    """Serve an application of aiohttp on a thread; the answer is its address."""
    loop, ready, addresses = asyncio.new_event_loop(), threading.Event(), list[str]()

    async def begin() -> web.AppRunner:
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        addresses.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(begin())
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(60), "the server does not begin"
        yield addresses[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
