"""What goes through a whole store in partitions: its check, dumps, the number of its records, emptying it. No I/O.

Theory of operation. The check yields commands as for one server, with names in place of keys (its codec's prefix is
empty). Here each goes to the partition where its key lies, or is asked of all and put together again: a listing is that
of all partitions, ``SCAN`` names what there is in any, a commit is shared out. The others go from partition to
partition. A cursor of ``SCAN`` holds on one node as long as it runs: where a partition has gone to another one
meanwhile, it is gone through from its beginning once more.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from ...clock import NEVER
from ...crypto.secret_form import PARTITIONS
from ...errors import InvalidInput, StoreError, StoreUnavailable
from ..common.copying import Dump
from .dump import clearing, counting, dumping
from .held import is_held, unheld
from .joint import Call, Joint
from .keys import STAMP_LENGTH
from .placement import FIRST, Placement, partition_of
from .rounds import Rounds
from .rows import ValkeyCodec
from .splitting import Part, placed_by, split_words

T = TypeVar("T")
Runs = Callable[[int], str]
"""Returns which run of which node was asked last for a partition."""

SCAN_COUNT = b"500"
AGAIN_MAX = 50
"""How often a partition is gone through from its beginning because it went to another node."""


def on_one(partition: int, steps: Generator[list[bytes], Any, T]) -> Rounds[T]:
    """Carry out steps that are written for one server in one partition.

    Raises:
        StoreError: it cannot be asked.
    """
    try:
        words = next(steps)
        while True:
            (reply,) = yield [Call(partition, words, writes=False)]
            words = steps.throw(reply) if isinstance(reply, StoreError) else steps.send(reply)
    except StopIteration as stop:
        result: T = stop.value
        return result


def _scanning_through(
    partition: int, steps: Generator[list[bytes], Any, T], prefix: bytes, runs: Runs, run: str = ""
) -> Rounds[tuple[T, str] | None]:
    """Carry out steps that go through a partition on one node; ``None`` where it went to another one meanwhile.

    ``SCAN`` names no key, so a node that holds the partition no more answers it too: a key of the partition is asked
    for behind it, which that node refuses.

    Args:
        run: that of the node on which this was begun, if it was.

    Returns:
        What the steps return, and which run of a node it is of.
    """
    try:
        words = next(steps)
        while True:
            before = runs(partition)
            calls = [Call(partition, words, writes=False)]
            if words[0] == b"SCAN":
                calls.append(Call(partition, [b"EXISTS", prefix + b"0"], writes=False))
            reply = _all((yield calls))[0]
            run = run or before
            if not run or run != before or run != runs(partition):
                return None
            words = steps.send(reply)
    except StopIteration as stop:
        result: T = stop.value
        return result, run


def _through(
    partition: int, begin: Callable[[], Generator[list[bytes], Any, T]], prefix: bytes, runs: Runs
) -> Rounds[T]:
    """As ``on_one``, for what goes through a partition: from the beginning again where that has gone elsewhere."""
    for _ in range(AGAIN_MAX):
        found = yield from _scanning_through(partition, begin(), prefix, runs)
        if found is not None:
            return found[0]
    raise StoreUnavailable("a partition went from node to node all the time while it was read through; begin again")


def dumping_all(codec_at: Callable[[int], ValkeyCodec], kind: str, after: str, limit: int, runs: Runs) -> Rounds[Dump]:
    """Return a batch of all records of a kind; a place is a partition, a run of its node, and a cursor there."""
    partition, run, cursor = _place(after)
    while True:
        codec = codec_at(partition)
        steps = _unheld_dump(codec, kind, cursor, limit)
        found = yield from _scanning_through(partition, steps, codec.prefix, runs, run)
        if found is None:
            run = cursor = ""
            continue
        dump, run = found
        if dump.after is not None:
            return dump._replace(after=f"{partition} {run} {dump.after}")
        if partition + 1 == PARTITIONS:
            return dump
        if dump.records:
            return dump._replace(after=f"{partition + 1}")
        partition, run, cursor = partition + 1, "", ""


def _place(after: str) -> tuple[int, str, str]:
    partition, run, cursor = [*after.split(), "", "", ""][:3]
    if partition and not (partition.isdecimal() and int(partition) < PARTITIONS):
        raise InvalidInput("that is no place of a dump of this store")
    return int(partition or 0), run, cursor


def _unheld_dump(codec: ValkeyCodec, kind: str, cursor: str, limit: int) -> Generator[list[bytes], Any, Dump]:
    """As ``dumping``, with values as they were before they were held."""
    steps = dumping(codec, kind, cursor, limit)
    try:
        words = next(steps)
        while True:
            reply = yield words
            words = steps.send([unheld(value) for value in reply] if words[0] == b"MGET" else reply)
    except StopIteration as stop:
        dump: Dump = stop.value
        return dump


def counting_all(codec_at: Callable[[int], ValkeyCodec], runs: Runs) -> Rounds[int]:
    """Return how many records there are."""
    count = 0
    for partition in range(PARTITIONS):
        codec = codec_at(partition)
        count += yield from _through(partition, lambda codec=codec: counting(codec), codec.prefix, runs)  # type: ignore[misc]  # bound here
    return count


def clearing_all(codec_at: Callable[[int], ValkeyCodec], runs: Runs) -> Rounds[None]:
    """Delete every key, those of the first partition last, which has the mark of a copy."""
    for partition in [*range(FIRST + 1, PARTITIONS), FIRST]:
        codec = codec_at(partition)
        yield from _through(partition, lambda codec=codec: clearing(codec), codec.prefix, runs)  # type: ignore[misc]  # bound here
        if partition != FIRST:
            yield from on_one(partition, _deleting([codec.prefix + b"et"]))


def _deleting(keys: Sequence[bytes]) -> Generator[list[bytes], Any, None]:
    yield [b"DEL", *keys]


def checking_all(
    placement: Placement, joint: Joint, steps: Generator[list[bytes], Any, T], now: Callable[[], int], runs: Runs
) -> Rounds[T]:
    """Carry out the steps of a check, which are written for one server and name no prefix.

    Raises:
        StoreError: a partition cannot be asked.
    """
    whole = _Whole(placement, joint, now, runs)
    try:
        words = next(steps)
        while True:
            words = steps.send((yield from whole.asked(words)))
    except StopIteration as stop:
        result: T = stop.value
        return result


class _Whole:
    """All partitions as one server."""

    def __init__(self, placement: Placement, joint: Joint, now: Callable[[], int], runs: Runs) -> None:
        self._placement = placement
        self._joint = joint
        self._now = now
        self._runs = runs

    def asked(self, words: list[bytes]) -> Rounds[Any]:
        """Return the reply to a command with names in place of keys."""
        command = words[0]
        if command == b"SCAN":
            return (yield from self._names())
        if command == b"MGET":
            return (yield from self._values(words[1:]))
        if command == b"FCALL":
            return (yield from self._commit(words[6:]))
        name = words[1]
        if command == b"ZRANGE" and placed_by(name, b"") != name:
            replies = yield from self._each(range(PARTITIONS), words)
            return [member for members in replies for member in members]
        if command == b"ZSCORE":
            partition = partition_of(placed_by(name, words[2]))
        else:
            partition = FIRST if b":" not in name else partition_of(name)
        (reply,) = yield from self._each([partition], words)
        if command == b"GETRANGE" and is_held(reply):
            return (unheld(reply + b"\n") or b"")[:STAMP_LENGTH]
        return reply

    def _each(self, partitions: Sequence[int], words: Sequence[bytes]) -> Rounds[Sequence[Any]]:
        """Ask some partitions the same about one key."""
        prefixes = self._placement.prefixes
        calls = [Call(one, [words[0], prefixes[one] + words[1], *words[2:]], writes=False) for one in partitions]
        return _all((yield calls))

    def _names(self) -> Rounds[list[Any]]:
        """Return the names of all that there is, as one reply to ``SCAN``."""
        names: set[bytes] = set()
        for partition, prefix in enumerate(self._placement.prefixes[:PARTITIONS]):
            yield from self._joint.sweeping(partition)
            keys = yield from _through(partition, lambda prefix=prefix: _scanning(prefix), prefix, self._runs)  # type: ignore[misc]  # bound here
            names.update([key[len(prefix) :] for key in keys])
        return [b"0", list(names)]

    def _values(self, names: Sequence[bytes]) -> Rounds[list[bytes | None]]:
        places: dict[int, list[int]] = {}
        for at, name in enumerate(names):
            places.setdefault(partition_of(name), []).append(at)
        calls = [
            Call(one, [b"MGET", *(self._placement.prefixes[one] + names[at] for at in ats)], writes=False)
            for one, ats in places.items()
        ]
        values: list[bytes | None] = [None] * len(names)
        for ats, found in zip(places.values(), _all((yield calls)), strict=True):
            for at, value in zip(ats, found, strict=True):
                values[at] = unheld(value)
        return values

    def _commit(self, words: Sequence[bytes]) -> Rounds[list[int]]:
        """Carry out one commit in words, and answer as one server would."""
        past = 1 + 2 * int(words[0])
        decider, parts = split_words(dict(zip(words[1:past:2], words[2:past:2], strict=True)), words[past + 1 :])
        if len(parts) == 1:
            function = [b"FCALL", b"session_tokens_commit_v1", b"1", self._placement.prefixes[decider] + b"n"]
            call = [*function, b"0", b"%d" % NEVER, *_words(parts[decider])]
            (reply,) = _all((yield [Call(decider, call, writes=True)]))
            return [reply[0], 0 if isinstance(reply[1], bytes) else reply[1]]
        outcome = yield from self._joint.committing(parts, decider, NEVER, {}, self._now())
        if outcome.stamp:
            yield from self._joint.finishing(outcome.txn, parts)
        return [0, outcome.stamp]


def _scanning(prefix: bytes) -> Generator[list[bytes], Any, list[bytes]]:
    cursor, names = b"0", list[bytes]()
    while True:
        cursor, keys = yield [b"SCAN", cursor, b"MATCH", prefix + b"*", b"COUNT", SCAN_COUNT]
        names += keys
        if cursor == b"0":
            return names


def _words(part: Part) -> list[bytes]:
    words = [b"%d" % len(part.checks)]
    for check in part.checks.items():
        words += check
    return [*words, b"%d" % len(part.words), *part.words]


def _all(answers: Sequence[Any]) -> Sequence[Any]:
    """Return replies all of which are needed; raise the first error."""
    for answer in answers:
        if isinstance(answer, StoreError):
            raise answer
    return answers
