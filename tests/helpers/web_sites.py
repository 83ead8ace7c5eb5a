"""One small site in every framework, on a real server: the same addresses, so that one test asks all of them.

``POST /put?a=1`` keeps fields · ``GET /show`` tells who is logged in and what is kept · ``POST /log-in?name=…`` and
``POST /log-out``, with ``status=500`` or ``fail`` · ``GET /untouched`` looks at no session · ``/slow-put`` and
``/slow-show`` wait at the gate after they looked.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import uvicorn
from flask import Flask
from flask import request as flask_request
from flask import session as flask_session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from werkzeug.serving import make_server

from session_tokens import AsyncSessionTokens, SessionTokens
from session_tokens.web.asgi import SessionMiddleware
from session_tokens.web.flask import SessionTokensInterface, current_session, login, logout
from tests.helpers.servers.certificates import Certificate

PEPPER = bytes(range(32))


class Gate:
    """Holds a slow request inside its view until the test lets it go."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def wait(self) -> None:
        """Stay, in the view."""
        self.entered.set()
        assert self.opened.wait(60), "the test never opened the gate"


class Site:
    """A site that is being served.

    Attributes:
        url: of the site.
        tokens: the API on the store of its sessions, to see what is in it.
        gate: where slow requests wait.
        owner_of: maps a user's name to the owner of their sessions.
    """

    def __init__(self, url: str, tokens: SessionTokens, gates: list[Gate], owner_of: Callable[[str], str]) -> None:
        self.url, self.tokens, self._gates, self.owner_of = url, tokens, gates, owner_of

    def close_gate(self) -> Gate:
        """Let slow requests wait from now on."""
        self._gates[:] = [Gate()]
        return self._gates[0]

    def browser(self, cookies: dict[str, str] | None = None) -> httpx.Client:
        """Return a browser, with the cookies of another one."""
        jar = httpx.Cookies()
        for name, value in (cookies or {}).items():
            jar.set(name, value, domain="127.0.0.1")  # as the server's own, which takes its place
        # Servers close a connection on which a view has failed, and a request may be on its way over it by then.
        alone = httpx.Limits(max_keepalive_connections=0)
        return httpx.Client(base_url=self.url, cookies=jar, timeout=60, limits=alone)

    def beside(self, browser: httpx.Client, method: str, path: str) -> Callable[[], httpx.Response]:
        """Start a slow request with the cookies of a browser; the answer lets it go on and returns its response."""
        gate = self.close_gate()
        answers: list[httpx.Response] = []
        cookies = dict(browser.cookies)

        def run() -> None:
            with self.browser(cookies) as slow:
                answers.append(slow.request(method, path))

        thread = threading.Thread(target=run)
        thread.start()
        while not gate.entered.wait(0.05):
            assert thread.is_alive(), f"the slow request did not come to its gate: {answers}"

        def finish() -> httpx.Response:
            gate.opened.set()
            thread.join(60)
            return answers[0]

        return finish


def flask_site(
    store: SessionTokens, gates: list[Gate], *, options: Mapping[str, Any] | None = None, **configuration: Any
) -> Any:
    """Make it in Flask, with settings of Flask's, and options of our interface."""
    app = Flask("site")
    app.config.update(configuration)
    app.session_interface = SessionTokensInterface(store, **(options or {}))

    @app.get("/show")
    def show() -> dict[str, Any]:
        return {"user": current_session().owner, "fields": dict(flask_session)}

    @app.get("/untouched")
    def untouched() -> str:
        return "nothing"

    @app.post("/put")
    def put() -> str:
        flask_session.update(flask_request.args)
        return "put"

    @app.post("/log-in")
    def log_in() -> tuple[str, int]:
        flask_session["note"] = "of the log-in"
        login(flask_request.args["name"])
        return "in", outcome(flask_request.args)

    @app.post("/log-out")
    def log_out() -> tuple[str, int]:
        logout()
        return "out", outcome(flask_request.args)

    @app.post("/slow-put")
    def slow_put() -> str:
        flask_session["late"] = flask_request.args["late"]
        gates[0].wait()
        return "put"

    @app.get("/slow-show")
    def slow_show() -> dict[str, Any]:
        seen = dict(flask_session)
        gates[0].wait()
        return seen

    return app


