#!/usr/bin/env bash
# Starlette 1.10.0: a Response object that is returned for each request goes wrong behind GZipMiddleware from the
# second request on: it says that it is gzip, and is not.
#
# The middleware adds Content-Encoding to the list of headers that lies in the object itself. With the next request it
# finds them there, takes the body for compressed already, and sends it as it is; who did not ask for gzip is told that
# it is one, too. Without the middleware such an object does well. Seen on 2026-11-30; fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install starlette==1.10.0 httpx==0.28.1
cat > "$folder/see.py" <<'PY'
import asyncio
from importlib.metadata import version

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def seen(middleware):
    for_all = PlainTextResponse("ok " * 1000)

    async def page(request):
        return for_all

    app = Starlette(routes=[Route("/", page)], middleware=middleware)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop.example") as browser:
        for accepted in ("gzip", "gzip", "identity"):
            async with browser.stream("GET", "/", headers={"Accept-Encoding": accepted}) as answer:
                body = b"".join([part async for part in answer.aiter_raw()])
            kind = "gzip" if body.startswith(b"\x1f\x8b") else "text"
            yield f"asked for {accepted}: says {answer.headers.get('Content-Encoding', 'nothing')}, is {kind}"


async def main():
    for name, middleware in (("without", []), ("with", [Middleware(GZipMiddleware)])):
        async for line in seen(middleware):
            print(name, "|", line)


print("Starlette", version("starlette"))
asyncio.run(main())
PY
"$folder/venv/bin/python" "$folder/see.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
Starlette 1.10.0
without | asked for gzip: says nothing, is text
without | asked for gzip: says nothing, is text
without | asked for identity: says nothing, is text
with | asked for gzip: says gzip, is gzip
with | asked for gzip: says gzip, is text
with | asked for identity: says gzip, is text
SEEN
