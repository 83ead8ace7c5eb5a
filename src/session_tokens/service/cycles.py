"""One request of a connection and its answer: through the application, or while a quick answer comes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, Protocol

from .exchange import Message, Scope
from .framing import Head
from .quick import FAILED, RAW_HEAD

log = logging.getLogger("session_tokens.service")

STATUS_LINES = {
    int(status): f"HTTP/1.1 {int(status)} {status.phrase}\r\n".encode("ascii") for status in HTTPStatus if status >= 200
}
OK = STATUS_LINES[200]
NO_BODY = frozenset({204, 304})
Coming = Coroutine[Any, Any, bytes | None]
"""Gives the answer to a request from its first common header on, ``None`` where it goes the whole way."""


def lines_of(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the lines of headers that stand on each answer; uvicorn makes them anew each second."""
    global _lines
    if _lines[0] is not headers:
        _lines = headers, b"".join(b"%b: %b\r\n" % header for header in headers)
    return _lines[1]


_lines: tuple[list[tuple[bytes, bytes]], bytes] = ([], b"")


def head_of(status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the head of an answer; a line break in a header is an error."""
    parts = [STATUS_LINES[status]]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    parts.append(b"\r\n")
    head = b"".join(parts)
    if head.count(b"\n") != len(headers) + 2 or head.count(b"\r") != len(headers) + 2:
        raise ValueError("a line break in a header of the answer")
    return head


class Connection(Protocol):
    """What a request asks of the connection that it came over.

    Attributes:
        transport: takes the bytes of the answer.
        scheme, client, server: as in ASGI's scope.
        failure: why a quick answer to the request could not be given, where one was tried.
    """

    transport: asyncio.Transport
    scheme: str
    client: tuple[str, int] | None
    server: tuple[str, int] | None
    failure: Exception | None

    def answered(self, keep_alive: bool) -> None:
        """Go on with the next request."""
        ...

    def answered_quickly(self, keep_alive: bool, data: bytes, answer: bytes | None, failure: Exception | None) -> None:
        """Write a quick answer, or let the request go the whole way."""
        ...

    def head_of(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return the head of an answer."""
        ...

    async def write(self, data: bytes) -> None:
        """Write bytes of an answer as the client takes them."""
        ...


class QuickCycle:
    """One request that is known by its bytes, while its answer comes.

    Attributes:
        task: what waits for it.
    """

    __slots__ = ("_connection", "_data", "keep_alive", "task")

    def __init__(self, connection: Connection, data: bytes) -> None:
        self._connection = connection
        self._data = data
        self.keep_alive = True
        self.task: asyncio.Task[None] | None = None

    async def run(self, coming: Coming) -> None:
        """Wait for the answer."""
        answer, failure = None, None
        try:
            answer = await coming
        except Exception as error:
            failure = error
        self._connection.answered_quickly(self.keep_alive, self._data, answer, failure)

    def lost(self) -> None:
        """Go on: the answer is dropped where the client is gone."""


class Cycle:
    """One request and its answer."""

    __slots__ = ("_body", "_chunked", "_connection", "_gone", "_head", "_raw_head", "_start", "_taken", "keep_alive")

    def __init__(self, connection: Connection, head: Head, body: bytes, raw_head: bytes) -> None:
        self._connection = connection
        self._head = head
        self._raw_head = raw_head if head.keep_alive and not head.is_chunked and not head.expects_continue else b""
        self._body = body
        self._taken = False
        self._start: Message | None = None
        self._chunked: bool | None = None
        self._gone: asyncio.Event | None = None
        self.keep_alive = head.keep_alive

    async def run(self, app: Any) -> None:
        """Let the application answer."""
        connection, head = self._connection, self._head
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": head.version,
            "method": head.method,
            "scheme": connection.scheme,
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            "root_path": "",
            "headers": head.headers,
            "client": connection.client,
            "server": connection.server,
        }
        if self._raw_head:
            scope[RAW_HEAD] = self._raw_head
        if connection.failure is not None:
            scope[FAILED], connection.failure = connection.failure, None
        try:
            await app(scope, self._receive, self._send)
        except Exception:
            log.exception("the application failed", extra={"event": "internal_error"})
        finally:
            if self._start is not None or self._chunked is None:
                # No answer, or only its beginning: the client must not take what follows for the rest of it.
                self.keep_alive = False
                if self._chunked is None and not connection.transport.is_closing():
                    connection.transport.write(head_of(500, [(b"content-length", b"0"), (b"connection", b"close")]))
            connection.answered(self.keep_alive)

    def lost(self) -> None:
        """Send an application that waits for a message that the client is gone."""
        if self._gone is not None:
            self._gone.set()

    async def _receive(self) -> Message:
        if not self._taken:
            self._taken = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        if not self._connection.transport.is_closing():
            self._gone = self._gone or asyncio.Event()
            await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        body: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        head = b""
        if self._chunked is None:
            head = self._begin(more)
        if self._head.method == "HEAD":
            body = b""
        elif self._chunked:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        if not more:
            self._start = None
        if head or body:
            await self._connection.write(head + body)

    def _begin(self, more: bool) -> bytes:
        """Return the head, and decide how the body's end will be marked."""
        assert self._start is not None, "a body before its head"
        status, headers = self._start["status"], list(self._start.get("headers", ()))
        names = [name for name, _ in headers]
        self._chunked = False
        if b"content-length" not in names and status not in NO_BODY and self._head.method != "HEAD":
            if self._head.version == "1.0":
                self.keep_alive = False  # the end of the connection is the end of the body
            else:
                self._chunked = True
                headers.append((b"transfer-encoding", b"chunked"))
        if b"connection" in names:
            self.keep_alive = False
        elif not self.keep_alive:
            headers.append((b"connection", b"close"))
        return self._connection.head_of(status, headers)
