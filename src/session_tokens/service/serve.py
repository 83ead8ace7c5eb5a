"""Runs the service: opens the store, makes a first key where there is none, serves until it is stopped."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, closing, contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from .._async.api import AsyncSessionTokens
from .._async.core import note_start
from ..audit.log import Audit, act_of_user, acting
from ..contract.store import Store
from ..crypto.minting import Pepper
from ..errors import InvalidInput
from ..service_keys.keys import ensure_admin_key, list_keys
from ..settings import Settings
from ..web.addresses import proxies_of
from ..webhooks.background import webhooks_sent
from .accepting import Door
from .app import Options, Service
from .binding import bound_sockets, explained
from .connections import CONSOLE_CONNECTIONS_MAX, Connections, Place, allowed_connections
from .console.app import Console
from .forward_auth import SESSION_COOKIE, LogIn
from .identity import OWNER_HEADER, Identity
from .logs import log_to
from .protocol import StrictHTTP
from .service_manager import STANDARD_OUTPUT, ServiceManager, Sockets, is_journal, sockets_given
from .table_routes import Tables
from .unix_listener import PREFIX, UnixListener, path_of

log = logging.getLogger("session_tokens.service")

say = partial(print, flush=True)  # a log of a service manager should have it at once
LOOPBACK = "127.0.0.1"
LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain"})
TRUSTED_PROXIES = ("127.0.0.0/8", "::1/128")
COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
PUBLIC_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*[A-Za-z0-9._~-])?")
NO_KEY = "no service key is there yet; make one, as the user of this service: session-tokens keys create --role admin"
GRACE_S = 10
"""How long requests under way may take after the service was stopped."""


def serve(
    store_url: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    settings: Settings | None = None,
    pepper: Pepper | None = None,
    behind_proxy: bool = False,
    trusted_proxies: Sequence[str] = TRUSTED_PROXIES,
    tls_certificate: str | Path | None = None,
    tls_key: str | Path | None = None,
    session_cookie: str = SESSION_COOKIE,
    owner_header: str = OWNER_HEADER,
    identity_headers: Sequence[str] = (),
    login_url: str | None = None,
    allowed_hosts: Sequence[str] = (),
    public_url: str | None = None,
    audit: Audit | None = None,
    console_host: str | None = None,
    console_port: int | None = None,
    webhook_allow: Sequence[str] = (),
    first_key: bool = True,
    announce: Callable[[str], object] = say,
) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is under way and close the store; SIGHUP reads TLS files again.

    Sockets that a service manager hands over (``LISTEN_FDS``) take the place of ``host`` and ``port``.

    Args:
        store_url: see ``AsyncSessionTokens.open``.
        host: where to listen. An address of other than this machine needs TLS or ``behind_proxy``; or ``unix:/a/path``.
        port: 0 for a free one.
        settings: the general defaults of sessions and tokens.
        pepper: see ``AsyncSessionTokens.open``.
        behind_proxy: whether a reverse proxy that speaks TLS stands in front; its ``X-Forwarded-For`` is trusted.
        trusted_proxies: the networks that this proxy is in.
        tls_certificate, tls_key: PEM files to speak TLS here: the chain, and its key if not in the same file.
        session_cookie: the cookie that ``/forward-auth`` looks into.
        owner_header, identity_headers: the headers in which it says who was let in; see ``Identity.told_in``.
        login_url: where it sends browsers without a session, such as ``/log-in`` or ``https://app.example/log-in``.
        allowed_hosts: names in ``Host`` that are answered; all where empty.
        public_url: how others reach the service, such as ``https://tokens.example``.
        audit: keeps an audit log on the store.
        console_host: the address of the console's own listener; this machine's own if not given.
        console_port: its port, 0 for a free one; else ``/console`` of the service, if only this machine reaches that.
        webhook_allow: hosts to which webhooks may lead by http, or where they are not public; see ``destination_of``.
        first_key: whether a first admin key is made where there is none; never where it would be in systemd's journal.
        announce: called with lines for people: where the service is, and the first key's secret when one was made.

    Raises:
        InvalidInput: an address that may not be listened on, or networks and files that can never be right.
        StoreError: the store cannot be opened.
        OSError: the address cannot be listened on.
    """
    _check_ports(port, console_host, console_port)
    given, is_private = _check_places(host, console_host, tls=tls_certificate is not None, behind_proxy=behind_proxy)
    _check_tls(tls_certificate, tls_key)
    _check_names(session_cookie, public_url)
    options = Options(
        session_cookie=session_cookie,
        identity=Identity.told_in(owner_header, identity_headers),
        log_in=None if login_url is None else LogIn.at(login_url),
        trusted_proxies=proxies_of(trusted_proxies) if behind_proxy else (),
        allowed_hosts=[name.lower() for name in allowed_hosts],
        public_url=public_url,
    )
    place, console_place = (host, port), (console_host or LOOPBACK, console_port)
    listening = _Listening(*place, *console_place, tls_certificate, tls_key, given, not is_private)
    with closing(log_to()), suppress(KeyboardInterrupt):  # a Ctrl-C before the server listens
        asyncio.run(_serve(store_url, settings, pepper, audit, options, listening, webhook_allow, first_key, announce))


