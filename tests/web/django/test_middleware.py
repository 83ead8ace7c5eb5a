"""Our middleware: ids as session keys, safe cookies, no log-out by an outage, the same on threads and event loops."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model, login
from django.contrib.auth.signals import user_logged_in
from django.db import connection
from django.http import HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.test.utils import modify_settings, override_settings

from session_tokens.web.django.checks import DJANGOS, MIDDLEWARE
from session_tokens.web.django.middleware import SessionMiddleware, SessionStoreById
from session_tokens.web.django.opened import BlockingSessions, opened
from tests.helpers.servers.valkey import ValkeyServer

COOKIE = "sessionid"


@pytest.fixture(autouse=True)
def ours() -> Iterator[None]:
    with modify_settings(MIDDLEWARE={"remove": DJANGOS, "prepend": MIDDLEWARE}):
        yield


@pytest.fixture
def ann(tokens: BlockingSessions) -> Iterator[Any]:
    user = get_user_model().objects.create_user("ann", password="old")
    yield user
    user.delete()
    connection.close()


def test_the_key_is_an_id_and_the_cookie_the_secret(tokens: BlockingSessions, ann: Any) -> None:
    client, keys = Client(), []

    def note(request: Any, **_: Any) -> None:
        keys.append(request.session.session_key)

    user_logged_in.connect(note)
    try:
        client.get("/append?item=pen")
        before = client.cookies[COOKIE].value
        client.get("/log-in?name=ann")
    finally:
        user_logged_in.disconnect(note)
    secret = client.cookies[COOKIE].value
    found = tokens.verify_session(secret)

    assert found is not None
    assert keys == [found.id], "the key that packages keep at the log-in is that of the session"
    assert tokens.verify_session(before) is None
    assert client.get("/show").json() == {"user": "ann", "data": {"cart": ["pen"]}}


def test_it_does_by_its_two_halves_what_it_does_whole(tokens: BlockingSessions) -> None:
    middleware = SessionMiddleware(lambda _: HttpResponse())
    request = RequestFactory().get("/")
    middleware.process_request(request)
    request.session["cart"] = ["pen"]
    response = middleware.process_response(request, HttpResponse())
    found = tokens.verify_session(response.cookies[COOKIE].value)

    assert found is not None and found.id == request.session.session_key


class OfTheSite(SessionMiddleware):
    """A site's own: it closes one path, and says on each response how many sessions the request has."""

    def process_request(self, request: Any) -> HttpResponse | None:
        """Give the request its session, or the answer at once."""
        super().process_request(request)
        return HttpResponse("closed", status=403) if request.path == "/closed" else None

    def process_response(self, request: Any, response: HttpResponse) -> HttpResponse:
        """Write its session down, and say what it is."""
        request.session["seen"] = request.path
        response = super().process_response(request, response)
        response.headers["X-Session"] = request.session.session_key
        return response


def test_the_halves_of_a_sites_own_are_done_on_threads(tokens: BlockingSessions) -> None:
    middleware, asked = OfTheSite(lambda _: HttpResponse("open")), RequestFactory()
    answers: list[Any] = [middleware(asked.get(path)) for path in ("/", "/closed")]
    found = [tokens.verify_session(response.cookies[COOKIE].value) for response in answers]

    assert [response.content for response in answers] == [b"open", b"closed"]
    assert [each and each.id for each in found] == [response.headers["X-Session"] for response in answers]


async def test_the_halves_of_a_sites_own_are_done_on_an_event_loop(tokens: BlockingSessions) -> None:
    async def view(request: Any) -> HttpResponse:
        await request.session.aset("cart", ["pen"])
        return HttpResponse("open")

    middleware, asked = OfTheSite(view), RequestFactory()
    answers: list[Any] = [await middleware(asked.get(path)) for path in ("/", "/closed")]
    found = [tokens.verify_session(response.cookies[COOKIE].value) for response in answers]

    assert [response.content for response in answers] == [b"open", b"closed"]
    assert [each and each.id for each in found] == [response.headers["X-Session"] for response in answers]


class WithoutSessions(SessionMiddleware):
    """A site's own, which gives requests for one path no session."""

    def process_request(self, request: Any) -> HttpResponse | None:
        """Give the request its session, unless it asks how the site is."""
        return HttpResponse("fine") if request.path == "/health" else super().process_request(request)


async def test_a_request_that_was_given_no_session_is_answered_as_it_is(tokens: BlockingSessions) -> None:
    """As by Django's middleware: a subclass may answer at once, and a view may take the session away."""

    def view(request: Any) -> HttpResponse:
        del request.session
        return HttpResponse("open")

    async def async_view(request: Any) -> HttpResponse:
        return view(request)

    for path, expected in (("/health", b"fine"), ("/", b"open")):
        request = RequestFactory().get(path)
        answered: Any = await sync_to_async(WithoutSessions(view))(request)
        awaited: Any = WithoutSessions(async_view)(request)

        assert [answered.content, (await awaited).content] == [expected] * 2


