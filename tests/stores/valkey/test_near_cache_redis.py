"""A near cache on the system's Redis; 7.0 tells of no key that a function reads undeclared: of it nothing is kept."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, StoreUnavailable
from session_tokens.stores.valkey.tracking import check_tells
from tests.helpers.near_caches import BOUND_S, answers_near
from tests.helpers.servers.cluster import shared_cluster
from tests.helpers.servers.valkey import ValkeyServer
from tests.helpers.waiting import wait_until

PEPPER = bytes(range(32))
PROGRAM = "/usr/bin/redis-server"
TURNS = 5
ENDS: dict[str, Callable[[SessionTokens, str], object]] = {
    "one": lambda tokens, session_id: tokens.destroy_session(session_id),
    "all": lambda tokens, session_id: tokens.destroy_sessions("ann"),
    "disabled": lambda tokens, session_id: tokens.disable_owner("ann"),
}


@pytest.fixture(params=[pytest.param(place, marks=pytest.mark.needs_redis) for place in ("one server", "cluster")])
def url(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[str]:
    """A store on Redis 7.0, on one server and in 64 partitions of a cluster."""
    caplog.set_level(logging.WARNING, "session_tokens.stores")
    if request.param == "cluster":
        yield f"{shared_cluster(PROGRAM).url}?timeout=10&namespace=near{uuid.uuid4().hex[:8]}"
        return
    program, server = shutil.which("redis-server"), ValkeyServer()
    assert program is not None
    server.program = Path(program)
    try:
        server.start()
        yield server.url
    finally:
        server.remove()


@pytest.fixture
def is_too_old() -> bool:
    """Whether it is older than 7.2, as in Debian 12; that of Debian 13 is followed."""
    said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v=(\d+)\.(\d+)", said)
    assert found is not None, said
    return (int(found[1]), int(found[2])) < (7, 2)


def is_told(caplog: pytest.LogCaptureFixture) -> bool:
    return any("a near cache needs Redis 7.2 or Valkey" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("end", ENDS)
def test_what_ends_elsewhere_is_refused(url: str, is_too_old: bool, end: str, caplog: pytest.LogCaptureFixture) -> None:
    with (
        SessionTokens.open(url, pepper=PEPPER, near_cache=BOUND_S, sweep=False) as reader,
        SessionTokens.open(url, pepper=PEPPER, sweep=False) as writer,
    ):
        issued = writer.open_session("ann")
        token = writer.issue_token(issued.id, "deed")
        near = reader.store.near_cache
        assert near is not None
        if is_too_old:
            wait_until(lambda: reader.verify_session(issued.secret) is not None and is_told(caplog))
        for secret in (issued.secret, token.secret):
            wait_until(lambda secret=secret: answers_near(reader, secret) or is_too_old)  # type: ignore[misc]
        ENDS[end](writer, issued.id)
        ended_s = time.monotonic()
        if not is_too_old:
            wait_until(lambda: reader.verify_session(issued.secret) is None)
            wait_until(lambda: reader.verify_token(token.secret) is None)

        assert reader.verify_session(issued.secret) is None
        assert reader.verify_token(token.secret) is None
        assert near.hits == 0 if is_too_old else time.monotonic() - ended_s < BOUND_S


async def test_it_is_the_same_for_asyncio(url: str, is_too_old: bool, caplog: pytest.LogCaptureFixture) -> None:
    reader = await AsyncSessionTokens.open(url, pepper=PEPPER, near_cache=BOUND_S, sweep=False)
    async with reader, await AsyncSessionTokens.open(url, pepper=PEPPER, sweep=False) as writer:
        for _ in range(TURNS):
            issued = await writer.open_session("ann")
            for _ in range(TURNS):
                assert await reader.verify_session(issued.secret) == issued.session
            await writer.destroy_session(issued.id)
            ended_s = time.monotonic()
            while await reader.verify_session(issued.secret) is not None:
                assert not is_too_old and time.monotonic() - ended_s < BOUND_S

        near = reader.store.near_cache
        assert near is not None and (near.hits == 0) is is_too_old
    assert is_told(caplog) is is_too_old


@pytest.mark.parametrize(
    "hello",
    [
        {b"server": b"redis", b"version": b"7.0.15"},
        {b"server": b"redis", b"version": b"6.2.14"},
        {b"server": b"redis", b"version": b"7"},
        {b"server": b"redis", b"version": b"7.x.9"},
        {b"server": b"redis", b"version": b""},
        {b"server": b"redis", b"version": 8},
        {b"server": b"redis"},
        {b"server": b"another", b"version": b"9.0.0"},
        {b"version": b"8.0.0"},
        [b"server", b"redis", b"version", b"8.0.0"],
        b"OK",
        None,
    ],
)
def test_a_server_that_is_too_old_or_not_understood_is_not_followed(hello: object) -> None:
    with pytest.raises(StoreUnavailable, match=r"needs Redis 7\.2 or Valkey; the server is asked each time"):
        check_tells(hello)


@pytest.mark.parametrize(
    ("server", "version"),
    [
        (b"valkey", b"8.0.1"), (b"valkey", b"9.0.0-rc1"), (b"redis", b"7.2.4"), (b"redis", b"7.10.0"),
        (b"redis", b"8.0.0"), (b"redis", b"10.0.0"),
    ],
)  # fmt: skip
def test_a_server_that_tells_is_followed(server: bytes, version: bytes) -> None:
    check_tells({b"server": server, b"version": version, b"proto": 3})
