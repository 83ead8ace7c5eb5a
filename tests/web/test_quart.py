"""Quart: what views and sockets find in ``quart.session``, and what is sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from quart import Quart, abort, session, websocket

from session_tokens import AsyncSessionTokens, InvalidInput
from session_tokens.clock import ManualClock
from session_tokens.web.quart import (
    QuartSessionTokensInterface,
    current_session,
    login,
    logout,
    logout_everywhere,
)
from tests.helpers.asgi_socket import SocketClosed, quart_socket
from tests.helpers.servers.valkey import ValkeyServer


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000_000)


@pytest.fixture
async def tokens(clock: ManualClock) -> AsyncIterator[AsyncSessionTokens]:
    async with await AsyncSessionTokens.open("memory://", clock=clock, sweep=False) as tokens:
        yield tokens


def made(store: str | AsyncSessionTokens | None, **options: Any) -> Any:
    app = Quart("shop")
    interface: Any = QuartSessionTokensInterface(store, **options)
    app.session_interface = interface

    @app.get("/show")
    async def show() -> dict[str, Any]:
        return {"owner": current_session().owner, "fields": dict(session)}

    @app.get("/untouched")
    async def untouched() -> str:
        return "nothing"

    @app.post("/put")
    async def put() -> str:
        session.setdefault("cart", []).append("pen")
        return "put"

    @app.post("/tuple")
    async def keep_a_tuple() -> str:
        session["pair"] = (1, b"two")
        return "put"

    @app.get("/tuple")
    async def show_the_tuple() -> str:
        return repr(session["pair"])

    @app.post("/permanent")
    async def permanent() -> str:
        session.permanent = True
        session["a"] = 1
        return "put"

    @app.post("/log-in/<name>")
    async def log_in(name: str) -> str:
        login(name)
        return "in"

    @app.post("/user-id/<name>")
    async def set_user_id(name: str) -> str:
        session["user_id"] = name
        return "in"

    @app.post("/no-user-id")
    async def remove_user_id() -> str:
        del session["user_id"]
        return "out"

    @app.post("/log-out")
    async def log_out() -> str:
        logout()
        return "out"

    @app.post("/everywhere")
    async def everywhere() -> dict[str, int]:
        return {"ended": await logout_everywhere(keep_current=False)}

    @app.post("/fail")
    async def fail() -> tuple[str, int]:
        login("ann")
        return "no", 500

    @app.websocket("/socket")
    async def socket() -> None:
        session["from"] = "a socket"
        await websocket.send_json(dict(session))

    return app


def watched(store: AsyncSessionTokens) -> Any:
    """Make the shop with a WebSocket that ends with the log-in."""
    app: Quart = made(store)

    @app.get("/devices")
    async def devices() -> list[str]:
        here = current_session().web
        page = await here.list_devices()
        return [each.owner for each in page.items if each.id == here.id]

    @app.websocket("/watched")
    async def ending() -> None:
        await websocket.send(str(current_session().owner))
        async with current_session().web.closes(websocket):
            await websocket.receive()

    return app


async def told(answer: Any) -> Any:
    assert answer.status_code == 200, await answer.get_data()
    return await answer.get_json()


async def test_a_visit_from_the_first_field_to_the_log_out(tokens: AsyncSessionTokens) -> None:
    client = made(tokens).test_client()
    first = await client.post("/put")
    assert ("no-store", "Cookie") == (first.headers["Cache-Control"], first.headers["Vary"])
    await client.post("/put")
    await client.post("/log-in/ann")
    assert {"owner": "ann", "fields": {"cart": ["pen", "pen"]}} == await told(await client.get("/show"))
    gone = await client.post("/log-out")
    assert "Max-Age=0" in gone.headers["Set-Cookie"]
    assert {"owner": None, "fields": {}} == await told(await client.get("/show"))
    assert [] == (await tokens.list_sessions("ann")).items


async def test_a_view_that_looks_at_no_session_says_nothing_of_one(tokens: AsyncSessionTokens) -> None:
    client = made(tokens).test_client()
    assert not {"Vary", "Set-Cookie"} & set((await client.get("/untouched")).headers.keys())
    assert "Cookie" == (await client.get("/show")).headers["Vary"]
    await client.post("/put")
    assert "Vary" not in (await client.get("/untouched")).headers


async def test_the_types_of_quarts_own_sessions_come_back(tokens: AsyncSessionTokens) -> None:
    client = made(tokens).test_client()
    await client.post("/tuple")

    assert b"(1, b'two')" == await (await client.get("/tuple")).get_data()


async def test_a_permanent_session_has_a_cookie_that_lasts_and_ends_without_use(
    tokens: AsyncSessionTokens, clock: ManualClock
) -> None:
    client = made(tokens).test_client()
    answer = await client.post("/permanent")
    assert "Expires=" in answer.headers["Set-Cookie"]
    clock.advance(30 * 86_400)
    assert 1 == (await told(await client.get("/show")))["fields"]["a"]
    clock.advance(40 * 86_400)
    assert {} == (await told(await client.get("/show")))["fields"]


async def test_the_field_of_an_extension_says_who_is_logged_in(tokens: AsyncSessionTokens) -> None:
    client = made(tokens, owner_key="user_id").test_client()
    await client.post("/user-id/ann")
    assert "ann" == (await told(await client.get("/show")))["owner"]
    await client.post("/no-user-id")
    assert None is (await told(await client.get("/show")))["owner"]
    assert [] == (await tokens.list_sessions("ann")).items


async def test_all_sessions_of_a_user_end_at_once(tokens: AsyncSessionTokens) -> None:
    app = made(tokens)
    phone, laptop = app.test_client(), app.test_client()
    for client in (phone, laptop):
        await client.post("/log-in/ann")
    assert {"ended": 2} == await told(await phone.post("/everywhere"))
    assert [None, None] == [(await told(await each.get("/show")))["owner"] for each in (phone, laptop)]


async def test_a_failing_view_logs_nobody_in_and_a_disabled_owner_is_refused(tokens: AsyncSessionTokens) -> None:
    client = made(tokens).test_client()
    await client.post("/put")
    assert 500 == (await client.post("/fail")).status_code
    await tokens.disable_owner("bob")
    assert 403 == (await client.post("/log-in/bob")).status_code
    assert {"owner": None, "fields": {"cart": ["pen"]}} == await told(await client.get("/show"))


async def test_a_page_of_another_origin_is_refused(tokens: AsyncSessionTokens) -> None:
    client, foreign = made(tokens).test_client(), {"Origin": "https://evil.example"}
    assert 403 == (await client.post("/log-in/ann", headers=foreign)).status_code
    await client.post("/put")
    assert 403 == (await client.post("/put", headers=foreign)).status_code
    trusting = made(tokens, trusted_origins=["https://evil.example"]).test_client()
    assert 200 == (await trusting.post("/log-in/ann", headers=foreign)).status_code


async def test_a_socket_writes_fields_of_a_session_that_is_there(tokens: AsyncSessionTokens) -> None:
    client = made(tokens).test_client()
    async with quart_socket(client, "/socket") as connected:
        assert {"from": "a socket"} == json.loads(await connected.receive())
    assert {} == (await told(await client.get("/show")))["fields"]
    await client.post("/put")
    async with quart_socket(client, "/socket") as connected:
        await connected.receive()
        await asyncio.sleep(0)
    assert {"cart": ["pen"], "from": "a socket"} == (await told(await client.get("/show")))["fields"]


async def test_a_session_transaction_of_the_test_client(tokens: AsyncSessionTokens) -> None:
    client = made(tokens).test_client()
    async with client.session_transaction() as opened:
        opened["cart"] = ["fig"]
    assert {"cart": ["fig"]} == (await told(await client.get("/show")))["fields"]


async def test_the_configuration_names_the_store() -> None:
    app = made(None)
    app.config["SESSION_TOKENS_STORE"] = "memory://"
    client = app.test_client()
    await client.post("/put")
    assert {"cart": ["pen"]} == (await told(await client.get("/show")))["fields"]
    await app.session_interface.close()
    with pytest.raises(InvalidInput, match="SESSION_TOKENS_STORE"):
        await made(None).session_interface.tokens_of(Quart("other"))


async def test_a_store_that_is_away_is_a_503_and_the_cookie_stays(tokens: AsyncSessionTokens) -> None:
    client = made("postgresql://127.0.0.1:1/none?timeout=1", pepper=b"p" * 32).test_client()
    client.set_cookie("localhost", "session", (await tokens.open_session("eve")).secret)
    answer = await client.get("/show")
    assert (503, False) == (answer.status_code, "Set-Cookie" in answer.headers)
    assert "Retry-After" in answer.headers
    assert 200 == (await client.get("/untouched")).status_code


async def test_an_application_with_other_sessions_is_told_so() -> None:
    app = Quart("other")
    app.secret_key = "only here"
    async with app.test_request_context("/"):
        with pytest.raises(InvalidInput, match="session_interface"):
            login("ann")


async def test_a_socket_ends_with_the_log_in(tokens: AsyncSessionTokens) -> None:
    client = watched(tokens).test_client()
    await client.post("/log-in/ann")
    assert await told(await client.get("/devices")) == ["ann"]
    async with quart_socket(client, "/watched") as connected:
        assert await connected.receive() == "ann"
        await client.post("/log-out")
        with pytest.raises(SocketClosed) as ended:
            await connected.receive()

    assert ended.value.code == 4001


async def test_a_socket_whose_browser_leaves_did_what_it_did(tokens: AsyncSessionTokens) -> None:
    app: Quart = made(tokens)

    @app.websocket("/waits/<act>")
    async def wait(act: str) -> None:
        if act == "out":
            logout()
            session["message"] = "bye"
        else:
            session["from"] = "a socket"
        await websocket.send("done")
        await websocket.receive()

    client = app.test_client()
    await client.post("/log-in/ann")
    for act, owner, fields in (("put", "ann", {"from": "a socket"}), ("out", None, {})):
        async with quart_socket(client, f"/waits/{act}") as connected:
            await connected.receive()
        for _ in range(1000):  # it is settled beside what is asked next
            if await told(await client.get("/show")) == {"owner": owner, "fields": fields}:
                break
            await asyncio.sleep(0.01)
        else:
            raise AssertionError("it was not settled")
    assert (await tokens.list_sessions(anonymous=True)).items == []


async def test_nobody_logs_in_or_changes_over_a_socket_which_cannot_set_the_cookie(tokens: AsyncSessionTokens) -> None:
    app: Quart = made(tokens)

    @app.websocket("/as-bob")
    async def as_bob() -> None:
        login("bob")
        await websocket.send("done")

    client = app.test_client()
    await client.post("/log-in/ann")
    async with quart_socket(client, "/as-bob") as connected:
        await connected.receive()
        await asyncio.sleep(0)
    assert [each.owner for each in (await tokens.list_sessions(anonymous=True)).items] == ["ann"]
    assert (await told(await client.get("/show")))["owner"] == "ann"


@pytest.mark.parametrize("is_accepted", [True, False])
async def test_a_socket_that_is_refused_logs_nobody_in_either(tokens: AsyncSessionTokens, is_accepted: bool) -> None:
    """What ``abort`` answers never sets a cookie: an accepted socket has had its answer."""
    app: Quart = made(tokens)

    @app.websocket("/as-bob")
    async def as_bob() -> None:
        if is_accepted:
            await websocket.accept()
        login("bob")
        abort(403)

    client = app.test_client()
    await client.post("/log-in/ann")
    async with quart_socket(client, "/as-bob") as connected:
        with pytest.raises(SocketClosed):
            await connected.receive()
    assert [each.owner for each in (await tokens.list_sessions(anonymous=True)).items] == ["ann"]
    assert (await told(await client.get("/show")))["owner"] == "ann"


async def test_an_accepted_socket_that_fails_later_writes_what_it_changed(tokens: AsyncSessionTokens) -> None:
    app: Quart = made(tokens)

    @app.websocket("/put/<int:status>")
    async def put_and_refuse(status: int) -> None:
        await websocket.accept()
        session["status"] = status
        abort(status)

    client = app.test_client()
    await client.post("/log-in/ann")
    for status in (403, 500):
        async with quart_socket(client, f"/put/{status}") as connected:
            with pytest.raises(SocketClosed):
                await connected.receive()
    assert (await told(await client.get("/show")))["fields"] == {"status": 403}


@pytest.mark.server
@pytest.mark.parametrize("has_answer", [True, False])
async def test_what_a_socket_could_not_write_is_said_in_the_log(
    private_valkey: Callable[[], ValkeyServer], caplog: pytest.LogCaptureFixture, has_answer: bool
) -> None:
    server = private_valkey()
    async with await AsyncSessionTokens.open(server.url, pepper=bytes(range(32)), sweep=False) as tokens:
        app: Quart = made(tokens)

        @app.websocket("/outage")
        async def outage() -> None:
            session["from"] = "a socket"
            await websocket.send("done")
            server.kill()
            if has_answer:
                abort(403)

        client = app.test_client()
        await client.post("/log-in/ann")
        async with quart_socket(client, "/outage") as connected:
            await connected.receive()
            with pytest.raises(SocketClosed):
                await connected.receive()
    assert "changed in its session could not be written" in caplog.text
