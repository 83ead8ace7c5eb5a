"""The check of a whole store: what a check of its records (``common/checking``) asks of Valkey, and its indexes.

Theory of operation. All names are gathered first. The records are read, each with the places in which it should
stand (``contract/places``); then the sorted sets, which should hold these places and no others. What moves while it is
read is read again before it is called wrong, under the stamp of its record. What is set aside is kept, as it was,
under a name that begins with ``q:``. Pure: yields commands.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ...clock import NEVER
from ...contract.changes import Changes
from ...contract.optimistic import Commit
from ...contract.places import TRANSFERABLES_OF, places_of
from ...errors import UNREADABLE, CorruptRecord
from ..common.checking import RecordCheck, Seen, Steps, Stored
from ..common.findings import Finding, Findings, Progress
from ..common.kinds import KINDS, OWNER, Kind
from .commit import Writes
from .json_rows import from_json
from .keys import LETTERS, PEPPERS, STAMP_LENGTH, entry_at, key_part, part_of, record_at
from .rows import Reply, ValkeyCodec

SCAN_COUNT = b"500"
GET_COUNT = 200
MEMBERS_COUNT = 500
RIGHT = "made right"
MARK = b"#"
_BUCKETS = (b"bo", b"bh", b"lx", b"bp", b"bs", b"lg", b"lw")
_LISTINGS = (b"ls", b"ld", b"lt", b"lv", b"lu", b"lw", b"le", b"lk", b"dus", b"dut", b"dui")
_KIND_OF = {letter: name for name, letter in LETTERS.items()}


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


def checking(codec: ValkeyCodec, fix: bool, progress: Progress | None = None) -> Steps[list[Finding]]:
    """Read everything, compare, and mend where ``fix``; return what was wrong."""
    findings = Findings(fix)
    marks = yield [b"HGETALL", codec.prefix + PEPPERS]
    recorded = {key_id.decode("ascii", "replace") for key_id in (marks if isinstance(marks, dict) else marks[::2])}
    names = yield from _scan(codec)
    records = _Records(codec, names)
    check = RecordCheck(records, findings, recorded, fix=fix, progress=progress)
    yield from check.run(0, sum(map(len, records.names.values())))
    yield from _Indexes(codec, records, findings, fix).look(names)
    return findings.all


def in_small_steps(steps: Steps[list[Finding]]) -> Steps[list[Finding]]:
    """Carry a check out on one server, which would answer nobody else while it tells a long set in one go."""
    words = next(steps)
    try:
        while True:
            reply = (yield from _members(words[1])) if words[0] == b"ZRANGE" else (yield words)
            words = steps.send(reply)
    except StopIteration as stop:
        found: list[Finding] = stop.value
        return found


def _members(key: bytes) -> Generator[list[bytes], Reply, Collection[bytes]]:
    """Return the members of a sorted set, read some at once in the order of their scores.

    One that moves meanwhile may be left out, or come twice, for which the check asks again.
    """
    members: dict[bytes, None] = {}
    score, passed = b"-inf", 0
    while True:
        limits = [b"LIMIT", b"%d" % passed, b"%d" % MEMBERS_COUNT]
        rows = _scored((yield [b"ZRANGEBYSCORE", key, score, b"+inf", b"WITHSCORES", *limits]))
        members.update((member, None) for member, _ in rows)
        if len(rows) < MEMBERS_COUNT:
            return members
        last = rows[-1][1]
        score, passed = (score, passed + len(rows)) if last == score else (last, 0)


def _scored(reply: Reply) -> list[tuple[bytes, bytes]]:
    """Return members with their scores: one after the other in RESP2, pairs with numbers in RESP3."""
    if reply and isinstance(reply[0], list):
        return [(member, repr(score).encode("ascii")) for member, score in reply]
    return list(zip(reply[::2], reply[1::2], strict=True))


def _scan(codec: ValkeyCodec) -> Generator[list[bytes], Reply, set[bytes]]:
    names: set[bytes] = set()
    cursor = b"0"
    while True:
        cursor, keys = yield [b"SCAN", cursor, b"MATCH", codec.prefix + b"*", b"COUNT", SCAN_COUNT]
        names.update(key[len(codec.prefix) :] for key in keys)
        if cursor == b"0":
            return names


class _Records:
    """The records of a name space, as ``Inspected`` has them; what finds one again is its name and its stamp.

    Attributes:
        names: kind → the names of its records, in order.
        read: name → what can be read, and where that should stand.
        unreadable: names of what cannot, and is where it was.
        aside: names of what was set aside.
        lost: names of owners' entries that were looked for and are not there.
    """

    def __init__(self, codec: ValkeyCodec, names: Collection[bytes]) -> None:
        self.names = {kind: sorted(name for name in names if name.startswith(LETTERS[kind] + b":")) for kind in KINDS}
        self.read: dict[bytes, _Record] = {}
        self.unreadable: set[bytes] = set()
        self.aside: set[bytes] = set()
        self.lost: set[bytes] = set()
        self._codec = codec

    def scan(self, kind: Kind) -> Iterator[Steps[Sequence[Stored]]]:
        """Return all records that there were when the names were gathered, and still are."""
        names = self.names[kind.name]
        for start in range(0, len(names), GET_COUNT):
            yield self._batch(kind, names[start : start + GET_COUNT])

    def _batch(self, kind: Kind, names: Sequence[bytes]) -> Steps[Sequence[Stored]]:
        values = yield [b"MGET", *(self._codec.prefix + name for name in names)]
        some = [self._read(kind, name, value) for name, value in zip(names, values, strict=True) if value is not None]
        for stored in some:
            name, stamp = stored.handle[0], stored.handle[1][:STAMP_LENGTH]
            if stored.error is None:
                self.read[name] = _Record(name, stamp, *_places_of(kind, stored.record, name[2:]))
            else:
                self.unreadable.add(name)
        return some

    def _read(self, kind: Kind, name: bytes, value: bytes) -> Stored:
        key, row = name[2:].decode("ascii", "replace"), _row_in(value)
        if not row or not isinstance(row[0], str) or key_part(kind.name, row[0]) != name[2:]:
            row = []  # it says to be something that would stand elsewhere
        try:
            record = self._codec.record(kind, value)
            if not row:
                raise CorruptRecord("it stands where another record was written", table=kind.table)
        except UNREADABLE as error:
            return Stored(key, (name, value), row, None, error)
        return Stored(key, (name, value), row, record)

    def get(self, kind: Kind, keys: Collection[str]) -> Steps[dict[str, Stored]]:
        """Return those of some records that are there."""
        names = {key: _name_of(kind, key) for key in keys}
        values = yield [b"MGET", *(self._codec.prefix + name for name in names.values())]
        if kind is OWNER:
            self.lost.update(name for name, value in zip(names.values(), values, strict=True) if value is None)
        found = zip(names.items(), values, strict=True)
        return {key: self._read(kind, name, value) for (key, name), value in found if value is not None}

    def entry_key(self, owner: str) -> str:
        """Return the owner as part of a key."""
        return key_part(OWNER.name, owner).decode("ascii")

    def now(self) -> Steps[int]:
        """Return the server's instant, as far as this process knows it."""
        yield from ()
        return self._codec.clock.now()

    def set_aside(
        self, kind: Kind, stored: Stored, reason: str, changes: Changes | None, seen: Sequence[Seen]
    ) -> Steps[bool]:
        """Move a record to another name, if it is still the one that was read."""
        name, value = stored.handle
        words = [b"p", b"q:" + name, b"0", value, b"d", name]
        checks: Mapping[bytes, bytes] = {**_stamps_of(seen), name: value[:STAMP_LENGTH]}
        if changes is not None:
            writes = Writes(self._codec, Commit(changes, dict(checks), 0))
            checks, words = writes.checks, words + writes.words
        reply = yield fix_words(self._codec, checks, words)
        if reply[1]:
            self.unreadable.discard(name)
            self.aside.add(name)
        return bool(reply[1])

    def write(self, changes: Changes, seen: Sequence[Seen]) -> Steps[bool]:
        """Write like any command."""
        writes = Writes(self._codec, Commit(changes, _stamps_of(seen), 0))
        reply = yield fix_words(self._codec, writes.checks, writes.words)
        return bool(reply[1])


