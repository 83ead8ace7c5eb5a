"""Runs the service: opens the store, makes a first key where there is none, serves until it is stopped."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, closing, nullcontext, suppress
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from .._async.api import AsyncSessionTokens
from .._async.core import note_start
from ..audit.log import Audit, act_of_user, acting
from ..contract.store import Store
from ..crypto.minting import Pepper
from ..service_keys.keys import ensure_admin_key, list_keys
from ..settings import Duration, Settings
from ..web.addresses import proxies_of
from ..webhooks.background import webhooks_sent
from .app import Options, Service
from .checks import LOOPBACK, check_hosts, check_names, check_places, check_ports, check_tls
from .connections import CONNECTIONS_MAX, CONSOLE_CONNECTIONS_MAX, Connections, allowed_connections
from .console.app import Console
from .crew import Alone, share_of
from .forward_auth import SESSION_COOKIE, LogIn
from .identity import OWNER_HEADER, Identity
from .listening import Bound, Places
from .logs import log_to
from .protocol import StrictHTTP
from .server import Listener, Server
from .service_manager import STANDARD_OUTPUT, is_journal, sockets_given
from .table_routes import Tables
from .terminal import is_at_terminal, say
from .turns import service_loop
from .workers.member import Member

TRUSTED_PROXIES = ("127.0.0.0/8", "::1/128")
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
    near_cache: Duration | None = None,
    announce: Callable[[str], object] = say,
    member: Member | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is under way and close the store; SIGHUP reads TLS files again.

    Sockets that a service manager hands over (``LISTEN_FDS``) take the place of ``host`` and ``port``.

    Args:
        store_url, settings, pepper, audit, near_cache: see ``AsyncSessionTokens.open``.
        host: where to listen. An address of other than this machine needs TLS or ``behind_proxy``; or ``unix:/a/path``.
        port: 0 for a free one.
        behind_proxy: whether a reverse proxy that speaks TLS stands in front; its ``X-Forwarded-For`` is trusted.
        trusted_proxies: the networks that this proxy is in.
        tls_certificate, tls_key: PEM files to speak TLS here: the chain, and its key if not in the same file.
        session_cookie: the cookie that ``/forward-auth`` looks into.
        owner_header, identity_headers: the headers in which it says who was let in; see ``Identity.told_in``.
        login_url: where it sends browsers without a session, such as ``/log-in`` or ``https://app.example/log-in``.
        allowed_hosts: names in ``Host`` that are answered; all where empty.
        public_url: how others reach the service, such as ``https://tokens.example``.
        console_host: the address of the console's own listener; this machine's own if not given.
        console_port: its port, 0 for a free one; else ``/console`` of the service, if only this machine reaches that.
        webhook_allow: hosts to which webhooks may lead by http, or where they are not public; see ``destination_of``.
        first_key: whether a first admin key is made where there is none; never where it would be in systemd's journal.
        announce: called with lines for people: where the service is, and the first key's secret when one was made.
        member: this process among the workers of a service; it brings its sockets.

    Raises:
        InvalidInput: an address that may not be listened on, or networks and files that can never be right.
        StoreError: the store cannot be opened.
        OSError: the address cannot be listened on.
    """
    check_ports(port, console_host, console_port)
    given = sockets_given() if member is None else member.given
    is_reached = check_places(given, host, console_host, tls=tls_certificate is not None, behind_proxy=behind_proxy)
    check_tls(tls_certificate, tls_key)
    check_names(session_cookie, public_url)
    check_hosts(allowed_hosts, webhook_allow)
    options = Options(
        session_cookie=session_cookie,
        identity=Identity.told_in(owner_header, identity_headers),
        log_in=None if login_url is None else LogIn.at(login_url),
        trusted_proxies=proxies_of(trusted_proxies) if behind_proxy else (),
        allowed_hosts=[name.lower() for name in allowed_hosts],
        public_url=public_url,
        crew=Alone() if member is None else member,
    )
    opened = partial(AsyncSessionTokens.open, store_url, settings=settings, pepper=pepper, audit=audit)
    running = _Running(
        open=partial(opened, near_cache=near_cache),
        tables=partial(Tables, store_url, pepper, options.crew.size),
        audit=audit,
        options=options,
        places=Places(host, port, console_host or LOOPBACK, console_port, given),
        is_reached=is_reached,
        tls=(tls_certificate, tls_key),
        webhook_allow=webhook_allow,
        first_key=_first_key if first_key and not is_journal(STANDARD_OUTPUT) else _no_first_key,
        announce=announce,
        member=member,
    )
    with (
        closing(log_to()),
        suppress(KeyboardInterrupt),  # a Ctrl-C before the server listens
        asyncio.Runner(loop_factory=service_loop) as runner,
    ):
        runner.run(running.serve())


