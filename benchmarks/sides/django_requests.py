"""Call a Django project as a server does, 50 requests at once; its sessions are those that the argument names.

Arguments: `session-tokens` or `db` (Django's own), `wsgi` or `asgi`, the URL of the store, which is the database of
Django's own too. By WSGI requests come from threads, by ASGI from tasks of one event loop; no sockets are measured.
`change` loads a session, counts in it and saves it, `bare` touches none.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from importlib.util import find_spec
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse
from django.urls import path

from benchmarks.sides.names import owner_name
from benchmarks.sides.serving import Stopwatch, serve

KIND, WAY, URL = sys.argv[1:4]
IS_OURS = KIND == "session-tokens"
HAS_POOL = find_spec("psycopg_pool") is not None


def database() -> dict[str, Any]:
    """Return Django's words for the database, with connections that are kept.

    By ASGI Django has a thread for each request, and none is there for the next one: its connections are the pool's
    then, where the driver has one, and else made anew, as its documentation wants it.
    """
    if URL.startswith("sqlite:"):
        pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        options = {"timeout": 60, "init_command": pragmas}
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": URL.removeprefix("sqlite:///"), "OPTIONS": options}
    where = urlsplit(URL)
    pool = {"pool": {"min_size": 10, "max_size": 50, "timeout": 60}} if WAY == "asgi" and HAS_POOL else {}
    return {
        "ENGINE": "django.db.backends.postgresql", "HOST": where.hostname, "PORT": where.port,
        "NAME": where.path.lstrip("/"), "USER": where.username, "CONN_MAX_AGE": 0 if WAY == "asgi" else None,
        "OPTIONS": pool,
    }  # fmt: skip


def change(request: HttpRequest) -> HttpResponse:
    request.session["visits"] += 1
    return HttpResponse(request.session["name"])


async def change_async(request: Any) -> HttpResponse:
    await request.session.aset("visits", await request.session.aget("visits") + 1)
    return HttpResponse(await request.session.aget("name"))


def bare(_: HttpRequest) -> HttpResponse:
    return HttpResponse("bare")


async def bare_async(_: HttpRequest) -> HttpResponse:
    return HttpResponse("bare")


is_async = WAY == "asgi"
urlpatterns = [
    path("change", change_async if is_async else change),
    path("bare", bare_async if is_async else bare),
]
OURS, DJANGOS = "session_tokens.web.django.SessionMiddleware", "django.contrib.sessions.middleware.SessionMiddleware"
settings.configure(
    ROOT_URLCONF=__name__,
    DATABASES={"default": database()},
    INSTALLED_APPS=["django.contrib.sessions", *(["session_tokens.web.django"] if IS_OURS else [])],
    MIDDLEWARE=[OURS if IS_OURS and is_async else DJANGOS],
    SECRET_KEY="only for this benchmark",
    ALLOWED_HOSTS=["*"],
    USE_TZ=True,
    SESSION_ENGINE="session_tokens.web.django" if IS_OURS else "django.contrib.sessions.backends.db",
    SESSION_TOKENS_STORE=URL.replace("sessions.db", "tokens.db"),
    SESSION_TOKENS={"pepper": bytes(range(32))},
)
django.setup()

from importlib import import_module  # noqa: E402  (Django must be set up first)

from django.core.handlers.asgi import ASGIHandler  # noqa: E402
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402

SessionStore = import_module(settings.SESSION_ENGINE).SessionStore


class Requests:
    """The project, and the keys of the sessions of its browsers."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.wsgi = WSGIHandler()
        self.asgi: Any = ASGIHandler()
        self.runner = asyncio.Runner()
        self.threads = ThreadPoolExecutor(max_workers=1_000)  # as a server's, which keep their connections

    def prepare(self, sessions: int) -> dict[str, Any]:
        """Make so many sessions, one for each browser."""
        if not IS_OURS:
            call_command("migrate", verbosity=0)
        for number in range(sessions):
            session = SessionStore()
            session.update({"name": owner_name(number), "visits": 0})
            session.create()
            self.keys.append(str(session.session_key))
        return {"sessions": len(self.keys)}

    def request(self, what: str, each: int) -> dict[str, Any]:
        """Let every browser send so many requests, one after another, all of them at once."""
        before = self._visits()
        ask = self._by_tasks if is_async else self._by_threads
        answer = ask(what, each)
        counted = self._visits() - before
        expected = len(self.keys) * each if what == "change" else 0
        return answer if counted == expected else {**answer, "right": 0}

    def _visits(self) -> int:
        return sum(SessionStore(key).load()["visits"] for key in self.keys)

    def _by_threads(self, what: str, each: int) -> dict[str, Any]:
        ready = threading.Barrier(len(self.keys) + 1)  # so that each browser has a thread of its own

        def browse(number: int) -> int:
            expected = owner_name(number).encode() if what == "change" else b"bare"
            self._by_wsgi("bare", number)  # its connection is there
            ready.wait()
            return sum([self._by_wsgi(what, number) == expected for _ in range(each)])

        browsing = [self.threads.submit(browse, number) for number in range(len(self.keys))]
        ready.wait()
        watch = Stopwatch()
        right = sum(browser.result() for browser in browsing)
        return watch.answer(each * len(browsing), right)

    def _by_wsgi(self, what: str, number: int) -> bytes:
        environ = {
            "REQUEST_METHOD": "GET", "PATH_INFO": f"/{what}", "SCRIPT_NAME": "", "QUERY_STRING": "",
            "SERVER_NAME": "shop.example", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_COOKIE": f"sessionid={self.keys[number]}", "REMOTE_ADDR": "127.0.0.1", "wsgi.url_scheme": "http",
            "wsgi.input": BytesIO(), "wsgi.errors": sys.stderr, "wsgi.multithread": True,
        }  # fmt: skip
        response = self.wsgi(environ, lambda *_: None)
        body = b"".join(response)
        response.close()
        return body

    def _by_tasks(self, what: str, each: int) -> dict[str, Any]:
        async def browse(number: int) -> int:
            expected = owner_name(number).encode() if what == "change" else b"bare"
            return sum([await self._by_asgi(what, number) == expected for _ in range(each)])

        async def all_of_them() -> dict[str, Any]:
            watch = Stopwatch()
            right = await asyncio.gather(*(browse(number) for number in range(len(self.keys))))
            return watch.answer(each * len(self.keys), sum(right))

        return self.runner.run(all_of_them())

    async def _by_asgi(self, what: str, number: int) -> bytes:
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": f"/{what}",
            "raw_path": f"/{what}".encode(), "query_string": b"", "root_path": "", "scheme": "http",
            "headers": [(b"host", b"shop.example"), (b"cookie", f"sessionid={self.keys[number]}".encode())],
            "client": ("127.0.0.1", 1), "server": ("shop.example", 80),
        }  # fmt: skip
        left, body, is_over = [{"type": "http.request", "body": b"", "more_body": False}], [], asyncio.Event()

        async def receive() -> dict[str, Any]:
            if left:
                return left.pop()
            await is_over.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            body.append(message.get("body", b""))

        await self.asgi(scope, receive, send)
        is_over.set()
        return b"".join(body)

    def describe(self) -> dict[str, str]:
        """Tell the versions."""
        return {"django": django.get_version(), **({"psycopg-pool": version("psycopg-pool")} if HAS_POOL else {})}


if __name__ == "__main__":
    side = Requests()
    serve({"prepare": side.prepare, "request": side.request, "describe": side.describe})
