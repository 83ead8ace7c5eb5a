"""Count the machine instructions of one web request, beside other sessions and beside the least that it could be.

`python -m benchmarks.web_instructions [--commit COMMIT] [REQUEST ...]`. A request is a call of the application, without
sockets to a browser; `flask:…` keeps its sessions on a Valkey that is started for it, by the interface that the second
word names: `ours`, `flask-session`, `floor` (a bare GET, and a SET where something changed, of JSON, by the client
library that ours is on, with no thought of anything else) or `none`. `django:…` is a project served by WSGI with its
sessions on a PostgreSQL: ours, or Django's own by its engine `db`. Each runs under valgrind. Time in the kernel is not
in it. Nothing here is kept or published.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.counting import counted_between_marks, mark
from benchmarks.harness import ROOT

BROWSERS, WARM, COUNTED = 20, 60, 200
KINDS = {"ours": "session-tokens", "flask-session": "flask-session", "floor": "floor", "none": "none"}
REQUESTS = (
    "flask:none:visitor", "flask:floor:read", "flask:ours:read", "flask:flask-session:read", "flask:floor:change",
    "flask:ours:change", "flask:flask-session:change", "wsgi:none:visitor", "wsgi:ours:visitor", "asgi:none:visitor",
    "asgi:ours:visitor", "django:none:visitor", "django:ours:change", "django:db:change",
)  # fmt: skip


def calling(request: str, url: str) -> Callable[[int], object]:
    """Make the application, and return what sends it so many requests."""
    where, kind, what = request.split(":")
    if where == "asgi":
        return _starlette(with_ours=kind == "ours")
    if where == "django":
        return _django("session-tokens" if kind == "ours" else "db", "bare" if what == "visitor" else what, url)
    from benchmarks.sides.flask_requests import Requests

    side = Requests("wsgi" if (where, kind) == ("wsgi", "ours") else KINDS[kind], url)
    if what != "visitor":
        side.prepare(BROWSERS)
    method, path = ("POST" if what == "change" else "GET"), ("/bare" if what == "visitor" else f"/{what}")
    cookies = side.cookies or [None]

    def ask(count: int) -> None:
        for number in range(count):
            body, _ = side.call(side.environ(method, path, cookies[number % len(cookies)]))
            assert body.startswith((b"owner-", b"bare")), body

    return ask


def _django(kind: str, path: str, url: str) -> Callable[[int], object]:
    sys.argv[1:] = [kind, "wsgi", url]  # a project has its settings from the start
    from benchmarks.sides.django_requests import Requests

    side = Requests()
    side.prepare(BROWSERS)

    def ask(count: int) -> None:
        for number in range(count):
            body = side._by_wsgi(path, number % BROWSERS)
            assert body.startswith((b"owner-", b"bare")), body

    return ask


def _starlette(*, with_ours: bool) -> Callable[[int], object]:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    from session_tokens.web.asgi import SessionMiddleware

    async def page(_: Request) -> PlainTextResponse:
        return PlainTextResponse("a page")

    app = Starlette(routes=[Route("/bare", page)])
    if with_ours:
        app.add_middleware(SessionMiddleware, store="memory://")
    names = (b"host", b"user-agent", b"accept", b"accept-encoding", b"connection")

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        assert message.get("status", 200) == 200

    async def ask(count: int) -> None:
        for _ in range(count):
            scope = {
                "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": "/bare",
                "raw_path": b"/bare", "query_string": b"", "root_path": "", "scheme": "http",
                "headers": [(name, b"of a benchmark") for name in names],
                "client": ("127.0.0.1", 1), "server": ("shop.example", 80),
            }  # fmt: skip
            await app(scope, receive, send)

    runner = asyncio.Runner()
    return lambda count: runner.run(ask(count))


def run_counted(request: str, url: str) -> NoReturn:
    """Send the requests that are counted, after some to warm up."""
    ask = calling(request, url)
    ask(WARM)
    gc.collect()
    mark()
    ask(COUNTED)
    mark()
    os._exit(0)


def instructions(request: str, url: str, sources: Path) -> int:
    """Count the instructions of one request, with the package in a folder of sources."""
    place = f"{url}?namespace=counted" if request.startswith("flask:ours") else url
    command = [sys.executable, "-m", "benchmarks.web_instructions", "--of", request, "--url", place]
    return counted_between_marks(command, {"PYTHONPATH": str(sources)}) // COUNTED


def main() -> None:
    """Print the requests that are asked for, in this tree and if wanted at an earlier commit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.web_instructions", description=__doc__)
    parser.add_argument("requests", nargs="*", metavar="REQUEST", help=f"of: {', '.join(REQUESTS)} (default: all)")
    parser.add_argument("--commit", help="also ours at an earlier commit")
    parser.add_argument("--of", choices=REQUESTS, help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.of:
        run_counted(wanted.of, wanted.url)
    from benchmarks.baseline import tree_at
    from tests.helpers.servers.postgres import running_server
    from tests.helpers.servers.valkey import ValkeyServer

    server = ValkeyServer()
    with tempfile.TemporaryDirectory() as then, ExitStack() as stack:
        stack.callback(server.remove)
        server.start()
        if wanted.commit is not None:
            tree_at(wanted.commit, Path(then))
        requests = wanted.requests or REQUESTS
        postgres = None
        if any(request.startswith("django:") for request in requests):
            postgres = stack.enter_context(running_server())
        for request in requests:
            is_django = postgres is not None and request.startswith("django:")
            now = instructions(request, postgres.new_database() if is_django else server.url, ROOT / "src")
            line = f"{request:28} {now:11,}"
            if wanted.commit is not None and ":ours:" in request:
                place = postgres.new_database() if is_django else server.url.replace("/0", "/1")
                before = instructions(request, place, Path(then) / "src")
                line += f"  then {before:11,}  {before / now:.2f}x"
            print(line, flush=True)


if __name__ == "__main__":
    main()
