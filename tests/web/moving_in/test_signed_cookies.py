"""Users move in from the signed cookies of Flask and Starlette, which write them here themselves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import flask
import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware.sessions import SessionMiddleware as StarlettesOwn
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from session_tokens import AsyncSessionTokens, InvalidInput, SessionTokens, Settings
from session_tokens.web.asgi import SessionMiddleware
from session_tokens.web.flask import SessionTokensInterface, logout
from session_tokens.web.moving_in.peers import FlaskCookie, StarletteCookie

KEY, FORMER_KEY = "the key of the day", "the key of yesterday"
MOMENT = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


def shop(interface: Any = None, *, key: str = KEY) -> flask.Flask:
    """The same application, with Flask's own sessions or with ours."""
    app = flask.Flask("shop")
    app.secret_key = key
    if interface is not None:
        app.session_interface = interface

    @app.get("/log-in/<name>")
    def log_in(name: str) -> str:
        flask.session.permanent = True
        flask.session.update(_user_id=name, cart=[1, 2], when=MOMENT, what=UUID(int=7), pair=(1, 2), raw=b"\x00")
        return "in"

    @app.get("/visit")
    def visit() -> str:
        flask.session["cart"] = [3]
        return "seen"

    @app.get("/large")
    def large() -> str:
        flask.session["_user_id"] = "alice"
        flask.session["text"] = "many words " * 60
        return "seen"

    @app.get("/show")
    def show() -> dict[str, Any]:
        return {"user": flask.session.get("_user_id"), "fields": {name: repr(v) for name, v in flask.session.items()}}

    @app.get("/untouched")
    def untouched() -> str:
        return "nothing"

    @app.post("/log-out")
    def leave() -> str:
        logout()
        return "out"

    return app


@pytest.fixture
def st() -> Iterator[SessionTokens]:
    with SessionTokens.open() as tokens:
        yield tokens


def ours(st: SessionTokens, **options: Any) -> flask.Flask:
    peer = FlaskCookie([KEY, FORMER_KEY], **options)
    return shop(SessionTokensInterface(st, owner_key="_user_id", migrate_from=peer))


def cookie_from(app: flask.Flask, path: str) -> str:
    """Return the session cookie that a page of an application sets."""
    browser = app.test_client()
    browser.get(path)
    cookie = browser.get_cookie("session")
    assert cookie is not None
    return cookie.value


def with_cookie(app: flask.Flask, value: str) -> Any:
    browser = app.test_client()
    browser.set_cookie("session", value)
    return browser


def test_a_user_of_flask_goes_on_with_all_that_was_in_the_session(st: SessionTokens) -> None:
    before = shop()
    browser = with_cookie(ours(st), cookie_from(before, "/log-in/alice"))
    shown = browser.get("/show")
    (session,) = st.list_sessions("alice")
    cookie = browser.get_cookie("session")

    assert shown.json["user"] == "alice"
    assert shown.json["fields"] == with_cookie(before, cookie_from(before, "/log-in/alice")).get("/show").json["fields"]
    assert cookie is not None
    assert st.verify_session(cookie.value) == session
    assert browser.get("/show").json == shown.json
    assert len(st.list_sessions("alice")) == 1


def test_a_page_that_looks_at_no_session_moves_nobody_needlessly(st: SessionTokens) -> None:
    app = ours(st)
    app.config["SESSION_REFRESH_EACH_REQUEST"] = False
    answer = with_cookie(app, cookie_from(shop(), "/log-in/alice")).get("/untouched")

    assert "Set-Cookie" not in answer.headers
    assert [] == list(st.list_sessions())


def test_a_visitor_keeps_the_cart(st: SessionTokens) -> None:
    shown = with_cookie(ours(st), cookie_from(shop(), "/visit")).get("/show").json

    assert {"user": None, "fields": {"cart": "[3]"}} == shown
    assert [] == list(st.list_sessions())
    assert 1 == len(st.list_sessions(anonymous=True))


def test_a_compressed_cookie_and_one_of_a_former_key_are_read(st: SessionTokens) -> None:
    compressed = cookie_from(shop(), "/large")
    former = cookie_from(shop(key=FORMER_KEY), "/log-in/bob")

    assert compressed.startswith(".")
    assert "alice" == with_cookie(ours(st), compressed).get("/show").json["user"]
    assert "bob" == with_cookie(ours(st), former).get("/show").json["user"]


