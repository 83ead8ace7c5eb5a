"""Where the primary of a store's keys is now: at one address, where Sentinels say, or where a cluster's slot map says.

Theory of operation. Each new connection goes to where the primary is at that time. Finding it is a generator without
I/O: it yields what other servers are to be asked, and returns how the connection is made. What one of them says is no
proof, for one that was cut off says what was right before. So a Sentinel that knows of fewer fail-overs than were
heard of is passed over, a node of a cluster that hears none of the others too, and whoever led astray is asked last the
next time. The server that is found says itself that it is a primary, and with each command of a cluster's that the keys
are its own.

A primary that was frozen, replaced and woken answers what lies in its sockets before it learns that it is none. It is
replaced no sooner than its supervisors have waited for it (``down-after-milliseconds``, ``cluster-node-timeout``), so
a store waits for answers less long than they do. A node of a cluster knows when it last heard the others: a connection
to it that is new, or was silent for the rest of that time, is used when that is not as long ago. Nobody tells a server
that Sentinels watch, before one of them does, some seconds later: there a Sentinel is asked once a second whether the
primary is where it was.
"""

from __future__ import annotations

import math
import re
import time
from binascii import crc_hqx
from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from ...errors import StoreError, StoreUnavailable
from ..common.retry import Elsewhere, NotExecuted, OnTheMove
from .packing import fields_of, mapping_of, milliseconds, pack

SLOTS = 16_384
DEAF_AFTER_S = 2.5
"""Without having heard another node, where nobody tells how long the cluster waits; they speak each second or so."""
ASK_EVERY_S = 1.0
"""Seconds after which a Sentinel is asked again whether the primary is where it was."""

MOVED = re.compile(r"MOVED \d+ (.*):(\d+)$")
_NO_SENTINEL = "the command sentinel"

_FLAGS, _PONG, _SLOTS_FROM = 2, 5, 8
"""Where a line of ``CLUSTER NODES`` says what a node is and when it was heard last, and after which field its slots."""

Host = tuple[str, int]
Options = Mapping[str, Any]
"""How a connection is made, as the driver's connection class takes it."""


class Deaf(OnTheMove, Elsewhere):
    """A node was not asked: it may have been replaced and not have heard of it. Another knows, or it soon will."""


class DriverPool(Protocol):
    """Where a client keeps how its connections are made."""

    connection_class: Any
    connection_kwargs: Any


class Question(NamedTuple):
    """What another server than the primary is asked, over a connection that is made for it alone."""

    options: Options
    packed: bytes
    replies: int


Locating = Generator[Question, list[Any], Options]
Listing = Generator[Question, list[Any], list[Options]]


INFO = (pack([b"INFO", b"server"]), pack([b"INFO", b"replication"]))
HEARING = (pack([b"CLUSTER", b"NODES"]), pack([b"TIME"]))
_MAP = pack([b"CLUSTER", b"SLOTS"]) + b"".join(HEARING)


