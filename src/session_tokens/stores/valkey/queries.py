"""Turns queries into arguments of one ``FCALL`` to the function library, ``library_v1_reads.lua``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...contract.queries import Count, Get, Members, Query, Scan
from .keys import PEPPERS, lookup_part, owner_part, part_of

FOLLOWED: dict[str, tuple[bytes, Callable[[str], bytes], bytes]] = {
    "session": (b"s:", part_of, b"2"),
    "session_lookup": (b"S:", lookup_part, b"2"),
    "token": (b"t:", part_of, b"3"),
    "token_lookup": (b"T:", lookup_part, b"4"),
    "entry": (b"e:", owner_part, b"0"),
    "idempotency": (b"i:", part_of, b"0"),
    "setting": (b"c:", part_of, b"0"),
    "key": (b"k:", part_of, b"0"),
    "key_lookup": (b"K:", lookup_part, b"1"),
}
"""What is got → how its name begins, what makes the rest of it of a key, and how many records it may lead on to."""
BUCKETS: dict[str, tuple[bytes, bytes, Callable[[str], bytes], bytes]] = {
    "sessions_of": (b"bo:", b"bo:", owner_part, b"s:"),
    "predecessors_of": (b"bs:", b"bs:", part_of, b"s:"),
    "tokens_of": (b"bh:", b"bh:", part_of, b"t:"),
    "transferables_of": (b"bh:", b"lx:", part_of, b"t:"),
    "parked_tokens": (b"bp:", b"bp:", owner_part, b"t:"),
}
"""Set → how the name of the bucket begins that has its stamp, and of that which has its members; as above."""


def name_of(query: Get) -> bytes:
    """Return the name of the record at which a query begins."""
    beginning, part, _ = FOLLOWED[query.what]
    return beginning + part(query.key)


def bucket_of(query: Members | Count) -> bytes:
    """Return the name of the bucket that has the stamp of a set."""
    beginning, _, part, _ = BUCKETS[query.what]
    return beginning + part(query.whose)


def ask_words(last_stamp_key: bytes, queries: Sequence[Query]) -> list[bytes]:
    """Return the call that asks all queries at once."""
    words = [b"FCALL_RO", b"session_tokens_read_v1", b"1", last_stamp_key]
    for query in queries:
        words += words_of(query)
    return words


def words_of(query: Query) -> Sequence[bytes]:
    """Return the words of one query."""
    if isinstance(query, Get):
        beginning, part, hops = FOLLOWED[query.what]
        return b"c", beginning + part(query.key), hops
    if isinstance(query, Scan):
        return _scan_words(query)
    stamped, holds, part, kind = BUCKETS[query.what]
    whose = part(query.whose)
    if isinstance(query, Count):
        return b"n", stamped + whose, holds + whose
    limit = query.limit or 0
    return b"b", stamped + whose, holds + whose, kind, b"%d" % (-limit if query.newest else limit)


def _scan_words(query: Scan) -> Sequence[bytes]:
    if query.what == "peppers":
        return b"h", PEPPERS
    if query.what == "due":
        return b"o", b"dus", b"s:", b"1", b"%d" % query.limit
    score, id = (b"", b"") if query.after is None else (b"%d" % query.after[0], part_of(query.after[1]))
    kind, hops = {"keys": (b"k:", b"0"), "sessions": (b"s:", b"1")}.get(query.what, (b"t:", b"3"))
    sources = _sources(query)
    limit = -query.limit if query.newest else query.limit
    return b"l", score, id, b"%d" % limit, kind, hops, b"%d" % len(sources), *sources


def _sources(query: Scan) -> Sequence[bytes]:
    """Return the smallest sets that surely hold what is asked for; see ``draw_from`` in the library."""
    by, whose = query.by
    if query.what == "keys":
        return (b"=lk",)
    if query.what == "sessions":
        return (b"=bo:" + owner_part(whose) if by == "owner" else b"=ld" if by == "detached" else b"=ls",)
    if query.what == "waiting":
        return (b"=lw:" + owner_part(whose) if by == "tag" else b"=lw",)
    if by == "session":
        session = part_of(whose)
        return (b"=bh:" + session, b"*bs:%b bh:" % session)
    if by == "owner":
        owner = owner_part(whose)
        sessions = (b"*bo:%b bh: lt 1000" % owner, b"+bo:%b bs: bh: lt 1000" % owner)
        return (*sessions, b"=bp:" + owner)
    if by == "tag":
        return (b"=lg:" + owner_part(whose),)
    if by == "sellable":
        return (b"=lv",)
    if by == "unassigned":
        return (b"=lu",)
    return (b"=lt",)
