"""The log of events of a store in partitions: each has a stream, and what comes in is moved into one log. No I/O.

Theory of operation. A commit adds its events to the stream of the partition in which their subject lies. Who reads the
log first moves what is new in all streams to the end of it, in the order of their instants; it stands in the first
partition, and gives them their places. That is a commit there, which also notes how far each stream was moved: nothing
is moved twice or left out, whoever does it at once. Those of one subject stand in one stream, and so in their order.
What was moved is taken out of its stream by a later turn, when it surely stands in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import merge
from typing import Any

from ...clock import NEVER
from ...contract.event_log import LOOKED_AT_ONCE, TRIMMED_AT_ONCE
from ...crypto.secret_form import PARTITIONS
from ...errors import StoreError
from .joint import Call
from .keys import STAMP_LENGTH
from .placement import FIRST
from .rounds import Rounds
from .rows import ValkeyCodec

MOVED = b"z:moved"
"""The name of what says how far the streams were moved."""
_TABLE = "moved"

Positions = dict[int, str]
"""Partition → the place in its stream up to which it was moved; none for nothing."""


class Moving:
    """Moves events into the log, and remembers from where.

    Args:
        codec_at: returns the codec of a partition.
    """

    def __init__(self, codec_at: Callable[[int], ValkeyCodec]) -> None:
        self._codec_at = codec_at
        self._known: tuple[bytes, Positions] | None = None

    def moving(self) -> Rounds[None]:
        """Move what is new into the log.

        Raises:
            StoreError: a partition cannot be asked.
        """
        while True:
            stamp, positions = self._known or (yield from self._read())
            found = yield from self._new_since(positions)
            if not found:
                self._known = stamp, positions
                return
            self._known = None
            events = merge(*(_in_order(rows) for rows in found.values()))
            moved = positions | {partition: rows[-1][0].decode("ascii") for partition, rows in found.items()}
            written = yield from self._write(stamp, moved, [body for _, body in events])
            if written:
                self._known = written, moved
                yield from self._taken_out(positions, list(found))

    def _read(self) -> Rounds[tuple[bytes, Positions]]:
        codec = self._codec_at(FIRST)
        (value,) = yield [Call(FIRST, [b"GET", codec.prefix + MOVED], writes=False)]
        if isinstance(value, StoreError):
            raise value
        if value is None:
            return b"", {}
        _, (told, *_) = codec.row(_TABLE, value)
        return value[:STAMP_LENGTH], {int(partition): place for partition, place in told.items()}

    def _new_since(self, positions: Positions) -> Rounds[dict[int, list[Any]]]:
        """Return the entries of the streams that were not moved, as many as are moved at once."""
        most = b"%d" % LOOKED_AT_ONCE
        calls = []
        for partition in range(PARTITIONS):
            key, place = self._codec_at(partition).prefix + b"es", positions.get(partition, "0-0").encode("ascii")
            calls.append(Call(partition, [b"XRANGE", key, b"(" + place, b"+", b"COUNT", most], writes=False))
        answers = yield calls
        found, room = {}, TRIMMED_AT_ONCE
        for partition, answer in enumerate(answers):
            if isinstance(answer, StoreError):
                raise answer
            if rows := answer[:room]:
                found[partition] = rows
                room -= len(rows)
        return found

    def _write(self, stamp: bytes, moved: Positions, bodies: list[bytes]) -> Rounds[bytes]:
        """Add events to the log, if nobody else has moved any; return the stamp of what says so, empty if not."""
        codec = self._codec_at(FIRST)
        said = codec.signed(_TABLE, [{str(partition): place for partition, place in moved.items()}])
        words = [word for body in bodies for word in (b"e", body)]
        words += (b"p", MOVED, b"0", said)
        call = [b"FCALL", b"session_tokens_end_v1", b"1", codec.last_stamp_key, b"0", b"%d" % NEVER]
        call += (b"1", MOVED, stamp, b"%d" % len(words), *words)
        (answer,) = yield [Call(FIRST, call, writes=True)]
        if isinstance(answer, StoreError):
            raise answer
        return b"%d" % answer[1] if answer[1] and not isinstance(answer[1], bytes) else b""

    def _taken_out(self, positions: Positions, partitions: list[int]) -> Rounds[None]:
        """Take out of streams what was moved before."""
        calls = []
        for partition in partitions:
            if place := positions.get(partition):
                major, _, minor = place.partition("-")
                beyond = b"%d-%d" % (int(major), int(minor) + 1)
                key = self._codec_at(partition).prefix + b"es"
                calls.append(Call(partition, [b"XTRIM", key, b"MINID", beyond], writes=False))
        if calls:
            yield calls

    def emptying(self) -> Rounds[None]:
        """Move all, and take all that was moved out of its stream."""
        self._known = None
        yield from self.moving()
        _, positions = self._known or (yield from self._read())
        yield from self._taken_out(positions, list(positions))


def _in_order(rows: list[Any]) -> Iterator[tuple[bytes, bytes]]:
    """Yield by what each entry of a stream stands among those of others, and its body; none comes before an earlier."""
    latest = b""
    for _, (_, body, _, order) in rows:
        latest = max(latest, order)
        yield latest, body
