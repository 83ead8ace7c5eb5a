"""Exchanges with the nodes of a cluster, all of one turn at once, for asyncio; see ``cluster_map`` and ``rounds``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ...contract.drive import drive
from ...contract.threads import in_thread
from ...errors import StoreError, StoreUnavailable
from ..common.retry import CircuitBreaker, Elsewhere, NotExecuted, OnTheMove, RetryPolicy
from .async_connections import AsyncConnections
from .cluster_map import ClusterMap, ClusterNode, JudgedElsewhere, Pending, Router
from .connections import LOOKED_FOR, TIME, Moved, NoTimeLeft, Steps, arrived
from .errors import UNKNOWN_OUTCOME, NotReached, is_driver_error, is_refusal, trouble
from .joint import Call
from .packing import pack
from .placement import FIRST, Placement
from .primaries import DriverPool, Host

WAIT_PARTS = 0.5
"""The part of a call's time that replicas may take."""
LEAST_S = 0.05
"""Seconds for what a node has answered while another one was waited for."""


class AsyncNode(AsyncConnections):
    """The connections to one node, for asyncio."""

    async def send(self, packed: bytes, timeout_s: float, *, writes: bool) -> tuple[Any, str]:
        """Send commands; return the connection that their replies come over, and the run that it leads to.

        Raises:
            NotExecuted: they were not sent.
            StoreError: they may have been.
        """
        connection: Any = None
        run, run_before, sent = "", self.run, False
        try:
            with self._deadlines.within(timeout_s):
                connection, run = await self._connection(timeout_s)
                if writes:
                    await self._insist(connection, run_before, run)
                sent = True
                await connection.send_packed_command([packed], check_health=False)
        except Moved as error:
            await self.give_back(connection, run)
            raise JudgedElsewhere("a node of the cluster was started anew meanwhile") from error
        except Exception as error:
            await self._let_go(connection, run, error, is_whole=False)
            if not is_driver_error(error):
                raise
            raise trouble(error, sent=sent, keys=self._keys) from error
        except BaseException:
            if connection is not None:
                await connection.disconnect(nowait=True)
            raise
        return connection, run

    async def learn(self, cluster: ClusterMap, timeout_s: float) -> None:
        """Ask for the slot map.

        Raises:
            StoreUnavailable: nobody who could be asked knows it.
        """
        await drive(cluster.learning(), partial(self._ask_another, timeout_s))

    async def learn_until(self, cluster: ClusterMap, until_s: float) -> None:
        """As ``learn``, until an instant on the monotonic clock.

        Raises:
            NoTimeLeft: not all could be asked by then; those that were not are asked first the next time.
        """
        await drive(cluster.learning(), partial(self._ask_until, until_s))

    async def fit(self, key: bytes, steps: Callable[[], Steps], timeout_s: float, *, is_first: bool = False) -> None:
        """Make the node ready for a store of which it holds a key."""
        self.probe = pack([b"EXISTS", key[:-1] + b"0"])
        if is_first:
            await self.carry_out_first(steps)
        else:
            await self.carry_out(steps(), timeout_s)

    async def receive(self, sent: tuple[Any, str], count: int, timeout_s: float) -> list[Any]:
        """Return the replies to what was sent, an error in the place of each that is one."""
        connection, run = sent  # the exchange has a deadline
        answers: list[Any] = []
        try:
            with self._deadlines.within(timeout_s):
                while len(answers) < count:
                    try:
                        answers.append(await connection.read_response(disable_decoding=True))
                    except Exception as error:
                        answers.append(_refused(error, self._keys))
                    for reply in arrived(connection, count - len(answers)):
                        answers.append(_refused(reply, self._keys) if isinstance(reply, Exception) else reply)
        except Exception as error:
            await self._let_go(connection, run, error, is_whole=False)
            if not is_driver_error(error):
                raise
            return [*answers, *[_meant(error, self._keys)] * (count - len(answers))]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        await self.give_back(connection, run)
        if run != self.run:
            moved = StoreUnavailable(f"a node of the cluster was started anew meanwhile; {UNKNOWN_OUTCOME}")
            return [moved] * count
        return answers


def _refused(error: Exception, keys: str) -> StoreError:
    """Return what the refusal of one command means; any other error is raised, of which no further reply comes."""
    if not is_refusal(error):
        raise error
    return _meant(error, keys)


def _meant(error: Exception, keys: str) -> StoreError:
    meant = trouble(error, sent=True, keys=keys)
    meant.__cause__ = error
    return meant


