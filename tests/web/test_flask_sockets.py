"""Sockets beside Flask, as those of Flask-SocketIO: one handshake, and the session opened again for each event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, session
from flask.sessions import SecureCookieSession
from flask.testing import FlaskClient
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder

from session_tokens import InvalidInput, SessionTokens
from session_tokens.testing import ManualClock
from session_tokens.web.flask import SessionTokensInterface, current_session, login

EVERY_S, GRACE_S = 600, 60
HANDSHAKES = {"a WebSocket": {"Upgrade": "websocket", "Connection": "Upgrade"}, "polling": {}}


@pytest.fixture
def tokens(clock: ManualClock) -> Any:
    with SessionTokens.open("memory://", clock=clock, sweep=False) as opened:
        yield opened


@pytest.fixture(params=[False, True], ids=["of the browser", "permanent"])
def app(request: pytest.FixtureRequest, tokens: SessionTokens) -> Flask:
    made = Flask("site")
    made.config["SESSION_PERMANENT"] = request.param
    made.session_interface = SessionTokensInterface(tokens, rotate_every=EVERY_S, rotation_grace=GRACE_S)
    made.get("/who")(lambda: {"user": current_session().owner, "fields": dict(session)})

    @made.post("/log-in")
    def log_in() -> str:
        login("ann")
        return "in"

    return made


@pytest.fixture(params=HANDSHAKES)
def event(request: pytest.FixtureRequest, app: Flask, browser: FlaskClient) -> Callable[[int | None], str | None]:
    """Serve an event as Flask-SocketIO does: in the environment of the handshake, with a response that goes nowhere."""
    cookie = browser.get_cookie("session")
    assert cookie is not None
    headers = HANDSHAKES[request.param] | {"Cookie": f"session={cookie.value}"}
    environ = EnvironBuilder(path="/socket.io/", headers=Headers(list(headers.items()))).get_environ()

    def serve(kept: int | None = None) -> str | None:
        with app.request_context(environ):
            user = current_session().owner
            if kept is not None:
                session["kept"] = kept
            app.session_interface.save_session(app, current_session(), app.response_class())
            return user

    return serve


@pytest.fixture
def browser(app: Flask) -> FlaskClient:
    client = app.test_client()
    client.post("/log-in")
    return client


def test_the_events_of_a_socket_are_no_thief_though_the_browser_has_another_cookie_by_now(
    browser: FlaskClient, event: Any, clock: ManualClock
) -> None:
    assert event(1) == "ann"
    clock.advance(EVERY_S)
    before = browser.get_cookie("session")
    assert event(2) == "ann"
    assert browser.get("/who").json["user"] == "ann"  # type: ignore[index]
    assert browser.get_cookie("session") != before
    clock.advance(GRACE_S)

    assert event(3) == "ann"
    seen: Any = browser.get("/who").json
    assert (seen["user"], seen["fields"]["kept"]) == ("ann", 3)


def test_no_event_is_given_a_cookie_that_never_reaches_the_browser(
    browser: FlaskClient, event: Any, clock: ManualClock
) -> None:
    clock.advance(EVERY_S)
    assert event(1) == "ann"
    clock.advance(GRACE_S)

    assert browser.get("/who").json["user"] == "ann"  # type: ignore[index]


def test_the_events_of_a_socket_see_the_end_of_the_session(
    browser: FlaskClient, event: Any, tokens: SessionTokens
) -> None:
    assert event(1) == "ann"
    tokens.destroy_sessions("ann")

    assert event(2) is None
    assert event() is None
    assert browser.get("/who").json["user"] is None  # type: ignore[index]


def test_a_socket_that_has_a_copy_of_the_session_is_told_the_remedy(app: Flask, browser: FlaskClient) -> None:
    with app.test_request_context("/socket.io/") as context:
        context._session = SecureCookieSession({"a": 1})  # as Flask-SocketIO does

        with pytest.raises(InvalidInput, match="manage_session=False"):
            current_session()
