"""The pure core of reading PostgreSQL: queries become one statement, its rows become answers.

Theory of operation. Wants of one kind are one call of that kind's function (``sql/reading.sql``), the
calls of all kinds are one ``UNION ALL``: one statement, one snapshot, one round trip, whatever was asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...contract.batch import Batch
from ...contract.queries import (
    AllKeys,
    Answered,
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
    singly,
    together,
)
from ...errors import UNREADABLE
from .rows import Decoder, Row, escaped

_AFTER_ALL = (-1, "")
ALL = 2**63 - 1
"""How many are asked for where all are; a NULL in an array is a word of five letters where ``array_nulls`` is off."""


class Statement(NamedTuple):
    """Text with ``%s`` for its parameters, and these."""

    text: str
    params: Sequence[Any]


class _Kind(NamedTuple):
    """How queries of one kind are asked: the function, the casts of its parameters, and the arrays that are given."""

    name: str
    casts: str
    arrays: Callable[[Sequence[Any]], Sequence[Any]]


def _by(field: str) -> Callable[[Sequence[Any]], Sequence[Any]]:
    return lambda queries: ([escaped(getattr(query, field)) for query in queries],)


def _some_of(name: str, field: str) -> _Kind:
    """How sets are asked of which at most so many are wanted."""
    return _Kind(
        name,
        "%s::text[], %s::bigint[]",
        lambda queries: (
            [escaped(getattr(query, field)) for query in queries],
            [query.limit or ALL for query in queries],
        ),
    )


_KINDS: dict[type, _Kind] = {
    SessionById: _Kind("session_by_id", "%s::text[]", _by("id")),
    SessionByLookup: _Kind("session_by_lookup", "%s::text[]", _by("lookup")),
    SessionsOf: _some_of("sessions_of", "owner"),
    SessionCountOf: _Kind("session_count_of", "%s::text[]", _by("owner")),
    PredecessorsOf: _Kind("predecessors_of", "%s::text[]", _by("session_id")),
    EntryOf: _Kind("entry_of", "%s::text[]", _by("owner")),
    TokenById: _Kind("token_by_id", "%s::text[]", _by("id")),
    TokenByLookup: _Kind("token_by_lookup", "%s::text[]", _by("lookup")),
    TokensOf: _some_of("tokens_of", "session_id"),
    TransferablesOf: _some_of("transferables_of", "session_id"),
    TokenCountOf: _Kind(
        "token_count_of",
        "%s::text[], %s::boolean[]",
        lambda queries: ([escaped(query.session_id) for query in queries], [query.transferable for query in queries]),
    ),
    ParkedTokens: _some_of("parked_tokens", "owner"),
    IdempotencyOf: _Kind("idempotency_of", "%s::text[]", _by("key")),
    SettingOf: _Kind("setting_of", "%s::text[]", _by("name")),
    KeyByLookup: _Kind("key_by_lookup", "%s::text[]", _by("lookup")),
    KeyById: _Kind("key_by_id", "%s::text[]", _by("id")),
    AllKeys: _Kind("all_keys", "", lambda queries: ()),
    PeppersInUse: _Kind("peppers_in_use", "", lambda queries: ()),
}
_NEWEST = _some_of("newest_sessions_of", "owner")
_KIND_OF_LISTING: dict[type, str] = {SessionListing: "session_listing", TokenListing: "token_listing"}
_SESSION_LISTING = "%s::bigint, %s::text, %s::boolean, %s::bigint, %s::text, %s::bigint"
_TOKEN_LISTING = "%s::bigint, %s::text, %s::text, %s::text, %s::boolean, %s::boolean, %s::bigint, %s::text, %s::bigint"


class ReadStatement:
    """One read: its statement, and what the rows of the reply mean.

    Args:
        schema: the quoted name of the schema.
        queries: what is asked.
    """

    __slots__ = ("_places", "_single", "queries", "statement")

    def __init__(self, schema: str, queries: Sequence[Query]) -> None:
        self.queries = queries
        self._places: dict[str, list[int]] = {}
        kinds: dict[str, list[Any]] = {}
        self._single = singly(queries)
        for place, query in enumerate(self._single):
            name = _name_of(query)
            kinds.setdefault(name, []).append(query)
            self._places.setdefault(name, []).append(place)
        # The clock is read by the first arm: an answer is never older than the instant it is given for.
        arms = [f"SELECT 'now', {schema}.now_v1(), NULL, NULL, NULL, NULL"]
        params: list[Any] = []
        for kind in sorted(kinds):
            asked = kinds[kind]
            if type(asked[0]) in _KIND_OF_LISTING:
                for number, query in enumerate(asked, 1):
                    arms.append(_listing_arm(schema, query))
                    params += _listing_params(number, query)
            else:
                name, casts, arrays = _kind_of(asked[0])
                arms.append(f"SELECT * FROM {schema}.{name}_v1({casts})")
                params += arrays(asked)
        self.statement = Statement(" UNION ALL ".join(arms), params)

    def batch(self, rows: Sequence[Row], decoder: Decoder) -> Batch:
        """Return the queries from the rows of the reply; an error in place of an answer is for who asked that query."""
        now = 0
        by_place: dict[int, list[Row]] = {}
        for row in rows:
            if row[0] == "now":
                now = row[1]
            else:
                by_place.setdefault(self._places[row[0]][row[1] - 1], []).append(row)
        found: list[Answered] = []
        for place, query in enumerate(self._single):
            try:
                found.append(decoder.found(query, by_place.get(place, ())))
            except UNREADABLE as error:
                found.append(error)
        return Batch(now, together(self.queries, found))


def _kind_of(query: Query) -> _Kind:
    return _NEWEST if isinstance(query, SessionsOf) and query.newest else _KINDS[type(query)]


def _name_of(query: Query) -> str:
    return _KIND_OF_LISTING.get(type(query)) or _kind_of(query).name


def _listing_arm(schema: str, query: SessionListing | TokenListing) -> str:
    if isinstance(query, SessionListing):
        return f"SELECT * FROM {schema}.session_listing_v1({_SESSION_LISTING})"
    return f"SELECT * FROM {schema}.token_listing_v1({_TOKEN_LISTING})"


def _listing_params(number: int, query: SessionListing | TokenListing) -> list[Any]:
    owner = None if query.owner is None else escaped(query.owner)
    at, id = query.after or _AFTER_ALL
    if isinstance(query, SessionListing):
        return [number, owner, query.detached, at, escaped(id), query.limit]
    session_id = None if query.session_id is None else escaped(query.session_id)
    return [
        number, owner, session_id, None if query.tag is None else escaped(query.tag), query.sellable, query.unassigned,
        at, escaped(id), query.limit,
    ]  # fmt: skip
