"""A real cluster of Valkey servers, made with plain commands, and what moves a slot from node to node."""

from __future__ import annotations

import atexit
import functools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import valkey

from session_tokens.stores.valkey.primaries import slot_of
from tests.helpers.servers.failover import info
from tests.helpers.servers.ports import free_port
from tests.helpers.servers.valkey import HERE, Place, ValkeyServer
from tests.helpers.waiting import wait_until

SLOTS = 16_384
NODE_TIMEOUT_MS = 2500
"""After which the nodes of a cluster that is there to fail replace one; the time-out of a store is shorter."""
PAUSE_S = 0.2
"""Between two moves of a slot."""
CALM_TIMEOUT_MS = 60_000
"""That of a cluster in which nobody is to be replaced, on a busy machine either."""

DEAFENED = ("--enable-debug-command", "yes")
"""What the nodes are started with of which some are to be deafened."""


class Node(ValkeyServer):
    """One server of a cluster.

    Attributes:
        client: the driver's, to look behind the store's back; it follows nobody elsewhere.
        is_frozen: whether it was stopped in the midst of what it did, and was not woken.
        is_cut: whether nobody reaches it.
    """

    def __init__(self, timeout_ms: int, *words: str, place: Place = HERE) -> None:
        super().__init__(
            "--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--cluster-node-timeout", str(timeout_ms),
            "--repl-diskless-sync-delay", "0", "--cluster-allow-replica-migration", "no", *words,
            place=place,
        )  # fmt: skip
        self.bus = self._words[3]
        self.client = valkey.Valkey(place.host, self.port)
        self.is_frozen = self.is_cut = False

    @functools.cached_property
    def id(self) -> str:
        """Its name in the cluster."""
        return self.say("CLUSTER", "MYID").decode()

    def say(self, *words: object) -> bytes:
        """Return its reply to a command."""
        reply: bytes = self.ask(*words)
        return reply

    def ask(self, *words: object) -> Any:
        """Return its reply to a command, which is no word."""
        return self.client.execute_command(*words)  # type: ignore[no-untyped-call]  # the driver's

    def dump(self, key: bytes) -> bytes:
        """Return what stands under a key, though its slot is on the move to here."""
        pipeline: Any = self.client.pipeline(transaction=False)
        with pipeline as asking:
            asking.execute_command("ASKING")
            asking.execute_command("DUMP", key)
            there: bytes = asking.execute()[1]
            return there

    @property
    def answers(self) -> bool:
        """Whether it can be asked."""
        return bool(self.pids()) and not self.is_frozen and not self.is_cut

    def freeze(self) -> None:
        """Stop it as a machine does that pages, or whose hypervisor has other things to do."""
        self.pause()
        self.is_frozen = True

    def wake(self) -> None:
        """Let it go on."""
        self.resume()
        self.is_frozen = False

    def deafen(self) -> None:
        """Have it hear nothing of the other nodes; its clients reach it as before."""
        self.say("DEBUG", "DROP-CLUSTER-PACKET-FILTER", -2)

    def hear(self) -> None:
        """Have it hear the others again."""
        self.say("DEBUG", "DROP-CLUSTER-PACKET-FILTER", -1)

    def remove(self) -> None:
        self.client.close()  # type: ignore[no-untyped-call]  # the driver's
        super().remove()


