"""Verifications out of a near cache: never older than its bound, whatever becomes of the server it follows."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, StoreUnavailable
from session_tokens.crypto.secret_form import PARTITIONS
from session_tokens.stores.common.following import BEAT_S
from session_tokens.stores.valkey.packing import pack
from session_tokens.stores.valkey.placement import Placement
from session_tokens.stores.valkey.resp3 import ErrorReply, Malformed, Push, Replies
from session_tokens.stores.valkey.tracking import Tracking
from tests.helpers.at_once import at_once, in_a_child
from tests.helpers.near_caches import BOUND_S, answers_near, stalest_s
from tests.helpers.servers.cluster import SLOTS, shared_cluster, slot_of_namespace
from tests.helpers.servers.failover import Pair, command, pair
from tests.helpers.servers.proxy import always
from tests.helpers.servers.valkey import ValkeyServer, client_of
from tests.helpers.waiting import PATIENCE_S, wait_until

Start = Callable[..., ValkeyServer]
PEPPER = bytes(range(32))
TIMEOUT_S = 2


def near_to(url: str) -> SessionTokens:
    return SessionTokens.open(url, pepper=PEPPER, near_cache=BOUND_S, sweep=False)


def far_from(url: str) -> SessionTokens:
    return SessionTokens.open(url, pepper=PEPPER, sweep=False)


@pytest.fixture(params=[pytest.param(place, marks=pytest.mark.server) for place in ("one server", "cluster")])
def url(request: pytest.FixtureRequest) -> str:
    """A store on one server, and one in 64 partitions of a cluster."""
    if request.param == "cluster":
        return f"{shared_cluster().url}?timeout=10&namespace=near{uuid.uuid4().hex[:8]}"
    made: str = request.getfixturevalue("valkey_url")
    return made


def test_what_ends_elsewhere_is_refused_at_once(url: str) -> None:
    with near_to(url) as reader, far_from(url) as writer:
        issued = writer.open_session("ann")
        token = writer.issue_token(issued.id, "deed", transferable=True)
        wait_until(lambda: answers_near(reader, issued.secret))
        wait_until(lambda: reader.verify_token(token.secret) and near_hit(reader, token.secret))
        writer.transfer_token(token.id, giver="ann", receiver="bea")
        writer.destroy_session(issued.id)
        until_s = time.monotonic() + BOUND_S
        wait_until(lambda: reader.verify_session(issued.secret) is None)
        wait_until(lambda: reader.verify_token(token.secret) is None)

        assert time.monotonic() < until_s


def near_hit(reader: SessionTokens, secret: str) -> bool:
    near = reader.store.near_cache
    assert near is not None
    hits = near.hits
    reader.verify_token(secret)
    return near.hits > hits


def test_all_sessions_of_an_owner_end_in_one_instant_here_too(url: str) -> None:
    """What they rest on is the owner's entry, which was not there when they were read."""
    with near_to(url) as reader, far_from(url) as writer:
        issued = [writer.open_session("ann") for _ in range(3)]
        for each in issued:
            wait_until(lambda each=each: answers_near(reader, each.secret))  # type: ignore[misc]  # mypy knows no such lambda
        writer.disable_owner("ann")
        until_s = time.monotonic() + BOUND_S
        for each in issued:
            wait_until(lambda each=each: reader.verify_session(each.secret) is None)  # type: ignore[misc]

        assert time.monotonic() < until_s


