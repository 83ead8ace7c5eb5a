"""Introspections that are answered at once: the same answers, and the whole way wherever something is not plain."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from session_tokens import AsyncSessionTokens, SessionTokens
from session_tokens.crypto.minting import new_secret
from session_tokens.crypto.secret_form import SESSION_SECRET, TOKEN_SECRET
from session_tokens.rules.expiry import same_until, touch_is_due
from session_tokens.service import quick
from session_tokens.service.app import Service
from session_tokens.service.protocol import StrictHTTP
from session_tokens.service.quick import HEAD_BYTES_MAX, HEADS_MAX
from session_tokens.service.verifying import told_of_session
from session_tokens.service_keys.keys import IssuedKey, create_key, revoke_key
from session_tokens.stores.sqlite.store import SqliteStore
from session_tokens.testing import ManualClock


class Asked:
    """A service on a port of its own, one connection to it, and how many answers came at once."""

    def __init__(self, tokens: AsyncSessionTokens, key: IssuedKey) -> None:
        self.tokens = tokens
        self.key = key
        self.service = Service(tokens)
        self.at_once = 0
        at_once, later = self.service.answer_at_once, self.service.answer_later

        def counting(data: bytes) -> bytes | None:
            assert at_once is not None
            answered = at_once(data)
            self.at_once += answered is not None
            return answered

        def counting_later(data: bytes) -> Coroutine[Any, Any, bytes | None] | None:
            assert later is not None
            coming = later(data)
            return None if coming is None else counted(coming)

        async def counted(coming: Coroutine[Any, Any, bytes | None]) -> bytes | None:
            answered = await coming
            self.at_once += answered is not None
            return answered

        self.service.answer_at_once = None if at_once is None else counting
        self.service.answer_later = None if later is None else counting_later

    async def connect(self) -> asyncio.Server:
        config = uvicorn.Config(self.service, log_config=None, proxy_headers=False)
        config.load()
        state = ServerState()
        server = await asyncio.get_running_loop().create_server(lambda: StrictHTTP(config, state, {}), "127.0.0.1", 0)
        self.server = server
        self.reader, self.writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        return server

    async def reconnect(self) -> None:
        self.writer.close()
        self.reader, self.writer = await asyncio.open_connection(*self.server.sockets[0].getsockname())

    def request(self, secret: str, *, key: IssuedKey | None = None, more: bytes = b"", form: str = "token=") -> bytes:
        presented = key or self.key
        basic = base64.b64encode(f"{presented.key.id}:{presented.secret}".encode())
        body = (form + secret).encode()
        return (
            b"POST /introspect HTTP/1.1\r\nHost: tokens.test\r\nAuthorization: Basic %b\r\n%b"
            b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%b"
        ) % (basic, more, len(body), body)

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        """Return status, headers without what differs each time, and body."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)).decode()
        first, *lines = head[:-4].split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        body = await self.reader.readexactly(int(headers["content-length"]))
        assert headers.pop("x-request-id")
        headers.pop("date", None)
        return int(first.split(" ")[1]), headers, msgspec.json.decode(body)

    async def ask(self, secret: str, **how: Any) -> tuple[int, dict[str, str], Any]:
        self.writer.write(self.request(secret, **how))
        return await self.answer()

    def taken(self) -> int:
        """Return how many came at once since this was asked last."""
        taken, self.at_once = self.at_once, 0
        return taken


@pytest.fixture(name="clock")
def _clock() -> ManualClock:
    return ManualClock()


@contextlib.asynccontextmanager
async def asked_over(url: str, **how: Any) -> AsyncIterator[Asked]:
    async with await AsyncSessionTokens.open(url, sweep=False, **how) as tokens:
        asked = Asked(tokens, await create_key(tokens.store, "verify"))
        server = await asked.connect()
        try:
            yield asked
        finally:
            asked.writer.close()
            server.close()
            with contextlib.suppress(Exception):
                await server.wait_closed()


@pytest.fixture(name="embedded", params=["memory", "sqlite"])
async def _embedded(request: pytest.FixtureRequest, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Asked]:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/sessions.db"
    async with asked_over(url, clock=clock) as asked:
        yield asked