def test_an_id_in_the_cookie_opens_nothing(tokens: BlockingSessions, ann: Any) -> None:
    client, thief = Client(), Client()
    client.get("/log-in?name=ann")
    found = tokens.verify_session(client.cookies[COOKIE].value)
    assert found is not None
    thief.cookies[COOKIE] = found.id

    assert thief.get("/show").json()["user"] == ""
    assert thief.cookies[COOKIE].value == found.id, "what is not ours is left alone"


def test_another_object_is_made_from_the_key_in_the_request_that_opened_the_session(
    tokens: BlockingSessions, ann: Any
) -> None:
    """As allauth does when a log-in with another service begins, and when it comes back."""
    client = Client(headers={"User-Agent": "phone"})
    client.get("/append?item=pen")
    first = client.cookies[COOKIE].value
    client.get("/reopen")
    assert client.get("/show").json() == {"user": "", "data": {"cart": ["pen"]}}
    assert client.cookies[COOKIE].value == first
    client.get("/reopen?name=ann")
    client.get("/reopen")

    assert client.get("/show").json() == {"user": "ann", "data": {"cart": ["pen"]}}
    (session,) = tokens.list_sessions(anonymous=True).items
    assert (session.owner, session.user_agent) == (str(ann.pk), "phone"), "no visitor's is left behind"
    assert SessionStoreById(session.id).load() == {}, "outside of the request an id opens nothing"


async def test_another_object_is_made_from_the_key_on_an_event_loop(tokens: BlockingSessions) -> None:
    client = AsyncClient()
    await client.get("/append?item=pen")
    await client.get("/reopen-async")

    assert client.cookies[COOKIE].value != ""
    assert (await client.get("/show")).json()["data"] == {"cart": ["pen"], "b": 2}


def test_an_end_in_the_past_clears_the_cookie(tokens: BlockingSessions) -> None:
    client = Client()
    client.get("/append?item=pen")
    client.get("/end-in?seconds=-5")

    assert client.cookies[COOKIE].value == ""
    assert tokens.list_sessions(anonymous=True).items == []
    assert COOKIE not in Client().get("/end-in?seconds=-5").cookies, "there was none"


def test_nothing_is_kept_or_set_for_those_who_only_read(tokens: BlockingSessions) -> None:
    client = Client()

    assert "Vary" not in client.get("/untouched").headers
    read = client.get("/show")
    assert read.headers["Vary"] == "Cookie"
    assert "Cache-Control" not in read.headers
    assert client.cookies == {}
    assert len(tokens.list_sessions(anonymous=True).items) == 0


def test_a_session_that_ended_meanwhile_clears_the_cookie_and_the_response_goes_out(
    tokens: BlockingSessions, ann: Any
) -> None:
    client = Client()
    client.get("/log-in?name=ann")
    secret = client.cookies[COOKIE].value
    response = client.get("/put-late?a=1")

    assert response.status_code == 200
    assert client.cookies[COOKIE].value == ""
    assert tokens.verify_session(secret) is None


def test_a_request_that_comes_late_with_the_cookie_before_a_log_in_takes_no_cookie_away(
    tokens: BlockingSessions, ann: Any
) -> None:
    browser, late = Client(), Client()
    browser.get("/append?item=pen")
    late.cookies[COOKIE] = browser.cookies[COOKIE].value
    browser.get("/log-in?name=ann")
    seen = late.get("/show")

    assert seen.json() == {"user": "", "data": {}}
    assert COOKIE not in seen.cookies
    late.get("/log-out")
    assert browser.get("/show").json()["user"] == "ann"


def test_a_log_in_that_fails_loses_no_cart(tokens: BlockingSessions, ann: Any) -> None:
    client = Client()
    client.get("/append?item=pen")
    client.get("/log-in?name=ann&status=500")
    assert client.get("/show").json()["data"] == {"cart": ["pen"]}

    def note(request: Any, **_: Any) -> None:
        assert request.session.session_key is not None

    user_logged_in.connect(note)
    try:
        client.get("/log-in?name=ann&status=500")
    finally:
        user_logged_in.disconnect(note)
    assert client.get("/show").json() == {"user": "ann", "data": {"cart": ["pen"]}}, (
        "it was written: the cookie says so"
    )


