"""aiohttp_session writes its sessions itself, into cookies and to a real server, and its users move in."""

from __future__ import annotations

import json
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Any

import aiohttp_session
import pytest
import redis
import redis.asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp_session.cookie_storage import EncryptedCookieStorage
from aiohttp_session.redis_storage import RedisStorage
from cryptography.fernet import Fernet

from session_tokens import AsyncSessionTokens, InvalidInput
from session_tokens.web.aiohttp import SessionTokensStorage
from session_tokens.web.moving_in.peers import AiohttpCookie, AiohttpRedis
from tests.helpers.servers.valkey import ValkeyServer

KEY = b"thirty-two bytes, of tests only!"
Peer = AiohttpCookie | AiohttpRedis


async def log_in(request: web.Request) -> web.Response:
    session = await aiohttp_session.get_session(request)
    session["AIOHTTP_SECURITY"], session["cart"] = request.query["name"], [1, {"n": None}]
    return web.Response()


async def show(request: web.Request) -> web.Response:
    return web.json_response(dict(await aiohttp_session.get_session(request)))


async def log_out(request: web.Request) -> web.Response:
    (await aiohttp_session.get_session(request)).invalidate()
    return web.Response()


def browser(storage: Any, cookie: str | None = None) -> TestClient[web.Request, web.Application]:
    app = web.Application()
    aiohttp_session.setup(app, storage)
    app.add_routes([web.get("/log-in", log_in), web.get("/show", show), web.get("/log-out", log_out)])
    cookies = None if cookie is None else {"AIOHTTP_SESSION": cookie}
    return TestClient(TestServer(app), cookies=cookies)


async def cookie_of(storage: Any, *paths: str) -> str:
    async with browser(storage) as client:
        for path in paths:
            (await client.get(path)).raise_for_status()
        first: str = next(each.value for each in client.session.cookie_jar if each.key == "AIOHTTP_SESSION")
        return first


@pytest.fixture
def url(valkey_server: ValkeyServer) -> str:
    return valkey_server.url.replace("valkey://", "redis://")


@pytest.fixture(params=["cookie", "redis"])
async def both(request: pytest.FixtureRequest, url: str) -> AsyncIterator[tuple[Any, Peer]]:
    """Their storage, and the peer that reads it."""
    if request.param == "cookie":
        yield EncryptedCookieStorage(KEY, max_age=600), AiohttpCookie(["k" * 43 + "=", KEY], lifetime=600)
        return
    async with redis.asyncio.Redis.from_url(url) as client:
        yield RedisStorage(client, max_age=600), AiohttpRedis(url, lifetime=600)


async def test_a_user_of_aiohttp_session_goes_on(both: tuple[Any, Peer]) -> None:
    theirs, peer = both
    cookie = await cookie_of(theirs, "/log-in?name=ann")
    async with await AsyncSessionTokens.open() as st:
        ours = SessionTokensStorage(st, migrate_from=peer)
        async with browser(ours, cookie) as client:
            first, second = [await (await client.get("/show")).json() for _ in range(2)]
            (session,) = await st.list_sessions("ann")
            await client.get("/log-out")
        async with browser(ours, cookie) as client:
            after = await (await client.get("/show")).json()

    assert {"AIOHTTP_SECURITY": "ann", "cart": [1, {"n": None}]} == first == second
    assert 590 < (session.max_age or 0) <= 600
    assert {} == after


async def test_who_left_is_nobody_where_a_log_out_can_be_known(url: str) -> None:
    async with redis.asyncio.Redis.from_url(url) as client:
        storage = RedisStorage(client, max_age=600)
        async with browser(storage) as visitor:
            await visitor.get("/log-in?name=ann")
            cookie = next(each.value for each in visitor.session.cookie_jar)
            await visitor.get("/log-out")
    peer = AiohttpRedis(url, lifetime=600)

    assert cookie in peer.ids()
    assert peer.read(cookie) is None


def token(fields: object, *, created_s_ago: float = 0, signed_s_ago: int = 0, key: bytes = KEY) -> str:
    now = time.time()
    text = json.dumps({"created": now - created_s_ago, "session": fields} if fields is not None else {})
    return Fernet(urlsafe_b64encode(key)).encrypt_at_time(text.encode(), int(now) - signed_s_ago).decode()


def test_a_cookie_that_the_library_would_refuse_is_refused() -> None:
    peer = AiohttpCookie(KEY, lifetime=60, owner="user")
    good = token({"user": 7})
    refused = [
        token(None), token({}), token(["user"]), token({"user": 7}, created_s_ago=61, signed_s_ago=61),
        token({"user": 7}, created_s_ago=61), token({"user": 7}, key=KEY[::-1]), good[:-4], "", "x" * 20_000,
    ]  # fmt: skip
    former = peer.read(good)

    assert former is not None
    assert "7" == former.owner
    assert [None] * len(refused) == [peer.read(each) for each in refused]


def test_all_spellings_of_a_cookie_are_one_session() -> None:
    peer = AiohttpCookie(KEY, lifetime=None, owner="user")
    good = token({"user": 7}, created_s_ago=10**8, signed_s_ago=10**8)
    first, second = peer.read(good), peer.read(good[:30] + "!" + good[30:])

    assert first is not None
    assert second is not None
    assert first.key == second.key
    assert (None, 400 * 86_400) == (first.time_left_s, first.kept_s)


def test_the_last_change_decides_though_the_server_keeps_it_longer(url: str) -> None:
    id = uuid.uuid4().hex
    peer = AiohttpRedis(url, lifetime=60, owner="user")
    with redis.Redis.from_url(url) as client:
        for created_s_ago, time_left_s in ((70, None), (20, 40.0)):
            record = {"created": int(time.time()) - created_s_ago, "session": {"user": 7}}
            client.set(f"AIOHTTP_SESSION_{id}", json.dumps(record), ex=60)
            former = peer.read(id)
            assert (former is None) is (time_left_s is None)
            assert former is None or abs((former.time_left_s or 0) - 40) < 5


@pytest.mark.parametrize("key", ["", b"", [], b"short", "no base64 at all"])
def test_what_is_no_key_is_refused(key: Any) -> None:
    with pytest.raises(InvalidInput, match="secret_key"):
        AiohttpCookie(key, lifetime=None)
