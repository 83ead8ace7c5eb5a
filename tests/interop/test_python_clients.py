"""Published Python clients against a real service: log in, be refused as soon as the page says after a revocation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.project import ROOT
from tests.helpers.published import python_with, told_by
from tests.helpers.running_service import RunningService

pytestmark = [pytest.mark.interop, pytest.mark.server]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("clients")
    running = RunningService(f"sqlite:///{folder}/s.db", folder / "log")
    yield running
    running.stop()


# FastMCP serves in the program itself, and its own client asks it over HTTP.
FASTMCP = """
import asyncio, json, sys, threading, socket
import httpx2, uvicorn
from fastmcp import Client, FastMCP
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.server.dependencies import get_access_token
from session_tokens import SessionTokens
from session_tokens.web.mcp import SessionTokensVerifier

url, key, how = sys.argv[1:]
st = SessionTokens.connect(url, key=key)
listener = socket.socket(); listener.bind(("127.0.0.1", 0))
address = f"http://127.0.0.1:{listener.getsockname()[1]}"
if how == "ours":
    auth = SessionTokensVerifier(url, key=key, audience="https://mcp.example", required_scopes=["read"])
else:
    from fastmcp.server.auth.providers.introspection import IntrospectionTokenVerifier
    id = httpx2.get(url + "/v1/keys", headers={"Authorization": "Bearer " + key}).json()["keys"][0]["id"]
    auth = IntrospectionTokenVerifier(
        introspection_url=url + "/introspect", client_id=id, client_secret=key, required_scopes=["read"],
    )
mcp = FastMCP("ours", auth=auth)

@mcp.tool
def who() -> dict:
    token = get_access_token()
    return {"client": token.client_id, "scopes": token.scopes}

server = uvicorn.Server(uvicorn.Config(mcp.http_app(), log_level="error"))
threading.Thread(target=lambda: server.run(sockets=[listener]), daemon=True).start()
while not server.started: __import__("time").sleep(0.01)

async def asked(secret):
    try:
        async with Client(StreamableHttpTransport(address + "/mcp", auth=secret)) as client:
            return (await client.call_tool("who")).data
    except Exception:
        headers = {"Authorization": "Bearer " + secret, "Accept": "application/json, text/event-stream"}
        async with httpx2.AsyncClient() as http:
            return (await http.post(address + "/mcp", headers=headers, json={})).status_code

async def main():
    session = st.open_session("ann")
    right = st.issue_token(session.id, scope="read write", audience="https://mcp.example")
    small = st.issue_token(session.id, scope="write", audience="https://mcp.example")
    other = st.issue_token(session.id, scope="read", audience="https://other.example")
    told = {"right": await asked(right.secret), "small": await asked(small.secret), "other": await asked(other.secret),
            "session": await asked(session.secret), "nobody": await asked("stt_nonsense")}
    st.destroy_token(right.id)
    told["revoked"] = await asked(right.secret)
    print(json.dumps(told))

asyncio.run(main())
"""
LET_IN = {"client": "ann", "scopes": ["read", "write"]}


@pytest.mark.parametrize("how", ["ours", "introspection"])
def test_fastmcp_lets_in_whom_it_may_and_keeps_nothing_after_a_revocation(service: RunningService, how: str) -> None:
    python = python_with("fastmcp==4.2.3", "uvicorn")
    told = json.loads(told_by(python, FASTMCP, service.url, service.secret, how).splitlines()[-1])

    assert LET_IN == told["right"]
    refused = {name for name, answer in told.items() if answer in (401, 403)}
    assert refused == {"small", "session", "nobody", "revoked"} | ({"other"} if how == "ours" else set()), told


SDK = """
import asyncio, json, sys
from mcp.server.auth.middleware.bearer_auth import BearerAuthBackend
from starlette.requests import HTTPConnection
from session_tokens import AsyncSessionTokens, StoreUnavailable
from session_tokens.web.mcp import SessionTokensVerifier

