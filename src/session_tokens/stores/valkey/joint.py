"""Commits over several partitions, each carried out at one instant: hold, decide, finish. No I/O.

Theory of operation. A commit is cut by partition (``split``). One of its partitions decides; at the others what it
checks and writes is *held* first: it stands as it was, marked, and nobody else changes it. Then the deciding partition
checks and writes its own part and records in the same call that the transaction is *done*: this is the instant of the
whole. The others are *finished* afterwards, by who committed or by whoever meets what is held.

Who meets something held asks the deciding partition what became of it. Is it done, he finishes it there; is it void, he
releases it; is nothing recorded although it was asked for after the value was read, then it was undecided when that was
read, and what stands there is right. What stays undecided for too long is recorded to be void by whoever waits for it,
write-once, so that a process that dies or sleeps stops nobody.

The generators yield calls, each list of which may go out at once, and are sent as many replies; in place of a reply
stands the ``StoreError`` of a call that failed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from ...contract.queries import Query
from ...errors import StoreBusy, StoreError
from ..common.retry import Declined, NotExecuted
from .held import held_in, is_listing, unheld_reply
from .queries import words_of
from .rows import Reply
from .splitting import Part

T = TypeVar("T")

DECIDE_WITHIN_MS = 60_000
"""A hold or a decision that comes later is refused; far less than a transaction that is void is remembered."""
RECALLED_S = 30.0
"""What was read is judged by decisions that are asked for sooner than that; those that are done are kept for longer."""
HOLDS_AT_ONCE = 1000
"""Holds that are looked for at once in one partition."""
LOOKS_MAX = 20
"""How often what others hold is resolved before a read gives up."""
DONE, VOID = b"done", b"void"


class Call(NamedTuple):
    """A command for one partition.

    Attributes:
        writes: whether it may change something: then it is sent once, again only where it surely was not carried out,
            and where replicas are to confirm, an answer that they did not confirm is an error.
    """

    partition: str
    words: list[bytes]
    writes: bool


Joining = Generator[list[Call], Sequence[Any], T]
"""Yields calls that may go out at once, is sent as many replies or errors, returns what came of it."""


class Met(NamedTuple):
    """A transaction that holds something in a partition, and for how long it has, in milliseconds."""

    partition: str
    txn: bytes
    age_ms: int


class Outcome(NamedTuple):
    """What came of a commit.

    Attributes:
        stamp: that of the deciding partition; 0 where nothing was written.
        txn: the transaction.
        met: others that hold what it needs; once they are resolved it may be tried again.
    """

    stamp: int
    txn: bytes
    met: Sequence[Met]


def met_in(partition: str, said: bytes) -> Met:
    """Return who was in the way, as a commit in one partition or a hold is answered."""
    txn, age = said.split()
    return Met(partition, txn, int(age))


def decider_of(txn: bytes) -> str:
    """Return the partition in which a transaction is decided."""
    return txn.rpartition(b".")[0].decode("ascii")


def is_undone(error: StoreError) -> bool:
    """Whether a call that failed surely was not carried out."""
    return isinstance(error, NotExecuted | Declined)


class Joint:
    """What one store does over its partitions.

    Args:
        key_of: returns the key of the last stamp of a partition.
        patience_ms: after so long somebody else's undecided transaction is given up.
        is_replicated: whether replicas confirm what is written: then a decision is before it is relied upon.
    """

    def __init__(
        self,
        key_of: Callable[[str], bytes],
        patience_ms: int,
        *,
        is_replicated: bool = False,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key_of = key_of
        self._patience_ms = patience_ms
        self._is_replicated = is_replicated
        self._monotonic_s = monotonic_s

    # --- commits ---

    def committing(
        self,
        parts: Mapping[str, Part],
        decider: str,
        not_after: int,
        nows: Mapping[str, int],
        now: int,
        *,
        though_full: bool = False,
    ) -> Joining[Outcome]:
        """Carry out a commit over two partitions or more, whole or not at all.

        Where it was, ``finishing`` is to follow, and does not keep the answer.

        Args:
            parts: what it checks and writes in each partition.
            decider: one of them.
            not_after: the instant at or after which it is refused, in milliseconds.
            nows: when each partition was read, on its own clock; those that were not read may be left out.
            now: the instant by which it was judged.
            though_full: whether servers that are out of memory shall carry it out too.

        Raises:
            StoreError: it was not carried out, where the error is one of ``NotExecuted`` or ``Declined``; else its
                outcome is unknown.
        """
        txn = b"%b.%b" % (decider.encode("ascii"), os.urandom(8).hex().encode("ascii"))
        others = [partition for partition in parts if partition != decider]
        how = b"_end_v1" if though_full else b"_v1"

        def words(partition: str) -> list[bytes]:
            judged_at = nows.get(partition, 0)
            until = min(not_after, (judged_at or now) + DECIDE_WITHIN_MS)
            return [b"%d" % judged_at, b"%d" % until, *parts[partition].call_words()]

        answers = yield [self._call(b"hold" + how, one, txn, *words(one)) for one in others]
        errors = [answer for answer in answers if isinstance(answer, StoreError)]
        met = [
            met_in(one, said[1])
            for one, said in zip(others, answers, strict=True)
            if not isinstance(said, StoreError) and isinstance(said[1], bytes)
        ]
        if errors or any(said[1] != 1 for said in answers):
            held = [
                one
                for one, said in zip(others, answers, strict=True)
                if (not is_undone(said) if isinstance(said, StoreError) else said[1] == 1)
            ]
            yield from self._given_up(txn, held, void=len(errors) > 0)
            if errors:
                raise _undone(errors)
            return Outcome(0, txn, met)
        partitions = b",".join(one.encode("ascii") for one in others)
        (said,) = yield [self._call(b"decide" + how, decider, txn, partitions, *words(decider))]
        if isinstance(said, StoreError) and not is_undone(said):
            stamp = yield from self._found_out(txn, said)
        elif isinstance(said, StoreError):
            yield from self._given_up(txn, others)
            raise said
        else:
            stamp = said[1]
            if isinstance(stamp, bytes):
                met, stamp = [met_in(decider, stamp)], 0
        if not stamp:
            yield from self._given_up(txn, others)
        return Outcome(stamp, txn, met)

    def _found_out(self, txn: bytes, error: StoreError) -> Joining[int]:
        """Return the stamp of a transaction whose decision was not answered, 0 where it is void now.

        Raises:
            StoreError: that error, where this is not answered either.
        """
        (said,) = yield [self._decision(txn, b"void")]
        if isinstance(said, StoreError):
            raise error
        return int(said.split()[1]) if said.startswith(DONE) else 0

    def _given_up(self, txn: bytes, held: Sequence[str], *, void: bool = False) -> Joining[None]:
        """Release what was held for a transaction that is not decided and will not be; who cannot be asked is left."""
        calls = [self._call(b"release_v1", one, txn) for one in held]
        if void:  # a hold whose answer was lost may yet be carried out
            calls.append(self._decision(txn, b"void"))
        if calls:
            yield calls

    def finishing(self, txn: bytes, partitions: Iterable[str]) -> Joining[dict[str, int]]:
        """Finish a transaction that is done; return the stamps of partitions in which nobody else had done so.

        What could not be asked is left to whoever meets it, or to ``sweeping``.
        """
        others = [partition for partition in partitions if partition != decider_of(txn)]
        answers = yield [self._call(b"finish_v1", one, txn) for one in others]
        if not any(isinstance(said, StoreError) for said in answers):
            yield [self._decision(txn, b"settle")]
        return {
            one: said[1]
            for one, said in zip(others, answers, strict=True)
            if not isinstance(said, StoreError) and said[1]
        }

    # --- what others hold ---

    def resolving(self, met: Sequence[Met]) -> Joining[bool]:
        """Finish or release what others hold as far as it is decided; return whether it is worth trying again at once.

        Raises:
            StoreError: a partition cannot be asked.
        """
        verdicts = yield from self._verdicts(met)
        return all(verdicts.values())

    def _verdicts(self, met: Sequence[Met]) -> Joining[dict[bytes, bytes]]:
        """Return what is recorded of each transaction, empty for what is undecided; finish and release accordingly."""
        oldest = {one.txn: one.age_ms for one in sorted(met, key=lambda one: one.age_ms)}
        answers = _all((yield [self._asking(txn) for txn in oldest]))
        said = {txn: (answer or b"").split(b" ")[0] for txn, answer in zip(oldest, answers, strict=True)}
        late = [txn for txn, verdict in said.items() if not verdict and oldest[txn] > self._patience_ms]
        if late:
            answers = _all((yield [self._decision(txn, b"void") for txn in late]))
            said.update((txn, answer.split(b" ")[0]) for txn, answer in zip(late, answers, strict=True))
        steps = {VOID: b"release_v1", DONE: b"finish_v1"}
        calls = [self._call(steps[said[txn]], partition, txn) for partition, txn, _ in met if said[txn]]
        if calls:
            _all((yield calls))
        return said

    # --- reads ---

    def reading(self, asked: Mapping[str, Sequence[Query]]) -> Joining[dict[str, tuple[int, list[Reply]]]]:
        """Return for each partition its instant and replies without holds, each partition as of one instant.

        A listing has no stamps: where one is asked for, all holds of its partition are resolved first.

        Raises:
            StoreError: a partition cannot be asked.
        """
        found: dict[str, tuple[int, list[Reply]]] = {}
        names: dict[str, list[bytes]] = {partition: [] for partition in asked}
        for _ in range(LOOKS_MAX):
            since_s = self._monotonic_s()
            left = [partition for partition in asked if partition not in found]
            replies = _all((yield [self._look(one, asked[one], names[one]) for one in left]))
            met: dict[str, list[Met]] = {}
            for partition, (now, *answers) in zip(left, replies, strict=True):
                queries = asked[partition]
                *values, holders, all_holders = answers
                held = [
                    name
                    for query, value in zip(queries, values, strict=True)
                    for name in held_in(query, value)
                    if name not in names[partition]
                ]
                if held:  # it is not known yet by whom
                    names[partition] += held
                    continue
                met[partition] = _met(partition, holders, all_holders)
                found[partition] = now, [unheld_reply(*pair) for pair in zip(queries, values, strict=True)]
            some = [one for each in met.values() for one in each]
            if some:
                said = yield from self._verdicts(some)
                is_late = self._monotonic_s() - since_s > RECALLED_S
                for partition, each in met.items():
                    if any(is_late or said[one.txn] == DONE for one in each):
                        del found[partition]
            if len(found) == len(asked):
                return found
        raise StoreBusy(f"others went on changing what was read, {LOOKS_MAX} times; try again later")

    def _look(self, partition: str, queries: Sequence[Query], names: Sequence[bytes]) -> Call:
        words = [b"FCALL_RO", b"session_tokens_read_v1", b"1", self._key_of(partition)]
        for query in queries:
            words += words_of(query)
        limit = b"%d" % (HOLDS_AT_ONCE if any(map(is_listing, queries)) else 0)
        words += (b"w", b"%d" % len(names), *names, b"v", limit)
        return Call(partition, words, writes=False)

    # --- what nobody came for ---

    def sweeping(self, partition: str) -> Joining[int]:
        """Resolve what was held or decided in a partition long ago; return how many transactions that were.

        Raises:
            StoreError: a partition cannot be asked.
        """
        words = [b"FCALL_RO", b"session_tokens_read_v1", b"1", self._key_of(partition)]
        words += (b"v", b"%d" % HOLDS_AT_ONCE, b"u", b"%d" % self._patience_ms, b"%d" % HOLDS_AT_ONCE)
        ((_, holders, decided),) = _all((yield [Call(partition, words, writes=False)]))
        met = [one for one in _met(partition, (), holders) if one.age_ms > self._patience_ms]
        if met:
            yield from self._verdicts(met)
        for txn, said in zip(decided[::2], decided[1::2], strict=True):
            named = said.split(b" ")[2:]
            yield from self.finishing(txn, named[0].decode("ascii").split(",") if named else ())
        return len(met) + len(decided) // 2

    # --- calls ---

    def _call(self, function: bytes, partition: str, *words: bytes) -> Call:
        key = self._key_of(partition)
        return Call(partition, [b"FCALL", b"session_tokens_" + function, b"1", key, *words], writes=True)

    def _decision(self, txn: bytes, how: bytes) -> Call:
        return self._call(b"decision_v1", decider_of(txn), txn, how)

    def _asking(self, txn: bytes) -> Call:
        """Return what asks for a decision; where replicas are to confirm, so that they confirm it."""
        if self._is_replicated:
            return self._decision(txn, b"keep")
        partition = decider_of(txn)
        return Call(partition, [b"GET", self._key_of(partition)[:-1] + b"d:" + txn], writes=False)


def _met(partition: str, holders: Sequence[bytes], all_holders: Sequence[Any]) -> list[Met]:
    """Return who holds something against a reader: those who only rest on it change nothing."""
    some = [holder.split() for holder in holders if holder]
    met = {txn: Met(partition, txn, int(age)) for txn, how, age in some if how == b"w"}
    met |= {txn: Met(partition, txn, age) for txn, age in zip(all_holders[::2], all_holders[1::2], strict=True)}
    return list(met.values())


def _all(answers: Sequence[Any]) -> Sequence[Any]:
    """Return replies all of which are needed; raise the first error."""
    for answer in answers:
        if isinstance(answer, StoreError):
            raise answer
    return answers


def _undone(errors: Sequence[StoreError]) -> StoreError:
    """Return the error of a commit that was not decided, as some partition could not be held."""
    for error in errors:
        if is_undone(error):
            return error
    undone = NotExecuted("a part of the command was not answered in time; nothing was written")
    undone.__cause__ = errors[0]
    return undone
