"""Users move in from Django's own engines, which write here themselves, with either middleware, by WSGI and by ASGI."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.db import SessionStore as TableStore
from django.contrib.sessions.models import Session as Row
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext, override_settings
from django.utils import timezone

from session_tokens.web.django import SessionStore
from session_tokens.web.django.checks import check_settings
from session_tokens.web.django.moving_in import peer
from session_tokens.web.django.opened import BlockingSessions, opened

BACKENDS = "django.contrib.sessions.backends."
MIDDLEWARE = {
    "Django's": "django.contrib.sessions.middleware.SessionMiddleware",
    "ours": "session_tokens.web.django.SessionMiddleware",
}
ENGINES = ("db", "cached_db", "signed_cookies")


@pytest.fixture(autouse=True)
def tables() -> Iterator[None]:
    """Leave the tables as they were."""
    yield
    Row.objects.all().delete()
    get_user_model().objects.all().delete()


@pytest.fixture(params=MIDDLEWARE)
def middleware(request: pytest.FixtureRequest) -> Iterator[None]:
    authentication = "django.contrib.auth.middleware.AuthenticationMiddleware"
    with override_settings(MIDDLEWARE=[MIDDLEWARE[request.param], authentication]):
        yield


def moving_from(engine: str, **settings: Any) -> Any:
    return override_settings(SESSION_TOKENS={"migrate_from": BACKENDS + engine, **settings})


def logged_in(engine: str, **fields: Any) -> tuple[Any, str]:
    """Make a user and a session of Django's own for them; return the user and the cookie."""
    user = get_user_model().objects.create_user("ann", password="x")  # of a test
    session = import_module(BACKENDS + engine).SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    for name, value in fields.items():
        session[name] = value
    session.save()
    return user, session.session_key


def with_cookie(cookie: str) -> Client:
    browser = Client()
    browser.cookies["sessionid"] = cookie
    return browser


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.usefixtures("middleware")
def test_a_user_goes_on_with_all_that_was_in_the_session(tokens: BlockingSessions, engine: str) -> None:
    user, cookie = logged_in(engine, cart=[1, {"n": None}])
    with moving_from(engine):
        browser = with_cookie(cookie)
        first, second = browser.get("/show"), browser.get("/show")
        handed_out = browser.cookies["sessionid"].value
        (session,) = opened.blocking().list_sessions(str(user.pk))

        assert {"user": "ann", "data": {"cart": [1, {"n": None}]}} == first.json() == second.json()
        assert handed_out.startswith("std_")
        assert opened.blocking().verify_session(handed_out) == session
        assert "sessionid" in first.cookies
        assert "sessionid" not in second.cookies


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.usefixtures("middleware")
async def test_a_user_goes_on_under_asgi(tokens: BlockingSessions, engine: str) -> None:
    from asgiref.sync import sync_to_async

    _, cookie = await sync_to_async(logged_in)(engine, cart="full")
    with moving_from(engine):
        browser = AsyncClient()
        browser.cookies["sessionid"] = cookie
        first, second = await browser.get("/show-async"), await browser.get("/show-async")

    assert {"user": "ann", "cart": "full"} == first.json() == second.json()
    assert "sessionid" not in second.cookies


@pytest.mark.parametrize("engine", ["db", "cached_db"])
def test_nothing_is_written_where_they_come_from(tokens: BlockingSessions, engine: str) -> None:
    _, cookie = logged_in(engine)
    before = list(Row.objects.values())
    with moving_from(engine), CaptureQueriesContext(connection) as queries:
        browser = with_cookie(cookie)
        browser.get("/show")
        browser.get("/log-out")

    assert before == list(Row.objects.values())
    assert all(query["sql"].startswith("SELECT") or "auth_user" in query["sql"] for query in queries)


@pytest.mark.parametrize("engine", ENGINES)
def test_who_logs_out_is_not_brought_back_by_the_cookie_from_before(tokens: BlockingSessions, engine: str) -> None:
    user, cookie = logged_in(engine)
    with moving_from(engine):
        browser = with_cookie(cookie)
        browser.get("/show")
        browser.get("/log-out")

        assert "" == with_cookie(cookie).get("/show").json()["user"]
        assert [] == list(opened.blocking().list_sessions(str(user.pk)))


@pytest.mark.parametrize("engine", ENGINES)
def test_two_tabs_that_bring_it_at_once_get_one_session(tokens: BlockingSessions, engine: str) -> None:
    user, cookie = logged_in(engine)
    with moving_from(engine):
        tabs = [with_cookie(cookie) for _ in range(3)]

        assert ["ann"] * 3 == [tab.get("/show").json()["user"] for tab in tabs]
        assert 1 == len({tab.cookies["sessionid"].value for tab in tabs})
        assert 1 == len(opened.blocking().list_sessions(str(user.pk)))