def test_own_writes_are_seen_at_once(url: str) -> None:
    with near_to(url) as tokens:
        issued = tokens.open_session("ann")
        for number in range(50):
            assert tokens.verify_session(issued.secret) is not None
            tokens.update_session_data(issued.id, {"number": number})
            session = tokens.verify_session(issued.secret)
            assert session is not None and session.data["number"] == number
            assert tokens.verify_session(issued.secret) is not None
        other = tokens.rotate_session(issued.id)
        assert tokens.verify_session(issued.secret) is None
        tokens.destroy_session(other.id)

        assert tokens.verify_session(other.secret) is None


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When something was asked over a connection that is tracked."""
    ask, asked = Tracking.ask, []

    def noted(self: Tracking, commands: Sequence[bytes], probe: bytes) -> Any:
        asked.append(time.monotonic())
        return ask(self, commands, probe)

    monkeypatch.setattr(Tracking, "ask", noted)
    return asked


def test_what_changes_with_each_request_is_not_read_over_the_one_connection_each_time(
    url: str, asked: list[float]
) -> None:
    """What would never be answered from here costs no more than without a near cache."""
    with near_to(url) as tokens:
        issued = tokens.open_session("ann")
        held = tokens.issue_token(issued.id, "deed", transferable=True)
        wait_until(lambda: answers_near(tokens, issued.secret) and answers_near(tokens, held.secret))
        for number in range(20):
            if number == 2:
                asked.clear()
            tokens.update_session_data(issued.id, {"number": number})
            session = tokens.verify_session(issued.secret)
            assert session is not None and session.data["number"] == number
            assert tokens.verify_token(held.secret) is not None

        assert [] == asked
        wait_until(lambda: answers_near(tokens, issued.secret) and answers_near(tokens, held.secret))


def test_what_others_change_is_seen_though_it_was_not_read_over_that_connection(url: str, asked: list[float]) -> None:
    with near_to(url) as reader, far_from(url) as writer:
        issued = writer.open_session("ann")
        wait_until(lambda: answers_near(reader, issued.secret))

        def read_elsewhere() -> None:
            for number in range(3):
                asked.clear()
                reader.update_session_data(issued.id, {"own": number})
                assert reader.verify_session(issued.secret) is not None
            assert [] == asked

        for number in range(5):
            read_elsewhere()
            writer.update_session_data(issued.id, {"other": number})
            session = reader.verify_session(issued.secret)
            assert session is not None and session.data["other"] == number
        read_elsewhere()
        writer.destroy_session(issued.id)

        assert reader.verify_session(issued.secret) is None


def test_own_writes_of_many_threads_are_seen_at_once(url: str) -> None:
    with near_to(url) as tokens:

        def lived(number: int) -> list[bool]:
            alive = []
            for _ in range(10):
                issued = tokens.open_session(f"owner {number}")
                alive.append(all(tokens.verify_session(issued.secret) is not None for _ in range(5)))
                tokens.destroy_session(issued.id)
                alive.append(tokens.verify_session(issued.secret) is None)
            return alive

        lives, refused = at_once(4, lived)

        assert refused == [] and all(all(life) for life in lives)


async def test_it_is_the_same_for_asyncio(url: str) -> None:
    reader = await AsyncSessionTokens.open(url, pepper=PEPPER, near_cache=BOUND_S, sweep=False)
    async with reader, await AsyncSessionTokens.open(url, pepper=PEPPER, sweep=False) as writer:
        near = reader.store.near_cache
        assert near is not None
        issued = await writer.open_session("ann")
        until_s = time.monotonic() + PATIENCE_S
        while not near.hits and time.monotonic() < until_s:
            assert await reader.verify_session(issued.secret) == issued.session
        assert near.hits
        changed = await writer.update_session_data(issued.id, {"seen": True})
        while await reader.verify_session(issued.secret) != changed:
            assert time.monotonic() < until_s
        await reader.destroy_session(issued.id)

        assert await reader.verify_session(issued.secret) is None


def test_an_idle_timeout_goes_on_while_answers_are_near(url: str) -> None:
    """A use that is due is written down; without uses what is near ends at its deadline, of which nobody tells."""
    with near_to(url) as reader, far_from(url) as writer:
        issued = writer.open_session("ann", idle_timeout=2)  # of a use that cannot be written the next comes in time
        deadline_s = time.monotonic() + 3
        while time.monotonic() < deadline_s:
            assert reader.verify_session(issued.secret) is not None
            time.sleep(0.01)
        near = reader.store.near_cache
        assert near is not None and near.hits > 0
        wait_until(lambda: reader.verify_session(issued.secret, touch=False) is None)

        assert writer.verify_session(issued.secret) is None


# --- faults ---


def cut(pair: Pair) -> None:
    """The server says no word any more to whoever follows it."""
    pair.promote_and_lose()
    pair.move(is_first_dead=False)
    pair.address.reply_fate = always("swallow")


def frozen(pair: Pair) -> None:
    pair.promote_and_lose()
    pair.move(is_first_dead=False)
    pair.first.pause()


def killed(pair: Pair) -> None:
    pair.promote_and_lose()
    pair.move()


def demoted(pair: Pair) -> None:
    """The first is a replica that hears of nothing: it answers, keeps its connections, and knows what it knew."""
    pair.promote_and_lose()
    pair.demote()
    pair.move(is_first_dead=False)


@pytest.mark.parametrize("fault", [cut, frozen, killed, demoted])
def test_no_answer_is_older_than_the_bound(private_valkey: Start, fault: Callable[[Pair], None]) -> None:
    """The session ends on the server that took over, and that is acknowledged."""
    with pair(private_valkey) as servers, near_to(servers.url) as reader:
        issued = reader.open_session("ann")
        try:
            stalest = stalest_s(reader, issued.secret, lambda: end_on_second(servers, fault, issued.id))
        finally:
            servers.address.heal()
            if fault is frozen:
                servers.first.resume()

        assert stalest <= BOUND_S


def end_on_second(servers: Pair, fault: Callable[[Pair], None], id: str) -> None:
    fault(servers)
    with far_from(servers.second.url) as writer:
        writer.destroy_session(id)


def test_a_ping_would_prove_nothing(private_valkey: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: with another beat a server that was demoted renews the lease for ever."""
    monkeypatch.setattr(Tracking, "beat_of", staticmethod(lambda key, probe: (pack([b"PING"]), 1)))
    with pair(private_valkey) as servers, near_to(servers.url) as reader:
        issued = reader.open_session("ann")
        stalest = stalest_s(reader, issued.secret, lambda: end_on_second(servers, demoted, issued.id))

        assert stalest > 2 * BOUND_S


