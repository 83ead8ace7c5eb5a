#!/usr/bin/env bash
# uvicorn 0.54.0 with websockets: an application that answers the handshake of a WebSocket itself, whole, by ASGI's
# extension "websocket.http.response", is told in the log that it "returned without completing handshake".
#
# The client gets the answer, and the log has its line about it ("connection rejected"); the error comes after it, at
# each such answer. A handshake that is refused by "websocket.close" is none. With wsproto there is no error either.
# Seen on 2026-11-30; fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install uvicorn==0.54.0 websockets==17.4 wsproto==1.2.0
cat > "$folder/see.py" <<'PY'
import asyncio
import logging
import sys

import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

errors = []


class Kept(logging.Handler):
    def emit(self, record):
        if record.levelno >= logging.ERROR:
            errors.append(record.getMessage())


async def answers(scope, receive, send):
    await send({"type": "websocket.http.response.start", "status": 503, "headers": [(b"retry-after", b"1")]})
    await send({"type": "websocket.http.response.body", "body": b"later"})


async def closes(scope, receive, send):
    await send({"type": "websocket.close", "code": 1008})


async def main():
    for protocol in ("websockets-sansio", "wsproto"):
        for application in (answers, closes):
            errors.clear()
            config = uvicorn.Config(application, port=0, ws=protocol, lifespan="off", log_level="info")
            logging.getLogger("uvicorn.error").handlers = [Kept()]
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            status = None
            try:
                await connect(f"ws://127.0.0.1:{port}/")
            except InvalidStatus as refused:
                status = refused.response.status_code
            server.should_exit = True
            await serving
            print(protocol, "|", application.__name__, "|", status, "|", *(errors or ["no error"]))


logging.disable(logging.WARNING)
asyncio.run(main())
PY
"$folder/venv/bin/python" "$folder/see.py" 2> "$folder/said" | tee "$folder/seen" || { cat "$folder/said"; exit 1; }
diff "$folder/seen" - <<'SEEN'
websockets-sansio | answers | 503 | ASGI callable returned without completing handshake.
websockets-sansio | closes | 403 | no error
wsproto | answers | 503 | no error
wsproto | closes | 403 | no error
SEEN
