"""Real servers on the clock of a test: what it needs to stand them beside memory.

A server's clock is not ours to set. So the one function by which each tells the time is replaced on the server by one
that returns what was set last, and it is set before anything is asked. All else is the server's and the store's own.
"""

from __future__ import annotations

import atexit
import functools
import threading
from typing import Any, cast

import psycopg

from session_tokens.clock import ManualClock
from session_tokens.crypto.minting import PepperKeyring
from session_tokens.crypto.secret_form import PARTITIONS
from session_tokens.stores.common.pools import Link
from session_tokens.stores.common.retry import NotExecuted
from session_tokens.stores.common.server_store import ServerStore
from session_tokens.stores.mysql.address import Address as MySQLAddress
from session_tokens.stores.mysql.connections import MySQLLink, MySQLLinks
from session_tokens.stores.mysql.statements import Packet, Rows
from session_tokens.stores.mysql.store import MySQLBackend
from session_tokens.stores.postgres.address import Address
from session_tokens.stores.postgres.pool import Pool
from session_tokens.stores.postgres.store import BlockingPostgresStore
from session_tokens.stores.valkey.blocking_cluster import BlockingClusterStore
from session_tokens.stores.valkey.blocking_nodes import BlockingNodes
from session_tokens.stores.valkey.cluster_map import Pending
from session_tokens.stores.valkey.connections import Steps
from session_tokens.stores.valkey.exchanges import Seen
from session_tokens.stores.valkey.joint import Call
from session_tokens.stores.valkey.key_chains import KeyChain
from session_tokens.stores.valkey.library import library_text
from session_tokens.stores.valkey.packing import pack
from session_tokens.stores.valkey.primaries import Host
from session_tokens.stores.valkey.schema import Address as ValkeyAddress
from session_tokens.stores.valkey.store import BlockingValkeyStore, _pool_of_url
from tests.helpers.servers.cluster import CALM_TIMEOUT_MS, Cluster
from tests.helpers.servers.postgres import shared_server
from tests.helpers.servers.valkey import ValkeyServer

PEPPER = bytes(range(32))


class PoolOnOurClock(Pool):
    """Connections to a server that tells the time that a test sets."""

    def __init__(self, address: Address, clock: ManualClock) -> None:
        super().__init__(address)
        self._ours = clock
        self._set_to: int | None = None
        self._setter = psycopg.connect(cast("Any", shared_server().url()), autocommit=True)

    def take(self, timeout_s: float) -> Link:
        now = self._ours.now()
        if now != self._set_to:
            self._setter.execute(f"UPDATE {self.address.schema}.our_clock SET ms = {now:d}".encode())
            self._set_to = now
        return super().take(timeout_s)

    def close_all(self) -> None:
        super().close_all()
        self._setter.close()


class PostgresOnOurClock(BlockingPostgresStore):
    """A PostgreSQL store whose server tells the time that a test sets."""

    def __init__(self, address: Address, clock: ManualClock) -> None:
        super().__init__(address, PepperKeyring(PEPPER))
        self._pool = PoolOnOurClock(address, clock)
        self._core.decoder.seen.now = clock.now


class MySQLLinkOnOurClock(MySQLLink):
    """A connection that says the time before all that it says; a server keeps it for a connection."""

    def __init__(self, connection: Any, clock: ManualClock) -> None:
        super().__init__(connection)
        self._ours = clock

    def ask(self, packet: Packet, timeout_s: float) -> list[Rows]:
        now = self._ours.now()
        setting = f"SET SESSION timestamp = {now // 1000}.{now % 1000:03d}"
        return super().ask(Packet([setting, *packet.statements], packet.lasts), timeout_s)[1:]


class MySQLLinksOnOurClock(MySQLLinks):
    """Connections to a server that tells the time that a test sets."""

    def __init__(self, address: MySQLAddress, clock: ManualClock) -> None:
        super().__init__(address)
        self._ours = clock

    def connect(self, timeout_s: float, step_s: float) -> MySQLLink:
        return MySQLLinkOnOurClock(super().connect(timeout_s, step_s).connection, self._ours)


def mysql_on_our_clock(address: MySQLAddress, clock: ManualClock) -> ServerStore:
    """Return a store in MariaDB whose server tells the time that a test sets."""
    backend = MySQLBackend(address, PepperKeyring(PEPPER))
    backend.links = MySQLLinksOnOurClock(address, clock)
    backend.record_cache.now = clock.now
    return ServerStore(backend)