def test_logging_out_clears_the_cookie_with_what_it_was_set_with(tokens: BlockingSessions, ann: Any) -> None:
    with override_settings(SESSION_COOKIE_SECURE=True, SESSION_COOKIE_PARTITIONED=True):
        client = Client()
        set_ = client.get("/log-in?name=ann", secure=True).cookies["__Host-sessionid"].OutputString()
        cleared = client.get("/log-out", secure=True).cookies["__Host-sessionid"].OutputString()

    for said in (set_, cleared):
        assert said.startswith("__Host-sessionid=")
        assert {"Path=/", "Secure", "HttpOnly", "SameSite=None", "Partitioned"} <= set(said.split("; "))
        assert "Domain" not in said
    assert "Max-Age=0" in cleared
    assert tokens.list_sessions(anonymous=True).items == []


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"SESSION_COOKIE_SECURE": True}, "__Host-sessionid"),
        ({"SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_PATH": "/app"}, "__Secure-sessionid"),
        ({"SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_DOMAIN": "example.com"}, "__Secure-sessionid"),
        ({}, "sessionid"),
    ],
)
def test_the_name_of_the_cookie_promises_what_can_be_kept(
    tokens: BlockingSessions, settings: dict[str, Any], name: str
) -> None:
    with override_settings(**settings):
        response = Client().get("/put?a=1", secure=True)

    assert list(response.cookies) == [name]
    assert response.headers["Cache-Control"] == "no-store"


def test_the_test_client_logs_in(tokens: BlockingSessions, ann: Any) -> None:
    client = Client()
    client.force_login(ann)

    assert client.get("/show").json()["user"] == "ann"
    assert client.session["_auth_user_id"] == str(ann.pk)


async def test_an_event_loop_does_the_same(tokens: BlockingSessions) -> None:
    ann = await get_user_model().objects.acreate_user("ann", password="old")
    try:
        client = AsyncClient()
        await client.get("/append?item=pen")
        first = client.cookies[COOKIE].value
        await client.get("/log-in-async?name=ann")

        assert (await client.get("/show-async")).json() == {"user": "ann", "cart": ["pen"]}
        assert tokens.verify_session(first) is None
    finally:
        await ann.adelete()


def test_an_outage_is_a_503_that_leaves_the_cookie_alone(private_valkey: Callable[..., ValkeyServer]) -> None:
    server = private_valkey("--appendonly", "yes", "--appendfsync", "always")
    user = get_user_model().objects.create_user("ann", password="old")
    try:
        with override_settings(SESSION_TOKENS_STORE=server.url, SESSION_TOKENS={"pepper": bytes(32)}):
            client = Client()
            client.get("/log-in?name=ann")
            secret = client.cookies[COOKIE].value
            server.kill()
            answers = [client.get("/show"), client.get("/put?a=1"), client.get("/untouched")]
            server.start()

            assert [answer.status_code for answer in answers] == [503, 503, 200]
            assert [answer.headers.get("Retry-After") for answer in answers] == ["2", "2", None]
            assert client.cookies[COOKIE].value == secret
            back = client.get("/show")
            for _ in range(200):  # connections are tried again after a while
                if back.status_code == 200:
                    break
                time.sleep(0.05)
                back = client.get("/show")
            assert back.json()["user"] == "ann"
    finally:
        opened.close()
        user.delete()


@pytest.mark.parametrize(
    ("said", "sent"),
    [("public, max-age=3600", "no-store"), ("no-cache", "no-store"), ("private, max-age=60", "private, max-age=60")],
)
def test_no_shared_cache_keeps_a_cookie(tokens: BlockingSessions, said: str, sent: str) -> None:
    def view(request: Any) -> HttpResponse:
        request.session["cart"] = ["pen"]
        return HttpResponse(headers={"Cache-Control": said, "CDN-Cache-Control": "max-age=600"})

    response: Any = SessionMiddleware(view)(RequestFactory().get("/"))

    assert COOKIE in response.cookies
    assert response.headers["Cache-Control"] == sent
    assert "CDN-Cache-Control" not in response.headers  # which goes before it (RFC 9213)


@pytest.mark.parametrize("how", ["proved", "logged in again"])
def test_who_proves_it_anew_beside_a_new_secret_stays_logged_in(tokens: BlockingSessions, ann: Any, how: str) -> None:
    client, middleware = Client(), SessionMiddleware(lambda _: HttpResponse())
    client.get("/log-in?name=ann")
    request: Any = RequestFactory().get("/")
    request.COOKIES[COOKIE] = client.cookies[COOKIE].value
    middleware.process_request(request)
    id = request.session.session_key
    tokens.rotate_session(id)  # as another tab does, that changes the password

    if how == "proved":
        request.session.proved_by(acr="mfa")
    else:
        login(request, ann)
    response = middleware.process_response(request, HttpResponse())
    found = tokens.verify_session(response.cookies[COOKIE].value)
    assert found is not None and found.id == id == request.session.session_key
    assert found.acr == ("mfa" if how == "proved" else None)
    assert request.COOKIES[COOKIE] != response.cookies[COOKIE].value, "an old secret is not revived"
