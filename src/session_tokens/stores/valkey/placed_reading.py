"""Answers queries from 64 partitions: each goes where its key says, and on to where the answer leads. No I/O.

Theory of operation. Each query is a job (``rounds``) that returns the reply which one server would have given, so the
codec takes it apart as ever. A record that was followed to where nothing stands is looked for in the partition that its
name says, if that is another one. Sets are read with their stamps where they lie, and those of their records that lie
elsewhere one by one. Of a listing each partition gives the first rows; they are merged by (created_at, id), and only
the partitions that have run dry are asked for more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...contract.queries import Count, Get, Members, Query, Scan
from ...crypto.secret_form import PARTITIONS
from .keys import PEPPERS, STAMP_LENGTH, owner_part, part_of
from .placement import FIRST, partition_of
from .queries import BUCKETS, FOLLOWED, bucket_of, name_of, words_of
from .rounds import Ask, Job, side_by_side
from .rows import Reply

MORE = 4
"""Rows of a listing that each partition is asked for beyond its share."""
SHARES = 16
"""A page's share of each partition is one in so many: few pages need more from any of them."""
LISTED_SINGLY_MAX = 1000
"""Sessions of an owner whose tokens are gathered session by session; beyond, all tokens are gone through."""
EVERYWHERE = tuple(range(PARTITIONS))


def job_of(query: Query) -> Job[Reply]:
    """Return what finds the reply to a query that carries one look-up key at most."""
    if isinstance(query, Get):
        return followed(name_of(query), int(FOLLOWED[query.what][2]))
    if isinstance(query, Members):
        return _members(query)
    if isinstance(query, Count):
        return _one(partition_of(bucket_of(query)), words_of(query))
    if query.what == "peppers":
        return _one(FIRST, (b"h", PEPPERS))
    if query.what == "due":
        return _due(query)
    return _listing(query)


def partition_asked(queries: Sequence[Query]) -> int:
    """Return the partition of the first record or set that queries name, but for settings and retries."""
    for query in queries:
        if isinstance(query, Members | Count):
            return partition_of(bucket_of(query))
        if isinstance(query, Get) and query.what not in ("setting", "idempotency"):
            return partition_of(name_of(query))
    return FIRST


def _one(partition: int, words: Sequence[bytes]) -> Job[Reply]:
    (reply,) = yield [(partition, words)]
    return reply


def followed(name: bytes, hops: int) -> Job[list[bytes | None]]:
    """Return a record and those that it brings along, over at most so many hops, wherever each lies."""
    (values,) = yield [(partition_of(name), (b"c", name, b"%d" % hops))]
    return (yield from _went_on(name, hops, values))


def _went_on(name: bytes, hops: int, values: Sequence[bytes | None]) -> Job[list[bytes | None]]:
    """Return a chain as far as it goes, of which a beginning was found where its first record lies."""
    found, asked = list(values), partition_of(name)
    while True:
        missing = name_missing(found)
        if missing is None or partition_of(missing) == asked:
            return found
        asked = partition_of(missing)
        left = hops - (len(found) - 1)
        (more,) = yield [(asked, (b"c", missing, b"%d" % left))]
        found[-1:] = more


def name_missing(values: Sequence[bytes | None]) -> bytes | None:
    """Return the name of what a chain led to and was not there; ``None`` where it ends well, or has no beginning."""
    if len(values) < 2 or values[-1] is not None:
        return None
    leading = values[-2]
    assert leading is not None
    return leading[STAMP_LENGTH : leading.index(b"\n", STAMP_LENGTH)]


def _members(query: Members) -> Job[Reply]:
    _, holds, part, kind = BUCKETS[query.what]
    bucket, holder = bucket_of(query), holds + part(query.whose)
    limit = query.limit or 0
    while True:
        sought = b"%d" % (-limit if query.newest else limit)
        (found,) = yield [(partition_of(bucket), (b"m", bucket, holder, kind, sought))]
        reply = yield from _completed(partition_of(bucket), kind, found)
        is_all = not limit or len(found) // 2 < limit
        if is_all or len(reply) // 2 >= (query.limit or 0):
            most = None if query.limit is None else 1 + 2 * query.limit
            return reply[:most]
        limit *= 2