async def main():
    async with await AsyncSessionTokens.open(sys.argv[1]) as st:
        backend = BearerAuthBackend(SessionTokensVerifier(st, required_scopes=["read"]))

        async def asked(secret):
            headers = [(b"authorization", b"Bearer " + secret.encode())]
            found = await backend.authenticate(HTTPConnection({"type": "http", "headers": headers}))
            return None if found is None else [found[1].access_token.subject, found[1].access_token.scopes]

        async def acts(secret):
            return (await backend.token_verifier.verify_token(secret)).claims.get("act")

        right, small = await st.issue_token(None, scope="read"), await st.issue_token(None, scope="write")
        told = [await asked(right.secret), await asked(small.secret)]
        await st.destroy_token(right.id)
        told.append(await asked(right.secret))
        lent = await st.issue_token((await st.open_session("ann")).id, scope="read")
        loan = await st.lend_token(lent.id, borrower="agent:1", until=60)
        told += [await asked(loan.secret), await acts(loan.secret), await acts(lent.secret)]
        print(json.dumps(told))
    verifier = SessionTokensVerifier("http://127.0.0.1:1", key=sys.argv[2])
    try:
        await (await verifier._tokens()).close()
        from session_tokens.client.async_client import AsyncRemoteTokens
        verifier._remote = AsyncRemoteTokens("http://127.0.0.1:1", key=sys.argv[2], retry_for=0.1)
        await verifier.verify_token(right.secret)
    except StoreUnavailable:
        print("unavailable")
    await verifier.close()

    own = SessionTokensVerifier(sys.argv[1])
    async with await AsyncSessionTokens.open(sys.argv[1]) as st:
        issued = await st.issue_token((await st.open_session("ann")).id, scope="read", for_client="app")
        user, visitor = await st.log_in("ann"), await st.log_in(None)
    seen = []
    for _ in range(2):  # closed, it opens its store anew
        seen.append((await own.verify_token(issued.secret)).claims["client_id"])
        await own.close()
        await own.close()
    seen += [(await own.verify_token(user.secret)).subject, await own.verify_token(visitor.secret)]
    await own.close()
    asked = await AsyncSessionTokens.connect(sys.argv[3], key=sys.argv[2])
    lent = SessionTokensVerifier(asked)
    await lent.close()
    seen.append(await lent.verify_token("stt_nonsense"))  # what was given stays open
    seen.append(len((await asked.list_sessions(limit=1)).items) <= 1)
    await asked.close()
    print(json.dumps([len(__import__("threading").enumerate()), *seen]))

asyncio.run(main())
"""


def test_the_sdk_alone_takes_the_verifier_too(service: RunningService, tmp_path: Path) -> None:
    python = python_with("mcp==2.3.0")
    lines = told_by(python, SDK, f"sqlite:///{tmp_path / 's.db'}", service.secret, service.url).splitlines()

    by_agent = [["ann", ["read"]], {"sub": "agent:1"}, None]
    assert [[[None, ["read"]], None, None, *by_agent], "unavailable"] == [json.loads(lines[-3]), lines[-2]]
    assert ["app", "app", "ann", None, None, True] == json.loads(lines[-1])[1:]


# What the page says, word by word: its server and its agent, after its user, on one store.
DELEGATING = """
import asyncio, json, re, socket, sys, threading, time
import httpx2, uvicorn

page, folder = sys.argv[1:]
blocks = re.findall(r"```(python|py)\\n(.*?)```", open(page).read(), re.S)
lending, recalling = (text for kind, text in blocks if kind == "python")
serving, asking = (text for kind, text in blocks if kind == "py")
names = {}
for text in (lending, serving.replace('host="mail.example"', 'host="127.0.0.1"'), asking):
    exec(text.replace("sqlite:///agents.db", f"sqlite:///{folder}/agents.db"), names)
listener = socket.create_server(("127.0.0.1", 0))
address = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
server = uvicorn.Server(uvicorn.Config(names["app"], log_level="error"))
threading.Thread(target=lambda: server.run(sockets=[listener]), daemon=True).start()
until = time.monotonic() + 60
while not server.started:
    assert time.monotonic() < until
    time.sleep(0.01)

def asked(secret):
    return asyncio.run(names["ask"](address, secret))

def status(secret):
    headers = {"Authorization": "Bearer " + secret, "Accept": "application/json, text/event-stream"}
    return httpx2.post(address, headers=headers, json={}).status_code

