"""What a location demands behind each proxy, and what becomes of an outage: files of ``deploy/``, real servers."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.helpers.running_service import RunningService
from tests.helpers.servers.ports import free_port
from tests.helpers.servers.web_proxies import FILES, NJS, configured, running_application, running_proxy

pytestmark = pytest.mark.server

ALL = {**FILES, "njs": NJS}
KINDS = [
    *[pytest.param(kind, marks=getattr(pytest.mark, f"needs_{kind}")) for kind in FILES],
    pytest.param("njs", marks=[pytest.mark.needs_nginx, pytest.mark.needs_njs]),
]
TARGETS = (
    "/page", "/page?scope=other&recent=1", "/admin/x", "/api/x", "/%61pi/x", "/api%2Fx", "//api/x", "/.//%2e/api/x",
    "/api/../page", "//api/../page",
)  # fmt: skip
UNREADABLE = ("/admin/%zz", "/admin/x%", "/%61dmin/%4", "/api/../page/%zz", "/api/%2e%2e/page%")
"""A location is told by the path as it is meant, and these mean nothing, though an application may take them."""
CLIMBING = ("/x/../api/x", "/x/%2e%2e/api/x", "/x/..//%61pi/x", "/x/.%2e/y/../api/x", "/x/../y%2f..%2fapi/x")
BROWSER = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def application() -> Iterator[int]:
    with running_application() as port:
        yield port


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service that sends browsers to a log-in page; after ``?recent=600`` a log-in of an hour ago does not do."""
    running = RunningService("memory://", tmp_path_factory.mktemp("service") / "log", login_url="/log-in")
    yield running
    running.stop()


@contextmanager
def guarded(kind: str, service_port: int, application: int, folder: Path, recent: int = 600) -> Iterator[str]:
    """Yield the address of a page behind a proxy."""
    port = free_port()
    text = configured(ALL[kind], port, service_port, application)
    assert "recent=600" in text
    text = text.replace("recent=600", f"recent={recent}")
    with running_proxy("nginx" if kind == "njs" else kind, text, port, folder) as url:
        yield url


def raw(url: str, target: str, secret: str) -> int:
    """Return the status for a path as it is written: clients make others shorter."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    connection.request("GET", target, headers={"Authorization": f"Bearer {secret}"})
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize("kind", KINDS)
def test_a_location_demands_what_its_line_says(
    service: RunningService, application: int, tmp_path: Path, kind: str
) -> None:
    with service.http() as admin, guarded(kind, service.port, application, tmp_path) as url:
        opened = admin.post("/v1/sessions", json={"owner": "alice"}).json()
        session, secret = opened["session"]["id"], opened["secret"]
        read, write = [
            admin.post("/v1/tokens", json={"session": session, "scope": scope}).json() for scope in ("read", "write")
        ]
        asked = {
            (target, name): raw(url, target, shown)
            for name, shown in (("session", secret), ("read", read["secret"]), ("write", write["secret"]))
            for target in TARGETS
        }
        told = httpx.get(f"{url}/api/x", headers={"Authorization": f"Bearer {read['secret']}"}).text

    assert {place for place, status in asked.items() if status == 200} == {
        ("/page", "session"), ("/page?scope=other&recent=1", "session"), ("/admin/x", "session"),
        ("/api/../page", "session"), ("//api/../page", "session"), ("/api/x", "read"), ("/%61pi/x", "read"),
        ("/api%2Fx", "read"), ("//api/x", "read"), ("/.//%2e/api/x", "read"),
    }, asked  # fmt: skip
    assert {status for place, status in asked.items() if place[0] in ("/api/x", "/%61pi/x")} == {200, 403}
    assert f"x-session-owner=alice x-session-id={read['token']['id']}" in told


@pytest.mark.parametrize("kind", KINDS)
def test_a_path_that_cannot_be_decoded_escapes_no_demand(
    service: RunningService, application: int, tmp_path: Path, kind: str
) -> None:
    """HAProxy's ``url_dec`` gives nothing for such a path, so that no condition about it would hold."""
    with service.http() as admin, guarded(kind, service.port, application, tmp_path) as url:
        opened = admin.post("/v1/sessions", json={"owner": "alice"}).json()
        read = admin.post("/v1/tokens", json={"session": opened["session"]["id"], "scope": "read"}).json()
        asked = [raw(url, target, shown) for shown in (opened["secret"], read["secret"]) for target in UNREADABLE]

    assert asked == [400] * len(asked)