@dataclass(frozen=True)
class _Listening:
    """Where to listen, and how."""

    host: str
    port: int
    console_host: str
    console_port: int | None
    tls_certificate: str | Path | None
    tls_key: str | Path | None
    given: Sockets
    is_reached_by_others: bool

    @property
    def has_console(self) -> bool:
        """Whether the console has a listener of its own."""
        return self.console_port is not None or self.given.console is not None

    @contextmanager
    def bound(self) -> Iterator[list[socket.socket]]:
        """Yield the sockets to listen on."""
        path = path_of(self.host)
        if self.given.service or path is None:
            yield list(self.given.service) or bound_sockets(self.host, self.port)
            return
        listener = UnixListener(path)
        try:
            yield [listener.socket]
        finally:
            listener.close()

    def config(self, app: Any, host: str, port: int) -> uvicorn.Config:
        """Return how uvicorn serves an application on one of the addresses."""
        return uvicorn.Config(
            app,
            host=host,
            port=port,
            http=StrictHTTP,
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_S,
            ssl_certfile=self.tls_certificate,
            ssl_keyfile=None if self.tls_key is None else str(self.tls_key),
            ssl_version=ssl.PROTOCOL_TLS_SERVER,
        )


async def _serve(
    store_url: str,
    settings: Settings | None,
    pepper: Pepper | None,
    audit: Audit | None,
    options: Options,
    listening: _Listening,
    webhook_allow: Sequence[str],
    first_key: bool,
    announce: Callable[[str], object],
) -> None:
    if not _is_at_terminal():  # there it says that the terminal went away, and nothing is open yet
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: None)
    async with await AsyncSessionTokens.open(store_url, settings=settings, pepper=pepper, audit=audit) as tokens:
        console = Console(tokens, options.trusted_proxies, is_https=options.is_https)
        if not listening.has_console and not listening.is_reached_by_others:
            options = replace(options, more_routes=console.routes)
        tables = Tables(store_url, pepper)
        service = Service(tokens, replace(options, tables=tables))
        config = listening.config(service, listening.host, listening.port)
        about_first_key = _first_key if first_key and not is_journal(STANDARD_OUTPUT) else _no_first_key
        apart = None
        if listening.has_console:
            apart = listening.config(service.apart(console.routes), listening.console_host, listening.console_port or 0)

        async def started(url: str, console_url: str | None) -> None:
            if audit is not None:
                await copy_context().run(_note_start, tokens.store, audit)
            # Only now: a first key that was made by a service that could not listen would be shown to nobody.
            about_keys = await about_first_key(tokens.store, audit)
            announce(f"session-tokens serves on {url}")
            if console_url is not None:
                announce(f"its console on {console_url}/console")
            elif listening.is_reached_by_others:
                announce("its console is off where others reach the service; --console-port gives it its own place")
            if about_keys is not None:
                announce(about_keys)
            announce("stop it with Ctrl-C")

        connections = Connections(allowed_connections(), options.trusted_proxies)
        server = _AnnouncedServer(config, connections, apart, started, listening.given.console)
        with listening.bound() as sockets:
            async with aclosing(tables), webhooks_sent(tokens, webhook_allow):
                await server.serve(sockets)


