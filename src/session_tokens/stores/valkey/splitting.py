"""Cuts the checks and writes of one commit by the partitions in which they lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from ...contract.optimistic import Commit
from ...crypto.secret_form import KEY_ID, SESSION_ID, TOKEN_ID
from ...events import Event
from .commit import InPlace, Writes
from .keys import owner_part, part_of, record_at
from .placement import FIRST, partition_of
from .rows import ValkeyCodec

LENGTHS = {b"p": 4, b"q": 4, b"k": 3, b"y": 2, b"d": 2, b"a": 4, b"r": 3, b"h": 6, b"e": 2, b"f": 3}
"""How many words each write has, its letter included; see ``library_v1.lua``."""
_NAMED = frozenset(b"pqkyd"[at : at + 1] for at in range(5))
"""Writes whose second word is the name of what is written."""


class Part:
    """What one commit checks and writes in one partition.

    Attributes:
        checks, words, bodies, gone: as of ``Writes``.
    """

    __slots__ = ("bodies", "checks", "gone", "words")

    def __init__(self) -> None:
        self.checks: dict[bytes, bytes] = {}
        self.words: list[bytes] = []
        self.bodies: list[tuple[bytes, bytes, Any]] = []
        self.gone: list[bytes] = []

    def remember(self, codec: ValkeyCodec, stamp: int) -> None:
        """Take in what was written under a stamp, once it is confirmed."""
        for name, body, record in self.bodies:
            codec.saw(name, b"%d" % stamp + body, record)
        for name in self.gone:
            codec.record_cache.forget(name)

    def forget(self, codec: ValkeyCodec) -> None:
        """Know nothing of what was written: under which stamp it will stand is not known yet."""
        for name, _, _ in self.bodies:
            codec.record_cache.forget(name)
        for name in self.gone:
            codec.record_cache.forget(name)


def only_partition(writes: Writes | InPlace) -> int | None:
    """Return the partition in which all of a commit lies, ``None`` where it is of several."""
    checks = writes.checks
    partitions = set(map(partition_of, checks))
    if len(partitions) != 1:
        return None
    words, at, add = writes.words, 0, partitions.add
    end = len(words)
    while at < end:
        letter = words[at]
        if letter in _NAMED:
            if words[at + 1] not in checks:
                add(partition_of(words[at + 1]))
        elif letter == b"h":
            for session in words[at + 3 : at + 5]:
                if session:
                    add(partition_of(b"bh:" + session))
        elif letter != b"e" and words[at + 1][:1] == b"b":  # of what is listed the record is written too
            add(partition_of(words[at + 1]))
        at += LENGTHS[letter]
    return partitions.pop() if len(partitions) == 1 else None


_LISTED = frozenset({b"a", b"r"})


def placed_by(bucket: bytes, member: bytes) -> bytes:
    """Return the name by which a member of a sorted set is placed: that of who has the set, or of the record."""
    return record_at(bucket, member) if (bucket[:1] == b"l" and bucket[:2] != b"lx") or bucket[:2] == b"du" else bucket


def split(writes: Writes, commit: Commit) -> tuple[int, dict[int, Part]]:
    """Return the partition that decides a commit, and what is to be done in each.

    The first token that is written decides, else the first record, else what is checked first. An event stands where
    its subject lies, if that is written to, so that those of one subject are in one place; else where it is decided.
    """
    decider, parts, events = _cut(writes.checks, writes.words)
    for name, body, record in writes.bodies:
        parts.setdefault(partition_of(name), Part()).bodies.append((name, body, record))
    for name in writes.gone:
        parts.setdefault(partition_of(name), Part()).gone.append(name)
    for event, body in zip(commit.changes.events, events, strict=True):
        parts.get(_partition_of_event(event), parts[decider]).words += (b"f", body, order_of(event))
    return decider, parts


def with_order(words: Sequence[bytes], events: Sequence[Event]) -> list[bytes]:
    """Return writes that end with some events with these on their way to the log."""
    ordered = list(words[: len(words) - 2 * len(events)])
    for event, body in zip(events, words[len(ordered) + 1 :: 2], strict=True):
        ordered += (b"f", body, order_of(event))
    return ordered


_counter = count(1)


def order_of(event: Event) -> bytes:
    """Return by what an event is put in order among those of other partitions: its instant, and when it was made."""
    return b"%016d%016d" % (event.at, next(_counter))


def split_words(checks: Mapping[bytes, bytes], words: Sequence[bytes]) -> tuple[int, dict[int, Part]]:
    """As ``split``, for checks and writes without events."""
    return _cut(checks, words)[:2]


def _cut(checks: Mapping[bytes, bytes], words: Sequence[bytes]) -> tuple[int, dict[int, Part], list[bytes]]:
    """Return who decides, the parts of a commit, and the bodies of its events."""
    parts: dict[int, Part] = {}
    first, first_token, events = -1, -1, list[bytes]()

    def part(name: bytes) -> Part:
        return parts.setdefault(partition_of(name), Part())

    for name, stamp in checks.items():
        part(name).checks[name] = stamp
    for write in _writes_in(words):
        letter, name = write[0], write[1]
        if letter == b"e":
            events.append(name)
        elif letter == b"h":
            _move(parts, write)
        elif letter in _LISTED:
            part(placed_by(name, write[-1])).words += write
        else:
            part(name).words += write
            if letter != b"y" and name[1:2] == b":":
                first = partition_of(name) if first < 0 else first
                if name[:1] == b"t" and first_token < 0:
                    first_token = partition_of(name)
    decider = first_token if first_token >= 0 else first if first >= 0 else next(iter(parts))
    return decider, parts, events


def _partition_of_event(event: Event) -> int:
    """Return where the subject of an event lies."""
    subject = event.subject_id
    kind = {SESSION_ID: b"s:", TOKEN_ID: b"t:", KEY_ID: b"k:"}.get(subject[:4])
    if kind is not None:
        return partition_of(kind + part_of(subject))
    return FIRST if event.owner is None else partition_of(b"e:" + owner_part(subject))


def _writes_in(words: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    at = 0
    while at < len(words):
        end = at + LENGTHS[words[at]]
        yield words[at:end]
        at = end


def _move(parts: dict[int, Part], write: Sequence[bytes]) -> None:
    """Cut the move of a token from session to session, which may lie in two partitions."""
    letter, id, score, was_in, is_in, how = write
    source = parts.setdefault(partition_of(b"bh:" + was_in), Part()) if was_in else None
    target = parts.setdefault(partition_of(b"bh:" + is_in), Part()) if is_in else None
    if source is not None and target is not None and source is not target:
        source.words += (letter, id, score, was_in, b"", how)
        target.words += (letter, id, score, b"", is_in, how)
    elif (one := source or target) is not None:
        one.words += write
