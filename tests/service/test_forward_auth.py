"""``/forward-auth`` as a proxy sees it."""

from __future__ import annotations

from urllib.parse import unquote

import pytest

from session_tokens.service.framing import HEAD_BYTES_MAX
from tests.service.conftest import World
from tests.service.running import RunningService, status_of


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
    wrong = await world.http.get("/forward-auth", headers={"Authorization": "Bearer x", "Cookie": cookie})

    assert both.headers["x-session-owner"] == "bob"
    assert basic.headers["x-session-owner"] == "alice"
    assert wrong.status_code == 401


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