def _completed(partition: int, kind: bytes, found: Reply) -> Job[Reply]:
    """Return the members of a set that have a record, and get those that lie elsewhere."""
    pairs = [[id, value] for id, value in zip(found[1::2], found[2::2], strict=True)]
    elsewhere = [
        (pair, where) for pair in pairs if pair[1] is None and (where := partition_of(kind + pair[0])) != partition
    ]
    if elsewhere:
        asks: list[Ask] = [(where, (b"c", kind + pair[0], b"0")) for pair, where in elsewhere]
        for (pair, _), values in zip(elsewhere, (yield asks), strict=True):
            pair[1] = values[0]
    return [found[0], *(each for pair in pairs if pair[1] is not None for each in pair)]


# --- listings ---


class _Source:
    """What one partition has of a listing, and how far it was read.

    Attributes:
        rows: that were read and not taken yet: (score, id) → the row.
        is_dry: whether it has no more than those.
    """

    def __init__(self, partition: int, words: Sequence[bytes]) -> None:
        self.partition = partition
        self.words = words
        self.rows: list[list[Any]] = []
        self.is_dry = False

    def ask(self, place: tuple[bytes, bytes], limit: int, newest: bool, kind: Sequence[bytes]) -> Ask:
        """Return the question for the next rows after a place."""
        score, id = place
        sought = b"%d" % (-limit if newest else limit)
        return self.partition, (b"g", score, id, sought, *kind, b"%d" % len(self.words), *self.words)


