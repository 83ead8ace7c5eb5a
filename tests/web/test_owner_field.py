"""Applications that keep who is logged in, in a field of the session: as most do that come from a framework's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient as AiohttpClient
from aiohttp.test_utils import TestServer
from aiohttp_session import get_session, new_session
from aiohttp_session import setup as setup_sessions
from litestar import Litestar, Request, post
from litestar.params import FromPath
from litestar.testing import TestClient as LitestarClient
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from werkzeug.test import Client as WerkzeugClient

from session_tokens import SessionTokens
from session_tokens.web.aiohttp import SessionTokensStorage
from session_tokens.web.asgi import SessionMiddleware
from session_tokens.web.litestar import SessionTokensConfig, current_session
from session_tokens.web.session import CookieChange, OwnerField, WebSession, drive, loading
from session_tokens.web.wsgi import SessionMiddleware as WsgiMiddleware
from session_tokens.web.wsgi import session_of

KEEP, SET, CLEAR = CookieChange.KEEP, CookieChange.SET, CookieChange.CLEAR
FIELD = OwnerField("user_id", "user:{}".format)


class Browser:
    """A browser: it has the cookie that it was given last."""

    def __init__(self, st: SessionTokens) -> None:
        self.st = st
        self.secret: str | None = None

    def ask(self, view: Callable[[WebSession], object], status: int = 200) -> CookieChange:
        """Send a request to a view."""
        session = drive(self.st, loading(WebSession, self.secret))
        session.owner_field = FIELD
        view(session)
        change = drive(self.st, session.settling(status))
        if change is not KEEP:
            self.secret = session.secret if change is SET else None
        return change

    def shown(self) -> tuple[str | None, dict[str, Any]]:
        """Return who is logged in, and what the session holds."""
        session = drive(self.st, loading(WebSession, self.secret))
        return session.owner, dict(session)


@pytest.fixture
def st() -> Any:
    with SessionTokens.open("memory://", sweep=False) as tokens:
        yield tokens


@pytest.fixture
def browser(st: SessionTokens) -> Browser:
    return Browser(st)


def named(user: object, **fields: object) -> Callable[[WebSession], object]:
    def view(session: WebSession) -> None:
        session.update(fields)
        session["user_id"] = user

    return view


def test_setting_the_field_is_a_log_in(st: SessionTokens, browser: Browser) -> None:
    browser.ask(lambda it: it.update(cart=["pen"]))
    visitor = browser.secret

    def log_in(session: WebSession) -> None:
        session["user_id"] = 7
        assert session.owner == "user:7"

    assert browser.ask(log_in) is SET
    assert browser.shown() == ("user:7", {"cart": ["pen"], "user_id": 7})
    assert visitor is not None and st.verify_session(visitor) is None
    assert browser.ask(lambda it: it.get("user_id")) is KEEP
    assert browser.ask(lambda it: it.update(cart=[])) is KEEP
    before = browser.secret
    assert browser.ask(named(7)) is SET, "who logs in again has proved who they are once more"
    assert before != browser.secret


def test_nothing_of_another_user_is_carried_over(browser: Browser) -> None:
    browser.ask(named(7, secrets="of 7"))
    browser.ask(named(8, theme="dark"))

    assert browser.shown() == ("user:8", {"theme": "dark", "user_id": 8})


@pytest.mark.parametrize(
    "leave", [lambda it: it.pop("user_id"), lambda it: it.update(user_id=None), lambda it: it.update(user_id="")]
)
def test_removing_the_field_is_a_log_out_and_the_rest_goes_on(
    st: SessionTokens, browser: Browser, leave: Callable[[WebSession], object]
) -> None:
    browser.ask(named(7, theme="dark"))
    before = browser.secret
    assert before is not None

    assert browser.ask(leave) is SET
    owner, fields = browser.shown()
    assert (owner, fields["theme"]) == (None, "dark")
    assert st.verify_session(before) is None


def test_a_message_goes_on_with_the_rest(st: SessionTokens, browser: Browser) -> None:
    browser.ask(named(7))

    def leave(session: WebSession) -> None:
        session.flash("bye")
        del session["user_id"]

    assert browser.ask(leave) is SET
    told: list[object] = []
    browser.ask(lambda it: told.extend(it.flashes()))
    assert (browser.shown(), told) == ((None, {}), [("message", "bye")])
    assert st.list_sessions("user:7").items == []


def test_what_is_said_before_another_user_is_named_is_on_the_next_page(browser: Browser) -> None:
    browser.ask(named(7))

    def change(session: WebSession) -> None:
        session.flash("hello, 8")
        session["user_id"] = 8

    browser.ask(change)
    told: list[object] = []
    browser.ask(lambda it: told.extend(it.flashes()))
    assert told == [("message", "hello, 8")]


def test_emptying_the_session_is_a_log_out(st: SessionTokens, browser: Browser) -> None:
    browser.ask(named(7))

    assert browser.ask(lambda it: it.pop("user_id")) is CLEAR
    browser.ask(named(7))
    assert browser.ask(lambda it: it.clear()) is CLEAR
    assert st.list_sessions("user:7").items == []


def test_a_log_in_that_is_taken_back_or_fails_is_none(st: SessionTokens, browser: Browser) -> None:
    browser.ask(lambda it: it.update(cart=["pen"]))

    assert browser.ask(lambda it: (named(7)(it), it.pop("user_id"))) is KEEP
    assert browser.ask(named(7), 500) is KEEP
    assert browser.ask(named("")) is KEEP
    assert browser.shown() == (None, {"cart": ["pen"], "user_id": ""})
    assert st.list_sessions("user:7").items == []


def test_the_field_takes_nothing_from_a_log_in_by_login(st: SessionTokens, browser: Browser) -> None:
    def log_in(session: WebSession) -> None:
        session.login("user:7", remember=True, acr="urn:strong")
        session["user_id"] = 7

    browser.ask(log_in)
    assert browser.shown() == ("user:7", {"user_id": 7})
    (found,) = st.list_sessions("user:7").items
    assert (found.acr, found.max_age) == ("urn:strong", 30 * 86_400)
    browser.ask(named(8))
    assert browser.shown() == ("user:8", {"user_id": 8})


def test_what_is_asked_for_by_login_stands(browser: Browser) -> None:
    def log_in(session: WebSession) -> None:
        session["user_id"] = 7
        session.login("user:7", remember=True)

    browser.ask(log_in)
    assert browser.shown()[0] == "user:7"
    browser.ask(lambda it: it.logout())
    browser.ask(lambda it: it.login("user:9"))

    assert browser.ask(lambda it: it.update(theme="dark")) is KEEP
    assert browser.shown() == ("user:9", {"theme": "dark"})


def asgi_site(store: str) -> Any:
    async def view(request: StarletteRequest) -> Response:
        session: Any = request.session
        if request.path_params["act"] == "in":
            session["user_id"] = request.query_params["user"]
        elif request.path_params["act"] == "out":
            del session["user_id"]
        return JSONResponse(session.owner)

    app = Starlette(routes=[Route("/{act}", view, methods=["POST"])])
    app.add_middleware(SessionMiddleware, store=store, owner_key="user_id", owner_of="user:{}".format)
    return TestClient(app)


def litestar_site(store: str) -> Any:
    @post("/{act:str}")
    async def view(request: Request[Any, Any, Any], act: FromPath[str]) -> str | None:
        session, user = request.session, request.query_params.get("user")
        if act == "in":
            request.set_session({"user_id": user})
        elif act == "out":
            request.set_session({"left": True})
        elif act == "again":
            request.set_session({**session, "theme": "dark"})
        return str(current_session(request).id)

    config = SessionTokensConfig(store=store, owner_key="user_id", owner_of="user:{}".format)
    return LitestarClient(Litestar([view], middleware=[config.middleware]))


def wsgi_site(store: str) -> Any:
    def page(environ: Any, start: Any) -> Any:
        session = session_of(environ)
        if environ["PATH_INFO"] == "/in":
            session["user_id"] = environ["QUERY_STRING"].partition("=")[2]
        elif environ["PATH_INFO"] == "/out":
            del session["user_id"]
        start("200 OK", [("Content-Type", "application/json")])
        return [JSONResponse(session.owner).body]

    return WerkzeugClient(WsgiMiddleware(page, store, owner_key="user_id", owner_of="user:{}".format))


def read(answer: Any) -> Any:
    return answer.json() if callable(answer.json) else answer.json


@pytest.mark.parametrize("site", [asgi_site, wsgi_site])
def test_it_is_so_in_each_framework(site: Callable[[str], Any]) -> None:
    browser = site("memory://")

    assert [read(browser.post(path)) for path in ("/in?user=7", "/look", "/out", "/look")] == [
        "user:7", "user:7", None, None,
    ]  # fmt: skip


def test_litestar_logs_nobody_in_again_who_sets_the_session_with_what_it_held() -> None:
    browser = litestar_site("memory://")
    browser.post("/in?user=7")
    ids = [browser.post(path).text for path in ("/look", "/again", "/look", "/out", "/look")]

    assert ids[0] == ids[1] == ids[2] == ids[3] != ids[4]


async def test_it_is_so_in_aiohttp() -> None:
    async def view(request: web.Request) -> web.Response:
        act = request.match_info["act"]
        session: Any = await (new_session(request) if act == "in" else get_session(request))
        if act == "in":
            session["user_id"] = request.query["user"]
        elif act == "out":
            del session["user_id"]
        return web.json_response(session.owner)

    app = web.Application()
    storage = SessionTokensStorage("memory://", owner_key="user_id", owner_of="user:{}".format)
    setup_sessions(app, storage)
    app.on_cleanup.append(storage.close)
    app.router.add_post("/{act}", view)
    async with AiohttpClient(TestServer(app)) as browser:
        assert [await (await browser.post(path)).json() for path in ("/in?user=7", "/look", "/out", "/look")] == [
            "user:7", "user:7", None, None,
        ]  # fmt: skip