def test_who_logs_out_is_not_brought_back_by_the_cookie_from_before(st: SessionTokens) -> None:
    old = cookie_from(shop(), "/log-in/alice")
    app = ours(st)
    browser = with_cookie(app, old)
    browser.get("/show")
    browser.post("/log-out")

    assert with_cookie(app, old).get("/show").json == {"user": None, "fields": {}}
    assert [] == list(st.list_sessions("alice"))


def test_another_spelling_of_the_same_signature_is_the_same_cookie(st: SessionTokens) -> None:
    """27 characters of base64 hold two bits more than a signature: four texts, one cookie."""
    old = cookie_from(shop(), "/log-in/alice")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = old[:-1] + alphabet[alphabet.index(old[-1]) ^ 1]
    app = ours(st)
    with_cookie(app, old).get("/show")
    browser = with_cookie(app, other)

    assert other != old
    assert browser.get("/show").json["user"] == "alice"
    assert 1 == len(st.list_sessions("alice"))


def test_two_tabs_that_bring_it_at_once_get_one_session(st: SessionTokens) -> None:
    old = cookie_from(shop(), "/log-in/alice")
    app = ours(st)
    tabs = [with_cookie(app, old) for _ in range(3)]

    assert ["alice"] * 3 == [tab.get("/show").json["user"] for tab in tabs]
    assert 1 == len({tab.get_cookie("session").value for tab in tabs})
    assert 1 == len(st.list_sessions("alice"))


@pytest.mark.parametrize("where", [0, 5, -1])
def test_a_forged_cookie_is_nobodys(st: SessionTokens, where: int) -> None:
    old = bytearray(cookie_from(shop(), "/log-in/alice"), "ascii")
    old[where] ^= 0x04
    foreign = cookie_from(shop(key="another key"), "/log-in/alice")
    for forged in (old.decode("ascii"), foreign, "a.b.c", "...", ".", "x" * 4_000):
        assert with_cookie(ours(st), forged).get("/show").json["user"] is None
    assert [] == list(st.list_sessions(anonymous=True))


def test_a_cookie_that_is_too_old_is_nobodys_and_a_younger_one_ends_when_it_would_have(st: SessionTokens) -> None:
    app = shop()
    signer = flask.sessions.SecureCookieSessionInterface().get_signing_serializer(app)
    assert signer is not None
    fields = {"_user_id": "alice"}
    signed_at = int(time.time()) - 80
    cookie = made_at(signer, fields, signed_at)

    assert with_cookie(ours(st, lifetime=60), cookie).get("/show").json["user"] is None
    assert with_cookie(ours(st, lifetime=100), cookie).get("/show").json["user"] == "alice"
    (session,) = st.list_sessions("alice")
    assert 10 < (session.time_left() or 0) <= 20


def made_at(signer: Any, fields: dict[str, Any], at_s: int) -> str:
    class Earlier(signer.signer):  # type: ignore[misc]
        def get_timestamp(self) -> int:
            return at_s

    signer.signer = Earlier
    text: str = signer.dumps(fields)
    return text


def test_flags_alone_are_no_session(st: SessionTokens) -> None:
    app = shop()
    signer = flask.sessions.SecureCookieSessionInterface().get_signing_serializer(app)
    assert signer is not None
    with_cookie(ours(st), signer.dumps({"_permanent": True})).get("/show")

    assert [] == list(st.list_sessions(anonymous=True))


def test_a_permanent_session_is_given_the_lifetime_of_permanent_ones(st: SessionTokens) -> None:
    app = ours(st)
    app.permanent_session_lifetime = timedelta(days=5)
    browser = with_cookie(app, cookie_from(shop(), "/log-in/alice"))
    answer = browser.get("/show")
    (session,) = st.list_sessions("alice")

    assert (5 * 86_400, None) == (session.idle_timeout, session.max_age)
    assert "Max-Age" in answer.headers["Set-Cookie"] or "Expires" in answer.headers["Set-Cookie"]


def test_when_moving_in_is_over_no_cookie_leads_anywhere(st: SessionTokens) -> None:
    first, second = (cookie_from(shop(), f"/log-in/{name}") for name in ("alice", "bob"))
    app = ours(st)
    browser = with_cookie(app, first)
    browser.get("/show")

    assert st.finish_moving_in() is True
    assert st.finish_moving_in() is False
    assert with_cookie(app, second).get("/show").json["user"] is None
    assert with_cookie(app, first).get("/show").json["user"] is None
    assert browser.get("/show").json["user"] == "alice"


