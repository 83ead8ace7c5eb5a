"""Views of Django REST framework, for programs with tokens and for browsers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import modify_settings, override_settings
from django.urls import include, path
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.views import APIView

from session_tokens.web.django import end_others
from session_tokens.web.django.checks import DJANGOS, MIDDLEWARE
from session_tokens.web.django.opened import BlockingSessions, opened
from session_tokens.web.django.rest_framework import HasToken, RecentLogIn, TokenAuthentication
from tests.helpers.servers.valkey import ValkeyServer


class Me(APIView):
    authentication_classes: ClassVar[list[Any]] = [TokenAuthentication, SessionAuthentication]
    permission_classes: ClassVar[list[Any]] = [IsAuthenticated]

    def get(self, request: Any) -> Any:
        return Response({"user": request.user.get_username(), "token": getattr(request.auth, "id", None)})

    post = get


class Hook(Me):
    permission_classes: ClassVar[list[Any]] = [HasToken]

    def get(self, request: Any) -> Any:
        return Response({"value": request.auth.value, "known": request.user.is_authenticated})


class Pay(Me):
    permission_classes: ClassVar[list[Any]] = [RecentLogIn]


class EndOthers(Me):
    def post(self, request: Any) -> Any:
        return Response({"ended": end_others(request)})


urlpatterns = [
    path("me", Me.as_view()), path("hook", Hook.as_view()), path("pay", Pay.as_view()),
    path("end-others", EndOthers.as_view()),
    path("", include("tests.helpers.django_site")),
]  # fmt: skip


@pytest.fixture(params=[False, True], ids=["django's middleware", "ours"])
def ann(request: pytest.FixtureRequest, tokens: BlockingSessions) -> Iterator[Any]:
    user = get_user_model().objects.create_user("ann", password="old")
    changed = {"prepend": MIDDLEWARE, "remove": DJANGOS} if request.param else {"remove": "nothing"}
    with override_settings(ROOT_URLCONF=__name__), modify_settings(MIDDLEWARE=changed):
        yield user
    get_user_model().objects.all().delete()
    connection.close()


def bearing(secret: str | None) -> Client:
    return Client(headers={"Authorization": f"Bearer {secret}"})


def test_a_token_authenticates_its_owner_until_the_session_ends(tokens: BlockingSessions, ann: Any) -> None:
    session = tokens.open_session(str(ann.pk))
    issued = tokens.issue_token(session.id, "v")
    program = bearing(issued.secret)

    assert {"user": "ann", "token": issued.id} == program.get("/me").json()
    assert 200 == program.post("/me").status_code  # no cookie, so nothing to forge
    tokens.destroy_session(session.id)
    refused = program.get("/me")
    assert (401, 'Bearer error="invalid_token"') == (refused.status_code, refused.headers["WWW-Authenticate"])


def test_what_is_no_token_of_a_user_is_refused(tokens: BlockingSessions, ann: Any) -> None:
    session = tokens.open_session(str(ann.pk))
    stranger = tokens.issue_token(tokens.open_session("no key").id, "v")
    gone = tokens.issue_token(tokens.open_session("4711").id, "v")
    mine = tokens.issue_token(session.id, "v")
    for secret in (stranger.secret, gone.secret, session.secret, "stt_x", "x"):
        refused = bearing(secret).get("/me")
        assert (401, 'Bearer error="invalid_token"') == (refused.status_code, refused.headers["WWW-Authenticate"])
        assert str(secret) not in refused.content.decode() or secret == "x"
    nothing = Client().get("/me")
    assert (401, "Bearer") == (nothing.status_code, nothing.headers["WWW-Authenticate"])
    ann.is_active = False
    ann.save()

    assert 401 == bearing(mine.secret).get("/me").status_code


def test_a_token_without_an_owner_is_for_views_that_want_no_user(tokens: BlockingSessions, ann: Any) -> None:
    free = tokens.issue_token(None, {"order": 7})

    assert {"value": {"order": 7}, "known": False} == bearing(free.secret).get("/hook").json()
    assert bearing(free.secret).get("/me").status_code in (401, 403)
    browser = Client()
    browser.get("/log-in?name=ann")
    assert 403 == browser.get("/hook").status_code


def test_browsers_are_served_beside_and_must_be_recent(tokens: BlockingSessions, ann: Any) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.get("/log-in?name=ann")

    assert {"user": "ann", "token": None} == browser.get("/me").json()
    assert 403 == browser.post("/me").status_code  # without a CSRF token
    assert 200 == browser.get("/pay").status_code
    Pay.permission_classes[0].minutes, before = 0.00002, Pay.permission_classes[0].minutes
    try:
        assert 403 == browser.get("/pay").status_code
    finally:
        Pay.permission_classes[0].minutes = before


@pytest.mark.parametrize("others", ["a visitor's", "another user's"])
def test_no_cookie_of_others_makes_a_tokens_owner_one_who_has_just_logged_in(
    tokens: BlockingSessions, ann: Any, others: str
) -> None:
    get_user_model().objects.create_user("bob", password="old")
    program = bearing(tokens.issue_token(tokens.open_session(str(ann.pk)).id, "v").secret)
    assert 403 == program.get("/pay").status_code
    program.get("/put?cart=apple" if others == "a visitor's" else "/log-in?name=bob")

    assert "ann" == program.get("/me").json()["user"]
    assert 403 == program.get("/pay").status_code
    program.get("/log-in?name=ann")
    assert 200 == program.get("/pay").status_code


@pytest.mark.parametrize("cookie", ["none", "a visitor's", "another user's"])
def test_who_is_known_by_a_token_alone_has_no_session_to_keep(tokens: BlockingSessions, ann: Any, cookie: str) -> None:
    get_user_model().objects.create_user("bob", password="old")
    session = tokens.open_session(str(ann.pk))
    program = bearing(tokens.issue_token(session.id, "v").secret)
    if cookie != "none":
        program.get("/put?cart=apple" if cookie == "a visitor's" else "/log-in?name=bob")
    before = tokens.list_sessions(anonymous=True).items

    assert 403 == program.post("/end-others").status_code
    assert [each.id for each in before] == [each.id for each in tokens.list_sessions(anonymous=True).items]
    program.get("/log-in?name=ann")
    assert {"ended": 1} == program.post("/end-others").json()
    assert tokens.get_session(session.id) is None


def test_a_store_that_is_away_is_a_503(private_valkey: Callable[..., ValkeyServer]) -> None:
    server = private_valkey()
    project = {"SESSION_TOKENS_STORE": server.url, "SESSION_TOKENS": {"pepper": bytes(32)}, "ROOT_URLCONF": __name__}
    with override_settings(**project):
        secret = opened.blocking().issue_token(None, "v").secret
        server.kill()
        answer = bearing(secret).get("/hook")
        opened.close()

    assert (503, "2") == (answer.status_code, answer.headers["Retry-After"])