def _name_of(kind: Kind, key: str) -> bytes:
    return LETTERS[kind.name] + b":" + key_part(kind.name, key)


def _stamps_of(seen: Sequence[Seen]) -> dict[Any, Any]:
    return {
        _name_of(kind, key): b"" if stored is None else stored.handle[1][:STAMP_LENGTH] for kind, key, stored in seen
    }


def _row_in(value: bytes) -> list[Any]:
    """Return the row of a stored value, whoever wrote it; an empty one for what holds none."""
    try:
        row = from_json(value[STAMP_LENGTH:].split(b"\n", 2)[2])
    except (ValueError, IndexError, RecursionError):
        return []
    return row if isinstance(row, list) else []


def _places_of(kind: Kind, record: Any, id: bytes) -> tuple[dict[_Member, int], bytes | None]:
    """Return where a record should stand, and the look-up key that should lead to it."""
    places: dict[_Member, int] = {}
    for place in places_of(record):
        bucket, member, at = entry_at(place, id)
        places[_Member(bucket, member)] = at
        if place[0] == TRANSFERABLES_OF:
            places[_Member(b"lx:" + part_of(place[1]), member)] = at
    lookup = record.lookup if kind.is_looked_up else None
    return places, None if lookup is None else LETTERS[kind.name].upper() + b":" + part_of(lookup)


