"""A small shop on Flask: a cart, a log-in, and views that misbehave as views do."""

from __future__ import annotations

import threading
from typing import Any

from flask import Flask, flash, get_flashed_messages, request, session
from flask.testing import FlaskClient

from session_tokens import SessionTokens
from session_tokens.web.flask import SessionTokensInterface, login, logout, logout_everywhere


class Gate:
    """Holds a request inside its view until the test lets it go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def wait(self) -> None:
        self.entered.set()
        assert self.opened.wait(30), "the test never opened the gate"


def shop(store: str | SessionTokens = "memory://", **settings: Any) -> Flask:
    """Make the application; ``app.extensions["gate"]`` holds slow requests."""
    app = Flask("shop")
    app.testing = True
    app.session_interface = SessionTokensInterface(store, **settings)
    app.extensions["gate"] = Gate()
    with_cart(app)
    with_account(app)
    return app


def with_cart(app: Flask) -> None:
    """Add what a visitor does."""
    gate: Gate = app.extensions["gate"]

    @app.get("/plain")
    def plain() -> str:
        return "no session is looked at"

    @app.get("/read")
    def read() -> dict[str, Any]:
        return dict(session)

    @app.post("/set")
    def set_fields() -> str:
        session.update(request.get_json())
        return "set"

    @app.post("/nested")
    def nested() -> str:
        session["cart"].append("pear")
        return "appended"

    @app.post("/slow-write")
    def slow_write() -> str:
        seen = session.get("theme")
        gate.wait()
        session["late"] = seen or "nothing"
        return "late"

    @app.get("/slow-read")
    def slow_read() -> str:
        seen = str(session.get("theme"))
        gate.wait()
        return seen

    @app.post("/flash")
    def make_flash() -> str:
        flash("saved")
        return ""

    @app.get("/flashed")
    def flashed() -> list[Any]:
        return list(get_flashed_messages())

    @app.post("/clear")
    def clear() -> str:
        session.clear()
        return ""


def with_account(app: Flask) -> None:
    """Add what a user does."""

    @app.post("/login")
    def log_in() -> str:
        login(request.args["owner"], remember="remember" in request.args)
        return "in"

    @app.post("/login-and-set")
    def log_in_and_set() -> str:
        login(request.args["owner"])
        session.update(request.get_json())
        return "in"

    @app.post("/regenerate")
    def regenerate() -> tuple[str, int]:
        interface_of(app).regenerate(session)
        session["after"] = "rotation"
        return "rotated", int(request.args.get("status", 200))

    @app.post("/login-breaks")
    def log_in_breaks() -> tuple[str, int]:
        session["new"] = "never seen"
        login("alice")
        return "broken", 500

    @app.post("/logout")
    def log_out() -> str:
        logout()
        return "out"

    @app.post("/logout-everywhere")
    def log_out_everywhere() -> str:
        return str(logout_everywhere(keep_current="keep" in request.args))


def tokens_of(app: Flask) -> SessionTokens:
    """Return the API that the application's sessions are kept with."""
    return interface_of(app).tokens_of(app)


def interface_of(app: Flask) -> SessionTokensInterface:
    """Return the session interface of the application."""
    interface = app.session_interface
    assert isinstance(interface, SessionTokensInterface)
    return interface


def secret_in(client: FlaskClient, name: str = "session") -> str | None:
    """Return what the browser holds as its session cookie."""
    cookie = client.get_cookie(name)
    return None if cookie is None else cookie.value


def second_browser(app: Flask, secret: str | None) -> FlaskClient:
    """Return another client that presents a cookie."""
    client = app.test_client()
    if secret is not None:
        client.set_cookie("session", secret)
    return client
