"""Follows the nodes of a cluster for a near cache: each over a connection, on a thread and under a lease of its own.

Theory of operation. What is kept is a session or a token with all that it rests on, in one partition, read over the
connection to the node that holds it. So what ``tracking`` says of one server holds of each node by itself:

- *A slot that moves.* The node that gives it away deletes its keys, one by one or all at once, and says so of each that
  was read; a kept answer rests on a record at least that was there. A node that holds a slot no more answers no reading
  of it.
- *A fail-over.* The node that was replaced is dead or frozen, and its lease runs out; or is a replica, or cut off from
  the others, and refuses the beat, which reads a key of a partition.
- *A commit over several partitions.* What it writes is marked where it is held, and that is a change of which the node
  tells, before the commit is decided. What is marked as in doubt is not kept: it may be decided by now.

A node with no partition left is let go; one that has got the first is followed as soon as it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future

from ...contract.near_cache import Lease, NearCache
from ...crypto.secret_form import PARTITIONS
from ..common.following import PAUSE_S_MAX
from .blocking_connections import BlockingConnections
from .cluster_map import ClusterMap, ClusterNode
from .placement import FIRST, Placement
from .primaries import DriverPool, Host
from .tracking import Answer, Tracking, nothing, nothing_moved


class NodeTracking(Tracking):
    """One node.

    Args:
        near, heard, connections, timeout_s: as for ``Tracking``.
        node: finds it.
        host: where it is.
        cluster: knows which partitions it holds.
        placement: the partitions.
        let_go: is told where a node is that holds no partition any more.
    """

    def __init__(
        self,
        near: NearCache,
        heard: Callable[[int], None],
        node: ClusterNode,
        connections: BlockingConnections,
        host: Host,
        cluster: ClusterMap,
        placement: Placement,
        let_go: Callable[[Host], None],
        timeout_s: float,
    ) -> None:
        super().__init__(near, heard, node, connections, placement.prefixes[FIRST] + b"n", timeout_s)
        self._host = host
        self._cluster = cluster
        self._placement = placement
        self._let_go = let_go

    def follow(self, lease: Lease) -> None:
        """Follow over a partition that the node holds; one that holds none for a while is let go."""
        partition = self._held()
        if partition is None and not self._stopping.wait(PAUSE_S_MAX):
            partition = self._held()
        if partition is None:
            self._let_go(self._host)
            return
        self._key = self._placement.prefixes[partition] + b"n"
        super().follow(lease)

    def _held(self) -> int | None:
        """Return a partition that the node holds, by one look at the map, which others change meanwhile."""
        holders = self._cluster.holders[:PARTITIONS]
        return holders.index(self._host) if self._host in holders else None


class NodeTrackings:
    """All nodes that are followed; safe for threads.

    Args:
        near: is told what has changed.
        heard: is told a node's time, in milliseconds.
        pool: how blocking connections to the nodes are made.
        cluster: knows which node holds which partition.
        placement: the partitions.
        timeout_s: seconds after which a node that says nothing is left.
    """

    def __init__(
        self,
        near: NearCache,
        heard: Callable[[int], None],
        pool: DriverPool,
        cluster: ClusterMap,
        placement: Placement,
        timeout_s: float,
    ) -> None:
        self._near = near
        self._heard = heard
        self._pool = pool
        self._cluster = cluster
        self._placement = placement
        self._timeout_s = timeout_s
        self._nodes: dict[Host, NodeTracking] = {}
        self._closed = False

    def start(self) -> None:
        """Follow all nodes that hold a partition."""
        for host in self._cluster.primaries():
            self._node(host)

    def lease(self, host: Host | None) -> Lease | None:
        """Return under which lease is kept what a node is asked for now; ``None`` where nobody follows it."""
        node = None if host is None else self._node(host)
        return None if node is None else node.lease

    def ask(self, host: Host | None, commands: Sequence[bytes], probe: bytes) -> Future[Answer] | None:
        """Send readings to a node; as ``Tracking.ask``."""
        node = None if host is None else self._node(host)
        return None if node is None else node.ask(commands, probe)

    def hosts(self) -> Sequence[Host]:
        """Return where the nodes are that are followed."""
        return list(self._nodes)

    def stop(self) -> None:
        """End all threads and wait for them."""
        self._closed = True
        for node in list(self._nodes.values()):
            node.stop()

    def _node(self, host: Host) -> NodeTracking | None:
        node = self._nodes.get(host)
        if node is None and not self._closed:
            node = self._nodes.setdefault(host, self._new(host))
            node.start()
            if self._closed:
                node.stop()
        return node

    def _let_go(self, host: Host) -> None:
        """Follow a node no more: at another address each time, they would become more and more."""
        node = self._nodes.pop(host, None)
        if node is not None:
            node.leave()

    def _new(self, host: Host) -> NodeTracking:
        key, timeout_s = self._placement.prefixes[FIRST] + b"n", self._timeout_s
        node = ClusterNode(self._pool, host, self._cluster)
        connections = BlockingConnections(self._pool, node, key, nothing, nothing_moved, 0, timeout_s)
        return NodeTracking(
            self._near, self._heard, node, connections, host, self._cluster, self._placement, self._let_go, timeout_s
        )