class Primary:
    """The one server at an address, to whichever that leads.

    Attributes:
        options: how a connection to the first host is made.
        can_move: whether there are others to ask when it does not answer.
        trusted_s: seconds for which a connection may be silent and is used again without a greeting.
        ask_at_s: the instant, on the monotonic clock, from which on it is to be asked whether it has moved.
        in_cluster: whether it is a node of one.
        greeting: the packed commands that a server is asked before it is used.
        deaf_after_s: seconds after which a node of a cluster may have been replaced that heard no other.
        why_replica: what is said of a server that is found and is a replica.
    """

    can_move = False
    trusted_s = math.inf
    ask_at_s = math.inf
    in_cluster = False
    greeting: Sequence[bytes] = INFO
    deaf_after_s = math.inf
    why_replica = "the server is a read-only replica; give the address of the primary"

    def __init__(self, pool: DriverPool) -> None:
        self.options: Options = pool.connection_kwargs

    def locating(self) -> Locating:
        """Yield what is to be asked where, take the replies, return how a connection to the primary is made.

        Raises:
            StoreUnavailable: nobody who could be asked knows it.
            StoreError: those who were asked never will.
        """
        yield from ()
        return self.options

    def listing(self) -> Listing:
        """As ``locating``, for all servers that may be the primary one day; none where they are not known."""
        yield from ()
        return []

    def led_astray(self, error: BaseException) -> None:
        """Take in that the server which was found did not answer, or not as the primary."""

    def insist(self, server: bytes, replication: bytes, *hearing: Any) -> tuple[str, bool]:
        """Return the run of a server that was found, and whether it ever had a replica.

        Args:
            server: its reply to ``INFO server``.
            replication: its reply to ``INFO replication``.
            hearing: its replies to ``HEARING``, where it is a node of a cluster.

        Raises:
            StoreError: it is a Sentinel, or node of a cluster where none was named, or the other way round.
            Elsewhere: it is a replica.
            Deaf: it has not heard the other nodes, and may be a replica by now.
        """
        told = fields_of(server)
        mode = told.get("server_mode") or told.get("redis_mode", "standalone")
        if mode == "sentinel":
            raise StoreError(
                "the address is that of a Sentinel, not of a server; give the name of the primary too: "
                "valkey+sentinel://host:port/name"
            )
        if (mode == "cluster") != self.in_cluster:
            raise StoreError(
                "the server is no node of a cluster; name it with valkey://host:port"
                if self.in_cluster
                else "the server is a node of a cluster; name it with valkey+cluster://host:port"
            )
        told_of_replicas = fields_of(replication)
        if told_of_replicas.get("role", "master") != "master":
            raise Elsewhere(self.why_replica)
        if hearing and is_deaf(self.deaf_after_s, *hearing):
            raise Deaf(
                "a node of the cluster has not heard the others lately and may have been replaced; they are asked"
            )
        return told.get("run_id", ""), told_of_replicas.get("master_repl_offset", "0") != "0"

    def _at(self, host: Host) -> Options:
        return {**self.options, "host": host[0], "port": host[1]}


