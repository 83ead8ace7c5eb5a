"""Sessions in real Starlette applications: what the browser is sent, and what stands in the store afterwards."""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from session_tokens import AsyncSessionTokens, InvalidInput, Settings
from session_tokens.web.asgi import AsyncWebSession, SessionMiddleware
from tests.helpers.servers.valkey import ValkeyServer

Client = httpx.AsyncClient


@pytest.fixture
async def st() -> AsyncIterator[AsyncSessionTokens]:
    async with await AsyncSessionTokens.open("memory://", sweep=False) as tokens:
        yield tokens


async def view(request: Request) -> Response:
    return JSONResponse({"fields": request.session, "owner": request.session.owner})  # type: ignore[attr-defined]


async def put(request: Request) -> Response:
    request.session.update(await request.json())
    return JSONResponse(request.session)


async def append(request: Request) -> Response:
    request.session.setdefault("cart", []).append(await request.json())
    return PlainTextResponse("ok")


async def login(request: Request) -> Response:
    request.session.login(request.path_params["owner"], remember="remember" in request.query_params)  # type: ignore[attr-defined]
    if "fail" in request.query_params:
        raise RuntimeError("the view failed")
    return Response(status_code=int(request.query_params.get("status", "200")))


async def logout(request: Request) -> Response:
    request.session.logout()  # type: ignore[attr-defined]
    if "fail" in request.query_params:
        raise RuntimeError("the view failed")
    return PlainTextResponse("bye")


async def clear(request: Request) -> Response:
    request.session.clear()
    return PlainTextResponse("bye")


async def untouched(request: Request) -> Response:
    return PlainTextResponse("same for all", headers={"cache-control": "public, max-age=60"})


async def cached(request: Request) -> Response:
    request.session["a"] = 1
    headers = {"cache-control": request.query_params["control"], "vary": request.query_params.get("vary", "")}
    return PlainTextResponse("x", headers=headers)


async def stream(request: Request) -> Response:
    request.session["a"] = 1

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"part"

    return StreamingResponse(parts())


async def replaced_scope(request: Request) -> Response:
    request.session["kept"] = 1
    request.scope["session"] = {"of": "another middleware"}
    return PlainTextResponse("x")


class Gate:
    """Lets a request wait inside its view until the test goes on."""

    def __init__(self) -> None:
        self.inside, self.go_on = asyncio.Event(), asyncio.Event()

    async def slow(self, request: Request) -> Response:
        request.session["slow"] = True
        self.inside.set()
        await self.go_on.wait()
        return PlainTextResponse("late")


def application(store: str | AsyncSessionTokens, gate: Gate | None = None, **options: Any) -> Starlette:
    routes = [
        Route("/view", view), Route("/put", put, methods=["POST"]), Route("/append", append, methods=["POST"]),
        Route("/login/{owner}", login, methods=["POST"]), Route("/logout", logout, methods=["POST"]),
        Route("/clear", clear, methods=["POST"]), Route("/untouched", untouched), Route("/cached", cached),
        Route("/stream", stream), Route("/scope", replaced_scope),
    ]  # fmt: skip
    if gate is not None:
        routes.append(Route("/slow", gate.slow))
    return Starlette(routes=routes, middleware=[Middleware(SessionMiddleware, store=store, **options)])


def browser(app: Starlette, base_url: str = "http://shop.example", **options: Any) -> Client:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return Client(transport=transport, base_url=base_url, **options)


async def test_a_visitor_without_data_leaves_no_record_and_gets_no_cookie(st: AsyncSessionTokens) -> None:
    async with browser(application(st)) as client:
        answers = [await client.get("/view") for _ in range(3)]

    assert [None] * 3 == [answer.headers.get("set-cookie") for answer in answers]
    assert {"Cookie"} == {answer.headers.get("vary") for answer in answers}
    assert [] == (await st.list_sessions(anonymous=True)).items