def outcome(arguments: Any) -> int:
    """Return the status that a request asks for, or fail as a view does."""
    if "fail" in arguments:
        raise RuntimeError("the view fails, as the test wants it")
    return int(arguments.get("status", 200))


def starlette_site(store: SessionTokens, gates: list[Gate], **options: Any) -> Any:
    """Make it in Starlette, with options of our middleware."""

    async def show(request: Any) -> Response:
        return JSONResponse({"user": request.session.owner, "fields": dict(request.session)})

    async def untouched(request: Request) -> Response:
        return PlainTextResponse("nothing")

    async def put(request: Request) -> Response:
        request.session.update(request.query_params)
        return PlainTextResponse("put")

    async def log_in(request: Any) -> Response:
        request.session["note"] = "of the log-in"
        request.session.login(request.query_params["name"])
        return PlainTextResponse("in", outcome(request.query_params))

    async def log_out(request: Any) -> Response:
        request.session.logout()
        return PlainTextResponse("out", outcome(request.query_params))

    async def slow_put(request: Request) -> Response:
        request.session["late"] = request.query_params["late"]
        await asyncio.to_thread(gates[0].wait)
        return PlainTextResponse("put")

    async def slow_show(request: Request) -> Response:
        seen = dict(request.session)
        await asyncio.to_thread(gates[0].wait)
        return JSONResponse(seen)

    app = Starlette(
        routes=[
            Route("/show", show), Route("/untouched", untouched), Route("/put", put, methods=["POST"]),
            Route("/log-in", log_in, methods=["POST"]), Route("/log-out", log_out, methods=["POST"]),
            Route("/slow-put", slow_put, methods=["POST"]), Route("/slow-show", slow_show),
        ]
    )  # fmt: skip
    app.add_middleware(SessionMiddleware, store=AsyncSessionTokens(store.store, store.settings), **options)
    return app


@contextmanager
def serving(
    app: Any, *, is_asgi: bool, certificate: Certificate | None = None, listener: socket.socket | None = None
) -> Iterator[str]:
    """Serve an application on a thread, with a certificate on https; the answer is its address.

    Args:
        listener: a bound socket of the test's own, for one of ASGI.
    """
    with ExitStack() as stack:
        if is_asgi:
            listener = stack.enter_context(listener or socket.create_server(("127.0.0.1", 0)))
            cert, key = (None, None) if certificate is None else (certificate.certificate, certificate.key)
            config = uvicorn.Config(app, log_level="critical", lifespan="auto", ssl_certfile=cert, ssl_keyfile=key)
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            port = listener.getsockname()[1]
            stop: Callable[[], None] = lambda: setattr(server, "should_exit", True)  # noqa: E731
        else:
            context = None if certificate is None else (str(certificate.certificate), str(certificate.key))
            wsgi = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=context)
            thread = threading.Thread(target=wsgi.serve_forever)
            port = wsgi.server_port
            stop = wsgi.shutdown
            stack.callback(wsgi.server_close)
        thread.start()
        stack.callback(thread.join, 60)
        stack.callback(stop)
        url = f"{'http' if certificate is None else 'https'}://127.0.0.1:{port}"
        until_s = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{url}/untouched", verify=False)  # noqa: S501  # whether it answers, no more
                break
            except httpx.TransportError:
                assert time.monotonic() < until_s, "the server does not answer"
                time.sleep(0.02)
        yield url


def shown(browser: httpx.Client) -> tuple[Any, Any]:
    """Return who is logged in for a browser, and what is kept for them."""
    answer = browser.get("/show")
    assert answer.status_code == 200, answer.text
    body = json.loads(answer.text)
    return body["user"], body["fields"]
