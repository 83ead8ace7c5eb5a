"""Compares the indexes of a Valkey or Redis store with its records, and mends them. Pure: yields commands."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

from ...contract.lost_entries import WRITTEN_ANEW
from ...contract.places import (
    TRANSFERABLES_OF,
    Place,
    entry_places,
    outcome_places,
    service_key_places,
    session_places,
    token_places,
)
from ...errors import UNREADABLE, CorruptRecord, UnknownPepper
from ..common.kinds import IDEMPOTENCY, OWNER, SERVICE_KEY, SESSION, SETTING, TOKEN
from .check_owners import Owners, fix_words
from .keys import PEPPERS, STAMP_LENGTH, entry_at, owner_part, part_of
from .rows import Reply, ValkeyCodec

SCAN_COUNT = b"500"
GET_COUNT = 200
MARK = b"#"
ASIDE = "moved to quarantine"
_BUCKETS = (b"bo", b"bh", b"lx", b"bp", b"bs", b"lg")
_LISTINGS = (b"ls", b"ld", b"lt", b"lv", b"lu", b"le", b"lk", b"du")
_KINDS = {b"s": "session", b"t": "token", b"e": "owner", b"i": "idempotency", b"c": "setting", b"k": "service key"}

Progress = Callable[[int, int], None]
"""``progress(done, total)`` records."""

Checking = Generator[list[bytes], Reply, Any]


class Problem(NamedTuple):
    """Something in the store that is not as it should be.

    Attributes:
        kind: ``session``, ``token``, ``owner``, ``idempotency``, ``setting``, ``service key`` or ``index``.
        id: of the record, or the name of the index.
        text: what is wrong.
        fixed: what was done about a record, ``None`` where nothing was; indexes and look-up keys are simply mended.
    """

    kind: str
    id: str
    text: str
    fixed: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.id}: {self.text}" + (f" ({self.fixed})" if self.fixed else "")


class _Member(NamedTuple):
    """One place in an index: that of ``member`` in the sorted set ``bucket``."""

    bucket: bytes
    member: bytes


class _Record(NamedTuple):
    """A record and where it should stand.

    Attributes:
        name: of the record.
        stamp: with which it was read.
        places: sorted set and member → score.
        lookup: the look-up key that should lead to it, if any.
    """

    name: bytes
    stamp: bytes
    places: dict[_Member, int]
    lookup: bytes | None


def checking(codec: ValkeyCodec, fix: bool, progress: Progress | None = None) -> Checking:
    """Read everything, compare, and mend where ``fix``; return the problems that were there.

    What moves while it is read is looked at again before it is called a problem, under the stamps of its record. A
    record that cannot be read is set aside, as it was, under a name that begins with ``q:``; one under a pepper that
    the store knows is left, for it lives for the processes that have that pepper.
    """
    problems: list[Problem] = []
    expected: dict[_Member, _Record] = {}
    lookups: dict[bytes, _Record] = {}
    records: dict[bytes, _Record] = {}
    unreadable: set[bytes] = set()
    lost: list[tuple[bytes, bytes, Problem]] = []
    aside: set[bytes] = set()
    marks = yield [b"HGETALL", codec.prefix + PEPPERS]
    recorded = {key_id.decode("ascii", "replace") for key_id in (marks if isinstance(marks, dict) else marks[::2])}
    owners = Owners(codec)
    names = yield from _scan(codec)
    wanted = sorted(name for name in names if name[1:2] == b":" and name[:1] in _KINDS)
    for start in range(0, len(wanted), GET_COUNT):
        if progress is not None:
            progress(start, len(wanted))
        some = wanted[start : start + GET_COUNT]
        values = yield [b"MGET", *(codec.prefix + name for name in some)]
        for name, value in zip(some, values, strict=True):
            if value is None:
                continue
            try:
                record = _record_of(codec, name, value)
            except UNREADABLE as error:
                may_go = fix and error.details.get("key_id") not in recorded
                owners.saw_unreadable(name, value)
                if may_go and name[:1] == b"e":
                    lost.append((name, value, _unreadable_problem(name, error, is_aside=False)))
                    continue
                if may_go and (yield from _set_aside(codec, name, value)):
                    aside.add(name)
                else:
                    unreadable.add(name)
                problems.append(_unreadable_problem(name, error, is_aside=name in aside))
                continue
            owners.saw(name, value)
            records[name] = record
            expected.update(dict.fromkeys(record.places, record))
            if record.lookup is not None:
                lookups[record.lookup] = record
    for name, value, problem in lost:
        problems.append((yield from _set_entry_aside(owners, name, value, problem)))
        (unreadable if problems[-1].fixed is None else aside).add(name)
    found = yield from _places_held(codec, names)
    for place in sorted(found - expected.keys()):
        if _name_of(place) not in unreadable:
            said = yield from _superfluous(codec, place, records, fix)
            problems += [] if _name_of(place) in aside else said
    for place in expected.keys() - found:
        problems += yield from _missing(codec, place, expected[place], fix)
    for lookup in lookups.keys() - set(names):
        problems += yield from _unled(codec, lookup, lookups[lookup], fix)
    problems += yield from _lost_entries(owners, fix)
    return problems


def _scan(codec: ValkeyCodec) -> Generator[list[bytes], Reply, set[bytes]]:
    names: set[bytes] = set()
    cursor = b"0"
    while True:
        cursor, keys = yield [b"SCAN", cursor, b"MATCH", codec.prefix + b"*", b"COUNT", SCAN_COUNT]
        names.update(key[len(codec.prefix) :] for key in keys)
        if cursor == b"0":
            return names


def _places_held(codec: ValkeyCodec, names: set[bytes]) -> Generator[list[bytes], Reply, set[_Member]]:
    """Return all places that indexes hold."""
    held: set[_Member] = set()
    for name in sorted(names):
        if (name[:2] in _BUCKETS and name[2:3] == b":") or name in _LISTINGS:
            members = yield [b"ZRANGE", codec.prefix + name, b"0", b"-1"]
            held.update(_Member(name, member) for member in members if member != MARK)
    return held


def _record_of(codec: ValkeyCodec, name: bytes, value: bytes) -> _Record:
    """Return a record with its places; raise ``CorruptRecord`` for what was not written as it stands there."""
    kind, id = name[:1], name[2:]
    lookup: bytes | None = None
    found: Sequence[Place] = ()
    if kind == b"s":
        session = codec.record(SESSION, value)
        right, lookup, found = part_of(session.id), _lookup_key(b"S:", session.lookup), session_places(session)
    elif kind == b"t":
        token = codec.record(TOKEN, value)
        right, lookup, found = part_of(token.id), _lookup_key(b"T:", token.lookup), token_places(token)
    elif kind == b"e":
        entry = codec.record(OWNER, value)
        right, found = owner_part(entry.owner), entry_places(entry)
    elif kind == b"i":
        outcome = codec.record(IDEMPOTENCY, value)
        right, found = part_of(outcome.key), outcome_places(outcome)
    elif kind == b"k":
        key = codec.record(SERVICE_KEY, value)
        right, lookup, found = part_of(key.id), _lookup_key(b"K:", key.lookup), service_key_places(key)
    else:
        right = part_of(codec.record(SETTING, value).name)
    if right != id:
        raise CorruptRecord("it stands where another record was written", table=_KINDS[kind])
    places: dict[_Member, int] = {}
    for place in found:
        bucket, member, at = entry_at(place, id)
        places[_Member(bucket, member)] = at
        if place[0] == TRANSFERABLES_OF:
            places[_Member(b"lx:" + part_of(place[1]), member)] = at
    return _Record(name, value[:STAMP_LENGTH], places, lookup)


def _lookup_key(kind: bytes, lookup: str | None) -> bytes | None:
    return None if lookup is None else kind + part_of(lookup)


def _name_of(place: _Member) -> bytes:
    """Return the name of the record of which a place tells."""
    if place.bucket == b"du":
        return place.member[:1] + b":" + place.member[1:]
    kinds = {b"bo": b"s:", b"bs": b"s:", b"ls": b"s:", b"ld": b"s:", b"le": b"e:", b"lk": b"k:"}
    return kinds.get(place.bucket[:2], b"t:") + place.member


def _set_aside(codec: ValkeyCodec, name: bytes, value: bytes) -> Generator[list[bytes], Reply, bool]:
    """Move a record out of the way, if it is still the one that was looked at; return whether it was."""
    writes = [b"p", b"q:" + name, b"0", value, b"d", name]
    reply = yield _fix(codec, name, value[:STAMP_LENGTH], writes)
    return bool(reply[1])


def _set_entry_aside(
    owners: Owners, name: bytes, value: bytes, problem: Problem
) -> Generator[list[bytes], Reply, Problem]:
    """As ``_set_aside``, for an owner's entry, once all sessions were seen; return the problem as it is then."""
    is_gone, is_anew = yield from owners.set_aside(name, value)
    if not is_gone:
        return problem
    return problem._replace(fixed=f"{ASIDE}; {WRITTEN_ANEW}" if is_anew else ASIDE)


