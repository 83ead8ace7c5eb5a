"""Commits over partitions on two nodes of a cluster, while one of them dies, sleeps, is replaced or loses a slot."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator

import pytest

from session_tokens import StoreError, StoreUnavailable
from session_tokens.stores.common.retry import NotExecuted
from session_tokens.stores.valkey.joint import Call
from session_tokens.stores.valkey.library import library_text
from session_tokens.stores.valkey.primaries import slot_of
from tests.helpers.partitioned import Partitions
from tests.helpers.servers.cluster import Cluster, Node, cluster_of, shared_cluster
from tests.helpers.waiting import eventually, wait_until

pytestmark = pytest.mark.server

HAT, ANN, BEN, CAT = "02-hat", "00-ann", "01-ben", "03-cat"
HOLDER, DECIDER = 1, 2


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with cluster_of(3, (0, 1, 2)) as cluster:
        yield cluster


def slot(parts: Partitions, partition: int) -> int:
    return slot_of(parts.prefix_of(partition))


def namespace_over(cluster: Cluster) -> str:
    """Return a name space of which the holder and the decider are on two nodes."""
    for _ in itertools.count():
        namespace = f"t{uuid.uuid4().hex[:12]}"
        parts = Partitions([0], namespace)
        if cluster.holder(slot(parts, HOLDER)) is not cluster.holder(slot(parts, DECIDER)):
            return namespace
    raise AssertionError


def partitions(
    cluster: Cluster,
    namespace: str,
    *,
    replicas: int = 0,
    timeout_s: float = 1.0,
    on_call: Callable[[Call, int, bool], None] | None = None,
) -> Partitions:
    ports = [node.port for node in cluster.nodes if node.answers]
    return Partitions(ports, namespace, replicas=replicas, timeout_s=timeout_s, on_call=on_call)


def begun(cluster: Cluster) -> str:
    """Return a name space in which Ann holds the hat."""
    namespace = namespace_over(cluster)
    parts = partitions(cluster, namespace, replicas=1)
    parts.load(library_text())
    for owner in (ANN, BEN, CAT):
        parts.open_session(owner)
    parts.issue(HAT, ANN)
    return namespace


def kill(cluster: Cluster, node: Node, number: int) -> None:
    node.kill()
    wait_until(lambda: cluster.holder(number) is not node)


def freeze(cluster: Cluster, node: Node, number: int) -> None:
    node.freeze()
    wait_until(lambda: cluster.holder(number) is not node)


def sleep_a_while(cluster: Cluster, node: Node, number: int) -> None:
    """Stop answering, but be there again before anybody takes over."""
    node.freeze()


def fail_over(cluster: Cluster, node: Node, number: int) -> None:
    cluster.followers(node)[0].say("CLUSTER", "FAILOVER")
    wait_until(lambda: cluster.holder(number) is not node)


def move(cluster: Cluster, node: Node, number: int) -> None:
    cluster.move(number, next(other for other in cluster.nodes[:3] if other is not node))


ACTS = (kill, freeze, sleep_a_while, fail_over, move)


@pytest.mark.share(10)
@pytest.mark.parametrize("before", ["decide", "finish"])
@pytest.mark.parametrize("where", [HOLDER, DECIDER])
@pytest.mark.parametrize("act", ACTS)
def test_whatever_comes_between_it_was_whole_or_not_at_all(
    cluster: Cluster, act: Callable[[Cluster, Node, int], None], where: int, before: str
) -> None:
    """Who was told that it was done finds it done, and who was told that nothing was written finds nothing."""
    namespace = begun(cluster)
    node = cluster.holder(slot(partitions(cluster, namespace), where))
    has_acted: list[bool] = []

    def on_call(call: Call, number: int, is_done: bool) -> None:
        if not is_done and not has_acted and call.words[1] == f"session_tokens_{before}_v1".encode():
            has_acted.append(True)
            act(cluster, node, slot(parts, where))

    parts = partitions(cluster, namespace, replicas=1, on_call=on_call)
    first = parts.token(HAT).secret
    try:
        said = parts.transfer(HAT, ANN, BEN)
    except NotExecuted:
        said = "nothing"
    except StoreError:
        said = "unknown"
    assert has_acted
    if node.is_frozen:
        node.wake()
    wait_until(cluster.is_whole)

    now = partitions(cluster, namespace)
    token = eventually(lambda: now.token(HAT))
    assert said == "unknown" or (token.owner == BEN) == said.startswith("01-")
    assert eventually(lambda: now.leads_to(token.secret)) == HAT
    assert token.secret == first or eventually(lambda: now.leads_to(first)) is None
    assert eventually(lambda: now.transfer(HAT, token.owner, CAT)).startswith("03-")
    assert [eventually(lambda owner=owner: now.held_by(owner)) for owner in (ANN, BEN, CAT)] == [[], [], [HAT]]  # type: ignore[misc]  # bound here


def test_a_slot_that_moves_key_by_key_stops_a_hold_and_halves_nothing() -> None:
    """As clusters moved slots before: what is asked is not carried out, and what is held stays so."""
    cluster = shared_cluster()
    namespace = begun(cluster)
    number = slot(partitions(cluster, namespace), HOLDER)
    target = next(node for node in cluster.nodes[:3] if node is not cluster.holder(number))
    source = cluster.begin_move(number, target)
    parts = partitions(cluster, namespace, timeout_s=0.2)
    keys = sorted(source.ask("CLUSTER", "GETKEYSINSLOT", number, 1000))
    cluster.move_keys(source, target, keys[::2])

    with pytest.raises(StoreUnavailable):
        parts.transfer(HAT, ANN, BEN)
    assert parts.token(HAT).owner == ANN
    cluster.move_keys(source, target, sorted(source.ask("CLUSTER", "GETKEYSINSLOT", number, 1000)))
    cluster.end_move(number, source, target)

    assert eventually(lambda: parts.transfer(HAT, ANN, BEN)).startswith("01-")
    assert (parts.held_by(ANN), parts.held_by(BEN)) == ([], [HAT])


@pytest.mark.parametrize("is_decided", [False, True])
def test_a_slot_that_moves_key_by_key_keeps_what_is_held(*, is_decided: bool) -> None:
    """It begins to move with a hold in it: nobody releases or finishes half of that."""
    cluster = shared_cluster()
    namespace = begun(cluster)
    number = slot(partitions(cluster, namespace), HOLDER)
    moving: list[Node] = []
    before = "finish" if is_decided else "decide"

    def on_call(call: Call, _: int, is_done: bool) -> None:
        if not is_done and not moving and call.words[1] == f"session_tokens_{before}_v1".encode():
            moving.append(next(node for node in cluster.nodes[:3] if node is not cluster.holder(number)))
            moving.append(cluster.begin_move(number, moving[0]))
            keys = sorted(moving[1].ask("CLUSTER", "GETKEYSINSLOT", number, 1000))
            cluster.move_keys(moving[1], moving[0], keys[::2])

    parts = partitions(cluster, namespace, timeout_s=0.2, on_call=on_call)
    assert parts.transfer(HAT, ANN, BEN).startswith("01-")
    target, source = moving
    cluster.move_keys(source, target, sorted(source.ask("CLUSTER", "GETKEYSINSLOT", number, 1000)))
    cluster.end_move(number, source, target)

    parts = partitions(cluster, namespace)
    assert (eventually(lambda: parts.held_by(BEN)), parts.held_by(ANN)) == ([HAT], [])
    assert parts.leads_to(parts.token(HAT).secret) == HAT
    assert parts.transfer(HAT, BEN, CAT).startswith("03-")
