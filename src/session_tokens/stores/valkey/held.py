"""What replies show of what commits over several partitions hold, and how they are without; see ``joint``."""

from __future__ import annotations

from collections.abc import Sequence

from ...contract.queries import Count, Get, Members, Query, Scan
from .keys import STAMP_LENGTH
from .queries import BUCKETS, bucket_of, name_of
from .rows import Reply

_ABSENT_FROM = ord("y")
_DIGITS = bytes.maketrans(b"abcdefghijklmnopqrst", b"0123456789" * 2)
_NO_BUCKET = b"-1"


def is_held(value: bytes | None) -> bool:
    """Whether a value stands there marked, as it was before a commit that may be done by now."""
    return value is not None and value[:1] >= b"a"


def is_in_doubt(value: bytes | None) -> bool:
    """Whether a value may be another one by now: who holds it writes it."""
    return value is not None and value[:1] >= b"a" and not b"k" <= value[:1] <= b"y"


def unheld(value: bytes | None) -> bytes | None:
    """Return a value as it was before it was marked, ``None`` for what was not there."""
    if value is None or value[:1] < b"a":
        return value
    if value[0] >= _ABSENT_FROM:
        return None
    return value[:1].translate(_DIGITS) + value[1:]


def is_listing(query: Query) -> bool:
    """Whether a query is answered from sets without stamps."""
    return isinstance(query, Scan) and query.what != "peppers"


def held_in(query: Query, reply: Reply) -> list[bytes]:
    """Return the names of what is held of a reply and may be otherwise by now; of a listing none, which has no stamps.

    Args:
        reply: as the read function gives it, or the values of a chain.
    """
    if isinstance(query, Get):
        return _held_on(name_of(query), reply)
    if isinstance(query, Scan):
        return []
    held = [bucket_of(query)] if (reply[0] or b"").startswith(b"-") else []
    if isinstance(query, Members):
        kind = BUCKETS[query.what][3]
        held += [kind + id for id, value in zip(reply[1::2], reply[2::2], strict=True) if is_in_doubt(value)]
    return held


def _held_on(name: bytes, values: Sequence[bytes | None]) -> list[bytes]:
    held = []
    for value in values:
        if value is None:
            break
        if is_in_doubt(value):
            held.append(name)
        name = value[STAMP_LENGTH : value.find(b"\n", STAMP_LENGTH)]
    return held


def unheld_reply(query: Query, reply: Reply) -> Reply:
    """Return a reply as it is without marks: stamps are those that come back where a commit is given up."""
    if isinstance(query, Get):
        return _unheld_chain(reply)
    if isinstance(query, Scan):
        if not is_listing(query):
            return reply
        lines = [[id, *_unheld_chain(values)] for id, *values in reply]
        return [line for line in lines if line[1] is not None]
    stamp = reply[0]
    if stamp is not None and stamp.startswith(b"-"):
        stamp = None if stamp == _NO_BUCKET else stamp[1:]
    if isinstance(query, Count):
        return [stamp, reply[1]]
    pairs = [(id, unheld(value)) for id, value in zip(reply[1::2], reply[2::2], strict=True)]
    return [stamp, *(each for pair in pairs if pair[1] is not None for each in pair)]


def _unheld_chain(values: Sequence[bytes | None]) -> list[bytes | None]:
    chain: list[bytes | None] = []
    for value in values:
        chain.append(unheld(value))
        if chain[-1] is None:
            break
    return chain
