"""Near caches of stores in 64 partitions: never older than their bound while slots move and nodes are replaced."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from session_tokens import SessionTokens
from session_tokens.contract.partitioning import partition_of_owner
from session_tokens.contract.transaction import Transaction
from session_tokens.rules.expiry import end_session
from session_tokens.stores.valkey.blocking_cluster import BlockingClusterStore
from session_tokens.stores.valkey.placement import Placement
from session_tokens.stores.valkey.primaries import Host
from session_tokens.stores.valkey.store import open_valkey_blocking
from tests.helpers.near_caches import BOUND_S, answers_near, stalest_s
from tests.helpers.servers.cluster import DEAFENED, Cluster, Node, cluster_of, shared_cluster
from tests.helpers.servers.nemesis import is_primary
from tests.helpers.waiting import eventually, wait_until

pytestmark = pytest.mark.server

PEPPER = bytes(range(32))
OWNER = "ann"


@pytest.fixture
def namespace() -> str:
    return f"near{uuid.uuid4().hex[:8]}"


@pytest.fixture
def hurt() -> Iterator[Cluster]:
    with cluster_of(3, (0, 1, 2), *DEAFENED) as cluster:
        yield cluster


def near_to(url: str) -> SessionTokens:
    return SessionTokens.open(url, pepper=PEPPER, near_cache=BOUND_S, sweep=False)


def far_from(url: str) -> SessionTokens:
    return SessionTokens.open(url, pepper=PEPPER, sweep=False)


def followed_by(reader: SessionTokens) -> set[Host]:
    """Return where the nodes are that a reader follows."""
    assert isinstance(reader.store, BlockingClusterStore) and reader.store._trackings is not None
    return set(reader.store._trackings.hosts())


def slot_of_owner(namespace: str, owner: str = OWNER) -> int:
    return Placement(namespace).slots[partition_of_owner(owner)]


def owner_elsewhere(cluster: Cluster, namespace: str) -> str:
    """Return one whose records lie on another node than those of `OWNER`."""
    node = cluster.holder(slot_of_owner(namespace))
    names = (f"owner {number}" for number in range(1000))
    return next(name for name in names if cluster.holder(slot_of_owner(namespace, name)) is not node)


# --- slots that move ---


def at_once(cluster: Cluster, number: int, target: Node) -> None:
    cluster.move(number, target)


def key_by_key(cluster: Cluster, number: int, target: Node) -> None:
    """The target has the slot before the node that it is moved from knows of it."""
    source = cluster.begin_move(number, target)
    cluster.move_keys(source, target, source.ask("CLUSTER", "GETKEYSINSLOT", number, 10_000))
    cluster.end_move(number, source, target)


@pytest.mark.parametrize("move", [at_once, key_by_key])
def test_no_answer_is_older_than_the_bound_where_a_slot_moves(
    move: Callable[[Cluster, int, Node], None], namespace: str
) -> None:
    cluster, number = shared_cluster(), slot_of_owner(namespace)
    url = f"{cluster.url}?timeout=5&namespace={namespace}"
    target = next(node for node in cluster.nodes[:3] if node is not cluster.holder(number))
    with near_to(url) as reader, far_from(url) as writer:
        issued, other = writer.open_session(OWNER), writer.open_session(OWNER)

        def move_and_end() -> None:
            move(cluster, number, target)
            writer.destroy_session(issued.id)

        assert stalest_s(reader, issued.secret, move_and_end) <= BOUND_S
        wait_until(lambda: answers_near(reader, other.secret))


# --- nodes that are replaced ---


def kill(cluster: Cluster, node: Node) -> None:
    node.kill()


def freeze(cluster: Cluster, node: Node) -> None:
    node.freeze()


def cut_off(cluster: Cluster, node: Node) -> None:
    """It hears nothing from the other nodes, nor they from it; its clients reach it as before."""
    node.deafen()


def demote(cluster: Cluster, node: Node) -> None:
    cluster.followers(node)[0].say("CLUSTER", "FAILOVER")


@pytest.mark.share(5)
@pytest.mark.parametrize("fault", [kill, freeze, cut_off, demote])
def test_no_answer_is_older_than_the_bound_where_a_node_is_replaced(
    hurt: Cluster, fault: Callable[[Cluster, Node], None], namespace: str
) -> None:
    number = slot_of_owner(namespace)
    node, owner = hurt.holder(number), owner_elsewhere(hurt, namespace)
    url = f"{hurt.url}?timeout=1&namespace={namespace}&durability=replicated&replicas=1"
    with near_to(url) as reader, far_from(url) as writer:
        issued, other = eventually(lambda: writer.open_session(OWNER)), eventually(lambda: writer.open_session(owner))
        wait_until(lambda: answers_near(reader, other.secret))
        replicas = hurt.followers(node)
        try:

            def end_on_the_other() -> None:
                fault(hurt, node)
                wait_until(lambda: any(map(is_primary, replicas)))
                with eventually(lambda: far_from(url.partition("&durability")[0])) as anew:
                    eventually(lambda: anew.destroy_session(issued.id))

            assert stalest_s(reader, issued.secret, end_on_the_other) <= BOUND_S
            wait_until(lambda: answers_near(reader, other.secret))
            wait_until(lambda: ("127.0.0.1", node.port) not in followed_by(reader))  # it holds nothing any more
        finally:
            if node.is_frozen:
                node.wake()


def test_a_node_that_is_away_keeps_nobody_from_being_answered_near(hurt: Cluster, namespace: str) -> None:
    node, owner = hurt.holder(slot_of_owner(namespace)), owner_elsewhere(hurt, namespace)
    with near_to(f"{hurt.url}?timeout=1&namespace={namespace}") as reader:
        here, there = reader.open_session(OWNER), reader.open_session(owner)
        for each in (here, there):
            wait_until(lambda each=each: answers_near(reader, each.secret))  # type: ignore[misc]  # bound here
        near = reader.store.near_cache
        assert near is not None
        node.freeze()
        until_s, hits = time.monotonic() + BOUND_S, near.hits
        while time.monotonic() < until_s:
            assert reader.verify_session(there.secret) is not None
            hits += 1
        node.wake()

        assert near.hits >= hits - 1


# --- commits over several partitions ---


def held_up(writer: Any, name: bytes, go_on: threading.Event, has_come: threading.Event) -> None:
    """Have a store wait before it calls a function of the library."""
    asking = writer.store._nodes.ask

    def ask(calls: Any) -> Any:
        if any(call.words[1] == name for call in calls):
            has_come.set()
            assert go_on.wait(30)
        return asking(calls)

    writer.store._nodes.ask = ask


def both_end(tx: Transaction, *ids: str) -> None:
    for id in ids:
        session = tx.session(id)
        assert session is not None
        end_session(tx, session, tx.now, "logout")


def test_what_is_held_is_not_kept_and_refused_once_it_is_decided(namespace: str) -> None:
    """Two sessions end in one commit: the first decides, and where the second lies nobody ever finishes."""
    cluster = shared_cluster()
    owner = owner_elsewhere(cluster, namespace)
    url = f"{cluster.url}?timeout=10&namespace={namespace}"
    with near_to(url) as reader, SessionTokens(open_valkey_blocking(url, pepper=PEPPER)) as writer:
        deciding, held = writer.open_session(OWNER), writer.open_session(owner)
        wait_until(lambda: answers_near(reader, held.secret))
        writer.store._behind.do = lambda work: None  # type: ignore[attr-defined]  # of a store in partitions
        go_on, has_come = threading.Event(), threading.Event()
        held_up(writer, b"session_tokens_decide_v1", go_on, has_come)
        ending = threading.Thread(target=partial(writer.store.run_now, both_end, deciding.id, held.id))
        ending.start()
        assert has_come.wait(30)
        wait_until(lambda: not answers_near(reader, held.secret))
        for _ in range(20):
            assert not answers_near(reader, held.secret)
            assert reader.verify_session(held.secret) is not None  # it is not decided yet
        go_on.set()
        ending.join()

        assert reader.verify_session(held.secret) is None
