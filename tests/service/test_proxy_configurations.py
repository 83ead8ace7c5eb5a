"""Proxies set up as people find it written, without the care of the files in ``deploy/``: the real servers.

What these configurations send with the question differs: announced bodies that never come, the page's method, query and
path, its host or an invented one. None of it may change the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.helpers.effort import PROVING
from tests.helpers.managed_service import Managed
from tests.helpers.running_service import ROOT, RunningService
from tests.helpers.servers.ports import free_port
from tests.helpers.servers.web_proxies import JWT, KINDS, METHODS, running_application, running_proxy, told_of

pytestmark = pytest.mark.server

NGINX_QUESTIONS = {
    "nothing but the address": "proxy_pass http://127.0.0.1:SERVICE/forward-auth;",
    "half of the care": "proxy_pass http://127.0.0.1:SERVICE/forward-auth; proxy_pass_request_body off;",
    "an upstream with a name of its own": "proxy_pass http://session_tokens/forward-auth;",
    "the page's address behind ours": "proxy_pass http://127.0.0.1:SERVICE/forward-auth$request_uri;",
    "a slash behind ours": "proxy_pass http://127.0.0.1:SERVICE/forward-auth/;",
    "the page's address in the query": "proxy_pass http://127.0.0.1:SERVICE/forward-auth?rd=$scheme://$host$request_uri;",
    "the page's method": "proxy_method $request_method; proxy_pass http://127.0.0.1:SERVICE/forward-auth;",
    "always POST": "proxy_method POST; proxy_pass http://127.0.0.1:SERVICE/forward-auth; proxy_http_version 1.1;",
    "everything about the page": (
        "proxy_pass http://127.0.0.1:SERVICE/forward-auth; proxy_set_header X-Original-URL $scheme://$http_host$request_uri;"
        " proxy_set_header X-Original-Method $request_method; proxy_set_header X-Forwarded-Uri $request_uri;"
        " proxy_set_header Host $http_host; proxy_http_version 1.1; proxy_set_header Connection \"\";"
    ),
}  # fmt: skip
NGINX = """
upstream session_tokens { server 127.0.0.1:SERVICE; keepalive 4; }
server {
    listen 127.0.0.1:LISTENER;
    location / {
        auth_request /auth;
        auth_request_set $owner $upstream_http_x_session_owner;
        proxy_set_header X-Session-Owner $owner;
        proxy_pass http://127.0.0.1:APPLICATION;
    }
    location = /auth { internal; QUESTION }
}
"""
CADDY_QUESTIONS = {
    "the address alone": "uri /forward-auth",
    "a question mark": "uri /forward-auth?",
    "a slash": "uri /forward-auth/",
    "the page's address behind ours": "uri /forward-auth{uri}",
    "the page's address in the query": "uri /forward-auth?rd={uri}",
    "a host of its own": "uri /forward-auth\n\t\t\theader_up Host {upstream_hostport}",
}
CADDY = """
http://127.0.0.1:LISTENER {
	route {
		forward_auth 127.0.0.1:SERVICE {
			QUESTION
			copy_headers X-Session-Owner
		}
		reverse_proxy 127.0.0.1:APPLICATION
	}
}
"""
HAPROXY_QUESTIONS = {
    "the page's method": ('core.httpclient():get({', 'ASK({'),
    "the page's method and all its headers": ('core.httpclient():get({', 'ASK({', "ipairs(ASKED_WITH)", "pairs(NAMES)"),
    "the page's path and query behind ours": ('"/" .. asked', '"/" .. asked .. txn.f:pathq()'),
}  # fmt: skip
BY_METHOD = """
local function ASK(question)
    local method = question.headers["x-forwarded-method"][1]:lower()
    local client = core.httpclient()
    return (client[method] or client.get)(client, question)
