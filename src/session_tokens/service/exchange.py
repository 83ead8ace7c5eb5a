"""One request and its answer, as plain ASGI: headers read once, bodies bounded, the same headers on every answer.

Paths are taken as they were sent: a route is found before anything in one is decoded. Whatever stands in front of the
service decides by the path that it reads, and may read ``/%63onsole`` or ``/console%2Fkeys`` as another path than
``/console``. So only the letters that a route is written in reach it, and nothing but what stands in an address for an
owner is decoded, once.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote

from ..errors import InvalidInput
from .problems import Headers, Problem, bad_request

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BODY_BYTES_MAX: Final = 65_536
BODY_AROUND_DATA: Final = 16_384
"""Bytes that a body may hold beside the data of a session, where those may be large."""
FORM_FIELDS_MAX: Final = 20
PLAIN_PAIR: Final = re.compile(rb"[a-z_]{1,40}=[A-Za-z0-9_.-]*")
JSON_TYPE: Final = b"application/json"
PROBLEM_TYPE: Final = b"application/problem+json"
FORM_TYPE: Final = b"application/x-www-form-urlencoded"

# A header of these means something only once; sent twice, two readers could take two meanings.
SINGLE = frozenset({
    b"authorization", b"content-type", b"content-length", b"content-encoding", b"host", b"idempotency-key", b"if-match",
    b"origin", b"transfer-encoding", b"x-request-id",
})  # fmt: skip
COMMON: Headers = [
    (b"cache-control", b"no-store"),
    (b"vary", b"Authorization, Cookie"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


# Unique in its log without asking for random bytes at each request: of the process, then a number.
_STARTED = os.urandom(6).hex() + "-"
_numbers = itertools.count(1)


def new_request_id() -> str:
    """Return what names one request in this process's answers and logs."""
    return _STARTED + format(next(_numbers), "x")


class ClientGone(Exception):
    """The client went away before its request was complete."""


def body_bytes_max_of(data_bytes_max: int) -> int:
    """Return how large a body may be where a session's data may have so many bytes."""
    return max(BODY_BYTES_MAX, data_bytes_max + BODY_AROUND_DATA)


