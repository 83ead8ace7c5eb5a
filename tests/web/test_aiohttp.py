"""aiohttp: our storage of ``aiohttp_session``, and what is beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp_session
import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer

from session_tokens import AsyncSessionTokens, InvalidInput
from session_tokens.clock import ManualClock
from session_tokens.web.aiohttp import SessionTokensStorage, current_session, login, logout


async def watched(request: web.Request) -> web.WebSocketResponse:
    session, socket = await current_session(request), web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_str(str(session.owner))
    async with session.closes(socket):
        await socket.receive()
    return socket


Client = TestClient[web.Request, web.Application]
Make = Callable[..., Awaitable[Client]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000_000)


@pytest.fixture
async def tokens(clock: ManualClock) -> AsyncIterator[AsyncSessionTokens]:
    async with await AsyncSessionTokens.open("memory://", clock=clock, sweep=False) as tokens:
        yield tokens


async def show(request: web.Request) -> web.Response:
    session: Any = await aiohttp_session.get_session(request)
    return web.json_response({"owner": session.owner, "id": session.id, "fields": dict(session)})


async def untouched(_: web.Request) -> web.Response:
    return web.Response(text="nothing")


async def put(request: web.Request) -> web.Response:
    session = await aiohttp_session.get_session(request)
    session.setdefault("cart", []).append("pen")
    return web.Response(text="put")


async def redirected(request: web.Request) -> web.Response:
    (await aiohttp_session.get_session(request))["a"] = 1
    raise web.HTTPFound("/show")


async def broken(request: web.Request) -> web.Response:
    await login(request, "ann")
    raise web.HTTPInternalServerError


async def failing(request: web.Request) -> web.Response:
    await logout(request)
    raise RuntimeError("as the test wants it")


async def log_in(request: web.Request) -> web.Response:
    await login(request, request.query.get("name", "ann"))
    return web.Response(text="in")


async def anew(request: web.Request) -> web.Response:
    session: Any = await aiohttp_session.new_session(request)
    session["fresh"] = True
    if "name" in request.query:
        await login(request, request.query["name"])
    return web.Response(text="new")


async def log_out(request: web.Request) -> web.Response:
    await logout(request)
    return web.Response(text="out")


async def invalidate(request: web.Request) -> web.Response:
    (await aiohttp_session.get_session(request)).invalidate()
    return web.Response(text="out")


async def streamed(request: web.Request) -> web.StreamResponse:
    session = await aiohttp_session.get_session(request)
    session["a"] = 1
    response = web.StreamResponse()
    storage = request[aiohttp_session.STORAGE_KEY]
    await storage.save_session(request, response, session)
    await response.prepare(request)
    await response.write(b"stream")
    return response


async def others(request: web.Request) -> web.Response:
    return web.json_response(await (await current_session(request)).end_others())


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    async with AsyncExitStack() as stack:

        async def made(store: str | AsyncSessionTokens, **options: Any) -> Client:
            app = web.Application()
            storage = SessionTokensStorage(store, **options)
            aiohttp_session.setup(app, storage)
            app.on_cleanup.append(storage.close)
            for view in (show, untouched, watched):
                app.router.add_get(f"/{view.__name__}", view)
            for change in (
                put, redirected, broken, failing, log_in, anew, log_out, invalidate, streamed, others,
            ):  # fmt: skip
                app.router.add_post(f"/{change.__name__}", change)
            return await stack.enter_async_context(TestClient(TestServer(app)))

        yield made


async def shown(client: Client) -> dict[str, Any]:
    answer = await client.get("/show")
    assert answer.status == 200, await answer.text()
    found: dict[str, Any] = await answer.json()
    return found


async def test_a_visit_from_the_first_field_to_the_log_out(tokens: AsyncSessionTokens, make: Make) -> None:
    client = await make(tokens)
    first = await client.post("/put")
    assert ("no-store", "Cookie") == (first.headers["Cache-Control"], first.headers["Vary"])
    assert first.headers["Set-Cookie"].startswith("session=sts_")
    await client.post("/put")
    await client.post("/log_in")
    seen = await shown(client)
    assert ("ann", {"cart": ["pen", "pen"]}) == (seen["owner"], seen["fields"]) and seen["id"].startswith("ses_")
    gone = await client.post("/log_out")
    assert "Max-Age=0" in gone.headers["Set-Cookie"]
    assert {"owner": None, "id": None, "fields": {}} == await shown(client)
    assert [] == (await tokens.list_sessions("ann")).items


async def test_a_view_that_looks_at_no_session_says_nothing_of_one(tokens: AsyncSessionTokens, make: Make) -> None:
    client = await make(tokens)
    assert not {"Vary", "Set-Cookie"} & set((await client.get("/untouched")).headers)
    answer = await client.get("/show")
    assert ("Cookie", False) == (answer.headers["Vary"], "Set-Cookie" in answer.headers)


async def test_a_redirection_keeps_what_was_put_in(tokens: AsyncSessionTokens, make: Make) -> None:
    client = await make(tokens)
    assert {"a": 1} == (await (await client.post("/redirected")).json())["fields"]


async def test_a_failing_view_logs_nobody_in_and_a_log_out_is_done_all_the_same(
    tokens: AsyncSessionTokens, make: Make
) -> None:
    client = await make(tokens)
    await client.post("/put")
    assert 500 == (await client.post("/broken")).status
    assert (None, {"cart": ["pen"]}) == ((await shown(client))["owner"], (await shown(client))["fields"])
    await client.post("/log_in")
    assert 500 == (await client.post("/failing")).status
    assert [] == (await tokens.list_sessions("ann")).items


async def test_a_new_session_takes_the_place_of_the_one_before(tokens: AsyncSessionTokens, make: Make) -> None:
    client = await make(tokens)
    await client.post("/put")
    before = (await shown(client))["id"]
    await client.post("/anew")
    after = await shown(client)
    assert {"fresh": True} == after["fields"] and after["id"] != before
    assert await tokens.get_session(before) is None
    await client.post("/anew?name=bea")
    seen = await shown(client)
    assert ("bea", {"fresh": True}) == (seen["owner"], seen["fields"])
    assert await tokens.get_session(after["id"]) is None


async def test_what_is_said_and_asked_of_a_new_session_is_so(tokens: AsyncSessionTokens) -> None:
    async def begin(request: web.Request) -> web.Response:
        session: Any = await aiohttp_session.new_session(request)
        session.max_age = 600
        (await current_session(request)).flash("hello")
        if request.query:
            await login(request, "ann", remember=request.query["remember"] == "1")
        return web.Response()

    async def told(request: web.Request) -> web.Response:
        session = await current_session(request)
        return web.json_response([session.record and session.record.max_age, session.flashes()])

    app = web.Application()
    aiohttp_session.setup(app, SessionTokensStorage(tokens))
    app.router.add_post("/begin", begin)
    app.router.add_get("/told", told)
    async with TestClient(TestServer(app)) as client:
        for query, max_age in (("", 600), ("?remember=0", 600), ("?remember=1", 30 * 86_400)):
            await client.post("/begin" + query)
            assert await (await client.get("/told")).json() == [max_age, [["message", "hello"]]]


async def test_an_invalidated_session_ends(tokens: AsyncSessionTokens, make: Make) -> None:
    client = await make(tokens)
    await client.post("/log_in")
    await client.post("/invalidate")
    assert (None, []) == ((await shown(client))["owner"], (await tokens.list_sessions("ann")).items)


async def test_what_is_saved_before_a_stream_begins_is_kept(tokens: AsyncSessionTokens, make: Make) -> None:
    client = await make(tokens)
    assert "stream" == await (await client.post("/streamed")).text()
    assert {"a": 1} == (await shown(client))["fields"]


async def test_other_sessions_of_a_user_end_at_once(tokens: AsyncSessionTokens, make: Make) -> None:
    phone, laptop = await make(tokens), await make(tokens)
    for client in (phone, laptop):
        await client.post("/log_in")
    assert 1 == await (await phone.post("/others")).json()
    assert ["ann", None] == [(await shown(each))["owner"] for each in (phone, laptop)]


async def test_a_page_of_another_origin_and_a_disabled_owner_are_refused(
    tokens: AsyncSessionTokens, make: Make
) -> None:
    client, foreign = await make(tokens), {"Origin": "https://evil.example"}
    assert 403 == (await client.post("/log_in", headers=foreign)).status
    await client.post("/put")
    assert 403 == (await client.post("/put", headers=foreign)).status
    trusting = await make(tokens, trusted_origins=["https://evil.example"])
    assert 200 == (await trusting.post("/log_in", headers=foreign)).status
    await tokens.disable_owner("bob")
    refused = await client.post("/log_in?name=bob")
    assert (403, "the log-in is refused: owner_disabled") == (refused.status, await refused.text())
    assert {"cart": ["pen"]} == (await shown(client))["fields"]


async def test_max_age_ends_session_and_cookie_together(
    tokens: AsyncSessionTokens, clock: ManualClock, make: Make
) -> None:
    client = await make(tokens, max_age=60)
    assert "Max-Age=60" in (await client.post("/log_in")).headers["Set-Cookie"]
    clock.advance(61)
    assert (await shown(client))["owner"] is None


async def test_a_store_that_is_away_is_a_503_and_the_cookie_stays(tokens: AsyncSessionTokens, make: Make) -> None:
    client = await make("postgresql://127.0.0.1:1/none?timeout=1", pepper=b"p" * 32)
    cookie = {"session": (await tokens.open_session("eve")).secret}
    answer = await client.get("/show", cookies=cookie)
    assert (503, "1", False) == (answer.status, answer.headers["Retry-After"], "Set-Cookie" in answer.headers)
    assert 200 == (await client.get("/untouched", cookies=cookie)).status


async def test_what_can_never_be_right_is_refused(tokens: AsyncSessionTokens) -> None:
    with pytest.raises(InvalidInput):
        SessionTokensStorage(tokens, cookie_name="a b")
    with pytest.raises(TypeError, match="URL of a store"):
        SessionTokensStorage(1)  # type: ignore[arg-type]


async def test_a_socket_ends_with_the_log_in(tokens: AsyncSessionTokens, make: Make) -> None:
    client = await make(tokens)
    await client.post("/log_in?name=ann")
    async with client.ws_connect("/watched") as socket:
        assert await socket.receive_str() == "ann"
        await client.post("/log_out")
        ended = await socket.receive()

    assert (ended.type, ended.data, ended.extra) == (WSMsgType.CLOSE, 4001, "the session has ended: logout")