class WatchedPrimary(Primary):
    """The server that Sentinels name.

    Args:
        pool: how connections to it are made.
        sentinels: hosts and ports.
        name: under which they watch it.
        credentials: user and password that the Sentinels take.
        timeout_s: seconds for which the store waits for an answer.
    """

    can_move = True
    why_replica = "the server that the Sentinels name is a replica still; a fail-over is under way"

    def __init__(
        self,
        pool: DriverPool,
        sentinels: Sequence[Host],
        name: str,
        credentials: tuple[str | None, str | None],
        timeout_s: float,
    ) -> None:
        super().__init__(pool)
        to_sentinels = {key: value for key, value in self.options.items() if key != "db"}
        self._to_sentinels = {**to_sentinels, "username": credentials[0], "password": credentials[1]}
        self._sentinels = list(sentinels)
        self._name = name.encode("ascii")
        self._timeout_s = timeout_s
        self._epoch, self._ask_every_s = -1, ASK_EVERY_S
        self._found: Options = self.options

    def locating(self) -> Locating:
        """Ask the Sentinels in turn, all of them the first time: one may not have heard yet of a fail-over."""
        self.ask_at_s = time.monotonic() + self._ask_every_s
        troubles: list[StoreError] = []
        is_first, found = self._epoch < 0, False
        for sentinel in tuple(self._sentinels):
            try:
                found = (yield from self._asked(sentinel)) or found
            except StoreError as error:
                troubles.append(error)
                self._put_last(sentinel)
                continue
            if found and not is_first:
                break
        if not found:
            self._give_up(troubles)
        return self._found

    def _asked(self, sentinel: Host) -> Generator[Question, list[Any], bool]:
        """Ask one Sentinel; return whether what it knows is the latest."""
        words = ([b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self._name], [b"SENTINEL", b"MASTER", self._name])
        options = {**self._to_sentinels, "host": sentinel[0], "port": sentinel[1]}
        address, told = yield Question(options, b"".join(map(pack, words)), len(words))
        fields = mapping_of(told)
        epoch = int(fields["config-epoch"])
        if epoch < self._epoch:
            raise NotExecuted("a Sentinel was cut off and does not know of the last fail-over")
        wait_s = int(fields["down-after-milliseconds"]) / 1000
        if wait_s <= self._timeout_s:
            raise StoreError(too_impatient("the Sentinels", "down-after-milliseconds", wait_s, self._timeout_s))
        self._epoch, self._ask_every_s = epoch, min(ASK_EVERY_S, wait_s / 2)
        self._found = self._at((address[0].decode(), int(address[1])))
        return True

    def _give_up(self, troubles: Sequence[StoreError]) -> None:
        if any(_NO_SENTINEL in str(error).lower() for error in troubles):
            raise StoreError(
                "a host of the store's URL is no Sentinel; name the Sentinels (port 26379 as a rule), or the server "
                "itself with valkey://host:port"
            )
        unavailable = [error for error in troubles if isinstance(error, StoreUnavailable)]
        if all(" with that name" in str(error) for error in troubles):
            raise StoreError(
                "the Sentinels watch no primary of that name; the path of the store's URL is the name that stands in "
                "their configuration (sentinel monitor name …)"
            )
        if not unavailable:
            raise troubles[-1]
        raise NotExecuted(
            f"no Sentinel tells where the primary is ({unavailable[-1]}); are they running, are their addresses right, "
            "do they take the URL's user and password, or others (sentinel_user=, sentinel_password=)?"
        ) from unavailable[-1]

    def _put_last(self, sentinel: Host) -> None:
        self._sentinels = [*(one for one in self._sentinels if one != sentinel), sentinel]

    def led_astray(self, error: BaseException) -> None:
        """Ask another Sentinel first the next time."""
        self._put_last(self._sentinels[0])

    def listing(self) -> Listing:
        """Ask a Sentinel for the replicas."""
        options = {**self._to_sentinels, "host": self._sentinels[0][0], "port": self._sentinels[0][1]}
        (replicas,) = yield Question(options, pack([b"SENTINEL", b"REPLICAS", self._name]), 1)
        hosts = [mapping_of(replica) for replica in replicas]
        return [self._found, *(self._at((host["ip"], int(host["port"]))) for host in hosts)]


