"""One address behind which Valkey servers change roles: nothing of a lost branch is believed, no replica is asked."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from session_tokens import AsyncSessionTokens, NotOwner, SessionTokens, Settings, StoreUnavailable
from session_tokens.contract.optimistic import Commit, attempts
from session_tokens.rules.tokens import transfer_token
from session_tokens.stores.valkey.store import BlockingValkeyStore, open_valkey, open_valkey_blocking
from tests.helpers.at_once import at_once
from tests.helpers.servers.failover import PATIENCE_S, Pair, catch_up, command, info, pair
from tests.helpers.servers.valkey import ValkeyServer

T = TypeVar("T")

Start = Callable[..., ValkeyServer]
PEPPER = bytes(range(32))
AHEAD_US = 60_000_000


def open_store(pair: Pair, options: str = "") -> BlockingValkeyStore:
    store = open_valkey_blocking(f"{pair.url}?timeout=5{options}", pepper=PEPPER)
    assert isinstance(store, BlockingValkeyStore)
    return store


def answered(ask: Callable[[], T]) -> T:
    """Ask until the store answers, as an application does; of a server that was killed nothing is left to come."""
    until_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except StoreUnavailable:
            assert time.monotonic() < until_s, "it never answered"
            time.sleep(0.01)


def set_stamp_ahead(server: ValkeyServer, by_us: int = AHEAD_US) -> None:
    """Leave the last stamp as an earlier primary leaves it whose clock was ahead."""
    command(server, "SET", "{st:00}:n", str(time.time_ns() // 1000 + by_us))


def commit_of(store: BlockingValkeyStore, rule: Any, *args: object) -> Commit:
    """Return what a command would commit now, judged on what it reads; it is not sent."""
    steps = attempts(rule, args)
    step = next(steps)
    while isinstance(step, list):
        step = steps.send(store.read_now(step))
    assert isinstance(step, Commit)
    return step


def test_who_lost_with_the_old_primary_hands_on_nothing_on_the_new_one(private_valkey: Start) -> None:
    """A lost branch: alice→bob was acknowledged and is gone, alice→carol stands; bob→dave is not bob's to give."""
    with (
        pair(private_valkey) as servers,
        SessionTokens(open_store(servers)) as one,
        SessionTokens(open_store(servers)) as two,
    ):
        set_stamp_ahead(servers.first)
        sessions = {owner: one.open_session(owner) for owner in ("alice", "bob", "carol", "dave")}
        token = one.issue_token(sessions["alice"].id, "deed", transferable=True)
        for owner in ("bob", "dave"):  # so that this process has seen all that the last command reads
            other = two.issue_token(sessions["alice"].id, None, transferable=True)
            two.transfer_token(other.id, giver="alice", receiver=owner)
        assert two.verify_token(token.secret) is not None
        servers.promote_and_lose()
        two.transfer_token(token.id, giver="alice", receiver="bob")
        servers.move()

        kept = answered(lambda: one.transfer_token(token.id, giver="alice", receiver="carol"))
        with pytest.raises(NotOwner):
            answered(lambda: two.transfer_token(token.id, giver="bob", receiver="dave"))
        held = one.verify_token(kept.secret)
        assert held is not None and (held.owner, held.epoch) == ("carol", 1)


@pytest.mark.parametrize("ahead_us", [0, AHEAD_US, 30 * AHEAD_US])
def test_a_stamp_of_a_lost_branch_is_never_given_out_again(private_valkey: Start, ahead_us: int) -> None:
    """Judged on what the lost branch said, sent to the survivor: refused by its stamps alone."""
    with pair(private_valkey) as servers, SessionTokens(open_store(servers)) as tokens:
        store = tokens.store
        assert isinstance(store, BlockingValkeyStore)
        set_stamp_ahead(servers.first, ahead_us)
        sessions = {owner: tokens.open_session(owner) for owner in ("alice", "bob", "carol", "dave")}
        token = tokens.issue_token(sessions["alice"].id, "deed", transferable=True)
        servers.promote_and_lose()
        tokens.transfer_token(token.id, giver="alice", receiver="bob")
        lost = commit_of(store, transfer_token, token.id, "bob", "dave", None, None)
        servers.move()

        kept = answered(lambda: tokens.transfer_token(token.id, giver="alice", receiver="carol"))
        assert not store.commit_now(lost)
        assert tokens.verify_token(kept.secret) is not None


