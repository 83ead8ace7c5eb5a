"""The pytest plugin, as it comes with the package: tests of applications begin with somebody logged in."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

HEAD = """
from datetime import timedelta
import pytest
"""

FLASK = (
    HEAD
    + """
from flask import Flask, session
from session_tokens.web.flask import SessionTokensInterface, current_session
from session_tokens.web.flask_login import SessionTokensLogin
from flask_login import UserMixin, current_user, fresh_login_required

class User(UserMixin):
    def __init__(self, id):
        self.id = id

@pytest.fixture(params=[False, True])
def app(request):
    app = Flask("tried")
    app.secret_key = "for Flask-Login"
    app.session_interface = SessionTokensInterface("sqlite:///never-made.db")
    if request.param:
        SessionTokensLogin(app).login_manager.user_loader(User)

    @app.get("/me")
    def me():
        here = current_session()
        return {"owner": here.owner, "cart": session.get("cart"), "recent": here.web.authenticated_at}

    @app.get("/fresh")
    @fresh_login_required
    def fresh():
        return current_user.get_id()

    return app

def test_who_is_logged_in(app, logged_in, session_clock, session_tokens, tmp_path):
    client = app.test_client()
    made = logged_in(client, "alice", ago=timedelta(minutes=10), data={"cart": ["apple"]}, acr="urn:strong")
    assert made.acr == "urn:strong"
    answer = client.get("/me").json
    assert (answer["owner"], answer["cart"]) == ("alice", ["apple"]) and made.owner == "alice"
    assert session_clock.now() - answer["recent"] == 600_000
    assert [each.id for each in session_tokens.list_sessions("alice").items] == [made.id]
    if hasattr(app, "login_manager"):
        assert client.get("/fresh").text == "alice"
    other = app.test_client()
    logged_in(other, "bob", remember=True)
    session_clock.advance(3600)
    assert client.get("/me").json["owner"] is None
    assert other.get("/me").json["owner"] == "bob"

def test_nobody_is_without_it(app, session_tokens):
    app.session_interface.use(session_tokens)
    assert app.test_client().get("/me").json["owner"] is None
"""
)

ASGI = (
    HEAD
    + """
import httpx
import httpx2
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from session_tokens.web.asgi import SessionMiddleware

async def me(request):
    return JSONResponse({"owner": request.session.owner, "fields": dict(request.session)})

async def log_in(request):
    request.session.login(request.query_params["owner"])
    return await me(request)

def made(**options):
    app = Starlette(routes=[Route("/me", me), Route("/log-in", log_in)])
    app.add_middleware(SessionMiddleware, store="sqlite:///never-made.db", **options)
    return app

def test_an_application_that_keeps_the_owner_in_a_field(logged_in):
    client = TestClient(made(owner_key="user_id", owner_of="user:{}".format))
    assert logged_in(client, 7).owner == "user:7"
    assert client.get("/me").json() == {"owner": "user:7", "fields": {"user_id": 7}}

@pytest.mark.parametrize("base_url", ["http://shop.example", "https://shop.example"])
def test_who_is_logged_in(logged_in, session_clock, base_url):
    client = TestClient(made(), base_url=base_url)
    session = logged_in(client, "alice", ago=timedelta(minutes=10), data={"cart": 1}, acr="urn:strong")
    assert session.acr == "urn:strong"
    assert client.get("/me").json() == {"owner": "alice", "fields": {"cart": 1}}
    session_clock.advance(3600)
    assert client.get("/me").json()["owner"] is None

@pytest.mark.asyncio
async def test_who_is_logged_in_on_a_loop(logged_in):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(made()), base_url="http://shop.example") as client:
        logged_in(client, "alice")
        assert (await client.get("/me")).json()["owner"] == "alice"

@pytest.mark.parametrize("base_url", ["http://shop", "https://shop.example:8443"])
def test_the_cookie_takes_the_place_of_those_of_the_application(logged_in, base_url):
    client = TestClient(CORSMiddleware(made()), base_url=base_url)
    for owner in ("alice", "bob"):
        logged_in(client, owner)
        assert client.get("/me").json()["owner"] == owner
        assert client.get("/log-in?owner=carol").json()["owner"] == "carol"
        assert client.get("/me").json()["owner"] == "carol"

def test_a_domain_that_the_client_does_not_ask_is_left_away(logged_in):
    client = TestClient(made(domain="shop.example"))
    logged_in(client, "alice")
    assert client.get("/me").json()["owner"] == "alice"

@pytest.mark.asyncio
async def test_by_httpx2(logged_in):
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(made()), base_url="http://shop") as client:
        logged_in(client, "alice")
        assert (await client.get("/me")).json()["owner"] == "alice"

def test_an_application_without_our_sessions_is_refused(logged_in):
    with pytest.raises(TypeError, match="add_middleware"):
        logged_in(TestClient(Starlette()), "alice")

def test_another_client_is_refused(logged_in):
    with pytest.raises(TypeError, match="no client that is known"):
        logged_in(object(), "alice")
