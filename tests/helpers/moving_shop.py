"""A shop on Flask whose sessions move: as it was with Flask-Session, and as it is with ours; each a server too.

``python -m tests.helpers.moving_shop before|after REDIS_URL PREFIX STORE`` serves it and prints its port.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import flask
import redis
from flask_session import Session as FlaskSessions
from werkzeug.serving import WSGIRequestHandler, make_server

from session_tokens import SessionTokens
from session_tokens.web.flask import SessionTokensInterface, logout
from session_tokens.web.moving_in.peers import FlaskSessionRedis


def site() -> flask.Flask:
    """Make the shop without sessions."""
    app = flask.Flask("shop")
    app.secret_key = "for tests only"  # of a test

    @app.get("/log-in/<name>")
    def log_in(name: str) -> str:
        flask.session["_user_id"] = name
        flask.session["when"] = datetime(2026, 11, 28, tzinfo=UTC)
        flask.session["cart"] = [1, {"n": None}]
        return "in"

    @app.get("/show")
    def show() -> dict[str, Any]:
        cart = flask.session.get("cart")
        return {"user": flask.session.get("_user_id"), "cart": cart, "when": str(flask.session.get("when"))}

    @app.get("/clear")
    def clear() -> str:
        flask.session.clear()
        return "out"

    @app.get("/log-out")
    def leave() -> str:
        logout()
        return "out"

    return app


def theirs(server: Any, prefix: str, **options: Any) -> flask.Flask:
    """Make the shop with Flask-Session."""
    app = site()
    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=server, SESSION_KEY_PREFIX=prefix, **options)
    FlaskSessions(app)
    return app


def ours(st: SessionTokens, server: Any, prefix: str, **options: Any) -> flask.Flask:
    """Make the shop with our sessions, to which those of Flask-Session move."""
    app = site()
    peer = FlaskSessionRedis(server, prefix=prefix, **options)
    app.session_interface = SessionTokensInterface(st, owner_key="_user_id", migrate_from=peer)
    return app


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002  # as it is called there
        pass


def main(which: str, url: str, prefix: str, store: str) -> None:
    """Serve one of both until the process is ended."""
    server = redis.Redis.from_url(url)
    if which == "before":
        app = theirs(server, prefix)
    else:
        app = ours(SessionTokens.open(store), server, prefix)
        app.config["SESSION_COOKIE_NAME"] = "ours"
    http = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    sys.stdout.write(f"{http.port}\n")
    sys.stdout.flush()
    http.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
