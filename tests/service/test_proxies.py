"""nginx and Caddy guard a page with the files in ``deploy/``: the real servers, on free ports."""

from __future__ import annotations

import http.server
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service.running import ROOT, RunningService
from tools.system_packages import SEARCH_PATH

OWNER = "müller & söhne"
ENCODED_OWNER = "m%C3%BCller%20%26%20s%C3%B6hne"


class Page(http.server.BaseHTTPRequestHandler):
    """The application: tells what the proxy told it."""

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        owners, ids = self.headers.get_all("X-Session-Owner", []), self.headers.get_all("X-Session-Id", [])
        words = f"{self.path} for {','.join(owners)} in {','.join(ids)}: {body.decode()}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(words)))
        self.end_headers()
        self.wfile.write(words)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def application() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def configured(path: str, listener: int, service: int, application: int) -> str:
    """Answer a file of ``deploy/`` with the addresses replaced, as its first lines ask for."""
    text = (ROOT / path).read_text()
    for shown, real in (("127.0.0.1:8000", listener), ("127.0.0.1:8080", service), ("127.0.0.1:3000", application)):
        assert shown in text
        text = text.replace(shown, f"127.0.0.1:{real}")
    return text


def started(argv: list[str], port: int, log: Path) -> subprocess.Popen[bytes]:
    """Start a server; answer once its port takes connections."""
    with log.open("wb") as output:
        # Caddy keeps its last configuration in its home.
        environment = {"PATH": SEARCH_PATH, "HOME": str(log.parent), "XDG_CONFIG_HOME": str(log.parent)}
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
    give_up_s = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < give_up_s:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.02)
    process.kill()
    process.wait()
    raise AssertionError(f"{argv[0]} does not listen: {log.read_text()}")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("nginx", marks=pytest.mark.needs_nginx),
        pytest.param("caddy", marks=pytest.mark.needs_caddy),
    ],
)
def proxy(
    request: pytest.FixtureRequest,
    running: RunningService,
    application: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """Answer the address of the guarded page."""
    folder, port = tmp_path_factory.mktemp("proxy"), free_port()
    program = shutil.which(request.param, path=SEARCH_PATH)
    assert program is not None
    if request.param == "nginx":
        text = configured("deploy/nginx/forward-auth.conf", port, running.port, application)
        (folder / "site.conf").write_text(text.replace("/var/log/nginx", str(folder)))
        temporary = "".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"daemon off; master_process off; pid {folder}/pid; error_log stderr; events {{}} "
            f"http {{ {temporary} include {folder}/site.conf; }}"
        )
        argv = [program, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
    else:
        text = configured("deploy/caddy/Caddyfile", port, running.port, application)
        (folder / "Caddyfile").write_text("{\n\tadmin off\n}\n" + text)
        argv = [program, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    process = started(argv, port, folder / "log")
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(timeout=20)


@pytest.fixture
def session(admin: httpx.Client) -> dict[str, str]:
    opened = admin.post("/v1/sessions", json={"owner": OWNER}).json()
    return {"id": opened["session"]["id"], "secret": opened["secret"]}


def test_a_page_is_shown_with_a_living_session_in_a_cookie_or_header(proxy: str, session: dict[str, str]) -> None:
    expected = f"/page?a=b for {ENCODED_OWNER} in {session['id']}: "
    by_cookie = httpx.get(f"{proxy}/page?a=b", headers={"Cookie": f"session={session['secret']}"})
    by_header = httpx.get(f"{proxy}/page?a=b", headers={"Authorization": f"Bearer {session['secret']}"})

    assert (by_cookie.status_code, by_cookie.text) == (200, expected)
    assert (by_header.status_code, by_header.text) == (200, expected)


def test_a_body_goes_to_the_application_and_not_into_the_question(proxy: str, session: dict[str, str]) -> None:
    sent = httpx.post(f"{proxy}/form", content=b"x" * 100_000, headers={"Cookie": f"session={session['secret']}"})

    assert sent.status_code == 200
    assert sent.text.endswith("x" * 100_000)


def test_nobody_gets_in_without_a_living_session(proxy: str, session: dict[str, str], admin: httpx.Client) -> None:
    token = admin.post("/v1/tokens", json={"session": session["id"]}).json()["secret"]
    shown: list[dict[str, str]] = [
        {}, {"Cookie": "session="}, {"Cookie": "session=nonsense"}, {"Cookie": f"session={session['id']}"},
        {"Cookie": f"other={session['secret']}"}, {"Authorization": f"Bearer {token}"},
        {"Authorization": f"Bearer {session['secret']}x"}, {"X-Session-Owner": "root", "X-Session-Id": session["id"]},
    ]  # fmt: skip
    answers = [httpx.get(f"{proxy}/page", headers=headers) for headers in shown]

    assert [answer.status_code for answer in answers] == [401] * len(shown)
    assert all("for" not in answer.text.split() for answer in answers)


def test_what_a_client_says_about_itself_is_replaced(proxy: str, session: dict[str, str]) -> None:
    forged = {"X-Session-Owner": "root", "X-Session-Id": "ses_forged", "X-Forwarded-For": "192.0.2.1"}
    answer = httpx.get(f"{proxy}/page", headers={**forged, "Cookie": f"session={session['secret']}"})

    assert answer.text == f"/page for {ENCODED_OWNER} in {session['id']}: "


def test_an_ended_session_is_refused_with_the_next_request(
    proxy: str, session: dict[str, str], admin: httpx.Client
) -> None:
    cookie = {"Cookie": f"session={session['secret']}"}
    with httpx.Client(base_url=proxy, headers=cookie) as client:
        before = client.get("/page").status_code
        admin.delete(f"/v1/sessions/{session['id']}")

        assert (before, client.get("/page").status_code) == (200, 401)


def test_traefiks_file_asks_the_same_address_and_passes_the_same_headers() -> None:
    """There is no Traefik on Debian to run; its file is held to the names that the others are tested with."""
    text = (ROOT / "deploy/traefik/dynamic.yml").read_text()

    for name in ("http://127.0.0.1:8080/forward-auth", "X-Session-Owner", "X-Session-Id", "Authorization", "Cookie"):
        assert name in text
