"""Flask-Session and starsessions write their sessions themselves, on a real server, and their users move in."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import flask
import httpx
import pytest
import redis
import redis.asyncio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starsessions import SessionAutoloadMiddleware
from starsessions import SessionMiddleware as Starsessions
from starsessions.stores.redis import RedisStore

from session_tokens import AsyncSessionTokens, SessionTokens
from session_tokens.web.asgi import SessionMiddleware
from session_tokens.web.moving_in.peers import StarsessionsRedis
from tests.helpers.moving_shop import ours, theirs
from tests.helpers.servers.valkey import ValkeyServer


@pytest.fixture
def server(valkey_server: ValkeyServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_server.url.replace("valkey://", "redis://")) as client:
        yield client


@pytest.fixture
def prefix() -> str:
    return f"r{uuid.uuid4().hex[:10]}:"


def cookie_after(app: flask.Flask, path: str, before: str | None = None) -> str:
    browser = with_cookie(app, before)
    assert browser.get(path).status_code == 200
    cookie = browser.get_cookie("session")
    assert cookie is not None
    value: str = cookie.value
    return value


def with_cookie(app: flask.Flask, value: str | None) -> Any:
    browser = app.test_client()
    if value is not None:
        browser.set_cookie("session", value)
    return browser


@pytest.mark.parametrize("options", [{}, {"SESSION_SERIALIZATION_FORMAT": "json"}, {"SESSION_USE_SIGNER": True}])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_user_of_flask_session_goes_on(server: redis.Redis, prefix: str, options: dict[str, Any]) -> None:
    is_signed, is_json = "SESSION_USE_SIGNER" in options, "SESSION_SERIALIZATION_FORMAT" in options
    cookie = cookie_after(theirs(server, prefix, **options), "/log-in/alice")
    before = {key: server.get(key) for key in server.scan_iter(f"{prefix}*")}
    with SessionTokens.open() as st:
        app = ours(st, server, prefix, **({"secret_key": "for tests only"} if is_signed else {}))
        browser = with_cookie(app, cookie)
        shown = browser.get("/show").json

        assert ("alice", [1, {"n": None}]) == (shown["user"], shown["cart"])
        assert shown["when"].startswith("2026-11-28")
        assert is_json or shown["when"] == "2026-11-28 00:00:00+00:00"
        assert shown == browser.get("/show").json
        assert ["alice"] == [session.owner for session in st.list_sessions()]
        browser.get("/log-out")
        assert with_cookie(app, cookie).get("/show").json["user"] is None
    assert before == {key: server.get(key) for key in server.scan_iter(f"{prefix}*")}


def test_what_flask_session_of_yesterday_left_is_read_too(server: redis.Redis, prefix: str) -> None:
    """Before 0.6 it wrote pickles, under ids that are UUIDs."""
    id = str(uuid.uuid4())
    fields = {"_permanent": True, "_user_id": "bob", "cart": (1, 2), "price": Decimal("1.5"), "raw": b"x"}
    server.set(prefix + id, pickle.dumps(fields), ex=600)
    with SessionTokens.open() as st:
        shown = with_cookie(ours(st, server, prefix), id).get("/show").json

    assert ("bob", [1, 2]) == (shown["user"], shown["cart"])


def stars(middleware: Any, *more: Any, **options: Any) -> Starlette:
    async def log_in(request: Request) -> JSONResponse:
        request.session.update(user_id=request.query_params["name"], cart=[1])
        return JSONResponse({})

    async def show(request: Request) -> JSONResponse:
        return JSONResponse(dict(request.session))

    app = Starlette(routes=[Route("/log-in", log_in), Route("/show", show)])
    for each in more:
        app.add_middleware(each)
    app.add_middleware(middleware, **options)
    return app


@pytest.mark.parametrize("rolling", [False, True])
async def test_a_user_of_starsessions_goes_on(
    valkey_server: ValkeyServer, server: redis.Redis, prefix: str, rolling: bool
) -> None:
    connection = redis.asyncio.Redis.from_url(valkey_server.url.replace("valkey://", "redis://"))
    store = RedisStore(connection=connection, prefix=prefix)
    before = stars(
        Starsessions, SessionAutoloadMiddleware, store=store, rolling=rolling, lifetime=600, cookie_https_only=False
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(before), base_url="http://shop.test") as browser:
        await browser.get("/log-in?name=carol")
        cookie = browser.cookies["session"]
    await connection.aclose()
    peer = StarsessionsRedis(server, prefix=prefix, owner="user_id", rolling=rolling)
    async with await AsyncSessionTokens.open() as st:
        after = stars(SessionMiddleware, store=st, migrate_from=peer)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(after), base_url="http://shop.test") as browser:
            browser.cookies.set("session", cookie, domain="shop.test", path="/")
            shown = await browser.get("/show")
        (session,) = await st.list_sessions("carol")

    assert {"user_id": "carol", "cart": [1]} == shown.json()
    assert (session.max_age or 0) <= 600 if not rolling else session.max_age == 3600
