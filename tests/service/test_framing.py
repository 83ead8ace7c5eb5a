"""Requests as bytes: what two readers could split differently is refused and its connection closed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import ClassVar

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from session_tokens import AsyncSessionTokens
from session_tokens.service.app import Service
from session_tokens.service.exchange import BODY_BYTES_MAX
from session_tokens.service.framing import Beginning, Chunks, parse_head
from session_tokens.service.problems import Problem
from session_tokens.service.protocol import StrictHTTP
from tests.helpers.running_service import RunningService, received, request, status_of

GET = b"GET /livez HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /introspect HTTP/1.1\r\nHost: a\r\n"

REFUSED = {
    "chunked and a length": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    "two equal lengths": (POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na", 400),
    "a list of lengths": (POST + b"Content-Length: 1, 1\r\n\r\na", 400),
    "a signed length": (POST + b"Content-Length: +1\r\n\r\na", 400),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\na", 400),
    "a length in hexadecimal": (POST + b"Content-Length: 0x1\r\n\r\na", 400),
    "a length that is none": (POST + b"Content-Length: \r\n\r\n", 400),
    "a folded header": (GET + b"X-A: b\r\n c\r\n\r\n", 400),
    "a bare line feed at the end of a header": (b"GET /livez HTTP/1.1\nHost: a\n\n", 400),
    "a bare line feed in a header": (GET + b"X-A: b\nX-C: d\r\n\r\n", 400),
    "a bare carriage return in a header": (GET + b"X-A: b\rX-C: d\r\n\r\n", 400),
    "a NUL in a header": (GET + b"Authorization: Bearer \x00\r\n\r\n", 400),
    "a space before the colon": (GET + b"X-A : b\r\n\r\n", 400),
    "a header without a name": (GET + b": b\r\n\r\n", 400),
    "a header without a colon": (GET + b"X-A\r\n\r\n", 400),
    "an unknown transfer encoding": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked twice": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "an obfuscated transfer encoding": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "chunked in 1.0": (b"POST /introspect HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a chunk longer than it says": (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", 400),
    "an extension of a chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\n1;a=b\r\na\r\n0\r\n\r\n", 400),
    "a trailer": (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: b\r\n\r\n", 400),
    "a chunk of 2^63": (POST + b"Transfer-Encoding: chunked\r\n\r\n8000000000000000\r\n", 400),
    "no host": (b"GET /livez HTTP/1.1\r\n\r\n", 400),
    "two hosts": (GET + b"Host: b\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /livez\r\n", 400),
    "HTTP/2 in the clear": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS on the plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), 400),
    "an absolute target of another host": (b"GET http://b/livez HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "an absolute target of another port": (b"GET http://a:81/livez HTTP/1.1\r\nHost: a:80\r\n\r\n", 400),
    "an absolute target with a user": (b"GET http://u@a/livez HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "an absolute target without a host": (b"GET http:///livez HTTP/1.1\r\nHost: \r\n\r\n", 400),
    "an absolute target of another scheme": (b"GET ftp://a/livez HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "an absolute target with a fragment": (b"GET http://a/livez#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "an asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a fragment": (b"GET /livez#a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a path that is no UTF-8": (b"GET /v1/owners/%ff/sessions HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "two spaces in the request line": (b"GET  /livez HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a tunnel": (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405),
    "100 kB of one header": (GET + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n", 431),
    "10,000 headers": (GET + b"X-A: b\r\n" * 10_000 + b"\r\n", 431),
    "101 short headers": (GET + b"a: b\r\n" * 101 + b"\r\n", 431),
    "a request line without end": (b"GET /" + b"a" * 100_000, 431),
    "64 KiB of backslashes as cookie": (GET + b"Cookie: session=" + b"\\" * 65_536 + b"\r\n\r\n", 431),
    "a body of 10 GB": (POST + b"Content-Length: 10000000000\r\n\r\nabc", 413),
    "a chunked body that is too large": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + (b"fff\r\n" + b"a" * 4095 + b"\r\n") * 17 + b"0\r\n\r\n",
        413,
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_in_one_way_is_refused_and_the_connection_closed(
    running: RunningService, case: str
) -> None:
    """`raw` returns only when the service has closed its side, so a smuggled second request would show as an answer."""
    sent, status = REFUSED[case]
    answer = running.raw(sent)

    assert status_of(answer) == status, answer
    assert b"\r\nconnection: close\r\n" in answer
    assert b'"code"' in answer
    assert answer.count(b"\r\ndate: ") == 1  # RFC 9110, 6.6.1
    assert answer.count(b"HTTP/1.1 ") == 1
    if status == 405:
        assert b"\r\nallow: " in answer


def test_a_body_of_the_largest_size_is_read_and_one_byte_more_is_not(running: RunningService) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": f"Bearer {running.secret}"}
    exact = b"token=" + b"a" * (BODY_BYTES_MAX - 6)

    assert status_of(running.raw(request("POST", "/introspect", headers, exact))) == 200
    assert status_of(running.raw(request("POST", "/introspect", headers, exact + b"a"))) == 413


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://a/livez", 200), (b"HTTP://A/livez", 200), (b"https://a/livez", 200), (b"http://a", 200),
        (b"http://a/forward-auth/page?b=c", 401), (b"http://a/livez?b=c", 400), (b"http://a?b=c", 400),
        (b"http://a/nowhere", 404), (b"http://a//livez", 404),
    ],
)  # fmt: skip
def test_a_target_with_the_host_in_it_is_taken_as_the_path(running: RunningService, target: bytes, status: int) -> None:
    """RFC 9112, 3.2.2: a server must accept the absolute form; what it names is what the header Host names."""
    answer = running.raw(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

    assert status_of(answer) == status, answer


def test_requests_sent_at_once_are_answered_in_their_order(running: RunningService) -> None:
    sent = request("GET", "/livez", close=False) + request("GET", "/nowhere", close=False) + request("GET", "/readyz")
    answer = running.raw(sent)
    statuses = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]

    assert statuses == [b"200", b"404", b"200"]


def test_a_request_may_come_byte_by_byte(running: RunningService) -> None:
    headers = {"Authorization": f"Bearer {running.secret}", "Content-Type": "application/x-www-form-urlencoded"}
    sent = request("POST", "/introspect", headers, b"token=x")
    with socket.create_connection(("127.0.0.1", running.port), timeout=15) as connection:
        for byte in sent:
            connection.sendall(bytes([byte]))
        answer = received(connection)

    assert status_of(answer) == 200
    assert answer.endswith(b'{"active":false}')


def test_one_empty_line_before_a_request_is_passed_over(running: RunningService) -> None:
    """RFC 9112, 2.2: clients of old send one behind a body; more are no way to keep a connection busy."""
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": f"Bearer {running.secret}"}
    post = request("POST", "/introspect", headers, b"token=x", close=False) + b"\r\n"
    one = running.raw(b"\r\n" + post + request("GET", "/livez"))
    two = running.raw(b"\r\n\r\n" + request("GET", "/livez"))
    with socket.create_connection(("127.0.0.1", running.port), timeout=15) as connection:
        for byte in post + request("GET", "/livez"):
            connection.sendall(bytes([byte]))
        slow = received(connection)

    assert [b"200", b"200"] == [part[:3] for part in one.split(b"HTTP/1.1 ")[1:]]
    assert status_of(two) == 400
    assert [b"200", b"200"] == [part[:3] for part in slow.split(b"HTTP/1.1 ")[1:]]


def test_http_1_0_is_answered_and_closed(running: RunningService) -> None:
    answer = running.raw(b"GET /livez HTTP/1.0\r\n\r\n")

    assert status_of(answer) == 200
    assert b"connection: close" in answer


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(running: RunningService) -> None:
    head = (
        f"POST /introspect HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {running.secret}\r\nConnection: close\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", running.port), timeout=15) as connection:
        connection.sendall(head.encode())
        first = connection.recv(1000)
        connection.sendall(b"token=x")
        answer = received(connection)

    assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert status_of(answer) == 200


def test_head_has_the_length_of_get_and_no_body(running: RunningService) -> None:
    answer = running.raw(request("HEAD", "/livez"))

    assert status_of(answer) == 200
    assert b"content-length: 18\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def status_when_read(head: bytes) -> int:
    try:
        Beginning().end_of(bytearray(head))
        parse_head(head)
    except Problem as problem:
        return problem.status
    return 200


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(noise: bytes) -> None:
    """Whatever comes: a head, a refusal, or the wish for more; never another exception."""
    assert status_when_read(noise) in (200, 400, 405, 431)
    assert status_when_read(b"GET / HTTP/1.1\r\nHost: a\r\n" + noise) in (200, 400, 431)


def judged(pieces: list[bytes]) -> int | str:
    """Return where a head that comes in pieces ends, or why it is none."""
    beginning, buffer, end = Beginning(), bytearray(), -1
    for piece in pieces:
        buffer += piece
        try:
            end = beginning.end_of(buffer)
        except Problem as problem:
            return problem.detail
        if end >= 0:
            break
    return end


LINES = st.lists(
    st.sampled_from(
        [b"GET", b" ", b"/", b"a", b":", b"HTTP/1.1", b"\r\n", b"\r", b"\n", b"\t", b"\x00", b"GET / HTTP/1.1\r\n"]
    )
)


@given(LINES.map(b"".join), st.lists(st.integers(0, 60), max_size=6))
def test_a_head_is_judged_the_same_however_it_is_cut(head: bytes, cuts: list[int]) -> None:
    ends = sorted({min(cut, len(head)) for cut in cuts} | {len(head)})
    whole, cut = judged([head]), judged([head[begin:end] for begin, end in zip([0, *ends], ends, strict=False)])

    # What comes later cannot be known: a head that is over, or refused, before the end of all is that in pieces too.
    assert whole == cut or (isinstance(whole, int) and whole >= 0 and cut != -1)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.data())
def test_a_chunked_body_is_the_same_however_it_is_cut(parts: list[bytes], data: st.DataObject) -> None:
    sent = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\nnext"
    cut = data.draw(st.integers(0, len(sent)))
    chunks, buffer = Chunks(1_000), bytearray(sent[:cut])
    body = chunks.take(buffer)
    if body is None:
        buffer += sent[cut:]
        body = chunks.take(buffer)

    assert body == b"".join(parts)
    assert b"next".startswith(bytes(buffer)) or bytes(buffer) == b"next"


def status_of_chunks(buffer: bytearray) -> int:
    try:
        body = Chunks(100).take(buffer)
    except Problem as problem:
        return problem.status
    return 100 if body is None else 200


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reader_of_chunks(noise: bytes) -> None:
    assert status_of_chunks(bytearray(noise)) in (100, 200, 400, 413)
    assert status_of_chunks(bytearray(b"2\r\nab\r\n" + noise)) in (100, 200, 400, 413)


class Hasty(StrictHTTP):
    request_timeout_s = 0.2
    idle_timeout_s = 0.2
    linger_s = 0.2
    write_timeout_s = 0.2
    gone: ClassVar[asyncio.Event]

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.gone.set()


@pytest.fixture
async def hasty() -> AsyncIterator[int]:
    """Serve with a short patience; answer the port."""
    async with await AsyncSessionTokens.open("memory://", sweep=False) as tokens:
        config = uvicorn.Config(Service(tokens), lifespan="off", log_config=None)
        config.load()
        Hasty.gone = asyncio.Event()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Hasty(config, ServerState(), {}), "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("begun", "status"),
    [
        (POST + b"Content-Length: 5\r\n\r\nto", 408),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nto", 408),
        (b"GET /livez HTTP/1.1\r\nHost:", 408),
        (b"", 0),
        (GET + b"\r\n", 200),
    ],
)
async def test_a_request_that_does_not_come_to_its_end_is_given_up(hasty: int, begun: bytes, status: int) -> None:
    """A silent connection, also one that waits after an answer, is closed without a word."""
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty)
    writer.write(begun)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert status_of(answer) == status


async def test_a_slow_trickle_does_not_buy_time(hasty: int) -> None:
    """A byte each 50 ms never completes the body in 200 ms, and must not restart the clock."""
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty)
    writer.write(POST + b"Content-Length: 1000\r\n\r\n")

    async def trickle() -> None:
        with contextlib.suppress(OSError):
            while not writer.is_closing():
                writer.write(b"a")
                await asyncio.sleep(0.05)

    trickling = asyncio.create_task(trickle())
    answer = await reader.read()
    trickling.cancel()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()

    assert status_of(answer) == 408


@pytest.mark.parametrize("begun", [b"GET /livez HTTP/1.1\r\nHost:", b"junk\r\n\r\n", b"", GET + b"\r\n"])
async def test_a_client_that_never_hangs_up_is_let_go(hasty: int, begun: bytes) -> None:
    """Those who keep their half open after a refusal would else use up all connections there may be."""
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty)
    writer.write(begun)
    await reader.read()

    async with asyncio.timeout(10):
        await Hasty.gone.wait()
    writer.close()


@pytest.mark.parametrize("last", [b"", b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"])
async def test_a_client_that_takes_no_answers_is_cut_off(hasty: int, last: bytes) -> None:
    """More answers than the buffers between the two take, and nobody who reads them."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", hasty))
        await loop.sock_sendall(client, b"GET /docs HTTP/1.1\r\nHost: a\r\n\r\n" * 200 + last)
        async with asyncio.timeout(10):
            await Hasty.gone.wait()
