"""How wants become the words of one call to the function library; see ``lua/session_tokens_v1.lua`` for the words."""

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
    Want,
)
from .keys import PEPPERS, lookup_part, owner_part, part_of


def ask_words(last_stamp_key: bytes, wants: Sequence[Want]) -> list[bytes]:
    """Answer the call that asks all wants at once."""
    words = [b"FCALL_RO", b"session_tokens_read_v1", b"1", last_stamp_key]
    for want in wants:
        words += ASKS[type(want)](want)
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


def _sessions_words(want: SessionsOf) -> Sequence[bytes]:
    bucket = b"bo:" + owner_part(want.owner)
    limit = want.limit or 0
    return _bucket_words(bucket, b"s:", -limit if want.newest else limit)


def _session_sources(want: SessionListing) -> Sequence[bytes]:
    if want.owner is not None:
        return (b"=bo:" + owner_part(want.owner),)
    return (b"=ld",) if want.detached else (b"=ls",)


def _token_sources(want: TokenListing) -> Sequence[bytes]:
    """Answer the smallest sets that surely hold what the listing asks for; see ``draw_from`` in the library."""
    if want.session_id is not None:
        session = part_of(want.session_id)
        return (b"=bh:" + session, b"*bs:%b bh:" % session)
    if want.owner is not None:
        owner = owner_part(want.owner)
        sessions = (b"*bo:%b bh: lt 1000" % owner, b"+bo:%b bs: bh: lt 1000" % owner)
        return (*sessions, b"=bp:" + owner)
    if want.sellable:
        return (b"=lv",)
    if want.unassigned:  # or held by a session that is over, or whose owner may be disabled
        return (b"=lu", b"!du s lx: lt 200", b"+le bo: lx: lt 200")
    return (b"=lt",)


ASKS: dict[type, Callable[[Any], Sequence[bytes]]] = {
    SessionByLookup: lambda want: (b"c", b"S:" + lookup_part(want.lookup), b"2"),
    TokenByLookup: lambda want: (b"c", b"T:" + lookup_part(want.lookup), b"4"),
    SessionById: lambda want: (b"c", b"s:" + part_of(want.id), b"2"),
    TokenById: lambda want: (b"c", b"t:" + part_of(want.id), b"3"),
    EntryOf: lambda want: (b"c", b"e:" + owner_part(want.owner), b"0"),
    IdempotencyOf: lambda want: (b"c", b"i:" + part_of(want.key), b"0"),
    SettingOf: lambda want: (b"c", b"c:" + part_of(want.name), b"0"),
    KeyById: lambda want: (b"c", b"k:" + part_of(want.id), b"0"),
    KeyByLookup: lambda want: (b"c", b"K:" + lookup_part(want.lookup), b"1"),
    SessionsOf: _sessions_words,
    SessionCountOf: lambda want: (b"n", b"bo:" + owner_part(want.owner), b"bo:" + owner_part(want.owner)),
    PredecessorsOf: lambda want: _bucket_words(b"bs:" + part_of(want.session_id), b"s:"),
    TokensOf: lambda want: _bucket_words(b"bh:" + part_of(want.session_id), b"t:", want.limit or 0),
    TransferablesOf: lambda want: _transferable_words(part_of(want.session_id), want.limit or 0),
    ParkedTokens: lambda want: _bucket_words(b"bp:" + owner_part(want.owner), b"t:", want.limit or 0),
    TokenCountOf: lambda want: (
        b"n",
        b"bh:" + part_of(want.session_id),
        (b"lx:" if want.transferable else b"bh:") + part_of(want.session_id),
    ),
    AllKeys: lambda want: (b"l", b"", b"", b"1000000", b"k:", b"0", b"1", b"=lk"),
    PeppersInUse: lambda want: (b"h", PEPPERS),
    SessionListing: lambda want: _listing_words(want.after, want.limit, b"s:", b"1", _session_sources(want)),
    TokenListing: lambda want: _listing_words(want.after, want.limit, b"t:", b"3", _token_sources(want)),
}
"""Kind of want → its words; the second word of one record is that record's name."""
