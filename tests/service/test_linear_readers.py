"""Every reader of foreign bytes is linear: a byte at its limit costs what one at a tenth of it does, at the worst."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Any

import anyio
import pytest
from starlette.requests import Request

from session_tokens import SessionTokens
from session_tokens.crypto.secret_form import KEY_SECRET, SESSION_ID, SESSION_SECRET, holds_secret, is_id, is_secret
from session_tokens.json_values import value_of
from session_tokens.service import app, callers
from session_tokens.service.console import access
from session_tokens.service.console.forms import FORM_BYTES_MAX, fields_of
from session_tokens.service.exchange import BODY_BYTES_MAX, Exchange, pairs_of
from session_tokens.service.framing import HEAD_BYTES_MAX, Beginning, Chunks, parse_head
from session_tokens.service.shapes import OpenSession
from session_tokens.service.strict_json import NotJSON, decode
from session_tokens.validation import owner_of, place_of_cursor, sent_text, text_of
from session_tokens.web.addresses import source_of
from session_tokens.web.cookies import Cookie
from tests.helpers.costs import GROWTH_MAX, growth

Read = Callable[[bytes], object]
Worst = Callable[[int], bytes]

HEADER_BYTES_MAX = HEAD_BYTES_MAX - 100
"""What is left of a head for one header."""
PIECE = 16
"""How many bytes come at a time where a client lets them drip."""


def filled(unit: bytes, head: bytes = b"", tail: bytes = b"") -> Worst:
    """Return what makes inputs of a size: a beginning, as many whole units as fit, an end."""
    return lambda size: head + unit * ((size - len(head) - len(tail)) // len(unit)) + tail


def dripping(read: Callable[[Iterable[bytes]], object]) -> Read:
    """Return a reader of bytes that come a few at a time."""
    return lambda given: read(given[at : at + PIECE] for at in range(0, len(given), PIECE))


def read_head(pieces: Iterable[bytes]) -> None:
    beginning, buffer = Beginning(), bytearray()
    for piece in pieces:
        buffer += piece
        end = beginning.end_of(buffer)
        if end >= 0:
            parse_head(bytes(buffer[:end]))
            return


def read_chunks(pieces: Iterable[bytes]) -> None:
    chunks, buffer = Chunks(BODY_BYTES_MAX), bytearray()
    for piece in pieces:
        buffer += piece
        chunks.take(buffer)


def exchange_of(*headers: tuple[bytes, bytes], query: bytes = b"", body: Iterable[bytes] = ()) -> Exchange:
    """Return a request as the application gets it."""
    pieces = list(body)

    async def receive() -> dict[str, Any]:
        piece = pieces.pop(0) if pieces else b""
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: object) -> None:
        raise AssertionError("nothing is answered here")

    scope = {"type": "http", "method": "POST", "path": "/", "headers": list(headers), "query_string": query}
    exchange = Exchange(scope, receive, send)
    exchange.read_headers()
    return exchange


def read_body(given: bytes) -> object:
    exchange = exchange_of((b"content-type", b"application/json"), body=[given])
    return anyio.run(app._body, exchange, OpenSession)


def read_pieces(pieces: Iterable[bytes]) -> object:
    exchange = exchange_of((b"content-type", b"application/json"), body=pieces)
    return anyio.run(exchange.read_body, b"application/json")


def read_form(given: bytes) -> object:
    fields = exchange_of((b"content-type", b"application/x-www-form-urlencoded"), body=[given])
    return anyio.run(fields_of, Request(fields.scope, fields.receive))


def read_headers(given: bytes) -> object:
    """Many of one name, as the head took them apart."""
    return exchange_of(*((b"cookie", one) for one in given.split(b"\n")[:100]))


def console_pages(given: bytes) -> object:
    headers = [(b"cookie", given)]
    return access.COOKIE.value_of(headers), app.HSTS


PROXIES = (ipaddress.ip_network("127.0.0.0/8"),)
STRINGS = {
    "escaped quotes that never end": filled(b'\\"', b"[" * 33 + b'"'),
    "escaped quotes behind brackets": filled(b'\\"', b'"' + b"[" * 33),
    "quotes": filled(b'"', b"[" * 33),
    "backslashes": filled(b"\\", b"[" * 33 + b'"'),
    "escaped backslashes and quotes": filled(b'\\\\"', b"[" * 33),
    "surrogates": filled(b"\\ud83d", b'"', b'"'),
    "pairs of surrogates": filled(b"\\ud83d\\ude00", b'"', b'"'),
    "escapes": filled(b"\\n", b'"', b'"'),
    "letters": filled("日".encode(), b'"', b'"'),
}
SHAPES = {
    "brackets": filled(b"[", b"[" * 33),
    "arrays": filled(b"[],", b"[" * 33),
    "objects": filled(b"{},", b"["),
    "brackets in strings": filled(b'"[{",', b"[", b"1]"),
    "names": filled(b'"a":1,', b"{"),
    "deep names": filled(b'{"a":'),
    "white space": filled(b" ", b"[", b"]"),
    "line breaks": filled(b"\n", b"[", b"x"),
}
NUMBERS = {
    "digits": filled(b"9"),
    "decimal places": filled(b"3", b"0."),
    "zeros and an exponent": filled(b"0", b"1", b"e-60000"),
    "doubles": filled(b"1e5,", b"["),
    "doubles halfway": filled(b"9007199254740993.0,", b"[", b"1]"),
    "long doubles": filled(b"0." + b"1" * 400 + b",", b"[", b"1]"),
    "integers": filled(b"123456789012345678,", b"[", b"1]"),
}
PAIRS = {
    "ampersands": filled(b"&"), "equals signs": filled(b"="), "percents": filled(b"%", b"a="),
    "escapes": filled(b"%41", b"a="), "escapes of no letter": filled(b"%ff", b"a="),
    "escapes by turns": filled(b"a%41", b"a="), "pluses": filled(b"+", b"a="), "pairs": filled(b"a=b&"),
    "one long name": filled(b"a"), "one long value": filled(b"a", b"a="), "semicolons": filled(b";", b"a="),
}  # fmt: skip
COOKIES = {
    "escaped quotes": filled(b'\\"', b'session="', b'"'), "backslashes": filled(b"\\", b'session="', b'"'),
    "octal escapes": filled(b"\\001", b'session="', b'"'), "semicolons": filled(b";"), "spaces": filled(b" ", b";"),
    "spaces by turns": filled(b";  "), "the same": filled(b"session=a;"), "nameless": filled(b"=session=a;"),
    "names": filled(b"session;"), "equals signs": filled(b"=", b"session="), "tabs": filled(b"\t", b"session=", b"x"),
    "many short ones": filled(b"a=b; "), "near misses": filled(b" session "),
}  # fmt: skip
LINE = b"GET / HTTP/1.1\r\n"
HEADS = {
    "one header": filled(b"a", LINE + b"x: ", b"\r\n\r\n"), "headers": filled(b"a:\r\n", LINE, b"\r\n\r\n"),
    "never ending": filled(b"a", LINE + b"x: "), "a long path": filled(b"a", b"GET /", b" HTTP/1.1\r\nhost: a\r\n\r\n"),
    "a path that never ends": filled(b"a", b"GET /"), "escapes in the path":
    filled(b"%41", b"GET /", b" HTTP/1.1\r\nhost: a\r\n\r\n"), "a name that never ends": filled(b"a", LINE),
    "carriage returns": filled(b"a\r\n", LINE), "white space": filled(b" \t", LINE + b"a:", b"x\r\n\r\n"),
    "the same header": filled(b"cookie: a=b\r\n", LINE, b"\r\n\r\n"), "colons": filled(b":", LINE, b"\r\n\r\n"),
    "slashes": filled(b"/", b"GET /", b" HTTP/1.1\r\nhost: a\r\n\r\n"),
}  # fmt: skip
CHUNKS = {
    "one": lambda size: b"%x\r\n" % size + b"a" * size, "small ones": filled(b"1\r\na\r\n"),
    "of two bytes": filled(b"2\r\naa\r\n"), "zeros before a size": filled(b"00000001\r\na\r\n"),
}  # fmt: skip
AUTHORIZATIONS = {
    "Basic": filled(b"JTQx", b"Basic "), "no base64": filled(b"=", b"Basic "),
    "Basic with escapes": lambda size: b"Basic " + base64.b64encode(filled(b"%41", b"a:")(size * 3 // 4 - 6)),
    "Basic with colons": lambda size: b"Basic " + base64.b64encode(filled(b":")(size * 3 // 4 - 6)),
    "Bearer": filled(b"a", b"Bearer sts_"), "spaces": filled(b" ", b"Bearer "),
}  # fmt: skip
ADDRESSES = {
    "commas": filled(b","), "addresses of proxies": filled(b"127.0.0.1,"), "digits": filled(b"1"),
    "spaces": filled(b" "), "colons": filled(b":"), "dots": filled(b"1."), "zones": filled(b"%", b"::1"),
}  # fmt: skip
SECRETS = {
    "letters": filled(b"a", b"sts_00"), "beginnings": filled(b"sts_"), "almost secrets": filled(b"stk_" + b"a" * 19),
    "digits": filled(b"7"), "marks": filled("\u0301".encode()), "dots": filled(b"1."),
}  # fmt: skip
HEADER_VALUES = {
    "quotes": filled(b'"'), "digits": filled(b"1", b'"', b'"'), "letters": filled(b"a"), "dots": filled(b"a."),
    "parameters": filled(b";charset=a"), "colons": filled(b":"), "brackets": filled(b"["),
}  # fmt: skip
TEXTS = {
    "letters": filled(b"a"), "wide letters": filled("日".encode()), "marks": filled("\u0301\u0323".encode(), b"a"),
    "marks out of order": filled("\u0301\u0316".encode(), b"a"), "letters with marks": filled("é".encode()),
    "marks in the wrong half": lambda size: b"a" + "\u0301".encode() * (size // 4) + "\u0316".encode() * (size // 4),
    "marks of four classes": filled("\u0345\u0301\u0316\u0334".encode(), b"a"),
    "what might be composed": filled("\u1100\u1161\u11a8".encode()), "spaces": filled(b" ", b"a", b"a"),
}  # fmt: skip


def text_reader(size: int) -> Read:
    return lambda given: text_of("label", given.decode(), bytes_max=size)


with_tokens = SessionTokens.open("memory://", sweep=False)
READERS: dict[str, tuple[Read, dict[str, Worst], int]] = {
    "JSON": (decode, STRINGS | SHAPES | NUMBERS, BODY_BYTES_MAX),
    "a body of JSON": (read_body, STRINGS | SHAPES, BODY_BYTES_MAX),
    "a body in pieces": (dripping(read_pieces), {"letters": filled(b"a")}, BODY_BYTES_MAX),
    "a form": (lambda given: pairs_of(given, "the form"), PAIRS, BODY_BYTES_MAX),
    "a query": (lambda given: exchange_of(query=given).read_query(), PAIRS, HEADER_BYTES_MAX),
    "a form of the console": (read_form, PAIRS, FORM_BYTES_MAX),
    "a head": (lambda given: read_head([given]), HEADS, HEAD_BYTES_MAX),
    "a head that drips": (dripping(read_head), HEADS, HEAD_BYTES_MAX),
    "chunks": (lambda given: read_chunks([given]), CHUNKS, BODY_BYTES_MAX),
    "chunks that drip": (dripping(read_chunks), CHUNKS, BODY_BYTES_MAX),
    "cookies": (Cookie("session").value_in, COOKIES, HEADER_BYTES_MAX),
    "cookies of the console": (console_pages, COOKIES, HEADER_BYTES_MAX),
    "headers of one name": (read_headers, {"lines": filled(b"a" * 150 + b"\n")}, HEADER_BYTES_MAX),
    "Authorization": (callers._of_header, AUTHORIZATIONS, HEADER_BYTES_MAX),
    "X-Forwarded-For": (lambda given: source_of("127.0.0.1", given.decode(), PROXIES), ADDRESSES, HEADER_BYTES_MAX),
    "If-Match": (app._version, HEADER_VALUES, HEADER_BYTES_MAX),
    "Host": (app.HOST.fullmatch, HEADER_VALUES | ADDRESSES, HEADER_BYTES_MAX),
    "Content-Type": (
        lambda given: exchange_of((b"content-type", given)).content_type(), HEADER_VALUES, HEADER_BYTES_MAX,
    ),
    "Idempotency-Key": (
        lambda given: app._idempotency_key(exchange_of((b"idempotency-key", given)), "key"), HEADER_VALUES,
        HEADER_BYTES_MAX,
    ),
    "a secret": (lambda given: with_tokens.verify_session(given.decode()), SECRETS, BODY_BYTES_MAX),
    "a secret by its form": (lambda given: is_secret(SESSION_SECRET, given.decode()), SECRETS, BODY_BYTES_MAX),
    "a service key": (lambda given: is_secret(KEY_SECRET, given.decode()), SECRETS, BODY_BYTES_MAX),
    "an id": (lambda given: is_id(SESSION_ID, given.decode()), SECRETS, BODY_BYTES_MAX),
    "what may hold a secret": (lambda given: holds_secret(given.decode()), SECRETS, BODY_BYTES_MAX),
    "a cursor": (lambda given: place_of_cursor(SESSION_ID, given.decode()), SECRETS, BODY_BYTES_MAX),
    "an owner": (lambda given: owner_of("owner", given.decode()), TEXTS, 255),
    "an owner in a body": (lambda given: owner_of("owner", given.decode()), TEXTS, BODY_BYTES_MAX),
    "a text": (text_reader(1_024), TEXTS, 1_024),
    "what a client sent": (lambda given: sent_text("user_agent", given.decode(), bytes_max=2_048), TEXTS, 2_048),
    "far too much that a client sent": (
        lambda given: sent_text("user_agent", given.decode(), bytes_max=1_024), TEXTS, HEADER_BYTES_MAX,
    ),
    "a value": (lambda given: value_of("value", decode(given)), STRINGS | SHAPES | NUMBERS, 16_384),
}  # fmt: skip
CASES = [(reader, family) for reader, (_, families, _) in READERS.items() for family in families]


@pytest.mark.parametrize(("reader", "family"), CASES)
def test_a_byte_costs_the_same_at_the_limit(reader: str, family: str) -> None:
    read, families, size = READERS[reader]

    assert growth(read, families[family], size) <= GROWTH_MAX


def test_the_measure_finds_what_is_quadratic() -> None:
    """As the reader of JSON once was, which looked for the end of a string from each quote within it."""
    once = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')

    assert growth(lambda given: once.sub(b"", given), filled(b'\\"'), 6_000) > GROWTH_MAX


@pytest.mark.parametrize(
    "text", [b'"a', b'"a\\', b'"a\\"', b'["a', b"[" * 40 + b'"\\"', b"[" * 40 + b'"\\\\"' + b"]" * 40]
)
def test_a_string_that_never_ends_is_no_json(text: bytes) -> None:
    with pytest.raises(NotJSON):
        decode(text)