@functools.cache
def valkey_on_our_clock() -> ValkeyServer:
    """Return a server for these tests alone: its function library tells another time."""
    server = ValkeyServer()
    atexit.register(server.remove)
    server.start()
    return server


@functools.cache
def cluster_on_our_clock() -> Cluster:
    """As ``valkey_on_our_clock``, a cluster of one node."""
    cluster = Cluster(1, (), CALM_TIMEOUT_MS)
    atexit.register(cluster.remove)
    cluster.start()
    return cluster


def library_on_our_clock() -> bytes:
    """Return the function library with our clock, and without keys that expire by the server's."""
    text = library_text().decode()
    ours = """
local function our_time(key)
  local ms = tonumber(redis.call('GET', (string.gsub(key, 'n$', 'clock'))) or nil)
  if not ms then
    return redis.call('TIME') -- the store is being opened
  end
  return {math.floor(ms / 1000), ms % 1000 * 1000}
end
"""
    first_line, rest = text.split("\n", 1)
    replaced = rest.replace("redis.call('TIME')", "our_time(keys[1])").replace(", 'PXAT', args[at + 1]", "")
    assert replaced.count("our_time(keys[1])") == 8 and "PXAT" not in replaced.replace("--", "")
    return f"{first_line}\n{ours}{replaced}".encode()


class ValkeyOnOurClock(BlockingValkeyStore):
    """A Valkey store whose server tells the time that a test sets."""

    def __init__(self, address: ValkeyAddress, clock: ManualClock) -> None:
        super().__init__(address, _pool_of_url(address, ""), PepperKeyring(PEPPER), "")
        self._ours = clock
        self._set_to: int | None = None
        self._core.codec.record_cache.now = clock.now
        loading = pack([b"FUNCTION", b"LOAD", b"REPLACE", library_on_our_clock()])
        assert self._connections.exchange(loading, 1, 20, self._connections.probe)[0] == b"session_tokens_v1"

    def _ask(self, packed: bytes, replies: int, probe: bytes, until_s: float | None = None) -> list[Any]:
        self._set_the_time()
        return super()._ask(packed, replies, probe, until_s)

    def _carry_chain(self, path: KeyChain) -> Seen | None:
        """Set the time here too: one look-up alone does not go by ``_ask``."""
        self._set_the_time()
        return super()._carry_chain(path)

    def _set_the_time(self) -> None:
        now = self._ours.now()
        if now != self._set_to:
            setting = pack([b"SET", self._core.codec.prefix + b"clock", b"%d" % now])
            super()._ask(setting, 1, self._connections.probe)
            self._set_to = now


class NodesOnOurClock(BlockingNodes):
    """The nodes of a cluster that tell the time that a test sets."""

    ours: ManualClock
    _set_to: int | None = None
    _setting = threading.Lock()

    def read_at(self, host: Host | None, packed: bytes, count: int, until_s: float) -> list[Any]:
        """Let whoever asks take the way on which the time is ours."""
        raise NotExecuted("the time of the node is not ours")

    def ask_packed(
        self, pending: list[Pending], clock: bytes = b"", until_s: float | None = None
    ) -> tuple[list[Any], int]:
        now = self.ours.now()
        with self._setting:  # a commit's end is written behind the answer, by a thread beside the one that asks next
            if now != self._set_to:
                prefixes = self._placement.prefixes[:PARTITIONS]
                words = [[b"SET", prefix + b"clock", b"%d" % now] for prefix in prefixes]
                calls = [Call(number, each, writes=False) for number, each in enumerate(words)]
                super().ask_packed([Pending(at, call, pack(call.words)) for at, call in enumerate(calls)])
                self._set_to = now
        answers, told = super().ask_packed(pending, clock, until_s)
        return answers, now if told else 0


class ClusterOnOurClock(BlockingClusterStore):
    """A store in 64 partitions whose nodes tell the time that a test sets."""

    def __init__(self, address: ValkeyAddress, clock: ManualClock) -> None:
        pool = _pool_of_url(address, "")
        super().__init__(address, pool, PepperKeyring(PEPPER), "")
        codec = self._core.codec
        codec.record_cache.now = clock.now
        self._nodes = NodesOnOurClock(
            pool, address.hosts, self._core.placement, address.policy, 0, _no_steps, codec.record_cache.drop
        )
        self._nodes.ours = clock
        for node in cluster_on_our_clock().nodes:
            node.say("FUNCTION", "LOAD", "REPLACE", library_on_our_clock())


def _no_steps(partition: int) -> Steps:
    yield from ()