class Exchange:
    """One request on its way.

    Attributes:
        body_bytes_max: how large its body may be.
        fields: the headers by name in lower case, a repeated one joined by ``, `` (cookies by ``; ``).
        request_id: stands on the answer and in the log.
        route: the template of the address, for logs and metrics.
        key_id: of the service key that asked, once it is known.
        status: of the answer, 0 before it is sent.
        streams_since_s: since when the answer comes in pieces, on ``time.perf_counter``; ``None`` if it comes whole.
        code: of the problem that was answered, else ``ok``.
    """

    __slots__ = (
        "_send",
        "body_bytes_max",
        "code",
        "fields",
        "key_id",
        "method",
        "oauth",
        "receive",
        "request_id",
        "route",
        "scope",
        "status",
        "streams_since_s",
    )

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        route: str = "",
        *,
        oauth: bool = False,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> None:
        self.scope = scope
        self.body_bytes_max = body_bytes_max
        self.receive = receive
        self._send = send
        self.method: str = scope["method"]
        self.request_id = new_request_id()
        self.route = route
        self.oauth = oauth
        self.key_id: str | None = None
        self.status = 0
        self.code = "ok"
        self.streams_since_s: float | None = None
        self.fields: dict[bytes, bytes] = {}

    def read_headers(self, single: frozenset[bytes] = SINGLE) -> None:
        """Read the headers, of which ``single`` may stand there once.

        Raises:
            Problem: 400 for a header that may stand there once and stands there twice.
        """
        headers = self.scope["headers"]
        fields = self.fields = dict(headers)
        if len(fields) == len(headers):
            return
        fields.clear()
        for name, value in headers:
            if name not in fields:
                fields[name] = value
            elif name in single:
                raise bad_request(f"the header {name.decode('ascii')} stands there twice; send it once")
            else:
                fields[name] += (b"; " if name == b"cookie" else b", ") + value

    def content_type(self) -> tuple[bytes, bytes | None]:
        """Return the media type in lower case and its charset, ``None`` where none is named."""
        media_type, _, parameters = self.fields.get(b"content-type", b"").partition(b";")
        charset = None
        for parameter in filter(None, parameters.split(b";")):
            name, _, value = parameter.strip().partition(b"=")
            if name.lower() == b"charset":
                charset = value.strip(b'"').lower()
        return media_type.strip().lower(), charset

    async def read_body(self, media_type: bytes) -> bytes:
        """Return the body, which must be of that media type, in UTF-8 and not encoded.

        Raises:
            Problem: 413 for more than ``body_bytes_max``, 415 for another type, charset or an encoding.
        """
        body = await self._read()
        fields = self.fields
        if fields.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Problem(415, "unsupported_media_type", "encoded bodies are not taken; send it as it is")
        # The usual spellings, so that the hot path does not take them apart.
        if fields.get(b"content-type") == media_type:
            return body
        present, charset = self.content_type()
        if present != media_type:
            raise Problem(415, "unsupported_media_type", f"send the body as {media_type.decode('ascii')}")
        if charset not in (None, b"utf-8", b"utf8"):
            raise Problem(415, "unsupported_media_type", "send the body in UTF-8")
        return body

    @property
    def has_no_body(self) -> bool:
        """Whether the request has no body at all, whatever type it names."""
        fields = self.fields
        return b"transfer-encoding" not in fields and fields.get(b"content-length", b"0") == b"0"

    async def body_is_empty(self) -> bool:
        """Whether the request has no body at all and names no type."""
        return b"content-type" not in self.fields and self.has_no_body

    async def _read(self) -> bytes:
        length = self.fields.get(b"content-length")
        if length is not None and (not length.isdigit() or len(length) > 9 or int(length) > self.body_bytes_max):
            raise self._too_large()
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body: bytes | bytearray = message.get("body", b"")
        if message.get("more_body", False):
            body = bytearray(body)  # bytes would be copied whole with each piece
        while message.get("more_body", False) and len(body) <= self.body_bytes_max:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            body += message.get("body", b"")
        if len(body) > self.body_bytes_max:
            raise self._too_large()
        return bytes(body)

    def _too_large(self) -> Problem:
        # The rest of the body is not read, so that the connection cannot be used again.
        return Problem(
            413,
            "body_too_large",
            f"a body is at most {self.body_bytes_max} bytes",
            headers=[(b"connection", b"close")],
        )

    def read_query(self) -> dict[str, str]:
        """Return the query as names and values.

        Raises:
            Problem: 400 for a name twice, too many of them, or what is not percent-encoded UTF-8.
        """
        text = self.scope["query_string"]
        return {} if not text else pairs_of(text, "the query")

    async def answer(
        self, status: int, body: bytes, headers: Headers | tuple[()] = (), content_type: bytes | None = JSON_TYPE
    ) -> None:
        """Send the whole answer."""
        self.status = status
        sent = [*COMMON, (b"x-request-id", self.request_id.encode("ascii")), *headers]
        if body or status not in (204, 304):
            sent.append((b"content-length", str(len(body)).encode("ascii")))
            if content_type is not None:
                sent.append((b"content-type", content_type))
        await self._send({"type": "http.response.start", "status": status, "headers": sent})
        await self._send({"type": "http.response.body", "body": b"" if self.method == "HEAD" else body})

    async def begin(self, content_type: bytes) -> None:
        """Send the head of an answer that comes in pieces, which nginx would gather otherwise."""
        self.status, self.streams_since_s = 200, time.perf_counter()
        sent = [
            *COMMON,
            (b"x-request-id", self.request_id.encode("ascii")),
            (b"content-type", content_type),
            (b"x-accel-buffering", b"no"),
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": sent})

    async def piece(self, body: bytes, *, more: bool = True) -> None:
        """Send a piece of the answer, the last one with ``more=False``."""
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def answer_problem(self, problem: Problem) -> None:
        """Send a problem."""
        self.code = problem.code
        content_type = JSON_TYPE if self.oauth else PROBLEM_TYPE
        await self.answer(problem.status, problem.body(oauth=self.oauth), problem.headers, content_type)


def pairs_of(text: bytes, what: str) -> dict[str, str]:
    """Return the names and values of a form or query, percent-decoded once.

    Raises:
        Problem: 400 for a name twice, more than 20 of them, or bytes that are not ASCII.
    """
    if not text:
        return {}
    # Most forms are one plain field: the same answer as below, sooner.
    if PLAIN_PAIR.fullmatch(text):
        name, _, value = text.decode("ascii").partition("=")
        return {name: value}
    try:
        pairs = parse_qsl(
            text.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="replace",
            max_num_fields=FORM_FIELDS_MAX,
        )  # fmt: skip
    except ValueError:  # a UnicodeDecodeError is one too
        raise bad_request(f"{what} is not names and values, percent-encoded, at most {FORM_FIELDS_MAX}") from None
    values = dict(pairs)
    if len(values) != len(pairs):
        raise bad_request(f"{what} has a name twice; send each once")
    return values


def as_sent(scope: Scope) -> Scope:
    """Return a request's scope with its path not decoded."""
    raw: bytes | None = scope.get("raw_path")
    if raw is None:  # a server need not give it
        return {**scope, "path": quote(scope["path"])}
    return scope if b"%" not in raw else {**scope, "path": raw.decode("latin-1")}


def decoded(part: str) -> str:
    """Return what a part of a path means.

    Raises:
        InvalidInput: it is not percent-encoded UTF-8.
    """
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise InvalidInput("the path is not percent-encoded UTF-8") from None
