"""An introspection reads the caller's service key and the secret's record at once: on a server in one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import valkey

from session_tokens import AsyncSessionTokens
from session_tokens.crypto.minting import Pepper, new_secret
from session_tokens.crypto.secret_form import KEY_SECRET, SESSION_SECRET, TOKEN_SECRET
from session_tokens.records import ServiceKey
from session_tokens.service.app import Service
from session_tokens.service_keys.keys import create_key, last_used, revoke_key
from session_tokens.stores.sqlite.store import SqliteStore

OLD, NEW = bytes(range(32)), bytes(range(1, 33))


class Counted:
    """A service on a server's store, which counts its round trips."""

    def __init__(self, tokens: AsyncSessionTokens, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tokens = tokens
        self.trips = 0
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(Service(tokens)), base_url="http://service.test")
        store: Any = tokens.store
        retrying = store.retrying if hasattr(store, "retrying") else store._retrying  # Valkey is not on the kit
        ask = retrying.ask

        async def counting(*args: Any, **options: Any) -> Any:
            self.trips += 1
            return await ask(*args, **options)

        monkeypatch.setattr(retrying, "ask", counting)

    async def introspect(self, key: str, secret: str) -> tuple[int, Any, int]:
        """Return status, body, and how many round trips it took."""
        return await self.post("/introspect", key, secret)

    async def post(self, path: str, key: str, secret: str) -> tuple[int, Any, int]:
        """Send a secret somewhere; answer status, body if any, and how many round trips it took."""
        before = self.trips
        answer = await self._http.post(path, data={"token": secret}, headers={"Authorization": f"Bearer {key}"})
        return answer.status_code, answer.json() if answer.content else None, self.trips - before


async def settled(tokens: AsyncSessionTokens, key: ServiceKey) -> None:
    """Wait until the first use of a key is written down, which is done in the background."""
    for _ in range(1_000):
        if await last_used(tokens.store, [key]):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("its use was not written down")


@pytest.fixture(name="url", params=["postgres", "valkey"])
def _url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


async def opened(url: str, pepper: Pepper) -> AsyncSessionTokens:
    return await AsyncSessionTokens.open(url, pepper=pepper, sweep=False)


@pytest.fixture(name="counted")
async def _counted(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Counted]:
    async with await opened(url, OLD) as tokens:
        yield Counted(tokens, monkeypatch)


async def test_key_and_record_are_read_together(counted: Counted) -> None:
    tokens = counted.tokens
    made = await create_key(tokens.store, "verify")
    key = made.secret
    session = await tokens.open_session("alice")
    held = await tokens.issue_token(session.id, "seat", transferable=True)
    free = await tokens.issue_token(None, "voucher")
    await counted.introspect(key, session.secret)
    await settled(tokens, made.key)

    for _ in range(3):
        for issued, sub in ((session, "alice"), (held, "alice"), (free, None)):
            status, body, trips = await counted.introspect(key, str(issued.secret))
            assert (status, body["active"], body.get("sub"), body["st_id"]) == (200, True, sub, issued.id)
            assert trips == 1
    await tokens.destroy_token(held.id)
    await tokens.destroy_session(session.id)
    for issued in (session, held):
        assert (await counted.introspect(key, str(issued.secret)))[:2] == (200, {"active": False})


async def test_what_is_unknown_costs_one_read(counted: Counted) -> None:
    tokens = counted.tokens
    made = await create_key(tokens.store, "revoke")
    opened = await tokens.open_session("alice")
    await counted.post("/revoke", made.secret, opened.secret)
    await settled(tokens, made.key)

    for prefix in (SESSION_SECRET, TOKEN_SECRET):
        for _ in range(2):
            revoked = await counted.post("/revoke", made.secret, new_secret(prefix))
            assert revoked == (200, None, 1)
    refused = await counted.post("/revoke", new_secret(KEY_SECRET), new_secret(TOKEN_SECRET))
    assert (refused[0], refused[2]) == (401, 1)


async def test_a_revocation_reads_once_and_commits(counted: Counted) -> None:
    tokens = counted.tokens
    made = await create_key(tokens.store, "revoke")
    sessions = [await tokens.open_session("alice") for _ in range(3)]
    free = [await tokens.issue_token(None, "voucher") for _ in range(3)]
    await counted.post("/revoke", made.secret, sessions[0].secret)
    await settled(tokens, made.key)
    for issued in (*sessions[1:], *free):
        status, _, trips = await counted.post("/revoke", made.secret, str(issued.secret))
        assert (status, trips <= 3) == (200, True)
        assert await tokens.verify_session(str(issued.secret)) is None
        assert await tokens.verify_token(str(issued.secret)) is None


async def test_what_was_read_along_is_nothing_without_a_living_key(counted: Counted) -> None:
    tokens = counted.tokens
    session = await tokens.open_session("alice", idle_timeout=60)
    issued = await create_key(tokens.store, "verify")
    revoking = (await create_key(tokens.store, "revoke")).secret
    assert (await counted.introspect(issued.secret, session.secret))[1]["active"]
    await revoke_key(tokens.store, issued.key.id)

    assert (await counted.introspect(issued.secret, session.secret))[0] == 401
    assert (await counted.introspect(revoking, session.secret))[0] == 403
    assert await tokens.get_session(session.id) == session.session  # and nobody has used it