async def test_a_visitors_session_waits_for_no_garbage_collector(st: AsyncSessionTokens) -> None:
    async with browser(application(st)) as client:
        await client.get("/untouched")
        gc.collect()
        gc.disable()
        try:
            await client.get("/untouched")
            left = [each for each in gc.get_objects() if issubclass(type(each), AsyncWebSession)]
        finally:
            gc.enable()

    assert [] == left


async def test_fields_stay_from_request_to_request_and_the_cookie_holds_the_secret_alone(
    st: AsyncSessionTokens,
) -> None:
    async with browser(application(st)) as client:
        first = await client.post("/put", json={"a": 1, "none": None})
        again = await client.get("/view")

    assert {"fields": {"a": 1, "none": None}, "owner": None} == again.json()
    assert "set-cookie" not in again.headers
    assert re.fullmatch(r"session=sts_[0-9A-Za-z]{51}; path=/; httponly; samesite=lax", first.headers["set-cookie"])
    assert ("no-store", "Cookie") == (first.headers["cache-control"], first.headers["vary"])


async def test_on_https_the_cookie_is_bound_to_its_host(st: AsyncSessionTokens) -> None:
    app = application(st)
    async with browser(app, "https://shop.example") as client:
        first = await client.post("/put", json={"a": 1})
        assert {"a": 1} == (await client.get("/view")).json()["fields"]
        ended = await client.post("/clear")

    assert re.fullmatch(
        r"__Host-session=sts_[0-9A-Za-z]{51}; path=/; httponly; samesite=lax; secure", first.headers["set-cookie"]
    )
    assert re.fullmatch(
        r"__Host-session=; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; path=/; httponly; samesite=lax; secure",
        ended.headers["set-cookie"],
    )


@pytest.mark.parametrize(
    ("options", "https", "cookie"),
    [
        ({"path": "/app"}, True, r"__Secure-session=\w+; path=/app; httponly; samesite=lax; secure"),
        ({"domain": "shop.example"}, True, r"__Secure-session=\w+; path=/; domain=shop.example; .*; secure"),
        ({"session_cookie": "admin"}, True, r"admin=\w+; path=/; httponly; samesite=lax; secure"),
        ({"https_only": True}, False, r"__Host-session=\w+; path=/; httponly; samesite=lax; secure"),
        ({"same_site": "none", "partitioned": True}, True, r".*; samesite=none; secure; partitioned"),
        ({"same_site": "strict"}, False, r"session=\w+; path=/; httponly; samesite=strict"),
        ({"max_age": 60}, False, r"session=\w+; Max-Age=60; path=/; httponly; samesite=lax"),
        ({"max_age": 0}, False, r"session=\w+; Max-Age=0; path=/; httponly; samesite=lax"),
        ({"max_age": -1}, False, r"session=\w+; Max-Age=0; path=/; httponly; samesite=lax"),
        ({"max_age": None, "secret_key": "old"}, False, r"session=\w+; path=/; httponly; samesite=lax"),
    ],
)
async def test_the_attributes_of_the_cookie(
    st: AsyncSessionTokens, options: dict[str, Any], https: bool, cookie: str
) -> None:
    async with browser(
        application(st, **options), "https://shop.example" if https else "http://shop.example"
    ) as client:
        answer = await client.post("/put", json={"a": 1})

    assert re.fullmatch(cookie, answer.headers["set-cookie"]), answer.headers["set-cookie"]
    assert len((await st.list_sessions(anonymous=True)).items) == (0 if options.get("max_age", 1) in (0, -1) else 1)


@pytest.mark.parametrize(
    "options",
    [
        {"session_cookie": "a b"}, {"session_cookie": "__Host-x", "path": "/app"}, {"path": "/;x"},
        {"domain": "a\r\nb"},
        {"same_site": "Lax"}, {"partitioned": True}, {"trusted_origins": ["shop.example"]}, {"trusted_proxies": ["x"]},
    ],
)  # fmt: skip
def test_what_no_cookie_can_have_is_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        SessionMiddleware(view, "memory://", **options)  # type: ignore[arg-type]


