"""`valkey+sentinel://`: the primary that Sentinels name is followed through fail-overs, and no other is believed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, StoreError, StoreUnavailable
from session_tokens.stores.valkey.connections import NoTimeLeft
from session_tokens.stores.valkey.primaries import ASK_EVERY_S, Question, WatchedPrimary
from session_tokens.stores.valkey.store import open_valkey, open_valkey_blocking
from tests.helpers.acknowledged import Acknowledged
from tests.helpers.effort import PROVING, times
from tests.helpers.near_caches import answers_near
from tests.helpers.servers.failover import command
from tests.helpers.servers.ports import free_port
from tests.helpers.servers.sentinels import DOWN_AFTER_MS, NAME, Sentinel, watched
from tests.helpers.servers.valkey import ValkeyServer
from tests.helpers.waiting import eventually, wait_until

pytestmark = pytest.mark.server

Start = Callable[..., ValkeyServer]
PEPPER = bytes(range(32))
TURNS = times(5, proving=50)
SILENT_TURNS = times(5, proving=30)


async def test_a_fail_over_is_followed_and_loses_nothing_that_a_replica_confirmed(private_valkey: Start) -> None:
    """For asyncio and for threads; the old primary comes back as it was started, and nobody believes it."""
    with watched(private_valkey, 2, 3) as group:
        store = await Acknowledged.at(f"{group.url}?durability=replicated&replicas=1")
        await store.write(TURNS)
        old = await asyncio.to_thread(group.primary)
        writing = asyncio.create_task(store.write(2 * TURNS))
        await asyncio.sleep(0)
        old.kill()
        await writing
        await asyncio.to_thread(wait_until, lambda: group.primary() is not old)  # one Sentinel hears it of another
        old.start()  # as it was started: for some seconds it says that it is a primary
        await store.write(TURNS)

        if PROVING:  # one by hand too, which Sentinels allow when they have heard of all replicas
            await asyncio.to_thread(wait_until, group.sentinels[0].fails_over)
            await store.write(TURNS)

        assert len(store.issued) >= 20 * TURNS
        assert await store.lost() == []
        await store.close()


def test_a_woken_primary_that_was_replaced_is_not_believed(private_valkey: Start) -> None:
    """It goes on as a primary until a Sentinel demotes it, seconds later, and open connections to it stay open."""
    with (
        watched(private_valkey, 1, 1) as group,
        SessionTokens(open_valkey_blocking(group.url, pepper=PEPPER)) as idle,
    ):
        issued = idle.open_session("alice")
        assert idle.verify_session(issued.secret) == idle.verify_session(issued.secret) == issued.session
        old = group.primary()
        old.pause()
        try:
            wait_until(lambda: group.primary() is not old)
            with SessionTokens(eventually(lambda: open_valkey_blocking(group.url, pepper=PEPPER))) as other:
                eventually(lambda: other.destroy_session(issued.id))
        finally:
            old.resume()

        assert eventually(lambda: idle.verify_session(issued.secret)) is None


def test_a_near_cache_follows_no_primary_that_the_sentinels_name_no_more(private_valkey: Start) -> None:
    """The server itself is not told: it goes on as a primary, and as far as it knows nothing has changed."""
    first, second = private_valkey(), private_valkey()
    with one_sentinel(first) as sentinel:
        url = f"valkey+sentinel://127.0.0.1:{sentinel.port}/{NAME}"
        with SessionTokens.open(url, pepper=PEPPER, near_cache=1, sweep=False) as reader:
            issued = reader.open_session("ann")
            wait_until(lambda: answers_near(reader, issued.secret))
            command(sentinel, "SENTINEL", "REMOVE", NAME)
            command(sentinel, "SENTINEL", "MONITOR", NAME, "127.0.0.1", str(second.port), "1")

            wait_until(lambda: eventually(lambda: reader.verify_session(issued.secret)) is None)


# --- what does not open, and why ---


@contextmanager
def one_sentinel(server: ValkeyServer, *lines: str) -> Iterator[Sentinel]:
    """Run a Sentinel that watches a server."""
    sentinel = Sentinel(server, 1, *lines)
    try:
        sentinel.start()
        yield sentinel
    finally:
        sentinel.remove()


async def refusal(url: str) -> StoreError:
    """Return what both shells say, which should be one thing."""
    with pytest.raises(StoreError) as blocking:
        open_valkey_blocking(url, pepper=PEPPER)
    with pytest.raises(StoreError) as for_asyncio:
        await open_valkey(url, pepper=PEPPER)
    assert (type(blocking.value), str(blocking.value)) == (type(for_asyncio.value), str(for_asyncio.value))
    return blocking.value


async def test_each_mistake_in_a_url_is_told_with_its_remedy(private_valkey: Start) -> None:
    server, silent = private_valkey(), free_port()
    with one_sentinel(server) as sentinel:
        at = f"127.0.0.1:{sentinel.port}"
        told = {
            f"{at}/other": "watch no primary of that name",
            f"127.0.0.1:{server.port}/{NAME}": "is no Sentinel; name the Sentinels",
            f"127.0.0.1:{silent}/{NAME}": "no Sentinel tells where the primary is .*are they running",
            f"{at}/{NAME}?timeout={DOWN_AFTER_MS / 1000}": "raise down-after-milliseconds, or give a shorter",
            f"{at}/{NAME}?sentinel_password=wrong": "no Sentinel tells where the primary is .*sentinel_password=",
        }
        for url, expected in told.items():
            error = await refusal(f"valkey+sentinel://{url}")
            assert not isinstance(error, StoreUnavailable) or "no Sentinel tells" in str(error)
            with pytest.raises(StoreError, match=expected):
                raise error
        error = await refusal(f"valkey://{at}/0")
        assert "that of a Sentinel" in str(error) and "valkey+sentinel://host:port/name" in str(error)


def test_one_sentinel_that_answers_is_enough(private_valkey: Start) -> None:
    server = private_valkey()
    with one_sentinel(server) as sentinel:
        hosts = f"127.0.0.1:{free_port()},127.0.0.1:{server.port},127.0.0.1:{sentinel.port}"
        with SessionTokens(open_valkey_blocking(f"valkey+sentinel://{hosts}/{NAME}", pepper=PEPPER)) as tokens:
            issued = tokens.open_session("alice")
            assert tokens.verify_session(issued.secret) == issued.session


@contextmanager
def frozen(sentinels: Sequence[Sentinel]) -> Iterator[None]:
    """Let Sentinels say nothing for the length of a block."""
    for sentinel in sentinels:
        sentinel.pause()
    try:
        yield
    finally:
        for sentinel in sentinels:
            sentinel.resume()


def test_sentinels_that_say_nothing_keep_no_thread_from_the_primary(private_valkey: Start) -> None:
    """Nor does one of them after another: each may take a part of the time, and all of them no more."""
    with (
        watched(private_valkey, 0, 3) as group,
        SessionTokens(open_valkey_blocking(f"{group.url}?timeout=1", pepper=PEPPER)) as tokens,
    ):
        issued = tokens.open_session("alice")
        with frozen(group.sentinels):
            for _ in range(SILENT_TURNS):
                time.sleep(ASK_EVERY_S)
                assert tokens.verify_session(issued.secret) == issued.session


async def test_sentinels_that_say_nothing_keep_no_task_from_the_primary(private_valkey: Start) -> None:
    with watched(private_valkey, 0, 3) as group:
        store = await open_valkey(f"{group.url}?timeout=1", pepper=PEPPER)
        async with AsyncSessionTokens(store) as tokens:
            issued = await tokens.open_session("alice")
            with frozen(group.sentinels):
                for _ in range(SILENT_TURNS):
                    await asyncio.sleep(ASK_EVERY_S)
                    assert await tokens.verify_session(issued.secret) == issued.session


def test_sentinels_may_have_a_password_of_their_own_or_none(private_valkey: Start) -> None:
    server = private_valkey("--requirepass", "horse")
    watching = f"sentinel auth-pass {NAME} horse"
    for lines, option in (
        (("requirepass battery",), "?sentinel_password=battery"),
        ((), "?sentinel_password="),
        (("requirepass horse",), ""),
    ):
        with one_sentinel(server, watching, *lines) as sentinel:
            url = f"valkey+sentinel://:horse@127.0.0.1:{sentinel.port}/{NAME}{option}"
            SessionTokens(open_valkey_blocking(url, pepper=PEPPER)).close()


# --- Sentinels that were cut off ---


def told(port: int, epoch: int) -> list[Any]:
    """Return what a Sentinel says that knows of so many fail-overs."""
    fields = [b"config-epoch", b"%d" % epoch, b"down-after-milliseconds", b"%d" % DOWN_AFTER_MS]
    return [[b"127.0.0.1", b"%d" % port], fields]


class Driver:
    """Where connections come from that are never made."""

    connection_class = object
    connection_kwargs = {"host": "one", "port": 1, "db": 3}  # noqa: RUF012  # as the driver has it


def located(primary: WatchedPrimary, replies: dict[str, list[Any] | Exception]) -> tuple[object, list[str]]:
    """Return to which port a connection goes, and which Sentinels were asked."""
    steps, asked = primary.locating(), []
    question: Question = next(steps)
    while True:
        asked.append(str(question.options["host"]))
        assert "db" not in question.options
        reply = replies[asked[-1]]
        try:
            question = steps.throw(reply) if isinstance(reply, Exception) else steps.send(reply)
        except StopIteration as stop:
            return stop.value["port"], asked


def test_a_sentinel_that_knows_of_fewer_fail_overs_is_passed_over() -> None:
    sentinels = [("one", 1), ("two", 2), ("three", 3)]
    primary = WatchedPrimary(Driver(), sentinels, NAME, (None, None), 1.0)
    gone = StoreUnavailable("gone")

    replies: dict[str, list[Any] | Exception] = {"one": told(7001, 0), "two": told(7002, 1), "three": gone}
    assert located(primary, replies) == (7002, ["one", "two", "three"])
    assert located(primary, replies) == (7002, ["one", "two"])
    assert located(primary, replies) == (7002, ["two"])
    with pytest.raises(StoreUnavailable, match="cut off"):
        located(primary, replies | {"two": gone})


def test_a_sentinel_for_which_no_time_was_left_is_asked_first_the_next_time() -> None:
    sentinels = [("one", 1), ("two", 2), ("three", 3)]
    primary = WatchedPrimary(Driver(), sentinels, NAME, (None, None), 1.0)
    silent = StoreUnavailable("silent")
    assert located(primary, {name: told(7001, 0) for name, _ in sentinels})[0] == 7001

    with pytest.raises(NoTimeLeft):
        located(primary, {"one": silent, "two": silent, "three": NoTimeLeft()})
    assert located(primary, {"three": told(7002, 1)}) == (7002, ["three"])
