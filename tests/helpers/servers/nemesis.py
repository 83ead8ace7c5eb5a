"""What happens to the nodes of a cluster, one fault after another: the nemesis of those who use it."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import valkey

from session_tokens.stores.valkey.placement import Placement
from tests.helpers.servers.cluster import NODE_TIMEOUT_MS, Cluster, Node
from tests.helpers.servers.failover import info
from tests.helpers.servers.networks import Networks
from tests.helpers.servers.valkey import HERE, Place
from tests.helpers.waiting import wait_until

WITHOUT_TOOLS = ("kill", "freeze", "failover", "slots")
WITH_CLOCKS = (*WITHOUT_TOOLS, "stall", "bus", "clock")
WITH_NETWORKS = (*WITH_CLOCKS, "link", "routes")
LONG_ENOUGH_S = NODE_TIMEOUT_MS / 1000 + 2
"""After which the others have replaced a primary that they do not hear."""
BACK = "-3\n"
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
FAKETIME_LEAVES = ("/dev/shm/faketime_shm_{pid}", "/dev/shm/sem.faketime_sem_{pid}")


def on_clock(place: Place, path: Path) -> Place:
    """Return the place of a server whose clock goes by what stands in a file: how many seconds it is off."""
    path.write_text("+0\n")
    told = {
        "LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(path), "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    return replace(place, environment=told, left_behind=FAKETIME_LEAVES)


def clocks_in(folder: Path, places: Sequence[Place] = (HERE,) * 6) -> list[Place]:
    """Return the places of servers each of whose clocks goes by a file in a folder."""
    return [on_clock(place, folder / f"clock {number}") for number, place in enumerate(places)]


def is_primary(node: Node) -> bool:
    """Whether a node is a primary, as it says itself."""
    return info(node, "replication")["role"] == "master"


class Nemesis:
    """Does one thing after another to a cluster, in an order that a seed draws, and undoes it.

    Args:
        faults: names of its methods.
        namespace: of the store whose slots are moved.

    Attributes:
        done: how often it did what.
    """

    def __init__(
        self, cluster: Cluster, seed: int, faults: Sequence[str], namespace: str, networks: Networks | None = None
    ) -> None:
        self._cluster, self._faults, self._networks = cluster, faults, networks
        self._chance = random.Random(seed)
        self._slots = Placement(namespace).slots
        self.done: Counter[str] = Counter()

    def go_on_for(self, seconds: float) -> None:
        """Do all of it, each once at least, and again until the time is over; the cluster is whole afterwards."""
        until_s = time.monotonic() + seconds
        while not self.done or time.monotonic() < until_s:
            for fault in self._chance.sample(self._faults, len(self._faults)):
                if self.done[fault] and time.monotonic() > until_s:
                    continue
                primaries = [node for node in self._primaries() if self._cluster.followers(node)]
                getattr(self, fault)(self._chance.choice(primaries))
                wait_until(self._cluster.is_whole)
                self.done[fault] += 1
                time.sleep(self._chance.uniform(0.2, 0.8))

    def _primaries(self) -> list[Node]:
        return [node for node in self._cluster.nodes if is_primary(node)]

    def kill(self, node: Node) -> None:
        """End it as a crash does, and start it again after it was replaced."""
        replica = self._cluster.followers(node)[0]
        node.kill()
        wait_until(lambda: is_primary(replica))
        node.start()

    def freeze(self, node: Node) -> None:
        """Stop it until it was replaced."""
        replica = self._cluster.followers(node)[0]
        node.freeze()
        try:
            wait_until(lambda: is_primary(replica))
        finally:
            node.wake()

    def stall(self, node: Node) -> None:
        """Stop it for about as long as callers wait."""
        node.freeze()
        time.sleep(self._chance.uniform(0.2, 1.8))
        node.wake()

    def bus(self, node: Node) -> None:
        """Let it hear no other node, though clients and its replica go on to talk with it."""
        node.deafen()
        time.sleep(LONG_ENOUGH_S)
        node.hear()

    def failover(self, node: Node) -> None:
        """Let its replica take its place in order."""
        replica = self._cluster.followers(node)[0]
        replica.say("CLUSTER", "FAILOVER")
        wait_until(lambda: is_primary(replica))

    def slots(self, node: Node) -> None:
        """Move some partitions to it."""
        for slot in self._chance.sample(self._slots, 4):
            if self._cluster.holder(slot) is not node:
                try:
                    self._cluster.move(slot, node)
                except valkey.exceptions.ResponseError:  # it is busy with another
                    self.done["slots that stayed"] += 1

    def clock(self, node: Node) -> None:
        """Set its clock back by three seconds, and forth again."""
        path = Path(node.place.environment["FAKETIME_TIMESTAMP_FILE"])
        path.write_text(BACK)
        wait_until(lambda: node.ask("TIME")[0] < time.time() - 1.5)
        time.sleep(2)
        path.write_text("+0\n")
        wait_until(lambda: node.ask("TIME")[0] > time.time() - 1.5)

    def link(self, node: Node) -> None:
        """Cut it off from everybody."""
        assert self._networks is not None
        number = self._cluster.nodes.index(node)
        self._networks.cut(number)
        node.is_cut = True
        time.sleep(LONG_ENOUGH_S)
        self._networks.join(number)
        node.is_cut = False

    def routes(self, node: Node) -> None:
        """Cut it off from the other nodes, its replica too, but not from clients."""
        assert self._networks is not None
        number = self._cluster.nodes.index(node)
        self._networks.part(number)
        time.sleep(LONG_ENOUGH_S)
        self._networks.rejoin(number)
