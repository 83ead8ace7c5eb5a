"""Sessions of Flask: no record before data, nothing adopted, nothing lost, nothing revived, nobody logged out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask import Flask, request, session
from flask.testing import FlaskClient
from markupsafe import Markup

from session_tokens import SessionTokens, Settings
from session_tokens.testing import ManualClock
from session_tokens.web.flask import login, logout
from tests.helpers.flask_shop import Gate, second_browser, secret_in, shop, tokens_of
from tests.helpers.servers.valkey import ValkeyServer

STRANGER = "sts_"


@pytest.fixture(params=["memory", "sqlite", "postgres", "valkey"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flask]:
    if request.param in ("memory", "sqlite"):
        app = shop("memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/shop.db")
    else:
        app = shop(request.getfixturevalue(f"{request.param}_url"), pepper=bytes(range(32)))
    yield app
    tokens_of(app).close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def sessions(app: Flask) -> list[str]:
    """Return the owners of all living sessions."""
    return [each.owner for each in tokens_of(app).list_sessions(anonymous=True).items]


def test_a_visitor_who_stores_nothing_has_no_record_and_no_cookie(app: Flask, client: FlaskClient) -> None:
    answers = [client.get("/plain"), client.get("/read"), client.post("/clear"), client.post("/set", json={})]

    assert [] == [answer.headers["Set-Cookie"] for answer in answers if "Set-Cookie" in answer.headers]
    assert [] == sessions(app)
    assert ["Cookie" in answer.headers.get("Vary", "") for answer in answers] == [False, True, True, True]


def test_that_a_session_would_be_permanent_is_no_data(app: Flask, client: FlaskClient) -> None:
    answer = client.post("/set", json={"_permanent": True})

    assert "Set-Cookie" not in answer.headers and [] == sessions(app)


def test_a_record_is_made_with_the_first_data(app: Flask, client: FlaskClient) -> None:
    answer = client.post("/set", json={"cart": ["apple"]})

    assert [owner.partition(":")[0] for owner in sessions(app)] == ["anonymous"]
    assert "no-store" in answer.headers["Cache-Control"] and "Cookie" in answer.headers["Vary"]
    assert "HttpOnly" in answer.headers["Set-Cookie"] and "apple" not in answer.headers["Set-Cookie"]
    assert client.get("/read").json == {"cart": ["apple"]}


def test_it_does_what_a_dictionary_does() -> None:
    with shop("memory://").test_request_context():
        fields: Any = session  # a dictionary with Flask's own sessions, which types do not tell
        fields.update(a=1, b=[2])
        kept = fields.copy()
        fields.clear()
        fields |= kept
        fields["c"] = 3

        assert type(kept) is dict and fields | {"d": 4} == {**kept, "c": 3, "d": 4}
        assert {"a": 0, "z": 5} | fields == {**kept, "c": 3, "z": 5}
        assert fields.popitem() == ("c", 3) and session == kept
        fields.clear()
        with pytest.raises(KeyError, match="empty"):
            fields.popitem()


def test_a_chosen_cookie_is_never_adopted(app: Flask) -> None:
    chosen = SessionTokens.open("memory://").open_session("eve").secret  # well formed, and unknown here
    client = second_browser(app, chosen)
    client.post("/set", json={"cart": ["apple"]})

    assert secret_in(client) != chosen
    assert second_browser(app, chosen).get("/read").json == {}


def test_a_cookie_of_somebody_else_under_our_name_is_left_alone(app: Flask) -> None:
    client = second_browser(app, "eyJ1c2VyIjoxfQ.foreign.signature")
    answer = client.get("/read")

    assert answer.json == {} and "Set-Cookie" not in answer.headers


def test_reading_writes_nothing_and_leaves_the_cookie(app: Flask, client: FlaskClient) -> None:
    client.post("/set", json={"theme": "dark"})
    before = tokens_of(app).list_sessions(anonymous=True).items
    answer = client.get("/read")

    assert "Set-Cookie" not in answer.headers and "Cache-Control" not in answer.headers
    assert tokens_of(app).list_sessions(anonymous=True).items == before


def test_a_value_set_to_what_it_is_writes_nothing(app: Flask, client: FlaskClient) -> None:
    client.post("/set", json={"theme": "dark"})
    before = tokens_of(app).list_sessions(anonymous=True).items[0].version
    client.post("/set", json={"theme": "dark"})

    assert tokens_of(app).list_sessions(anonymous=True).items[0].version == before


def test_nested_changes_none_and_flashes_are_kept(app: Flask, client: FlaskClient) -> None:
    client.post("/set", json={"cart": ["apple"], "coupon": None})
    client.post("/nested")
    client.post("/flash")

    assert client.get("/flashed").json == ["saved"]
    assert client.get("/read").json == {"cart": ["apple", "pear"], "coupon": None}


def test_all_types_that_the_signed_cookie_kept_are_kept() -> None:
    app = shop()
    kept = {
        "tuple": (1, "b"),
        "bytes": b"\xff\x00",
        "markup": Markup("<b>"),
        "uuid": UUID(int=7),
        "instant": datetime(2026, 1, 2, tzinfo=UTC),
        "like a tag": {" t": "no tuple"},
    }

    @app.post("/types")
    def types() -> str:
        session.update(kept)
        return ""

    @app.get("/types")
    def read_types() -> str:
        assert dict(session) == kept
        assert isinstance(session["markup"], Markup) and isinstance(session["tuple"], tuple)
        return "same"

    client = app.test_client()
    client.post("/types")
    assert client.get("/types").text == "same"


def test_what_is_no_json_is_refused_by_name() -> None:
    app = shop()

    @app.get("/odd")
    def odd() -> str:
        session["odd"] = object()
        return ""

    with pytest.raises(TypeError, match="odd"):
        app.test_client().get("/odd")


def test_an_emptied_session_ends_and_its_cookie_goes(app: Flask, client: FlaskClient) -> None:
    client.post("/set", json={"theme": "dark"})
    old = secret_in(client)
    answer = client.post("/clear")

    assert "session=;" in answer.headers["Set-Cookie"] and "Cookie" in answer.headers["Vary"]
    assert [] == sessions(app)
    assert second_browser(app, old).get("/read").json == {}


def test_log_in_gives_a_new_secret_and_keeps_the_cart(app: Flask, client: FlaskClient) -> None:
    client.post("/set", json={"cart": ["apple"]})
    before = secret_in(client)
    client.post("/login?owner=alice")

    assert secret_in(client) != before
    assert client.get("/read").json == {"cart": ["apple"]}
    assert second_browser(app, before).get("/read").json == {}
    assert sessions(app) == ["alice"]


def test_log_in_of_another_owner_carries_nothing_over(app: Flask, client: FlaskClient) -> None:
    client.post("/login?owner=alice")
    client.post("/set", json={"cart": ["of alice"]})
    client.post("/login?owner=bob")

    assert client.get("/read").json == {}
    assert sessions(app) == ["bob"]


def test_what_the_next_user_has_as_the_one_before_is_kept(app: Flask, client: FlaskClient) -> None:
    client.post("/login-and-set?owner=alice", json={"theme": "dark", "cart": ["of alice"]})
    client.post("/login-and-set?owner=bob", json={"theme": "dark"})

    assert client.get("/read").json == {"theme": "dark"}


@pytest.mark.parametrize("status", [200, 500])
def test_a_rotation_keeps_the_session_and_kills_the_old_secret(app: Flask, client: FlaskClient, status: int) -> None:
    client.post("/login-and-set?owner=alice", json={"theme": "dark"})
    before = secret_in(client)
    client.post(f"/regenerate?status={status}")

    assert (client.get("/read").json or {})["theme"] == "dark" and sessions(app) == ["alice"]
    assert ("after" in (client.get("/read").json or {})) == (status == 200)
    assert second_browser(app, before).get("/read").json == {}


def test_a_failing_response_logs_out_all_the_same() -> None:
    app = shop()

    @app.post("/logout-breaks")
    def log_out_breaks() -> tuple[str, int]:
        logout()
        return "broken", 500

    client = app.test_client()
    client.post("/login?owner=alice")
    assert client.post("/logout-breaks").status_code == 500
    assert [] == sessions(app) and secret_in(client) is None


def test_log_out_ends_the_session(app: Flask, client: FlaskClient) -> None:
    client.post("/login?owner=alice")
    client.post("/set", json={"theme": "dark"})
    old = secret_in(client)
    answer = client.post("/logout")

    assert "session=;" in answer.headers["Set-Cookie"]
    assert [] == sessions(app)
    assert second_browser(app, old).get("/read").json == {}


def test_log_out_everywhere_ends_every_device_or_all_the_others(app: Flask) -> None:
    phone, laptop, kiosk = app.test_client(), app.test_client(), app.test_client()
    for device in (phone, laptop, kiosk):
        device.post("/login?owner=alice")
        device.post("/set", json={"theme": "dark"})

    assert laptop.post("/logout-everywhere?keep").text == "2"
    assert [device.get("/read").json for device in (phone, laptop, kiosk)] == [{}, {"theme": "dark"}, {}]
    assert laptop.post("/logout-everywhere").text == "1"
    assert laptop.get("/read").json == {} and [] == sessions(app)


def in_flight(app: Flask, client: FlaskClient, method: str, path: str) -> Callable[[], int]:
    """Start a request that stays in its view; the answer lets it go on and returns its status."""
    gate: Gate = app.extensions["gate"]
    statuses: list[int] = []

    def run() -> None:
        answer = client.open(path, method=method)
        statuses.append(answer.status_code)
        app.extensions["set cookies"][path] = answer.headers.getlist("Set-Cookie")

    app.extensions["set cookies"] = {}
    thread = threading.Thread(target=run)
    thread.start()
    assert gate.entered.wait(30)

    def finish() -> int:
        gate.opened.set()
        thread.join(30)
        return statuses[0]

    return finish


@pytest.mark.parametrize(("method", "path"), [("POST", "/slow-write"), ("GET", "/slow-read")])
@pytest.mark.parametrize("permanent", [False, True])
def test_log_out_beside_a_slow_request_never_revives(app: Flask, method: str, path: str, permanent: bool) -> None:
    client = app.test_client()
    client.post("/login?owner=alice")
    client.post("/set", json={"theme": "dark", "_permanent": permanent})
    secret = secret_in(client)
    finish = in_flight(app, second_browser(app, secret), method, path)
    client.post("/logout")

    assert finish() == 200
    assert [] == sessions(app)
    assert second_browser(app, secret).get("/read").json == {}


@pytest.mark.parametrize(("method", "path"), [("POST", "/slow-write"), ("GET", "/slow-read")])
def test_a_slow_request_overwrites_no_cookie_of_a_log_in_beside_it(app: Flask, method: str, path: str) -> None:
    client = app.test_client()
    client.post("/set", json={"theme": "dark", "_permanent": True})
    slow = second_browser(app, secret_in(client))
    finish = in_flight(app, slow, method, path)
    client.post("/login?owner=alice")

    assert finish() == 200
    assert slow.get_cookie("session") is not None and secret_in(slow) != secret_in(client)
    assert app.extensions["set cookies"][path] == []


def test_two_requests_that_change_different_fields_both_survive(app: Flask) -> None:
    client = app.test_client()
    client.post("/set", json={"theme": "dark"})
    finish = in_flight(app, second_browser(app, secret_in(client)), "POST", "/slow-write")
    client.post("/set", json={"cart": ["apple"]})

    assert finish() == 200
    assert client.get("/read").json == {"theme": "dark", "cart": ["apple"], "late": "dark"}


def test_a_500_during_log_in_loses_no_cart(app: Flask, client: FlaskClient) -> None:
    client.post("/set", json={"cart": ["apple"]})
    answer = client.post("/login-breaks")

    assert answer.status_code == 500
    assert client.get("/read").json == {"cart": ["apple"]}


def test_an_outage_is_a_503_that_logs_nobody_out(private_valkey: Callable[..., ValkeyServer]) -> None:
    server = private_valkey("--appendonly", "yes", "--appendfsync", "always")
    app = shop(f"{server.url}?namespace=shop", pepper=bytes(range(32)))
    app.testing = False
    client = app.test_client()
    client.post("/login?owner=alice")
    client.post("/set", json={"theme": "dark"})
    server.kill()
    answers = [client.get("/read"), client.post("/set", json={"theme": "light"}), client.post("/logout")]

    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
    assert [] == [answer for answer in answers if "Set-Cookie" in answer.headers]
    assert client.get("/plain").status_code == 200

    server.start()
    until_s = time.monotonic() + 30
    while client.get("/read").status_code == 503 and time.monotonic() < until_s:
        time.sleep(0.05)  # the store is asked again after a moment
    assert client.get("/read").json == {"theme": "dark"}
    tokens_of(app).close()


def test_an_outage_while_writing_is_a_503_without_the_answer_of_the_view(
    private_valkey: Callable[..., ValkeyServer],
) -> None:
    server = private_valkey()
    app = shop(f"{server.url}?namespace=shop", pepper=bytes(range(32)))
    app.testing = False
    client = app.test_client()
    client.post("/set", json={"theme": "dark"})
    secret = secret_in(client)
    finish = in_flight(app, second_browser(app, secret), "POST", "/slow-write")
    server.kill()

    assert finish() == 503
    tokens_of(app).close()


def test_the_cookie_on_https_is_bound_to_its_host() -> None:
    app = shop()
    client = app.test_client()
    answer = client.post("/set", json={"theme": "dark"}, base_url="https://shop.example")

    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-session=") and "Secure" in cookie and "Path=/" in cookie
    assert client.get("/read", base_url="https://shop.example").json == {"theme": "dark"}


def test_the_cookie_on_https_with_a_domain_is_secure_all_the_same() -> None:
    app = shop()
    app.config["SESSION_COOKIE_DOMAIN"] = "shop.example"
    client = app.test_client()
    answer = client.post("/set", json={"theme": "dark"}, base_url="https://shop.example")

    assert answer.headers["Set-Cookie"].startswith("__Secure-session=")


def clocked(clock: ManualClock, **config: object) -> tuple[Flask, FlaskClient]:
    app = shop(SessionTokens.open("memory://", clock=clock, settings=Settings(max_age=3600)))
    app.config.update(config)
    return app, app.test_client()


def test_a_permanent_session_lives_for_its_lifetime_after_each_use() -> None:
    clock = ManualClock()
    _, client = clocked(clock, PERMANENT_SESSION_LIFETIME=timedelta(days=2))
    answer = client.post("/set", json={"theme": "dark", "_permanent": True})
    assert "Expires=" in answer.headers["Set-Cookie"]
    for _ in range(3):
        clock.advance(86_400)
        assert (client.get("/read").json or {})["theme"] == "dark"
    clock.advance(3 * 86_400)

    assert client.get("/read").json == {}


def test_a_permanent_session_that_use_does_not_prolong_ends_after_its_lifetime() -> None:
    clock = ManualClock()
    _, client = clocked(clock, PERMANENT_SESSION_LIFETIME=timedelta(days=2), SESSION_REFRESH_EACH_REQUEST=False)
    client.post("/set", json={"theme": "dark", "_permanent": True})
    clock.advance(86_400)
    assert (client.get("/read").json or {})["theme"] == "dark"
    clock.advance(86_401)

    assert client.get("/read").json == {}


def test_a_remembered_log_in_outlives_the_general_limit_under_one_cookie() -> None:
    clock = ManualClock()
    app, client = clocked(clock)
    short = app.test_client()
    short.post("/login?owner=bob")
    answer = client.post("/login?owner=alice&remember")
    assert "Expires=" in answer.headers["Set-Cookie"] or "Max-Age=" in answer.headers["Set-Cookie"]
    clock.advance(29 * 86_400)

    assert sessions(app) == ["alice"]
    clock.advance(2 * 86_400)
    assert [] == sessions(app)


def test_an_owner_who_is_disabled_is_told_from_an_outage(app: Flask, client: FlaskClient) -> None:
    tokens_of(app).disable_owner("alice")
    app.testing = False

    assert client.post("/login?owner=alice").status_code == 403


def test_the_last_log_in_of_a_request_says_whether_it_is_remembered_and_how_it_was_proved(app: Flask) -> None:
    @app.post("/twice")
    def twice() -> str:
        login("alice", remember=True, acr="mfa")
        if "out" in request.args:
            logout()
        login("bob")
        return "in"

    for path in ("/twice", "/twice?out"):
        answer = app.test_client().post(path)
        assert "Max-Age=" not in answer.headers["Set-Cookie"] and "Expires=" not in answer.headers["Set-Cookie"]
        session = tokens_of(app).list_sessions("bob").items[-1]
        assert (session.acr, session.max_age) == (None, timedelta(hours=1).total_seconds())
