# Generated from stores/valkey/async_cluster.py by tools/generate_sync.py; change that file and run it again.
"""The store on a cluster whose keys lie in 64 partitions, for threads; see ``store``.

Theory of operation. Where a query leads follows from its key (``placement``), so what a secret leads to is read as on
one server, at the node that holds it; what is asked in one turn goes out at once, one pipeline for each node
(``blocking_nodes``). A reading of several partitions is none of one instant. A command checks all that it read when it
commits, and what lies in several partitions is carried out as one (``joint``), so it needs none. What is answered
without a commit does: it is read twice, and answered when both readings found the same, for then all of it stood there
at once in between.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from ...contract.batch import Direct
from ...contract.changes import Changes
from ...contract.drive import drive_now
from ...contract.event_log import LogRead
from ...contract.lanes import DirectLanes
from ...contract.near_cache import NearCache
from ...contract.optimistic import BlockingOptimisticStore, Commit, Step, attempts
from ...contract.partitioning import Partitioned
from ...contract.queries import DueRecord, Query, Snapshot, is_lost
from ...contract.transaction import Rule, queries_of
from ...crypto.minting import PepperKeyring
from ...crypto.secret_form import PARTITIONS
from ...errors import UNREADABLE, InvalidInput, StoreBusy, StoreError
from ...events import Event, Listeners, Place
from ...records import OwnerEntry, Session, Token
from ..common.copying import Dump
from ..common.findings import Finding, Progress
from ..common.pepper_records import Mark
from .blocking_behind import BlockingBehind
from .blocking_nodes import BlockingNodes
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


class BlockingClusterStore(BlockingOptimisticStore):
    """Sessions and tokens on a cluster of Valkey or Redis servers, for threads: each call has a connection to itself.

    Made by ``open_valkey_blocking``.

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
        self._nodes = BlockingNodes(
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
        self._behind = BlockingBehind()
        self._reads: Direct[Sequence[Query], PlacedSnapshot] = Direct(self._carry_reads)
        self._lanes: DirectLanes[Host | None, PlacedChain, Seen | None] = DirectLanes(self._carry_on_lane)
        self._followed_lanes: DirectLanes[Host | None, PlacedChain, Seen | None] = DirectLanes(self._carry_followed)
        self._chains: Direct[Sequence[PlacedChain], Snapshot | None] = Direct(self._carry_chains)
        self._commits: Direct[PlacedCommit, bool] = Direct(self._carry_commits)
        self._joint_commits: Direct[PlacedCommit, bool] = Direct(self._carry_joint_commits)

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

    def read_now(self, queries: Sequence[Query]) -> Snapshot:
        """Return the results of all queries, as of one instant where all lie in one partition."""
        snapshot = self._reads.ask(queries)
        return Snapshot(snapshot.now, snapshot.found)

    def _collected(self, queries: Sequence[Query]) -> PlacedSnapshot:
        """Return the results of all queries as of one instant.

        Raises:
            StoreBusy: others went on changing them.
        """
        snapshot = self._reads.ask(queries)
        if not snapshot.spans:
            return snapshot
        for _ in range(COLLECTED_MAX):
            again = self._reads.ask(queries)
            if again.is_as(snapshot):
                return again
            snapshot = again
        raise StoreBusy("others went on changing what was read; try again later")

    def _carry_reads(self, calls: Sequence[Sequence[Query]]) -> Sequence[PlacedSnapshot | Exception]:
        return self._driven(self._core.together(calls))

    def look_now(self, queries: Sequence[Query]) -> Snapshot:
        """Return the results of all queries as of one instant; over chains that are known in one plain command each."""
        paths: Any = self._paths.of(queries) if queries else None
        if paths is not None:
            seen = self._chains.ask(paths)
            if seen is not None:
                return seen
        snapshot = self._collected(queries)
        if is_lost(queries, snapshot.found):
            self.insist_on_peppers_now()
        return Snapshot(snapshot.now, snapshot.found)

    def find_session_now(self, lookups: Sequence[str]) -> tuple[int, Session | None, OwnerEntry | None]:
        """Return now and the session of a secret with its owner's entry; a forged or torn record is no session."""
        path: Any = self._paths.of_one("S:", lookups)
        if path is not None and path.partition is not None:  # as ``look``, on the way of every verification
            host, near = self._nodes.map.holders[path.partition], self.near_cache
            lease = None if self._trackings is None else self._trackings.lease(host)
            reading = None if near is None or lease is None else near.begin_session(lookups[0], lease)
            lanes = self._lanes if reading is None or not reading.is_followed else self._followed_lanes
            seen = lanes.ask(host, path)
            if seen is not None:
                if near is not None and reading is not None:
                    near.keep_session(reading, lookups[0], seen[1].value)
                return (seen[0], *seen[1].value)
        return super().find_session_now(lookups)

    def find_token_now(self, lookups: Sequence[str]) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        """Return now and the token of a secret with its session and entry; a forged or torn record is no token."""
        path: Any = self._paths.of_one("T:", lookups)
        if path is not None and path.partition is not None:
            host, near = self._nodes.map.holders[path.partition], self.near_cache
            lease = None if self._trackings is None else self._trackings.lease(host)
            reading = None if near is None or lease is None else near.begin_token(lookups[0], lease)
            lanes = self._lanes if reading is None or not reading.is_followed else self._followed_lanes
            seen = lanes.ask(host, path)
            if seen is not None:
                if near is not None and reading is not None:
                    near.keep_token(reading, lookups[0], seen[1].value)
                return (seen[0], *seen[1].value.followed())
        return super().find_token_now(lookups)

    def _carry_on_lane(
        self, host: Host | None, asked: Sequence[PlacedChain], until_s: float | None = None
    ) -> Sequence[Seen | Exception | None]:
        """Read chains that lie on one node, or that did; who gets nothing asks anew."""
        until_s = time.monotonic() + self._core.policy.timeout_s if until_s is None else until_s
        each = asked if len(asked) == 1 else [*dict.fromkeys(asked)]
        packed = each[0].alone if len(each) == 1 else b"".join([chain.alone for chain in each])
        try:
            answer = self._nodes.read_at(host, packed, len(each), until_s)
        except StoreError:
            return self._carry_off_lane(asked, until_s)
        if isinstance(answer, StoreError):
            return [answer] * len(asked)
        *values, told = answer
        return self._core.seen_on_lane(asked, each, values, milliseconds(told))

    def _carry_followed(self, host: Host | None, asked: Sequence[PlacedChain]) -> Sequence[Seen | Exception | None]:
        """As ``_carry_on_lane``, over the connection whose reads are tracked, where there is one."""
        until_s = time.monotonic() + self._core.policy.timeout_s
        each = asked if len(asked) == 1 else [*dict.fromkeys(asked)]
        replies = self._tracked(host, [chain.alone for chain in each])
        if replies is None:
            return self._carry_on_lane(host, asked, until_s)
        *values, told = replies
        return self._core.seen_on_lane(asked, each, values, milliseconds(told))

    def _carry_off_lane(self, asked: Sequence[PlacedChain], until_s: float) -> Sequence[Seen | Exception | None]:
        """Read chains from the nodes that have their keys by now; who follows those is not known, so none is kept."""
        if self.near_cache is not None:
            self.near_cache.forget_readings()
        answers = self._carry_chains([[chain] for chain in asked], until_s)
        return [(each.now, each.found[0]) if isinstance(each, Snapshot) else each for each in answers]

    def _tracked(self, host: Host | None, commands: Sequence[bytes]) -> list[Any] | None:
        """Ask over the connection whose reads are tracked, where there is one."""
        asked = None if self._trackings is None else self._trackings.ask(host, commands, TIME)
        return None if asked is None else asked.result()

    def _carry_chains(
        self, asked: Sequence[Sequence[PlacedChain]], until_s: float | None = None
    ) -> Sequence[Snapshot | Exception | None]:
        pending, values, goes = self._core.chain_calls([chain for chains in asked for chain in chains])
        found, now = self._nodes.ask_packed(pending, TIME, until_s)
        return self._core.seen_together(asked, values, goes, found, now)

    # --- commands ---

    def run_now(self, rule: Rule[T], *args: object) -> T:
        """As on one server, once what this process began is finished: then what a command rests on may be known."""
        if self._behind.is_busy:
            self._behind.settle(FINISHED_WITHIN_S)
        return super().run_now(rule, *args)

    def _attempted_now(self, rule: Rule[T], args: tuple[object, ...]) -> tuple[T, Changes, int]:
        """Read, run and commit; what is answered without a commit, refusals too, rests on a reading of one instant."""
        spans = [False]
        try:
            attempted = drive_now(attempts(rule, args, self.conflict_queue), partial(self._take_noting, spans))
        except Exception as error:
            if not spans[0] or (isinstance(error, StoreError) and not isinstance(error, UNREADABLE)):
                raise
        else:
            if attempted[1] or not spans[0]:
                return attempted
        return drive_now(attempts(rule, args, self.conflict_queue), self._take_collected)

    def _take_noting(self, spans: list[bool], step: Step) -> Any:
        """Take one step, and note whether what was read last lies in several partitions."""
        if isinstance(step, list):
            snapshot = self._reads.ask(step)
            spans[0] = snapshot.spans
            return snapshot
        return self._take_now(step)

    def _take_collected(self, step: Step) -> Any:
        """Take one step; what is read is so in one instant."""
        return self._collected(step) if isinstance(step, list) else self._take_now(step)

    def commit_now(self, commit: Commit) -> bool:
        """Write all changes if every stamp is as given, with the other commits of this turn.

        What another commit holds for a moment is waited for: what it only rests on is the same afterwards.
        """
        placed = self._core.placed(commit)
        until_s, pause_s = 0.0, PAUSE_S
        while True:
            try:
                if placed.partition is None:
                    return self._joint_commits.ask(placed)
                return self._commits.ask(placed)
            except InTheWay as met:
                now_s = time.monotonic()
                until_s = until_s or now_s + self._address.policy.timeout_s
                if now_s > until_s:
                    return False
                if not met.is_gone:
                    time.sleep(random.uniform(0, pause_s))
                    pause_s = min(2 * pause_s, PAUSE_MAX_S)

    def _carry_commits(self, commits: Sequence[PlacedCommit]) -> Sequence[bool | Exception]:
        try:
            return self._driven(self._core.committing_within(commits))
        finally:
            self._wrote(commits)

    def _carry_joint_commits(self, commits: Sequence[PlacedCommit]) -> Sequence[bool | Exception]:
        try:
            written = self._driven(self._core.committing_over(commits))
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

    def _finish(self, txn: bytes, parts: dict[int, Any], finished: Callable[[], None]) -> None:
        self._driven(self._core.finishing(txn, parts, finished))

    # --- what goes through the store ---

    def due_now(self, now: int, limit: int) -> Sequence[DueRecord]:
        """Return at most ``limit`` keys of what should be swept at ``now`` (milliseconds), where it can be asked."""
        return self._driven(self._core.due(now, limit))

    def due_in_turn_now(self, now: int, limit: int) -> Sequence[DueRecord]:
        """As ``due``; nothing of a partition that another process is sweeping."""
        return self._driven(self._core.due(now, limit, in_turn=True))

    def read_events_now(self, after: Place, limit: int) -> LogRead:
        """Return at most ``limit`` events that stand after a place; move what is new into the log first."""
        self._behind.settle()
        self._driven(self._moving.moving())
        codec = self._core.codec.at(FIRST)
        return log_read(codec, self._ask_first(read_words(codec, after, limit)), after, limit)

    def await_events_now(self) -> None:
        """Wait a moment, in which events may come: longer than on one server, for a look asks all partitions."""
        time.sleep(EVENT_POLL_S)

    def trim_events_now(self, keep: int) -> int:
        """Take away the oldest of the events beyond ``keep``, ``TRIMMED_AT_ONCE`` at most; return how many were."""
        self._behind.settle()
        self._driven(self._moving.moving())
        return int(self._ask_first(trim_words(self._core.codec.at(FIRST), keep)))

    def rewrite_events_now(self, change: Callable[[Event], Event]) -> int:
        """Put what ``change`` returns in the place of each event that it changes; return how many those were."""
        self._behind.settle()
        self._driven(self._moving.emptying())
        return self._driven(on_one(FIRST, rewriting(self._core.codec.at(FIRST), change)))

    def check_now(self, *, fix: bool = False, progress: Progress | None = None) -> Sequence[Finding]:
        """Compare indexes and links with the records; ``fix`` mends these, and sets aside records that cannot be read.

        Raises:
            StoreUnavailable: a node cannot be asked.
        """
        self._behind.settle()
        core = self._core
        steps = checking(core.codec.without_prefix(), fix, progress)
        return self._driven(checking_all(core.placement, core.joint, steps, self.clock.now, self._nodes.run_of))

    def dump_now(self, kind: str, after: str, limit: int) -> Dump:
        """Return a batch of all records of a kind; see ``copying.Copyable``."""
        self._behind.settle()
        return self._driven(dumping_all(self._core.codec.at, kind, after, limit, self._nodes.run_of))

    def count_now(self) -> int:
        """Return how many records there are in the name space; about, where others write meanwhile."""
        return self._driven(counting_all(self._core.codec.at, self._nodes.run_of))

    def clear_now(self) -> None:
        """Delete every key of the name space; the mark of a copy goes last, so that this can be begun again."""
        self._behind.settle()
        self._driven(clearing_all(self._core.codec.at, self._nodes.run_of))

    def pepper_marks(self) -> dict[str, Mark]:
        """Return what is recorded of each pepper, by its key id."""
        return self._driven(on_one(FIRST, marking(self._core.codec)))

    def forget_pepper(self, key_id: str) -> None:
        """Record of a pepper nothing any more."""
        self._driven(on_one(FIRST, forgetting(self._core.codec, key_id)))

    # --- beginning and end ---

    def open(self) -> None:
        """Make sure that the nodes can hold the store.

        Raises:
            StoreUnavailable: one cannot be reached.
            StoreError: one cannot hold the store, or its records lie in one slot.
            InvalidInput: a pepper is missing, or another one.
        """
        self._nodes.open()
        try:
            self._driven(on_one(FIRST, enrolling(self._core.codec, self._core.keyring)))
        except BaseException:
            self._nodes.close_all()
            raise

    def misgiving_now(self) -> str | None:
        """Return what is said of a node that throws keys away by now; one that did when it was opened is refused."""
        nodes = self._nodes.map
        asks = [Call(nodes.holders.index(host), [b"INFO", b"memory"], writes=False) for host in nodes.primaries()]
        told = self._nodes.ask(asks)
        said = [evicting(fields_of(memory)) for memory in told if not isinstance(memory, StoreError)]
        return next(filter(None, said), None)

    def is_there(self) -> bool:
        """Whether the cluster holds the records of the name space, in how many partitions ever; makes nothing."""
        return bool(self.found_in())

    def found_in(self) -> list[int]:
        """Return in how many partitions the name space lies: 1, or all; none if it is not there, both if it is twice.

        Raises:
            StoreUnavailable: a node cannot be asked.
        """
        prefixes = self._core.placement.prefixes
        calls = [
            Call(one, [b"EXISTS", prefixes[one] + PEPPERS, prefixes[one] + b"n"], writes=False)
            for one in (FIRST, UNSPREAD)
        ]
        counts = self._nodes.ask_first(calls)
        for count in counts:
            if isinstance(count, StoreError):
                raise count
        return [number for number, count in zip((PARTITIONS, 1), counts, strict=True) if count]

    def close_now(self) -> None:
        """Wait for what is under way and close the connections; calling it again does nothing."""
        if self._trackings is not None:
            self._trackings.stop()
        self._reads.close()
        self._chains.close()
        self._lanes.close()
        self._followed_lanes.close()
        self._commits.close()
        self._joint_commits.close()
        self._behind.close()
        self._nodes.close_all()

    def _driven(self, rounds: Rounds[T]) -> T:
        return drive_now(rounds, self._nodes.ask)

    def _ask_first(self, words: list[bytes]) -> Any:
        (reply,) = self._nodes.ask([Call(FIRST, words, writes=False)])
        if isinstance(reply, StoreError):
            raise reply
        return reply