async def test_an_untouched_response_stays_cacheable(st: AsyncSessionTokens) -> None:
    async with browser(application(st)) as client:
        await client.post("/put", json={"a": 1})
        answer = await client.get("/untouched")

    assert ("public, max-age=60", None) == (answer.headers["cache-control"], answer.headers.get("vary"))


@pytest.mark.parametrize(
    ("control", "vary", "kept", "varies"),
    [
        ("public, max-age=60", "Accept", "no-store", "Accept, Cookie"),
        ("private, max-age=5", "", "private, max-age=5", "Cookie"),
        ("no-store", "cookie", "no-store", "cookie"),
        ("max-age=1", "*", "no-store", "*"),
    ],
)
async def test_no_shared_cache_keeps_a_cookie(
    st: AsyncSessionTokens, control: str, vary: str, kept: str, varies: str
) -> None:
    async with browser(application(st)) as client:
        answer = await client.get("/cached", params={"control": control, "vary": vary})

    assert (kept, varies) == (answer.headers["cache-control"], answer.headers["vary"])


async def test_after_a_log_in_the_old_cookie_is_dead_and_the_cart_is_there(st: AsyncSessionTokens) -> None:
    async with browser(application(st)) as client, browser(application(st)) as thief:
        await client.post("/put", json={"cart": [1]})
        thief.cookies.update(client.cookies)
        await client.post("/login/ann")

        assert {"fields": {"cart": [1]}, "owner": "ann"} == (await client.get("/view")).json()
        assert {"fields": {}, "owner": None} == (await thief.get("/view")).json()
    assert ["ann"] == [session.owner for session in (await st.list_sessions(anonymous=True)).items]


async def test_remember_me_outlives_the_browser(st: AsyncSessionTokens) -> None:
    async with browser(application(st)) as client:
        answer = await client.post("/login/ann?remember")

    assert "; Max-Age=2592000;" in answer.headers["set-cookie"]


async def test_the_cookie_of_a_session_in_use_does_not_end_with_its_idle_timeout() -> None:
    settings = Settings(idle_timeout=60)
    async with (
        await AsyncSessionTokens.open("memory://", settings=settings, sweep=False) as st,
        browser(application(st, max_age=3600)) as client,
    ):
        answer = await client.post("/put", json={"a": 1})

    assert "; Max-Age=3600;" in answer.headers["set-cookie"]


async def test_a_log_in_that_the_rules_refuse_is_a_403_and_leaves_the_cookie_alone() -> None:
    settings = Settings(max_sessions=1, session_policy="refuse")
    async with (
        await AsyncSessionTokens.open("memory://", settings=settings, sweep=False) as st,
        browser(application(st)) as client,
    ):
        await st.open_session("ann")
        await st.disable_owner("ben")
        await client.post("/put", json={"cart": 1})
        answers = [await client.post("/login/ann"), await client.post("/login/ben")]
        after = await client.get("/view")

    assert [(403, None)] * 2 == [(answer.status_code, answer.headers.get("set-cookie")) for answer in answers]
    assert ["limit_reached", "owner_disabled"] == [answer.text.rpartition(" ")[2] for answer in answers]
    assert {"fields": {"cart": 1}, "owner": None} == after.json()


@pytest.mark.parametrize("how", ["?fail", "?status=500", "?status=503"])
async def test_an_error_during_a_log_in_loses_no_cart(st: AsyncSessionTokens, how: str) -> None:
    async with browser(application(st)) as client:
        await client.post("/put", json={"cart": [1]})
        answer = await client.post(f"/login/ann{how}")

        assert answer.status_code >= 500
        assert "set-cookie" not in answer.headers
        assert {"fields": {"cart": [1]}, "owner": None} == (await client.get("/view")).json()