class _Listing:
    """One listing that is gathered from several partitions.

    Args:
        query: what is listed.
        sources: partition → the sorted sets there, as the library takes them.
    """

    def __init__(self, query: Scan, sources: dict[int, Sequence[bytes]]) -> None:
        self._query = query
        self._kind = kind_of(query)
        self._sources = [_Source(partition, words) for partition, words in sources.items()]
        self._share = query.limit if len(sources) == 1 else min(query.limit, -(-query.limit // SHARES) + MORE)
        after = query.after
        place = (b"", b"") if after is None else (b"%d" % after[0], part_of(after[1]))
        self._places = {source.partition: place for source in self._sources}
        self._last: bytes | None = None

    def gathered(self) -> Job[Reply]:
        """Return the lines of the listing."""
        lines: list[Any] = []
        while len(lines) < self._query.limit:
            yield from self._more()
            rows = list(self._taken(self._query.limit - len(lines)))
            if not rows:
                if all(source.is_dry for source in self._sources):
                    break
                continue
            jobs = [_line(partition, self._kind, row) for partition, row in rows]
            for line in (yield from side_by_side(jobs)):
                if isinstance(line, Exception):
                    raise line
                if line[1] is not None:
                    lines.append(line)
        return lines

    def _more(self) -> Job[None]:
        """Ask those that have run dry, all at once."""
        dry = [source for source in self._sources if not source.rows and not source.is_dry]
        if not dry:
            return
        newest = self._query.newest
        asks = [source.ask(self._places[source.partition], self._share, newest, self._kind) for source in dry]
        for source, rows in zip(dry, (yield asks), strict=True):
            source.rows, source.is_dry = rows, len(rows) < self._share
            if rows:
                self._places[source.partition] = rows[-1][0], rows[-1][1]

    def _taken(self, limit: int) -> Iterator[tuple[int, list[Any]]]:
        """Take rows in order, at most so many, until one runs dry that may have more."""
        import heapq

        heap = [(self._order(source.rows[0]), at) for at, source in enumerate(self._sources) if source.rows]
        heapq.heapify(heap)
        if any(not source.rows and not source.is_dry for source in self._sources):
            return
        taken = 0
        while heap and taken < limit:
            _, at = heapq.heappop(heap)
            source = self._sources[at]
            row = source.rows.pop(0)
            if row[1] != self._last:
                self._last = row[1]
                taken += 1
                yield source.partition, row
            if source.rows:
                heapq.heappush(heap, (self._order(source.rows[0]), at))
            elif not source.is_dry:
                return

    def _order(self, row: list[Any]) -> Any:
        at = int(row[0])
        return (-at, _Backwards(row[1])) if self._query.newest else (at, row[1])


class _Backwards:
    """An id that comes first where it is greater."""

    __slots__ = ("_id",)

    def __init__(self, id: bytes) -> None:
        self._id = id

    def __lt__(self, other: _Backwards) -> bool:
        return self._id > other._id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Backwards) and self._id == other._id

    __hash__ = None  # type: ignore[assignment]  # it is only compared


def kind_of(query: Scan) -> tuple[bytes, bytes]:
    """Return how the names of a listing's records begin, and how many others each may bring along."""
    return {"keys": (b"k:", b"0"), "sessions": (b"s:", b"1")}.get(query.what, (b"t:", b"3"))


def _line(partition: int, kind: Sequence[bytes], row: list[Any]) -> Job[list[Any]]:
    """Return a line of a listing: id, record, and those that come with it."""
    _, id, *values = row
    name = kind[0] + id
    if values[0] is None and partition_of(name) != partition:
        return [id, *(yield from followed(name, int(kind[1])))]
    return [id, *(yield from _went_on(name, int(kind[1]), values))]


def _listing(query: Scan) -> Job[Reply]:
    sources = words_of(query)[7:]
    by, whose = query.by
    if query.what == "keys" or query.what == "waiting" or by not in ("owner", "session"):
        return (yield from _Listing(query, dict.fromkeys(EVERYWHERE, sources)).gathered())
    if by == "session":
        return (yield from _held(query, {partition_of(b"s:" + part_of(whose)): sources}, [part_of(whose)]))
    home = partition_of(b"bo:" + owner_part(whose))
    if query.what == "sessions":
        return (yield from _Listing(query, {home: sources}).gathered())
    set_name = b"bo:" + owner_part(whose)
    (ids,) = yield [(home, (b"i", set_name, b"%d" % LISTED_SINGLY_MAX))]
    if len(ids) > LISTED_SINGLY_MAX:
        return (yield from _Listing(query, dict.fromkeys(EVERYWHERE, (b"=lt",))).gathered())
    placed: dict[int, Sequence[bytes]] = {home: sources}
    for id in ids:
        if (partition := partition_of(b"s:" + id)) != home:
            placed[partition] = (*placed.get(partition, ()), b"=bh:" + id, b"*bs:%b bh:" % id)
    return (yield from _held(query, placed, ids))


def _held(query: Scan, placed: dict[int, Sequence[bytes]], ids: Sequence[bytes]) -> Job[Reply]:
    """Return the tokens that sessions hold: those of their predecessors too, which may lie elsewhere if copied here."""
    sets = [(partition_of(b"s:" + id), (b"i", b"bs:" + id, b"%d" % LISTED_SINGLY_MAX)) for id in ids]
    answers = yield from side_by_side([_Listing(query, placed).gathered(), _asked(sets)])
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    lines, predecessors = answers
    if any(len(each) > LISTED_SINGLY_MAX for each in predecessors):
        return (yield from _Listing(query, dict.fromkeys(EVERYWHERE, (b"=lt",))).gathered())
    further = dict(placed)
    for (partition, _), each in zip(sets, predecessors, strict=True):
        for id in each:
            if (where := partition_of(b"s:" + id)) != partition:
                further[where] = (*further.get(where, ()), b"=bh:" + id)
    return lines if further == placed else (yield from _Listing(query, further).gathered())


def _asked(asks: Sequence[Ask]) -> Job[list[Any]]:
    return (yield asks)


def _due(query: Scan) -> Job[Reply]:
    """Return the sessions that are due; who asks puts them in order, for their instants stand in them."""
    share = min(query.limit, -(-query.limit // SHARES) + MORE)
    replies = yield [(partition, (b"o", b"dus", b"s:", b"1", b"%d" % share)) for partition in EVERYWHERE]
    full = [partition for partition, rows in enumerate(replies) if len(rows) == share]
    if full and share < query.limit and sum(map(len, replies)) < query.limit:
        more = yield [(partition, (b"o", b"dus", b"s:", b"1", b"%d" % query.limit)) for partition in full]
        for partition, rows in zip(full, more, strict=True):
            replies[partition] = rows
    lines = []
    for rows in replies:
        for id, *values in rows:
            lines.append([id, *(yield from _went_on(b"s:" + id, 1, values))])
    return lines
