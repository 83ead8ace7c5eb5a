"""Flask and pages of other origins, proxies, and log-ins that are not recent enough."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, request, session

from session_tokens import InvalidInput, SessionTokens, Settings
from session_tokens.testing import ManualClock
from session_tokens.web.flask import SessionTokensInterface, current_session, login, require_recent, require_session
from tests.helpers.flask_shop import shop, tokens_of

PARTNER = "https://partner.example"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost"}, 200),
        ({"Origin": PARTNER}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://blog.localhost"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": PARTNER}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403),
    ],
)
def test_pages_of_other_origins_change_nothing(headers: dict[str, str], status: int) -> None:
    app = shop(trusted_origins=[PARTNER])
    client = app.test_client()
    client.post("/set", json={"theme": "dark"})
    answer = client.post("/set", json={"theme": "light"}, headers=headers)

    assert answer.status_code == status and "Set-Cookie" not in answer.headers
    assert client.get("/read", headers=headers).json == {"theme": "light" if status == 200 else "dark"}


def test_a_page_of_another_origin_logs_nobody_in_without_a_cookie_either() -> None:
    app = shop(trusted_origins=[PARTNER])
    evil = app.test_client().post("/login?owner=mallory", headers={"Origin": "https://evil.example"})
    partner = app.test_client().post("/login?owner=ann", headers={"Origin": PARTNER})

    assert (evil.status_code, partner.status_code) == (403, 200)
    assert "Set-Cookie" not in evil.headers and "Set-Cookie" in partner.headers
    assert ["ann"] == [each.owner for each in tokens_of(app).list_sessions(anonymous=True).items]


def test_a_request_of_another_origin_prolongs_no_cookie() -> None:
    app = shop()

    @app.post("/hook")
    def hook() -> str:
        return "looks at no session"

    client = app.test_client()
    client.post("/set", json={"theme": "dark", "_permanent": True})
    answer = client.post("/hook", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 200 and "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("options", [{"trusted_origins": ["partner.example"]}, {"trusted_proxies": ["nowhere"]}])
def test_origins_and_proxies_that_are_none_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        SessionTokensInterface("memory://", **options)


@pytest.mark.parametrize(("trusted", "address"), [(["127.0.0.0/8"], "203.0.113.9"), ([], "127.0.0.1")])
def test_a_proxy_is_believed_if_it_is_trusted(trusted: list[str], address: str) -> None:
    app = shop(trusted_proxies=trusted)
    app.test_client().post("/login?owner=ann", headers={"X-Forwarded-For": "198.51.100.1, 203.0.113.9"})

    assert [address] == [each.address for each in tokens_of(app).list_sessions("ann").items]


def test_behind_a_trusted_proxy_the_host_and_the_scheme_are_those_of_the_browser() -> None:
    app = shop(trusted_proxies=["127.0.0.1"])
    headers = {
        "X-Forwarded-Proto": "https, http", "X-Forwarded-Host": "shop.example, inner:8000",
        "Origin": "https://shop.example",
    }  # fmt: skip
    answer = app.test_client().post("/login?owner=ann", headers=headers)

    assert answer.status_code == 200 and answer.headers["Set-Cookie"].startswith("__Host-session=")
    assert shop().test_client().post("/login?owner=ann", headers=headers).status_code == 403


def bank(clock: ManualClock) -> Flask:
    app = Flask("bank")
    settings = Settings(max_age=None, idle_timeout=600, remember_max_age=None)
    tokens = SessionTokens.open("memory://", clock=clock, settings=settings, sweep=False)
    app.session_interface = SessionTokensInterface(tokens)

    @app.post("/login")
    def log_in() -> str:
        login("ann", remember="remember" in request.args)
        return "in"

    @app.get("/balance")
    @require_session
    def balance() -> str:
        return str(current_session().owner)

    @app.post("/pay")
    @require_recent(minutes=10)
    def pay() -> str:
        session["paid"] = True
        return "paid"

    @app.post("/pay-async")
    @require_recent(600)
    def pay_at_once() -> str:
        return "paid"

    return app


def test_views_for_users_and_for_those_who_logged_in_not_long_ago() -> None:
    clock = ManualClock()
    client = bank(clock).test_client()
    visitor = [client.get("/balance").status_code, client.post("/pay").status_code]
    client.post("/login")
    user = [client.get("/balance").text, client.post("/pay").status_code, client.post("/pay-async").status_code]
    for _ in range(3):
        clock.advance(300)
        assert client.get("/balance").text == "ann"
    late = client.post("/pay")
    client.post("/login")

    assert [401, 401] == visitor and ["ann", 200, 200] == user
    assert late.status_code == 401 and late.headers["WWW-Authenticate"].startswith("Session error=")
    assert "Cookie" in late.headers["Vary"] and client.post("/pay").status_code == 200


def test_a_guard_takes_minutes_or_an_age() -> None:
    with pytest.raises(InvalidInput):
        require_recent(600, minutes=10)


def test_the_cookie_of_a_log_in_that_is_remembered_for_ever_outlives_the_browser() -> None:
    answer = bank(ManualClock()).test_client().post("/login?remember")

    assert "Max-Age=34560000" in answer.headers["Set-Cookie"]  # 400 days, the longest that browsers keep one
