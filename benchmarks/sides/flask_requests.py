"""Call a Flask application as a server does, request by request; the sessions are those that the argument names.

Arguments: `session-tokens`, `near` (the same with a near cache), `flask-session`, `floor` or `none`, and the URL of a
Valkey server. A request is one call of the WSGI application with an environment of its own: no sockets and no client
are measured. One request in the benchmark looks at the session (`read`), or counts in it (`change`), or does not touch
it (`bare`).
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from typing import Any

from flask import Flask, request, session
from flask.sessions import SecureCookieSession, SessionInterface

from benchmarks.sides.names import owner_name, picks
from benchmarks.sides.serving import Stopwatch, serve

PEPPER = bytes(range(32))


def application(kind: str, url: str) -> Flask:
    """Make the application with sessions of a kind."""
    app = Flask("shop")
    app.config["SECRET_KEY"] = "only for this benchmark"
    if kind in ("session-tokens", "near"):
        from session_tokens import Settings
        from session_tokens.web.flask import SessionTokensInterface

        if kind == "near":
            os.environ["SESSION_TOKENS_NEAR_CACHE"] = "2"
        settings = Settings(max_age=86_400)
        app.session_interface = SessionTokensInterface(url, owner_key="user_id", settings=settings, pepper=PEPPER)
    elif kind == "flask-session":
        from flask_session import Session
        from redis import Redis

        app.config.update(SESSION_TYPE="redis", SESSION_REDIS=Redis.from_url(url.replace("valkey:", "redis:")))
        Session(app)
    elif kind == "floor":
        app.session_interface = BareInterface(url)

    @app.post("/log-in/<name>")
    def log_in(name: str) -> str:
        session.update(user_id=name, visits=0)
        return name

    @app.get("/read")
    def read() -> str:
        return str(session["user_id"])

    @app.post("/change")
    def change() -> str:
        session["visits"] += 1
        return str(session["user_id"])

    @app.get("/bare")
    def bare() -> str:
        return "bare"

    return app


class BareInterface(SessionInterface):
    """The least that keeps a session: a GET, and a SET where it was changed, by the client library that ours is on."""

    def __init__(self, url: str) -> None:
        from valkey import Valkey

        self._client = Valkey.from_url(url)

    def open_session(self, app: Flask, request: Any) -> SecureCookieSession:
        key = request.cookies.get("session")
        kept = None if key is None else self._client.get(key)
        return SecureCookieSession({} if kept is None else json.loads(kept))

    def save_session(self, app: Flask, session: Any, response: Any) -> None:
        if session.modified:
            key = request.cookies.get("session") or secrets.token_urlsafe(32)
            self._client.set(key, json.dumps(dict(session)), ex=86_400)
            response.set_cookie("session", key)


class Requests:
    """An application, and the cookies of the browsers that are logged in."""

    def __init__(self, kind: str, url: str) -> None:
        self.app = application(kind, url)
        self.called: Any = self.app
        if kind == "wsgi":
            from session_tokens.web.wsgi import SessionMiddleware

            self.called = SessionMiddleware(self.app, url, pepper=PEPPER)
        self.cookies: list[str] = []

    def prepare(self, sessions: int) -> dict[str, Any]:
        """Log so many browsers in."""
        for number in range(sessions):
            _, headers = self.call(self.environ("POST", f"/log-in/{owner_name(number)}"))
            self.cookies.append(next(value.partition(";")[0] for name, value in headers if name == "Set-Cookie"))
        return {"sessions": len(self.cookies)}

    def request(self, what: str, count: int) -> dict[str, Any]:
        """Send so many requests, one after another, of browsers at random, or of visitors where it is `visitor`."""
        if what == "visitor":
            asked = [(self.environ("GET", "/bare"), b"bare") for _ in range(count)]
        else:
            numbers = picks(count, len(self.cookies))
            method = "POST" if what == "change" else "GET"
            asked = [
                (self.environ(method, f"/{what}", "".join(self.cookies[number])), owner_name(number).encode())
                for number in numbers
            ]
        before = self._visits() if what == "change" else 0
        right = 0
        watch = Stopwatch()
        asked.reverse()
        while asked:  # what a request has brought along goes with it, as in a server
            environ, expected = asked.pop()
            body, _ = self.call(environ)
            right += body == expected
        watch.stop()
        if what == "change" and self._visits() - before != count:
            right = 0
        return watch.answer(count, right)

    def _visits(self) -> int:
        total = 0
        for cookie in self.cookies:
            with self.app.test_request_context("/read", headers={"Cookie": cookie}):
                total += session["visits"]
        return total

    @staticmethod
    def environ(method: str, path: str, cookie: str | None = None) -> dict[str, Any]:
        given = {} if cookie is None else {"HTTP_COOKIE": cookie}
        return {
            "REQUEST_METHOD": method, "PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": "", "CONTENT_LENGTH": "0",
            "SERVER_NAME": "shop.example", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "shop.example", "HTTP_USER_AGENT": "benchmark", "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": BytesIO(), "wsgi.errors": sys.stderr,
            "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False, **given,
        }  # fmt: skip

    def call(self, environ: dict[str, Any]) -> tuple[bytes, list[tuple[str, str]]]:
        sent: list[tuple[str, str]] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            sent.extend(headers)

        answer = self.called(environ, start_response)
        body = b"".join(answer)
        close = getattr(answer, "close", None)
        if close is not None:
            close()
        return body, sent

    def describe(self) -> dict[str, str]:
        """Name the packages that serve."""
        found = {}
        for name in ("Flask", "Werkzeug", "Flask-Session", "redis", "valkey"):
            try:
                found[name.lower()] = version(name)
            except PackageNotFoundError:
                continue
        return found


if __name__ == "__main__":
    side = Requests(sys.argv[1], sys.argv[2])
    serve({"prepare": side.prepare, "request": side.request, "describe": side.describe})
