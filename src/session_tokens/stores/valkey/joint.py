"""Commits over several partitions, each carried out at one instant: hold, decide, finish. No I/O.

Theory of operation. A commit is cut by partition. One of its partitions decides; at the others what it
checks and writes is *held* first: it stands as it was, marked, and nobody else changes it. Then the deciding partition
checks and writes its own part and records in the same call that the transaction is *done*: this is the instant of the
whole. The others are *finished* afterwards, by who committed or by whoever meets what is held.

Commits that only rest on the same record, or only add to the same bucket or take out of it, hold that side by side.

Who meets something held asks the deciding partition what became of it. Is it done, he finishes it there; is it void, he
releases it; is nothing recorded although it was asked for after the value was read, then it was undecided when that was
read, and what stands there is right. What stays undecided for too long is recorded to be void by whoever waits for it,
write-once, so that a process that dies or sleeps stops nobody.

The generators yield calls, each list of which may go out at once, and are sent as many replies; in place of a reply
stands the ``StoreError`` of a call that failed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from ...errors import StoreError
from ..common.retry import Declined, NotExecuted

T = TypeVar("T")

DECIDE_WITHIN_MS = 60_000
"""A hold or a decision that comes later is refused; far less than a transaction that is void is remembered."""
HOLDS_AT_ONCE = 1000
"""Holds that are looked for at once in one partition."""
DONE, VOID = b"done", b"void"


class Part(Protocol):
    """What one commit checks and writes in one partition."""

    @property
    def checks(self) -> Mapping[bytes, bytes]:
        """Name → stamp that it must still have, empty for what must not be there."""

    @property
    def words(self) -> Sequence[bytes]:
        """The writes."""


class Call(NamedTuple):
    """A command for one partition.

    Attributes:
        writes: whether it may change something: then it is sent once, again only where it surely was not carried out,
            and where replicas are to confirm, an answer that they did not confirm is an error.
    """

    partition: int
    words: list[bytes]
    writes: bool


Joining = Generator[list[Call], Sequence[Any], T]
"""Yields calls that may go out at once, is sent as many replies or errors, returns what came of it."""


class Met(NamedTuple):
    """A transaction that holds something in a partition, and for how long it has, in milliseconds."""

    partition: int
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


def met_in(partition: int, said: bytes) -> Met:
    """Return who was in the way, as a commit in one partition or a hold is answered."""
    txn, age = said.split()
    return Met(partition, txn, int(age))


def decider_of(txn: bytes) -> int:
    """Return the partition in which a transaction is decided."""
    return int(txn.partition(b".")[0])


def words_of(part: Part) -> list[bytes]:
    """Return the checks and writes of a part as words of a call."""
    words = [b"%d" % len(part.checks)]
    for check in part.checks.items():
        words += check
    return [*words, b"%d" % len(part.words), *part.words]


def is_undone(error: StoreError) -> bool:
    """Whether a call that failed surely was not carried out."""
    return isinstance(error, NotExecuted | Declined)


class Joint:
    """What one store does over its partitions.

    Args:
        prefix_of: returns what the keys of a partition begin with.
        patience_ms: after so long somebody else's undecided transaction is given up.
        is_replicated: whether replicas confirm what is written: then a decision is before it is relied upon.
    """

    def __init__(
        self,
        prefix_of: Callable[[int], bytes],
        patience_ms: int,
        *,
        is_replicated: bool = False,
    ) -> None:
        self._prefix_of = prefix_of
        self._patience_ms = patience_ms
        self._is_replicated = is_replicated

    # --- commits ---

    def committing(
        self,
        parts: Mapping[int, Part],
        decider: int,
        not_after: int,
        nows: Mapping[int, int],
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
        txn = b"%d.%b" % (decider, os.urandom(8).hex().encode("ascii"))
        others = [partition for partition in parts if partition != decider]
        how = b"_end_v1" if though_full else b"_v1"

        def words(partition: int) -> list[bytes]:
            judged_at = nows.get(partition, 0)
            until = min(not_after, (judged_at or now) + DECIDE_WITHIN_MS)
            return [b"%d" % judged_at, b"%d" % until, *words_of(parts[partition])]

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
        partitions = b",".join([b"%d" % one for one in others])
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

    def _given_up(self, txn: bytes, held: Sequence[int], *, void: bool = False) -> Joining[None]:
        """Release what was held for a transaction that is not decided and will not be; who cannot be asked is left."""
        calls = [self._call(b"release_v1", one, txn) for one in held]
        if void:  # a hold whose answer was lost may yet be carried out
            calls.append(self._decision(txn, b"void"))
        if calls:
            yield calls

    def finishing(self, txn: bytes, partitions: Iterable[int]) -> Joining[dict[int, int]]:
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

    def looking(self, met: Mapping[int, Mapping[bytes, bytes]]) -> Joining[bool]:
        """Return whether a read that met what is in doubt is to be made again; if not, what it found was right.

        Args:
            met: by partition the names of records and buckets that are in doubt, each with its stamp as it was read,
                mark and all.

        Raises:
            StoreError: a partition cannot be asked.
        """
        replies = _all((yield [self._look(one, b"w", b"%d" % len(names), *names) for one, names in met.items()]))
        is_another, some = False, set[Met]()
        for (partition, names), (_, holders) in zip(met.items(), replies, strict=True):
            for stamp, said in zip(names.values(), holders, strict=True):
                how, *found = said.split(b" ")
                if found[:1] != [stamp]:
                    is_another = True  # it was finished or released since, and may be held by somebody else
                elif how != b"r":
                    some.update(Met(partition, *each) for each in zip(found[1::2], map(int, found[2::2]), strict=True))
        return (yield from self.looking_at(list(some))) or is_another

    def looking_at(self, met: Sequence[Met]) -> Joining[bool]:
        """As ``looking``, for all who hold anything where a listing was read, which has no stamps.

        Args:
            met: who did at the very instant at which it was read.
        """
        if not met:
            return False
        said = yield from self._verdicts(met)
        return DONE in said.values()

    # --- what nobody came for ---

    def sweeping(self, partition: int) -> Joining[int]:
        """Resolve what was held or decided in a partition long ago; return how many transactions that were.

        Raises:
            StoreError: a partition cannot be asked.
        """
        limit = b"%d" % HOLDS_AT_ONCE
        asked = self._look(partition, b"v", limit, b"u", b"%d" % self._patience_ms, limit)
        ((_, holders, decided),) = _all((yield [asked]))
        met = [one for one in (met_in(partition, said) for said in holders) if one.age_ms > self._patience_ms]
        if met:
            yield from self._verdicts(met)
        for txn, said in zip(decided[::2], decided[1::2], strict=True):
            named = said.split(b" ")[2:]
            yield from self.finishing(txn, map(int, named[0].split(b",")) if named else ())
        return len(met) + len(decided) // 2

    # --- calls ---

    def _look(self, partition: int, *asks: bytes) -> Call:
        key = self._prefix_of(partition) + b"n"
        return Call(partition, [b"FCALL_RO", b"session_tokens_read_v1", b"1", key, *asks], writes=False)

    def _call(self, function: bytes, partition: int, *words: bytes) -> Call:
        key = self._prefix_of(partition) + b"n"
        return Call(partition, [b"FCALL", b"session_tokens_" + function, b"1", key, *words], writes=True)

    def _decision(self, txn: bytes, how: bytes) -> Call:
        return self._call(b"decision_v1", decider_of(txn), txn, how)

    def _asking(self, txn: bytes) -> Call:
        """Return what asks for a decision; where replicas are to confirm, so that they confirm it."""
        if self._is_replicated:
            return self._decision(txn, b"keep")
        partition = decider_of(txn)
        return Call(partition, [b"GET", self._prefix_of(partition) + b"d:" + txn], writes=False)


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