st, mailbox = names["st"], names["mailbox"]
small = st.issue_token(names["alice"].id, scope="mail.send", audience="https://mail.example")
other = st.issue_token(names["alice"].id, scope="mail.read", audience="https://other.example")
told = [asked(names["loan"].secret), asked(mailbox.secret), status(small.secret), status(other.secret)]
st.recall_token(mailbox.id)
told.append(status(names["loan"].secret))
exec(recalling, names)
told.append(status(names["again"].secret))
print(json.dumps(told))
server.should_exit = True
"""


def test_the_page_about_agents_works_word_by_word(tmp_path: Path) -> None:
    page = ROOT / "docs" / "how-to" / "delegate-to-an-agent.md"
    told = json.loads(told_by(python_with("mcp==2.3.0"), DELEGATING, str(page), str(tmp_path)).splitlines()[-1])

    assert [{"user": "alice", "agent": "agent:summary"}, {"user": "alice", "agent": None}, 403, 401, 401, 401] == told


AUTHLIB = """
import json, sys
import flask, requests
from authlib.integrations.flask_oauth2 import ResourceProtector, current_token
from authlib.oauth2.rfc7662 import IntrospectTokenValidator
from session_tokens import SessionTokens

url, key = sys.argv[1:]
st = SessionTokens.connect(url, key=key)
id = requests.get(url + "/v1/keys", headers={"Authorization": "Bearer " + key}).json()["keys"][0]["id"]

class Ours(IntrospectTokenValidator):
    def introspect_token(self, token_string):
        form = {"token": token_string, "token_type_hint": "access_token"}
        answer = requests.post(url + "/introspect", data=form, auth=(id, key))
        answer.raise_for_status()
        return answer.json()

protect = ResourceProtector()
protect.register_token_validator(Ours())
app = flask.Flask("api")

@app.get("/")
@protect("read")
def show():
    return {"user": current_token["username"]}

def asked(secret):
    answer = app.test_client().get("/", headers={"Authorization": "Bearer " + secret})
    return answer.json.get("user", answer.status_code)

session = st.open_session("ann")
right, small = st.issue_token(session.id, scope="read"), st.issue_token(session.id, scope="write")
told = [asked(right.secret), asked(small.secret)]
st.destroy_session(session.id)
print(json.dumps([*told, asked(right.secret)]))
"""


def test_authlib_lets_in_by_scope_and_keeps_nothing(service: RunningService) -> None:
    python = python_with("Authlib==1.9.10", "Flask", "requests", "httpx2")
    told = json.loads(told_by(python, AUTHLIB, service.url, service.secret).splitlines()[-1])

    assert ["ann", 403, 401] == told


# Django's own test client asks an API of DRF behind django-oauth-toolkit, which keeps what it is told as a row.
TOOLKIT = """
import json, sys, time
import django, requests
from django.conf import settings
url, key = sys.argv[1:]
id = requests.get(url + "/v1/keys", headers={"Authorization": "Bearer " + key}).json()["keys"][0]["id"]
settings.configure(
    SECRET_KEY="x", ROOT_URLCONF="__main__", USE_TZ=True, ALLOWED_HOSTS=["testserver"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "oauth2_provider",
                    "rest_framework"],
    MIDDLEWARE=[],
    OAUTH2_PROVIDER={
        "RESOURCE_SERVER_INTROSPECTION_URL": url + "/introspect",
        "RESOURCE_SERVER_INTROSPECTION_CREDENTIALS": (id, key),
        "RESOURCE_SERVER_TOKEN_CACHING_SECONDS": 1,
    },
    REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": ["oauth2_provider.contrib.rest_framework.OAuth2Authentication"]},
)
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.test import Client
from django.urls import path
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from session_tokens import SessionTokens

@api_view()
@permission_classes([IsAuthenticated])
def show(request):
    return Response({"user": request.user.get_username()})

urlpatterns = [path("", show)]
st = SessionTokens.connect(url, key=key)

def asked(secret):
    answer = Client().get("/", headers={"Authorization": "Bearer " + secret})
    return answer.json().get("user", answer.status_code)

session = st.open_session("ann", idle_timeout=600)
told = [asked(session.secret), asked("sts_nonsense")]
st.destroy_session(session.id)
ended = time.monotonic()
while asked(session.secret) == "ann" and time.monotonic() - ended < 10:
    time.sleep(0.05)
told.append(round(time.monotonic() - ended, 1))
print(json.dumps([*told, asked(session.secret)]))
"""


def test_django_oauth_toolkit_forgets_within_its_second(service: RunningService) -> None:
    python = python_with("django-oauth-toolkit==3.4.1", "djangorestframework", "Django==5.2.*", "requests", "httpx2")
    told = json.loads(told_by(python, TOOLKIT, service.url, service.secret).splitlines()[-1])

    assert ["ann", 401, 401] == [told[0], told[1], told[3]]
    assert told[2] < 3
