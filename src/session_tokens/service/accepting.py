"""Accepts connections: each is counted before anything of it is read, and given its time from then on.

asyncio accepts until there are no more files and then writes a traceback for each connection that waits, and it counts
a connection with TLS only once its handshake is done.

Where several workers accept from one socket, all of them wake up for a connection. One that holds more than another
leaves it to the others for a moment, and takes it if none of them did.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final

from .connections import Connections, Place

log = logging.getLogger("session_tokens.service")

BACKLOG: Final = 2_048
OUT_OF_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
PAUSE_S: Final = 0.1
"""After which a listener looks again when there was no file for a connection, and none that could make room."""
LEFT_S: Final = 0.002
"""For how long connections are left to workers that hold fewer."""
ANYWAY_MAX: Final = 4
"""How many are taken after that, whatever the others hold."""

MakeProtocol = Callable[[Place], asyncio.Protocol]


class Door:
    """Accepts the connections of one listening socket.

    Args:
        listening: a bound socket, which is closed with the door.
        connections: where each connection gets its place.
        make_protocol: makes what reads the connection that has a place.
        tls: how to speak TLS, if it is spoken.
        handshake_timeout_s: within which a handshake must be done, from accepting on.
    """

    def __init__(
        self,
        listening: socket.socket,
        connections: Connections,
        make_protocol: MakeProtocol,
        tls: ssl.SSLContext | None,
        handshake_timeout_s: float,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connections = connections
        self._make_protocol = make_protocol
        self._tls = tls
        self._handshake_timeout_s = handshake_timeout_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._socket = listening
        self._socket.setblocking(False)
        self._socket.listen(BACKLOG)
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def close(self, *, takes_rest: bool = False) -> None:
        """Accept no more; twice is the same.

        Args:
            takes_rest: whether to take what waits first, for nobody else will.
        """
        if self._socket.fileno() >= 0:
            if takes_rest:
                self._take_some(BACKLOG)
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
        if self._pause is not None:
            self._pause.cancel()

    def end_handshakes(self) -> None:
        """End what was accepted and cannot be read yet."""
        for task in self._tasks:
            task.cancel()

    def _accept(self) -> None:
        if self._connections.load.is_above_others:
            self._loop.remove_reader(self._socket.fileno())
            self._pause = self._loop.call_later(LEFT_S, self._accept_anyway)
        else:
            self._take_some(self._connections.load.accepts_at_once)

    def _accept_anyway(self) -> None:
        self._look_again()
        self._take_some(ANYWAY_MAX)

    def _take_some(self, most: int) -> None:
        """Accept what waits, up to so many."""
        for _ in range(most):
            try:
                accepted, peer = self._socket.accept()
            except OSError as error:
                if error.errno in OUT_OF_FILES:
                    self._connections.tell("no file for a connection")
                    if not self._connections.make_room():
                        self._wait()
                return  # else there is none to accept any more, or it went away before it was
            accepted.setblocking(False)
            self._take(accepted, peer)

    def _wait(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._pause = self._loop.call_later(PAUSE_S, self._look_again)

    def _look_again(self) -> None:
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def _take(self, accepted: socket.socket, peer: object) -> None:
        place = self._connections.place_for(peer)
        if place is None or (place.is_refused and self._tls is not None):
            # An answer in TLS would cost a handshake.
            accepted.close()
            if place is not None:
                place.leave()
            return
        task = self._loop.create_task(self._connect(accepted, place))
        place.cut = task.cancel
        self._tasks.add(task)
        task.add_done_callback(partial(self._connected, accepted, place))

    async def _connect(self, accepted: socket.socket, place: Place) -> None:
        """Let a protocol read a connection, after the handshake where there is one."""
        await self._loop.connect_accepted_socket(
            lambda: self._make_protocol(place),
            accepted,
            ssl=self._tls,
            ssl_handshake_timeout=None if self._tls is None else self._handshake_timeout_s,
        )

    def _connected(self, accepted: socket.socket, place: Place, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            place.leave()
            accepted.close()
        if error is not None and not isinstance(error, OSError):
            # An OSError is the client's: it went away, speaks no TLS, or took too long.
            log.error("a connection failed unexpectedly", exc_info=error, extra={"event": "internal_error"})
