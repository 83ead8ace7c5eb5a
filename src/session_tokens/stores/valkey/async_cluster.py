"""The store on a cluster whose keys lie in 64 partitions, for asyncio; see ``store``.

Theory of operation. Where a query leads follows from its key (``placement``), so what a secret leads to is read as on
one server, at the node that holds it; what is asked in one turn goes out at once, one pipeline for each node
(``async_nodes``). A reading of several partitions is none of one instant. A command checks all that it read when it
commits, and what lies in several partitions is carried out as one (``joint``), so it needs none. What is answered
without a commit does: it is read twice, and answered when both readings found the same, for then all of it stood there
at once in between.
"""

from __future__ import annotations

import asyncio
import random
import time
from asyncio import wrap_future
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from ...contract.changes import Changes
from ...contract.coalesce import Coalescer, Home
from ...contract.drive import drive
from ...contract.event_log import LogRead
from ...contract.lanes import Lanes
from ...contract.near_cache import NearCache
from ...contract.optimistic import Commit, OptimisticStore, Step, attempts
from ...contract.partitioning import Partitioned
from ...contract.queries import DueRecord, Query, Snapshot, is_lost
from ...contract.threads import in_thread
from ...contract.transaction import Rule, queries_of
from ...crypto.minting import PepperKeyring
from ...crypto.secret_form import PARTITIONS
from ...errors import UNREADABLE, InvalidInput, StoreBusy, StoreError
from ...events import Event, Listeners, Place
from ...records import OwnerEntry, Session, Token
from ..common.copying import Dump
from ..common.findings import Finding, Progress
from ..common.pepper_records import Mark
from .async_behind import AsyncBehind
from .async_nodes import AsyncNodes
from .check import checking
from .cluster_core import ClusterCore, InTheWay, PlacedCommit, PlacedSnapshot
from .connections import TIME
from .event_log import log_read, read_words, rewriting, trim_words
from .exchanges import Seen
from .joint import Call
from .keys import NAMES, PEPPERS
from .node_tracking import NodeTrackings
from .packing import fields_of, milliseconds
from .placed_chains import PlacedChain
from .placed_events import Moving
from .placed_reading import partition_asked
from .placement import FIRST, UNSPREAD
from .primaries import DriverPool, Host
from .rounds import Rounds
from .schema import Address, enrolling, evicting, fitting, forgetting, marking
from .whole import checking_all, clearing_all, counting_all, dumping_all, on_one

T = TypeVar("T")

FINISHED_WITHIN_S = 0.02
"""Seconds for which a command waits until those before it are finished in all their partitions."""
EVENT_POLL_S = 0.05
"""What lies between two looks of who follows the events."""
PAUSE_S, PAUSE_MAX_S = 0.001, 0.05
"""Seconds that a commit waits, at the most, for what is held by another one: at first, and later on."""
COLLECTED_MAX = 20
"""How often what lies in several partitions is read until two readings are the same."""


