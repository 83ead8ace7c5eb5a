"""``/forward-auth`` as a proxy sees it."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest

from session_tokens import InvalidInput
from session_tokens.service.app import Options
from session_tokens.service.forward_auth import LogIn
from session_tokens.service.framing import HEAD_BYTES_MAX
from session_tokens.service.identity import Identity, check_header
from tests.helpers.running_service import RunningService, received, request, status_of
from tests.helpers.service_world import World


@pytest.mark.parametrize("owner", ["alice", "müller & söhne", "a/b?c#d%", "日本", "😀"])
async def test_the_owner_is_percent_encoded_utf_8(world: World, owner: str) -> None:
    opened = await world.open_session(owner)
    answer = await world.http.get("/forward-auth", headers={"Authorization": f"Bearer {opened['secret']}"})

    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["x-session-owner"].isascii()
    assert unquote(answer.headers["x-session-owner"]) == owner
    assert answer.headers["x-session-id"] == opened["session"]["id"]


async def test_a_bearer_header_goes_before_the_cookie_and_other_schemes_do_not(world: World) -> None:
    alice, bob = await world.open_session("alice"), await world.open_session("bob")
    cookie = f"session={alice['secret']}"
    both = await world.http.get("/forward-auth", headers={"Authorization": f"Bearer {bob['secret']}", "Cookie": cookie})
    basic = await world.http.get("/forward-auth", headers={"Authorization": "Basic eDp5", "Cookie": cookie})

    assert both.headers["x-session-owner"] == "bob"
    assert basic.headers["x-session-owner"] == "alice"


async def test_a_check_is_a_use(world: World) -> None:
    opened = await world.open_session(idle_timeout=100, max_age=None)
    for _ in range(4):
        world.clock.advance(90)
        answer = await world.http.get("/forward-auth", headers={"Cookie": f"session={opened['secret']}"})

        assert answer.status_code == 204


async def test_checks_without_a_session_leave_nothing_behind(world: World) -> None:
    """No session is ever opened by a read."""
    for number in range(100):
        await world.http.get("/forward-auth", headers={"Cookie": f"session=x{number}"})

    assert (await world.tokens.list_sessions()).items == []


@pytest.mark.parametrize("size", [4_190, 8_000, 12_000, HEAD_BYTES_MAX])
@pytest.mark.parametrize("headers", [1, 40])
def test_cookies_are_read_up_to_what_a_head_holds(running: RunningService, size: int, headers: int) -> None:
    """Browsers send all cookies of a site, of which a session's is one."""
    with running.http() as http:
        secret = http.post("/v1/sessions", json={"owner": "alice"}).json()["secret"]
    begin = b"GET /forward-auth HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    last = b"Cookie: session=%b\r\n\r\n" % secret.encode()
    room = size - len(begin) - len(last)
    lines = [b"Cookie: a=" + b"b" * (room // headers - 12) + b"\r\n"] * headers
    lines[0] = lines[0].replace(b"a=", b"a=" + b"c" * (room - sum(map(len, lines))))
    head = begin + b"".join(lines) + last

    assert len(head) == size
    assert status_of(running.raw(head)) == 204
    if size == HEAD_BYTES_MAX:
        assert status_of(running.raw(head.replace(b"a=", b"aa=", 1))) == 431


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"]


@pytest.mark.share(4)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("behind", ["", "?a=b", "?a=%zz&a&token=1", "/", "/page/7?a=b", "/caf%C3%A9", "/%2Fetc"])
async def test_every_method_query_and_path_behind_is_answered_the_same(world: World, method: str, behind: str) -> None:
    """Proxies send a page's own method, query and path along, and pages send their origin."""
    opened = await world.open_session("alice")
    page = {"Origin": "https://elsewhere.test", "Content-Type": "application/json"}
    shown = {**page, "Cookie": f"session={opened['secret']}"}
    alive = await world.http.request(method, f"/forward-auth{behind}", headers=shown)
    nobody = await world.http.request(method, f"/forward-auth{behind}", headers=page)

    assert (alive.status_code, alive.headers["x-session-owner"]) == (204, "alice")
    assert nobody.status_code == 401


def test_what_stands_behind_the_address_need_not_be_utf_8(running: RunningService) -> None:
    answer = running.raw(request("GET", "/forward-auth/%FF/%zz/../x?%FF"))

    assert status_of(answer) == 401


def test_an_address_that_only_begins_like_it_is_another(running: RunningService) -> None:
    assert status_of(running.raw(request("GET", "/forward-authority"))) == 404


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    "announced", [{"Content-Length": "5"}, {"Content-Length": "999999999"}, {"Transfer-Encoding": "chunked"}]
)
@pytest.mark.parametrize("expect", [{}, {"Expect": "100-continue"}])
def test_a_body_that_is_kept_back_is_not_waited_for(
    running: RunningService, admin: httpx.Client, method: str, announced: dict[str, str], expect: dict[str, str]
) -> None:
    """A proxy may announce the body of the page's request and send none: nginx does unless told otherwise."""
    opened = admin.post("/v1/sessions", json={"owner": "alice"}).json()
    shown = {**announced, **expect, "Cookie": f"session={opened['secret']}"}
    alive = running.raw(request(method, "/forward-auth", shown, close=False))
    nobody = running.raw(request(method, "/forward-auth/page?a=b", {**announced, **expect}, close=False))

    assert status_of(alive) == 204 and b"x-session-owner: alice" in alive
    assert status_of(nobody) == 401
    assert all(b"connection: close" in answer and b"100 Continue" not in answer for answer in (alive, nobody))


@pytest.mark.parametrize("size", [5, 200_000, 900_000])
def test_a_body_that_comes_is_thrown_away_and_never_read_as_a_request(running: RunningService, size: int) -> None:
    smuggled = request("GET", "/livez", close=False)
    body = smuggled + b"x" * (size - len(smuggled)) if size > len(smuggled) else b"x" * size
    answer = running.raw(request("POST", "/forward-auth", body=body, close=False))

    assert answer.count(b"HTTP/1.1 ") == 1
    assert status_of(answer) == 401


def test_what_comes_after_the_answer_resets_nothing(running: RunningService) -> None:
    """A reset may overtake the answer, and the proxy would have none."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=15) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request("POST", "/forward-auth", {"Content-Length": "100000"}, close=False))
        answer = received(connection)
        for _ in range(20):
            connection.sendall(b"x" * 1_000)

    assert status_of(answer) == 401


def test_a_body_longer_than_told_ends_the_connection(running: RunningService) -> None:
    """What goes on after the answer is not kept for ever."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=15) as connection:
        connection.sendall(request("POST", "/forward-auth", {"Content-Length": "999999999"}, close=False))
        answer = received(connection)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            connection.sendall(b"x" * 64_000_000)

    assert status_of(answer) == 401


def test_without_a_body_the_connection_is_kept(running: RunningService) -> None:
    one = request("GET", "/forward-auth", close=False)
    none = request("POST", "/forward-auth", {"Content-Length": "0"}, close=False)
    answer = running.raw(one + none + request("GET", "/livez"))

    assert re.findall(rb"HTTP/1.1 ([0-9]+)", answer) == [b"401", b"401", b"200"]


async def test_whatever_a_page_sends_twice_or_names_is_its_own(world: World) -> None:
    """A proxy passes them on; a refusal would be an error of the page."""
    opened = await world.open_session("alice")
    shown = [("Cookie", f"session={opened['secret']}"), ("Connection", "Upgrade"), ("Upgrade", "websocket")]
    twice = [(name, value) for name in ("X-Request-Id", "Content-Type", "If-Match", "Origin") for value in ("a", "b")]
    bearers = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")]
    async for other in with_options(world, allowed_hosts=["tokens.example"]):
        for host in ("app.example", "session_tokens", "tokens.example"):
            answer = await other.http.post("/forward-auth", headers=[*shown, *twice, ("Host", host)])

            assert answer.status_code == 204
        assert (await other.http.get("/livez")).status_code == 421
        assert (await other.http.get("/forward-auth", headers=[*shown, *bearers])).status_code == 400


FOREIGN = ["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln", "x", "", "sts", "ghp_0123456789"]


@pytest.mark.parametrize("bearer", FOREIGN)
async def test_a_bearer_that_is_the_applications_leaves_the_cookie_to_us(world: World, bearer: str) -> None:
    opened = await world.open_session("alice")
    foreign = {"Authorization": f"Bearer {bearer}"}
    answer = await world.http.get("/forward-auth", headers={**foreign, "Cookie": f"session={opened['secret']}"})

    assert (answer.status_code, answer.headers.get("x-session-owner")) == (204, "alice")
    assert (await world.http.get("/forward-auth", headers=foreign)).status_code == 401


async def test_a_bearer_of_ours_is_what_counts_though_it_opens_nothing(world: World) -> None:
    """Else an ended session would go on as whoever the cookie is of."""
    alice, bob = await world.open_session("alice"), await world.open_session("bob")
    token = await world.issue_token(bob["session"]["id"])
    ended = await world.open_session("carol")
    await world.ask("DELETE", f"/v1/sessions/{ended['session']['id']}")
    key = (await world.key()).secret
    for bearer in (
        token["secret"],
        ended["secret"],
        alice["secret"] + "x",
        key,
        f" {bob['secret']}",
        f"\t{bob['secret']}",
    ):
        shown = {"Authorization": f"Bearer {bearer}", "Cookie": f"session={alice['secret']}"}

        assert (await world.http.get("/forward-auth", headers=shown)).status_code == 401


@pytest.mark.parametrize(
    ("owner", "header"),
    [
        ("ann+news@mail.example", "ann+news@mail.example"),
        ("tenant:7", "tenant:7"),
        ("a%40b", "a%2540b"),
        ("a, b; c", "a%2C%20b%3B%20c"),
        ("../x", "..%2Fx"),
    ],
)
async def test_the_owner_arrives_readable_where_that_is_safe(world: World, owner: str, header: str) -> None:
    opened = await world.open_session(owner)
    answer = await world.http.get("/forward-auth", headers={"Cookie": f"session={opened['secret']}"})

    assert answer.headers["x-session-owner"] == header
    assert unquote(answer.headers["x-session-owner"]) == owner


async def test_a_missing_log_in_is_told_as_that(world: World) -> None:
    problem = (await world.http.get("/forward-auth")).json()

    assert (problem["status"], problem["title"]) == (401, "A log-in is needed")
    assert "key" not in f"{problem['title']} {problem['detail']}"


async def with_options(world: World, **options: object) -> AsyncIterator[World]:
    """Yield a service on the same store that is set up otherwise."""
    other = World(world.tokens, world.clock, Options(**options))  # type: ignore[arg-type]
    async with other.http:
        yield other


async def test_the_header_of_the_owner_can_be_named(world: World) -> None:
    opened = await world.open_session("alice")
    async for other in with_options(world, identity=Identity.told_in("Remote-User")):
        answer = await other.http.get("/forward-auth", headers={"Cookie": f"session={opened['secret']}"})

        assert (answer.status_code, answer.headers["remote-user"]) == (204, "alice")
        assert "x-session-owner" not in answer.headers


@pytest.mark.parametrize(
    "name", ["", "Remote User", "X:Y", "Set-Cookie", "content-length", "X-Session-ID", "é", "X\r\nY"]
)
def test_a_header_that_means_something_else_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="Remote-User"):
        check_header(name)


BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PAGE = {
    **BROWSER,
    "X-Forwarded-Host": "app.example",
    "X-Forwarded-Uri": "/page?a=b&c=%C3%A9",
    "X-Forwarded-Method": "GET",
}


@pytest.mark.parametrize("url", ["/log-in", "https://app.example/log-in", "https://app.example/log-in?theme=dark"])
async def test_a_browser_is_sent_to_log_in_and_back(world: World, url: str) -> None:
    async for other in with_options(world, log_in=LogIn.at(url)):
        answer = await other.http.get("/forward-auth", headers={**PAGE, "Cookie": "session=over"})

        assert answer.status_code == 303
        assert answer.headers["location"].startswith(url)
        assert parse_qs(urlsplit(answer.headers["location"]).query)["next"] == ["/page?a=b&c=%C3%A9"]
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("evil.example", "/page"),
        ("app.example:8443", "/page"),
        ("app.example", "//evil.example/"),
        ("app.example", "/\\evil.example/"),
        ("app.example", "https://evil.example/page"),
        ("app.example", "page"),
        ("app.example", "/page\tx"),
        ("app.example", "/" + "x" * 3_000),
        ("app.example", ""),
    ],
)
async def test_no_way_back_leads_to_another_host(world: World, host: str, target: str) -> None:
    asked = {**PAGE, "X-Forwarded-Host": host, "X-Forwarded-Uri": target}
    async for other in with_options(world, log_in=LogIn.at("https://app.example/log-in")):
        answer = await other.http.get("/forward-auth", headers=asked)

        assert (answer.status_code, answer.headers["location"]) == (303, "https://app.example/log-in")


