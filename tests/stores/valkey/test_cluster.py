"""`valkey+cluster://`: the shipped suite on a real cluster, what does not open on one, and what a store looks at."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator

import pytest
import valkey

from session_tokens import SessionTokens, StoreError
from session_tokens.contract.drive import drive_now
from session_tokens.stores.valkey.packing import pack
from session_tokens.stores.valkey.primaries import ClusterPrimary, Question, slot_of
from session_tokens.stores.valkey.store import open_valkey, open_valkey_blocking
from session_tokens.stores.valkey.survey import surveying
from session_tokens.testing.checks.transactions import IsolationChecks
from tests.helpers.conformance import OnValkey, only_checks_of
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
class TestCluster(OnValkey):
    @pytest.fixture(autouse=True)
    def _on_a_real_cluster(self, namespace: str) -> None:
        self.slot = slot_of_namespace(namespace)
        self.url = f"{shared_cluster().url}?namespace={namespace}"

    def client(self) -> valkey.Valkey:
        return valkey.Valkey(port=shared_cluster().holder(self.slot).port)


@pytest.mark.parametrize("key", [b"{st:00}:n", b"123456789", b"{}n", b"a{b}c{d}", b"{b", b"}b{c}", b""])
def test_a_key_lies_where_the_server_says(cluster: Cluster, key: bytes) -> None:
    assert slot_of(key) == cluster.nodes[0].ask("CLUSTER", "KEYSLOT", key)


def test_name_spaces_lie_on_different_nodes(cluster: Cluster) -> None:
    """The cluster spreads them, and finds each through any of its nodes, a replica too."""
    seen = set()
    for number in range(6):
        node = cluster.nodes[number % len(cluster.nodes)]
        name = f"spread{number}"
        url = f"valkey+cluster://127.0.0.1:{free_port()},127.0.0.1:{node.port}?timeout=10&namespace={name}"
        with SessionTokens(open_valkey_blocking(url, pepper=PEPPER)) as tokens:
            issued = tokens.open_session("alice")
            assert tokens.verify_session(issued.secret) == issued.session
        holder = cluster.holder(slot_of_namespace(name))
        assert holder.client.keys(f"{{{name}:00}}:s:*")
        seen.add(holder.port)

    assert seen == {node.port for node in cluster.nodes[:3]}


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
        if question.packed == pack([b"CLUSTER", b"SLOTS"]):
            return [nodes]
        if b"CONFIG" in question.packed:
            return [[b"cluster-node-timeout", b"15000"]]
        behind_ms = {"one": 0, "two": 400, "three": 1_400}[question.options["host"]]
        return [b"valkey_version:9.1.2", b"", [2_000, -behind_ms * 1000]]

    with caplog.at_level(logging.WARNING, "session_tokens.stores"):
        drive_now(steps, reply)

    assert "1.4 s apart" in caplog.text
