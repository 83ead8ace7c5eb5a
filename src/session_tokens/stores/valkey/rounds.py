"""Questions to several partitions in rounds: what is asked at once goes out at once. No I/O.

Theory of operation. A job yields what it asks of partitions, in words of the library's read function, and is sent the
replies; where an answer leads to another partition it asks again. Jobs go on side by side: what all of them ask in one
round becomes one call for each partition. What cannot be asked is thrown into the jobs that asked it, and no others.

A commit over several partitions leaves marks for a moment (``joint``). They are seen here, before anything is decoded.
The partition is asked once more, and who holds what in the same call: whoever is done is finished, and all is asked
anew; of whoever was undecided *after* the reading, what was read is as it was before. A listing has no stamps, so of
its partition all who hold something are asked for.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from ...errors import StoreBusy, StoreError
from ..common.retry import NotExecuted
from .held import is_in_doubt, unheld
from .joint import HOLDS_AT_ONCE, Call, Joint, Met, met_in
from .keys import STAMP_LENGTH
from .placement import Placement
from .rows import Reply

T = TypeVar("T")

Ask = tuple[int, Sequence[bytes]]
"""A partition, and one question in words of the read function."""
Job = Generator[Sequence[Ask], list[Any], T]
"""Yields questions, is sent the replies."""

AGAIN_MAX = 50
"""How often one question is asked anew because others are in the midst of a commit."""


Rounds = Generator[Sequence[Call], list[Any], T]
"""Yields calls that are sent at once, is sent a reply or a ``StoreError`` for each."""


def failed(answer: Any) -> StoreError | None:
    """Return the error that stands in the place of a reply, if one does."""
    return answer if isinstance(answer, StoreError) else None


def side_by_side(jobs: Sequence[Generator[Sequence[Any], list[Any], Any]]) -> Generator[Any, list[Any], list[Any]]:
    """Let jobs go on together; return what each returns, or the ``StoreError`` that it raises."""
    results: list[Any] = [None] * len(jobs)
    asked: dict[int, Sequence[Any]] = {}

    def went_on(number: int, sent: list[Any] | None) -> None:
        job = jobs[number]
        try:
            error = None if sent is None else next(filter(None, map(failed, sent)), None)
            asked[number] = next(job) if sent is None else job.send(sent) if error is None else job.throw(error)
        except StopIteration as stop:
            results[number] = stop.value
        except StoreError as error:
            results[number] = error

    for number in range(len(jobs)):
        went_on(number, None)
    while asked:
        now, asked = asked, {}
        replies = yield [each for questions in now.values() for each in questions]
        at = 0
        for number, questions in now.items():
            went_on(number, replies[at : at + len(questions)])
            at += len(questions)
    return results


class Read(NamedTuple):
    """What came of a job.

    Attributes:
        now: the earliest of the instants at which partitions were read, in milliseconds; 0 where none was.
        value: what it returned.
        nows: partition → the instant at which it was read first.
    """

    now: int
    value: Any
    nows: dict[int, int]


def reading(placement: Placement, joint: Joint, job: Job[Any]) -> Rounds[Read]:
    """Turn the questions of a job into calls, round by round.

    Raises:
        StoreError: what the job raises for what could not be asked.
    """
    rounds = _Rounds(placement, joint)
    try:
        asks = list(next(job))
        while True:
            replies = yield from rounds.answered(asks)
            error = next(filter(None, map(failed, replies)), None)
            asks = list(job.send(replies) if error is None else job.throw(error))
    except StopIteration as stop:
        return Read(min(rounds.nows.values(), default=0), stop.value, rounds.nows)


def many_reading(placement: Placement, joint: Joint, jobs: Sequence[Job[Any]]) -> Rounds[Read]:
    """As ``reading``, for jobs side by side; the value is a list of what each returned or raised."""
    rounds = _Rounds(placement, joint)
    steps = side_by_side(jobs)
    try:
        asks = list(next(steps))
        while True:
            asks = list(steps.send((yield from rounds.answered(asks))))
    except StopIteration as stop:
        return Read(min(rounds.nows.values(), default=0), stop.value, rounds.nows)


class _Rounds:
    """Questions and their replies, round by round.

    Attributes:
        nows: partition → the instant at which it was read first.
    """

    def __init__(self, placement: Placement, joint: Joint) -> None:
        self._placement = placement
        self._joint = joint
        self.nows: dict[int, int] = {}

    def answered(self, asks: Sequence[Ask]) -> Rounds[list[Any]]:
        """Return a reply or an error for each question."""
        replies: list[Any] = [None] * len(asks)
        numbers: dict[int, list[int]] = {}
        for number, (partition, _) in enumerate(asks):
            numbers.setdefault(partition, []).append(number)
        left = [*numbers]
        for _ in range(AGAIN_MAX):
            calls = [self._call(one, [asks[number][1] for number in numbers[one]]) for one in left]
            doubts: dict[int, dict[bytes, bytes]] = {}
            holders: list[Met] = []
            for partition, answer in zip(left, (yield calls), strict=True):
                if failed(answer):
                    for number in numbers[partition]:
                        replies[number] = answer
                    continue
                self.nows.setdefault(partition, answer[0])
                found: dict[bytes, bytes] = {}
                for number, reply in zip(numbers[partition], answer[1:], strict=False):
                    words = asks[number][1]
                    found.update(doubtful(words, reply))
                    replies[number] = unheld_reply(words, reply)
                if found:
                    doubts[partition] = found
                if len(answer) > 1 + len(numbers[partition]):
                    holders += [met_in(partition, said) for said in answer[-1]]
            if (not doubts and not holders) or not (yield from self._changed(doubts, holders)):
                return replies
            left = [*{*doubts, *(one.partition for one in holders)}]
        raise StoreBusy(f"others went on changing what was read, {AGAIN_MAX} times; try again later")

    def _call(self, partition: int, asked: Sequence[Sequence[bytes]]) -> Call:
        words = [b"FCALL_RO", b"session_tokens_read_v1", b"1", self._placement.prefixes[partition] + b"n"]
        for each in asked:
            words += each
        if any(each and each[0] in _LISTINGS for each in asked):
            words += (b"v", b"%d" % HOLDS_AT_ONCE)
        return Call(partition, words, writes=False)

    def _changed(self, doubts: dict[int, dict[bytes, bytes]], holders: Sequence[Met]) -> Rounds[bool]:
        """Look into what was in doubt; return whether the partitions are to be read anew."""
        try:
            changed = False
            if doubts:
                changed = yield from self._joint.looking(doubts)
            if holders:
                changed = (yield from self._joint.looking_at(holders)) or changed
        except NotExecuted:  # what is done could not be finished, for its partition went elsewhere
            return True
        return changed


# --- what is held, by the words of questions ---

_LISTINGS = frozenset({b"g", b"i", b"o"})


def doubtful(words: Sequence[bytes], reply: Reply) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and stamp of what a reply shows and may be otherwise by now, as a commit that writes it holds it.

    Listings have none: all who hold something in their partition are asked for.
    """
    kind = words[0] if words else b""
    if kind == b"c":
        name = words[1]
        for value in reply:
            if value is None:
                return
            if is_in_doubt(value):
                yield name, value[:STAMP_LENGTH]
            name = value[STAMP_LENGTH : value.index(b"\n", STAMP_LENGTH)]
    elif kind in (b"m", b"n"):
        if is_in_doubt(reply[0]):
            yield words[1], reply[0]
        if kind == b"m":
            for id, value in zip(reply[1::2], reply[2::2], strict=True):
                if is_in_doubt(value):
                    yield words[3] + id, value[:STAMP_LENGTH]


def unheld_reply(words: Sequence[bytes], reply: Reply) -> Reply:
    """Return a reply as it was before anything in it was held."""
    kind = words[0] if words else b""
    if kind == b"c":
        return _unheld_chain(reply)
    if kind == b"m":
        return [unheld(reply[0]), *(unheld(each) if at % 2 else each for at, each in enumerate(reply[1:]))]
    if kind == b"n":
        return [unheld(reply[0]), *reply[1:]]
    if kind == b"g":
        return [[*row[:2], *_unheld_chain(row[2:])] for row in reply]
    if kind == b"o":
        return [[row[0], *_unheld_chain(row[1:])] for row in reply]
    return reply


def _unheld_chain(values: Sequence[bytes | None]) -> list[bytes | None]:
    chain: list[bytes | None] = []
    for value in values:
        chain.append(unheld(value))
        if chain[-1] is None:
            break
    return chain