@pytest.mark.parametrize("how", ["", "?fail"])
async def test_a_log_out_beside_a_slow_request_is_final(st: AsyncSessionTokens, how: str) -> None:
    gate = Gate()
    async with browser(application(st, gate)) as client:
        await client.post("/login/ann")
        cookies = dict(client.cookies)
        slow = asyncio.create_task(client.get("/slow"))
        await gate.inside.wait()
        await client.post(f"/logout{how}")
        gate.go_on.set()
        late = await slow

        assert 200 == late.status_code
        assert "Max-Age=0" in late.headers["set-cookie"]
        client.cookies.update(cookies)
        assert {"fields": {}, "owner": None} == (await client.get("/view")).json()
    assert [] == (await st.list_sessions(anonymous=True)).items


async def test_a_slow_tab_does_not_take_the_cookie_of_a_log_in_away(st: AsyncSessionTokens) -> None:
    gate = Gate()
    async with browser(application(st, gate)) as client:
        await client.post("/put", json={"cart": [1]})
        slow = asyncio.create_task(client.get("/slow"))
        await gate.inside.wait()
        await client.post("/login/ann")
        gate.go_on.set()

        assert "set-cookie" not in (await slow).headers
        assert {"fields": {"cart": [1]}, "owner": "ann"} == (await client.get("/view")).json()


async def test_two_tabs_that_change_different_fields_both_survive(st: AsyncSessionTokens) -> None:
    gate = Gate()
    async with browser(application(st, gate)) as client:
        await client.post("/put", json={"a": 1})
        slow = asyncio.create_task(client.get("/slow"))
        await gate.inside.wait()
        await client.post("/append", json="book")
        gate.go_on.set()
        await slow

        assert {"a": 1, "cart": ["book"], "slow": True} == (await client.get("/view")).json()["fields"]
        await client.post("/append", json="pen")
        assert ["book", "pen"] == (await client.get("/view")).json()["fields"]["cart"]


@pytest.mark.parametrize("cookie", ["invalid", "eyJhIjoxfQ==.aZ.x", "sts_" + "0" * 51, "null"])
async def test_a_chosen_or_foreign_cookie_is_never_adopted_and_left_alone(st: AsyncSessionTokens, cookie: str) -> None:
    async with browser(application(st), headers={"cookie": f"session={cookie}"}) as client:
        assert "set-cookie" not in (await client.get("/view")).headers
        assert cookie not in (await client.post("/put", json={"a": 1})).headers["set-cookie"]


async def test_the_middleware_keeps_its_own_session(st: AsyncSessionTokens) -> None:
    async with browser(application(st)) as client:
        await client.get("/scope")

        assert {"kept": 1} == (await client.get("/view")).json()["fields"]


