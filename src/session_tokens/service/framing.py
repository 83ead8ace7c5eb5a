"""Takes the head of a request and the chunks of a body apart; pure functions of bytes, strict as RFC 9112 allows."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from .problems import Problem

HEAD_BYTES_MAX = 16_384
HEADERS_MAX = 100
CHUNK_LINE_BYTES_MAX = 10
NAMES_KEPT_MAX = 256
FORWARD_AUTH: Final = "/forward-auth"
FORWARD_AUTH_TOKENS: Final = "/forward-auth-tokens"
HEADS_ALONE: Final = (FORWARD_AUTH, FORWARD_AUTH_TOKENS)
"""Where proxies ask about a head; what stands behind these addresses, and a body that is announced, is never read."""

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([!-~]+) HTTP/1\.([01])")
# Of a request line that is not complete yet; whatever cannot become one is refused before more of it is waited for.
METHOD_MAX = 20
METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{0,20}")
TARGET = re.compile(rb"[!-~]*")
VERSION = re.compile(rb"[!-~]{0,8}\r?")
NAME = re.compile(TOKEN)
CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
LENGTH = re.compile(rb"[0-9]{1,12}")
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?#@]+)([/?].*)?", re.DOTALL)
PATH = re.compile(rb"/[!\"$-~]*")

SPACE, CARRIAGE_RETURN = 0x20, 0x0D
NO_REQUEST_LINE = "that is no request line of HTTP/1.1"
CONTROLS_IN_HEADER = "a header holds control characters or a bare line feed"

_names: dict[bytes, bytes] = {}
"""Names of headers as they were sent → in lower case; few exist, so they are checked once."""


class Head(NamedTuple):
    """The head of a request.

    Attributes:
        path: percent-decoded; where a head alone is asked about, without what stands behind that address.
        length: of the body, 0 where it has none or is chunked.
    """

    method: str
    path: str
    raw_path: bytes
    query: bytes
    version: str
    headers: list[tuple[bytes, bytes]]
    length: int
    is_chunked: bool
    keep_alive: bool
    expects_continue: bool

    @property
    def leaves_body(self) -> bool:
        """Whether a body is announced that is not read: it may never come, because the proxy that asks keeps it."""
        return (self.length > 0 or self.is_chunked) and self.path in HEADS_ALONE


def asked_by_proxies(path: str) -> str | None:
    """Return the address of forward authentication that a path is or stands behind; ``None`` for any other path."""
    if not path.startswith(FORWARD_AUTH):
        return None
    address = path[: path.find("/", 1)] if "/" in path[1:] else path
    return address if address in HEADS_ALONE else None


def refusal(detail: str) -> Problem:
    """Return the problem of a request that cannot be read."""
    return Problem(400, "malformed_request", detail)


class Beginning:
    """How far the head of a request was scanned while it comes in; each byte is scanned once, however it is cut."""

    __slots__ = ("_line_ends_at", "_looked", "_target_at", "_version_at")

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._looked = 0
        self._target_at = self._version_at = self._line_ends_at = -1

    def end_of(self, received: bytearray) -> int:
        """Return where the head at the beginning of what was received ends, and begin anew; -1 while it does not.

        Raises:
            Problem: it cannot become a head: 431 when it is too long already, 400 when it is no HTTP/1.1.
        """
        end = received.find(b"\r\n\r\n", max(0, self._looked - 3), HEAD_BYTES_MAX)
        if end >= 0:
            if self._looked:
                self._forget()
        elif len(received) >= HEAD_BYTES_MAX:
            raise Problem(431, "headers_too_large", f"a head is at most {HEAD_BYTES_MAX} bytes")
        else:
            self._check(received)
            self._looked = len(received)
        return end

    def _check(self, received: bytearray) -> None:
        if self._line_ends_at < 0:
            self._line_ends_at = received.find(b"\r\n", max(0, self._looked - 1))
            if self._line_ends_at < 0:
                if not self._may_become_line(received):
                    raise refusal(NO_REQUEST_LINE)
                return
            if not REQUEST_LINE.fullmatch(received, 0, self._line_ends_at):
                raise refusal(NO_REQUEST_LINE)
        begin = max(self._line_ends_at + 2, self._looked)
        if begin == self._looked and received[begin - 1] == CARRIAGE_RETURN:
            begin -= 1  # it may be one half of a line break
        if CONTROLS.search(bytes(received[begin:]).replace(b"\r\n", b"").removesuffix(b"\r")):
            raise refusal(CONTROLS_IN_HEADER)

    def _may_become_line(self, received: bytearray) -> bool:
        if self._target_at < 0:
            end = received.find(b" ", 0, METHOD_MAX + 1)
            if end < 0 or not METHOD.fullmatch(received, 0, end):
                return METHOD.fullmatch(received) is not None
            self._target_at = end + 1
        if self._version_at < 0:
            match = TARGET.match(received, max(self._target_at, self._looked))
            assert match is not None, "the pattern fits nothing too"
            if match.end() == len(received):
                return True
            if received[match.end()] != SPACE:
                return False
            self._version_at = match.end() + 1
        return VERSION.fullmatch(received, self._version_at) is not None


def parse_head(head: bytes) -> Head:
    """Return the head of a request, given without the empty line at its end.

    Raises:
        Problem: 400, 405 for CONNECT, 431 for more than 100 headers.
    """
    line, *lines = head.split(b"\r\n")
    match = REQUEST_LINE.fullmatch(line)
    if match is None:
        raise refusal(NO_REQUEST_LINE)
    if len(lines) > HEADERS_MAX:
        raise Problem(431, "headers_too_large", f"at most {HEADERS_MAX} headers are read")
    if CONTROLS.search(b"".join(lines)):
        raise refusal(CONTROLS_IN_HEADER)
    headers = [_header(one) for one in lines]
    method, target, minor = match.groups()
    if method == b"CONNECT":
        raise Problem(405, "method_not_allowed", "this is no proxy", headers=[(b"allow", b"GET, HEAD, POST")])
    if not target.startswith(b"/"):
        target = _without_host(target, headers)
    raw_path, _, query = target.partition(b"?")
    return Head(
        method.decode("ascii"), _path(raw_path), raw_path, query, "1.1" if minor == b"1" else "1.0", headers,
        *_framing(headers, minor == b"1"),
    )  # fmt: skip


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    lower = _names.get(name)
    if lower is None:
        # White space before the colon and folded lines end here: they are no names.
        if not NAME.fullmatch(name):
            raise refusal("a header has no proper name; folded headers are not read")
        lower = name.lower()
        if len(_names) < NAMES_KEPT_MAX:
            _names[name] = lower
    if not colon:
        raise refusal("a header has no colon")
    return lower, value.strip(b" \t")


def _without_host(target: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return what an absolute target (RFC 9112, section 3.2.2) names at its host, which is the one in ``Host``."""
    absolute = ABSOLUTE.fullmatch(target)
    if absolute is None:
        return target  # which is no path, and refused as such
    host, rest = absolute.groups(b"")
    if [host.lower()] != [value.lower() for name, value in headers if name == b"host"]:
        raise refusal("the target names another host than the header Host")
    return rest if rest.startswith(b"/") else b"/" + rest