"""
)

DJANGO = (
    HEAD
    + """
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="tried", SESSION_ENGINE="session_tokens.web.django", SESSION_TOKENS_STORE="sqlite:///never-made.db",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}, ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["testserver"], DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
)
django.setup()
from django.core.management import call_command
from django.http import JsonResponse
from django.test import AsyncClient, Client
from django.test.utils import override_settings
from django.urls import path
from django.contrib.auth import get_user_model

async def cart(request):
    return JsonResponse({"cart": await request.session.aget("cart")})

urlpatterns = [
    path("me", lambda request: JsonResponse({"user": request.user.username, "cart": request.session.get("cart")})),
    path("cart", cart),
]

def test_who_is_logged_in(logged_in, session_tokens, session_clock):
    call_command("migrate", verbosity=0)
    user = get_user_model().objects.create_user("alice")
    client = Client()
    made = logged_in(client, "alice", ago=timedelta(minutes=10), data={"cart": 1}, acr="urn:strong")
    assert made.acr == "urn:strong"
    assert client.get("/me").json() == {"user": "alice", "cart": 1}
    assert made.owner == str(user.pk)
    assert session_clock.now() - made.authenticated_at == 600_000
    session_tokens.destroy_sessions(made.owner)
    assert client.get("/me").json()["user"] == ""
    logged_in(client, user)
    with override_settings(DEBUG=True, SESSION_TOKENS_STORE="valkey://127.0.0.1:1"):
        assert client.get("/me").json()["user"] == "alice"
    assert client.get("/me").json()["user"] == "alice"

@pytest.fixture
def in_the_store_of_the_test(logged_in):
    client = AsyncClient()
    with override_settings(SESSION_TOKENS_STORE="valkey://127.0.0.1:1"):
        logged_in(client, get_user_model().objects.create_user("bob"), data={"cart": 1})
        yield client

@pytest.mark.asyncio
async def test_an_event_loop_asks_no_other_store(in_the_store_of_the_test):
    assert (await in_the_store_of_the_test.get("/cart")).json() == {"cart": 1}
"""
)


QUART = (
    HEAD
    + """
import httpx
from quart import Quart, session
from session_tokens.web.quart import QuartSessionTokensInterface, current_session, login

def made(**options):
    app = Quart("tried")
    app.session_interface = QuartSessionTokensInterface("sqlite:///never-made.db", **options)

    @app.get("/me")
    async def me():
        return {"owner": current_session().owner, "fields": dict(session)}

    @app.get("/shop/log-in")
    async def log_in():
        login("carol")
        return ""

    @app.get("/shop/me")
    async def me_in_the_shop():
        return await me()

    return app

@pytest.mark.asyncio
async def test_a_cookie_of_a_path_takes_the_place_of_the_one_of_the_application(logged_in):
    app = made()
    app.config["SESSION_COOKIE_PATH"] = "/shop"
    client = app.test_client()
    logged_in(client, "bob")
    await client.get("/shop/log-in")
    logged_in(client, "alice")
    assert (await (await client.get("/shop/me")).get_json())["owner"] == "alice"

@pytest.mark.asyncio
async def test_who_is_logged_in(logged_in, session_clock):
    client = made().test_client()
    assert logged_in(client, "alice", data={"cart": ["apple"]}, acr="urn:strong").acr == "urn:strong"
    assert await (await client.get("/me")).get_json() == {"owner": "alice", "fields": {"cart": ["apple"]}}
    session_clock.advance(3600)
    assert (await (await client.get("/me")).get_json())["owner"] is None

@pytest.mark.asyncio
async def test_an_application_that_keeps_the_owner_in_a_field(logged_in):
    client = made(owner_key="user_id", owner_of="user:{}".format).test_client()
    assert logged_in(client, 7).owner == "user:7"
    assert await (await client.get("/me")).get_json() == {"owner": "user:7", "fields": {"user_id": 7}}

@pytest.mark.parametrize("base_url", ["http://shop.example", "https://shop.example"])
@pytest.mark.asyncio
async def test_by_httpx(logged_in, base_url):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(made()), base_url=base_url) as client:
        logged_in(client, "alice")
        assert (await client.get("/me")).json()["owner"] == "alice"

def test_an_application_without_our_sessions_is_refused(logged_in):
    with pytest.raises(TypeError, match="session_interface"):
        logged_in(Quart("tried").test_client(), "alice")
"""
)

LITESTAR = (
    HEAD
    + """
from litestar import Litestar, Request, get
from litestar.security.session_auth import SessionAuth
from litestar.testing import TestClient
from session_tokens.web.litestar import SessionTokensConfig, current_session

@get("/me", sync_to_thread=False)
def me(request: Request) -> dict:
    return {"owner": current_session(request).owner, "fields": dict(request.session)}

async def user_of(session, connection):
    return session.get("user")