def test_stamps_only_grow_within_one_server_and_across_its_restarts(private_valkey: Start) -> None:
    server = private_valkey("--appendonly", "yes", "--appendfsync", "always")
    stamps: list[int] = []

    def note() -> None:
        stamps.append(int(str(command(server, "GET", "{st:00}:n").decode())))  # type: ignore[attr-defined]  # bytes

    with (
        SessionTokens(open_valkey_blocking(server.url + "?timeout=10", pepper=PEPPER)) as tokens,
        SessionTokens(open_valkey_blocking(server.url[:-1] + "1", pepper=PEPPER)) as beside,
    ):
        for _ in range(3):
            tokens.open_session("alice")
            note()
            beside.open_session("alice")  # another database of the server has stamps of its own
        assert stamps[2] - stamps[0] < AHEAD_US  # no gap where nothing happened
        server.kill()
        server.start()
        answered(lambda: tokens.open_session("alice"))
        note()
        command(server, "FLUSHALL")
        tokens.open_session("alice")
        note()
        tokens.open_session("alice")
        note()

    assert stamps == sorted(set(stamps))
    assert stamps[3] - stamps[2] > 60 * AHEAD_US - 1 and stamps[4] - stamps[3] > 60 * AHEAD_US - 1
    assert stamps[5] - stamps[4] < AHEAD_US


def test_what_replicas_have_not_confirmed_is_not_remembered(private_valkey: Start) -> None:
    with pair(private_valkey) as servers:
        options = "&durability=replicated&replicas=1"
        with SessionTokens(open_store(servers, options)) as tokens:
            store = tokens.store
            assert isinstance(store, BlockingValkeyStore)
            session = tokens.open_session("alice").session
            name = b"s:" + session.id.encode()
            confirmed = store._core.codec.record_cache.get(name)
            servers.second.kill()
            with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
                tokens.change_session(session.id, label="unconfirmed")

            remembered = store._core.codec.record_cache.get(name)
            assert confirmed is not None and remembered is not None
            assert (remembered[2].version, remembered[2].label) == (session.version, session.label)


def test_what_is_remembered_goes_when_the_address_leads_to_another_server(private_valkey: Start) -> None:
    with pair(private_valkey) as servers, SessionTokens(open_store(servers)) as tokens:
        store = tokens.store
        assert isinstance(store, BlockingValkeyStore)
        issued = tokens.open_session("alice")
        token = tokens.issue_token(issued.id, "deed", transferable=True)
        name = b"s:" + issued.id.encode()
        assert store._core.codec.record_cache.get(name) is not None
        commit = commit_of(store, transfer_token, token.id, "alice", "bob", None, None)
        servers.swap()

        assert not store.commit_now(commit)  # judged on the one, it is not sent to the other
        assert store._core.codec.record_cache.get(name) is None
        assert tokens.transfer_token(token.id, giver="alice", receiver="bob").token.owner == "bob"


# --- servers that change roles while connections to them stay open ---


def test_writes_go_to_the_new_primary_at_once(private_valkey: Start) -> None:
    """Several connections are open to the demoted one, and none of the commands fails."""
    with pair(private_valkey) as servers, SessionTokens(open_store(servers)) as tokens:
        at_once(6, lambda number: tokens.open_session(f"before {number}"))
        servers.swap()
        opened, refused = at_once(6, lambda number: tokens.open_session(f"after {number}"))

        assert (len(opened), refused) == (6, [])
        assert len(tokens.list_sessions().items) == 12
        assert all(tokens.verify_session(issued.secret) == issued.session for issued in opened)


async def test_writes_of_tasks_go_to_the_new_primary_at_once(private_valkey: Start) -> None:
    with pair(private_valkey) as servers:
        tokens = AsyncSessionTokens(await open_valkey(f"{servers.url}?timeout=5", pepper=PEPPER))
        before = [await tokens.open_session(f"before {number}") for number in range(6)]
        await asyncio.to_thread(servers.swap)
        opened = await asyncio.gather(*(tokens.open_session(f"after {number}") for number in range(6)))

        assert [await tokens.verify_session(issued.secret) for issued in (*before, *opened)] == [
            issued.session for issued in (*before, *opened)
        ]
        await tokens.close()


@pytest.mark.parametrize("stale", ["yes", "no"])
def test_who_only_reads_never_hears_from_a_demoted_server(private_valkey: Start, stale: str) -> None:
    """With ``no`` the demoted server says MASTERDOWN by itself, with ``yes`` it would answer what it has."""
    words = ("--replica-serve-stale-data", stale)
    with (
        pair(private_valkey, *words) as servers,
        SessionTokens(open_store(servers)) as reader,
        SessionTokens(open_store(servers)) as other,
    ):
        session, kept = other.open_session("alice"), other.open_session("bob")
        token = other.issue_token(session.id, "v")
        for _ in range(2):  # the second time over the way that is remembered
            assert reader.verify_session(session.secret) and reader.verify_token(token.secret)
        servers.swap()
        other.destroy_session(session.id)

        assert reader.verify_session(session.secret) is None
        assert reader.verify_token(token.secret) is None
        assert [one.id for one in reader.list_sessions().items] == [kept.id]