async def test_a_streamed_response_is_settled_once(st: AsyncSessionTokens) -> None:
    async with browser(application(st)) as client:
        answer = await client.get("/stream")

    assert (b"part" * 3, 1) == (answer.content, len(answer.headers.get_list("set-cookie")))
    assert 1 == len((await st.list_sessions(anonymous=True)).items)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://shop.example"}, 200),
        ({"origin": "https://partner.example"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://["}, 403),
        ({"sec-fetch-site": "same-origin", "origin": "http://shop.example"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "same-site", "origin": "http://blog.shop.example"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": "https://partner.example"}, 200),
        ({"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, 403),
    ],
)
async def test_pages_of_other_origins_change_nothing(
    st: AsyncSessionTokens, headers: dict[str, str], status: int
) -> None:
    async with browser(application(st, trusted_origins=["https://partner.example"])) as client:
        await client.post("/put", json={"a": 1})
        answer = await client.post("/put", json={"a": 2}, headers=headers)

        assert status == answer.status_code
        assert {"a": 2 if status == 200 else 1} == (await client.get("/view", headers=headers)).json()["fields"]


async def test_a_page_of_another_origin_logs_nobody_in_without_a_cookie_either(st: AsyncSessionTokens) -> None:
    async with browser(application(st, trusted_origins=["https://partner.example"])) as client:
        evil = await client.post("/login/mallory", headers={"origin": "https://evil.example"})
        harmless = await client.post("/put", json={}, headers={"origin": "https://evil.example"})
        partner = await client.post("/login/ann", headers={"origin": "https://partner.example"})

    assert [(403, False), (200, False), (200, True)] == [
        (answer.status_code, "set-cookie" in answer.headers) for answer in (evil, harmless, partner)
    ]
    assert ["ann"] == [session.owner for session in (await st.list_sessions(anonymous=True)).items]


async def test_behind_a_trusted_proxy_the_host_is_the_one_that_the_browser_called(st: AsyncSessionTokens) -> None:
    said = {"x-forwarded-host": "shop.example", "origin": "http://shop.example"}
    statuses = []
    for trusted in (["127.0.0.1"], []):
        async with browser(application(st, trusted_proxies=trusted), "http://inner:8000") as client:
            statuses.append((await client.post("/login/ann", headers=said)).status_code)

    assert [200, 403] == statuses


async def test_the_cookie_of_a_log_in_that_is_remembered_for_ever_outlives_the_browser() -> None:
    settings = Settings(remember_max_age=None)
    tokens = await AsyncSessionTokens.open("memory://", settings=settings, sweep=False)
    async with tokens, browser(application(tokens)) as client:
        answer = await client.post("/login/ann?remember")

    assert "Max-Age=34560000;" in answer.headers["set-cookie"]  # 400 days, the longest that browsers keep one


@pytest.mark.parametrize(
    ("options", "address", "https"),
    [
        ({}, "127.0.0.1", False),
        ({"trusted_proxies": ["127.0.0.1"]}, "198.51.100.7", True),
        ({"trusted_proxies": ["10.0.0.0/8"]}, "127.0.0.1", False),
    ],
)
async def test_only_a_trusted_proxy_is_believed(
    st: AsyncSessionTokens, options: dict[str, Any], address: str, https: bool
) -> None:
    said = {"x-forwarded-for": "203.0.113.9, 198.51.100.7", "x-forwarded-proto": "https", "user-agent": "Browser/1"}
    async with browser(application(st, **options), headers=said) as client:
        answer = await client.post("/login/ann")

    (session,) = (await st.list_sessions("ann")).items
    assert (address, "Browser/1") == (session.address, session.user_agent)
    assert answer.headers["set-cookie"].startswith("__Host-session=") is https


async def test_an_outage_logs_nobody_out_and_is_over_when_the_store_is_back(
    private_valkey: Callable[..., ValkeyServer],
) -> None:
    server = private_valkey("--appendonly", "yes", "--appendfsync", "always")
    gate = Gate()
    async with (
        await AsyncSessionTokens.open(server.url, pepper=bytes(range(32))) as tokens,
        browser(application(tokens, gate)) as client,
        browser(application(tokens)) as other,
    ):
        await client.post("/login/ann")
        slow = asyncio.create_task(client.get("/slow"))
        await gate.inside.wait()
        server.kill()
        answers = [await client.get("/view"), await client.post("/logout")]
        gate.go_on.set()
        answers.append(await slow)
        anonymous = await other.get("/untouched")
        server.start()
        back = await client.get("/view")
        for _ in range(200):
            if back.status_code != 503:
                break
            await asyncio.sleep(0.05)  # as a browser that is told Retry-After
            back = await client.get("/view")

    assert [(503, "1", None)] * 3 == [
        (answer.status_code, answer.headers.get("retry-after"), answer.headers.get("set-cookie")) for answer in answers
    ]
    assert 200 == anonymous.status_code
    assert {"fields": {}, "owner": "ann"} == back.json()


async def test_a_store_by_url_is_opened_once_and_closed_with_the_application() -> None:
    middleware = SessionMiddleware(application("memory://"), "memory://")
    sent: list[Any] = []
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    opened = await asyncio.gather(*(middleware.store.tokens() for _ in range(5)))
    await middleware({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)

    assert 1 == len(set(map(id, opened)))
    assert ["lifespan.startup.complete", "lifespan.shutdown.complete"] == sent
    assert opened[0]._closed