async def _first_key(store: Store, audit: Audit | None) -> str | None:
    """Make a first admin key where there is none; return the line that shows it."""
    issued = await ensure_admin_key(store, audit=audit)
    return None if issued is None else f"first admin key, shown this once: {issued.secret}"


async def _no_first_key(store: Store, audit: Audit | None) -> str | None:
    """Return how to make a first key where there is none."""
    return None if await list_keys(store) else NO_KEY


def _note_start(store: Store, audit: Audit) -> asyncio.Task[None]:
    """Begin the audit log, on behalf of the user that the service runs as."""
    acting.set(act_of_user())
    return asyncio.create_task(note_start(store, audit))


class _AnnouncedServer(uvicorn.Server):
    """A server that says where it is once it listens, and stops without raising its signal again.

    Args:
        config: the service.
        connections: how many of it there are at a time, and whose.
        apart: what else is served in the same loop, on a listener of its own.
        started: called with where both are.
        console_socket: the listener of ``apart``, where one was handed over.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        connections: Connections,
        apart: uvicorn.Config | None,
        started: Callable[[str, str | None], Awaitable[None]],
        console_socket: socket.socket | None = None,
    ) -> None:
        super().__init__(config)
        self._console_socket = console_socket
        self._manager = ServiceManager()
        self._status = "starting"
        self._watched: asyncio.TimerHandle | None = None
        self._connections = connections
        self._doors: list[Door] = []
        self._apart = apart
        self._tell = started

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; a second Ctrl-C does not wait for requests under way.

        uvicorn would raise the signal again when it is done, which would end the process before the store is closed.
        """
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say where."""
        await super().startup(sockets)
        if self.started:
            for server in self.servers:
                self._take_over(server, self.config, self._connections)
            where = " and ".join(map(self._url_of, self.servers))
            self._status = f"serving on {where}"
            apart = None
            if self._apart is not None:
                try:
                    apart = await self._listen_apart(self._apart)
                except BaseException:
                    await self.shutdown()
                    raise
            self._heed_hang_ups()
            await self._tell(where, None if apart is None else self._url_of(apart))
            self._manager.is_ready(self._status)
            self._live_on()

    def _live_on(self) -> None:
        """Send signs of life to the service manager while the loop turns, if it wants them."""
        if self._manager.alive_every_s is not None:
            self._manager.is_alive()
            self._watched = asyncio.get_running_loop().call_later(self._manager.alive_every_s, self._live_on)

    def _heed_hang_ups(self) -> None:
        if not _is_at_terminal():
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.handle_exit, signal.SIGHUP, None)

    def _reload(self) -> None:
        """Read the TLS files again, for connections made from now on; where they are no good, the earlier ones stay."""
        if self.should_exit:
            return
        self._manager.is_reloading()
        try:
            for config in filter(None, (self.config, self._apart)):
                if isinstance(config.ssl, ssl.SSLContext) and config.ssl_certfile is not None:
                    # A pair that does not fit would leave a context without any: it is tried on another one first.
                    for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), config.ssl):
                        context.load_cert_chain(config.ssl_certfile, config.ssl_keyfile, password="")
        except OSError as error:
            log.error("the TLS files are no good, the earlier ones stay: %s", error, extra={"event": "not_reloaded"})
        else:
            log.info("the TLS files were read again, where there are any", extra={"event": "reloaded"})
        self._manager.is_ready(self._status)

    async def _listen_apart(self, config: uvicorn.Config) -> asyncio.Server:
        """Serve another application too; it stops with the first one."""
        config.load()
        loop = asyncio.get_running_loop()
        taken = self._console_socket
        try:
            server = await (
                loop.create_server(asyncio.Protocol, host=config.host, port=config.port, start_serving=False)
                if taken is None
                else loop.create_server(asyncio.Protocol, sock=taken, start_serving=False)
            )
        except OSError as error:
            raise explained(error, config.host, config.port, "--console-port") from None
        self.servers.append(server)
        self._take_over(server, config, Connections(CONSOLE_CONNECTIONS_MAX, self._connections.trusted_proxies))
        return server

    def _take_over(self, server: asyncio.Server, config: uvicorn.Config, connections: Connections) -> None:
        """Accept what comes to a listener of asyncio's ourselves."""

        def protocol(place: Place) -> StrictHTTP:
            return StrictHTTP(config, self.server_state, {}, place=place)

        for listening in server.sockets:
            timeout_s = StrictHTTP.request_timeout_s
            self._doors.append(Door(listening, connections, protocol, config.ssl, timeout_s))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, then finish what is under way."""
        self._manager.is_stopping()
        for door in self._doors:
            door.close()
        await super().shutdown(sockets)
        if self._watched is not None:
            self._watched.cancel()

    def _url_of(self, server: asyncio.AbstractServer) -> str:
        assert isinstance(server, asyncio.Server)
        name = server.sockets[0].getsockname()
        if server.sockets[0].family == socket.AF_UNIX:
            return PREFIX + (name if isinstance(name, str) else "@" + name[1:].decode("ascii", "replace"))
        host, port = name[:2]
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if self.config.is_ssl else 'http'}://{shown}:{port}"


def is_loopback(host: str) -> bool:
    """Whether an address, or a Unix socket, is reached from this machine alone."""
    if path_of(host) is not None:
        return True
    try:
        return host in LOOPBACK_NAMES or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_of(listening: socket.socket) -> str:
    """Return the address of a socket that was handed over; one that is no network's is this machine's own."""
    name = listening.getsockname()
    return str(name[0]) if listening.family in (socket.AF_INET, socket.AF_INET6) else LOOPBACK


def _is_at_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _check_port(port: int) -> None:
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65_535:
        raise InvalidInput("a port is 0 to 65535; 0 takes a free one")


def _check_tls(certificate: str | Path | None, key: str | Path | None) -> None:
    if key is not None and certificate is None:
        raise InvalidInput("a TLS key without its certificate; give both")
    for file in (certificate, key):
        if file is not None and not Path(file).is_file():
            raise InvalidInput(f"the TLS file {file} is not there; name a PEM file")


def _check_places(host: str, console_host: str | None, *, tls: bool, behind_proxy: bool) -> tuple[Sockets, bool]:
    """Return the sockets that were handed over, and whether only this machine reaches where the service listens."""
    given = sockets_given()
    hosts = [_host_of(one) for one in given.service] or [host]
    consoles = [] if given.console is None else [_host_of(given.console)]
    for one in [*hosts, *consoles, console_host or LOOPBACK]:
        check_address(one, tls=tls, behind_proxy=behind_proxy)
    return given, not behind_proxy and all(map(is_loopback, hosts))


def _check_names(session_cookie: str, public_url: str | None) -> None:
    if not COOKIE_NAME.fullmatch(session_cookie):
        raise InvalidInput("the name of a cookie is letters, digits and !#$%&'*+.^_`|~- only")
    if public_url is not None and not PUBLIC_URL.fullmatch(public_url):
        raise InvalidInput("a public URL is like https://tokens.example, without a slash at its end")


def _check_ports(port: int, host: str | None, console_port: int | None) -> None:
    _check_port(port)
    if console_port is None:
        if host is not None:
            raise InvalidInput("--console-host goes with --console-port")
        return
    _check_port(console_port)
    if host is not None and host.startswith(PREFIX):
        raise InvalidInput("the console's own listener takes an address and a port, no Unix socket")
    if console_port and console_port == port:
        raise InvalidInput("the console's own listener needs a port of its own")


def check_address(host: str, *, tls: bool, behind_proxy: bool) -> None:
    """Accept an address to listen on.

    Raises:
        InvalidInput: it can be reached from other machines, and there is neither TLS nor a proxy that speaks it.
    """
    if tls or behind_proxy or is_loopback(host):
        return
    raise InvalidInput(
        "that address may be reached from other machines, where secrets would travel in the clear; listen on "
        "127.0.0.1, give a TLS certificate, or say --behind-proxy when a proxy in front speaks TLS"
    )
