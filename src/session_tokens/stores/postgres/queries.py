"""The pure core of reading PostgreSQL: queries become one statement, its rows become answers.

Theory of operation. Queries of one kind are one call of that kind's function (``sql/reading.sql``), the
calls of all kinds are one ``UNION ALL``: one statement, one snapshot, one round trip, whatever was asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ...contract.batch import Batch
from ...contract.queries import Answered, Count, Get, Members, Query, Scan, singly, together
from ...errors import UNREADABLE
from ..common.locking import COUNT_OF, NEWEST
from .rows import Decoder, Row, escaped

_AFTER_ALL = (-1, "")
_BEFORE_ALL = (2**63 - 1, "")
ALL = 2**63 - 1
"""How many are asked for where all are; a NULL in an array is a word of five letters where ``array_nulls`` is off."""


class Statement(NamedTuple):
    """Text with ``%s`` for its parameters, and these."""

    text: str
    params: Sequence[Any]


def _name_of(query: Query) -> str:
    """Return the name of the function that answers a query, and others like it."""
    if isinstance(query, Get):
        return f"get_{query.what}"
    if isinstance(query, Members):
        return f"{NEWEST if query.newest else ''}{query.what}"
    if isinstance(query, Count):
        return f"{COUNT_OF}{query.what}"
    return f"{NEWEST if query.newest else ''}scan_{query.what}"


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
        for name in sorted(kinds):
            for casts, given in _calls(kinds[name]):
                arms.append(f"SELECT * FROM {schema}.{name}_v1({casts})")
                params += given
        self.statement = Statement(" UNION ALL ".join(arms), params)

    def batch(self, rows: Sequence[Row], decoder: Decoder) -> Batch:
        """Return the queries from the rows of the reply; an error in place of an answer is for who asked that query."""
        now = 0
        by_place: dict[int, list[Row]] = {}
        for row in rows:
            if row[0] == "now":
                now = row[1]
            else:
                by_place.setdefault(self._places[row[0]][row[1] - 1], []).append(row[2:])
        found: list[Answered] = []
        for place, query in enumerate(self._single):
            try:
                found.append(decoder.answer(query, by_place.get(place, ())))
            except UNREADABLE as error:
                found.append(error)
        return Batch(now, together(self.queries, found))


def _calls(asked: Sequence[Any]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Yield the casts and parameters of each call that answers queries of one name."""
    if isinstance(asked[0], Scan):
        casts = "%s::bigint, %s::text, %s::text, %s::bigint, %s::text, %s::bigint"
        for number, query in enumerate(asked, 1):
            (by, whose), (at, id) = query.by, query.after or (_BEFORE_ALL if query.newest else _AFTER_ALL)
            yield casts, (number, by, escaped(whose), at, escaped(id), query.limit)
    elif isinstance(asked[0], Get):
        yield "%s::text[]", ([escaped(query.key) for query in asked],)
    else:
        whose_all = [escaped(query.whose) for query in asked]
        if isinstance(asked[0], Count):
            yield "%s::text[]", (whose_all,)
        else:
            yield "%s::text[], %s::bigint[]", (whose_all, [query.limit or ALL for query in asked])
