"""A WebSocket of an application that knows nothing of sessions, closed when its session ends (plain ASGI)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ..records import Session
from .ends import Ends, words_of

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SESSION_ENDED = 4001
"""The code of a WebSocket that is closed because its session has ended (RFC 6455, section 7.4.2: of our own)."""


class EndingSocket:
    """The two ways of a WebSocket, cut when a session ends: the browser gets a close, the application a disconnect.

    The application is given ``receive`` and ``send`` of this object. What it sends after the end goes nowhere, and the
    next thing that it receives is ``websocket.disconnect``. ``close()`` it when the application has returned.

    Args:
        receive, send: of the server.
        code: that the WebSocket is closed with.
    """

    def __init__(self, receive: Receive, send: Send, code: int = SESSION_ENDED) -> None:
        self._receive, self._send, self._code = receive, send, code
        self._over = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None
        self._receiving: asyncio.Future[Message] | None = None
        self._forget: Callable[[], None] | None = None

    def watch(self, ends: Ends, session: Session) -> None:
        """Cut it when a session ends."""
        self._forget = ends.wait(session, self._end)

    def _end(self, reason: str | None) -> None:
        self._over.set()
        self._closing = asyncio.get_running_loop().create_task(self._close(words_of(reason)))

    async def _close(self, reason: str) -> None:
        await self._send({"type": "websocket.close", "code": self._code, "reason": reason})

    async def send(self, message: Message) -> None:
        """Send a message of the application, if the session goes on."""
        if not self._over.is_set():
            await self._send(message)

    async def receive(self) -> Message:
        """Return the next message of the browser, or that there will be none."""
        if self._receiving is None:
            self._receiving = asyncio.ensure_future(self._receive())
        over: asyncio.Future[Any] = asyncio.ensure_future(self._over.wait())
        either: set[asyncio.Future[Any]] = {self._receiving, over}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
        if self._over.is_set():
            return {"type": "websocket.disconnect", "code": self._code}
        received, self._receiving = self._receiving, None
        return received.result()

    async def close(self) -> None:
        """Let go of it; the application has returned."""
        if self._forget is not None:
            self._forget()
        if self._receiving is not None:
            self._receiving.cancel()
        pending = [each for each in (self._receiving, self._closing) if each is not None]
        if pending:
            await asyncio.gather(*pending, return_exceptions=True)
