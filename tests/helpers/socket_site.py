"""A site with a WebSocket that ends with the log-in, as a process of its own.

``python -m tests.helpers.socket_site URL`` serves it on 127.0.0.1 and says on which port; the pepper is in the
environment. ``/ws`` sends back what it is sent.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, WebSocket

from session_tokens.web.asgi import AsyncWebSession, SessionMiddleware
from session_tokens.web.fastapi import require_session

PEPPER = bytes(range(32))


def application(url: str) -> FastAPI:
    """Make it."""
    app = FastAPI()
    app.add_middleware(SessionMiddleware, store=url)

    @app.websocket("/ws")
    async def echo(ws: WebSocket, session: Annotated[AsyncWebSession, Depends(require_session)]) -> None:
        await ws.accept()
        async with session.closes(ws):
            while True:
                await ws.send_text(await ws.receive_text())

    return app


@contextmanager
def socket_site(url: str) -> Iterator[str]:
    """Serve it in another process; the answer is the address of its WebSocket."""
    environment = {**os.environ, "SESSION_TOKENS_PEPPER": PEPPER.hex()}
    command = [sys.executable, "-m", "tests.helpers.socket_site", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            yield f"ws://127.0.0.1:{port}/ws"
        finally:
            process.terminate()


def main() -> None:
    """Serve until told to stop."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        config = uvicorn.Config(application(sys.argv[1]), log_level="warning", ws="websockets-sansio")
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