SERVERS = [pytest.param(name, marks=pytest.mark.server) for name in ("postgres", "valkey")]


@pytest.fixture(name="asked", params=["memory", "sqlite", *SERVERS])
async def _asked(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Asked]:
    how: dict[str, Any] = {}
    if request.param in ("postgres", "valkey"):
        url, how = request.getfixturevalue(f"{request.param}_url"), {"pepper": bytes(range(32))}
    else:
        url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/sessions.db"
    async with asked_over(url, **how) as asked:
        yield asked


async def test_what_is_answered_at_once_is_what_the_whole_way_answers(asked: Asked) -> None:
    tokens = asked.tokens
    session = await tokens.open_session("alice", label="desk")
    ended = await tokens.open_session("bob")
    console = await tokens.open_session("alice", max_age=None)
    await tokens.destroy_session(ended.id)
    token = await tokens.issue_token(session.id, {"seat": 4}, scope="read", audience="shop")
    gone = await tokens.issue_token(session.id, "seat")
    await tokens.destroy_token(gone.id)
    pooled = await tokens.issue_token(None, "free")
    secrets = [
        *(str(one.secret) for one in (session, ended, console, token, gone, pooled)),
        new_secret(SESSION_SECRET), new_secret(TOKEN_SECRET),
    ]  # fmt: skip
    await asked.ask(secrets[0])
    assert asked.taken() == 0

    for number, secret in enumerate(secrets):
        whole = await asked.ask(secret, more=b"X-Number: %d\r\n" % number)
        assert asked.taken() == 0
        assert await asked.ask(secret) == whole
        assert asked.taken() == 1
    assert (
        f'session_tokens_http_requests_total{{method="POST",route="/introspect",status="200"}} {2 * len(secrets) + 1}.0'
        in (asked.service.metrics.text().decode())
    )


async def test_what_happens_meanwhile_is_seen_at_once(asked: Asked) -> None:
    session = await asked.tokens.open_session("alice")
    for _ in range(2):
        assert (await asked.ask(session.secret))[2]["active"] is True
    assert asked.taken() == 1

    await asked.tokens.destroy_session(session.id)
    assert (await asked.ask(session.secret))[2] == {"active": False}
    assert asked.taken() == 1
    await revoke_key(asked.tokens.store, asked.key.key.id)
    assert (await asked.ask(session.secret))[0] == 401
    assert asked.taken() == 0


async def test_a_key_that_expired_is_seen_at_once(embedded: Asked, clock: ManualClock) -> None:
    session = await embedded.tokens.open_session("alice", max_age=None)
    key = await create_key(embedded.tokens.store, "verify", lifetime=100)
    for _ in range(2):
        assert (await embedded.ask(session.secret, key=key))[0] == 200
    assert embedded.taken() == 1

    clock.advance(100)
    assert (await embedded.ask(session.secret, key=key))[0] == 401


async def test_a_use_is_written_down_all_the_same(embedded: Asked, clock: ManualClock) -> None:
    session = await embedded.tokens.open_session("alice", idle_timeout=600)
    for _ in range(2):
        await embedded.ask(session.secret)
    assert embedded.taken() == 1

    clock.advance(300)
    assert (await embedded.ask(session.secret))[2]["active"] is True
    assert embedded.taken() == 0
    seen = await embedded.tokens.get_session(session.id)
    assert seen is not None
    assert seen.last_seen_at == clock.now()
    clock.advance(700)
    assert (await embedded.ask(session.secret))[2] == {"active": False}


@pytest.mark.parametrize("limit", [{"networks": ["127.0.0.0/8"]}, {"rate": 100}, {"owner_prefix": "app:"}])
async def test_a_key_with_limits_goes_the_whole_way(asked: Asked, limit: dict[str, Any]) -> None:
    session = await asked.tokens.open_session("app:alice")
    key = await create_key(asked.tokens.store, "verify", **limit)

    for _ in range(3):
        assert (await asked.ask(session.secret, key=key))[2]["active"] is True
    assert asked.taken() == 0


