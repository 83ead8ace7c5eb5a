"""Which node of a cluster holds which partition, and what becomes of calls that a node did not carry out. No I/O.

Theory of operation. The slot map is asked for when it is needed and was found wrong: a node that does not hold a slot
says so (``MOVED``) and did nothing. ``ASK`` and ``TRYAGAIN`` are waited out; ``ASKING`` and ``READONLY`` are never
sent, so no node answers for keys that are not its own. Each node has a breaker of its own: one that is away holds up
nobody who asks the others.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

from ...crypto.secret_form import PARTITIONS
from ...errors import StoreError, StoreUnavailable
from ..common.retry import (
    LONGEST_AFTER,
    RETRIES_MAX,
    CircuitBreaker,
    Declined,
    Elsewhere,
    NotExecuted,
    OnTheMove,
    RetryPolicy,
    pause_before_s,
)
from .errors import LibraryLost
from .joint import Call
from .packing import milliseconds
from .placement import Placement
from .primaries import HEARING, INFO, MOVED, ClusterPrimary, DriverPool, Host, Primary, Question, hosts_of

_JUDGED = frozenset(
    b"session_tokens_%b_v1" % name for name in (b"commit", b"end", b"hold", b"hold_end", b"decide", b"decide_end")
)
"""What is not sent on to another node: what it rests on is to be read there first."""


class JudgedElsewhere(NotExecuted):
    """A write was not carried out: another server than the one on which it was judged holds its keys now."""


class ClusterNode(Primary):
    """One node of a cluster, wherever its slots go.

    Args:
        pool: how connections are made.
        host: where it is.
        cluster: knows how long the nodes wait for each other.
    """

    in_cluster = True
    greeting = INFO + HEARING
    why_replica = "the node that held the keys is a replica now; a fail-over is under way"

    def __init__(self, pool: DriverPool, host: Host, cluster: ClusterMap) -> None:
        super().__init__(pool)
        self._cluster = cluster
        self.options = self._at(host)

    @property
    def trusted_s(self) -> float:  # type: ignore[override]  # it is the cluster's
        """Seconds for which a connection may be silent and is used again without a greeting."""
        return self._cluster.trusted_s

    @property
    def deaf_after_s(self) -> float:  # type: ignore[override]  # it is the cluster's
        """Seconds after which it may have been replaced that heard no other."""
        return self._cluster.deaf_after_s


class ClusterMap(ClusterPrimary):
    """The nodes that hold the partitions of a store.

    Attributes:
        holders: partition → who holds it; ``None`` for nobody.
        is_known: whether it was asked for, and not found wrong since.
    """

    def __init__(self, pool: DriverPool, nodes: Sequence[Host], placement: Placement, timeout_s: float) -> None:
        super().__init__(pool, nodes, placement.prefixes[0] + b"n", timeout_s)
        self._slots = placement.slots
        self.holders: list[Host | None] = [None] * len(self._slots)
        self.is_known = False

    def _take_in(self, shards: Sequence[Sequence[Any]], asked: str) -> bool:
        holders: list[Host | None] = [None] * len(self._slots)
        for shard in shards:
            host = hosts_of(shard, asked)[0]
            for partition, slot in enumerate(self._slots):
                if shard[0] <= slot <= shard[1]:
                    holders[partition] = host
        if any(holders):
            self.holders, self.is_known = holders, True
            self._found = next(host for host in holders if host is not None)
        return any(holders)

    def learning(self) -> Generator[Question, list[Any], None]:
        """Ask one node after another for the slot map.

        Raises:
            StoreUnavailable: nobody who could be asked knows it.
        """
        yield from self._map()

    def primaries(self) -> list[Host]:
        """Return all nodes that hold a partition."""
        return [*dict.fromkeys(host for host in self.holders[:PARTITIONS] if host is not None)]

    def moved(self, partition: int, error: BaseException) -> bool:
        """Go where an error says that a partition is; return whether it says so."""
        moved = MOVED.search(str(error))
        if moved is None or moved[1] in ("", "?"):
            return False
        self.holders[partition] = moved[1], int(moved[2])
        return True

    def doubt(self, host: Host | None) -> None:
        """Ask for the map anew, and last who told it, and this node."""
        if self.is_known:  # else whoever told it was put last already
            self.is_known = False
            self._put_last(self._nodes[0])
        if host in self._nodes and host is not None:
            self._put_last(host)


class Pending(NamedTuple):
    """A call that is under way.

    Attributes:
        number: its place among those that go together.
        call: what it is.
        packed: the same as it goes over the wire.
    """

    number: int
    call: Call
    packed: bytes


class Router:
    """Sends calls to nodes as often as is right; one for each batch of calls.

    Args:
        cluster: the map.
        breakers: of the nodes.
        policy: time-outs.
        pending: the calls.
        until_s: when the time is over, on the monotonic clock; if not given, when the policy's has passed.

    Attributes:
        answers: a reply or an error for each call.
        pending: those that are not answered.
        unprepared: nodes that have lost the function library.
        pause_s: seconds to wait before the next turn.
        now: the earliest instant that a node told, in milliseconds; 0 for none.
    """

    def __init__(
        self,
        cluster: ClusterMap,
        breakers: dict[Host, CircuitBreaker],
        policy: RetryPolicy,
        pending: list[Pending],
        until_s: float | None = None,
    ) -> None:
        self._cluster = cluster
        self._breakers = breakers
        self._policy = policy
        self.pending = pending
        self.answers: list[Any] = [None] * len(pending)
        self.unprepared: list[Host] = []
        self.pause_s = 0.0
        self.now = 0
        self._retry = 0
        self._until_s = time.monotonic() + policy.timeout_s if until_s is None else until_s

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return max(0.001, self._until_s - time.monotonic())

    def groups(self) -> dict[Host, list[Pending]]:
        """Return the calls by the node that gets them; those that nobody gets are answered."""
        groups: dict[Host, list[Pending]] = {}
        holders = self._cluster.holders
        kept: list[Pending] = []
        for each in self.pending:
            host = holders[each.call.partition]
            if host is None:
                self._failed(None, each, OnTheMove("no node of the cluster holds a slot of the store's keys"), kept)
            else:
                groups.setdefault(host, []).append(each)
        for host in [*groups]:
            breaker = self._breakers.get(host)
            if breaker is None:
                breaker = self._breakers[host] = CircuitBreaker(self._policy, name=f"the node {host[0]}:{host[1]}")
            elif breaker.failures:
                try:
                    breaker.enter()
                except StoreUnavailable as error:
                    for each in groups.pop(host):
                        self.answers[each.number] = error
        self.pending = kept
        return groups

    def timed(self, replies: list[Any]) -> list[Any]:
        """Return replies without that of ``TIME``, which is remembered."""
        *answers, told = replies
        if not isinstance(told, StoreError):
            now = milliseconds(told)
            self.now = min(self.now or now, now)
        return answers

    def took(self, host: Host, sent: Sequence[Pending], replies: Sequence[Any] | StoreError) -> None:
        """Take in what a node answered, or why it did not."""
        breaker = self._breakers[host]
        if isinstance(replies, StoreError):
            replies = [replies] * len(sent)
        silence = _silence_in(replies)
        if silence is not None:
            breaker.failed(silence)
            self._cluster.doubt(host)
        elif breaker.failures:
            breaker.succeeded()
        for each, reply in zip(sent, replies, strict=True):
            if isinstance(reply, StoreError):
                self._failed(host, each, reply, self.pending)
            else:
                self.answers[each.number] = reply

    def _failed(self, host: Host | None, each: Pending, error: StoreError, pending: list[Pending]) -> None:
        """Decide whether a call goes out again."""
        cause = error.__cause__ or error
        has_moved = isinstance(error, OnTheMove) and self._cluster.moved(each.call.partition, cause)
        if (isinstance(error, OnTheMove) and not has_moved) or isinstance(error, Elsewhere):
            self._cluster.doubt(host)
        if isinstance(error, LibraryLost) and host is not None and host not in self.unprepared:
            self.unprepared.append(host)
        if has_moved and each.call.writes and each.call.words[1] in _JUDGED:
            error = JudgedElsewhere(str(error))
        again = isinstance(error, NotExecuted) or not each.call.writes
        often = isinstance(error, OnTheMove | LibraryLost) or (isinstance(error, Elsewhere) and not self._retry)
        if isinstance(error, Declined | JudgedElsewhere) or not isinstance(error, StoreUnavailable):
            again = False
        if not again or (self._retry >= RETRIES_MAX and not often) or time.monotonic() >= self._until_s:
            self.answers[each.number] = error
            return
        if not has_moved:
            self.pause_s = max(self.pause_s, pause_before_s(min(self._retry, LONGEST_AFTER)))
        pending.append(each)

    def next_turn(self) -> float:
        """Begin another turn with what is pending; return the seconds to wait before."""
        pause_s, self.pause_s = self.pause_s, 0.0
        self._retry += 1
        self.unprepared = []
        return pause_s


def _silence_in(replies: Sequence[Any]) -> StoreUnavailable | None:
    """Return the error of a node that did not answer, if it is among replies."""
    for reply in replies:
        if isinstance(reply, StoreUnavailable) and not isinstance(
            reply, OnTheMove | Elsewhere | Declined | LibraryLost | JudgedElsewhere
        ):
            return reply
    return None
