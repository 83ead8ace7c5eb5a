"""Nodes of a cluster that say nothing: what lies on the others is answered in time, whoever is asked for the map."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, StoreUnavailable
from session_tokens.contract.partitioning import partition_of_owner
from session_tokens.stores.valkey.placement import Placement
from tests.helpers.servers.cluster import CALM_TIMEOUT_MS, Cluster, Node

pytestmark = pytest.mark.server

PEPPER = bytes(range(32))
TIMEOUT_S = 6
"""Each node is asked for the slot map for a third of it, so four that say nothing would take more than all of it."""


class MostlySilent:
    """A cluster of six nodes, of which one primary and all replicas are frozen.

    Attributes:
        url: of a store.
        owner: whose records lie on a primary that answers.
    """

    def __init__(self, cluster: Cluster) -> None:
        namespace = f"silent{uuid.uuid4().hex[:8]}"
        self.cluster, self.url = cluster, f"{cluster.url}?timeout={TIMEOUT_S}&namespace={namespace}"
        first = cluster.nodes[0]
        self._silent: list[Node] = [first, *cluster.nodes[3:]]
        slots, names = Placement(namespace).slots, (f"owner {number}" for number in range(1000))
        self.owner = next(name for name in names if cluster.holder(slots[partition_of_owner(name)]) is not first)

    def freeze(self, store: object) -> None:
        """Freeze them, and have a store doubt its slot map, and ask them first for another."""
        for node in self._silent:
            node.freeze()
        cluster_map: Any = store._nodes.map  # type: ignore[attr-defined]  # that of a cluster has it
        hosts = [(node.place.host, node.port) for node in self._silent]
        cluster_map._nodes = [*hosts, *(host for host in cluster_map._nodes if host not in hosts)]
        cluster_map.is_known = False


@pytest.fixture
def mostly() -> Iterator[MostlySilent]:
    with ExitStack() as held:
        cluster = Cluster(3, (0, 1, 2), CALM_TIMEOUT_MS)
        held.callback(cluster.remove)
        cluster.start()
        yield MostlySilent(cluster)


def test_a_thread_is_answered_though_most_nodes_are_silent_and_asked_first(mostly: MostlySilent) -> None:
    with SessionTokens.open(mostly.url, pepper=PEPPER, sweep=False) as st:
        issued = st.open_session(mostly.owner)
        mostly.freeze(st.store)
        since_s = time.monotonic()
        assert st.get_session(issued.id) == issued.session

        assert time.monotonic() - since_s < TIMEOUT_S


async def test_a_task_is_answered_though_most_nodes_are_silent_and_asked_first(mostly: MostlySilent) -> None:
    async with await AsyncSessionTokens.open(mostly.url, pepper=PEPPER, sweep=False) as st:
        issued = await st.open_session(mostly.owner)
        mostly.freeze(st.store)
        since_s = time.monotonic()
        assert await st.get_session(issued.id) == issued.session

        assert time.monotonic() - since_s < TIMEOUT_S


SHORT_S, TWICE_S = 3, 5.5
"""A time-out, and nearly twice as long."""


@pytest.fixture
def bare() -> Iterator[Cluster]:
    """A cluster of three nodes without replicas."""
    with ExitStack() as held:
        cluster = Cluster(3, (), CALM_TIMEOUT_MS)
        held.callback(cluster.remove)
        cluster.start()
        yield cluster


def silence(cluster: Cluster) -> None:
    for node in cluster.nodes[1:]:
        node.freeze()


def test_a_thread_waits_for_all_silent_nodes_together_no_longer_than_for_one(bare: Cluster) -> None:
    with SessionTokens.open(f"{bare.url}?timeout={SHORT_S}", pepper=PEPPER, sweep=False) as st:
        st.list_sessions()
        silence(bare)
        for _ in range(3):  # from the second on there are no connections to them
            since_s = time.monotonic()
            with pytest.raises(StoreUnavailable):
                st.list_sessions()
            assert time.monotonic() - since_s < TWICE_S


async def test_a_task_waits_for_all_silent_nodes_together_no_longer_than_for_one(bare: Cluster) -> None:
    async with await AsyncSessionTokens.open(f"{bare.url}?timeout={SHORT_S}", pepper=PEPPER, sweep=False) as st:
        await st.list_sessions()
        silence(bare)
        for _ in range(3):
            since_s = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await st.list_sessions()
            assert time.monotonic() - since_s < TWICE_S