def test_it_ends_when_it_would_have_ended_there(tokens: BlockingSessions) -> None:
    user, cookie = logged_in("db")
    Row.objects.update(expire_date=timezone.now() + timedelta(seconds=600))
    with moving_from("db"):
        with_cookie(cookie).get("/show")
        (session,) = opened.blocking().list_sessions(str(user.pk))

    assert 590 < (session.max_age or 0) <= 600


@pytest.mark.parametrize("cookie", ["x" * 32, "abc", "x" * 5_000, "a:b:c", "std_short"])
@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_unknown_or_forged_is_nobodys(tokens: BlockingSessions, engine: str, cookie: str) -> None:
    logged_in(engine)
    with moving_from(engine):
        assert "" == with_cookie(cookie).get("/show").json()["user"]
        assert [] == list(opened.blocking().list_sessions(anonymous=True))


def test_what_is_over_there_is_over_here(tokens: BlockingSessions) -> None:
    _, cookie = logged_in("db")
    Row.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    with moving_from("db"):
        assert "" == with_cookie(cookie).get("/show").json()["user"]


def test_a_changed_password_ends_it_as_it_did(tokens: BlockingSessions) -> None:
    user, cookie = logged_in("db")
    user.set_password("another")
    user.save()
    with moving_from("db"):
        assert "" == with_cookie(cookie).get("/show").json()["user"]


def test_an_empty_record_is_no_session(tokens: BlockingSessions) -> None:
    session = TableStore()
    session.save()
    with moving_from("db"):
        with_cookie(session.session_key).get("/show")

        assert [] == list(opened.blocking().list_sessions(anonymous=True))


def test_a_visitor_keeps_the_cart(tokens: BlockingSessions) -> None:
    session = TableStore()
    session["cart"] = [7]
    session.save()
    with moving_from("db"):
        assert {"cart": [7]} == with_cookie(session.session_key).get("/show").json()["data"]
        assert 1 == len(opened.blocking().list_sessions(anonymous=True))


def test_the_store_opens_a_key_from_before_by_itself(tokens: BlockingSessions) -> None:
    _, cookie = logged_in("db", cart=[1])
    with moving_from("db"):
        session = SessionStore(cookie)

        assert [1] == session["cart"]
        assert session.session_key.startswith("std_")


def test_without_the_setting_nothing_is_read(tokens: BlockingSessions) -> None:
    _, cookie = logged_in("db")

    assert "" == with_cookie(cookie).get("/show").json()["user"]


@pytest.mark.parametrize("path", ["no.such.module", BACKENDS + "cache", BACKENDS + "file", "json", 5])
def test_what_cannot_be_read_is_refused_and_told_by_the_check(path: Any) -> None:
    with override_settings(SESSION_TOKENS={"migrate_from": path}):
        with pytest.raises(ImproperlyConfigured, match="migrate_from"):
            peer()
        assert ["session_tokens.E001"] == [message.id for message in check_settings(None) if message.level >= 40]


@pytest.mark.parametrize("engine", ["db", "cached_db"])
@pytest.mark.usefixtures("middleware")
def test_the_command_moves_in_what_is_stored_which_then_waits_for_its_cookie(
    tokens: BlockingSessions, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    user, cookie = logged_in(engine, cart=[1])
    empty, over = TableStore(), TableStore()
    empty.save()
    over["n"] = 1
    over.save()
    Row.objects.filter(session_key=over.session_key).update(expire_date=timezone.now() - timedelta(seconds=1))
    with moving_from(engine):
        for _ in range(2):
            call_command("session_tokens", "move-in")
        (before,) = opened.blocking().list_sessions(str(user.pk))
        seen = with_cookie(cookie).get("/show").json()
        (after,) = opened.blocking().list_sessions(str(user.pk))

    assert (
        capsys.readouterr().out.splitlines() == ["1 moved, 0 visitors among them, 1 empty or unreadable, 0 refused"] * 2
    )
    assert (before.id, before.data["cart"], [1]) == (after.id, [1], seen["data"]["cart"])


def test_the_command_says_where_there_is_nothing_to_move(tokens: BlockingSessions) -> None:
    with pytest.raises(CommandError, match="migrate_from"):
        call_command("session_tokens", "move-in")
    with moving_from("signed_cookies"), pytest.raises(CommandError, match="in its browser"):
        call_command("session_tokens", "move-in")


@pytest.mark.parametrize("cookie", ["\x00" * 32, "k\x00" * 8, "ü" * 32, "k" * 5_000])
def test_a_cookie_that_no_database_takes_is_nobodys(tokens: BlockingSessions, cookie: str) -> None:
    for engine in ENGINES:
        with moving_from(engine), CaptureQueriesContext(connection) as queries:
            former = peer()
            assert former is not None and former.read(cookie) is None
        assert len(queries) == 0


def test_the_command_finishes_it(tokens: BlockingSessions) -> None:
    _, cookie = logged_in("db")
    with moving_from("db"):
        call_command("session_tokens", "finish-moving-in")

        assert "" == with_cookie(cookie).get("/show").json()["user"]
