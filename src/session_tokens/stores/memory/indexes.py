"""The indexes of the memory store: small buckets, deadlines with lazy deletion, and an order for listings."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection, Iterator
from heapq import heappop, heappush
from typing import Any, Final, Protocol

from ...clock import NEVER
from ...records import Token

Bucket = str | tuple[str, ...] | dict[str, None]
"""The members under one key: a bare string for one, a tuple for a few, a dict above ``FEW``.

A list keeps room for members to come, and its places apart from itself: for five it takes 120 bytes, a tuple 80.
"""

FEW: Final = 16
BUCKET_BITS: Final = 10
"""Deadlines share a bucket for 2**10 ms."""


def add_member(index: dict[str, Bucket], key: str, member: str) -> None:
    """Add a member under a key; it is not there yet."""
    bucket = index.get(key)
    if bucket is None:
        index[key] = member
    elif type(bucket) is str:
        index[key] = (bucket, member)
    elif type(bucket) is tuple:
        if len(bucket) < FEW:
            index[key] = bucket + (member,)  # noqa: RUF005  # takes half as long
        else:
            index[key] = dict.fromkeys((*bucket, member))
    else:
        bucket[member] = None  # type: ignore[index]  # the class was just asked


def drop_member(index: dict[str, Bucket], key: str, member: str) -> None:
    """Take a member away from under a key; nothing happens if it is not there."""
    bucket = index.get(key)
    if type(bucket) is str:
        if bucket == member:
            del index[key]
    elif type(bucket) is tuple:
        if len(bucket) == 2:
            if bucket[1] == member:  # who came last goes first, mostly
                index[key] = bucket[0]
            elif bucket[0] == member:
                index[key] = bucket[1]
            return
        try:
            place = bucket.index(member)
        except ValueError:
            return
        index[key] = bucket[:place] + bucket[place + 1 :]
    elif bucket is not None:
        bucket.pop(member, None)  # type: ignore[union-attr]  # the class was just asked
        if not bucket:
            del index[key]


def members(index: dict[str, Bucket], key: str) -> Collection[str]:
    """Return the members under a key, in the order in which they came."""
    bucket = index.get(key)
    if bucket is None:
        return ()
    return (bucket,) if isinstance(bucket, str) else bucket


def member_count(index: dict[str, Bucket], key: str) -> int:
    """Return how many members are under a key."""
    bucket = index.get(key)
    return 0 if bucket is None else 1 if isinstance(bucket, str) else len(bucket)


class Deadlines:
    """Who is due when: ids in buckets of about a second, the buckets in a heap.

    Nothing is taken out when a deadline moves on or its record goes: an id is checked again when its bucket is due.
    Waiting costs nothing, however many wait.
    """

    __slots__ = ("_buckets", "_heap")

    def __init__(self) -> None:
        self._buckets: dict[int, list[str]] = {}
        self._heap: list[int] = []

    def add(self, at: int, id: str) -> None:
        """Look at ``id`` at the instant ``at`` (milliseconds)."""
        if at == NEVER:
            return
        number = at >> BUCKET_BITS
        bucket = self._buckets.get(number)
        if bucket is None:
            self._buckets[number] = [id]
            heappush(self._heap, number)
        else:
            bucket.append(id)

    def due(self, now: int, limit: int | None, deadline_of: Callable[[str], int | None]) -> list[str]:
        """Return at most ``limit`` ids whose deadline has come; they stay until their record is gone or moves on.

        Args:
            deadline_of: answers the present deadline of an id, ``None`` for one that is gone.
        """
        due: dict[str, None] = {}
        looked_at: list[tuple[int, list[str]]] = []
        while self._heap and self._heap[0] <= now >> BUCKET_BITS and (limit is None or len(due) < limit):
            number = heappop(self._heap)
            looked_at.append((number, self._buckets.pop(number)))
        for number, bucket in looked_at:
            kept: list[str] = []
            for id in bucket:
                deadline = deadline_of(id)
                if deadline is None:
                    continue
                if deadline > now and deadline >> BUCKET_BITS != number:
                    self.add(deadline, id)
                    continue
                kept.append(id)
                if deadline <= now and (limit is None or len(due) < limit):
                    due[id] = None
            self._put_back(number, kept)
        return list(due)

    def _put_back(self, number: int, kept: list[str]) -> None:
        if not kept:
            return
        bucket = self._buckets.get(number)
        if bucket is None:
            self._buckets[number] = kept
            heappush(self._heap, number)
        else:
            bucket.extend(kept)


class Waiting:
    """The unassigned tokens in the order in which they became so: all of them, and those of each tag."""

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: dict[str | None, list[tuple[int, str]]] = {}

    def add(self, token: Token) -> None:
        """Put a token in its places."""
        for tag in _tags_of(token):
            insort(self._places.setdefault(tag, []), _waits_at(token))

    def drop(self, token: Token) -> None:
        """Take a token out of its places."""
        for tag in _tags_of(token):
            places = self._places[tag]
            del places[bisect_left(places, _waits_at(token))]
            if not places:
                del self._places[tag]

    def after(self, tag: str | None, place: tuple[int, str] | None, limit: int) -> list[str]:
        """Return the ids at the next places after one, at most so many; ``None`` as tag: of all of them."""
        places = self._places.get(tag, [])
        start = 0 if place is None else bisect_right(places, place)
        return [id for _, id in places[start : start + limit]]


def _tags_of(token: Token) -> tuple[str | None, ...]:
    tag = token.details.tag
    return (None,) if tag is None else (None, tag)


def _waits_at(token: Token) -> tuple[int, str]:
    assert token.unassigned_at is not None, "it waits for nobody"
    return token.unassigned_at, token.id


class _Placed(Protocol):
    """What a listing can order."""

    @property
    def id(self) -> str: ...
    @property
    def created_at(self) -> int: ...


def place_of(record: _Placed) -> tuple[int, str]:
    """Return where a record stands in a listing."""
    return record.created_at, record.id


class Order:
    """All records of one kind in the order of listings.

    A dictionary keeps its records in the order of their creation, and their ``created_at`` goes back by ``ahead_ms`` at
    the most: only what was created since the last listing has to be sorted, and what is not much older.

    Attributes:
        ahead_ms: by how much ``created_at`` of a record may be later than the instant of its creation.
    """

    __slots__ = ("_newest", "_places", "ahead_ms")

    def __init__(self) -> None:
        self.ahead_ms = 0
        self._places: list[tuple[int, str]] = []
        self._newest: tuple[int, str] | None = None

    def forget(self) -> None:
        """Sort everything anew next time: records came in that were created earlier."""
        self._places, self._newest = [], None

    def after(self, records: dict[str, Any], place: tuple[int, str] | None, *, newest: bool = False) -> Iterator[Any]:
        """Return the records after a place; those before it, the newest first, where those are asked for."""
        self._catch_up(records)
        if newest:
            order = range((len(self._places) if place is None else bisect_left(self._places, place)) - 1, -1, -1)
        else:
            order = range(0 if place is None else bisect_right(self._places, place), len(self._places))
        for index in order:
            created_at, id = self._places[index]
            record = records.get(id)
            if record is not None and record.created_at == created_at:  # else that name was given free, and used again
                yield record

    def _catch_up(self, records: dict[str, Any]) -> None:
        newest = next(map(place_of, reversed(records.values())), None)
        if newest is not None and newest == self._newest:
            return
        self._newest = newest
        if len(self._places) > 2 * len(records) + FEW:
            self._places = []
        last = self._places[-1][0] - self.ahead_ms if self._places else -1
        new: list[tuple[int, str]] = []
        for id in reversed(records):
            record = records[id]
            if record.created_at < last:
                break
            new.append((record.created_at, record.id))
        known = bisect_left(self._places, (last, ""))
        self._places[known:] = sorted({*self._places[known:], *new})