class ClusterPrimary(Primary):
    """The node of a cluster that holds the slot of the store's keys.

    Args:
        pool: how connections to it are made.
        nodes: hosts and ports of some, of which one has to answer.
        key: one of the store's, all of which lie in one slot.
        timeout_s: seconds for which the store waits for an answer.
    """

    can_move = True
    in_cluster = True
    greeting = INFO + HEARING
    trusted_s = 0.0  # as long as nobody told how long the cluster waits
    deaf_after_s = DEAF_AFTER_S
    why_replica = "the node that held the keys is a replica now; a fail-over is under way"

    def __init__(self, pool: DriverPool, nodes: Sequence[Host], key: bytes, timeout_s: float) -> None:
        super().__init__(pool)
        self._named = tuple(nodes)
        self._nodes = list(nodes)
        self._slot = slot_of(key)
        self._timeout_s = timeout_s
        self._found: Host | None = None

    def locating(self) -> Locating:
        """Ask one node after another for the slot map, where it is not known who holds the slot."""
        if self._found is None:
            yield from self._map()
        assert self._found is not None
        return self._at(self._found)

    def listing(self) -> Listing:
        """Ask for all nodes, and how long they wait for each other, where the user may ask that."""
        shards = yield from self._map()
        holder = yield from self.locating()
        try:
            (told,) = yield Question(holder, pack([b"CONFIG", b"GET", b"cluster-node-timeout"]), 1)
        except StoreError:
            told = []
        if told:
            wait_s = int(mapping_of(told)["cluster-node-timeout"]) / 1000
            if wait_s <= self._timeout_s:
                raise StoreError(too_impatient("the nodes", "cluster-node-timeout", wait_s, self._timeout_s))
            self.trusted_s, self.deaf_after_s = max(0.0, wait_s - 2 * self._timeout_s), wait_s
        return [self._at(node) for node in shards]

    def _map(self) -> Generator[Question, list[Any], list[Host]]:
        """Return all nodes; who holds the slot is remembered."""
        trouble: StoreError | None = None
        deaf: tuple[Host, Any] | None = None
        for node in tuple(self._nodes):
            try:
                shards, *hearing = yield Question(self._at(node), _MAP, 1 + len(HEARING))
            except StoreError as error:
                if "cluster support disabled" in str(error):
                    raise StoreError("the server is no node of a cluster; name it with valkey://host:port") from error
                trouble = error
            else:
                if is_deaf(self.deaf_after_s, *hearing):
                    deaf = node, shards
                elif self._take_in(shards, node[0]):
                    return self._told_by(node, shards)
                else:
                    trouble = OnTheMove(
                        f"no node of the cluster holds slot {self._slot}, in which the store's keys lie"
                    )
            self._put_last(node)
        if deaf is not None and self._take_in(deaf[1], deaf[0][0]):  # better than nothing
            return self._told_by(*deaf)
        assert trouble is not None
        raise trouble

    def _told_by(self, node: Host, shards: Sequence[Sequence[Any]]) -> list[Host]:
        """Remember which nodes there are, first the one that told; return those that it told of."""
        known = {host: None for shard in shards for host in hosts_of(shard, node[0])}
        self._nodes = [*dict.fromkeys((node, *known, *self._named))]
        return [*known]

    def _take_in(self, shards: Sequence[Sequence[Any]], asked: str) -> bool:
        """Remember who holds the slot, as a node says that was asked; return whether anybody does."""
        holders = [hosts_of(shard, asked)[0] for shard in shards if shard[0] <= self._slot <= shard[1]]
        if holders:
            self._found = holders[0]
        return bool(holders)

    def _put_last(self, node: Host) -> None:
        self._nodes = [*(one for one in self._nodes if one != node), node]

    def led_astray(self, error: BaseException) -> None:
        """Go where the error says, or ask another node first the next time."""
        moved = MOVED.search(str(error))
        if moved and moved[1] not in ("", "?"):
            self._found = moved[1], int(moved[2])
        else:
            self._found = None
            self._put_last(self._nodes[0])


def is_deaf(after_s: float, nodes: bytes, time: Any) -> bool:
    """Return whether a node of a cluster has not heard another one lately, though others hold slots.

    Args:
        after_s: seconds after which it is deaf.
        nodes: its reply to ``CLUSTER NODES``.
        time: its reply to ``TIME``.
    """
    others = [fields for fields in map(bytes.split, nodes.splitlines()) if b"myself" not in fields[_FLAGS].split(b",")]
    if not any(len(fields) > _SLOTS_FROM for fields in others):
        return False
    now = milliseconds(time)  # its clock may have been set meanwhile, back too
    return min(abs(now - int(fields[_PONG])) for fields in others) > after_s * 1000


def slot_of(key: bytes) -> int:
    """Return the slot of a key: CRC16 (XMODEM) of what stands between its first brace and the next, if anything."""
    _, brace, rest = key.partition(b"{")
    tag, end, _ = rest.partition(b"}")
    return crc_hqx(tag if brace and end and tag else key, 0) % SLOTS


def too_impatient(who: str, setting: str, wait_s: float, timeout_s: float) -> str:
    """Return why a store does not open whose time-out is longer than the supervisors of its server wait."""
    return (
        f"{who} replace a primary that is silent for {wait_s:g} s ({setting}), and the store waits {timeout_s:g} s for "
        f"an answer, which could be one of a primary that was replaced: raise {setting}, or give a shorter ?timeout="
    )


def hosts_of(shard: Sequence[Any], asked: str) -> list[Host]:
    """Return primary and replicas of an entry of ``CLUSTER SLOTS``; one without a host is on that which was asked."""
    return [(asked if node[0] in (None, b"", b"?") else node[0].decode(), int(node[1])) for node in shard[2:]]
