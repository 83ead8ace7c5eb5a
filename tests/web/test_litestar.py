"""Litestar: our configuration wherever one of Litestar's own sessions can stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from litestar import Litestar, MediaType, Request, WebSocket, get, post, websocket
from litestar.connection import ASGIConnection
from litestar.middleware.session.base import BaseBackendConfig
from litestar.security.session_auth import SessionAuth
from litestar.testing import TestClient

from session_tokens import AsyncSessionTokens, InvalidInput, SessionTokens
from session_tokens.clock import ManualClock
from session_tokens.web.litestar import (
    SessionTokensConfig,
    current_session,
    login,
    logout,
    require_recent,
    require_session,
)

Asked = Request[Any, Any, Any]


@dataclass
class Cart:
    """A model that is put in the place of the session."""

    items: list[str]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000_000)


@pytest.fixture
def tokens(clock: ManualClock) -> Iterator[SessionTokens]:
    with SessionTokens.open("memory://", clock=clock, sweep=False) as tokens:
        yield tokens


@pytest.fixture
def config(tokens: SessionTokens) -> SessionTokensConfig:
    return SessionTokensConfig(AsyncSessionTokens(tokens.store, tokens.settings))


@get("/show", sync_to_thread=False)
def show(request: Asked) -> dict[str, Any]:
    return {"owner": current_session(request).owner, "fields": dict(request.session)}


@get("/untouched", sync_to_thread=False)
def untouched() -> str:
    return "nothing"


@post("/put", sync_to_thread=False)
def put(request: Asked) -> None:
    request.session.setdefault("cart", []).append("pen")


@post("/set", sync_to_thread=False)
def set_model(request: Asked) -> None:
    request.set_session(Cart(["pear"]))


@post("/clear", sync_to_thread=False)
def clear(request: Asked) -> None:
    request.clear_session()


@post("/log-in", sync_to_thread=False)
def log_in(request: Asked) -> None:
    login(request, "ann")


@post("/log-out", sync_to_thread=False)
def log_out(request: Asked) -> None:
    logout(request)


@get("/mine", guards=[require_session], sync_to_thread=False)
def mine(request: Asked) -> str:
    return str(current_session(request).owner)


@get("/secret", guards=[require_recent(minutes=10)], sync_to_thread=False)
def secret() -> str:
    return "secret"


@get("/skipped", skip_session=True, sync_to_thread=False, media_type=MediaType.TEXT)
def skipped(request: Asked) -> str:
    return str("session" in request.scope)


@websocket("/socket")
async def socket(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    socket.session["from"] = "a socket"
    await socket.send_json(dict(socket.session))
    await socket.close()


VIEWS: list[Any] = [
    show, untouched, put, set_model, clear, log_in, log_out, mine, secret, skipped, socket,
]  # fmt: skip


@pytest.fixture
def client(config: SessionTokensConfig) -> Iterator[TestClient[Litestar]]:
    app = Litestar(VIEWS, middleware=[config.middleware], on_shutdown=[config.close], openapi_config=None)
    with TestClient(app, base_url="http://shop.example", session_config=config) as client:
        yield client


def test_a_visit_from_the_first_field_to_the_log_out(client: TestClient[Litestar], tokens: SessionTokens) -> None:
    first = client.post("/put")
    assert ("no-store", "Cookie") == (first.headers["Cache-Control"], first.headers["Vary"])
    client.post("/put")
    before = dict(client.cookies)
    client.post("/log-in")
    assert {"owner": "ann", "fields": {"cart": ["pen", "pen"]}} == client.get("/show").json()
    assert before != dict(client.cookies)
    client.post("/log-out")
    assert ({"owner": None, "fields": {}}, {}) == (client.get("/show").json(), dict(client.cookies))
    assert [] == tokens.list_sessions("ann").items


def test_a_view_that_looks_at_no_session_says_nothing_of_one(client: TestClient[Litestar]) -> None:
    assert not {"vary", "set-cookie"} & set(client.get("/untouched").headers)
    assert "False" == client.get("/skipped").text


def test_a_model_and_nothing_may_take_the_place_of_the_session(
    client: TestClient[Litestar], tokens: SessionTokens
) -> None:
    client.post("/put")
    client.post("/log-in")
    client.post("/set")
    assert {"owner": "ann", "fields": {"items": ["pear"]}} == client.get("/show").json()
    client.post("/clear")
    assert {"owner": None, "fields": {}} == client.get("/show").json()
    assert [] == tokens.list_sessions("ann").items


def test_guards_ask_for_a_log_in_and_for_a_recent_one(client: TestClient[Litestar], clock: ManualClock) -> None:
    assert [401, 401] == [client.get(path).status_code for path in ("/mine", "/secret")]
    client.post("/log-in")
    assert ["ann", "secret"] == [client.get(path).text for path in ("/mine", "/secret")]
    clock.advance(timedelta(minutes=11).total_seconds())
    refused = client.get("/secret")
    assert ("ann", 401) == (client.get("/mine").text, refused.status_code)
    assert "max_age=600" in refused.headers["WWW-Authenticate"]


def test_a_socket_writes_fields_of_a_session_that_is_there(client: TestClient[Litestar]) -> None:
    client.post("/put")
    with client.websocket_connect("/socket") as connected:
        assert {"cart": ["pen"], "from": "a socket"} == connected.receive_json()

    assert {"cart": ["pen"], "from": "a socket"} == client.get("/show").json()["fields"]


def test_the_test_client_of_litestar_sees_and_sets_the_session(client: TestClient[Litestar]) -> None:
    client.set_session_data({"cart": ["fig"]})
    assert {"cart": ["fig"]} == client.get("/show").json()["fields"]
    client.post("/put")
    assert {"cart": ["fig", "pen"]} == client.get_session_data()


@pytest.mark.parametrize(("before", "after"), [(1, True), (0, False), (1, 1.0), ([1], [True])])
def test_what_is_set_is_another_value_of_another_type_too(
    client: TestClient[Litestar], before: object, after: object
) -> None:
    for value in (before, after):
        client.set_session_data({"value": value})

    found = client.get("/show").json()["fields"]["value"]
    assert repr(found) == repr(after)


def test_session_auth_takes_the_configuration(config: SessionTokensConfig, tokens: SessionTokens) -> None:
    async def user_of(session: dict[str, Any], _: ASGIConnection[Any, Any, Any, Any]) -> str | None:
        return session.get("name")

    @post("/in", exclude_from_auth=True, sync_to_thread=False)
    def enter(request: Asked) -> None:
        request.set_session({"name": "ann"})

    @get("/who", sync_to_thread=False)
    def who(request: Asked) -> str:
        return str(request.user)

    auth: SessionAuth[Any, Any] = SessionAuth(session_backend_config=config, retrieve_user_handler=user_of)
    app = Litestar([enter, who], on_app_init=[auth.on_app_init])
    with TestClient(app, base_url="http://shop.example") as client:
        assert 401 == client.get("/who").status_code
        client.post("/in")
        assert "ann" == client.get("/who").text
        tokens.destroy_session(tokens.list_sessions(anonymous=True).items[0].id)
        assert 401 == client.get("/who").status_code


def test_a_store_that_is_away_is_a_503_and_the_cookie_stays(tokens: SessionTokens) -> None:
    away = SessionTokensConfig("postgresql://127.0.0.1:1/none?timeout=1", pepper=b"p" * 32)
    app = Litestar(VIEWS, middleware=[away.middleware], openapi_config=None)
    with TestClient(app, base_url="http://shop.example") as client:
        client.cookies.set("session", tokens.open_session("eve").secret)
        answer = client.get("/show")

    assert (503, "1", False) == (answer.status_code, answer.headers["Retry-After"], "set-cookie" in answer.headers)


def test_arguments_that_can_never_be_right_are_refused(tokens: SessionTokens) -> None:
    with pytest.raises(InvalidInput, match="httponly"):
        SessionTokensConfig("memory://", httponly=False)
    with pytest.raises(InvalidInput):
        SessionTokensConfig("memory://", trusted_origins=["shop"])
    assert issubclass(SessionTokensConfig, BaseBackendConfig)
    assert "pepper" not in repr(SessionTokensConfig("memory://", pepper=b"p" * 32))


def test_an_application_without_it_is_told_so() -> None:
    scope: Any = {"type": "http", "headers": [], "path": "/"}
    with pytest.raises(RuntimeError, match="middleware"):
        current_session(Request(scope))


def test_a_store_in_this_process_that_two_event_loops_use_is_closed_by_either() -> None:
    config = SessionTokensConfig("memory://")
    apps = [
        Litestar(VIEWS, middleware=[config.middleware], on_shutdown=[config.close], openapi_config=None)
        for _ in range(2)
    ]
    with TestClient(apps[0], base_url="http://shop.example") as first, TestClient(apps[1]) as second:
        first.post("/put")
        assert {"owner": None, "fields": {}} == second.get("/show").json()


def test_a_page_in_litestars_cache_hands_nobody_the_cookie_of_who_asked_first(
    tokens: SessionTokens, clock: ManualClock
) -> None:
    @get("/first", cache=60, sync_to_thread=False)
    def first(request: Asked) -> str:
        request.session["seen"] = True
        return "seen"

    @get("/news", cache=60, sync_to_thread=False)
    def news() -> str:
        return "for everybody"

    store = AsyncSessionTokens(tokens.store, tokens.settings)
    config = SessionTokensConfig(store, rotate_every=600)
    app = Litestar([first, news, show, log_in], middleware=[config.middleware])
    with TestClient(app) as browser:
        assert browser.get("/first").cookies
        browser.post("/log-in")
        clock.advance(600)
        assert browser.get("/news").cookies
        assert browser.get("/show").json()["owner"] == "ann"
        browser.cookies.clear()

        assert [browser.get("/first").text, browser.get("/news").text] == ["seen", "for everybody"]
        assert dict(browser.cookies) == {}
        assert browser.get("/show").json()["owner"] is None