class ClusterStore(OptimisticStore):
    """Sessions and tokens on a cluster of Valkey or Redis servers, for asyncio: one event loop, any number of tasks.

    Made by ``open_valkey``.

    Attributes:
        tracked_pool: returns how blocking connections to the nodes are made, which a near cache follows them over.
    """

    keeps_events = True
    tracked_pool: Callable[[], DriverPool] | None = None
    _trackings: NodeTrackings | None = None
    partitioning = Partitioned()

    def __init__(self, address: Address, pool: DriverPool, keyring: PepperKeyring, space: str) -> None:
        self._core = ClusterCore(address, keyring, space)
        self.keyring = keyring
        self.clock = self._core.clock
        self.listeners = Listeners()
        codec = self._core.codec
        self.unreadables = codec.unreadables
        self.record_cache = codec.record_cache
        self._nodes = AsyncNodes(
            pool,
            address.hosts,
            self._core.placement,
            address.policy,
            address.replicas,
            lambda partition: fitting(codec.at(partition), address.replicas),
            self._moved,
        )
        self._address = address
        self._paths = codec.paths
        self._moving = Moving(codec.at)
        self._behind = AsyncBehind()
        home = Home()
        self._reads: Coalescer[Sequence[Query], PlacedSnapshot] = Coalescer(self._carry_reads, home=home)
        self._lanes: Lanes[Host | None, PlacedChain, Seen | None] = Lanes(self._carry_on_lane, home=home)
        self._followed_lanes: Lanes[Host | None, PlacedChain, Seen | None] = Lanes(self._carry_followed, home=home)
        self._chains: Coalescer[Sequence[PlacedChain], Snapshot | None] = Coalescer(self._carry_chains, home=home)
        self._commits: Coalescer[PlacedCommit, bool] = Coalescer(self._carry_commits, home=home)
        self._joint_commits: Coalescer[PlacedCommit, bool] = Coalescer(self._carry_joint_commits, home=home)

    def begin_near_cache(self, bound_s: float) -> None:
        """Keep what verifications find, and follow what changes of it over a connection to each node.

        Raises:
            InvalidInput: the store was made with a client, which tells nobody how it connects.
        """
        if self.tracked_pool is None:
            raise InvalidInput("a near cache needs a store that was opened by its URL, without client=")
        core = self._core
        self.near_cache = NearCache(NAMES, self.clock.now, bound_s)
        self._trackings = NodeTrackings(
            self.near_cache,
            core.clock.heard,
            self.tracked_pool(),
            self._nodes.map,
            core.placement,
            core.policy.timeout_s,
        )
        self._trackings.start()

    def _moved(self) -> None:
        """Forget what was said by another run of a node than the one that is there now."""
        self._core.codec.record_cache.drop()
        if self.near_cache is not None:
            self.near_cache.drop()

    def partition_of(self, rule: Rule[Any], args: tuple[object, ...]) -> int:
        """Return the partition in which a rule with these arguments mostly commits: that of what it reads first."""
        return partition_asked(queries_of(rule, args))

    # --- reads ---

    async def read(self, queries: Sequence[Query]) -> Snapshot:
        """Return the results of all queries, as of one instant where all lie in one partition."""
        snapshot = await self._reads.ask(queries)
        return Snapshot(snapshot.now, snapshot.found)

    async def _collected(self, queries: Sequence[Query]) -> PlacedSnapshot:
        """Return the results of all queries as of one instant.

        Raises:
            StoreBusy: others went on changing them.
        """
        snapshot = await self._reads.ask(queries)
        if not snapshot.spans:
            return snapshot
        for _ in range(COLLECTED_MAX):
            again = await self._reads.ask(queries)
            if again.is_as(snapshot):
                return again
            snapshot = again
        raise StoreBusy("others went on changing what was read; try again later")

    async def _carry_reads(self, calls: Sequence[Sequence[Query]]) -> Sequence[PlacedSnapshot | Exception]:
        return await self._driven(self._core.together(calls))

    async def look(self, queries: Sequence[Query]) -> Snapshot:
        """Return the results of all queries as of one instant; over chains that are known in one plain command each."""
        paths: Any = self._paths.of(queries) if queries else None
        if paths is not None:
            seen = await self._chains.ask(paths)
            if seen is not None:
                return seen
        snapshot = await self._collected(queries)
        if is_lost(queries, snapshot.found):
            await self.insist_on_peppers()
        return Snapshot(snapshot.now, snapshot.found)

    async def find_session(self, lookups: Sequence[str]) -> tuple[int, Session | None, OwnerEntry | None]:
        """Return now and the session of a secret with its owner's entry; a forged or torn record is no session."""
        path: Any = self._paths.of_one("S:", lookups)
        if path is not None and path.partition is not None:  # as ``look``, on the way of every verification
            host, near = self._nodes.map.holders[path.partition], self.near_cache
            lease = None if self._trackings is None else self._trackings.lease(host)
            reading = None if near is None or lease is None else near.begin_session(lookups[0], lease)
            lanes = self._lanes if reading is None or not reading.is_followed else self._followed_lanes
            seen = await lanes.ask(host, path)
            if seen is not None:
                if near is not None and reading is not None:
                    near.keep_session(reading, lookups[0], seen[1].value)
                return (seen[0], *seen[1].value)
        return await super().find_session(lookups)

    async def find_token(self, lookups: Sequence[str]) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        """Return now and the token of a secret with its session and entry; a forged or torn record is no token."""
        path: Any = self._paths.of_one("T:", lookups)
        if path is not None and path.partition is not None:
            host, near = self._nodes.map.holders[path.partition], self.near_cache
            lease = None if self._trackings is None else self._trackings.lease(host)
            reading = None if near is None or lease is None else near.begin_token(lookups[0], lease)
            lanes = self._lanes if reading is None or not reading.is_followed else self._followed_lanes
            seen = await lanes.ask(host, path)
            if seen is not None:
                if near is not None and reading is not None:
                    near.keep_token(reading, lookups[0], seen[1].value)
                return (seen[0], *seen[1].value.followed())
        return await super().find_token(lookups)

    async def _carry_on_lane(
        self, host: Host | None, asked: Sequence[PlacedChain], until_s: float | None = None
    ) -> Sequence[Seen | Exception | None]:
        """Read chains that lie on one node, or that did; who gets nothing asks anew."""
        until_s = time.monotonic() + self._core.policy.timeout_s if until_s is None else until_s
        each = asked if len(asked) == 1 else [*dict.fromkeys(asked)]
        packed = each[0].alone if len(each) == 1 else b"".join([chain.alone for chain in each])
        try:
            answer = await self._nodes.read_at(host, packed, len(each), until_s)
        except StoreError:
            return await self._carry_off_lane(asked, until_s)
        if isinstance(answer, StoreError):
            return [answer] * len(asked)
        *values, told = answer
        return self._core.seen_on_lane(asked, each, values, milliseconds(told))

    async def _carry_followed(
        self, host: Host | None, asked: Sequence[PlacedChain]
    ) -> Sequence[Seen | Exception | None]:
        """As ``_carry_on_lane``, over the connection whose reads are tracked, where there is one."""
        until_s = time.monotonic() + self._core.policy.timeout_s
        each = asked if len(asked) == 1 else [*dict.fromkeys(asked)]
        replies = await self._tracked(host, [chain.alone for chain in each])
        if replies is None:
            return await self._carry_on_lane(host, asked, until_s)
        *values, told = replies
        return self._core.seen_on_lane(asked, each, values, milliseconds(told))

    async def _carry_off_lane(self, asked: Sequence[PlacedChain], until_s: float) -> Sequence[Seen | Exception | None]:
        """Read chains from the nodes that have their keys by now; who follows those is not known, so none is kept."""
        if self.near_cache is not None:
            self.near_cache.forget_readings()
        answers = await self._carry_chains([[chain] for chain in asked], until_s)
        return [(each.now, each.found[0]) if isinstance(each, Snapshot) else each for each in answers]

    async def _tracked(self, host: Host | None, commands: Sequence[bytes]) -> list[Any] | None:
        """Ask over the connection whose reads are tracked, where there is one."""
        asked = None if self._trackings is None else self._trackings.ask(host, commands, TIME)
        return None if asked is None else await wrap_future(asked)

    async def _carry_chains(
        self, asked: Sequence[Sequence[PlacedChain]], until_s: float | None = None
    ) -> Sequence[Snapshot | Exception | None]:
        pending, values, goes = self._core.chain_calls([chain for chains in asked for chain in chains])
        found, now = await self._nodes.ask_packed(pending, TIME, until_s)
        return self._core.seen_together(asked, values, goes, found, now)

    # --- commands ---

    async def run(self, rule: Rule[T], *args: object) -> T:
        """As on one server, once what this process began is finished: then what a command rests on may be known."""
        if self._behind.is_busy:
            await self._behind.settle(FINISHED_WITHIN_S)
        return await super().run(rule, *args)

    async def _attempted(self, rule: Rule[T], args: tuple[object, ...]) -> tuple[T, Changes, int]:
        """Read, run and commit; what is answered without a commit, refusals too, rests on a reading of one instant."""
        spans = [False]
        try:
            attempted = await drive(attempts(rule, args, self.conflict_queue), partial(self._take_noting, spans))
        except Exception as error:
            if not spans[0] or (isinstance(error, StoreError) and not isinstance(error, UNREADABLE)):
                raise
        else:
            if attempted[1] or not spans[0]:
                return attempted
        return await drive(attempts(rule, args, self.conflict_queue), self._take_collected)

    async def _take_noting(self, spans: list[bool], step: Step) -> Any:
        """Take one step, and note whether what was read last lies in several partitions."""
        if isinstance(step, list):
            snapshot = await self._reads.ask(step)
            spans[0] = snapshot.spans
            return snapshot
        return await self._take(step)

    async def _take_collected(self, step: Step) -> Any:
        """Take one step; what is read is so in one instant."""
        return await self._collected(step) if isinstance(step, list) else await self._take(step)

    async def commit(self, commit: Commit) -> bool:
        """Write all changes if every stamp is as given, with the other commits of this turn.

        What another commit holds for a moment is waited for: what it only rests on is the same afterwards.
        """
        placed = self._core.placed(commit)
        until_s, pause_s = 0.0, PAUSE_S
        while True:
            try:
                if placed.partition is None:
                    return await self._joint_commits.ask(placed)
                return await self._commits.ask(placed)
            except InTheWay as met:
                now_s = time.monotonic()
                until_s = until_s or now_s + self._address.policy.timeout_s
                if now_s > until_s:
                    return False
                if not met.is_gone:
                    await asyncio.sleep(random.uniform(0, pause_s))
                    pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def _carry_commits(self, commits: Sequence[PlacedCommit]) -> Sequence[bool | Exception]:
        try:
            return await self._driven(self._core.committing_within(commits))
        finally:
            self._wrote(commits)

    async def _carry_joint_commits(self, commits: Sequence[PlacedCommit]) -> Sequence[bool | Exception]:
        try:
            written = await self._driven(self._core.committing_over(commits))
        finally:
            self._wrote(commits)
        for txn, parts in written.unfinished:
            self._behind.do(partial(self._finish, txn, parts))
        return written.results

    def _wrote(self, commits: Sequence[PlacedCommit]) -> None:
        """Keep near nothing of what commits may have written: also where the outcome is unknown."""
        if self.near_cache is not None:
            for placed in commits:
                self.near_cache.wrote(placed.commit.changes)

    async def _finish(self, txn: bytes, parts: dict[int, Any], finished: Callable[[], None]) -> None:
        await self._driven(self._core.finishing(txn, parts, finished))

    # --- what goes through the store ---

    async def due(self, now: int, limit: int) -> Sequence[DueRecord]:
        """Return at most ``limit`` keys of what should be swept at ``now`` (milliseconds), where it can be asked."""
        return await self._driven(self._core.due(now, limit))

    async def due_in_turn(self, now: int, limit: int) -> Sequence[DueRecord]:
        """As ``due``; nothing of a partition that another process is sweeping."""
        return await self._driven(self._core.due(now, limit, in_turn=True))

    async def read_events(self, after: Place, limit: int) -> LogRead:
        """Return at most ``limit`` events that stand after a place; move what is new into the log first."""
        await self._behind.settle()
        await self._driven(self._moving.moving())
        codec = self._core.codec.at(FIRST)
        return log_read(codec, await self._ask_first(read_words(codec, after, limit)), after, limit)

    async def await_events(self) -> None:
        """Wait a moment, in which events may come: longer than on one server, for a look asks all partitions."""
        await asyncio.sleep(EVENT_POLL_S)

    async def trim_events(self, keep: int) -> int:
        """Take away the oldest of the events beyond ``keep``, ``TRIMMED_AT_ONCE`` at most; return how many were."""
        await self._behind.settle()
        await self._driven(self._moving.moving())
        return int(await self._ask_first(trim_words(self._core.codec.at(FIRST), keep)))

    async def rewrite_events(self, change: Callable[[Event], Event]) -> int:
        """Put what ``change`` returns in the place of each event that it changes; return how many those were."""
        await self._behind.settle()
        await self._driven(self._moving.emptying())
        return await self._driven(on_one(FIRST, rewriting(self._core.codec.at(FIRST), change)))

    async def check(self, *, fix: bool = False, progress: Progress | None = None) -> Sequence[Finding]:
        """Compare indexes and links with the records; ``fix`` mends these, and sets aside records that cannot be read.

        Raises:
            StoreUnavailable: a node cannot be asked.
        """
        await self._behind.settle()
        core = self._core
        steps = checking(core.codec.without_prefix(), fix, progress)
        return await self._driven(checking_all(core.placement, core.joint, steps, self.clock.now, self._nodes.run_of))

    async def dump(self, kind: str, after: str, limit: int) -> Dump:
        """Return a batch of all records of a kind; see ``copying.Copyable``."""
        await self._behind.settle()
        return await self._driven(dumping_all(self._core.codec.at, kind, after, limit, self._nodes.run_of))

    async def count(self) -> int:
        """Return how many records there are in the name space; about, where others write meanwhile."""
        return await self._driven(counting_all(self._core.codec.at, self._nodes.run_of))

    async def clear(self) -> None:
        """Delete every key of the name space; the mark of a copy goes last, so that this can be begun again."""
        await self._behind.settle()
        await self._driven(clearing_all(self._core.codec.at, self._nodes.run_of))

    async def pepper_marks(self) -> dict[str, Mark]:
        """Return what is recorded of each pepper, by its key id."""
        return await self._driven(on_one(FIRST, marking(self._core.codec)))

    async def forget_pepper(self, key_id: str) -> None:
        """Record of a pepper nothing any more."""
        await self._driven(on_one(FIRST, forgetting(self._core.codec, key_id)))

    # --- beginning and end ---

    async def open(self) -> None:
        """Make sure that the nodes can hold the store.

        Raises:
            StoreUnavailable: one cannot be reached.
            StoreError: one cannot hold the store, or its records lie in one slot.
            InvalidInput: a pepper is missing, or another one.
        """
        await self._nodes.open()
        try:
            await self._driven(on_one(FIRST, enrolling(self._core.codec, self._core.keyring)))
        except BaseException:
            await self._nodes.close_all()
            raise

    async def misgiving(self) -> str | None:
        """Return what is said of a node that throws keys away by now; one that did when it was opened is refused."""
        nodes = self._nodes.map
        asks = [Call(nodes.holders.index(host), [b"INFO", b"memory"], writes=False) for host in nodes.primaries()]
        told = await self._nodes.ask(asks)
        said = [evicting(fields_of(memory)) for memory in told if not isinstance(memory, StoreError)]
        return next(filter(None, said), None)

    async def is_there(self) -> bool:
        """Whether the cluster holds the records of the name space, in how many partitions ever; makes nothing."""
        return bool(await self.found_in())

    async def found_in(self) -> list[int]:
        """Return in how many partitions the name space lies: 1, or all; none if it is not there, both if it is twice.

        Raises:
            StoreUnavailable: a node cannot be asked.
        """
        prefixes = self._core.placement.prefixes
        calls = [
            Call(one, [b"EXISTS", prefixes[one] + PEPPERS, prefixes[one] + b"n"], writes=False)
            for one in (FIRST, UNSPREAD)
        ]
        counts = await self._nodes.ask_first(calls)
        for count in counts:
            if isinstance(count, StoreError):
                raise count
        return [number for number, count in zip((PARTITIONS, 1), counts, strict=True) if count]

    async def close(self) -> None:
        """Wait for what is under way and close the connections; calling it again does nothing."""
        if self._trackings is not None:
            await in_thread(self._trackings.stop)
        await self._reads.close()
        await self._chains.close()
        await self._lanes.close()
        await self._followed_lanes.close()
        await self._commits.close()
        await self._joint_commits.close()
        await self._behind.close()
        await self._nodes.close_all()

    async def _driven(self, rounds: Rounds[T]) -> T:
        return await drive(rounds, self._nodes.ask)

    async def _ask_first(self, words: list[bytes]) -> Any:
        (reply,) = await self._nodes.ask([Call(FIRST, words, writes=False)])
        if isinstance(reply, StoreError):
            raise reply
        return reply
