"""What the stores in partitions for asyncio and for threads share: what is asked, and what is made of it. No I/O."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Sequence
from itertools import chain as chained
from typing import Any, NamedTuple

from ...contract.optimistic import Commit
from ...contract.queries import Answered, DueRecord, DueRecords, Query, Result, Snapshot, singly, together
from ...crypto.minting import PepperKeyring
from ...crypto.secret_form import PARTITIONS
from ...errors import StoreError
from ..common.retry import Full, RetryPolicy
from ..common.server_clock import ServerClock
from .cluster_map import JudgedElsewhere, Pending
from .commit import InPlace, Writes, writes_of
from .exchanges import DUE, Seen, ValkeyCore
from .held import is_in_doubt, unheld
from .joint import Call, Joint, Met, decider_of, met_in
from .placed_chains import PlacedChain, PlacedChains, read_together, taken_in
from .placed_reading import job_of
from .placement import FIRST, Placement
from .rounds import Ask, Job, Rounds, many_reading
from .rows import ValkeyCodec
from .schema import Address
from .splitting import Part, only_partition, split, with_order

DUE_SHARES, DUE_MORE = 16, 4
"""Of what is due each partition is asked for one part in so many of what is wanted, and some more."""


class PlacedCodec(ValkeyCodec):
    """The codec of a store in partitions; ``at`` is that of one of them."""

    def __init__(self, keyring: PepperKeyring, clock: ServerClock, placement: Placement) -> None:
        super().__init__(keyring, clock, placement.prefixes[FIRST])
        self.placement = placement
        self.paths = PlacedChains(placement)

    def at(self, partition: int) -> PlacedCodec:
        """Return the same codec for the keys of one partition; what is remembered is common to all."""
        codec = copy.copy(self)
        codec.prefix = self.placement.prefixes[partition]
        codec.last_stamp_key = codec.prefix + b"n"
        return codec

    def without_prefix(self) -> PlacedCodec:
        """Return the same codec for names in the place of keys."""
        codec = copy.copy(self)
        codec.prefix, codec.last_stamp_key = b"", b"n"
        return codec


class PlacedSnapshot(NamedTuple):
    """A snapshot, and whether it is of several partitions, which were not read in one instant.

    Attributes:
        now, found: as in ``Snapshot``.
        spans: whether it is.
    """

    now: int
    found: Sequence[Result]
    spans: bool

    def is_as(self, other: PlacedSnapshot) -> bool:
        """Whether two readings of the same questions found the same: all of it stood there at once in between."""
        return len(self.found) == len(other.found) and all(
            one.stamps == another.stamps for one, another in zip(self.found, other.found, strict=True)
        )


class InTheWay(Exception):
    """A commit was refused for what another one holds, over several partitions.

    Attributes:
        is_gone: whether that is out of the way by now.
    """

    def __init__(self, is_gone: bool) -> None:
        super().__init__(is_gone)
        self.is_gone = is_gone


class PlacedCommit(NamedTuple):
    """A commit, and where it lies.

    Attributes:
        partition: in which all of it does; ``None`` where it is of several.
        commit: what was asked for.
        writes: its checks and writes.
    """

    partition: int | None
    commit: Commit
    writes: Writes | InPlace


Outcomes = list[bool | Exception]
"""For each commit whether it was written, or an error."""


class Written(NamedTuple):
    """What came of commits over several partitions.

    Attributes:
        results: of each.
        unfinished: transactions that are done, their other partitions and the parts of these.
    """

    results: Outcomes
    unfinished: list[tuple[bytes, dict[int, Part]]]


class ClusterCore(ValkeyCore):
    """What both shells share.

    Attributes:
        placement: the partitions.
        joint: commits over several of them.
    """

    codec: PlacedCodec

    def __init__(self, address: Address, keyring: PepperKeyring, space: str) -> None:
        super().__init__(address, keyring, space)
        self.placement = Placement(address.namespace, space)
        self.policy: RetryPolicy = address.policy
        self.codec = PlacedCodec(keyring, self.clock, self.placement)
        self.joint = Joint(
            self.placement.prefix,
            int(address.policy.timeout_s * 1000),
            is_replicated=address.replicas > 0,
        )

    # --- reads ---

    def together(self, calls: Sequence[Sequence[Query]]) -> Rounds[list[PlacedSnapshot | Exception]]:
        """Return what several callers ask, each its own questions."""
        if len(calls) == 1:
            queries: Sequence[Query] = calls[0]
            places = [range(len(queries))]
        else:
            numbers: dict[Query, int] = {}
            shared = [[numbers.setdefault(query, len(numbers)) for query in asked] for asked in calls]
            queries, places = list(numbers), shared  # type: ignore[assignment]  # ranges and lists alike
        single = singly(queries)
        visited: list[set[int]] = [set() for _ in single]
        jobs = [_noting(job_of(query), into) for query, into in zip(single, visited, strict=True)]
        jobs.append(_now_of_first())
        now, replies, _ = yield from many_reading(self.placement, self.joint, jobs if not single else jobs[:-1])
        if not now:  # not even the instant is known, which some ask for alone
            error = next((reply for reply in replies if isinstance(reply, StoreError)), None)
            if error is not None:
                return [error] * len(calls)
        else:
            self.clock.heard(now)
        found: list[Any] = [self._answer(*pair) for pair in zip(single, replies, strict=False)]
        answers = together(queries, found)
        spread = _spread(queries, visited)
        return [self._snapshot(now, [answers[at] for at in each], [spread[at] for at in each]) for each in places]

    def _answer(self, query: Query, reply: Any) -> Answered | StoreError:
        if isinstance(reply, StoreError):
            return reply
        answer = self.codec.answer(query, reply) if self.codec.paths.knows(query) else self.codec.learnt(query, reply)
        if query.what == "due" and isinstance(answer, Result):
            some = sorted(answer.value, key=lambda found: found.session.sweep_at)
            return answer._replace(value=some[: query.limit])
        return answer

    @staticmethod
    def _snapshot(now: int, answers: Sequence[Any], visited: Sequence[set[int]]) -> PlacedSnapshot | Exception:
        for answer in answers:
            if isinstance(answer, Exception):
                return answer
        return PlacedSnapshot(now or 0, answers, len(set().union(*visited)) > 1)

    def chain_calls(self, chains: Sequence[PlacedChain]) -> tuple[list[Pending], list[list[Any]], list[Any]]:
        """Return what reads the keys of some chains, and where the values go."""
        commands, values, goes = read_together(chains)
        pending = [
            Pending(at, Call(partition, [], writes=False), packed) for at, (partition, packed) in enumerate(commands)
        ]
        return pending, values, goes

    def seen_on_lane(
        self, asked: Sequence[PlacedChain], each: Sequence[PlacedChain], values: Sequence[list[Any]], now: int
    ) -> list[Seen | None]:
        """Return what stood on the chain that each caller asked for; ``None`` for who has to ask anew.

        Args:
            asked: the chains of the callers, each of which lies in one partition.
            each: the same, each once.
            values: what was read.
            now: when.
        """
        self.clock.heard(now)
        seen: list[Seen | None] = []
        for chain, there in zip(each, values, strict=True):
            known = chain.seen
            if known and known[0] == there:
                seen.append((now, known[1]))
            else:
                seen.append(None if any(map(is_in_doubt, there)) else self._seen_on(chain, [*map(unheld, there)], now))
        if len(each) == len(asked):
            return seen
        on_chain = dict(zip(each, seen, strict=True))
        return [on_chain[chain] for chain in asked]

    def seen_together(
        self,
        asked: Sequence[Sequence[PlacedChain]],
        values: list[list[Any]],
        goes: list[Any],
        found: list[Any],
        now: int,
    ) -> list[Snapshot | Exception | None]:
        """Return what each caller's chains say; ``None`` for who has to ask anew."""
        if now:
            self.clock.heard(now)
        broken: dict[int, StoreError] = {}
        for each, going in zip(found, goes, strict=True):
            if isinstance(each, StoreError):
                broken.update((id(into), each) for into, _ in going)
            else:
                taken_in(each, going)
        seen, at = list[Snapshot | Exception | None](), 0
        for chains in asked:
            seen.append(self._seen_of(chains, values[at : at + len(chains)], broken, now))
            at += len(chains)
        return seen

    def _seen_of(
        self, chains: Sequence[PlacedChain], found: list[list[Any]], broken: dict[int, StoreError], now: int
    ) -> Snapshot | Exception | None:
        """Return what some chains say, ``None`` where one has to ask anew.

        What lies in several partitions counts only if all of it is as it was when it was read last: then it was so
        all the time, and so in one instant.
        """
        first = chains[0].stretches[0].partition
        spans = any(len(chain.stretches) > 1 or chain.stretches[0].partition != first for chain in chains)
        results = []
        for chain, there in zip(chains, found, strict=True):
            if broken and id(there) in broken:
                return broken[id(there)]
            known = chain.seen
            if known is None or known[0] != there:
                if any(map(is_in_doubt, there)):
                    return None
                as_it_was = [*map(unheld, there)]
                is_new = known is None or known[0] != as_it_was
                if is_new:
                    self._on_chain(chain, as_it_was)
                    known = chain.seen
                if (spans and is_new) or known is None or known[0] != as_it_was:
                    return None
            results.append(known[1])
        return Snapshot(now, results)

    # --- commits ---

    def placed(self, commit: Commit) -> PlacedCommit:
        """Return where a commit lies, and what it checks and writes."""
        writes = writes_of(self.codec, commit)
        return PlacedCommit(only_partition(writes), commit, writes)

    def committing_within(self, commits: Sequence[PlacedCommit]) -> Rounds[Outcomes]:
        """Carry out commits each of which lies in one partition, each whole or not at all: in one call to each."""
        results = yield from self._within(commits, though_full=False)
        full = [
            at for at, result in enumerate(results) if isinstance(result, Full) and commits[at].commit.changes.only_ends
        ]
        if full:
            again = yield from self._within([commits[at] for at in full], though_full=True)
            for at, result in zip(full, again, strict=True):
                results[at] = result
        return results

    def _within(self, commits: Sequence[PlacedCommit], *, though_full: bool) -> Rounds[Outcomes]:
        results: Outcomes = [False] * len(commits)
        alone: dict[int, list[int]] = {}
        for number, placed in enumerate(commits):
            alone.setdefault(placed.partition, []).append(number)  # type: ignore[arg-type]  # it has one
        function = b"session_tokens_end_v1" if though_full else b"session_tokens_commit_v1"
        calls = [self._call(function, partition, [commits[at] for at in some]) for partition, some in alone.items()]
        nows: list[int] = []
        met: list[Met] = []
        held: list[int] = []
        for (partition, some), answer in zip(alone.items(), (yield calls), strict=True):
            if isinstance(answer, StoreError):
                for number in some:
                    results[number] = False if isinstance(answer, JudgedElsewhere) else answer
                continue
            nows.append(answer[0])
            for number, stamp in zip(some, answer[1:], strict=True):
                if isinstance(stamp, bytes):
                    met.append(met_in(partition, stamp))
                    held.append(number)
                elif stamp:
                    commits[number].writes.remember(b"%d" % stamp)
                    results[number] = True
        if nows:
            self.clock.heard(max(nows))
        if met:
            in_the_way = yield from self._in_the_way(met)
            for number in held:
                results[number] = in_the_way
        return results

    def _call(self, function: bytes, partition: int, commits: Sequence[PlacedCommit]) -> Call:
        words = [b"FCALL", function, b"1", self.placement.prefixes[partition] + b"n"]
        for _, commit, writes in commits:
            changes, checks = commit.changes, writes.checks
            words += (b"%d" % commit.now, b"%d" % changes.not_after, b"%d" % len(checks))
            words += chained.from_iterable(checks.items())
            events = changes.events
            written = with_order(writes.words, events) if events else writes.words
            words.append(b"%d" % len(written))
            words += written
        return Call(partition, words, writes=True)

    def committing_over(self, commits: Sequence[PlacedCommit]) -> Rounds[Written]:
        """Carry out commits over several partitions, side by side, each whole or not at all."""
        written = Written([False] * len(commits), [])
        for result in (yield from _in_step([self._over(*each, written) for each in enumerate(commits)])):
            if isinstance(result, StoreError):
                raise result
        return written

    def _in_the_way(self, met: Sequence[Met]) -> Rounds[InTheWay]:
        """Resolve what is in the way of a commit; where that cannot be asked, the next attempt says so."""
        try:
            return InTheWay((yield from self.joint.resolving(met)))
        except StoreError:
            return InTheWay(False)

    def _over(self, number: int, placed: PlacedCommit, written: Written, *, though_full: bool = False) -> Rounds[None]:
        commit, writes = placed.commit, placed.writes
        decider, parts = split(writes if isinstance(writes, Writes) else Writes(self.codec, commit), commit)
        nows = dict.fromkeys(parts, commit.now)
        try:
            outcome = yield from self.joint.committing(
                parts, decider, commit.not_after, nows, commit.now, though_full=though_full
            )
        except JudgedElsewhere:
            return
        except StoreError as error:
            if isinstance(error, Full) and commit.changes.only_ends and not though_full:
                yield from self._over(number, placed, written, though_full=True)
            else:
                written.results[number] = error
            return
        if outcome.stamp:
            parts[decider].remember(self.codec, outcome.stamp)
            for partition, part in parts.items():
                if partition != decider:
                    part.forget(self.codec)
            written.unfinished.append((outcome.txn, parts))
            written.results[number] = True
        elif outcome.met:
            written.results[number] = yield from self._in_the_way(outcome.met)

    def finishing(self, txn: bytes, parts: dict[int, Part], finished: Callable[[], None]) -> Rounds[None]:
        """Finish what is done, and take in what was written.

        Args:
            finished: called when all partitions are; what follows is nothing that anybody would wait for.
        """
        steps = self.joint.finishing(txn, parts)
        answers = yield next(steps)
        others = [partition for partition in parts if partition != decider_of(txn)]
        for partition, said in zip(others, answers, strict=True):
            if not isinstance(said, StoreError) and said[1]:
                parts[partition].remember(self.codec, said[1])
        finished()
        try:
            yield steps.send(answers)
        except StopIteration:
            pass

    # --- what is due ---

    def due(self, now: int, limit: int, *, in_turn: bool = False) -> Rounds[DueRecords]:
        """Return what should be swept, of each partition that can be asked the longest due first.

        What processes that died have left held is resolved before.

        Raises:
            StoreError: no partition can be asked.
        """
        ways = [self.joint.sweeping(partition) for partition in range(PARTITIONS)]
        errors = [each for each in (yield from _in_step(ways)) if isinstance(each, StoreError)]
        share = min(limit, -(-limit // DUE_SHARES) + DUE_MORE)
        some = yield from self._due_in(range(PARTITIONS), now, share, in_turn, errors)
        if not some:
            raise errors[0]
        full = [partition for partition, rows in some.items() if len(rows) >= share]
        if full and share < limit and sum(map(len, some.values())) < limit:
            some.update((yield from self._due_in(full, now, limit, in_turn, errors)))
        rows = [(at, partition, record) for partition, each in some.items() for at, record in enumerate(each)]
        rows.sort(key=lambda row: row[:2])
        due = DueRecords([record for _, _, record in rows[:limit]])
        due.away = errors[0] if errors else None
        return due

    def _due_in(
        self, partitions: Sequence[int], now: int, limit: int, in_turn: bool, errors: list[StoreError]
    ) -> Rounds[dict[int, list[DueRecord]]]:
        words = self.due_arguments(now, limit, in_turn)
        answers = yield [
            Call(partition, [*_function(DUE, self.placement, partition), *words], writes=False)
            for partition in partitions
        ]
        errors += [answer for answer in answers if isinstance(answer, StoreError)]
        asked = zip(partitions, answers, strict=True)
        return {partition: self.keys(answer) for partition, answer in asked if not isinstance(answer, StoreError)}


def _function(name: bytes, placement: Placement, partition: int) -> list[bytes]:
    return [b"FCALL", name, b"1", placement.prefixes[partition] + b"n"]


def _in_step(jobs: Sequence[Generator[Any, Any, Any]]) -> Rounds[list[Any]]:
    """Let jobs go on side by side; return what each returned, or the error with which it ended."""
    results: list[Any] = [None] * len(jobs)
    asked: dict[int, Sequence[Call]] = {}
    for number, job in enumerate(jobs):
        _went_on(job, None, number, asked, results)
    while asked:
        now, asked = asked, {}
        answers = yield [call for calls in now.values() for call in calls]
        at = 0
        for number, calls in now.items():
            _went_on(jobs[number], answers[at : at + len(calls)], number, asked, results)
            at += len(calls)
    return results


def _went_on(
    job: Generator[Any, Any, Any], sent: list[Any] | None, number: int, asked: dict[int, Any], results: list[Any]
) -> None:
    try:
        asked[number] = next(job) if sent is None else job.send(sent)
    except StopIteration as stop:
        results[number] = stop.value
    except StoreError as error:
        results[number] = error


def _noting(job: Job[Any], into: set[int]) -> Job[Any]:
    """Note which partitions a job asks."""
    sent: list[Any] | None = None
    error: StoreError | None = None
    while True:
        try:
            if error is not None:
                asks: Sequence[Ask] = job.throw(error)
            else:
                asks = next(job) if sent is None else job.send(sent)
        except StopIteration as stop:
            return stop.value
        into.update([partition for partition, _ in asks])
        sent = error = None
        try:
            sent = yield asks
        except StoreError as thrown:
            error = thrown


def _now_of_first() -> Job[None]:
    """Ask for nothing but the instant: of what never is."""
    yield [(FIRST, (b"c", b"0", b"0"))]


def _spread(queries: Sequence[Query], visited: Sequence[set[int]]) -> list[set[int]]:
    """Return the partitions from which each query was answered, of those from which each of its keys was."""
    if len(queries) == len(visited):
        return list(visited)
    spread, at = [], 0
    for query in queries:
        past = at + 1 + len(getattr(query, "others", ()))
        spread.append(set().union(*visited[at:past]))
        at = past
    return spread
