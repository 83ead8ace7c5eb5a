"""Our middleware opens no visitor's session for what a page of another origin sends without our cookie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware, get_token
from django.test import RequestFactory
from django.test.utils import override_settings

from session_tokens.web.django.middleware import SessionMiddleware
from session_tokens.web.django.opened import BlockingSessions

EVIL: dict[str, Any] = {"HTTP_ORIGIN": "https://evil.example", "HTTP_SEC_FETCH_SITE": "cross-site"}
OURS: dict[str, Any] = {"HTTP_ORIGIN": "http://testserver", "HTTP_SEC_FETCH_SITE": "same-origin"}


def visitors(tokens: BlockingSessions) -> int:
    return len(tokens.list_sessions(anonymous=True).items)


def put(request: Any) -> None:
    request.session["cart"] = ["pen"]


def put_and_save(request: Any) -> None:
    put(request)
    request.session.save()


def put_and_cycle(request: Any) -> None:
    put(request)
    request.session.cycle_key()


@pytest.mark.parametrize("act", [put, put_and_save, put_and_cycle])
def test_of_what_a_view_did_nothing_is_left(tokens: BlockingSessions, act: Callable[[Any], None]) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        act(request)
        return HttpResponse("done")

    middleware = SessionMiddleware(view)
    answers: list[Any] = [middleware(RequestFactory().post("/", **each)) for each in (EVIL, OURS)]

    assert [(answer.content, bool(answer.cookies)) for answer in answers] == [(b"done", False), (b"done", True)]
    assert visitors(tokens) == 1
    assert [answer.headers["Vary"] for answer in answers] == ["Cookie", "Cookie"]


@pytest.mark.parametrize("act", [put, put_and_save])
async def test_on_an_event_loop_too(tokens: BlockingSessions, act: Callable[[Any], None]) -> None:
    async def view(request: HttpRequest) -> HttpResponse:
        await sync_to_async(act)(request)
        return HttpResponse("done")

    middleware: Any = SessionMiddleware(view)
    answers = [await middleware(RequestFactory().post("/", **each)) for each in (EVIL, OURS)]

    assert [(answer.content, bool(answer.cookies)) for answer in answers] == [(b"done", False), (b"done", True)]


@override_settings(CSRF_USE_SESSIONS=True)
def test_nor_for_the_token_of_the_page_that_refuses_it(tokens: BlockingSessions) -> None:
    def refused(request: HttpRequest, reason: str = "") -> HttpResponse:
        return HttpResponse(f"refused: {get_token(request)}", status=403)

    def view(request: HttpRequest) -> HttpResponse:
        csrf: Any = CsrfViewMiddleware(refused)
        csrf.process_request(request)
        answer = csrf.process_view(request, refused, (), {})
        return csrf.process_response(request, answer)

    with override_settings(CSRF_FAILURE_VIEW=refused):
        answer: Any = SessionMiddleware(view)(RequestFactory().post("/", **EVIL))

    assert (answer.status_code, bool(answer.cookies), visitors(tokens)) == (403, False, 0)


@pytest.mark.parametrize(
    ("method", "more", "is_kept"),
    [
        ("get", {}, True),
        ("get", {"HTTP_UPGRADE": "websocket"}, False),
        ("put", {}, False),
        ("post", {"HTTP_HOST": "nobody.example"}, False),
        ("post", {"HTTP_SEC_FETCH_SITE": "same-site"}, True),
        ("post", {"HTTP_SEC_FETCH_SITE": "none"}, True),
    ],
)
def test_what_may_change_something_is_asked_for_its_site(
    tokens: BlockingSessions, method: str, more: dict[str, Any], is_kept: bool
) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        put(request)
        return HttpResponse()

    request = getattr(RequestFactory(), method)("/", **{**EVIL, **more})
    answer: Any = SessionMiddleware(view)(request)

    assert bool(answer.cookies) is is_kept


@pytest.mark.parametrize(
    "more",
    [
        {"HTTP_ORIGIN": "https://shop.example", "HTTP_HOST": "10.0.0.7:8000"},
        {"HTTP_ORIGIN": "null"},
        {"HTTP_SEC_FETCH_SITE": "same-site", "HTTP_ORIGIN": "https://app.shop.example"},
    ],
)
def test_where_no_cookie_was_withheld_all_is_kept(tokens: BlockingSessions, more: dict[str, Any]) -> None:
    """Behind a proxy that changes the host, and from another host of the same site, with which cookies are sent."""

    def view(request: HttpRequest) -> HttpResponse:
        put(request)
        return HttpResponse()

    answer: Any = SessionMiddleware(view)(RequestFactory().post("/", **more))

    assert bool(answer.cookies)


@pytest.mark.parametrize("named", [{"SESSION_COOKIE_SAMESITE": "None"}, {"SESSION_COOKIE_PARTITIONED": True}])
def test_a_cookie_that_goes_to_all_sites_is_withheld_from_none(tokens: BlockingSessions, named: dict[str, Any]) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        put(request)
        return HttpResponse()

    with override_settings(SESSION_COOKIE_SECURE=True, **named):
        answer: Any = SessionMiddleware(view)(RequestFactory().post("/", secure=True, **EVIL))

    assert bool(answer.cookies)
