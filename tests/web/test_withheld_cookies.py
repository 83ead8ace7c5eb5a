"""Browsers withhold a `SameSite=Lax` cookie where another site posts: no visitor's session then takes its place."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import Any

import aiohttp_session
import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from django.test.utils import override_settings
from flask import Flask, Response
from flask import session as flask_session
from werkzeug.test import Client as WerkzeugClient
from werkzeug.wrappers import Request
from werkzeug.wrappers import Response as WerkzeugResponse

from session_tokens import AsyncSessionTokens, SessionTokens
from session_tokens.testing import ManualClock
from session_tokens.web import withheld
from session_tokens.web.aiohttp import SessionTokensStorage
from session_tokens.web.django import forged
from session_tokens.web.flask import SessionTokensInterface
from session_tokens.web.wsgi import SessionMiddleware, session_of
from tests.helpers.rotating_sites import MADE, NAMES, rotating_site
from tests.helpers.web_sites import PEPPER, Site, shown

PARTNER = "https://partner.example"
EVIL = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
FORGED = [
    {"Origin": "https://evil.example"},
    {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "https://blog.shop.example"},
]
OTHERS: list[dict[str, str]] = [
    {},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": PARTNER},
    {"Origin": PARTNER, "Sec-Fetch-Site": "cross-site"},
]
HANDSHAKE = {"Upgrade": "WebSocket", "Connection": "Upgrade"}


@pytest.fixture
def tokens() -> Iterator[SessionTokens]:
    with SessionTokens.open("memory://", pepper=PEPPER, sweep=False) as st:
        yield st


@pytest.fixture(params=NAMES)
def site(request: pytest.FixtureRequest, tokens: SessionTokens) -> Iterator[Site]:
    options: dict[str, Any] = {} if request.param.startswith("django") else {"trusted_origins": [PARTNER]}
    trusted = ["https://*.other.example", PARTNER]
    with (
        override_settings(CSRF_TRUSTED_ORIGINS=trusted),
        rotating_site(request.param, tokens, options, "memory://") as site,
    ):
        yield site


def visitors(tokens: SessionTokens) -> int:
    return len(tokens.list_sessions(anonymous=True).items)


@pytest.mark.parametrize("headers", FORGED, ids=["by-origin", "cross-site", "same-site"])
def test_what_another_origin_puts_in_is_dropped(
    site: Site, request: pytest.FixtureRequest, headers: dict[str, str]
) -> None:
    with site.browser() as browser:
        answer = browser.post("/put?a=1", headers=headers)

    # Django lets pages of other origins in whose requests its ``CsrfViewMiddleware`` does, with a cookie of ours too.
    is_kept = "django" in request.node.name and headers.get("Sec-Fetch-Site") != "cross-site"
    assert (answer.status_code, answer.text) == (200, "put")
    assert answer.headers.keys() & {"set-cookie", "cache-control"} == (
        {"set-cookie", "cache-control"} if is_kept else set()
    )
    assert visitors(site.tokens) == is_kept


def test_the_user_is_still_logged_in(site: Site) -> None:
    with site.browser() as browser, site.browser() as withholding:
        browser.post("/log-in?name=ann")
        answer = withholding.post("/put?a=1", headers=EVIL)
        browser.cookies.update(answer.cookies)

        user, fields = shown(browser)
        assert (user, fields["note"]) == ("ann", "of the log-in")


@pytest.mark.parametrize("headers", OTHERS, ids=["no-browser", "own", "by-hand", "trusted", "trusted-cross-site"])
def test_other_visitors_have_their_session(site: Site, headers: dict[str, str]) -> None:
    with site.browser() as browser:
        answer = browser.post("/put?a=1", headers=headers)

        assert "set-cookie" in answer.headers and shown(browser)[1]["a"] == "1"
    assert visitors(site.tokens) == 1


def test_a_log_in_is_what_it_was(site: Site, request: pytest.FixtureRequest) -> None:
    is_django = "django" in request.node.name
    with site.browser() as browser:
        answer = browser.post("/log-in?name=ann", headers=EVIL)

    # Of Django it is for ``CsrfViewMiddleware`` to decide, which views of log-ins by SAML are exempted from.
    assert (answer.status_code, "set-cookie" in answer.headers) == ((200, True) if is_django else (403, False))


def test_the_log_says_so_once(
    site: Site, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_django = "django" in request.node.name
    for each in (withheld.dropped, forged.dropped):
        monkeypatch.setattr(each, "tell_again_at_s", -math.inf)
    with site.browser() as browser:
        for _ in range(2):
            browser.post("/put?a=1", headers=EVIL)

    told = [each for each in caplog.records if each.name.startswith("session_tokens.web")]
    name, remedy = "session_tokens.web", "trusted_origins"
    if is_django:
        name, remedy = "session_tokens.web.django", "CSRF_TRUSTED_ORIGINS"
    assert [each.name for each in told] == [name] and remedy in told[0].getMessage()


def test_the_log_is_told_again_after_a_minute(caplog: pytest.LogCaptureFixture, clock: ManualClock) -> None:
    dropped = withheld.Dropped(logging.getLogger("session_tokens.web"), "trusted_origins", lambda: clock.now() / 1000)
    counts = []
    for seconds in (0, 59, 1, 59):
        clock.advance(seconds)
        dropped.tell()
        counts.append(len(caplog.records))

    assert counts == [1, 1, 2, 2]


def test_wildcards_of_django_are_trusted(tokens: SessionTokens) -> None:
    origins = ["https://a.other.example", "http://a.other.example", "https://another.example", "https://[", "null"]
    with (
        override_settings(CSRF_TRUSTED_ORIGINS=["https://*.other.example"]),
        rotating_site("django", tokens, {}, "memory://") as site,
        site.browser() as browser,
    ):
        answers = [browser.post("/put?a=1", headers={**EVIL, "Origin": each, "Cookie": ""}) for each in origins]

    assert [bool(each.headers.get("set-cookie")) for each in answers] == [True, False, False, False, False]


@pytest.mark.parametrize("name", ["starlette", "litestar", "bottle", "aiohttp"])
def test_nor_is_a_cookie_taken_away_where_sessions_last_not_at_all(tokens: SessionTokens, name: str) -> None:
    with rotating_site(name, tokens, {"max_age": 0}, "memory://") as site, site.browser() as browser:
        answers = [browser.post("/put?a=1", headers=headers) for headers in (FORGED[0], {})]

    assert ["set-cookie" in answer.headers for answer in answers] == [False, True]


def in_flask(st: SessionTokens) -> Any:
    app = Flask("sockets")
    app.session_interface = SessionTokensInterface(st)

    @app.route("/", websocket=True)
    @app.get("/")
    def put() -> Response:
        flask_session["a"] = 1
        return Response("put")

    return app


def under_wsgi(st: SessionTokens) -> Any:
    @Request.application
    def put(request: Request) -> WerkzeugResponse:
        session_of(request.environ)["a"] = 1
        return WerkzeugResponse("put")

    return SessionMiddleware(put, st)


@pytest.mark.parametrize("made", [in_flask, under_wsgi])
def test_a_handshake_of_another_origin_opens_none_under_wsgi(made: Any, tokens: SessionTokens) -> None:
    app, evil = made(tokens), FORGED[0]
    asked = [{**HANDSHAKE, **evil}, HANDSHAKE, evil]
    answers = [WerkzeugClient(app, use_cookies=False).get("/", headers=headers) for headers in asked]

    assert [(answer.text, "Set-Cookie" in answer.headers) for answer in answers] == [
        ("put", False), ("put", True), ("put", True),
    ]  # fmt: skip
    assert visitors(tokens) == 2


@pytest.mark.parametrize("is_new", [False, True])
async def test_a_handshake_that_aiohttp_answers_otherwise_opens_none(is_new: bool) -> None:
    async def put(request: web.Request) -> web.Response:
        session = await (aiohttp_session.new_session if is_new else aiohttp_session.get_session)(request)
        session["a"] = 1
        return web.Response(text="no socket", status=400)

    async with await AsyncSessionTokens.open("memory://", sweep=False) as st:
        app = web.Application()
        aiohttp_session.setup(app, SessionTokensStorage(st))
        app.router.add_get("/", put)
        asked = [{**HANDSHAKE, **FORGED[0]}, HANDSHAKE, FORGED[0]]
        seen = []
        async with TestClient(TestServer(app)) as client:
            for headers in asked:
                answer = await client.get("/", headers=headers)
                seen.append((await answer.text(), "Set-Cookie" in answer.headers))
                client.session.cookie_jar.clear()

    assert seen == [("no socket", False), ("no socket", True), ("no socket", True)]


@pytest.mark.parametrize("name", MADE)
def test_behind_a_proxy_the_page_is_our_own(tokens: SessionTokens, name: str) -> None:
    with rotating_site(name, tokens, {"trusted_proxies": ["127.0.0.1"]}, "memory://") as site:
        headers = {"Origin": "http://shop.example", "X-Forwarded-Host": "shop.example"}
        answer = httpx.post(site.url + "/put?a=1", headers=headers)

    assert "set-cookie" in answer.headers
