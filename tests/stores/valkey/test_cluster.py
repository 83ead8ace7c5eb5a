"""`valkey+cluster://`: the shipped suite on a real cluster, what does not open on one, and what a store looks at."""

from __future__ import annotations

import gc
import itertools
import logging
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import valkey
import valkey.asyncio

from session_tokens import InvalidInput, SessionTokens, StoreError
from session_tokens.contract.drive import drive_now
from session_tokens.contract.partitioning import partition_of_owner
from session_tokens.stores.common.retry import Elsewhere, RetryPolicy
from session_tokens.stores.valkey.async_nodes import AsyncNodes
from session_tokens.stores.valkey.connections import Steps
from session_tokens.stores.valkey.packing import pack
from session_tokens.stores.valkey.placement import Placement
from session_tokens.stores.valkey.primaries import ClusterPrimary, Question, slot_of
from session_tokens.stores.valkey.store import open_valkey, open_valkey_blocking
from session_tokens.stores.valkey.survey import surveying
from session_tokens.testing.checks.care import DueChecks
from session_tokens.testing.checks.events import EventChecks
from session_tokens.testing.checks.listings import ListingChecks
from session_tokens.testing.checks.log_in import LogInChecks
from session_tokens.testing.checks.passing import PassingChecks
from session_tokens.testing.checks.queries import OtherQueryChecks
from session_tokens.testing.checks.transactions import IsolationChecks
from tests.helpers.conformance import OnValkey, only_checks_of
from tests.helpers.partitions import OnPartitions
from tests.helpers.servers.cluster import CALM_TIMEOUT_MS, Cluster, shared_cluster, slot_of_namespace
from tests.helpers.servers.ports import free_port
from tests.helpers.servers.valkey import ValkeyServer

pytestmark = pytest.mark.server

Start = Callable[..., ValkeyServer]
PEPPER = bytes(range(32))


@pytest.fixture
def cluster() -> Cluster:
    return shared_cluster()


@pytest.fixture
def namespace() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


@only_checks_of(IsolationChecks)
class TestOneSlot(OnValkey):
    """A name space in one slot."""

    @pytest.fixture(autouse=True)
    def _on_a_real_cluster(self, namespace: str) -> None:
        self.slot = slot_of_namespace(namespace)
        self.url = f"{shared_cluster().url}?partitions=1&namespace={namespace}"

    def _prefix(self) -> str:
        return f"{{{self.url.partition('namespace=')[2]}:00}}:"

    def client(self) -> valkey.Valkey:
        return valkey.Valkey(port=shared_cluster().holder(self.slot).port)


@only_checks_of(IsolationChecks, PassingChecks, ListingChecks, EventChecks, DueChecks, OtherQueryChecks, LogInChecks)
class TestPartitions(OnPartitions):
    """A name space in 64 partitions."""

    @pytest.fixture(autouse=True)
    def _on_a_real_cluster(self, namespace: str) -> None:
        self.cluster = shared_cluster()
        self.url = f"{self.cluster.url}?namespace={namespace}"


@pytest.mark.parametrize("key", [b"{st:00}:n", b"123456789", b"{}n", b"a{b}c{d}", b"{b", b"}b{c}", b""])
def test_a_key_lies_where_the_server_says(cluster: Cluster, key: bytes) -> None:
    assert slot_of(key) == cluster.nodes[0].ask("CLUSTER", "KEYSLOT", key)


def test_a_name_space_is_spread_over_all_nodes(cluster: Cluster, namespace: str) -> None:
    """It is found through any of them, a replica too, and each has the owners whose partitions it holds."""
    owners = [f"owner {number}" for number in range(120)]
    for number, node in enumerate(cluster.nodes):
        url = f"valkey+cluster://127.0.0.1:{free_port()},127.0.0.1:{node.port}?timeout=10&namespace={namespace}"
        with SessionTokens(open_valkey_blocking(url, pepper=PEPPER)) as tokens:
            for owner in owners[number::6]:
                issued = tokens.open_session(owner)
                assert tokens.verify_session(issued.secret) == issued.session
    found = {node.port: len(list(node.client.scan_iter(f"{{{namespace}:*}}:s:*"))) for node in cluster.nodes[:3]}

    slots = Placement(namespace).slots
    assert found == Counter(cluster.holder(slots[partition_of_owner(owner)]).port for owner in owners)


@pytest.mark.parametrize(("made", "opened"), [("64", "1"), ("1", "64")])
async def test_a_name_space_is_opened_as_it_was_made(cluster: Cluster, namespace: str, made: str, opened: str) -> None:
    url = f"{cluster.url}?timeout=10&namespace={namespace}"
    open_valkey_blocking(f"{url}&partitions={made}", pepper=PEPPER).close_now()

    assert f"name it with partitions={made}, or copy it" in str(await refusal(f"{url}&partitions={opened}"))


