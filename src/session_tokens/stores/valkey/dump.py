"""What a copy asks of a Valkey or Redis server: its records in the order of its own table, their number, to be emptied.

The generators are pure: they yield commands and are sent the replies.
"""

from __future__ import annotations

from collections.abc import Generator

from ...errors import InvalidInput
from ..common.copy_marks import MARK
from ..common.copying import Dump
from ..common.kinds import KINDS
from .event_log import trim_words
from .keys import LETTERS, PEPPERS, part_of
from .rows import Reply, ValkeyCodec

SCAN_COUNT = b"1000"
CURSOR_MAX = 2**64 - 1
"""A server refuses what is none, as it would a command of ours that is wrong."""

Dumping = Generator[list[bytes], Reply, Dump]


def dumping(codec: ValkeyCodec, kind: str, after: str, limit: int) -> Dumping:
    """Yield commands, take their replies, answer a batch of records; see ``Copyable.dump_now``.

    A place is a cursor of ``SCAN``, which holds on one server as long as it runs.

    Raises:
        InvalidInput: ``after`` is no such cursor.
    """
    is_number = after.isascii() and after.isdigit() and len(after) <= len(str(CURSOR_MAX))
    if after and not (is_number and int(after) <= CURSOR_MAX):
        raise InvalidInput("that is no place in a list of this store; take the one that a page of it gave")
    pattern = codec.prefix + LETTERS[kind] + b":*"
    cursor, keys = yield [b"SCAN", (after or "0").encode("ascii"), b"MATCH", pattern, b"COUNT", b"%d" % limit]
    values = (yield [b"MGET", *keys]) if keys else []
    records = [codec.record(KINDS[kind], value) for value in values if value is not None]
    return Dump(records, None if cursor == b"0" else cursor.decode("ascii"))


def counting(codec: ValkeyCodec) -> Generator[list[bytes], Reply, int]:
    """Yield commands, take their replies, return how many records there are."""
    beginnings, at, count = {letter + b":" for letter in LETTERS.values()}, len(codec.prefix), 0
    cursor = b"0"
    while True:
        cursor, keys = yield [b"SCAN", cursor, b"MATCH", codec.prefix + b"*", b"COUNT", SCAN_COUNT]
        count += sum(key[at : at + 2] in beginnings for key in keys)
        if cursor == b"0":
            return count


def clearing(codec: ValkeyCodec) -> Generator[list[bytes], Reply, None]:
    """Yield the commands that delete every key but that of where the log of events ended; see ``Copyable.clear_now``.

    What is recorded of peppers goes with the mark: without it, what is left could not be opened to go on.
    """
    while (yield trim_words(codec, 0)):
        pass
    mark = codec.prefix + LETTERS["setting"] + b":" + part_of(MARK)
    last = [codec.prefix + PEPPERS, codec.last_stamp_key, mark]
    kept = {*last, codec.prefix + b"et"}
    cursor = b"0"
    while True:
        cursor, keys = yield [b"SCAN", cursor, b"MATCH", codec.prefix + b"*", b"COUNT", SCAN_COUNT]
        others = [key for key in keys if key not in kept]
        if others:
            yield [b"DEL", *others]  # UNLINK is not among the rights that deploy/valkey gives
        if cursor == b"0":
            break
    yield [b"DEL", *last]