end
local NAMES = { "authorization", "cookie", "accept", "host", "origin", "content-type", "user-agent" }
"""
# Not the length: HAProxy 3.0's own client refuses to announce a body that it does not send, before it asks anybody.
CASES = [
    *(pytest.param("nginx", name, marks=pytest.mark.needs_nginx) for name in NGINX_QUESTIONS),
    *(pytest.param("caddy", name, marks=pytest.mark.needs_caddy) for name in CADDY_QUESTIONS),
    *(pytest.param("haproxy", name, marks=pytest.mark.needs_haproxy) for name in HAPROXY_QUESTIONS),
]


TARGETS = ("/page", "/page/7?a=b&c=%zz", "/caf%C3%A9/%2F?x=%FF")
CONTENTS = (None, b"x" * 5, b"x" * 100_000)
REQUESTS = [
    (method, target, content)
    for row, method in enumerate(METHODS)
    for column, target in enumerate(TARGETS)
    for layer, content in enumerate(CONTENTS)
    if PROVING or (row + column + layer) % 3 == 0
]
"""Every pair of a method, a target and a content, and all together when everything is proven."""


@pytest.fixture(scope="module")
def application() -> Iterator[int]:
    with running_application() as port:
        yield port


def text_of(kind: str, name: str, listener: int, service: int, application: int, folder: Path) -> str:
    """Return a configuration with its ports filled in."""
    if kind == "haproxy":
        lua = (ROOT / "deploy/haproxy/session-tokens.lua").read_text()
        words = HAPROXY_QUESTIONS[name]
        for shown, instead in zip(words[::2], words[1::2], strict=True):
            assert shown in lua
            lua = lua.replace(shown, instead)
        (folder / "session-tokens.lua").write_text(BY_METHOD + lua)
        text = (ROOT / "deploy/haproxy/haproxy.cfg").read_text()
        for port, number in (("8000", listener), ("8080", service), ("3000", application)):
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{number}")
        return text
    whole, questions = (NGINX, NGINX_QUESTIONS) if kind == "nginx" else (CADDY, CADDY_QUESTIONS)
    text = whole.replace("QUESTION", questions[name])
    for word, number in (("LISTENER", listener), ("SERVICE", service), ("APPLICATION", application)):
        text = text.replace(word, str(number))
    return text


@pytest.mark.share(3)
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_page_is_answered_alike_however_the_question_is_put(
    running: RunningService, admin: httpx.Client, application: int, tmp_path: Path, kind: str, name: str
) -> None:
    secret = admin.post("/v1/sessions", json={"owner": "ann@mail.example"}).json()["secret"]
    cookie, foreign = {"Cookie": f"session={secret}"}, {"Authorization": f"Bearer {JWT}"}
    page = {"Origin": "https://elsewhere.test", "Accept": "application/json"}
    port = free_port()
    text = text_of(kind, name, port, running.port, application, tmp_path)
    with running_proxy(kind, text, port, tmp_path) as url, httpx.Client(base_url=url) as client:
        for method, target, content in REQUESTS:
            asked = (method, target, None if content is None else len(content))
            for shown in (cookie, {**cookie, **foreign}):
                passed = client.request(method, target, headers={**page, **shown}, content=content)

                assert passed.status_code == 200, asked
                if method != "HEAD":
                    assert passed.text.startswith(f"{method} {target} x-session-owner=ann@mail.example "), asked
                    assert passed.text.endswith(f": {told_of(content or b'')}"), asked
            refused = client.request(method, target, headers={**page, **foreign}, content=content)

            assert refused.status_code == 401, asked


PLAINEST = {"nginx": "nothing but the address", "caddy": "the address alone", "haproxy": "the page's method"}
SOCKETS = {
    "nginx": ("127.0.0.1:SERVICE/", "unix:SOCKET:/"),
    "caddy": ("127.0.0.1:SERVICE", "unix/SOCKET"),
    "haproxy": ("127.0.0.1:SERVICE", "unix@SOCKET"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_on_a_unix_socket_is_asked_too(tmp_path: Path, application: int, kind: str) -> None:
    path, port, service = f"{tmp_path}/http.sock", free_port(), free_port()
    managed = Managed(tmp_path / "service", "--store", "memory://", "--behind-proxy", "--host", f"unix:{path}")
    shown, instead = (words.replace("SERVICE", str(service)).replace("SOCKET", path) for words in SOCKETS[kind])
    text = text_of(kind, PLAINEST[kind], port, service, application, tmp_path)
    assert shown in text
    with httpx.Client(transport=httpx.HTTPTransport(uds=path)) as http:
        bearer = {"Authorization": f"Bearer {managed.secret}"}
        secret = http.post("http://tokens/v1/sessions", json={"owner": "alice"}, headers=bearer).json()["secret"]
    with running_proxy(kind, text.replace(shown, instead), port, tmp_path) as url:
        passed = httpx.post(f"{url}/page", headers={"Cookie": f"session={secret}"}, content=b"x")
        refused = httpx.post(f"{url}/page", content=b"x")
    managed.stop()

    assert (passed.status_code, refused.status_code) == (200, 401)
    assert "x-session-owner=alice " in passed.text


@pytest.mark.needs_caddy
def test_caddy_2_6_makes_everybody_one_user_where_a_copied_header_is_missing(
    running: RunningService, admin: httpx.Client, application: int, tmp_path: Path
) -> None:
    """So a header that is named otherwise on the two sides is dangerous; the file in ``deploy/`` refuses them all."""
    secret = admin.post("/v1/sessions", json={"owner": "alice"}).json()["secret"]
    told: list[httpx.Response] = []
    for written in (CADDY.replace("QUESTION", "uri /forward-auth"), (ROOT / "deploy/caddy/Caddyfile").read_text()):
        port, folder = free_port(), tmp_path / str(len(told))
        folder.mkdir()
        text = written.replace("X-Session-Owner", "Remote-User")
        for word, number in (
            ("LISTENER", port), ("SERVICE", running.port), ("APPLICATION", application), ("8000", port),
            ("8080", running.port), ("3000", application),
        ):  # fmt: skip
            text = re.sub(rf"127\.0\.0\.1:{word}\b", f"127.0.0.1:{number}", text)
        with running_proxy("caddy", text, port, folder) as url:
            told.append(httpx.get(f"{url}/page", headers={"Cookie": f"session={secret}"}))

    assert told[0].text.startswith("GET /page remote-user={http.reverse_proxy.header.Remote-User} ")
    assert told[1].status_code == 503


CACHE = "proxy_cache_path FOLDER/cache keys_zone=answers:1m;"
CACHED = "proxy_cache answers; proxy_cache_key $http_cookie; proxy_cache_valid 204 1h;"


@pytest.mark.needs_nginx
@pytest.mark.parametrize(("forced", "after_the_end"), [("", 401), ("proxy_ignore_headers Cache-Control Vary;", 200)])
def test_a_cache_of_the_proxy_keeps_nothing_unless_it_is_forced_to(
    running: RunningService, admin: httpx.Client, application: int, tmp_path: Path, forced: str, after_the_end: int
) -> None:
    """``no-store`` means none. Where it is overruled an ended session still passes, for as long as that was told."""
    opened = admin.post("/v1/sessions", json={"owner": "alice"}).json()
    port = free_port()
    question = f"{NGINX_QUESTIONS['half of the care']} {CACHED} {forced}"
    text = CACHE.replace("FOLDER", str(tmp_path)) + NGINX.replace("QUESTION", question)
    for word, number in (("LISTENER", port), ("SERVICE", running.port), ("APPLICATION", application)):
        text = text.replace(word, str(number))
    with running_proxy("nginx", text, port, tmp_path) as url:
        shown = {"Cookie": f"session={opened['secret']}"}
        before = httpx.get(f"{url}/page", headers=shown).status_code
        admin.delete(f"/v1/sessions/{opened['session']['id']}")
        after = httpx.get(f"{url}/page", headers=shown).status_code

    assert (before, after) == (200, after_the_end)