class Cluster:
    """Primaries that share all slots, and replicas of them.

    Attributes:
        nodes: all, the first primaries first.
        url: of a store that knows two of them.
    """

    def __init__(
        self, primaries: int, replicas: Sequence[int], timeout_ms: int, *words: str, places: Sequence[Place] = ()
    ) -> None:
        """Make the nodes; ``replicas`` are the numbers of the primaries that they follow."""
        count = primaries + len(replicas)
        self.nodes = [Node(timeout_ms, *words, place=place) for place in places or [HERE] * count]
        self._primaries, self._follow = primaries, replicas
        self.url = "valkey+cluster://" + ",".join(f"{node.place.host}:{node.port}" for node in self.nodes[:2])

    def start(self) -> None:
        """Start all nodes, and wait until the cluster is whole."""
        for node in self.nodes:
            node.start()
        primaries = self.nodes[: self._primaries]
        bounds = [number * SLOTS // len(primaries) for number in range(len(primaries) + 1)]
        for number, node in enumerate(primaries):
            node.say("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
        for number, node in enumerate(self.nodes):
            node.say("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number:
                first = self.nodes[0]
                node.say("CLUSTER", "MEET", first.place.host, first.port, first.bus)
        ids = {node.id for node in self.nodes}
        wait_until(lambda: all(ids <= set(_known(node)) for node in self.nodes))
        for node, followed in zip(self.nodes[self._primaries :], self._follow, strict=True):
            node.say("CLUSTER", "REPLICATE", primaries[followed].id)
        wait_until(self.is_whole)

    def is_whole(self) -> bool:
        """Whether every node that answers says who holds all slots and who follows, and replicas have everything."""
        answering = [node for node in self.nodes if node.answers]
        ports = {node.port for node in answering}
        return all(_is_well(node) and ports <= _in_its_map(node) for node in answering)

    def holder(self, slot: int) -> Node:
        """Return the node that holds a slot, as the most recent configuration says that any node knows of."""
        seen: dict[str, tuple[int, str]] = {}
        for node in self.nodes:
            if node.answers:
                for id, fields in _known(node).items():
                    holds = any(_covers(part, slot) for part in fields[8:])
                    if holds and "master" in fields[2]:
                        seen[id] = int(fields[6]), id
        latest = max(seen.values())[1]
        return next(node for node in self.nodes if node.id == latest)

    def followers(self, node: Node) -> list[Node]:
        """Return the replicas of a node that run."""
        id = node.id
        return [one for one in self.nodes if one.answers and _known(one)[one.id][3] == id]

    def move(self, slot: int, target: Node) -> None:
        """Move a slot with all its keys in one step, as Valkey 9 can, and wait until it is there."""
        source = self.holder(slot)
        source.say("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target.id)
        wait_until(lambda: self.holder(slot) is target)

    def begin_move(self, slot: int, target: Node) -> Node:
        """Begin to move a slot key by key, as clusters did before; return the node that it is moved from."""
        source = self.holder(slot)
        target.say("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.say("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        return source

    @staticmethod
    def move_keys(source: Node, target: Node, keys: Sequence[bytes]) -> None:
        """Move some keys of a slot on the move."""
        source.say("MIGRATE", target.place.host, target.port, "", 0, 30_000, "KEYS", *keys)

    def end_move(self, slot: int, source: Node, target: Node) -> None:
        """Give a slot to where its keys are, all of which were moved."""
        target.say("CLUSTER", "SETSLOT", slot, "NODE", target.id)
        source.say("CLUSTER", "SETSLOT", slot, "NODE", target.id)
        wait_until(lambda: self.holder(slot) is target)

    def remove(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            node.remove()


class Mover:
    """Moves a slot from primary to primary, of several one after another, with a pause between, until told to stop.

    Attributes:
        moves: how often it has done so.
        has_moved_enough: set when it has so often as was wanted, or cannot any more.
    """

    def __init__(self, cluster: Cluster, slots: Sequence[int], wanted: int, pause_s: float = PAUSE_S) -> None:
        self._cluster, self._slots, self._wanted, self._pause_s = cluster, slots, wanted, pause_s
        self._thread = threading.Thread(target=self._run)
        self._is_told = threading.Event()
        self.has_moved_enough = threading.Event()
        self.moves = 0

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Move it in the background of a block."""
        self._thread.start()
        try:
            yield
        finally:
            self._is_told.set()
            self._thread.join()

    def _run(self) -> None:
        try:
            primaries = self._cluster.nodes[:3]
            while not self._is_told.wait(self._pause_s):
                slot = self._slots[self.moves % len(self._slots)]
                at = primaries.index(self._cluster.holder(slot))
                self._cluster.move(slot, primaries[(at + 1) % 3])
                self.moves += 1
                if self.moves == self._wanted:
                    self.has_moved_enough.set()
        finally:  # who waits for it is not left waiting
            self.has_moved_enough.set()


def slot_of_namespace(namespace: str) -> int:
    """Return the slot in which all keys of a name space lie."""
    return slot_of(f"{{{namespace}:00}}:n".encode())


def _known(node: Node) -> dict[str, list[str]]:
    """Return what a node says of each node that it knows, itself too: id → the fields of ``CLUSTER NODES``."""
    lines = node.say("CLUSTER", "NODES").decode().splitlines()
    return {fields[0]: fields for fields in map(str.split, lines) if "handshake" not in fields[2]}


def _in_its_map(node: Node) -> set[int]:
    """Return the ports of all nodes in a node's slot map."""
    return {told[1] for shard in node.ask("CLUSTER", "SLOTS") for told in shard[2:]}


def _covers(part: str, slot: int) -> bool:
    first, _, last = part.partition("-")
    return first.isdecimal() and int(first) <= slot <= int(last or first)


def _is_well(node: Node) -> bool:
    told = info(node, "replication")
    is_linked = told["role"] == "master" or told["master_link_status"] == "up"
    return is_linked and b"cluster_state:ok" in node.say("CLUSTER", "INFO")


@contextmanager
def cluster_of(primaries: int, replicas: Sequence[int], *words: str, places: Sequence[Place] = ()) -> Iterator[Cluster]:
    """Run a cluster whose nodes replace each other soon; ``replicas`` are the numbers of the primaries they follow."""
    cluster = Cluster(primaries, replicas, NODE_TIMEOUT_MS, *words, places=places)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


@functools.cache
def shared_cluster(program: str = "") -> Cluster:
    """Return the one cluster of this process of tests, 3 primaries with a replica each; none of them is to be hurt.

    Args:
        program: what its nodes run, if not what all tests do.
    """
    cluster = Cluster(3, (0, 1, 2), CALM_TIMEOUT_MS)
    if program:
        for node in cluster.nodes:
            node.program = Path(program)
    atexit.register(cluster.remove)
    cluster.start()
    return cluster