async def test_requests_that_come_otherwise_go_the_whole_way(asked: Asked) -> None:
    session = await asked.tokens.open_session("alice")
    whole = await asked.ask(session.secret)
    request = asked.request(session.secret)

    for cut in (1, 20, len(request) - 100, len(request) - 1):
        asked.writer.write(request[:cut])
        await asyncio.sleep(0.01)
        asked.writer.write(request[cut:])
        assert await asked.answer() == whole
    asked.writer.write(request + b"abc")
    assert await asked.answer() == whole
    asked.writer.write(request[3:])  # what came behind the one before begins this one: abcT /introspect
    assert (await asked.answer())[0] != 200
    await asked.reconnect()
    asked.writer.write(request + request)
    assert [await asked.answer(), await asked.answer()] == [whole, whole]
    assert (await asked.ask("nonsense"))[2] == {"active": False}
    assert (await asked.ask(session.secret, form="token_type_hint=x&token="))[2]["active"] is True
    assert (await asked.ask(session.secret, form="other="))[0] == 400
    assert (await asked.ask(session.secret, more=b"X-Long: %b\r\n" % (b"x" * HEAD_BYTES_MAX)))[0] == 200
    assert asked.taken() == 0
    assert await asked.ask(session.secret) == whole
    assert asked.taken() == 1


async def test_a_loan_goes_the_whole_way(asked: Asked) -> None:
    session = await asked.tokens.open_session("alice")
    token = await asked.tokens.issue_token(session.id, "seat", transferable=True)
    await asked.tokens.open_session("bob")
    loan = await asked.tokens.lend_token(token.id, borrower="bob")
    for _ in range(2):
        assert (await asked.ask(str(token.secret)))[2]["active"] is True
    asked.taken()

    for _ in range(2):
        told = (await asked.ask(str(loan.secret)))[2]
        assert (told["active"], told["act"]["sub"]) == (True, "bob")
    assert asked.taken() == 0