@pytest.mark.parametrize("is_auth", [False, True])
@pytest.mark.parametrize("base_url", ["http://shop.example", "https://shop.example"])
def test_who_is_logged_in(logged_in, session_clock, is_auth, base_url):
    config = SessionTokensConfig("sqlite:///never-made.db")
    auth = SessionAuth(session_backend_config=config, retrieve_user_handler=user_of)
    app = Litestar(
        [me], middleware=[] if is_auth else [config.middleware], on_app_init=[auth.on_app_init] if is_auth else [],
        openapi_config=None,
    )
    with TestClient(app, base_url=base_url) as client:
        logged_in(client, "alice", data={"user": "alice"})
        assert client.get("/me").json() == {"owner": "alice", "fields": {"user": "alice"}}
        session_clock.advance(3600)
        assert client.get("/me").status_code == (401 if is_auth else 200)

def test_an_application_without_our_sessions_is_refused(logged_in):
    app = Litestar([me], openapi_config=None)
    with TestClient(app) as client, pytest.raises(TypeError, match="SessionTokensConfig"):
        logged_in(client, "alice")
"""
)

AIOHTTP = (
    HEAD
    + """
import aiohttp_session
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from session_tokens.web.aiohttp import SessionTokensStorage, login

async def me(request):
    session = await aiohttp_session.get_session(request)
    return web.json_response({"owner": session.owner, "fields": dict(session)})

@pytest.mark.asyncio
@pytest.mark.filterwarnings("ignore:It is recommended to use web.RequestKey")
async def test_who_is_logged_in(logged_in, session_clock):
    app = web.Application()
    aiohttp_session.setup(app, SessionTokensStorage("sqlite:///never-made.db"))
    app.router.add_get("/me", me)
    async with TestClient(TestServer(app)) as client:
        logged_in(client, "alice", data={"cart": 1})
        assert await (await client.get("/me")).json() == {"owner": "alice", "fields": {"cart": 1}}
        session_clock.advance(3600)
        assert (await (await client.get("/me")).json())["owner"] is None

@pytest.mark.asyncio
@pytest.mark.filterwarnings("ignore:It is recommended to use web.RequestKey")
async def test_a_cookie_of_a_path_takes_the_place_of_the_one_of_the_application(logged_in):
    async def log_in(request):
        await login(request, "carol")
        return web.Response()

    app = web.Application()
    aiohttp_session.setup(app, SessionTokensStorage("sqlite:///never-made.db", path="/shop"))
    app.router.add_get("/shop/me", me)
    app.router.add_get("/shop/log-in", log_in)
    async with TestClient(TestServer(app)) as client:
        logged_in(client, "bob")
        await client.get("/shop/log-in")
        logged_in(client, "alice")
        assert (await (await client.get("/shop/me")).json())["owner"] == "alice"

@pytest.mark.asyncio
async def test_an_application_without_our_sessions_is_refused(logged_in):
    async with TestClient(TestServer(web.Application())) as client:
        with pytest.raises(TypeError, match="SessionTokensStorage"):
            logged_in(client, "alice")
"""
)

WSGI = (
    HEAD
    + """
import json
import httpx
from werkzeug.test import Client
from session_tokens.web.wsgi import SessionMiddleware, session_of

def page(environ, start_response):
    session = session_of(environ)
    if environ["PATH_INFO"] == "/shop/log-in":
        session.login("carol")
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"owner": session.owner, "fields": dict(session)}).encode()]

@pytest.mark.parametrize("kind", ["werkzeug", "http", "https"])
def test_who_is_logged_in(logged_in, session_clock, kind):
    app = SessionMiddleware(page, "sqlite:///never-made.db")
    if kind == "werkzeug":
        client, told = Client(app), lambda answer: answer.json
    else:
        client = httpx.Client(transport=httpx.WSGITransport(app), base_url=f"{kind}://shop.example")
        told = lambda answer: answer.json()
    logged_in(client, "alice", data={"cart": 1})
    assert told(client.get("/")) == {"owner": "alice", "fields": {"cart": 1}}
    session_clock.advance(3600)
    assert told(client.get("/"))["owner"] is None

def test_a_cookie_of_a_path_takes_the_place_of_the_one_of_the_application(logged_in):
    client = Client(SessionMiddleware(page, "sqlite:///never-made.db", path="/shop"))
    logged_in(client, "bob")
    client.get("/shop/log-in")
    logged_in(client, "alice")
    assert client.get("/shop").json["owner"] == "alice"

def test_an_application_without_our_sessions_is_refused(logged_in):
    with pytest.raises(TypeError, match="SessionMiddleware"):
        logged_in(Client(page), "alice")
"""
)

PROGRAMS = {
    "flask": (FLASK, 4), "asgi": (ASGI, 10), "django": (DJANGO, 2), "quart": (QUART, 6), "litestar": (LITESTAR, 5),
    "aiohttp": (AIOHTTP, 3), "wsgi": (WSGI, 5),
}  # fmt: skip
"""Name → a test module, and how many of its tests pass."""


@pytest.mark.share(3)
@pytest.mark.parametrize(("program", "passed"), PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.process
def test_a_test_run_with_the_plugin(pytester: pytest.Pytester, program: str, passed: int) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(test_tried=program)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")

    result.assert_outcomes(passed=passed)
    assert not list(pytester.path.glob("*.db"))