def _path(raw_path: bytes) -> str:
    if not PATH.fullmatch(raw_path):
        raise refusal("the target is no path; send it from its first slash on")
    address = asked_by_proxies(raw_path.decode("ascii"))
    if address is not None:
        return address
    if b"%" not in raw_path:
        return raw_path.decode("ascii")
    try:
        return unquote_to_bytes(raw_path).decode("utf-8")
    except UnicodeDecodeError:
        raise refusal("the path is not percent-encoded UTF-8") from None


def _framing(headers: list[tuple[bytes, bytes]], is_1_1: bool) -> tuple[int, bool, bool, bool]:
    """Return the body's length, whether it is chunked, whether to keep the connection, and if a 100 is waited for."""
    length, lengths, hosts = 0, 0, 0
    is_chunked = expects_continue = False
    keep_alive = is_1_1
    for name, value in headers:
        if name == b"content-length":
            if not LENGTH.fullmatch(value):
                raise refusal("Content-Length is no number")
            length = int(value)
            lengths += 1
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked" or not is_1_1 or is_chunked:
                raise refusal("of the transfer encodings only chunked is read, once, in HTTP/1.1")
            is_chunked = True
        elif name == b"host":
            hosts += 1
        elif name == b"connection":
            keep_alive = keep_alive and b"close" not in value.lower()
        elif name == b"expect":
            expects_continue = is_1_1 and value.lower() == b"100-continue"
    if lengths > 1 or (lengths and is_chunked):
        raise refusal("the body's length is given twice")
    if hosts > 1 or (is_1_1 and not hosts):
        raise refusal("a request names its Host once")
    return length, is_chunked, keep_alive, expects_continue


class Chunks:
    """A chunked body as it comes in.

    Args:
        bytes_max: of the whole body.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._parts: list[bytes] = []
        self._size = 0

    def take(self, buffer: bytearray) -> bytes | None:
        """Take complete chunks off the buffer; return the body when the last one was among them.

        Raises:
            Problem: 413 for too much, 400 for what is no chunk; extensions and trailers are not read.
        """
        while True:
            match = CHUNK_LINE.match(buffer)
            if match is None:
                if len(buffer) >= CHUNK_LINE_BYTES_MAX or b"\n" in buffer:
                    raise refusal("that is no chunk; extensions of chunks are not read")
                return None
            size = int(match[1], 16)
            self._size_with(size)
            begin = match.end()
            if len(buffer) < begin + size + 2:
                if not size and len(buffer) > begin and buffer[begin] != 13:
                    raise refusal("trailers are not read")
                return None
            if buffer[begin + size : begin + size + 2] != b"\r\n":
                raise refusal("a chunk is not as long as it says; trailers are not read")
            self._parts.append(bytes(buffer[begin : begin + size]))
            self._size += size
            del buffer[: begin + size + 2]
            if not size:
                return b"".join(self._parts)

    def _size_with(self, size: int) -> None:
        if self._size + size > self._bytes_max:
            raise Problem(413, "body_too_large", f"a body is at most {self._bytes_max} bytes")