def fix_words(codec: ValkeyCodec, checks: Mapping[bytes, bytes], writes: Sequence[bytes]) -> list[bytes]:
    """Return the call that writes if each of some records still has its stamp, empty for what is not there."""
    always = (b"0", b"%d" % NEVER)
    words = [b"FCALL", b"session_tokens_commit_v1", b"1", codec.last_stamp_key, *always, b"%d" % len(checks)]
    for check in checks.items():
        words += check
    return [*words, b"%d" % len(writes), *writes]


class _Indexes:
    """The sorted sets and look-up keys of a name space against its records."""

    def __init__(self, codec: ValkeyCodec, records: _Records, findings: Findings, fix: bool) -> None:
        self._codec = codec
        self._records = records
        self._findings = findings
        self._fix = fix

    def look(self, names: Collection[bytes]) -> Steps[None]:
        """Compare, and mend where that was asked for."""
        expected = {place: record for record in self._records.read.values() for place in record.places}
        found = yield from self._held(names)
        for place in sorted(found - expected.keys()):
            if record_at(*place) not in self._records.unreadable:
                yield from self._superfluous(place)
        for place in expected.keys() - found:
            yield from self._missing(place, expected[place])
        lookups = {record.lookup: record for record in self._records.read.values() if record.lookup is not None}
        for lookup in lookups.keys() - set(names):
            yield from self._unled(lookup, lookups[lookup])

    def _held(self, names: Collection[bytes]) -> Steps[set[_Member]]:
        """Return all places that indexes hold."""
        held: set[_Member] = set()
        for name in sorted(names):
            if (name[:2] in _BUCKETS and name[2:3] == b":") or name in _LISTINGS:
                members = yield [b"ZRANGE", self._codec.prefix + name, b"0", b"-1"]
                held.update(_Member(name, member) for member in members if member != MARK)
        return held

    def _still(self, name: bytes, stamp: bytes) -> Steps[bool]:
        """Whether a record is as it was read."""
        now = yield [b"GETRANGE", self._codec.prefix + name, b"0", b"%d" % (STAMP_LENGTH - 1)]
        return bool(now == stamp)

    def _superfluous(self, place: _Member) -> Steps[None]:
        name = record_at(*place)
        stamp = self._records.read[name].stamp if name in self._records.read else b""
        there = yield [b"ZSCORE", self._codec.prefix + place.bucket, place.member]
        if there is None or not (yield from self._still(name, stamp)):
            return
        fixed = yield from self._mended(name, stamp, [b"r", place.bucket, place.member], RIGHT)
        if name not in self._records.aside and name not in self._records.lost:
            self._report(place, "holds", name, fixed)

    def _missing(self, place: _Member, record: _Record) -> Steps[None]:
        there = yield [b"ZSCORE", self._codec.prefix + place.bucket, place.member]
        if there is not None or not (yield from self._still(record.name, record.stamp)):
            return
        words = [b"a", place.bucket, b"%d" % record.places[place], place.member]
        fixed = yield from self._mended(record.name, record.stamp, words, RIGHT)
        self._report(place, "lacks", record.name, fixed)

    def _unled(self, lookup: bytes, record: _Record) -> Steps[None]:
        there = yield [b"EXISTS", self._codec.prefix + lookup]
        if there or not (yield from self._still(record.name, record.stamp)):
            return
        words = [b"p", lookup, b"0", record.name + b"\n"]
        fixed = yield from self._mended(record.name, record.stamp, words, "made anew")
        kind, said = _KIND_OF[record.name[:1]], "its look-up key is not there"
        self._findings.add(Finding(kind, record.name[2:].decode("ascii"), said, fixed, "lookup"))

    def _mended(self, name: bytes, stamp: bytes, writes: Sequence[bytes], done: str) -> Steps[str | None]:
        """Write, where that was asked for; return what was done, ``None`` where a command came before it."""
        if not self._fix:
            return None
        reply = yield fix_words(self._codec, {name: stamp}, writes)
        return done if reply[1] else None

    def _report(self, place: _Member, verb: str, name: bytes, fixed: str | None) -> None:
        said = f"{verb} {name.decode('ascii', 'replace')} against its record"
        self._findings.add(Finding("index", place.bucket.decode("ascii", "replace"), said, fixed))
