"""The hot path of reading PostgreSQL: what look-up keys lead to, for many callers in one statement and one text.

Theory of operation. A verification needs no stamps, and mostly finds what it found the last time. So the server puts
all that it found into one text, an item for each look-up key: driver and client handle one value instead of a row of
columns for each. An item holds JSON arrays, one a line: the record, then what comes along with it. JSON has neither
line feeds nor separators of its own. An item that is the same as before is not decoded again (``rows.Decoder``): MACs
and stamps are part of it. Where a key leads nowhere, the peppers in use come at the end of the same text, so that an
unknown secret is refused in the round trip that did not find it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...contract.queries import BY_LOOKUP, NO_SESSION, NO_TOKEN, Get, Query
from ...contract.store import unknown_while_missing
from ...crypto.minting import Keyring
from ...errors import UNREADABLE
from ..common.sql_results import not_asked_for
from .queries import Statement
from .rows import Decoder, Row

SEPARATOR = "\x1e"
"""Ends each item of a text; the peppers in use follow the last one, where a key leads nowhere."""

Look = Sequence[tuple[str, Sequence[str]]]
"""What one caller asks for: of each secret what it leads to and the look-up keys, the current pepper's first."""
Looked = tuple[int, Sequence[Any]]
"""The instant in milliseconds, and for each part of a look the value that its query is answered with."""

_NOTHING: dict[str, Any] = {"session_lookup": NO_SESSION, "token_lookup": NO_TOKEN, "key_lookup": None}


def look_of(queries: Sequence[Query]) -> Look | None:
    """Return the look that asks for the same as queries do; ``None`` where it takes a read to answer them."""
    look: list[tuple[str, Sequence[str]]] = []
    for query in queries:
        if not isinstance(query, Get) or query.what not in BY_LOOKUP:
            return None
        look.append((query.what, (query.key, *query.others)))
    return look or None


def lone_statement(schema: str, what: str, lookup: str) -> Statement:
    """Return what one caller asks for whose session or token has one look-up key."""
    name = "find_session_v1" if what == "session_lookup" else "find_token_v1"
    return Statement(f"SELECT {schema}.now_v1(), {schema}.{name}(%s::text)", (lookup,))


def lone_answer(row: Row, what: str, lookup: str, decoder: Decoder, keyring: Keyring) -> tuple[int, Any]:
    """Return the instant, and the value that the query is answered with which ``lone_statement`` asks for.

    Raises:
        CorruptRecord, UnknownPepper: the record cannot be read, or is not what was asked for.
        StoreUnavailable: nothing was found, but may be there under a pepper that was not given.
    """
    now, text = row
    item, _, peppers = (text or "").partition(SEPARATOR)
    if item:
        return now, decoder.looked_up(what, lookup, item)
    if missing := _missing(peppers, keyring):
        raise unknown_while_missing(missing)
    return now, _NOTHING[what]


def _missing(peppers: str, keyring: Keyring) -> Sequence[str]:
    """Return the ids of those peppers in use that were not given."""
    return [key_id for key_id in peppers.split(",") if key_id and not keyring.holds(key_id)]


class LookStatement:
    """One statement for the looks of many callers, and what its answer means.

    Args:
        schema: the quoted name of the schema.
        looks: what they ask for.
    """

    __slots__ = ("_looks", "_texts", "statement")

    def __init__(self, schema: str, looks: Sequence[Look]) -> None:
        self._looks = looks
        self._texts: dict[str, dict[str, str]] = {"session_lookup": {}, "token_lookup": {}, "key_lookup": {}}
        for look in looks:
            for what, lookups in look:
                texts = self._texts[what]
                for lookup in lookups:
                    texts[lookup] = ""
        asked = f"{schema}.looked_up_v1(%s::text[], %s::text[], %s::text[])"
        params = [_array_of(texts) for texts in self._texts.values()]
        self.statement = Statement(f"SELECT {schema}.now_v1(), {asked}", params)

    def answers(self, row: Row, decoder: Decoder, keyring: Keyring) -> Sequence[Looked | Exception]:
        """Return for each look what it found; an error in place of an answer is for who asked that.

        It is ``StoreUnavailable`` for what was not found and may be there under a pepper that was not given.

        Raises:
            CorruptRecord: the text cannot be the answer; the functions of the database are not ours.
        """
        now, text = row
        *items, peppers = (text or "").split(SEPARATOR)
        if len(items) != sum(map(len, self._texts.values())):
            raise not_asked_for()
        place = 0
        for texts in self._texts.values():
            for lookup in texts:
                texts[lookup] = items[place]
                place += 1
        missing = _missing(peppers, keyring) if peppers else ()
        return [self._answer(now, look, decoder, missing) for look in self._looks]

    def _answer(self, now: int, look: Look, decoder: Decoder, missing: Sequence[str]) -> Looked | Exception:
        values = []
        for what, lookups in look:
            try:
                value = self._value(what, lookups, decoder)
            except UNREADABLE as error:
                return error
            if value is None:
                if missing:
                    return unknown_while_missing(missing)
                value = _NOTHING[what]
            values.append(value)
        return now, values

    def _value(self, what: str, lookups: Sequence[str], decoder: Decoder) -> Any:
        """Return what the first key that leads somewhere leads to, ``None`` where none does.

        Raises:
            CorruptRecord, UnknownPepper: none does, and one leads to what cannot be read.
        """
        texts, unreadable = self._texts[what], None
        for lookup in lookups:
            text = texts[lookup]
            if text[:1] == "[":
                try:
                    return decoder.looked_up(what, lookup, text)
                except UNREADABLE as error:
                    unreadable = unreadable or error
        if unreadable is not None:
            raise unreadable
        return None


def _array_of(lookups: dict[str, str]) -> str:
    """Return look-up keys as an array in text: letters, digits, ``-``, ``_`` and ``:`` need no quotes."""
    return "{" + ",".join(lookups) + "}"