def test_a_near_cache_is_refused_where_a_client_says_how_to_connect(cluster: Cluster, namespace: str) -> None:
    url = f"{cluster.url}?timeout=10&namespace={namespace}"
    store = open_valkey_blocking(url, pepper=PEPPER, client=cluster.nodes[0].client)
    with pytest.raises(InvalidInput, match="without client="):
        store.begin_near_cache(0.5)
    store.close_now()


async def test_nodes_that_were_made_ready_are_left_properly_where_another_is_no_primary(
    cluster: Cluster, namespace: str
) -> None:
    turns = itertools.count()

    def fitting(partition: int) -> Steps:
        yield [b"PING"]
        if next(turns) == 1:  # of the second node, the first time
            raise Elsewhere("a fail-over is under way")

    hosts = [("127.0.0.1", node.port) for node in cluster.nodes]
    pool, policy = valkey.asyncio.ConnectionPool(), RetryPolicy(timeout_s=10)
    nodes = AsyncNodes(pool, hosts, Placement(namespace), policy, 0, fitting, lambda: None)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        await nodes.open()
        gc.collect()
    await nodes.close_all()

    assert next(turns) == 5
    assert told == []


# --- what does not open, and why ---


async def refusal(url: str) -> StoreError:
    """Return what both shells say, which should be one thing."""
    with pytest.raises(StoreError) as blocking:
        open_valkey_blocking(url, pepper=PEPPER)
    with pytest.raises(StoreError) as for_asyncio:
        await open_valkey(url, pepper=PEPPER)
    assert (type(blocking.value), str(blocking.value)) == (type(for_asyncio.value), str(for_asyncio.value))
    return blocking.value


async def test_a_single_server_and_a_node_are_told_apart(cluster: Cluster, valkey_server: ValkeyServer) -> None:
    told = await refusal(valkey_server.url.replace("valkey:", "valkey+cluster:"))
    assert str(told) == "the server is no node of a cluster; name it with valkey://host:port"
    for node in cluster.nodes:
        told = await refusal(f"{node.url}?timeout=10")
        assert str(told) == "the server is a node of a cluster; name it with valkey+cluster://host:port"


async def test_a_store_waits_less_long_than_the_nodes_do(cluster: Cluster, namespace: str) -> None:
    told = await refusal(f"{cluster.url}?namespace={namespace}&timeout={CALM_TIMEOUT_MS / 1000}")

    assert "raise cluster-node-timeout, or give a shorter ?timeout=" in str(told)


@pytest.fixture
def evicting(cluster: Cluster) -> Iterator[None]:
    """Let a replica throw keys away, which is only seen where it is looked at."""
    cluster.nodes[-1].say("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    yield
    cluster.nodes[-1].say("CONFIG", "SET", "maxmemory-policy", "noeviction")


@pytest.mark.usefixtures("evicting")
async def test_a_node_that_may_become_primary_keeps_every_key(cluster: Cluster, namespace: str) -> None:
    told = await refusal(f"{cluster.url}?namespace={namespace}&timeout=10")

    assert "maxmemory-policy allkeys-lru" in str(told)


async def test_a_cluster_of_which_no_node_answers_is_unavailable() -> None:
    told = await refusal(f"valkey+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}")

    assert "cannot be reached" in str(told)


class Driver:
    """Where connections come from that are never made."""

    connection_class = object
    connection_kwargs = {"host": "one", "port": 1}  # noqa: RUF012  # as the driver has it


def test_clocks_that_are_apart_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    nodes = [[0, 16_383, *([host, 1, b"id", []] for host in (b"one", b"two", b"three"))]]
    steps = surveying(ClusterPrimary(Driver(), [("one", 1)], b"{st:00}:n", 1.0))

    def reply(question: Question) -> list[object]:
        if question.packed.startswith(pack([b"CLUSTER", b"SLOTS"])):
            return [nodes, b"", [2_000, 0]]
        if b"CONFIG" in question.packed:
            return [[b"cluster-node-timeout", b"15000"]]
        behind_ms = {"one": 0, "two": 400, "three": 1_400}[question.options["host"]]
        return [b"valkey_version:9.1.2", b"", [2_000, -behind_ms * 1000]]

    with caplog.at_level(logging.WARNING, "session_tokens.stores"):
        drive_now(steps, reply)

    assert "1.4 s apart" in caplog.text
