"""Where the service listens: sockets that were handed over, or addresses that are bound here."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from .binding import bound_sockets
from .service_manager import Sockets
from .unix_listener import UnixListener, path_of


class Bound:
    """Sockets to listen on, closed at the end of a ``with``.

    Args:
        service: the service's.
        console: of the console's own listener; none where it has none.
        unix: the service's, where it was made here and its file is to be removed.
    """

    def __init__(
        self,
        service: Sequence[socket.socket],
        console: Sequence[socket.socket] = (),
        unix: UnixListener | None = None,
    ) -> None:
        self.service = service
        self.console = console
        self._unix = unix

    def __enter__(self) -> Bound:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the sockets, so that nobody connects any more; twice is the same."""
        for one in (*self.service, *self.console):
            one.close()
        if self._unix is not None:
            self._unix.close()


@dataclass(frozen=True)
class Places:
    """Where to listen.

    Attributes:
        host, port: of the service.
        console_host, console_port: of the console's own listener; without a port it has none.
        given: sockets that were handed over, in place of these.
    """

    host: str
    port: int
    console_host: str
    console_port: int | None
    given: Sockets

    @property
    def has_console(self) -> bool:
        """Whether the console has a listener of its own."""
        return self.console_port is not None or self.given.console is not None

    def bound(self) -> Bound:
        """Return the sockets, which listen.

        Raises:
            InvalidInput: no Unix socket can be made there.
            OSError: an address cannot be had; the message says why and what to do.
        """
        path = path_of(self.host)
        if self.given.service:
            bound = Bound(self.given.service)
        elif path is None:
            bound = Bound(bound_sockets(self.host, self.port, "--port"))
        else:
            unix = UnixListener(path)
            bound = Bound([unix.socket], unix=unix)
        try:
            if self.given.console is not None:
                bound.console = [self.given.console]
            elif self.console_port is not None:
                bound.console = bound_sockets(self.console_host, self.console_port, "--console-port")
        except BaseException:
            bound.close()
            raise
        return bound
