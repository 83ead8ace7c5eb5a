"""Cuts the checks and writes of one commit by the partitions in which they lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .commit import Writes
from .keys import record_at
from .rows import ValkeyCodec

LENGTHS = {b"p": 4, b"q": 4, b"k": 3, b"y": 2, b"d": 2, b"a": 4, b"r": 3, b"h": 6, b"e": 2}
"""How many words each write has, its letter included; see ``library_v1.lua``."""


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

    def call_words(self) -> list[bytes]:
        """Return the checks and writes as words of a call."""
        words = [b"%d" % len(self.checks)]
        for check in self.checks.items():
            words += check
        words.append(b"%d" % len(self.words))
        return words + self.words

    def remember(self, codec: ValkeyCodec, stamp: int) -> None:
        """Take in what was written under a stamp, once it is confirmed."""
        for name, body, record in self.bodies:
            codec.saw(name, b"%d" % stamp + body, record)
        for name in self.gone:
            codec.record_cache.forget(name)


def split(writes: Writes, partition_of: Callable[[bytes], str]) -> tuple[str, dict[str, Part]]:
    """Return the partition that decides a commit, and what is to be done in each.

    The first token that is written decides, else the first record, else what is checked first.

    Args:
        partition_of: returns where a record, look-up key or bucket lies, by its name. What is listed lies with its
            record.
    """
    parts: dict[str, Part] = {}
    first, first_token, events = "", "", list[bytes]()

    def part(name: bytes) -> Part:
        partition = partition_of(name)
        found = parts.get(partition)
        if found is None:
            found = parts[partition] = Part()
        return found

    for name, stamp in writes.checks.items():
        part(name).checks[name] = stamp
    for write in _writes_in(writes.words):
        letter, name = write[0], write[1]
        if letter == b"e":
            events += write
        elif letter == b"h":
            _move(part, write)
        elif letter in (b"a", b"r"):
            listed = name[:1] == b"l" or name[:2] == b"du"
            part(record_at(name, write[-1]) if listed else name).words += write
        else:
            part(name).words += write
            if letter != b"y" and name[1:2] == b":":
                first = first or partition_of(name)
                if name[:1] == b"t":
                    first_token = first_token or partition_of(name)
    for name, body, record in writes.bodies:
        part(name).bodies.append((name, body, record))
    for name in writes.gone:
        part(name).gone.append(name)
    decider = first_token or first or next(iter(parts))
    parts[decider].words += events
    return decider, parts


def _writes_in(words: list[bytes]) -> Iterator[list[bytes]]:
    at = 0
    while at < len(words):
        end = at + LENGTHS[words[at]]
        yield words[at:end]
        at = end


def _move(part: Callable[[bytes], Part], write: list[bytes]) -> None:
    """Cut the move of a token from session to session, which may lie in two partitions."""
    letter, id, score, was_in, is_in, how = write
    source = part(b"bh:" + was_in) if was_in else None
    target = part(b"bh:" + is_in) if is_in else None
    if source is not None and target is not None and source is not target:
        source.words += (letter, id, score, was_in, b"", how)
        target.words += (letter, id, score, b"", is_in, how)
    elif (one := source or target) is not None:
        one.words += write