@pytest.mark.parametrize("kind", KINDS)
def test_no_session_climbs_to_where_a_token_is_demanded(
    service: RunningService, application: int, tmp_path: Path, kind: str
) -> None:
    with service.http() as admin, guarded(kind, service.port, application, tmp_path) as url:
        secret = admin.post("/v1/sessions", json={"owner": "alice"}).json()["secret"]
        asked = {target: raw(url, target, secret) for target in CLIMBING}

    assert {400, 401, 403} >= set(asked.values()), asked


@pytest.mark.share(2)
@pytest.mark.parametrize("kind", KINDS)
def test_a_log_in_that_is_too_old_is_sent_to_log_in_again(
    service: RunningService, application: int, tmp_path: Path, kind: str
) -> None:
    with service.http() as admin, guarded(kind, service.port, application, tmp_path, recent=1) as url:
        secret = admin.post("/v1/sessions", json={"owner": "alice"}).json()["secret"]
        cookie = {"Cookie": f"session={secret}"}
        with httpx.Client(base_url=url, headers=cookie) as client:
            script = client.get("/admin/x")
            for _ in range(300):
                if script.status_code != 200:
                    break
                threading.Event().wait(0.1)
                script = client.get("/admin/x")
            browser = client.get("/admin/x?a=b", headers=BROWSER)
            page = client.get("/page", headers=BROWSER)

    assert (script.status_code, browser.status_code, page.status_code) == (401, 303, 200)
    assert 'error="insufficient_user_authentication"' in script.headers["www-authenticate"]
    where = urlsplit(browser.headers["location"])
    assert (where.path, parse_qs(where.query)) == ("/log-in", {"max_age": ["1"], "next": ["/admin/x?a=b"]})


class _Refusing(http.server.BaseHTTPRequestHandler):
    """Answers as the service does: by what ``/forward-auth`` is asked for, and 503 with a time to wait of its own."""

    def do_GET(self) -> None:
        status = int(self.headers.get("authorization") or 503)
        self.send_response(status)
        if status in (429, 503):
            self.send_header("Retry-After", "7")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


REFUSALS = (400, 401, 403, 429, 431)
"""What the service answers to a request that is no outage of it."""


@pytest.mark.share(2)
@pytest.mark.parametrize("kind", KINDS)
def test_an_outage_alone_reaches_browsers_as_503_with_the_time_to_wait(
    application: int, tmp_path: Path, kind: str
) -> None:
    busy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    thread = threading.Thread(target=busy.serve_forever)
    thread.start()
    try:
        with guarded(kind, busy.server_address[1], application, tmp_path) as url:
            answer = httpx.get(f"{url}/page")
            refused = {status: httpx.get(f"{url}/page", headers={"Authorization": str(status)}) for status in REFUSALS}
            busy.shutdown()
            busy.server_close()
            gone = httpx.get(f"{url}/page")
    finally:
        busy.shutdown()
        thread.join()
        busy.server_close()

    assert (answer.status_code, answer.headers.get("retry-after")) == (503, "7")
    told = {status: (each.status_code, each.headers.get("retry-after")) for status, each in refused.items()}
    assert told == {status: (status, "7" if status == 429 else None) for status in REFUSALS}
    assert gone.status_code in (502, 503)
    if kind != "caddy":
        assert (gone.status_code, gone.headers.get("retry-after")) == (503, "1")


@pytest.mark.needs_nginx
@pytest.mark.needs_njs
def test_njs_passes_bodies_and_what_a_client_says_of_itself_is_replaced(
    service: RunningService, application: int, tmp_path: Path
) -> None:
    forged = {"X-Session-Owner": "root", "X-Session-Id": "ses_root"}
    with service.http() as admin, guarded("njs", service.port, application, tmp_path) as url:
        opened = admin.post("/v1/sessions", json={"owner": "alice"}).json()
        cookie = {"Cookie": f"session={opened['secret']}"}
        sent = httpx.post(f"{url}/form?a=b", content=b"x" * 900_000, headers={**cookie, **forged})
        refused = httpx.post(f"{url}/form", content=b"x" * 900_000, headers=forged)
        admin.delete(f"/v1/sessions/{opened['session']['id']}")
        ended = httpx.get(f"{url}/page", headers=cookie)

    who = f"x-session-owner=alice x-session-id={opened['session']['id']}"
    assert (sent.status_code, sent.text.partition(" bearer")[0]) == (200, f"POST /form?a=b {who}")
    assert "900000 bytes" in sent.text
    assert (refused.status_code, ended.status_code) == (401, 401)
    assert "canary" not in (tmp_path / "application.log").read_text()
    assert "a=b" not in (tmp_path / "application.log").read_text()
