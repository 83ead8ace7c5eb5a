"""One attempt to send an event: to the address that was looked up, without following anything, for ten seconds.

Each webhook has a line of its own, so that none takes what another needs, and no connection is used for two hosts on
one address: the certificate was that of one of them. All webhooks together hold a bounded number of connections: each
has one of its own, a few are there for who needs more, and one is kept for each when nothing is sent. Nothing of an
answer is kept but its status.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import NamedTuple

import httpx

from ..crypto.minting import Keyring
from ..events import Event
from ..rules.webhooks import HOOKS_MAX, Hook
from .destinations import Destination, Forbidden, destination_of
from .signing import signed_headers

TIMEOUT_S = 10.0
"""How long an attempt may take as a whole, with looking up the name."""
AT_ONCE = 8
"""Events of one webhook that are sent side by side; as many connections it has at the most."""
BODY_S, BODY_BYTES = 0.2, 4_096
"""What the body of an answer may take, in seconds and bytes, if the connection is to be kept."""
SPARE = 64
"""Connections of all webhooks together beside one for each, which no other takes away."""


class Outcome(NamedTuple):
    """How an attempt went: whether the event was taken, whether the address is gone for good, and what to tell."""

    is_taken: bool
    is_gone: bool
    said: str


def body_of(event: Event) -> bytes:
    """Return an event as it is sent."""
    at = datetime.fromtimestamp(event.at / 1000, UTC).isoformat(timespec="milliseconds")
    message = {"type": event.kind, "timestamp": at.replace("+00:00", "Z"), "data": event.to_dict()}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


class _Line:
    """The connections of one webhook to one address, and the look-up that is under way for it: one at a time."""

    def __init__(self, url: str, trust: ssl.SSLContext) -> None:
        self.url = url
        self.free = asyncio.Semaphore(AT_ONCE)
        self.has_own = True
        self.is_warm = False
        self.transport = httpx.AsyncHTTPTransport(
            verify=trust,
            trust_env=False,
            limits=httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=1),
        )
        self.looking: asyncio.Task[Destination] | None = None

    async def close(self) -> None:
        """Let go of the connections."""
        if self.looking is not None:
            self.looking.cancel()
        await self.transport.aclose()


class Sender:
    """Sends events; one for all webhooks of a process.

    Args:
        allowed: see ``destination_of``.
        trust: the certificates that are trusted; the system's if not given.
    """

    def __init__(self, allowed: Collection[str] = (), trust: ssl.SSLContext | None = None) -> None:
        self._allowed = frozenset(allowed)
        self._trust = trust or ssl.create_default_context()
        self._lines: dict[str, _Line] = {}
        self._spare = asyncio.Semaphore(SPARE)
        self._threads = ThreadPoolExecutor(HOOKS_MAX, "session-tokens look-up")  # a thread for each that looks up

    async def send(self, keyring: Keyring, hook: Hook, event: Event, now_ms: int) -> Outcome:
        """Send an event, signed as of ``now_ms`` (milliseconds since the epoch)."""
        line = self._lines.get(hook.id)
        if line is None or line.url != hook.url:
            former, line = line, _Line(hook.url, self._trust)
            self._lines[hook.id] = line
            if former is not None:
                await _let_go(former)
        body = body_of(event)
        async with line.free, self._connection(line):
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    destination = await self._look_up(line, hook.url)
                    headers = signed_headers(keyring, hook, event.id, now_ms // 1000, body)
                    return await self._sent(line, destination, headers, body)
            except Forbidden as refusal:
                return Outcome(False, False, str(refusal))
            except (OSError, httpx.HTTPError, ValueError) as error:
                return Outcome(False, False, _said_of(error))

    @asynccontextmanager
    async def _connection(self, line: _Line) -> AsyncIterator[None]:
        """Let a webhook have one connection: its own, or a spare one as long as there are any."""
        if line.has_own:
            line.has_own = False
            try:
                yield
            finally:
                line.has_own = True
        else:
            async with self._spare:
                yield

    async def _look_up(self, line: _Line, url: str) -> Destination:
        """Return where a webhook leads, as of now; whoever gives up waiting leaves the look-up to the others."""
        if line.looking is None or line.looking.done():
            line.looking = asyncio.create_task(destination_of(url, self._allowed, self._threads))
            line.looking.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(line.looking)

    async def _sent(self, line: _Line, destination: Destination, headers: dict[str, str], body: bytes) -> Outcome:
        scheme, host, port, target, address = destination
        is_plain = port == (443 if scheme == "https" else 80)
        shown = f"[{host}]" if ":" in host else host
        request = httpx.Request(
            "POST",
            httpx.URL(scheme=scheme, host=address, port=port, raw_path=target.encode("ascii")),
            content=body,
            headers={
                **headers,
                "host": shown if is_plain else f"{shown}:{port}",
                "accept": "*/*",
                "content-type": "application/json",
                "user-agent": "session-tokens",
            },
            extensions={"sni_hostname": host},  # the certificate must be that of the name, not of the address
        )
        try:
            response = await line.transport.handle_async_request(request)
        except (httpx.NetworkError, httpx.RemoteProtocolError):
            if not line.is_warm:
                raise
            line.is_warm = False  # a connection that was kept may have been closed meanwhile
            response = await line.transport.handle_async_request(request)
        line.is_warm = True
        await _pass_over(response)
        return Outcome(response.is_success, response.status_code == 410, f"HTTP {response.status_code}")

    async def let_go(self, id: str) -> None:
        """Let go of the connections of a webhook; sending to it again makes new ones."""
        line = self._lines.pop(id, None)
        if line is not None:
            await _let_go(line)

    async def close(self) -> None:
        """Let go of all connections."""
        for id in list(self._lines):
            await self.let_go(id)
        self._threads.shutdown(wait=False, cancel_futures=True)


def _said_of(error: BaseException) -> str:
    """Return what kept an event from being sent, in words that hold nothing of an address."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {cause.verify_message}"
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


async def _pass_over(response: httpx.Response) -> None:
    """Let a short body go by, so that the connection can be used again; a long or slow one ends it."""
    passed = 0
    try:
        with suppress(TimeoutError, httpx.HTTPError):
            async with asyncio.timeout(BODY_S):
                async for part in response.aiter_raw():
                    passed += len(part)
                    if passed > BODY_BYTES:
                        break
    finally:
        await response.aclose()


async def _let_go(line: _Line) -> None:
    with suppress(OSError, httpx.HTTPError):
        await line.close()
