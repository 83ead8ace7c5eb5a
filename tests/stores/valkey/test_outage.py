"""The Valkey store when the server or the way to it fails: nothing twice, nothing crossed, and it recovers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TypeVar

import pytest
import valkey

from session_tokens import AsyncSessionTokens, Issued, Session, SessionTokens, Settings, StoreUnavailable
from session_tokens.stores.valkey.store import open_valkey, open_valkey_blocking
from tests.helpers.effort import times
from tests.helpers.servers.proxy import Fate, always, proxy_to, sometimes, through
from tests.helpers.servers.valkey import (
    ValkeyServer,
    shared_server,
)
from tests.helpers.waiting import until_answered, values_listed

T = TypeVar("T")

PEPPER = bytes(range(32))
COMMANDS = times(4_000, proving=100_000)
CANCELLATIONS = times(4_000, proving=1_000_000)
PATIENCE_S = 30


# --- lost replies ---


async def test_commands_with_lost_replies_and_idempotency_keys_are_applied_exactly_once(valkey_url: str) -> None:
    """Replies and requests get lost; each command is sent again under its key until it is answered."""
    chance = random.Random(11)
    sessions_count, tasks_count = 20, 50
    with proxy_to(shared_server().port) as proxy:
        store = await open_valkey(through(proxy, valkey_url, "&timeout=5"), pepper=PEPPER)
        tokens = AsyncSessionTokens(store, Settings(max_sessions=None))
        sessions = [(await tokens.open_session("alice")).id for _ in range(sessions_count)]
        proxy.reply_fate = sometimes(chance, 0.12, "cut", "truncate")
        proxy.request_fate = sometimes(chance, 0.03, "drop", "truncate")
        asked = next_number = 0
        issued: dict[int, Issued] = {}

        async def issue(number: int) -> Issued:
            async def once() -> Issued:
                nonlocal asked
                asked += 1
                return await tokens.issue_token(
                    sessions[number % sessions_count], number, idempotency_key=f"command {number}"
                )

            return await until_answered(once)

        def is_enough() -> bool:
            """Whether as many commands were carried out as are wanted, and as much was lost as chance will have it."""
            return next_number >= COMMANDS and proxy.lost > 50 and asked - next_number > COMMANDS // 10

        async def work() -> None:
            nonlocal next_number
            while not is_enough():
                number, next_number = next_number, next_number + 1
                assert number < 20 * COMMANDS, "nothing is lost on the way"
                issued[number] = await issue(number)

        await asyncio.gather(*(work() for _ in range(tasks_count)))
        proxy.heal()

        assert len({answer.id for answer in issued.values()}) == len(issued) == next_number
        assert sorted(await values_listed(tokens)) == list(range(next_number))
        for number in chance.sample(range(COMMANDS), 200):
            token = await until_answered(lambda number=number: tokens.verify_token(issued[number].secret))  # type: ignore[misc]  # the argument is bound here
            assert token is not None and (token.id, token.value) == (issued[number].id, number)
        assert await store.check() == []
        await tokens.close()


@pytest.mark.parametrize("fate", ["cut", "truncate"])
async def test_a_commit_whose_reply_is_lost_is_unknown_and_its_key_tells(valkey_url: str, fate: Fate) -> None:
    with proxy_to(shared_server().port) as proxy:
        tokens = AsyncSessionTokens(await open_valkey(through(proxy, valkey_url), pepper=PEPPER))
        session = await tokens.open_session("alice")
        await tokens.issue_token(session.id, "before")
        proxy.reply_fate = lambda piece: fate if piece.startswith(b"*2\r\n:") else "pass"  # of commits alone
        with pytest.raises(StoreUnavailable, match="idempotency key"):
            await tokens.issue_token(session.id, "v", idempotency_key="k")
        proxy.heal()
        first = await tokens.issue_token(session.id, "v", idempotency_key="k")
        again = await tokens.issue_token(session.id, "v", idempotency_key="k")

        assert first.secret == again.secret
        assert [token.value for token in (await tokens.list_tokens()).items].count("v") == 1
        await tokens.close()


@pytest.mark.parametrize("fate", ["cut", "truncate", "drop"])
async def test_a_read_that_is_lost_once_is_answered_all_the_same(valkey_url: str, fate: Fate) -> None:
    with proxy_to(shared_server().port) as proxy:
        tokens = AsyncSessionTokens(await open_valkey(through(proxy, valkey_url), pepper=PEPPER))
        issued = await tokens.open_session("alice")
        fates: list[Fate] = [fate]
        proxy.reply_fate = lambda piece: fates.pop() if fates else "pass"

        assert await tokens.verify_session(issued.secret) == issued.session
        assert not fates
        await tokens.close()


# --- time-outs, and a server that is gone ---


@pytest.mark.parametrize("fate", ["swallow", "delay"])
async def test_a_server_that_does_not_answer_in_time_is_unavailable_and_never_not_valid(
    valkey_url: str, fate: Fate
) -> None:
    with proxy_to(shared_server().port) as proxy:
        tokens = AsyncSessionTokens(await open_valkey(through(proxy, valkey_url, "&timeout=0.1"), pepper=PEPPER))
        issued = await tokens.open_session("alice")
        proxy.delay_s = 0.3
        proxy.reply_fate = always(fate)
        with pytest.raises(StoreUnavailable):
            await tokens.verify_session(issued.secret)
        with pytest.raises(StoreUnavailable):
            await tokens.rotate_session(issued.id)
        proxy.heal()

        session = await until_answered(lambda: tokens.get_session(issued.id))
        assert isinstance(session, Session)
        await tokens.close()


def test_blocking_calls_follow_the_same_policy(valkey_url: str) -> None:
    with proxy_to(shared_server().port) as proxy:
        store = open_valkey_blocking(through(proxy, valkey_url, "&timeout=0.1"), pepper=PEPPER)
        with SessionTokens(store) as tokens:
            issued = tokens.open_session("alice")
            fates: list[Fate] = ["cut"]
            proxy.reply_fate = lambda piece: fates.pop() if fates else "pass"
            assert tokens.verify_session(issued.secret) == issued.session

            proxy.reply_fate = always("swallow")
            with pytest.raises(StoreUnavailable):
                tokens.verify_session(issued.secret)
            proxy.heal()
            assert tokens.verify_session(issued.secret) == issued.session


async def test_the_breaker_opens_while_the_server_is_gone_and_closes_by_itself(valkey_url: str) -> None:
    with proxy_to(shared_server().port) as proxy:
        store = await open_valkey(through(proxy, valkey_url), pepper=PEPPER)
        tokens = AsyncSessionTokens(store)
        issued = await tokens.open_session("alice")
        proxy.refusing, proxy.reply_fate = True, always("drop")
        for _ in range(10):
            with pytest.raises(StoreUnavailable):
                await tokens.verify_session(issued.secret)
        with pytest.raises(StoreUnavailable) as stopped:
            await tokens.verify_session(issued.secret)
        assert "retry_after_ms" in stopped.value.details
        proxy.heal()

        assert await until_answered(lambda: tokens.verify_session(issued.secret)) == issued.session
        await tokens.close()


async def test_a_server_killed_and_started_again_under_load_loses_nothing_that_was_answered(
    private_valkey: Callable[..., ValkeyServer],
) -> None:
    server = private_valkey("--appendonly", "yes", "--appendfsync", "always")
    tokens = AsyncSessionTokens(await open_valkey(server.url, pepper=PEPPER), Settings(max_sessions=None))
    answered: list[Issued] = []
    ended: set[str] = set()
    stop, one_more = asyncio.Event(), asyncio.Event()

    async def work(owner: str) -> None:
        while not stop.is_set():
            try:
                issued = await tokens.open_session(owner)
                answered.append(issued)
                one_more.set()
                if len(answered) % 3 == 0:
                    await tokens.destroy_session(issued.id)
                    ended.add(issued.id)
            except StoreUnavailable:
                await asyncio.sleep(0.01)

    async def reach(count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(answered) < count:
                one_more.clear()
                await one_more.wait()

    workers = [asyncio.create_task(work(f"owner {place}")) for place in range(8)]
    for _ in range(3):
        await reach(len(answered) + 50)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
    await reach(len(answered) + 50)
    stop.set()
    await asyncio.gather(*workers)

    for issued in answered:
        session = await until_answered(lambda issued=issued: tokens.verify_session(issued.secret))  # type: ignore[misc]  # the argument is bound here
        # An end whose reply was lost may have happened.
        assert (session is None) or issued.id not in ended
        if session is None and issued.id not in ended:
            told = await tokens.get_session(issued.id)
            assert told is None or told.end_reason == "logout"
    assert await tokens.store.check() == []  # type: ignore[attr-defined]  # of this store
    await tokens.close()


async def test_a_function_library_that_was_lost_is_loaded_again(private_valkey: Callable[..., ValkeyServer]) -> None:
    server = private_valkey()
    tokens = AsyncSessionTokens(await open_valkey(server.url, pepper=PEPPER))
    with SessionTokens(open_valkey_blocking(server.url, pepper=PEPPER)) as blocking:
        issued = await tokens.open_session("alice")
        command(server, "FUNCTION", "FLUSH")
        assert (await tokens.issue_token(issued.id, "v")).token.value == "v"
        command(server, "FUNCTION", "FLUSH")
        assert blocking.open_session("bob").session.owner == "bob"
        for _ in range(3):  # the second time a way is made, which plain commands read, and only the time is a function
            assert await tokens.verify_session(issued.secret) == issued.session
            assert blocking.verify_session(issued.secret) == issued.session
        command(server, "FUNCTION", "FLUSH")
        assert await tokens.verify_session(issued.secret) == issued.session
        command(server, "FUNCTION", "FLUSH")
        assert blocking.verify_session(issued.secret) == issued.session

        server.kill()  # without persistence everything is gone, but the store works
        server.start()
        again = await until_answered(lambda: tokens.open_session("alice"))
        assert await tokens.verify_session(again.secret) == again.session
        assert await tokens.verify_session(issued.secret) is None
        command(server, "FLUSHALL")
        assert (await tokens.open_session("alice")).session.owner == "alice"
    await tokens.close()


def command(server: ValkeyServer, *words: str) -> object:
    with valkey.from_url(server.url) as client:  # type: ignore[no-untyped-call]  # the driver's
        return client.execute_command(*words)


async def test_what_a_server_refuses_is_unavailable_with_its_remedy(
    private_valkey: Callable[..., ValkeyServer],
) -> None:
    server = private_valkey()
    tokens = AsyncSessionTokens(await open_valkey(server.url, pepper=PEPPER))
    issued = await tokens.open_session("alice")
    command(server, "CONFIG", "SET", "maxmemory", "1")
    for _ in range(10):  # more than open the breaker
        with pytest.raises(StoreUnavailable, match="out of memory"):
            await tokens.open_session("bob")
    assert await tokens.verify_session(issued.secret) == issued.session
    command(server, "CONFIG", "SET", "maxmemory", "0")

    command(server, "CONFIG", "SET", "min-replicas-to-write", "1")
    with pytest.raises(StoreUnavailable, match="too few replicas"):
        await tokens.open_session("bob")
    command(server, "CONFIG", "SET", "min-replicas-to-write", "0")

    primary = private_valkey()
    command(server, "REPLICAOF", "127.0.0.1", str(primary.port))
    with pytest.raises(StoreUnavailable, match="read-only replica"):
        await tokens.open_session("bob")
    await tokens.close()


async def test_a_replicated_commit_is_answered_when_a_replica_has_it(
    private_valkey: Callable[..., ValkeyServer],
) -> None:
    primary, replica = private_valkey("--repl-diskless-sync-delay", "0"), private_valkey()
    url = f"{primary.url}?durability=replicated&replicas=1"
    tokens = AsyncSessionTokens(await open_valkey(url, pepper=PEPPER))
    with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
        await tokens.open_session("alice")
    command(replica, "REPLICAOF", "127.0.0.1", str(primary.port))
    issued = await until_answered(lambda: tokens.open_session("alice"))
    await tokens.close()
    primary.kill()
    command(replica, "REPLICAOF", "NO", "ONE")

    async with AsyncSessionTokens(await open_valkey(replica.url, pepper=PEPPER)) as after:
        assert await after.verify_session(issued.secret) == issued.session


# --- cancelled calls ---


async def test_cancelled_calls_never_cross_answers(valkey_url: str) -> None:
    """Each owner is a canary: a verification that answers another owner's session has crossed."""
    chance = random.Random(5)
    store = await open_valkey(valkey_url + "&timeout=20", pepper=PEPPER)
    tokens = AsyncSessionTokens(store, Settings(max_sessions=None))
    issued = [await tokens.open_session(f"canary {number}") for number in range(64)]
    crossed = cancelled = answered = 0

    async def verify(number: int) -> None:
        nonlocal crossed, answered
        session = await tokens.verify_session(issued[number].secret)
        crossed += session is None or session.owner != f"canary {number}"
        answered += 1

    async def label(number: int) -> None:
        nonlocal crossed, answered
        session = await tokens.change_session(issued[number].id, label=f"canary {number}")
        crossed += (session.owner, session.label) != (f"canary {number}", f"canary {number}")
        answered += 1

    while cancelled < CANCELLATIONS:
        tasks = [
            asyncio.create_task((label if chance.random() < 0.1 else verify)(chance.randrange(64))) for _ in range(200)
        ]
        for _ in range(chance.randrange(12)):
            await asyncio.sleep(0)
        for task in tasks:
            if chance.random() < 0.8:
                task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        cancelled += sum(isinstance(end, asyncio.CancelledError) for end in ends)
        assert not [end for end in ends if isinstance(end, Exception)]

    assert crossed == 0
    assert answered > CANCELLATIONS // 20
    for number, secret in enumerate(one.secret for one in issued):
        session = await tokens.verify_session(secret)
        assert session is not None and session.owner == f"canary {number}"
    await tokens.close()
