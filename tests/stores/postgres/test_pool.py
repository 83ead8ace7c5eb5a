"""PostgreSQL's connections and what is said over them: who waits is served in turn, and every text arrives as it is."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, Settings, StoreUnavailable
from session_tokens.contract.optimistic import OptimisticStore
from session_tokens.stores.common.pools import AsyncLink, Link
from session_tokens.stores.postgres.connections import Talk
from session_tokens.stores.postgres.pool import BoundedAsyncConnection
from session_tokens.stores.postgres.queries import Statement
from session_tokens.stores.postgres.store import BlockingPostgresStore, open_postgres, open_postgres_blocking
from tests.helpers.at_once import in_a_child, outcomes_at_once
from tests.helpers.waiting import wait_until

PEPPER = bytes(range(32))
PATIENCE_S = 60
MANY = Settings(max_sessions=None)
LONG = "é" * 7_000  # a value may have 16 KiB
AWKWARD = ('quo"te', "back\\slash", "{brace,comma}", "NULL", "null", "two  spaces", "100 %s %", "$1", "'; --", "\\")


def opened(url: str, options: str = "timeout=20") -> BlockingPostgresStore:
    return open_postgres_blocking(f"{url}?{options}", pepper=PEPPER)


def test_who_waits_longest_gets_the_connection_that_comes_back(postgres_url: str) -> None:
    """Nobody who comes later takes it away, however often the one connection changes hands."""
    store = opened(postgres_url, "timeout=20&pool_size=1")
    pool, order = store._pool, []
    held = pool.take(20)

    def take(number: int) -> None:
        talk = pool.take(20)
        order.append(number)
        pool.give(talk)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(6)]
    for count, thread in enumerate(threads):
        thread.start()
        while len(pool._waiters) == count:
            time.sleep(0.001)
    pool.give(held)
    for thread in threads:
        thread.join()

    assert list(range(6)) == order
    store.close_now()


def test_a_thread_that_gave_up_waiting_costs_no_connection(postgres_url: str) -> None:
    store = opened(postgres_url, "timeout=20&pool_size=1")
    held = store._pool.take(1)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="pool_size"):
            store._pool.take(0.01)
    store._pool.give(held)

    assert store.read_now([]).now > 0
    store.close_now()


def test_who_waited_for_leave_to_connect_has_what_is_left_of_the_time(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(postgres_url, "timeout=20&pool_size=1")
    pool, connect, times_s = store._pool, store._pool._links.connect, list[float]()

    def timed(timeout_s: float, step_s: float) -> Link:
        times_s.append(timeout_s)
        return connect(timeout_s, step_s)

    held, taken = pool.take(20), list[Link]()
    monkeypatch.setattr(pool._links, "connect", timed)
    thread = threading.Thread(target=lambda: taken.append(pool.take(20)))
    thread.start()
    wait_until(lambda: len(pool._waiters) == 1)
    held.close()
    pool.give(held)
    thread.join()
    pool.give(taken[0])

    assert len(times_s) == 1 and 0 < times_s[0] < 20
    store.close_now()


async def test_a_task_that_waited_for_leave_to_connect_has_what_is_left_of_the_time(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_postgres(postgres_url + "?timeout=20&pool_size=1", pepper=PEPPER)
    pool, connect, times_s = store._pool, store._pool._links.connect_async, list[float]()

    async def timed(timeout_s: float, step_s: float) -> AsyncLink:
        times_s.append(timeout_s)
        return await connect(timeout_s, step_s)

    held = await pool.take(20)
    monkeypatch.setattr(pool._links, "connect_async", timed)
    waiting = asyncio.create_task(pool.take(20))
    await asyncio.sleep(0)
    held.close()
    held.when_free(pool._give)
    (await waiting).when_free(pool._give)

    assert len(times_s) == 1 and 0 < times_s[0] < 20
    await store.close()


def test_who_waited_for_a_connection_asks_with_what_is_left_of_the_time(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(postgres_url, "timeout=20&pool_size=1")
    pool, times_s = store._pool, list[float]()
    held = pool.take(20)
    ask = type(held).ask

    def timed(link: Link, step: Any, timeout_s: float) -> Any:
        times_s.append(timeout_s)
        return ask(link, step, timeout_s)

    monkeypatch.setattr(type(held), "ask", timed)
    thread = threading.Thread(target=pool.ask_one, args=(20, Statement("SELECT 1", ())))
    thread.start()
    wait_until(lambda: len(pool._waiters) == 1)
    time.sleep(0.01)
    pool.give(held)
    thread.join()

    assert len(times_s) == 1 and 0 < times_s[0] < 20 - 0.01
    store.close_now()


async def test_a_task_that_waited_for_a_connection_asks_with_what_is_left_of_the_time(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_postgres(postgres_url + "?timeout=20&pool_size=1", pepper=PEPPER)
    pool, times_s = store._pool, list[float]()
    held = await pool.take(20)
    ask = type(held).ask

    async def timed(link: AsyncLink, step: Any, timeout_s: float) -> Any:
        times_s.append(timeout_s)
        return await ask(link, step, timeout_s)

    monkeypatch.setattr(type(held), "ask", timed)
    asking = asyncio.create_task(pool.ask_one(20, Statement("SELECT 1", ())))
    await asyncio.sleep(0.01)
    held.when_free(pool._give)
    await asking

    assert len(times_s) == 1 and 0 < times_s[0] < 20 - 0.01
    await store.close()


def test_closing_wakes_those_who_wait(postgres_url: str) -> None:
    store = opened(postgres_url, "timeout=20&pool_size=1")
    held = store._pool.take(1)
    said: list[str] = []

    def wait() -> None:
        try:
            store._pool.take(20)
        except StoreUnavailable as error:
            said.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: len(store._pool._waiters) == 1)
    store.close_now()
    thread.join()
    store._pool.give(held)

    assert 1 == len(said) and "closed" in said[0]


def test_commands_on_one_owner_take_turns_after_a_refusal(postgres_url: str) -> None:
    """Each of n is refused a few times, not n times: refused commits cost the connections of everybody else."""
    store = opened(postgres_url)
    with SessionTokens(store, Settings(max_sessions=2)) as tokens:
        outcomes = outcomes_at_once(32, lambda number: tokens.open_session("ann"))

        assert {"done": 32} == outcomes
        assert store.conflicts <= 3 * 32
        assert store.conflict_queue is not None and not any(turn.locked() for turn in store.conflict_queue._turns)


async def test_tasks_on_one_owner_take_turns_after_a_refusal(postgres_url: str) -> None:
    store = await open_postgres(postgres_url + "?timeout=20", pepper=PEPPER)
    tokens = AsyncSessionTokens(store, Settings(max_sessions=2))
    await asyncio.gather(*(tokens.open_session("ann") for _ in range(32)))

    assert isinstance(store, OptimisticStore) and store.conflicts <= 3 * 32
    assert store.conflict_queue is not None and not any(turn.locked() for turn in store.conflict_queue._turns)
    await tokens.close()


@pytest.mark.parametrize("prepared", ["on", "off"])
def test_awkward_names_are_names(postgres_url: str, prepared: str) -> None:
    with SessionTokens(opened(postgres_url, f"timeout=20&prepared={prepared}"), MANY) as tokens:
        sessions = {name: tokens.open_session(name, label=name, idempotency_key=name) for name in AWKWARD}
        for name, issued in sessions.items():
            token = tokens.issue_token(issued.id, {name: name}, transferable=True)
            tokens.transfer_token(token.id, giver=name, receiver=f"{name} too")

            assert [name] == [session.label for session in tokens.list_sessions(name).items]
            again = tokens.open_session(name, label=name, idempotency_key=name)
            assert (issued.id, issued.secret, name) == (again.id, again.secret, again.session.label)
            assert [{name: name}] == [token.value for token in tokens.list_tokens(owner=f"{name} too").items]
            tokens.disable_owner(name)
            assert [] == tokens.list_sessions(name).items


def test_a_command_longer_than_the_sockets_buffer_arrives_whole(postgres_url: str) -> None:
    """An heir gets all of the tokens in one commit of some megabytes."""
    with SessionTokens(opened(postgres_url), Settings(max_sessions=1)) as tokens:
        first = tokens.open_session("ann")
        issued = [tokens.issue_token(first.id, f"{number} {LONG}", transferable=True) for number in range(150)]
        second = tokens.open_session("ann")

        listed = tokens.list_tokens(session=second.id, limit=200).items
        assert {one.id for one in issued} == {token.id for token in listed}
        assert {f"{number} {LONG}" for number in range(150)} == {token.value for token in listed}


async def test_commands_of_tasks_longer_than_the_sockets_buffer_arrive_whole(postgres_url: str) -> None:
    tokens = AsyncSessionTokens(await open_postgres(postgres_url + "?timeout=20", pepper=PEPPER), MANY)
    sessions = [await tokens.open_session(f"owner{number}") for number in range(10)]
    issued = await asyncio.gather(
        *(tokens.issue_token(sessions[number % 10].id, f"{number} {LONG}") for number in range(300))
    )
    verified = await asyncio.gather(*(tokens.verify_token(one.secret) for one in issued))

    assert [f"{number} {LONG}" for number in range(300)] == [token and token.value for token in verified]
    await tokens.close()


async def test_callers_who_leave_cost_no_connection(postgres_url: str) -> None:
    """The answer is read to its end by the connection itself, which is then as good as new."""
    store = await open_postgres(postgres_url + "?timeout=20", pepper=PEPPER)
    tokens = AsyncSessionTokens(store, MANY)
    issued = await tokens.open_session("ann")
    assert await tokens.verify_session(issued.secret) is not None
    for _ in range(20):
        task = asyncio.create_task(tokens.verify_session(issued.secret))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await tokens.verify_session(issued.secret) is not None

    assert store._pool._idle.made <= 4
    await tokens.close()


def _pid_of(link: Link) -> int:
    assert isinstance(link, Talk)
    return link.pgconn.backend_pid


def test_a_forked_process_talks_over_connections_of_its_own(postgres_url: str) -> None:
    """Over its parent's it would hear the parent's answers, or end them by closing."""
    store = opened(postgres_url)
    with SessionTokens(store, MANY) as tokens:
        secret = tokens.open_session("ann").secret
        talk = store._pool.take(20)
        of_the_parent = _pid_of(talk)
        store._pool.give(talk)

        def act() -> None:
            own = store._pool.take(20)
            assert _pid_of(own) != of_the_parent
            store._pool.give(own)
            assert tokens.verify_session(secret) is not None
            tokens.close()

        assert 0 == in_a_child(act)
        talk = store._pool.take(20)
        assert of_the_parent == _pid_of(talk)
        store._pool.give(talk)
        assert tokens.verify_session(secret) is not None


async def test_a_close_that_was_cancelled_is_made_good_by_the_next(postgres_url: str) -> None:
    """As by ``asyncio.timeout`` around a shutdown, while somebody still waits for an answer."""
    store = await open_postgres(postgres_url, pepper=PEPPER)
    talk = await store._pool.take(20)
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    assert store._pool._free.locked(), "it waits for that one, and has all others"
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    talk.when_free(store._pool._give)

    assert not talk.is_whole, "who gives a connection back after that closes it"
    async with asyncio.timeout(PATIENCE_S):
        await store.close()


async def test_a_task_that_is_cancelled_while_a_connection_is_made_ready_closes_it(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_postgres(postgres_url, pepper=PEPPER)
    making_ready, made = BoundedAsyncConnection.set_autocommit, list[BoundedAsyncConnection]()

    async def cancelled_meanwhile(self: BoundedAsyncConnection, value: bool) -> None:
        made.append(self)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)  # as the driver does there where the loop has been busy
        await making_ready(self, value)

    monkeypatch.setattr(BoundedAsyncConnection, "set_autocommit", cancelled_meanwhile)
    for act in (lambda: store._pool.take(20), store.count):
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(act())

    assert [True, True] == [connection.closed for connection in made]
    monkeypatch.undo()
    await store.close()