class AsyncNodes:
    """The nodes of a cluster that hold the partitions of a store, for asyncio.

    Args:
        pool: how connections are made.
        hosts: of some nodes, of which one has to answer.
        placement: the partitions.
        policy: time-outs.
        replicas: how many are to confirm each write.
        fitting: makes the steps by which a node is made ready, for a partition that it holds.
        when_moved: called when a node was started anew.
    """

    def __init__(
        self,
        pool: DriverPool,
        hosts: Sequence[Host],
        placement: Placement,
        policy: RetryPolicy,
        replicas: int,
        fitting: Callable[[int], Steps],
        when_moved: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._hosts = hosts
        self._placement = placement
        self._policy = policy
        self._replicas = replicas
        self._fitting = fitting
        self._when_moved = when_moved
        self.map = ClusterMap(pool, hosts, placement, policy.timeout_s)
        self._nodes: dict[Host, AsyncNode] = {}
        self._breakers: dict[Host, CircuitBreaker] = {}
        self._closed = False
        self._seed = self._new_node(self.map)
        self._wait = pack([b"WAIT", b"%d" % replicas, b"%d" % max(1, int(policy.timeout_s * 1000 * WAIT_PARTS))])

    def _new_node(self, primary: Any) -> AsyncNode:
        key, when_moved = self._placement.prefixes[FIRST] + b"n", self._when_moved
        return AsyncNode(self._pool, primary, key, _nothing, when_moved, self._replicas, self._policy.timeout_s)

    def _node(self, host: Host) -> AsyncNode:
        node = self._nodes.get(host)
        if node is None:
            node = self._nodes[host] = self._new_node(ClusterNode(self._pool, host, self.map))
        return node

    async def _fit(self, host: Host, timeout_s: float, *, is_first: bool = False) -> None:
        """Make a node ready, by a partition that it holds."""
        if host in self.map.holders:
            partition = self.map.holders.index(host)
            key = self._placement.prefixes[partition] + b"n"
            await self._node(host).fit(key, partial(self._fitting, partition), timeout_s, is_first=is_first)

    def _is_doubted(self, host: Host | None) -> bool:
        """Whether a node did not answer the last time."""
        breaker = None if host is None else self._breakers.get(host)
        return breaker is None or breaker.failures > 0

    def _may_be_waited_for(self, host: Host) -> bool:
        """Whether something may have to be waited for before anything is sent to a node."""
        return self._is_doubted(host) or not self._node(host).has_idle

    def run_of(self, partition: int) -> str:
        """Return which run of which node was asked last for a partition."""
        host = self.map.holders[partition]
        node = None if host is None else self._nodes.get(host)
        return "" if node is None else node.run

    async def read_at(self, host: Host | None, packed: bytes, count: int, until_s: float) -> list[Any] | StoreError:
        """Return the replies of one node to packed reads, and that to ``TIME``: once, and whole or not at all.

        Args:
            host: of the node.
            packed: the commands.
            count: how many they are.
            until_s: the instant on the monotonic clock at which the time is over; then the error is returned.

        Raises:
            StoreError: something went wrong, and ``ask`` may do better.
        """
        node = self._nodes.get(host)  # type: ignore[arg-type]  # nobody is at None
        if host is None or node is None or not self.map.is_known or self._is_doubted(host):
            raise NotExecuted("the node is not known to answer")
        try:
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise StoreUnavailable("the node did not answer in time")
            return await node.exchange(packed, count, left_s, TIME)
        except StoreUnavailable as error:
            if time.monotonic() < until_s:
                raise
            self._breakers[host].failed(error)
            self.map.doubt(host)
            return error

    async def ask(self, calls: Sequence[Call]) -> list[Any]:
        """Return a reply or a ``StoreError`` for each call."""
        return (await self.ask_packed([Pending(at, call, pack(call.words)) for at, call in enumerate(calls)]))[0]

    async def ask_first(self, calls: Sequence[Call]) -> list[Any]:
        """As ``ask``, of nodes never spoken to before.

        Raises:
            NotExecuted: none of those that are named was reached; the port of one was asked why.
        """
        try:
            return await self.ask(calls)
        except NotReached as error:
            ask = partial(self._seed.why_not_reached, error, error)
            raise await in_thread(ask) from error

    async def ask_packed(
        self, pending: list[Pending], clock: bytes = b"", until_s: float | None = None
    ) -> tuple[list[Any], int]:
        """As ``ask``, for calls that are packed; return the earliest instant at which a node answered, too.

        Args:
            pending: the calls.
            clock: the command for the time, where it is wanted.
            until_s: when the time is over, on the monotonic clock, where it does not begin now.
        """
        router = Router(self.map, self._breakers, self._policy, pending, until_s)
        while True:
            if self._closed:
                raise StoreUnavailable("the store is closed; open it again")
            if not self.map.is_known:
                await self._learn(router.left_s)
            if groups := router.groups():
                await self._exchange(router, groups, clock)
            if not router.pending:
                return router.answers, router.now
            for host in router.unprepared:
                await self._prepare(host, router.left_s)
            if pause_s := router.next_turn():
                await asyncio.sleep(pause_s)

    async def _learn(self, timeout_s: float) -> None:
        """Ask for the slot map; where nobody tells in part of the time, the last one has to do."""
        if not any(self.map.holders):
            await self._seed.learn(self.map, timeout_s)
            return
        try:
            await self._seed.learn_until(self.map, time.monotonic() + timeout_s * LOOKED_FOR)
        except (StoreError, NoTimeLeft):
            pass

    async def _prepare(self, host: Host, timeout_s: float) -> None:
        """Load the library where it is not; what goes wrong is seen when it is needed."""
        try:
            await self._fit(host, timeout_s)
        except StoreUnavailable:
            pass

    async def _exchange(self, router: Router, groups: dict[Host, list[Pending]], clock: bytes) -> None:
        """Send to all nodes first, and then read what they answer.

        Of those to which a connection has to be made, or that did not answer the last time, each may take its share of
        the time: they come last, and several that are silent take no longer than one.
        """
        sent: list[tuple[Host, tuple[Any, str], bytes]] = []
        order = sorted(groups, key=self._may_be_waited_for)
        try:
            for number, host in enumerate(order):
                group, timeout_s = groups[host], router.left_s
                if self._may_be_waited_for(host):
                    timeout_s = max(LEAST_S, timeout_s / (len(order) - number))
                writes = any(each.call.writes for each in group)
                end = self._wait if writes and self._replicas else clock
                packed = b"".join([each.packed for each in group]) + end
                try:
                    sent.append((host, await self._node(host).send(packed, timeout_s, writes=writes), end))
                except StoreError as error:
                    router.took(host, group, error)
            while sent:
                host, way, end = sent[0]
                group = groups[host]
                replies = await self._nodes[host].receive(way, len(group) + bool(end), max(router.left_s, LEAST_S))
                del sent[0]
                if end:
                    replies = self._confirmed(group, replies) if end is self._wait else router.timed(replies)
                router.took(host, group, replies)
        finally:
            for _, (connection, _), _ in sent:
                await connection.disconnect(nowait=True)

    def _confirmed(self, group: Sequence[Pending], replies: list[Any]) -> list[Any]:
        """Return replies without that of ``WAIT``, and an error for each write that too few replicas have."""
        *answers, confirmed = replies
        if isinstance(confirmed, int) and confirmed >= self._replicas:
            return answers
        count = confirmed if isinstance(confirmed, int) else 0
        unknown = StoreUnavailable(f"{count} of {self._replicas} replicas have confirmed in time; {UNKNOWN_OUTCOME}")
        return [
            unknown if each.call.writes and not isinstance(answer, StoreError) else answer
            for each, answer in zip(group, answers, strict=True)
        ]

    async def open(self) -> None:
        """Make sure that every node that holds a partition can hold it, and look at those that may one day.

        Raises:
            StoreUnavailable: one cannot be reached.
            StoreError: one cannot hold the store.
        """
        try:
            await self._fit_all()
            await self._seed.look_around()
        except BaseException:
            await self.close_all()
            raise

    async def _fit_all(self) -> None:
        """Make every node ready; where it does not answer as a primary, another node than before says who is one."""
        left = len(self._hosts)
        while True:
            await self._seed.learn(self.map, self._policy.timeout_s)
            try:
                for host in self.map.primaries():
                    await self._fit(host, self._policy.timeout_s, is_first=True)
                return
            except (OnTheMove, Elsewhere):
                left -= 1
                if not left:
                    raise
            left_behind, self._nodes = self._nodes, {}
            for node in left_behind.values():
                await node.close_all()
            self.map.doubt(None)

    async def close_all(self) -> None:
        """Close all connections."""
        self._closed = True
        for node in (self._seed, *self._nodes.values()):
            await node.close_all()


def _nothing() -> Steps:
    yield from ()