async def test_tasks_that_only_read_never_hear_from_a_demoted_server(private_valkey: Start) -> None:
    with pair(private_valkey) as servers, SessionTokens(open_store(servers)) as other:
        reader = AsyncSessionTokens(await open_valkey(f"{servers.url}?timeout=5", pepper=PEPPER))
        issued = [other.open_session(f"owner {number}") for number in range(4)]
        for _ in range(2):
            assert all(await asyncio.gather(*(reader.verify_session(one.secret) for one in issued)))
        await asyncio.to_thread(servers.swap)
        other.destroy_session(issued[0].id)
        found = await asyncio.gather(*(reader.verify_session(one.secret) for one in issued))

        assert [session is not None for session in found] == [False, True, True, True]
        await reader.close()


def test_while_the_address_leads_to_the_demoted_server_nothing_is_answered(private_valkey: Start) -> None:
    with pair(private_valkey) as servers, SessionTokens(open_store(servers)) as tokens:
        issued = tokens.open_session("alice")
        servers.demote()
        for ask in (lambda: tokens.verify_session(issued.secret), lambda: tokens.rotate_session(issued.id)):
            with pytest.raises(StoreUnavailable, match="replica"):
                ask()
        command(servers.first, "REPLICAOF", "NO", "ONE")

        assert answered(lambda: tokens.verify_session(issued.secret)) == issued.session


def test_a_replica_is_told_to_be_one_when_a_store_opens_on_it(private_valkey: Start) -> None:
    """Whether it has the function library or not: no user is told to load it there."""
    with pair(private_valkey) as servers:
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="read-only replica; give the address of the primary"):
                open_valkey_blocking(servers.second.url, pepper=PEPPER)
            open_store(servers).close_now()
            catch_up(servers.second, servers.first)


def test_a_commit_whose_replicas_were_awaited_when_its_server_was_demoted_is_unknown(private_valkey: Start) -> None:
    """UNBLOCKED ends the wait and not the commit: sent again it would be done twice, or told as refused."""
    with pair(private_valkey) as servers:
        options = "&durability=replicated&replicas=1"
        with SessionTokens(open_store(servers, options), Settings(max_sessions=None)) as tokens:
            tokens.open_session("alice")
            servers.second.kill()
            caught: list[Exception] = []

            def open_one() -> None:
                try:
                    tokens.open_session("alice")
                except StoreUnavailable as error:
                    caught.append(error)

            thread = threading.Thread(target=open_one)
            thread.start()
            until_s = time.monotonic() + PATIENCE_S
            while info(servers.first, "clients")["blocked_clients"] != 1:
                assert time.monotonic() < until_s, "nobody waits for replicas"
                time.sleep(0.005)
            servers.demote()
            thread.join()
            command(servers.first, "REPLICAOF", "NO", "ONE")

            assert [type(error) for error in caught] == [StoreUnavailable]
            assert "idempotency key" in str(caught[0])
        with SessionTokens(open_store(servers)) as after:
            assert len(after.list_sessions("alice").items) == 2


def test_a_primary_that_may_not_write_answers_verifications(private_valkey: Start) -> None:
    server = private_valkey()
    with SessionTokens(open_valkey_blocking(server.url, pepper=PEPPER)) as tokens:
        issued = tokens.open_session("alice")
        command(server, "CONFIG", "SET", "min-replicas-to-write", "1")
        with pytest.raises(StoreUnavailable, match="too few replicas"):
            tokens.rotate_session(issued.id)

        assert tokens.verify_session(issued.secret) == tokens.verify_session(issued.secret) == issued.session


def test_a_primary_that_never_had_a_replica_commits_nothing_that_replicas_shall_confirm(private_valkey: Start) -> None:
    """WAIT would count its first replica before that has loaded anything, and what was answered would be lost."""
    server = private_valkey()
    url = f"{server.url}?durability=replicated&replicas=1"
    with SessionTokens(open_valkey_blocking(url, pepper=PEPPER), Settings(max_sessions=None)) as tokens:
        for _ in range(8):  # more than would open the breaker
            with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
                tokens.open_session("alice")
        assert tokens.list_sessions().items == []
        replica = private_valkey("--repl-diskless-sync-delay", "0")
        command(replica, "REPLICAOF", "127.0.0.1", str(server.port))
        issued = answered(lambda: tokens.open_session("alice"))
        server.kill()
        command(replica, "REPLICAOF", "NO", "ONE")

    with SessionTokens(open_valkey_blocking(replica.url, pepper=PEPPER)) as after:
        assert after.verify_session(issued.secret) == issued.session