def test_the_cookie_leads_to_its_session_for_ten_minutes(clock: Any) -> None:
    with SessionTokens.open(clock=clock) as st:
        issued = st.move_in("cookie", "alice")
        assert issued is not None
        clock.advance(600)
        again = st.move_in("cookie", "alice")
        clock.advance(ms=1)
        late = st.move_in("cookie", "alice")

    assert again is not None
    assert again.secret == issued.secret
    assert late is None


def test_a_disabled_user_does_not_move_in(st: SessionTokens) -> None:
    st.disable_owner("alice")

    assert with_cookie(ours(st), cookie_from(shop(), "/log-in/alice")).get("/show").json["user"] is None


def test_a_page_of_another_origin_moves_nobody(st: SessionTokens) -> None:
    browser = with_cookie(ours(st), cookie_from(shop(), "/log-in/alice"))
    answer = browser.post("/log-out", headers={"Origin": "https://elsewhere.example"})

    assert 403 == answer.status_code
    assert [] == list(st.list_sessions())


@pytest.mark.parametrize("options", [{"secret_key": ""}, {"secret_key": []}, {"secret_key": "k", "lifetime": None}])
def test_what_can_never_be_right_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        FlaskCookie(**options)


@pytest.mark.parametrize("wrong", ["django.contrib.sessions.backends.db", 5, [5]])
def test_what_is_no_peer_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="migrate_from"):
        SessionTokensInterface("memory://", migrate_from=wrong)


# --- Starlette ---


def starlette_app(middleware: Any, **options: Any) -> Starlette:
    async def log_in(request: Request) -> JSONResponse:
        request.session.update(user_id=request.query_params["name"], cart=[1, {"n": None}])
        return JSONResponse({})

    async def show(request: Request) -> JSONResponse:
        return JSONResponse(dict(request.session))

    app = Starlette(routes=[Route("/log-in", log_in), Route("/show", show)])
    app.add_middleware(middleware, **options)
    return app


def browser_of(app: Starlette, cookie: str | None = None, *, url: str = "http://shop.test") -> httpx.AsyncClient:
    cookies = httpx.Cookies()
    if cookie is not None:
        cookies.set("session", cookie, domain="shop.test", path="/")  # as the site's own, which ours may replace
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=url, cookies=cookies)


async def starlettes_cookie(name: str = "alice") -> str:
    async with browser_of(starlette_app(StarlettesOwn, secret_key=KEY)) as browser:
        await browser.get(f"/log-in?name={name}")
        return browser.cookies["session"]


@pytest.mark.parametrize("url", ["http://shop.test", "https://shop.test"])
async def test_a_user_of_starlette_goes_on(url: str) -> None:
    """On https our cookie has a name of its own, and the one from before is still read."""
    async with await AsyncSessionTokens.open() as st:
        peer = StarletteCookie(KEY, owner="user_id")
        app = starlette_app(SessionMiddleware, store=st, migrate_from=peer)
        async with browser_of(app, await starlettes_cookie(), url=url) as browser:
            first = await browser.get("/show")
            second = await browser.get("/show")
        (session,) = await st.list_sessions("alice")

    assert {"user_id": "alice", "cart": [1, {"n": None}]} == first.json() == second.json()
    assert first.headers["set-cookie"].startswith("__Host-session=" if url.startswith("https") else "session=")
    assert "set-cookie" not in second.headers
    assert dict(session.data) == first.json()


async def test_a_cookie_of_starlette_that_was_moved_is_not_taken_again_once_its_session_is_over() -> None:
    async with await AsyncSessionTokens.open() as st:
        app = starlette_app(SessionMiddleware, store=st, migrate_from=[StarletteCookie(KEY, owner="user_id")])
        cookie = await starlettes_cookie()
        async with browser_of(app, cookie) as browser:
            await browser.get("/show")
        await st.destroy_sessions("alice")
        async with browser_of(app, cookie) as browser:
            again = await browser.get("/show")

        assert {} == again.json()
        assert [] == list(await st.list_sessions("alice"))


async def test_the_age_of_the_middleware_holds_for_those_who_move_in() -> None:
    async with await AsyncSessionTokens.open(settings=Settings(max_age=None)) as st:
        peer = StarletteCookie(KEY, owner=lambda fields: fields["user_id"], lifetime=10_000)
        app = starlette_app(SessionMiddleware, store=st, migrate_from=peer, max_age=500)
        async with browser_of(app, await starlettes_cookie()) as browser:
            answer = await browser.get("/show")
        (session,) = await st.list_sessions("alice")

    assert 500 == session.max_age
    assert "Max-Age=" in answer.headers["set-cookie"]
