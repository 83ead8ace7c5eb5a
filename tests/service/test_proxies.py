"""nginx, Caddy and HAProxy guard a page with the files in ``deploy/``: the real servers, on free ports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import yaml  # type: ignore[import-untyped]

from tests.helpers.running_service import ROOT, RunningService
from tests.helpers.servers.ports import free_port
from tests.helpers.servers.web_proxies import (
    FILES,
    JWT,
    KINDS,
    METHODS,
    configured,
    running_application,
    running_proxy,
    told_of,
)

pytestmark = pytest.mark.server

OWNER = "müller+söhne@mail.example"
ENCODED_OWNER = "m%C3%BCller+s%C3%B6hne@mail.example"


@pytest.fixture(scope="module")
def application() -> Iterator[int]:
    with running_application() as port:
        yield port


class Guarded(NamedTuple):
    """A page behind a proxy: where it is, and the proxy's log."""

    url: str
    log: Path


@pytest.fixture(scope="module", params=KINDS)
def guarded(
    request: pytest.FixtureRequest,
    running: RunningService,
    application: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Guarded]:
    folder, port = tmp_path_factory.mktemp("proxy"), free_port()
    text = configured(FILES[request.param], port, running.port, application)
    with running_proxy(request.param, text, port, folder) as url:
        yield Guarded(url, folder / ("application.log" if request.param == "nginx" else "log"))


@pytest.fixture
def proxy(guarded: Guarded) -> str:
    """Return the address of the guarded page."""
    return guarded.url


@pytest.fixture
def session(admin: httpx.Client) -> dict[str, str]:
    opened = admin.post("/v1/sessions", json={"owner": OWNER}).json()
    return {"id": opened["session"]["id"], "secret": opened["secret"]}


def expected(method: str, target: str, session: dict[str, str], bearer: str = "-", body: bytes = b"") -> str:
    who = f"x-session-owner={ENCODED_OWNER} x-session-id={session['id']}"
    return "" if method == "HEAD" else f"{method} {target} {who} bearer={bearer}: {told_of(body)}"


@pytest.mark.share(3)
@pytest.mark.parametrize("target", ["/", "/page", "/page?a=b&c=%zz", "/caf%C3%A9/%2Fx?x=%FF", "/forward-auth/page"])
@pytest.mark.parametrize("method", METHODS)
def test_every_request_passes_with_a_living_session_and_none_without(
    proxy: str, session: dict[str, str], method: str, target: str
) -> None:
    """With and without body, with the cookie, beside the application's own Bearer, and with ours."""
    cookie, foreign = {"Cookie": f"a=b; session={session['secret']}"}, {"Authorization": f"Bearer {JWT}"}
    ours = {"Authorization": f"Bearer {session['secret']}"}
    page = {"Origin": "https://elsewhere.test"}
    with httpx.Client(base_url=proxy) as client:
        for body in (b"", b"x" * 20_000):
            content = body or None
            for shown in (cookie, {**cookie, **foreign}, ours):
                passed = client.request(method, target, headers={**page, **shown}, content=content)
                bearer = shown.get("Authorization", "-")[:60]

                assert (passed.status_code, passed.text) == (200, expected(method, target, session, bearer, body))
            for nothing in (
                {},
                foreign,
                {"Cookie": "session=over"},
                {**cookie, "Authorization": ours["Authorization"] + "x"},
            ):
                refused = client.request(method, target, headers={**page, **nothing}, content=content)

                assert refused.status_code == 401
                assert "x-session" not in refused.text


def test_a_large_body_goes_to_the_application_and_not_into_the_question(proxy: str, session: dict[str, str]) -> None:
    body = b"x" * 900_000
    sent = httpx.post(f"{proxy}/form", content=body, headers={"Cookie": f"session={session['secret']}"})

    assert (sent.status_code, sent.text) == (200, expected("POST", "/form", session, body=body))


