"""A browser's end of a WebSocket, by ASGI messages alone: test clients of Quart's versions tell a close unlike."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any


class SocketClosed(Exception):
    """The application closed the socket, or answered the handshake in its place.

    Attributes:
        code: of the close; the status where the handshake was answered.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class AsgiSocket:
    """A WebSocket to an ASGI application; leaving the block is the browser that leaves.

    Args:
        app: the application.
        scope: of the handshake.
    """

    def __init__(self, app: Any, scope: Any) -> None:
        self._app, self._scope = app, scope
        self._to_app: asyncio.Queue[Any] = asyncio.Queue()
        self._to_browser: asyncio.Queue[Any] = asyncio.Queue()

    async def __aenter__(self) -> AsgiSocket:
        self._to_app.put_nowait({"type": "websocket.connect"})
        self._served = asyncio.ensure_future(self._app(self._scope, self._to_app.get, self._heard))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._left()
        await asyncio.wait_for(self._served, 30)

    async def receive(self) -> str:
        """Return the next text that the application sends.

        Raises:
            SocketClosed: it closes the socket instead, or has refused the handshake.
        """
        while True:
            message = await asyncio.wait_for(self._to_browser.get(), 30)
            if message["type"] == "websocket.send":
                return str(message["text"])
            if message["type"] == "websocket.close":
                raise SocketClosed(message.get("code", 1000))
            if message["type"] == "websocket.http.response.start":
                raise SocketClosed(message["status"])

    async def _heard(self, message: Any) -> None:
        self._to_browser.put_nowait(message)
        if message["type"] == "websocket.close":
            self._left()

    def _left(self) -> None:
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": 1005})


def quart_socket(client: Any, path: str, **options: Any) -> AsgiSocket:
    """Return a WebSocket of a browser whose cookies a test client of Quart's keeps."""
    return AsgiSocket(client.app, client.websocket(path, **options).scope)
