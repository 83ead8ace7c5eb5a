#!/usr/bin/env bash
# Authlib 1.9.10, as an OAuth client in Starlette: a log-in that begins in a second tab has that of the first one fail.
#
# Each log-in that begins takes the states of all others of that client out of the session. Whoever comes back in the
# first tab gets MismatchingStateError. "op" takes those of a client named "op_of_work" out too. In Flask they all lie
# beside each other, and each tab logs in. Seen on 2026-11-30; fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install Authlib==1.9.10 starlette==1.10.0 httpx==0.28.1 \
  itsdangerous==2.2.0 Flask==3.1.3 requests==2.34.2
cat > "$folder/see.py" <<'PY'
import asyncio

import authlib
import httpx
from authlib.integrations.flask_client import OAuth as OAuthOfFlask
from authlib.integrations.starlette_client import OAuth
from flask import Flask, session
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Route

OP = {"client_id": "a", "client_secret": "b", "authorize_url": "http://op.example/auth"}
PATHS = ["/begin/op", "/begin/op", "/begin/op_of_work", "/begin/op"]
BACK = "http://shop.example/back"


def registered(oauth):
    for name in ("op", "op_of_work"):
        oauth.register(name, **OP)
    return oauth


ours = registered(OAuth())


async def begin(request):
    return await getattr(ours, request.path_params["name"]).authorize_redirect(request, BACK)


async def kept(request):
    return JSONResponse(len(request.session))


async def in_starlette():
    app = Starlette(
        routes=[Route("/begin/{name}", begin), Route("/kept", kept)],
        middleware=[Middleware(SessionMiddleware, secret_key="only here")],
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop.example") as browser:
        for path in PATHS:
            await browser.get(path)
            yield (await browser.get("/kept")).json()


async def all_of(numbers):
    return [each async for each in numbers]


def in_flask():
    app = Flask("shop")
    app.secret_key = "only here"
    theirs = registered(OAuthOfFlask(app))
    app.get("/begin/<name>", endpoint="begin")(lambda name: getattr(theirs, name).authorize_redirect(BACK))
    app.get("/kept", endpoint="kept")(lambda: str(len(session)))
    browser = app.test_client()
    for path in PATHS:
        browser.get(path)
        yield int(browser.get("/kept").text)


print("Authlib", authlib.__version__, "| states kept after each log-in that begins")
print("Starlette", asyncio.run(all_of(in_starlette())))
print("Flask", list(in_flask()))
PY
"$folder/venv/bin/python" -W ignore "$folder/see.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
Authlib 1.9.10 | states kept after each log-in that begins
Starlette [1, 1, 2, 1]
Flask [1, 2, 3, 4]
SEEN
