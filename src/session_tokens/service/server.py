"""Serves applications on sockets until it is told to stop; uvicorn's server, with listening and leaving of our own."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Final, cast

import uvicorn

from .accepting import Door
from .checks import load_tls
from .connections import Connections, Place
from .protocol import StrictHTTP
from .service_manager import ServiceManager
from .terminal import is_at_terminal
from .unix_listener import PREFIX

log = logging.getLogger("session_tokens.service")

STOP_S: Final = 0.25
"""For how long a connection that had an answer just now may ask once more when the service stops."""
LEAVE_S: Final = 10.0
"""For how long every connection may, where another process has taken this one's place."""
LOOK_S: Final = 0.01


@dataclass(frozen=True)
class Listener:
    """What is served where.

    Attributes:
        config: the application.
        sockets: bound, and closed with the server.
        connections: how many there are at a time, and whose.
    """

    config: uvicorn.Config
    sockets: Sequence[socket.socket]
    connections: Connections

    @property
    def urls(self) -> list[str]:
        """Where it is."""
        return [_url_of(listening, is_tls=self.config.is_ssl) for listening in self.sockets]


class Server(uvicorn.Server):
    """A server that says where it is once it listens, and stops without raising its signal again.

    Args:
        service: the service.
        apart: what else is served in the same loop, on a listener of its own.
        started: called with where both are.
    """

    def __init__(
        self,
        service: Listener,
        apart: Listener | None,
        started: Callable[[str, str | None], Awaitable[None]],
    ) -> None:
        super().__init__(service.config)
        self.servers: list[asyncio.Server] = []
        self._listeners = [service] if apart is None else [service, apart]
        self._manager = ServiceManager()
        self._status = "starting"
        self._watched: asyncio.TimerHandle | None = None
        self._doors: list[Door] = []
        self._tell = started
        self._is_leaving = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; a second Ctrl-C does not wait for requests under way.

        uvicorn would raise the signal again when it is done, which would end the process before the store is closed.
        """
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    def leave(self) -> None:
        """Stop, as slowly as clients ask: another process accepts from the same sockets by now."""
        self._is_leaving = True
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say where."""
        await self.lifespan.startup()
        for listener in self._listeners:
            self._open_doors(listener)
        self.started = True
        where = [" and ".join(listener.urls) for listener in self._listeners]
        self._status = f"serving on {where[0]}"
        self._heed_hang_ups()
        await self._tell(where[0], where[1] if where[1:] else None)
        self._manager.is_ready(self._status)
        self._live_on()

    def _open_doors(self, listener: Listener) -> None:
        config = listener.config
        if not config.loaded:
            config.load()

        def protocol(place: Place) -> StrictHTTP:
            return StrictHTTP(config, self.server_state, {}, place=place)

        for listening in listener.sockets:
            timeout_s = StrictHTTP.request_timeout_s
            self._doors.append(Door(listening, listener.connections, protocol, config.ssl, timeout_s))

    def _live_on(self) -> None:
        """Send signs of life to the service manager while the loop turns, if it wants them."""
        if self._manager.alive_every_s is not None:
            self._manager.is_alive()
            self._watched = asyncio.get_running_loop().call_later(self._manager.alive_every_s, self._live_on)

    def _heed_hang_ups(self) -> None:
        if not is_at_terminal():
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.handle_exit, signal.SIGHUP, None)

    def _reload(self) -> None:
        """Read the TLS files again, for connections made from now on; where they are no good, the earlier ones stay."""
        if self.should_exit:
            return
        self._manager.is_reloading()
        try:
            for listener in self._listeners:
                config = listener.config
                if isinstance(config.ssl, ssl.SSLContext) and config.ssl_certfile is not None:
                    # A pair that does not fit would leave a context without any: it is tried on another one first.
                    for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), config.ssl):
                        load_tls(context, config.ssl_certfile, config.ssl_keyfile)
        except OSError as error:
            log.error("the TLS files are no good, the earlier ones stay: %s", error, extra={"event": "not_reloaded"})
        else:
            log.info("the TLS files were read again, where there are any", extra={"event": "reloaded"})
        self._manager.is_ready(self._status)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, then finish what is under way; who asks again at once is answered once more."""
        self._manager.is_stopping()
        for door in self._doors:
            door.close(takes_rest=not self._is_leaving)
        await self._answer_last()
        for door in self._doors:
            door.end_handshakes()
        await super().shutdown(sockets)
        if self._watched is not None:
            self._watched.cancel()

    async def _answer_last(self) -> None:
        """Tell clients with their next answers that their connections close, and wait for those that may ask now.

        A connection that closes while a request is on its way to it loses that request.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + (LEAVE_S if self._is_leaving else STOP_S)
        within_s = None if self._is_leaving else STOP_S
        await asyncio.sleep(0)  # what was accepted just now is read from its next turn on
        while not self.force_exit:
            connections = list(cast("set[StrictHTTP]", self.server_state.connections))
            for connection in connections:
                connection.take_last()
            if loop.time() >= until_s or not any(one.may_ask_within(within_s) for one in connections):
                return
            await asyncio.sleep(LOOK_S)


def _url_of(listening: socket.socket, *, is_tls: bool) -> str:
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return PREFIX + (name if isinstance(name, str) else "@" + name[1:].decode("ascii", "replace"))
    host, port = name[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if is_tls else 'http'}://{shown}:{port}"