def _lost_entries(owners: Owners, fix: bool) -> Generator[list[bytes], Reply, list[Problem]]:
    problems = []
    for part, epoch, is_anew in (yield from owners.lost(fix=fix)):
        said = f"a session was opened under its epoch {epoch}, which its entry does not know"
        problems.append(Problem("owner", part.decode("ascii"), said, WRITTEN_ANEW if is_anew else None))
    return problems


def _unreadable_problem(name: bytes, error: CorruptRecord | UnknownPepper, *, is_aside: bool) -> Problem:
    fixed = ASIDE if is_aside else None
    return Problem(_KINDS[name[:1]], name[2:].decode("ascii", "replace"), str(error), fixed)


def _fix(codec: ValkeyCodec, name: bytes, stamp: bytes, writes: list[bytes]) -> list[bytes]:
    """Return the call that writes if a record still has its stamp."""
    return fix_words(codec, {name: stamp}, writes)


def _still(codec: ValkeyCodec, name: bytes, stamp: bytes) -> Generator[list[bytes], Reply, bool]:
    """Whether a record is as it was read."""
    now = yield [b"GETRANGE", codec.prefix + name, b"0", b"%d" % (STAMP_LENGTH - 1)]
    return bool(now == stamp)


def _superfluous(
    codec: ValkeyCodec, place: _Member, records: dict[bytes, _Record], fix: bool
) -> Generator[list[bytes], Reply, list[Problem]]:
    name = _name_of(place)
    stamp = records[name].stamp if name in records else b""
    there = yield [b"ZSCORE", codec.prefix + place.bucket, place.member]
    if there is None or not (yield from _still(codec, name, stamp)):
        return []
    if fix:
        yield _fix(codec, name, stamp, [b"r", place.bucket, place.member])
    return [_index_problem(place, "holds", name)]


