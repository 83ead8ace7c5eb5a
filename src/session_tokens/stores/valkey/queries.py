"""Turns queries into arguments of one ``FCALL`` to the function library, ``library_v1.lua``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...contract.queries import (
    AllKeys,
    EntryOf,
    IdempotencyOf,
    KeyById,
    KeyByLookup,
    ParkedTokens,
    PeppersInUse,
    PredecessorsOf,
    Query,
    SessionById,
    SessionByLookup,
    SessionCountOf,
    SessionListing,
    SessionsOf,
    SettingOf,
    TokenById,
    TokenByLookup,
    TokenCountOf,
    TokenListing,
    TokensOf,
    TransferablesOf,
)
from .keys import PEPPERS, lookup_part, owner_part, part_of


def ask_words(last_stamp_key: bytes, queries: Sequence[Query]) -> list[bytes]:
    """Return the call that asks all queries at once."""
    words = [b"FCALL_RO", b"session_tokens_read_v1", b"1", last_stamp_key]
    for query in queries:
        words += ASKS[type(query)](query)
    return words


def _listing_words(
    after: tuple[int, str] | None, limit: int, kind: bytes, hops: bytes, sources: Sequence[bytes]
) -> Sequence[bytes]:
    score, id = (b"", b"") if after is None else (b"%d" % after[0], part_of(after[1]))
    return (b"l", score, id, b"%d" % limit, kind, hops, b"%d" % len(sources), *sources)


def _bucket_words(bucket: bytes, kind: bytes, limit: int = 0) -> Sequence[bytes]:
    return (b"b", bucket, bucket, kind, b"%d" % limit)


def _transferable_words(session: bytes, limit: int) -> Sequence[bytes]:
    return (b"b", b"bh:" + session, b"lx:" + session, b"t:", b"%d" % limit)


def _sessions_words(query: SessionsOf) -> Sequence[bytes]:
    bucket = b"bo:" + owner_part(query.owner)
    limit = query.limit or 0
    return _bucket_words(bucket, b"s:", -limit if query.newest else limit)


def _session_sources(query: SessionListing) -> Sequence[bytes]:
    if query.owner is not None:
        return (b"=bo:" + owner_part(query.owner),)
    return (b"=ld",) if query.detached else (b"=ls",)


def _token_sources(query: TokenListing) -> Sequence[bytes]:
    """Return the smallest sets that surely hold what the listing asks for; see ``draw_from`` in the library."""
    if query.session_id is not None:
        session = part_of(query.session_id)
        return (b"=bh:" + session, b"*bs:%b bh:" % session)
    if query.owner is not None:
        owner = owner_part(query.owner)
        sessions = (b"*bo:%b bh: lt 1000" % owner, b"+bo:%b bs: bh: lt 1000" % owner)
        return (*sessions, b"=bp:" + owner)
    if query.tag is not None:
        return (b"=lg:" + owner_part(query.tag),)
    if query.sellable:
        return (b"=lv",)
    if query.unassigned:  # or held by a session that is over, or whose owner may be disabled
        return (b"=lu", b"!du s lx: lt 200", b"+le bo: lx: lt 200")
    return (b"=lt",)


ASKS: dict[type, Callable[[Any], Sequence[bytes]]] = {
    SessionByLookup: lambda query: (b"c", b"S:" + lookup_part(query.lookup), b"2"),
    TokenByLookup: lambda query: (b"c", b"T:" + lookup_part(query.lookup), b"4"),
    SessionById: lambda query: (b"c", b"s:" + part_of(query.id), b"2"),
    TokenById: lambda query: (b"c", b"t:" + part_of(query.id), b"3"),
    EntryOf: lambda query: (b"c", b"e:" + owner_part(query.owner), b"0"),
    IdempotencyOf: lambda query: (b"c", b"i:" + part_of(query.key), b"0"),
    SettingOf: lambda query: (b"c", b"c:" + part_of(query.name), b"0"),
    KeyById: lambda query: (b"c", b"k:" + part_of(query.id), b"0"),
    KeyByLookup: lambda query: (b"c", b"K:" + lookup_part(query.lookup), b"1"),
    SessionsOf: _sessions_words,
    SessionCountOf: lambda query: (b"n", b"bo:" + owner_part(query.owner), b"bo:" + owner_part(query.owner)),
    PredecessorsOf: lambda query: _bucket_words(b"bs:" + part_of(query.session_id), b"s:"),
    TokensOf: lambda query: _bucket_words(b"bh:" + part_of(query.session_id), b"t:", query.limit or 0),
    TransferablesOf: lambda query: _transferable_words(part_of(query.session_id), query.limit or 0),
    ParkedTokens: lambda query: _bucket_words(b"bp:" + owner_part(query.owner), b"t:", query.limit or 0),
    TokenCountOf: lambda query: (
        b"n",
        b"bh:" + part_of(query.session_id),
        (b"lx:" if query.transferable else b"bh:") + part_of(query.session_id),
    ),
    AllKeys: lambda query: (b"l", b"", b"", b"1000000", b"k:", b"0", b"1", b"=lk"),
    PeppersInUse: lambda query: (b"h", PEPPERS),
    SessionListing: lambda query: _listing_words(query.after, query.limit, b"s:", b"1", _session_sources(query)),
    TokenListing: lambda query: _listing_words(query.after, query.limit, b"t:", b"3", _token_sources(query)),
}
"""Kind of query → its words; the second word of one record is that record's name."""