def test_nobody_gets_in_without_a_living_session(proxy: str, session: dict[str, str], admin: httpx.Client) -> None:
    token = admin.post("/v1/tokens", json={"session": session["id"]}).json()["secret"]
    shown: list[dict[str, str]] = [
        {}, {"Cookie": "session="}, {"Cookie": "session=nonsense"}, {"Cookie": f"session={session['id']}"},
        {"Cookie": f"other={session['secret']}"}, {"Authorization": f"Bearer {token}"},
        {"Authorization": f"Bearer {session['secret']}x"}, {"X-Session-Owner": "root", "X-Session-Id": session["id"]},
    ]  # fmt: skip
    answers = [httpx.get(f"{proxy}/page", headers=headers) for headers in shown]

    assert [answer.status_code for answer in answers] == [401] * len(shown)
    assert all(answer.headers["www-authenticate"].startswith("Bearer") for answer in answers)
    assert all("x-session" not in answer.text for answer in answers)


SPELLINGS = [
    "X-Session-Owner",
    "x-session-owner",
    "X_Session_Owner",
    "X-Session_Owner",
    "X_Session-Owner",
    "X_SESSION_ID",
]


@pytest.mark.parametrize("name", SPELLINGS)
def test_what_a_client_says_about_itself_is_replaced(proxy: str, session: dict[str, str], name: str) -> None:
    forged = {name: "root", "X-Forwarded-For": "192.0.2.1", "Cookie": f"session={session['secret']}"}
    answer = httpx.get(f"{proxy}/page", headers=forged)

    assert answer.text == expected("GET", "/page", session)


@pytest.mark.parametrize("name", ["X-Session-Owner", "x-session-id", "x_session_owner"])
def test_nobody_has_the_proxy_take_away_who_they_are(proxy: str, session: dict[str, str], name: str) -> None:
    """A proxy passes on no header that ``Connection`` names (RFC 9110): the client could have ours taken away."""
    for connection in (name, f"close, {name}", f"keep-alive,{name},x"):
        headers = {"Cookie": f"session={session['secret']}", "Connection": connection}
        answer = httpx.get(f"{proxy}/page", headers=headers)

        assert answer.status_code == 400 or answer.text == expected("GET", "/page", session)


def test_a_request_that_can_never_be_right_is_no_outage(proxy: str, session: dict[str, str]) -> None:
    """Two lines of ``Authorization``: a 503 would tell whoever watches that session-tokens is away."""
    twice = [("Authorization", f"Bearer {session['secret']}"), ("Authorization", "Bearer of.another")]
    answer = httpx.get(f"{proxy}/page", headers=twice)

    assert (answer.status_code, answer.headers.get("retry-after")) == (400, None)


def test_a_head_that_is_too_large_is_no_outage(proxy: str, session: dict[str, str]) -> None:
    """Above the 16 KiB of session-tokens it is 431 or, where the proxy itself refuses it, 400."""
    filled = [(f"x-{number}", "a" * 6_000) for number in range(3)]
    answer = httpx.get(f"{proxy}/page", headers=[("Authorization", f"Bearer {session['secret']}"), *filled])

    assert (answer.status_code in (400, 431), answer.headers.get("retry-after")) == (True, None), answer.status_code


def test_an_ended_session_is_refused_with_the_next_request(
    proxy: str, session: dict[str, str], admin: httpx.Client
) -> None:
    cookie = {"Cookie": f"session={session['secret']}"}
    with httpx.Client(base_url=proxy, headers=cookie) as client:
        before = client.get("/page").status_code
        admin.delete(f"/v1/sessions/{session['id']}")

        assert (before, client.get("/page").status_code) == (200, 401)