@pytest.mark.server
def test_no_answer_is_older_than_the_bound_where_a_slot_was_moved_to_another_node() -> None:
    """Connections to the node that held the slot stay open, and it tells of the keys that it gave away at the most."""
    cluster, namespace = shared_cluster(), f"near{uuid.uuid4().hex[:8]}"
    slot, url = slot_of_namespace(namespace), f"{cluster.url}?partitions=1&namespace={namespace}&timeout=5"
    target = next(node for node in map(cluster.holder, (0, SLOTS - 1)) if node is not cluster.holder(slot))
    with near_to(url) as reader, far_from(url) as writer:
        issued = writer.open_session("ann")

        def move_and_end() -> None:
            cluster.move(slot, target)
            writer.destroy_session(issued.id)

        assert stalest_s(reader, issued.secret, move_and_end) <= BOUND_S
        other = writer.open_session("ann")
        wait_until(lambda: answers_near(reader, other.secret))


def test_it_follows_again_after_the_connection_was_lost(private_valkey: Start) -> None:
    with pair(private_valkey) as servers, near_to(servers.url) as reader:
        issued = reader.open_session("ann")
        wait_until(lambda: answers_near(reader, issued.secret))
        near = reader.store.near_cache
        assert near is not None
        drops = near.drops
        servers.address.request_fate = always("drop")
        wait_until(lambda: near.drops > drops)
        servers.address.heal()

        wait_until(lambda: answers_near(reader, issued.secret))


def test_an_emptied_server_empties_it(private_valkey: Start) -> None:
    with pair(private_valkey) as servers, near_to(servers.url) as reader:
        issued = reader.open_session("ann")
        wait_until(lambda: answers_near(reader, issued.secret))
        command(servers.first, "FLUSHALL")

        wait_until(lambda: reader.verify_session(issued.secret) is None)


def test_a_forked_process_follows_for_itself(url: str) -> None:
    with near_to(url) as tokens:
        issued = tokens.open_session("ann")
        wait_until(lambda: answers_near(tokens, issued.secret))

        def in_the_child() -> None:
            near = tokens.store.near_cache
            assert near is not None and near.session(issued.secret, tokens.store.keyring) is None
            wait_until(lambda: answers_near(tokens, issued.secret))

        assert in_a_child(in_the_child) == 0
        wait_until(lambda: answers_near(tokens, issued.secret))


def test_a_server_that_says_nothing_is_waited_for_once(private_valkey: Start) -> None:
    """Not over the connection that is followed, and then as long again over another."""
    server = private_valkey()
    with near_to(f"{server.url}?timeout={TIMEOUT_S}") as tokens:
        issued = tokens.open_session("ann")
        wait_until(lambda: answers_near(tokens, issued.secret))
        other = tokens.open_session("bob")
        server.pause()
        since_s = time.monotonic()
        try:
            with pytest.raises(StoreUnavailable):
                tokens.verify_session(other.secret)
            assert time.monotonic() - since_s < 2 * TIMEOUT_S
        finally:
            server.resume()


