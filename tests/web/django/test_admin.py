"""The admin site's page of sessions: who sees it, what it shows, what it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.checks import check_dependencies
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import override_settings
from django.urls import include, path

from session_tokens.web.django import owner_of, sessions_of
from session_tokens.web.django.opened import BlockingSessions, opened
from tests.helpers.servers.valkey import ValkeyServer

urlpatterns = [path("admin/", admin.site.urls), path("", include("tests.helpers.django_site"))]
PAGE = "/admin/session_tokens/browsersession/"
MIDDLEWARE = [
    "session_tokens.web.django.SessionMiddleware", "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware", "django.contrib.messages.middleware.MessageMiddleware",
]  # fmt: skip


@pytest.fixture
def users(tokens: BlockingSessions) -> Iterator[Any]:
    make = get_user_model().objects.create_user
    make("boss", password="p", is_staff=True, is_superuser=True)
    make("ann", password="p")
    make("bob", password="p")
    make("helper", password="p", is_staff=True)
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=MIDDLEWARE):
        yield get_user_model().objects
    LogEntry.objects.all().delete()
    get_user_model().objects.all().delete()
    connection.close()


def browser(name: str, agent: str = "Firefox") -> Client:
    client = Client(headers={"User-Agent": agent})
    client.get(f"/log-in?name={name}")
    return client


def test_it_shows_who_is_logged_in_and_no_secret(users: Any) -> None:
    boss, ann = browser("boss"), browser("ann", "<b>Epiphany</b>")
    ann.get("/put?card=4711")
    page = boss.get(PAGE).content.decode()

    assert "ann" in page and "boss" in page and "&lt;b&gt;Epiphany&lt;/b&gt;" in page and "127.0.0.1" in page
    assert page.count("(this one)") == 1 and ann.session.id in page
    assert "std_" not in page and "4711" not in page
    user = users.get(username="ann")
    assert f"/admin/auth/user/{user.pk}/change/" in page
    assert PAGE in boss.get("/admin/").content.decode()


def test_it_finds_our_middleware_in_the_place_of_djangos(users: Any) -> None:
    assert [] == check_dependencies()


def test_it_is_searched_by_user_owner_and_id(users: Any) -> None:
    boss, ann, bob = browser("boss"), browser("ann"), browser("bob")
    key = owner_of(users.get(username="ann"))
    for asked in ("ann", key, ann.session.id):
        page = boss.get(PAGE, {"q": asked}).content.decode()
        assert ann.session.id in page and bob.session.id not in page
    nobody = boss.get(PAGE, {"q": "nobody"})
    assert "No living sessions" in nobody.content.decode()
    assert boss.get(PAGE, {"after": "no cursor"}).status_code == 200


def test_visitors_are_shown_where_they_are_asked_for(users: Any) -> None:
    boss, visitor = browser("boss"), Client()
    visitor.get("/put?card=4711")
    users_alone, all_of_them = boss.get(PAGE), boss.get(PAGE, {"visitors": "1"})
    by_id = boss.get(PAGE, {"q": visitor.session.id})

    shown = [sorted(name for _, name, _ in answer.context["rows"]) for answer in (users_alone, all_of_them, by_id)]
    assert shown == [["boss"], ["a visitor", "boss"], ["a visitor"]]  # in any order: both may be of one millisecond
    assert "anonymous:" not in all_of_them.content.decode()
    assert 'value="1" checked' in all_of_them.content.decode()
    assert 'value="1" checked' not in users_alone.content.decode()
    boss.post(f"{PAGE}?visitors=1", {"id": visitor.session.id})
    assert len(boss.get(PAGE, {"visitors": "1"}).context["rows"]) == 1


def test_pages_of_visitors_go_on_with_visitors(users: Any, tokens: BlockingSessions) -> None:
    boss = browser("boss")
    for _ in range(120):
        tokens.log_in(None)
    first = boss.get(PAGE, {"visitors": "1"})
    link = first.content.decode().partition('<p class="paginator"><a href="')[2].partition('"')[0]

    assert len(boss.get(PAGE + unescape(link)).context["rows"]) == 21


def test_sessions_are_ended_one_by_one_and_all_of_a_user(users: Any) -> None:
    boss, ann, phone, bob = browser("boss"), browser("ann"), browser("ann"), browser("bob")
    user = users.get(username="ann")
    answer = boss.post(PAGE, {"id": [ann.session.id, "ses_00nothing"]}, follow=True)

    assert "1 ended." in answer.content.decode()
    assert [phone.session.id] == [session.id for session in sessions_of(user)]
    boss.post(f"{PAGE}?q=ann", {"all": owner_of(user)})
    assert [] == sessions_of(user)
    assert "bob" == bob.get("/show").json()["user"] and "boss" == boss.get("/show").json()["user"]
    told = [entry.object_repr for entry in LogEntry.objects.all()]
    assert 2 == len(told) and all(f"of {owner_of(user)}" in text for text in told)


def test_permissions_say_who_may_see_and_who_may_end(users: Any) -> None:
    helper, ann = browser("helper"), browser("ann")
    assert helper.get(PAGE).status_code == 403
    assert Client().get(PAGE).status_code == 302 and ann.get(PAGE).status_code == 302
    user = users.get(username="helper")
    user.user_permissions.add(Permission.objects.get(codename="view_browsersession"))
    seen = helper.get(PAGE)

    assert seen.status_code == 200 and "End the chosen" not in seen.content.decode()
    assert helper.post(PAGE, {"id": ann.session.id}).status_code == 403
    assert "ann" == ann.get("/show").json()["user"]
    user.user_permissions.add(Permission.objects.get(codename="delete_browsersession"))
    assert helper.post(PAGE, {"id": ann.session.id}).status_code == 302
    assert "" == ann.get("/show").json()["user"]


def test_a_forged_request_ends_nothing(users: Any) -> None:
    boss, ann = Client(enforce_csrf_checks=True), browser("ann")
    boss.get("/log-in?name=boss")

    assert boss.post(PAGE, {"id": ann.session.id}).status_code == 403
    assert "ann" == ann.get("/show").json()["user"]


def test_many_sessions_are_turned_page_by_page(users: Any, tokens: BlockingSessions) -> None:
    boss = browser("boss")
    for _ in range(120):
        tokens.open_session("of another framework")
    first = boss.get(PAGE)
    after = first.context["after"]
    second = boss.get(PAGE, {"after": after})

    assert (100, 21) == (len(first.context["rows"]), len(second.context["rows"]))
    assert "of another framework" in second.content.decode()


def test_there_is_nothing_to_migrate(users: Any) -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_an_outage_is_told(users: Any, private_valkey: Callable[..., ValkeyServer]) -> None:
    server = private_valkey()
    with override_settings(SESSION_TOKENS_STORE=server.url, SESSION_TOKENS={"pepper": bytes(32)}):
        boss = browser("boss")
        server.kill()
        answer = boss.get(PAGE)
        opened.close()

    assert answer.status_code == 503