@dataclass(frozen=True, kw_only=True)
class _Running:
    """A service that is to run; what it is told is right."""

    open: Callable[..., Awaitable[AsyncSessionTokens]]
    tables: Callable[[], Tables]
    audit: Audit | None
    options: Options
    places: Places
    is_reached: bool
    tls: tuple[str | Path | None, str | Path | None]
    webhook_allow: Sequence[str]
    first_key: Callable[[Store, Audit | None], Awaitable[str | None]]
    announce: Callable[[str], object]
    member: Member | None

    async def serve(self) -> None:
        """Open the store and serve until told to stop."""
        if not is_at_terminal():  # there it says that the terminal went away, and nothing is open yet
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: None)
        if self.member is not None:
            await self.member.begin()
        crew = self.options.crew
        async with await self.open(sweep=crew.leads) as tokens, aclosing(self.tables()) as tables:
            console = Console(tokens, self.options.trusted_proxies, is_https=self.options.is_https, crew=crew)
            options = replace(self.options, tables=tables)
            if not self.places.has_console and not self.is_reached:
                options = replace(options, more_routes=console.routes)
            service = Service(tokens, options)
            with self.places.bound() if self.member is None else self.member.bound as bound:
                server = self._server(tokens, service, console, bound)
                async with webhooks_sent(tokens, self.webhook_allow) if crew.leads else nullcontext():
                    await server.serve()
            if self.member is not None:
                await self.member.close()

    def _server(self, tokens: AsyncSessionTokens, service: Service, console: Console, bound: Bound) -> Server:
        crew, proxies = self.options.crew, self.options.trusted_proxies
        connections = Connections(allowed_connections(share_of(CONNECTIONS_MAX, crew)), proxies, crew.load)
        apart = None
        if bound.console:
            few = Connections(share_of(CONSOLE_CONNECTIONS_MAX, crew), proxies, crew.load)
            apart = Listener(self._config(service.apart(console.routes)), bound.console, few)
        listener = Listener(self._config(service), bound.service, connections)
        server = Server(listener, apart, partial(self._started, tokens))
        if self.member is not None:
            self.member.stop_by(server.leave)
        return server

    def _config(self, app: Any) -> uvicorn.Config:
        """Return how uvicorn serves an application."""
        certificate, key = self.tls
        return uvicorn.Config(
            app,
            http=StrictHTTP,
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_S,
            ssl_certfile=certificate,
            ssl_keyfile=None if key is None else str(key),
            ssl_version=ssl.PROTOCOL_TLS_SERVER,
        )

    async def _started(self, tokens: AsyncSessionTokens, url: str, console_url: str | None) -> None:
        """Say where the service is; of several workers, the one that leads says it to the supervisor."""
        lines = await self._lines(tokens, url, console_url) if self.options.crew.leads else []
        if self.member is not None:
            self.member.ready(lines)
            return
        for line in lines:
            self.announce(line)

    async def _lines(self, tokens: AsyncSessionTokens, url: str, console_url: str | None) -> list[str]:
        if self.audit is not None:
            await copy_context().run(_note_start, tokens.store, self.audit)
        # Only now: a first key that was made by a service that could not listen would be shown to nobody.
        about_keys = await self.first_key(tokens.store, self.audit)
        lines = [f"session-tokens serves on {url}"]
        if console_url is not None:
            lines.append(f"its console on {console_url}/console")
        elif self.is_reached:
            lines.append("its console is off where others reach the service; --console-port gives it its own place")
        if about_keys is not None:
            lines.append(about_keys)
        return [*lines, "stop it with Ctrl-C"]


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
