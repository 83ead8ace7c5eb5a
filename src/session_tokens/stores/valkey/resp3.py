"""Reads replies and pushes of RESP3 from a blocking socket, in the order in which the server sent them.

The drivers mix them up (a push is a list to valkey-py's fast parser) or hide them. What a server sends is read once, in
time linear in its length.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

LINE_MAX: Final = 65_536
DEPTH_MAX: Final = 8
_CHUNK: Final = 65_536


class Malformed(Exception):
    """What came is no RESP3, or too deep."""


class ErrorReply(Exception):
    """The server refused a command; its words."""


class Push(list[Any]):
    """What the server says unasked."""


class _Socket(Protocol):
    def recv(self, size: int, /) -> bytes: ...


class Replies:
    """What comes over one socket.

    Args:
        socket: from which it is read; what it raises passes.
    """

    def __init__(self, socket: _Socket) -> None:
        self._socket = socket
        self._buffer = bytearray()
        self._at = 0

    @property
    def has_more(self) -> bool:
        """Whether something was received that was not read yet."""
        pending = getattr(self._socket, "pending", None)  # of TLS
        return self._at < len(self._buffer) or (pending is not None and pending() > 0)

    def read(self, depth: int = 0) -> Any:
        """Return the next reply or ``Push``; an error in it is an ``ErrorReply``, returned like any other.

        Raises:
            Malformed: what came is none.
            EOFError: the server closed the connection.
        """
        if depth > DEPTH_MAX:
            raise Malformed("a reply is too deep")
        line = self._line()
        kind, rest = line[:1], bytes(line[1:])
        try:
            if kind in (b"$", b"=", b"!"):
                length = int(rest)
                if length < 0:
                    return None
                text = self._exactly(length + 2)[:-2]
                return ErrorReply(text.decode("utf-8", "replace")) if kind == b"!" else text
            if kind in (b"*", b"~", b">"):
                length = int(rest)
                items = None if length < 0 else [self.read(depth + 1) for _ in range(length)]
                return Push(items or ()) if kind == b">" else items
            if kind == b"%":
                return {_key(self.read(depth + 1)): self.read(depth + 1) for _ in range(int(rest))}
            if kind == b":":
                return int(rest)
        except ValueError as error:
            raise Malformed("a length or number is none") from error
        if kind == b"-":
            return ErrorReply(rest.decode("utf-8", "replace"))
        if kind in (b"+", b",", b"("):
            return rest
        if kind == b"_":
            return None
        if kind == b"#":
            return rest == b"t"
        raise Malformed("a reply begins like none")

    def _line(self) -> bytes:
        seen = self._at
        while (end := self._buffer.find(b"\r\n", seen)) < 0:
            if len(self._buffer) - self._at > LINE_MAX:
                raise Malformed("a line is too long")
            seen = max(self._at, len(self._buffer) - 1)
            moved = self._at
            self._receive()
            seen -= moved - self._at
        line = bytes(self._buffer[self._at : end])
        self._at = end + 2
        return line

    def _exactly(self, length: int) -> bytes:
        while len(self._buffer) - self._at < length:
            self._receive()
        self._at += length
        return bytes(self._buffer[self._at - length : self._at])

    def _receive(self) -> None:
        if self._at == len(self._buffer):
            self._buffer.clear()
            self._at = 0
        elif self._at > _CHUNK:  # what was read goes, not more often than a chunk comes
            del self._buffer[: self._at]
            self._at = 0
        piece = self._socket.recv(_CHUNK)
        if not piece:
            raise EOFError("the server closed the connection")
        self._buffer += piece


def _key(value: Any) -> Any:
    if isinstance(value, list | dict | ErrorReply):
        raise Malformed("a key of a map is none")
    return value
