"""A store in 64 partitions while their slots move and their nodes fail: nothing is lost, halved or alive twice."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from typing import Any

import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, Settings, StoreUnavailable
from session_tokens.contract.partitioning import partition_of_owner
from session_tokens.stores.valkey.placement import Placement
from session_tokens.stores.valkey.store import open_valkey, open_valkey_blocking
from tests.helpers.acknowledged import ALL, Acknowledged
from tests.helpers.effort import times
from tests.helpers.servers.cluster import Cluster, Mover, cluster_of, shared_cluster
from tests.helpers.waiting import eventually, until_answered, wait_until

pytestmark = pytest.mark.server

PEPPER = bytes(range(32))
MOVES = times(25, proving=600)
TURNS = times(5, proving=50)
TIMEOUT_S = 2
REPLICATED = "&durability=replicated&replicas=1"


@pytest.fixture
def namespace() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


def owners_apart(count: int) -> list[str]:
    """Return owners each of whom lies in a partition of its own, as far from the others as can be."""
    owners: dict[int, str] = {}
    number = 0
    while len(owners) < count:
        owner = f"owner {number}"
        owners.setdefault(partition_of_owner(owner) * count // 64, owner)
        number += 1
    return [owners[at] for at in range(count)]


async def test_commands_over_partitions_go_on_while_their_slots_move(namespace: str) -> None:
    """By tasks and threads. Each transfer writes in two or three partitions, each of which moves all the time."""
    cluster = shared_cluster()
    url = f"{cluster.url}?timeout=30&namespace={namespace}"
    store = await open_valkey(url, pepper=PEPPER)
    tokens, blocking = AsyncSessionTokens(store, ALL), SessionTokens(open_valkey_blocking(url, pepper=PEPPER), ALL)
    owners = owners_apart(4)
    sessions = [(await tokens.open_session(owner)).id for owner in owners]
    slots = [Placement(namespace).slots[partition_of_owner(owner)] for owner in owners]
    mover = Mover(cluster, slots, MOVES, 0.05)
    handed_on: dict[str, tuple[str, int]] = {}

    async def hand_on(session_id: str, hands: list[str]) -> None:
        issued = await tokens.issue_token(session_id, "v", transferable=True)
        while not mover.has_moved_enough.is_set():
            dead = issued.secret
            issued = await until_answered(
                lambda issued=issued, hands=hands: tokens.transfer_token(  # type: ignore[misc]  # bound here
                    issued.id, giver=hands[0], receiver=hands[1], idempotency_key=f"{issued.id} {issued.token.epoch}"
                )
            )
            hands = [*hands[1:], hands[0]]
            found = await until_answered(lambda issued=issued: tokens.verify_token(issued.secret))  # type: ignore[misc]  # as above
            assert found is not None and (found.owner, found.epoch) == (hands[0], issued.token.epoch)
            assert await until_answered(lambda dead=dead: tokens.verify_token(dead)) is None  # type: ignore[misc]  # as above
        handed_on[issued.id] = hands[0], issued.token.epoch

    def hand_on_blocking(session_id: str, hands: list[str]) -> None:
        issued = blocking.issue_token(session_id, "v", transferable=True)
        while not mover.has_moved_enough.is_set():
            issued = eventually(
                lambda issued=issued, hands=hands: blocking.transfer_token(  # type: ignore[misc]  # as above
                    issued.id, giver=hands[0], receiver=hands[1], idempotency_key=f"{issued.id} {issued.token.epoch}"
                )
            )
            hands = [*hands[1:], hands[0]]
            found = eventually(lambda issued=issued: blocking.verify_token(issued.secret))  # type: ignore[misc]  # as above
            assert found is not None and (found.owner, found.epoch) == (hands[0], issued.token.epoch)
        handed_on[issued.id] = hands[0], issued.token.epoch

    around = [[*owners[at:], *owners[:at]] for at in range(4)]
    with mover.going_on():
        await asyncio.gather(
            *(hand_on(session, hands) for session, hands in zip(sessions, around, strict=True)),
            *(asyncio.to_thread(hand_on_blocking, sessions[at], around[at]) for at in range(2)),
        )

    assert len(handed_on) == 6 and mover.moves >= MOVES
    for id, (owner, epoch) in handed_on.items():
        token = await tokens.get_token(id)
        assert token is not None and (token.owner, token.epoch) == (owner, epoch)
    for owner in owners:
        held = {id for id, (holder, _) in handed_on.items() if holder == owner}
        assert {token.id for token in await tokens.list_tokens(owner=owner)} == held
    assert await store.check() == []
    blocking.close()
    await tokens.close()


async def test_no_acknowledged_write_is_lost_when_a_primary_dies(namespace: str) -> None:
    """With a replica that confirms each commit, and another so that writes go on."""
    slot = Placement(namespace).slots[partition_of_owner("task")]
    with cluster_of(3, (0, 0, 1, 1, 2, 2)) as cluster:
        store = await Acknowledged.at(f"{cluster.url}?namespace={namespace}{REPLICATED}")
        await store.write(TURNS)
        holder = await asyncio.to_thread(cluster.holder, slot)
        writing = asyncio.create_task(store.write(2 * TURNS))
        await asyncio.sleep(0)
        holder.kill()
        await writing
        assert (await asyncio.to_thread(cluster.holder, slot)) is not holder
        assert len(store.issued) == 15 * TURNS
        assert await store.lost() == []
        await store.close()


def test_what_lies_on_other_nodes_is_answered_while_one_is_frozen(namespace: str) -> None:
    """And what lies on that one is not, until another takes its place; woken, it is not believed."""
    with cluster_of(3, (0, 1, 2)) as cluster:
        url = f"{cluster.url}?namespace={namespace}&timeout={TIMEOUT_S}"
        owners = owners_apart(3)
        with SessionTokens(open_valkey_blocking(url, pepper=PEPPER), ALL) as tokens:
            issued = [tokens.open_session(owner) for owner in owners]
            for _ in range(2):
                assert all(tokens.verify_session(one.secret) == one.session for one in issued)
            wait_until(cluster.is_whole)
            old = cluster.holder(Placement(namespace).slots[partition_of_owner(owners[0])])
            old.freeze()
            since_s = time.monotonic()
            try:
                with pytest.raises(StoreUnavailable):
                    tokens.verify_session(issued[0].secret)
                assert time.monotonic() - since_s < 2 * TIMEOUT_S  # it was not waited for twice
                for one in issued[1:]:
                    assert tokens.verify_session(one.secret) == one.session
                    assert tokens.open_session(one.session.owner).session.owner == one.session.owner
                wait_until(lambda: cluster.holder(Placement(namespace).slots[partition_of_owner(owners[0])]) is not old)
                with SessionTokens(eventually(lambda: open_valkey_blocking(url, pepper=PEPPER)), ALL) as other:
                    eventually(lambda: other.destroy_session(issued[0].id))
                found: list[object] = []
                asking = threading.Thread(
                    target=lambda: found.append(eventually(lambda: tokens.verify_session(issued[0].secret)))
                )
                asking.start()
                asking.join(0.2)  # so that the question may lie in its socket
            finally:
                old.wake()
            asking.join(60)

            assert found == [None]


async def test_who_follows_events_that_do_not_come_looks_at_64_partitions_20_times_a_second_at_most(
    namespace: str,
) -> None:
    cluster = shared_cluster()
    url = f"{cluster.url}?timeout=30&namespace={namespace}"
    settings = Settings(events="durable")
    async with await AsyncSessionTokens.open(url, pepper=PEPPER, settings=settings, sweep=False) as tokens:
        following = tokens.follow_events()
        coming = asyncio.ensure_future(anext(following))
        await asyncio.sleep(0.2)  # it has begun
        before, began_s = looks_at(cluster), time.monotonic()
        await asyncio.sleep(1)
        looks, took_s = looks_at(cluster) - before, time.monotonic() - began_s
        session = await tokens.open_session("ann")

        assert (await coming).subject_id == session.id
        assert 64 <= looks <= (took_s / 0.05 + 2) * 64


def looks_at(cluster: Cluster) -> int:
    """Return how often a stretch of a stream was asked for on all nodes."""
    told: list[Any] = [node.client.info("commandstats") for node in cluster.nodes]
    return sum(each.get("cmdstat_xrange", {}).get("calls", 0) for each in told)