def test_no_secret_and_no_query_is_written_down(guarded: Guarded, session: dict[str, str]) -> None:
    shown = {"Cookie": f"session={session['secret']}", "Authorization": f"Bearer {session['secret']}"}
    httpx.get(f"{guarded.url}/logged?query=canary", headers=shown)
    httpx.get(f"{guarded.url}/logged?query=canary")
    log = guarded.log.read_text(errors="replace")

    assert session["secret"] not in log
    assert "canary" not in log


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_that_does_not_answer_lets_nobody_through(tmp_path: Path, application: int, kind: str) -> None:
    port = free_port()
    text = configured(FILES[kind], port, free_port(), application)
    with running_proxy(kind, text, port, tmp_path) as url:
        answer = httpx.get(f"{url}/page", headers={"X-Session-Owner": "root"})

    assert answer.status_code in (502, 503)
    if kind == "nginx":  # of an answer that auth_request does not know it would make 500
        assert (503, "1") == (answer.status_code, answer.headers.get("retry-after"))
    assert "x-session" not in answer.text


@pytest.mark.parametrize("kind", KINDS)
def test_browsers_are_sent_to_the_log_in_page_and_scripts_are_not(tmp_path: Path, application: int, kind: str) -> None:
    service = RunningService("memory://", tmp_path / "service", login_url="/log-in")
    port = free_port()
    text = configured(FILES[kind], port, service.port, application)
    browser = {"Accept": "text/html,*/*;q=0.8"}
    with running_proxy(kind, text, port, tmp_path) as url, httpx.Client(base_url=url) as client:
        sent = client.get("/page?a=b&c=d", headers=browser)
        elsewhere = client.get("//evil.test/", headers=browser)
        posted = client.post("/page", headers=browser, content=b"x")
        script = client.get("/page")
    service.stop()

    where = urlsplit(sent.headers["location"])
    assert sent.status_code == 303
    assert (where.path, where.netloc) in (("/log-in", ""), ("/log-in", f"127.0.0.1:{port}"))
    assert parse_qs(where.query) == {"next": ["/page?a=b&c=d"]}
    assert elsewhere.status_code == 303
    assert "evil" not in elsewhere.headers["location"]
    assert (posted.status_code, script.status_code) == (401, 401)


@pytest.mark.parametrize("kind", KINDS)
def test_another_header_tells_the_owner_where_both_sides_name_it(tmp_path: Path, application: int, kind: str) -> None:
    service = RunningService("memory://", tmp_path / "service", owner_header="Remote-User")
    port = free_port()
    text = configured(FILES[kind], port, service.port, application)
    text = text.replace("X-Session-Owner", "Remote-User").replace("http_x_session_owner", "http_remote_user")
    with service.http() as http, running_proxy(kind, text, port, tmp_path) as url:
        secret = http.post("/v1/sessions", json={"owner": "alice"}).json()["secret"]
        answer = httpx.get(f"{url}/page", headers={"Cookie": f"session={secret}"})
    service.stop()

    assert answer.status_code == 200
    assert "remote-user=alice " in answer.text


def test_traefiks_file_asks_the_same_addresses_and_passes_the_same_headers() -> None:
    """There is no Traefik on Debian to run; its file is held to what the others ask and are tested with."""
    http = yaml.safe_load((ROOT / "deploy/traefik/dynamic.yml").read_text())["http"]
    guards = {name: middleware["forwardAuth"] for name, middleware in http["middlewares"].items()}
    routes = {route["rule"]: guards[route["middlewares"][0]]["address"] for route in http["routers"].values()}
    service, host = "http://127.0.0.1:8080", "Host(`app.example`)"

    assert routes == {
        host: f"{service}/forward-auth",
        f"{host} && PathPrefix(`/admin/`)": f"{service}/forward-auth?recent=600",
        f"{host} && PathPrefix(`/api/`)": f"{service}/forward-auth-tokens?scope=read",
    }
    for guard in guards.values():
        assert guard["authRequestHeaders"] == ["Authorization", "Cookie", "Accept"]
        assert guard["authResponseHeaders"] == ["X-Session-Owner", "X-Session-Id"]
        assert "trustForwardHeader" not in guard
