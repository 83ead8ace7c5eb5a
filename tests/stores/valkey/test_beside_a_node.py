"""While a node of a cluster is away, the others are swept, and it is told; what was read of the settings holds."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator

import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, Settings, StoreUnavailable
from session_tokens.contract.partitioning import partition_of_owner
from session_tokens.stores.valkey.placement import FIRST, Placement
from tests.helpers.servers.cluster import CALM_TIMEOUT_MS, Cluster, Node
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.server

PEPPER = bytes(range(32))
SHORT = Settings(max_age=1, sweep_interval=0.1)
OWNERS = [f"owner {number}" for number in range(200)]
"""In all partitions, mostly several in each."""


class Beside:
    """A cluster without replicas, on which sessions of many owners are over, and of which one node is away.

    Attributes:
        url: of the store.
        owner: whose records lie on a node that answers.
        there: how many of those sessions lie on the nodes that answer.
    """

    def __init__(self, cluster: Cluster, *, first: bool) -> None:
        namespace = f"beside{uuid.uuid4().hex[:8]}"
        self.url = f"{cluster.url}?timeout=0.5&namespace={namespace}"
        self._slots, self._cluster = Placement(namespace).slots, cluster
        holds_first = self._holder(FIRST)
        self.away = holds_first if first else next(node for node in cluster.nodes if node is not holds_first)
        elsewhere = [owner for owner in OWNERS if self._holder(partition_of_owner(owner)) is not self.away]
        self.owner, self.there = elsewhere[0], len(elsewhere)

    def _holder(self, partition: int) -> Node:
        return self._cluster.holder(self._slots[partition])


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster(3, (), CALM_TIMEOUT_MS)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture(params=(True, False), ids=("of the first partition", "of others"))
def beside(cluster: Cluster, request: pytest.FixtureRequest) -> Beside:
    return Beside(cluster, first=request.param)


def test_the_instant_is_not_made_up(cluster: Cluster) -> None:
    beside = Beside(cluster, first=True)
    with SessionTokens.open(beside.url, pepper=PEPPER, sweep=False) as st:
        assert st.store.read_now([]).now > 0
        beside.away.freeze()
        with pytest.raises(StoreUnavailable):
            st.store.read_now([])


def left_by(beside: Beside) -> int:
    """Return how many are due still, once the node is there again."""
    beside.away.wake()
    with SessionTokens.open(beside.url, pepper=PEPPER, sweep=False) as st:
        return st.sweep()


def test_the_other_nodes_are_swept(beside: Beside) -> None:
    with SessionTokens.open(beside.url, pepper=PEPPER, sweep=False, settings=SHORT) as st:
        opened = [st.open_session(owner) for owner in OWNERS]
        wait_until(lambda: not any(st.verify_session(session.secret) for session in opened))
        beside.away.freeze()
        with pytest.raises(StoreUnavailable, match=f" {beside.there} were cleaned"):
            st.sweep()

    assert left_by(beside) == len(OWNERS) - beside.there


async def test_the_other_nodes_are_swept_by_a_task(beside: Beside) -> None:
    async with await AsyncSessionTokens.open(beside.url, pepper=PEPPER, sweep=False, settings=SHORT) as st:
        opened = [await st.open_session(owner) for owner in OWNERS]
        while await st.verify_session(opened[-1].secret):
            pass
        beside.away.freeze()
        with pytest.raises(StoreUnavailable, match=f" {beside.there} were cleaned"):
            await st.sweep()

    assert left_by(beside) == len(OWNERS) - beside.there


def test_in_the_background_too_and_it_is_told_once(beside: Beside, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "session_tokens")
    with SessionTokens.open(beside.url, pepper=PEPPER, sweep=False, settings=SHORT) as other:
        opened = [other.open_session(owner) for owner in OWNERS]
        wait_until(lambda: not any(other.verify_session(session.secret) for session in opened))
        ended: list[str] = []
        with SessionTokens.open(beside.url, pepper=PEPPER, settings=SHORT) as st:
            beside.away.freeze()
            st.subscribe(lambda event: ended.append(event.kind))
            wait_until(lambda: len(ended) >= beside.there)
            told = [record for record in caplog.records if "sweeps fail" in record.getMessage()]
    assert len(told) <= 1


def test_what_was_read_of_the_settings_holds_while_they_cannot_be_read(cluster: Cluster) -> None:
    beside = Beside(cluster, first=True)
    often = Settings(refresh_interval=0.1)
    with SessionTokens.open(beside.url, pepper=PEPPER, sweep=False, settings=often) as st:
        st.set_setting("max_age", 7_200)
        st.refresh_settings()
        beside.away.freeze()
        until_s = time.monotonic() + 1
        while time.monotonic() < until_s:
            opened = st.open_session(beside.owner)
            assert st.issue_token(session_key=opened.id)
            assert opened.session.max_age == 7_200


async def test_what_was_read_of_the_settings_holds_for_tasks(cluster: Cluster) -> None:
    beside = Beside(cluster, first=True)
    often = Settings(refresh_interval=0.1)
    async with await AsyncSessionTokens.open(beside.url, pepper=PEPPER, sweep=False, settings=often) as st:
        await st.set_setting("max_age", 7_200)
        await st.refresh_settings()
        beside.away.freeze()
        until_s = time.monotonic() + 1
        while time.monotonic() < until_s:
            opened = await st.open_session(beside.owner)
            assert opened.session.max_age == 7_200