@pytest.mark.parametrize(
    "other_than_a_page",
    [
        {"Accept": "application/json"},
        {"Accept": "*/*"},
        {"X-Forwarded-Method": "POST"},
        {"X-Forwarded-Uri": "/log-in?next=/page"},
    ],
)
async def test_scripts_forms_and_the_log_in_page_itself_are_answered_401(
    world: World, other_than_a_page: dict[str, str]
) -> None:
    async for other in with_options(world, log_in=LogIn.at("/log-in")):
        answer = await other.http.get("/forward-auth", headers={**PAGE, **other_than_a_page})

        assert answer.status_code == 401
        assert "location" not in answer.headers


@pytest.mark.parametrize("name", ["X-Original-URI", "X-Original-URL"])
async def test_nginx_is_given_the_way_with_the_401_because_it_passes_no_redirect_on(world: World, name: str) -> None:
    asked = {**BROWSER, "Host": "app.example", name: "https://app.example/page" if name.endswith("L") else "/page"}
    async for other in with_options(world, log_in=LogIn.at("https://app.example/log-in")):
        answer = await other.http.get("/forward-auth", headers=asked)

        assert (answer.status_code, answer.headers["location"]) == (401, "https://app.example/log-in?next=/page")


async def test_a_living_session_is_sent_nowhere(world: World) -> None:
    opened = await world.open_session("alice")
    async for other in with_options(world, log_in=LogIn.at("/log-in")):
        answer = await other.http.get("/forward-auth", headers={**PAGE, "Cookie": f"session={opened['secret']}"})

        assert answer.status_code == 204


@pytest.mark.parametrize(
    "url",
    ["", "log-in", "//evil.example/", "/\\evil", "ftp://x/", "https://app.example", "/a#b", "/a b", "/é", "/a\r\nb"],
)
def test_a_log_in_page_that_can_never_be_right_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="log-in page"):
        LogIn.at(url)
