"""Whole requests cost by the byte what short ones do: whatever header, path, query or body a client fills, anywhere."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from session_tokens import AsyncSessionTokens
from session_tokens.service.app import Options, Service
from session_tokens.service.console.app import Console
from session_tokens.service.exchange import BODY_BYTES_MAX
from session_tokens.service.forward_auth import LogIn
from session_tokens.service.framing import HEAD_BYTES_MAX
from session_tokens.service_keys.keys import create_key
from tests.helpers.costs import GROWTH_MAX, growth

ROOM = HEAD_BYTES_MAX - 300
HEADERS = [
    b"accept", b"accept-language", b"authorization", b"content-type", b"cookie", b"forwarded", b"host",
    b"idempotency-key",
    b"if-match", b"if-none-match", b"origin", b"referer", b"sec-fetch-site", b"user-agent", b"x-csrf-token",
    b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-uri", b"x-original-uri",
    b"x-original-url",
]  # fmt: skip
FILLED = [
    (b"", b"a", b""), (b'a="', b'\\"', b'"'), (b"a=", b"\\", b""), (b"", b"a=b; ", b""), (b"", b",", b""),
    (b"/", b"/", b""), (b"/", b"%41", b""), (b"", b"%", b""), (b"", b"a:", b""), (b"/?", b"&a=b", b""),
    (b"a", b" ", b"a"), (b"", b";q=0.1,text/html", b""), (b"", b"\xc3\xa9", b""), (b"Bearer ", b"sts_", b""),
    (b"Basic ", b"YTph", b""),
]  # fmt: skip
ROUTES = [
    ("GET", "/"), ("GET", "/forward-auth"), ("POST", "/introspect"), ("GET", "/v1/sessions"), ("POST", "/v1/sessions"),
    ("GET", "/console"), ("POST", "/console/enter"), ("GET", "/console/static/console.css"), ("GET", "/nowhere"),
]  # fmt: skip
PATHS = [
    "/", "/console", "/console/", "/console/owners/", "/console/static/", "/v1/owners/", "/v1/sessions/",
    "/forward-auth/",
]  # fmt: skip
ENDS = ["", "/sessions", "/end"]
QUERIES = [
    "/",
    "/forward-auth",
    "/v1/sessions",
    "/v1/tokens",
    "/console/find",
    "/console/audit",
    "/docs",
    "/introspect",
]


class Asked:
    """A service in this process, asked in this thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._tokens = self._loop.run_until_complete(AsyncSessionTokens.open("memory://", sweep=False))
        log_in = LogIn.at("https://www.example/log-in")
        routes = Console(self._tokens).routes
        self._service = Service(self._tokens, Options(log_in=log_in, more_routes=routes))
        key = self._loop.run_until_complete(create_key(self._tokens.store, "admin"))
        self.bearer = (b"authorization", f"Bearer {key.secret}".encode())
        self.statuses: set[int] = set()

    def close(self) -> None:
        """Close the store and the loop."""
        self._loop.run_until_complete(self._tokens.close())
        self._loop.close()

    def ask(
        self, method: str, path: bytes, headers: list[tuple[bytes, bytes]], query: bytes = b"", body: bytes = b""
    ) -> None:
        """Send one request and take its answer."""
        names = [name for name, _ in headers]
        headers = [*headers, *(one for one in [(b"host", b"service.test"), self.bearer] if one[0] not in names)]
        scope = {
            "type": "http", "method": method, "path": path.decode("latin-1"), "raw_path": path, "headers": headers,
            "query_string": query, "scheme": "http", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
            "root_path": "", "http_version": "1.1",
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            if "status" in message:
                self.statuses.add(message["status"])

        self._loop.run_until_complete(self._service(scope, receive, send))


@pytest.fixture(scope="module")
def asked() -> Iterator[Asked]:
    logging.getLogger("session_tokens").setLevel(logging.CRITICAL)
    made = Asked()
    yield made
    made.close()
    logging.getLogger("session_tokens").setLevel(logging.NOTSET)


def grew(read: Callable[[bytes], object], size: int, unit: bytes, begin: bytes = b"", end: bytes = b"") -> float:
    return growth(read, lambda size: begin + unit * (size // len(unit)) + end, size)


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("header", HEADERS)
def test_a_header(asked: Asked, method: str, path: str, header: bytes) -> None:
    grown = {
        (begin, unit): grew(lambda given: asked.ask(method, path.encode(), [(header, given)]), ROOM, unit, begin, end)
        for begin, unit, end in FILLED
    }

    assert max(grown.values()) <= GROWTH_MAX, grown


@pytest.mark.parametrize("begin", PATHS)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_path(asked: Asked, begin: str, end: str, method: str) -> None:
    units = [b"a", b"/", b"%2F", b"%41", b"%", b"/a", b"%C3%A9", end.encode() or b"."]

    def ask(given: bytes) -> None:
        asked.ask(method, begin.encode() + given + end.encode(), [])

    grown = {unit: grew(ask, ROOM, unit) for unit in units}

    assert max(grown.values()) <= GROWTH_MAX, grown


@pytest.mark.parametrize("path", QUERIES)
@pytest.mark.parametrize("begin", [b"", b"owner=", b"after=", b"q=", b"rd=", b"limit=", b"before="])
def test_a_query(asked: Asked, path: str, begin: bytes) -> None:
    units = [b"a", b"&", b"=", b"%41", b"%", b"a=b&", b"+", b"1", b".", b"sts_", b"%CC%81"]
    grown = {unit: grew(lambda given: asked.ask("GET", path.encode(), [], begin + given), ROOM, unit) for unit in units}

    assert max(grown.values()) <= GROWTH_MAX, grown


@pytest.mark.parametrize("path", ["/v1/sessions", "/v1/tokens", "/v1/keys", "/v1/owners/a/disable"])
@pytest.mark.parametrize(
    ("begin", "unit", "end"),
    [
        (b'{"owner":"a","data":{"a":"', b"a", b'"}}'), (b'{"owner":"', b"\xcc\x81", b'"}'),
        (b'{"owner":"', b'\\"', b""),
        (b'{"owner":"a","data":{', b'"b":1,', b'"a":1}}'), (b'{"label":"', b"\xe2\x80\x8b", b'"}'),
        (b'{"user_agent":"', b"\t", b'"}'), (b'{"user_agent":"', b"sts_", b'","owner":"a"}'),
        (b'{"session":null,"value":[', b"[],", b"1]}"), (b'{"session":null,"value":"', b"stt_", b'"}'),
        (b'{"networks":[', b'"10.0.0.0/8",', b'"10.0.0.0/8"],"role":"admin"}'), (b'{"', b"a", b'":1}'),
        (b"{", b'"a":1,', b""),
        (b'{"session":null,"value":1,"timeout":', b"1", b"}"),
        (b'{"role":"admin","label":"', b"\xcc\x81\xcc\x96", b'"}'),
    ],
)  # fmt: skip
def test_a_body_of_json(asked: Asked, path: str, begin: bytes, unit: bytes, end: bytes) -> None:
    json = [(b"content-type", b"application/json")]

    def ask(given: bytes) -> None:
        asked.ask("POST", path.encode(), [*json, (b"content-length", b"%d" % len(given))], b"", given)

    assert grew(ask, BODY_BYTES_MAX - 100, unit, begin, end) <= GROWTH_MAX


@pytest.mark.parametrize("path", ["/introspect", "/revoke", "/console/enter", "/console/keys/x/revoke"])
@pytest.mark.parametrize("begin", [b"", b"token=", b"secret=", b"csrf=", b"token=a&client_secret=", b"typed="])
def test_a_form(asked: Asked, path: str, begin: bytes) -> None:
    form = [(b"content-type", b"application/x-www-form-urlencoded")]
    units = [b"a", b"&", b"=", b"%41", b"%", b"a=b&", b"+", b"sts_", b"%CC%81", b"%00"]

    def ask(given: bytes) -> None:
        asked.ask("POST", path.encode(), [*form, (b"content-length", b"%d" % len(given))], b"", given)

    grown = {unit: grew(ask, BODY_BYTES_MAX - 100, unit, begin) for unit in units}

    assert max(grown.values()) <= GROWTH_MAX, grown


def test_these_requests_were_read(asked: Asked) -> None:
    """Else nothing would have been measured but a refusal at the door."""
    for begin, unit, end in FILLED:
        asked.ask("GET", b"/forward-auth", [(b"cookie", begin + unit * 100 + end)])
    asked.ask("GET", b"/console", [])
    asked.ask("GET", b"/v1/sessions", [], b"owner=alice")

    assert {200, 401} <= asked.statuses