async def test_a_bound_key_sees_no_more_than_before(counted: Counted) -> None:
    tokens = counted.tokens
    key = (await create_key(tokens.store, "verify", owner_prefix="app:")).secret
    theirs, others = await tokens.open_session("app:alice"), await tokens.open_session("bob")

    assert (await counted.introspect(key, theirs.secret))[1]["active"]
    assert (await counted.introspect(key, others.secret))[1] == {"active": False}


async def test_a_detached_session_and_an_unassigned_token_are_inactive(counted: Counted) -> None:
    tokens = counted.tokens
    key = (await create_key(tokens.store, "verify")).secret
    away = await tokens.open_session("alice", detachable=True)
    seat = await tokens.issue_token((await tokens.open_session("bob")).id, "seat", transferable=True)
    for secret in (away.secret, seat.secret):
        assert (await counted.introspect(key, secret))[1]["active"]
    await tokens.detach_session(away.id)
    await tokens.destroy_sessions("bob")

    for secret in (away.secret, seat.secret, "sts_nonsense", "stt_nonsense", ""):
        assert (await counted.introspect(key, secret))[1] == {"active": False}


async def test_what_stands_under_an_older_pepper_is_found(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await opened(url, {"a": OLD}) as before:
        made = await create_key(before.store, "verify")
        key = made.secret
        session, token = await before.open_session("alice"), await before.issue_token(None, "voucher")
        old = await before.open_session("bob")
    async with await opened(url, {"b": NEW, "a": OLD}) as tokens:
        counted = Counted(tokens, monkeypatch)
        for _ in range(3):
            for issued in (session, token):
                status, body, _ = await counted.introspect(key, str(issued.secret))
                assert (status, body["active"], body["st_id"]) == (200, True, issued.id)
        await settled(tokens, made.key)
        assert (await counted.introspect(key, str(token.secret)))[2] == 1
        await tokens.rotate_session(old.id)
        assert (await counted.introspect(key, old.secret))[1] == {"active": False}


def damage(url: str, id: str) -> None:
    """Put another MAC on the record of a token."""
    if url.startswith("postgresql"):
        with psycopg.connect(url) as connection:
            connection.execute("UPDATE session_tokens.tokens SET mac = '?' || mac WHERE id = %s", (id,))
        return
    address, _, prefix = url.partition("?namespace=")
    with valkey.Valkey.from_url(address) as client:
        (key,) = client.keys(f"{{{prefix}:00}}:t:{id}")
        head, mac, row = client.get(key).split(b"\n", 2)
        client.set(key, b"%016d%b\n?%b\n%b" % (int(head[:16]) - 1, head[16:], mac, row))


async def test_a_record_that_cannot_be_read_is_inactive_and_the_key_stays_good(url: str, counted: Counted) -> None:
    tokens = counted.tokens
    key = (await create_key(tokens.store, "verify")).secret
    torn, whole = await tokens.issue_token(None, "voucher"), await tokens.issue_token(None, "voucher")
    for issued in (torn, whole):
        assert (await counted.introspect(key, str(issued.secret)))[1]["active"]
    damage(url, torn.id)

    for _ in range(2):
        assert (await counted.introspect(key, str(torn.secret)))[:2] == (200, {"active": False})
        assert (await counted.introspect(key, str(whole.secret)))[1]["active"]
    assert (await counted.introspect(new_secret(KEY_SECRET), str(torn.secret)))[0] == 401


async def test_a_file_that_nobody_wrote_to_is_asked_for_its_version_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/tokens.db"
    async with await opened(url, OLD) as tokens, await opened(url, OLD) as other:
        made = await create_key(tokens.store, "verify")
        first, second = await tokens.open_session("alice"), await tokens.issue_token(None, "voucher")
        http = httpx.AsyncClient(transport=httpx.ASGITransport(Service(tokens)), base_url="http://service.test")
        statements = traced(tokens.store)

        async def introspect(secret: str | None) -> tuple[int, Any, list[str]]:
            statements.clear()
            answer = await http.post(
                "/introspect", data={"token": secret}, headers={"Authorization": f"Bearer {made.secret}"}
            )
            return answer.status_code, answer.json(), [text.partition(" ")[0] for text in statements]

        assert (await introspect(first.secret))[1]["active"]
        await settled(tokens, made.key)
        for issued in (first, second):
            assert (await introspect(issued.secret))[1]["active"]
        for issued in (first, second):
            status, body, asked = await introspect(issued.secret)
            assert (status, body["active"], body["st_id"]) == (200, True, issued.id)
            assert set(asked) <= {"PRAGMA"}  # not even that where the system shows that nobody wrote
        await other.open_session("bob")
        assert "SELECT" in (await introspect(first.secret))[2]

        await other.destroy_session(first.id)
        await other.destroy_token(second.id)
        for issued in (first, second):
            assert (await introspect(issued.secret))[:2] == (200, {"active": False})
        await revoke_key(other.store, made.key.id)
        assert (await introspect(first.secret))[0] == 401


def traced(store: Any) -> list[str]:
    """Return what this thread's reader of an SQLite file is asked, from now on."""
    assert isinstance(store, SqliteStore)
    statements: list[str] = []
    reader = store._readers.take()
    reader.connection.set_trace_callback(statements.append)
    store._readers.give(reader)
    return statements