async def test_one_line_for_each_request_is_written_where_that_is_wanted(
    asked: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    session = await asked.tokens.open_session("alice")
    with caplog.at_level(logging.DEBUG, "session_tokens.service"):
        for _ in range(3):
            await asked.ask(session.secret)

    assert asked.taken() == 0
    assert len([record for record in caplog.records if getattr(record, "event", "") == "request"]) == 3


async def test_requests_side_by_side_are_each_answered(asked: Asked) -> None:
    sessions = [await asked.tokens.open_session(f"owner/{number}") for number in range(8)]
    await asked.ask(sessions[0].secret)
    host, port = asked.server.sockets[0].getsockname()

    async def owner_of(secret: str) -> str:
        reader, writer = await asyncio.open_connection(host, port)
        told: dict[str, Any] = {}
        for _ in range(3):
            writer.write(asked.request(secret))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            told = msgspec.json.decode(await reader.readexactly(length))
        writer.close()
        return str(told["sub"])

    owners = await asyncio.gather(*(owner_of(session.secret) for session in sessions))
    assert [f"owner/{number}" for number in range(8)] == owners
    assert asked.taken() == 24


async def test_few_heads_are_kept(asked: Asked) -> None:
    session = await asked.tokens.open_session("alice")
    for number in range(HEADS_MAX + 3):
        await asked.ask(session.secret, more=b"X-Number: %d\r\n" % number)

    await asked.ask(session.secret, more=b"X-Number: %d\r\n" % (HEADS_MAX + 2))
    assert asked.taken() == 1
    await asked.ask(session.secret, more=b"X-Number: 0\r\n")
    assert asked.taken() == 0


async def test_an_answer_is_given_again_for_as_long_as_nothing_changes(
    embedded: Asked, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an idle timeout the second in which to ask again moves on; else nothing does until a use is due."""
    tokens = embedded.tokens
    used = await tokens.open_session("alice", idle_timeout=600, max_age=None)
    aged = await tokens.open_session("bob", max_age=600)
    token = await tokens.issue_token(aged.id, "seat", timeout=500)
    secrets = [str(one.secret) for one in (used, aged, token)]
    await embedded.ask(secrets[0])
    reads = 0
    look = tokens.store.look_now  # type: ignore[attr-defined]

    def counting(queries: Any) -> Any:
        nonlocal reads
        reads += 1
        return look(queries)

    monkeypatch.setattr(tokens.store, "look_now", counting)
    for step_ms in (0, 0, 1, 499, 300, 200, 9_000, 20_000, 7_000, 499_000):
        clock.advance(ms=step_ms)
        for number, secret in enumerate(secrets):
            whole = await embedded.ask(secret, more=b"X-Number: %d\r\n" % number)
            for _ in range(2):
                assert await embedded.ask(secret) == whole
    if isinstance(tokens.store, SqliteStore):
        assert reads < 60  # of which each second makes some, and each use that was written


async def test_a_commit_of_another_connection_is_seen_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sessions.db"
    async with asked_over(url) as asked, await AsyncSessionTokens.open(url, sweep=False) as other:
        sessions = [await asked.tokens.open_session(f"owner/{number}") for number in range(20)]
        token = await asked.tokens.issue_token(sessions[0].id, "seat", transferable=True)
        for one in (*sessions, token, *sessions, token):
            assert (await asked.ask(str(one.secret)))[2]["active"] is True

        moved = await other.transfer_token(token.id, giver="owner/0", receiver="owner/1")
        assert (await asked.ask(str(token.secret)))[2] == {"active": False}
        assert (await asked.ask(str(moved.secret)))[2]["sub"] == "owner/1"
        for session in sessions:
            await other.destroy_session(session.id)
            assert (await asked.ask(session.secret))[2] == {"active": False}
        await other.disable_owner("owner/1")
        assert (await asked.ask(str(moved.secret)))[2] == {"active": False}


async def test_an_offer_that_lapses_is_told_as_the_whole_way_tells_it(embedded: Asked, clock: ManualClock) -> None:
    session = await embedded.tokens.open_session("alice", max_age=None)
    token = await embedded.tokens.issue_token(session.id, "seat", transferable=True)
    await embedded.tokens.offer_token(token.id, to="bob", until=5)
    await embedded.ask(session.secret)

    for number in range(3):
        whole = await embedded.ask(str(token.secret), more=b"X-Number: %d\r\n" % number)
        assert await embedded.ask(str(token.secret)) == whole
        clock.advance(2.5)


async def test_as_many_answers_are_kept_as_there_is_room_for(embedded: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "ANSWERS_MAX", 3)
    sessions = [await embedded.tokens.open_session(f"owner/{number}") for number in range(8)]
    await embedded.ask(sessions[0].secret)

    for _ in range(2):
        for opened in sessions:
            assert (await embedded.ask(opened.secret))[2]["sub"] == opened.session.owner
    assert embedded.taken() == 16


@given(
    idle_ms=st.none() | st.integers(1, 40_000), age_ms=st.none() | st.integers(1, 40_000),
    begun=st.integers(0, 2_000), steps=st.lists(st.integers(0, 3_000), min_size=1, max_size=8),
)  # fmt: skip
def test_what_is_told_of_a_session_stays_the_same_for_as_long_as_was_said(
    idle_ms: int | None, age_ms: int | None, begun: int, steps: list[int]
) -> None:
    clock = ManualClock(1_700_000_000_000 + begun)
    with SessionTokens.open("memory://", clock=clock, sweep=False) as tokens:
        opened = tokens.open_session(
            "alice", idle_timeout=None if idle_ms is None else idle_ms / 1000,
            max_age=None if age_ms is None else age_ms / 1000,
        )  # fmt: skip
        session = opened.session
        for step in steps:
            if not session.authenticates(clock.now(), None) or touch_is_due(session, clock.now()):
                return
            told, until = told_of_session(session), same_until(session, clock.now())
            if idle_ms is None:
                assert until > clock.now()
            clock.advance(ms=step)
            if clock.now() < until:
                assert session.authenticates(clock.now(), None)
                assert not touch_is_due(session, clock.now())
                assert told_of_session(session) == told
