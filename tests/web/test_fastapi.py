"""A FastAPI application with log-in, step-up, devices, tokens and a WebSocket, as its users would write it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from inspect import iscoroutinefunction
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Request, WebSocket
from fastapi.dependencies.utils import get_dependant

from session_tokens import AsyncSessionTokens, InvalidInput, Token
from session_tokens.testing import ManualClock
from session_tokens.web.asgi import AsyncWebSession, SessionMiddleware
from session_tokens.web.fastapi import (
    current_session,
    login,
    logout,
    require_recent,
    require_session,
    require_token,
    sessions_router,
)
from tests.helpers.servers.valkey import ValkeyServer

Client = httpx.AsyncClient


@pytest.fixture
async def st(clock: ManualClock) -> AsyncIterator[AsyncSessionTokens]:
    async with await AsyncSessionTokens.open("memory://", clock=clock, sweep=False) as tokens:
        yield tokens


def shop(st: AsyncSessionTokens) -> FastAPI:
    app = FastAPI()
    app.add_middleware(SessionMiddleware, store=st)
    app.include_router(sessions_router(prefix="/account/sessions", recent=require_recent(minutes=10)))

    @app.post("/login/{owner}")
    async def log_in(request: Request, owner: str, remember: bool = False) -> str:
        await login(request, owner=owner, remember=remember)
        return "welcome"

    @app.post("/logout")
    async def log_out(request: Request) -> str:
        await logout(request)
        return "bye"

    @app.get("/me")
    async def me(session: Annotated[AsyncWebSession, Depends(require_session)]) -> str | None:
        return session.owner

    @app.get("/who")
    def who(session: Annotated[AsyncWebSession, Depends(current_session)]) -> str | None:
        return session.owner

    @app.post("/cart/{book}")
    async def put(book: str, session: Annotated[AsyncWebSession, Depends(current_session)]) -> list[str]:
        session.setdefault("cart", []).append(book)
        cart: list[str] = session["cart"]
        return cart

    @app.get("/ticket")
    async def ticket(token: Annotated[Token, Depends(require_token)]) -> Any:
        return {"value": token.value, "owner": token.owner}

    @app.websocket("/ws")
    async def socket(socket: WebSocket, session: Annotated[AsyncWebSession, Depends(require_session)]) -> None:
        await socket.accept()
        await socket.send_text(str(session.owner))
        session["seen"] = True
        await socket.close()

    return app


def browser(app: FastAPI, **headers: str) -> Client:
    return Client(transport=httpx.ASGITransport(app), base_url="http://shop.example", headers=headers)


async def test_log_in_and_out(st: AsyncSessionTokens) -> None:
    async with browser(shop(st)) as client:
        before = await client.get("/me")
        await client.post("/cart/emma")
        await client.post("/login/ann")
        assert "ann" == (await client.get("/me")).json() == (await client.get("/who")).json()
        assert ["emma", "persuasion"] == (await client.post("/cart/persuasion")).json()
        await client.post("/logout")
        after = await client.get("/who")

    assert (401, "Session") == (before.status_code, before.headers["www-authenticate"])
    assert (None, {}) == (after.json(), dict(client.cookies))


async def test_an_answer_that_depends_on_who_asks_says_so(st: AsyncSessionTokens) -> None:
    async with browser(shop(st)) as client:
        answers = [await client.get("/who"), await client.get("/me")]

    assert ["Cookie", "Cookie"] == [answer.headers["vary"] for answer in answers]


async def test_what_is_at_stake_wants_a_recent_log_in(st: AsyncSessionTokens, clock: ManualClock) -> None:
    async with browser(shop(st)) as client:
        await client.post("/login/ann")
        assert 200 == (await client.delete("/account/sessions")).status_code
        clock.advance(601)
        stale = await client.delete("/account/sessions")
        await client.post("/login/ann")
        fresh = await client.delete("/account/sessions")

    assert (401, 200) == (stale.status_code, fresh.status_code)
    with pytest.raises(InvalidInput):
        require_recent(5, minutes=1)


async def test_users_see_their_devices_and_end_them(st: AsyncSessionTokens) -> None:
    app = shop(st)
    async with browser(app, **{"user-agent": "Phone"}) as phone, browser(app, **{"user-agent": "Laptop"}) as laptop:
        await phone.post("/login/ann")
        await laptop.post("/login/ann")
        listed = (await laptop.get("/account/sessions")).json()["devices"]
        assert [("Phone", False), ("Laptop", True)] == [(device["user_agent"], device["current"]) for device in listed]

        assert {"ended": 1} == (await laptop.delete(f"/account/sessions/{listed[0]['id']}")).json()
        assert 401 == (await phone.get("/me")).status_code
        assert 404 == (await laptop.delete(f"/account/sessions/{listed[0]['id']}")).status_code
        await phone.post("/login/ann")
        assert {"ended": 1} == (await laptop.delete("/account/sessions")).json()
        assert [401, 200] == [(await each.get("/me")).status_code for each in (phone, laptop)]
        ended = await laptop.delete(f"/account/sessions/{listed[1]['id']}")
        assert "Max-Age=0" in ended.headers["set-cookie"]
        assert 401 == (await laptop.get("/account/sessions")).status_code


async def test_nobody_ends_what_is_another_users(st: AsyncSessionTokens) -> None:
    ann = await st.open_session("ann")
    async with browser(shop(st)) as client:
        await client.post("/login/ben")
        for id in (ann.id, ann.secret, "ses_x", "%20"):
            assert 404 == (await client.delete(f"/account/sessions/{id}")).status_code
        assert {"ended": 0} == (await client.delete("/account/sessions")).json()
        assert 422 == (await client.get("/account/sessions?after=junk")).status_code
    assert await st.get_session(ann.id) is not None


async def test_who_is_logged_out_meanwhile_ends_nothing(st: AsyncSessionTokens) -> None:
    app = shop(st)

    @app.delete("/late")
    async def late(session: Annotated[AsyncWebSession, Depends(require_session)]) -> int:
        await st.destroy_sessions("ann")
        return await session.end_others()

    async with browser(app) as client:
        await client.post("/login/ann")
        answer = await client.delete("/late")

    assert (200, 0) == (answer.status_code, answer.json())


async def test_a_token_opens_what_it_is_for(st: AsyncSessionTokens) -> None:
    session = await st.open_session("ann")
    issued = await st.issue_token(session.id, "row 7", transferable=True)
    async with browser(shop(st)) as client:

        async def bearing(secret: str) -> httpx.Response:
            return await client.get("/ticket", headers={"authorization": f"Bearer {secret}"})

        opened = await bearing(issued.secret)
        refused = [await client.get("/ticket"), await bearing(session.secret), await bearing(issued.id)]
        await st.transfer_token(issued.id, giver="ann", receiver="ben")
        refused.append(await bearing(issued.secret))

    assert {"value": "row 7", "owner": "ann"} == opened.json()
    assert [(401, "Bearer"), *[(401, 'Bearer error="invalid_token"')] * 3] == [
        (answer.status_code, answer.headers["www-authenticate"]) for answer in refused
    ]


async def handshake(app: FastAPI, cookie: str, origin: str = "http://shop.example") -> list[Any]:
    """Open a WebSocket as a server does, and return what the application sends."""
    sent: list[Any] = []
    headers = [(b"host", b"shop.example"), (b"cookie", cookie.encode()), (b"origin", origin.encode())]
    scope = {
        "type": "websocket", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "ws", "path": "/ws",
        "raw_path": b"/ws", "query_string": b"", "root_path": "", "headers": headers, "client": ("192.0.2.1", 1),
        "server": ("shop.example", 80), "subprotocols": [], "state": {}, "extensions": {},
    }  # fmt: skip

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append((message["type"], message.get("text", message.get("code"))))

    await app(scope, receive, send)
    return sent


async def test_a_socket_is_opened_for_who_is_logged_in_and_for_no_other_origin(st: AsyncSessionTokens) -> None:
    app = shop(st)
    session = await st.open_session("ann")
    cookie = f"session={session.secret}"

    assert [("websocket.accept", None), ("websocket.send", "ann"), ("websocket.close", 1000)] == [
        *(await handshake(app, cookie))
    ]
    assert {"seen": True} == dict((await st.get_session(session.id) or session.session).data)
    assert [("websocket.close", 1008)] == await handshake(app, "session=unknown")
    assert [("websocket.close", 1008)] == await handshake(app, cookie, "https://evil.example")


async def test_a_store_that_goes_away_within_a_view_is_a_503(private_valkey: Callable[..., ValkeyServer]) -> None:
    server = private_valkey()
    async with (
        await AsyncSessionTokens.open(server.url, pepper=bytes(range(32)), sweep=False) as tokens,
        browser(shop(tokens)) as client,
    ):
        session = await tokens.open_session("ann")
        issued = await tokens.issue_token(session.id)
        server.kill()
        answer = await client.get("/ticket", headers={"authorization": f"Bearer {issued.secret}"})

    assert (503, "1") == (answer.status_code, answer.headers["retry-after"])


async def test_without_the_middleware_the_error_says_what_to_add() -> None:
    app = FastAPI()

    @app.get("/")
    def view(session: Annotated[AsyncWebSession, Depends(current_session)]) -> None: ...

    async with browser(app) as client:
        with pytest.raises(RuntimeError, match="add_middleware"):
            await client.get("/")


def test_its_description_can_be_made(st: AsyncSessionTokens) -> None:
    paths = shop(st).openapi()["paths"]

    assert {"get", "delete"} == set(paths["/account/sessions"])


def test_its_description_says_which_views_ask_for_a_session_or_a_token(st: AsyncSessionTokens) -> None:
    described = shop(st).openapi()
    asked = {path: acts.get("get", {}).get("security") for path, acts in described["paths"].items()}

    assert asked["/account/sessions"] == asked["/me"] == [{"Session": []}]
    assert {"HTTPBearer": []} in [scheme for each in asked.values() for scheme in each or ()]
    assert described["components"]["securitySchemes"]["Session"]["in"] == "cookie"


def test_its_description_costs_no_request_a_thread() -> None:
    asked, dependencies = [], [get_dependant(path="/", call=require_session)]
    while dependencies:
        each = dependencies.pop()
        dependencies += each.dependencies
        asked.append(each.call)
    waited_for_in_threads = {
        call for call in asked if not (iscoroutinefunction(call) or iscoroutinefunction(type(call).__call__))
    }

    assert len(asked) > 3 and waited_for_in_threads == {require_session, current_session}
