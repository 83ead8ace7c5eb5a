"""A store that cannot be opened yet: what is answered meanwhile, and how long whoever asks waits."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from flask import Flask
from flask import session as flask_session
from quart import Quart
from quart import session as quart_session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from session_tokens.crypto.minting import new_secret
from session_tokens.crypto.secret_form import SESSION_SECRET
from session_tokens.errors import StoreUnavailable
from session_tokens.web.asgi import SessionMiddleware, middleware_of
from session_tokens.web.flask import SessionTokensInterface
from session_tokens.web.moving_in.peers import StarletteCookie
from session_tokens.web.process_store import ProcessStore
from session_tokens.web.quart import QuartSessionTokensInterface
from session_tokens.web.shared_store import SharedStore
from tests.helpers.servers.valkey import ValkeyServer

PEPPER = bytes(32)
AT_ONCE = 8


class SilentHost:
    """A host that takes connections and never says a word."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.connections: list[socket.socket] = []
        self.url = f"valkey://127.0.0.1:{self._listening.getsockname()[1]}/0?timeout=0.5"
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while True:
            try:
                self.connections.append(self._listening.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        """Be gone."""
        for each in (self._listening, *self.connections):
            each.close()


@pytest.fixture
def silent_host() -> Iterator[SilentHost]:
    host = SilentHost()
    yield host
    host.close()


def test_threads_that_wait_while_a_store_cannot_be_opened_are_told_with_the_first(silent_host: SilentHost) -> None:
    store = ProcessStore(silent_host.url, pepper=PEPPER)
    with pytest.raises(StoreUnavailable):
        store.tokens()
    of_one = len(silent_host.connections)
    together = threading.Barrier(AT_ONCE)

    def refused() -> list[int]:
        """Ask twice, and return how many connections there were after each answer."""
        together.wait()
        seen = []
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                store.tokens()
            seen.append(len(silent_host.connections))
        return seen

    with ThreadPoolExecutor(AT_ONCE) as threads:
        seen = [each.result() for each in [threads.submit(refused) for _ in range(AT_ONCE)]]
    assert all(first <= 3 * of_one and second <= 4 * of_one for first, second in seen), "nobody waits for a later one"
    store.close()


async def test_tasks_that_wait_while_a_store_cannot_be_opened_are_told_with_the_first(silent_host: SilentHost) -> None:
    store = SharedStore(silent_host.url, pepper=PEPPER)
    with pytest.raises(StoreUnavailable):
        await store.tokens()
    of_one = len(silent_host.connections)

    told = await asyncio.gather(*(store.tokens() for _ in range(AT_ONCE)), return_exceptions=True)

    assert all(isinstance(each, StoreUnavailable) for each in told)
    assert len(silent_host.connections) == 2 * of_one


@pytest.mark.parametrize("peers", [None, StarletteCookie("of before", owner="user")])
async def test_pages_that_look_at_no_session_are_answered_before_the_store_is_there(
    private_valkey: Callable[..., ValkeyServer], peers: Any
) -> None:
    async def put(request: Request) -> Response:
        request.session["cart"] = ["pen"]
        return PlainTextResponse("put")

    async def alive(request: Request) -> Response:
        return PlainTextResponse("alive")

    server = private_valkey()
    server.kill()
    app = Starlette(routes=[Route("/put", put), Route("/alive", alive)])
    app.add_middleware(SessionMiddleware, store=server.url, pepper=PEPPER, migrate_from=peers)
    kept_by = middleware_of(app)
    assert kept_by is not None
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as browser:
        assert [(await browser.get("/alive")).status_code for _ in range(2)] == [200, 200]
        refused = await browser.get("/put")
        server.start()
        kept = await browser.get("/put")
    await kept_by.store.close()

    assert (refused.status_code, "retry-after" in refused.headers, "set-cookie" in refused.headers) == (
        503,
        True,
        False,
    )
    assert (kept.status_code, "set-cookie" in kept.headers) == (200, True)


def flask_shop(url: str) -> Any:
    app = Flask("shop")
    app.session_interface = SessionTokensInterface(url, pepper=PEPPER)

    @app.get("/put")
    def put() -> str:
        flask_session["cart"] = ["pen"]
        return "put"

    return app.test_client()


def test_flask_answers_503_before_the_store_is_there(private_valkey: Callable[..., ValkeyServer]) -> None:
    server = private_valkey()
    server.kill()
    browser = flask_shop(server.url)

    refused = browser.get("/put")
    server.start()

    assert (refused.status_code, refused.headers.get("Retry-After")) == (503, "2")
    assert browser.get("/put").status_code == 200


async def test_quart_answers_503_before_the_store_is_there(private_valkey: Callable[..., ValkeyServer]) -> None:
    server = private_valkey()
    server.kill()
    app, interface = Quart("shop"), QuartSessionTokensInterface(server.url, pepper=PEPPER)
    app.session_interface = interface  # type: ignore[assignment]  # Quart says that it is its own one

    @app.get("/put")
    async def put() -> str:
        quart_session["cart"] = ["pen"]
        return "put"

    browser: Any = app.test_client()
    refused = await browser.get("/put")
    server.start()
    kept = await browser.get("/put")
    await interface.close()

    assert (refused.status_code, refused.headers.get("Retry-After")) == (503, "2")
    assert "Set-Cookie" not in refused.headers
    assert kept.status_code == 200


async def test_the_store_is_closed_before_the_server_hears_that_all_is_over() -> None:
    app = Starlette()
    app.add_middleware(SessionMiddleware, store="memory://")
    kept_by = middleware_of(app)
    assert kept_by is not None
    asked, is_open = iter(("startup", "shutdown")), {}

    async def receive() -> Any:
        return {"type": f"lifespan.{next(asked)}"}

    async def send(message: Any) -> None:
        is_open[message["type"]] = kept_by.store.at_hand() is not None

    await app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)

    assert is_open == {"lifespan.startup.complete": True, "lifespan.shutdown.complete": False}


@pytest.mark.parametrize("extensions", [{"websocket.http.response": {}}, None])
async def test_the_handshake_of_a_socket_is_answered_503_where_the_server_lets_it(
    private_valkey: Callable[..., ValkeyServer], extensions: Any
) -> None:
    server, sent = private_valkey(), []
    server.kill()
    app: Any = SessionMiddleware(Starlette(), server.url, pepper=PEPPER)
    headers = [(b"cookie", b"session=" + new_secret(SESSION_SECRET).encode())]

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "websocket", "headers": headers, "extensions": extensions}, None, send)

    if extensions is None:
        assert [(each["type"], each["code"]) for each in sent] == [("websocket.close", 1013)]
    else:
        assert [each["type"] for each in sent] == [f"websocket.http.response.{part}" for part in ("start", "body")]
        assert (sent[0]["status"], b"retry-after" in dict(sent[0]["headers"])) == (503, True)


def test_an_event_loop_that_is_not_of_asyncio_is_told_as_what_it_is() -> None:
    opening = SharedStore("memory://").tokens()
    with pytest.raises(RuntimeError, match="event loop of asyncio"):
        opening.send(None)  # as trio does