def test_who_asks_while_the_thread_has_been_woken_more_often_than_it_has_looked_is_answered(
    valkey_url: str,
) -> None:
    """Hundreds of threads at once may each find the queue empty, and wake it, before it looks once."""
    with near_to(valkey_url) as tokens, ThreadPoolExecutor(1) as pool:
        issued, other = tokens.open_session("ann"), tokens.open_session("bob")
        wait_until(lambda: answers_near(tokens, issued.secret))
        near: Any = tokens.store.near_cache
        tracking: Any = tokens.store._tracking  # type: ignore[attr-defined]  # a store on a server has it
        with near._lock:  # which the next beat waits for
            time.sleep(4 * BEAT_S)
            with suppress(BlockingIOError):  # once it is full
                while True:
                    tracking._waker.send(b"x")
            asked = pool.submit(tokens.verify_session, other.secret)
            time.sleep(4 * BEAT_S)

        assert asked.result() == other.session


def test_closing_ends_the_thread_and_what_it_was_asked(url: str) -> None:
    tokens = near_to(url)
    servers = 1
    if "cluster" in url:  # in which other tests move slots: some node may hold none of the store's
        servers = len({shared_cluster().holder(slot) for slot in Placement("any").slots[:PARTITIONS]})
    wait_until(lambda: threads_of_ours() == servers)
    tokens.close()
    tokens.close()

    assert threads_of_ours() == 0


def threads_of_ours() -> int:
    return sum(thread.name == "session-tokens near cache" for thread in threading.enumerate())


# --- what comes over the wire ---


class Pieces:
    """A socket from which one gets what it was made with, a piece at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data, self._size = data, size

    def recv(self, size: int, /) -> bytes:
        piece, self._data = self._data[: self._size], self._data[self._size :]
        return piece


WHOLE = (
    b">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$3\r\nb\r\n\r\n+OK\r\n*3\r\n$-1\r\n_\r\n:12\r\n%1\r\n$1\r\nk\r\n#t\r\n"
    b"=7\r\ntxt:abc\r\n-NOPERM no\r\n>2\r\n+invalidate\r\n_\r\n"
)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_replies_and_pushes_are_read_in_whatever_pieces_they_come(size: int) -> None:
    replies = Replies(Pieces(WHOLE, size))
    first = replies.read()
    assert isinstance(first, Push) and first == [b"invalidate", [b"a", b"b\r\n"]]
    assert [replies.read() for _ in range(4)] == [b"OK", [None, None, 12], {b"k": True}, b"txt:abc"]
    assert isinstance(replies.read(), ErrorReply)
    assert replies.read() == [b"invalidate", None]
    assert not replies.has_more
    with pytest.raises(EOFError):
        replies.read()


@pytest.mark.parametrize(
    "data", [b"?what\r\n", b"*x\r\n", b"*1\r\n" * 20, b"+" + b"x" * 200_000, b"%1\r\n*0\r\n+a\r\n"]
)
def test_what_is_no_reply_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        Replies(Pieces(data, 65_536)).read()


def test_a_large_reply_in_small_pieces_is_read_in_linear_time() -> None:
    """By counts, not by the clock: each piece is asked for once, and what was read is not kept."""
    data = b"*20000\r\n" + b"$10\r\n0123456789\r\n" * 20_000
    replies = Replies(Pieces(data, 4_096))

    assert len(replies.read()) == 20_000
    assert len(replies._buffer) <= 65_536 + 2 * 4_096


async def test_a_close_that_was_cancelled_is_made_good_by_the_next(private_valkey: Start) -> None:
    """As by ``asyncio.timeout`` around a shutdown."""
    server = private_valkey()
    tokens = await AsyncSessionTokens.open(server.url, pepper=PEPPER, near_cache=BOUND_S, sweep=False)
    await tokens.open_session("ann")
    closing = asyncio.create_task(tokens.close())
    await asyncio.sleep(0)
    closing.cancel()
    with suppress(asyncio.CancelledError):
        await closing
    assert closing.cancelled()
    await tokens.close()

    client: Any = client_of(server.url)
    wait_until(lambda: len(client.client_list()) == 1)  # of the one who asks