def _missing(
    codec: ValkeyCodec, place: _Member, record: _Record, fix: bool
) -> Generator[list[bytes], Reply, list[Problem]]:
    there = yield [b"ZSCORE", codec.prefix + place.bucket, place.member]
    if there is not None or not (yield from _still(codec, record.name, record.stamp)):
        return []
    if fix:
        score = b"%d" % record.places[place]
        yield _fix(codec, record.name, record.stamp, [b"a", place.bucket, score, place.member])
    return [_index_problem(place, "lacks", record.name)]


def _unled(
    codec: ValkeyCodec, lookup: bytes, record: _Record, fix: bool
) -> Generator[list[bytes], Reply, list[Problem]]:
    there = yield [b"EXISTS", codec.prefix + lookup]
    if there or not (yield from _still(codec, record.name, record.stamp)):
        return []
    if fix:
        yield _fix(codec, record.name, record.stamp, [b"p", lookup, b"0", record.name + b"\n"])
    kind = _KINDS[record.name[:1]]
    return [Problem(kind, record.name[2:].decode("ascii"), "its look-up key is not there")]


def _index_problem(place: _Member, verb: str, name: bytes) -> Problem:
    index = place.bucket.decode("ascii", "replace")
    return Problem("index", index, f"{verb} {name.decode('ascii', 'replace')} against its record")
