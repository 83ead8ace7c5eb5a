"""A site on the session engine, seen by a browser: cookies, logging in and out, failures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import AsyncClient, Client
from django.test.utils import override_settings

from session_tokens.web.django.opened import BlockingSessions, opened
from tests.helpers.servers.valkey import ValkeyServer

COOKIE = "sessionid"


@pytest.fixture
def ann(tokens: BlockingSessions) -> Iterator[Any]:
    user = get_user_model().objects.create_user("ann", password="old")
    yield user
    user.delete()
    connection.close()


def records(tokens: BlockingSessions) -> int:
    return len(tokens.list_sessions(anonymous=True).items)


def test_requests_that_put_nothing_into_the_session_make_no_record(tokens: BlockingSessions) -> None:
    client = Client()

    for _ in range(5):
        assert "Vary" not in client.get("/untouched").headers
        assert client.get("/show").headers["Vary"] == "Cookie"
    assert client.cookies == {}
    assert records(tokens) == 0


def test_a_request_that_only_reads_sets_no_cookie(tokens: BlockingSessions) -> None:
    client = Client()
    client.get("/put?a=1")
    read = client.get("/show")

    assert read.json()["data"] == {"a": "1"}
    assert COOKIE not in read.cookies


def test_a_log_in_carries_the_cart_over_and_kills_the_old_cookie(tokens: BlockingSessions, ann: Any) -> None:
    client, thief = Client(), Client()
    client.get("/append?item=pen")
    client.get("/append?item=ink")
    thief.cookies[COOKIE] = client.cookies[COOKIE].value
    client.get("/log-in?name=ann")

    assert client.get("/show").json() == {"user": "ann", "data": {"cart": ["pen", "ink"]}}
    assert thief.get("/show").json() == {"user": "", "data": {}}
    assert [session.owner for session in tokens.list_sessions(anonymous=True).items] == [str(ann.pk)]


def test_a_chosen_cookie_is_never_adopted(tokens: BlockingSessions, ann: Any) -> None:
    victim = Client()
    victim.cookies[COOKIE] = "std_" + "0" * 36
    victim.get("/log-in?name=ann")

    assert victim.cookies[COOKIE].value != "std_" + "0" * 36
    assert victim.get("/show").json()["user"] == "ann"


def test_a_log_in_that_fails_loses_no_cart_and_no_cookie(tokens: BlockingSessions, ann: Any) -> None:
    client = Client()
    client.get("/append?item=pen")
    before = client.cookies[COOKIE].value
    failed = client.get("/log-in?name=ann&status=500")

    assert COOKIE not in failed.cookies
    assert client.cookies[COOKIE].value == before
    assert client.get("/show").json() == {"user": "", "data": {"cart": ["pen"]}}


def test_ending_all_sessions_of_a_user_logs_every_browser_out(tokens: BlockingSessions, ann: Any) -> None:
    browsers = [Client(), Client(), Client()]
    for browser in browsers:
        browser.get("/log-in?name=ann")
    tokens.destroy_sessions(str(ann.pk))

    assert [browser.get("/show").json()["user"] for browser in browsers] == [""] * 3


def test_logging_out_ends_the_session_and_clears_the_cookie(tokens: BlockingSessions, ann: Any) -> None:
    client = Client()
    client.get("/log-in?name=ann")
    key = client.cookies[COOKIE].value
    client.get("/log-out")

    assert tokens.verify_session(key) is None
    assert client.cookies[COOKIE].value == ""
    assert records(tokens) == 0


def test_a_new_password_keeps_this_session_and_ends_what_others_can_do(tokens: BlockingSessions, ann: Any) -> None:
    here, elsewhere = Client(), Client()
    here.get("/log-in?name=ann")
    elsewhere.get("/log-in?name=ann")
    id, key = here.session.id, here.cookies[COOKIE].value
    here.get("/change-password?new=new")

    assert here.session.id == id
    assert here.cookies[COOKIE].value != key
    assert here.get("/show").json()["user"] == "ann"
    assert elsewhere.get("/show").json()["user"] == ""


@pytest.mark.parametrize("store_url", ["memory"], indirect=True)
def test_settings_that_a_test_changes_log_nobody_out(tokens: BlockingSessions, ann: Any, tmp_path: Path) -> None:
    client = Client()
    client.force_login(ann)

    with override_settings(DEBUG=True, SESSION_COOKIE_AGE=60):
        assert client.get("/show").json()["user"] == "ann"
        assert opened.blocking().settings.idle_timeout == 60
    with override_settings(SESSION_TOKENS={"max_sessions": 5}):
        assert client.get("/show").json()["user"] == "ann"
    assert opened.blocking().settings.max_sessions != 5
    with override_settings(SESSION_TOKENS_STORE=f"sqlite:///{tmp_path}/other.db"):
        assert client.get("/show").json()["user"] == "", "another store"


def test_the_test_client_logs_in_and_out(tokens: BlockingSessions, ann: Any) -> None:
    client = Client()
    client.force_login(ann)
    assert client.get("/show").json()["user"] == "ann"
    session = client.session
    session["a"] = 1
    session.save()
    assert client.get("/show").json()["data"] == {"a": 1}
    client.logout()
    assert client.get("/show").json()["user"] == ""


async def test_views_of_event_loops_share_the_sessions(tokens: BlockingSessions) -> None:
    ann = await get_user_model().objects.acreate_user("ann", password="old")
    try:
        client = AsyncClient()
        await client.get("/append?item=pen")
        await client.get("/log-in-async?name=ann")

        assert (await client.get("/show-async")).json() == {"user": "ann", "cart": ["pen"]}
        assert (await client.get("/show")).json() == {"user": "ann", "data": {"cart": ["pen"]}}
    finally:
        await ann.adelete()


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_outage_is_a_503_where_the_site_asks_for_it(
    private_valkey: Callable[..., ValkeyServer], is_async: bool
) -> None:
    """With Django's own middleware; other errors stay a 500."""
    server = private_valkey()
    with override_settings(
        SESSION_TOKENS_STORE=server.url, SESSION_TOKENS={"pepper": bytes(32)}, ROOT_URLCONF="tests.helpers.django_503"
    ):
        client: Any = (AsyncClient if is_async else Client)(raise_request_exception=False)

        async def get(path: str) -> Any:
            return await client.get(path) if is_async else await asyncio.to_thread(client.get, path)

        await get("/put?cart=pen")
        key = client.cookies[COOKIE].value
        server.kill()
        asked = [await get(path) for path in ("/show", "/put?a=1", "/fails", "/untouched")]
        await asyncio.to_thread(opened.close)
        await opened.aclose()

    assert [answer.status_code for answer in asked] == [503, 503, 500, 200]
    assert [answer.headers.get("Retry-After") for answer in asked] == ["2", "2", None, None]
    assert all(COOKIE not in answer.cookies for answer in asked)
    assert client.cookies[COOKIE].value == key


def test_an_outage_logs_nobody_out_and_is_over_when_the_store_is_back(
    private_valkey: Callable[..., ValkeyServer],
) -> None:
    server = private_valkey("--appendonly", "yes", "--appendfsync", "always")
    user = get_user_model().objects.create_user("ann", password="old")
    try:
        with override_settings(SESSION_TOKENS_STORE=server.url, SESSION_TOKENS={"pepper": bytes(32)}):
            client = Client(raise_request_exception=False)
            client.get("/log-in?name=ann")
            key = client.cookies[COOKIE].value
            server.kill()
            failed = client.get("/show")
            server.start()

            assert failed.status_code >= 500
            assert COOKIE not in failed.cookies
            assert client.cookies[COOKIE].value == key
            assert client.get("/show").json()["user"] == "ann"
    finally:
        opened.close()
        user.delete()
