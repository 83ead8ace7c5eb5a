"""Messages between the supervisor and one worker: a line of JSON each, over a pair of sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any, Final, cast

WAITING_BYTES_MAX: Final = 4_194_304
"""What waits to be read by the other side; more is dropped: it hangs, and will be ended."""

Message = dict[str, Any]


class Channel(asyncio.Protocol):
    """One end.

    Args:
        take: called with each message.
        lost: called once the other side has gone.
    """

    def __init__(self, take: Callable[[Message], None], lost: Callable[[], None]) -> None:
        self._take = take
        self._lost = lost
        self._parts: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._is_closed = asyncio.get_running_loop().create_future()

    async def begin(self, control: socket.socket) -> None:
        """Read and write over a socket from now on; it is closed with the channel."""
        control.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=control)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's have another parent

    def data_received(self, data: bytes) -> None:
        """Take the messages that are whole."""
        *whole, rest = data.split(b"\n")
        if whole:
            self._parts.append(whole[0])
            whole[0] = b"".join(self._parts)
            self._parts.clear()
        self._parts.append(rest)
        for line in whole:
            self._take(json.loads(line))

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that the other side has gone."""
        if not self._is_closed.done():
            self._is_closed.set_result(None)
            self._lost()

    def send(self, message: Message) -> None:
        """Send a message; nothing is sent to a side that has gone or hangs."""
        transport = self._transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size() > WAITING_BYTES_MAX:
            return
        transport.write(json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n")

    def close(self) -> None:
        """Close once everything was sent."""
        if self._transport is not None:
            self._transport.close()

    async def closed(self) -> None:
        """Wait until the channel is closed and everything that came was taken."""
        await asyncio.shield(self._is_closed)


def first_message(control: socket.socket) -> Message:
    """Wait for the message that comes before all others, and after which nothing comes until it is answered.

    Raises:
        EOFError: the other side has gone.
    """
    data = bytearray()
    while not data.endswith(b"\n"):
        part = control.recv(65_536)
        if not part:
            raise EOFError("the supervisor has gone")
        data += part
    message: Message = json.loads(data)
    return message
