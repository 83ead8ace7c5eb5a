"""What the rows of MariaDB or MySQL mean: columns become records whose MAC is right, with the stamps of answers.

A row of a table is its columns in the order of ``kinds``, its MAC and its stamp. What comes back is compared
with what was asked for: an index that someone has bent could otherwise lead from one secret to another's row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import xor
from typing import Any, TypeVar

from ...clock import Clock
from ...contract.queries import NO_SESSION, NO_TOKEN, Result, SessionResult, TokenResult, Unreadable
from ...contract.unreadable import Unreadables
from ...crypto.minting import Keyring
from ...errors import UNREADABLE, CorruptRecord
from ...records import OwnerEntry, Session, Token
from ..common.generational_cache import GenerationalCache
from ..common.kinds import OWNER, SERVICE_KEY, SESSION, SETTING, TOKEN, Kind
from ..common.locking import ABSENT, Part
from ..common.record_codec import check_mac, unreadable_of
from ..common.sql_tables import columns_of
from .statements import plain
from .tables import STAMP

T = TypeVar("T")
Row = tuple[Any, ...]

KNOWN_MAX = 4_096
"""Rows of one generation that are remembered to be genuine."""


def width(kind: Kind) -> int:
    """Return how many columns a row has, its MAC and stamp among them."""
    return len(kind.columns) + 2


def selected(kind: Kind, letter: str) -> str:
    """Return the columns of a row as they stand in a SELECT."""
    return f"{columns_of(kind, letter)}, {letter}.{STAMP}"


def set_stamp(count: int, stamps: int) -> str:
    """Return the stamp of a set from how many members it has and the exclusive or of their stamps.

    The stamp of each record is a random number, another one each time that it is written.
    """
    return f"{count}:{stamps}" if count else ABSENT


_SESSION_WIDTH, _TOKEN_WIDTH, _OWNER_WIDTH = width(SESSION), width(TOKEN), width(OWNER)


class Decoder:
    """Makes records of the rows of one store, checking the MAC of each.

    Args:
        keyring: holds the peppers that the MACs were made with.
        clock: goes into sessions, for their time left.
        unreadables: gets each record that is left out of a list because it cannot be read.
    """

    def __init__(self, keyring: Keyring, clock: Clock, unreadables: Unreadables) -> None:
        self._keyring = keyring
        self._clock = clock
        self._unreadables = unreadables
        self._known: GenerationalCache[tuple[str, Any], tuple[Row, Any]] = GenerationalCache(KNOWN_MAX)

    def record(self, kind: Kind, raw: Row) -> tuple[Any, str]:
        """Return the record of a row whose MAC is right, and its stamp."""
        place = (kind.table, raw[0])
        known = self._known.get(place)
        if known is not None and known[0] == raw:
            return known[1], str(raw[-1])
        *columns, mac = map(plain, raw[:-1])
        row = tuple(columns)
        check_mac(self._keyring, kind.table, row, mac)
        record = kind.record(row, self._clock)
        self._known.keep(place, (raw, record))
        return record, str(raw[-1])

    def one(self, kind: Kind, rows: Sequence[Row], part: Part, place: int = 0) -> Result:
        """Return the one record that was asked for, ``None`` where there is none."""
        if not rows:
            return Result(None, ((part, ABSENT),))
        record, stamp = self.record(kind, rows[0])
        _same(record[place], part[1])
        return Result(record.text if kind is SETTING else record, ((part, stamp),))

    def session(self, rows: Sequence[Row], asked: Part | None) -> Result:
        """Return a session with its owner's entry, and the stamps of both."""
        if not rows:
            return Result(NO_SESSION, () if asked is None else ((asked, ABSENT),))
        session, stamp = self.record(SESSION, rows[0][:_SESSION_WIDTH])
        _compare(asked, session)
        entry, stamps = self._entry_of(session, rows[0][_SESSION_WIDTH:])
        return Result(SessionResult(session, entry), ((("session", session.id), stamp), *stamps))

    def token(self, rows: Sequence[Row], asked: Part | None) -> Result:
        """Return a token with its session, that one's owner's entry and its successor, and the stamps of all."""
        if not rows:
            return Result(NO_TOKEN, () if asked is None else ((asked, ABSENT),))
        token, stamp = self.record(TOKEN, rows[0][:_TOKEN_WIDTH])
        _compare(asked, token)
        stamps: list[tuple[Part, str]] = [(("token", token.id), stamp)]
        rest = rows[0][_TOKEN_WIDTH:]
        if rest[0] is None:
            if token.session_id is not None:
                stamps.append((("session", token.session_id), ABSENT))
            return Result(TokenResult(token, None, None), stamps)
        session, session_stamp = self.record(SESSION, rest[:_SESSION_WIDTH])
        _same(session.id, token.session_id)
        entry, of_entry = self._entry_of(session, rest[_SESSION_WIDTH : _SESSION_WIDTH + _OWNER_WIDTH])
        stamps += [(("session", session.id), session_stamp), *of_entry]
        heir, successor = None, session.details.successor
        if successor is not None:
            heir_row = rest[_SESSION_WIDTH + _OWNER_WIDTH :]
            heir_stamp = ABSENT
            if heir_row[0] is not None:
                heir, heir_stamp = self.record(SESSION, heir_row)
                _same((heir.id, heir.owner), (successor, session.owner))
            stamps.append((("session", successor), heir_stamp))
        return Result(TokenResult(token, session, entry, heir), stamps)

    def _entry_of(self, session: Session, row: Row) -> tuple[OwnerEntry | None, Sequence[tuple[Part, str]]]:
        entry, stamp = None, ABSENT
        if row[0] is not None:
            entry, stamp = self.record(OWNER, row)
            _same(entry.owner, session.owner)
        return entry, ((("entry", session.owner), stamp),)

    def members(self, kind: Kind, rows: Sequence[Row], part: Part, whose: Callable[[Any], object]) -> Result:
        """Return a set of records and its stamp.

        Args:
            kind: of the records.
            rows: of all members, those too that cannot be read.
            part: the set.
            whose: answers of a record what must be the end of the part's key.
        """
        records, left_out = self._readable(rows, lambda row: self.record(kind, row)[0])
        for record in records:
            _same(whose(record), part[1].partition(":")[2])
        stamp = set_stamp(len(rows), reduce(xor, (row[-1] for row in rows), 0))
        return Result(records, ((part, stamp),), left_out)

    def listing(self, rows: Sequence[Row], found: Callable[[Sequence[Row], None], Result]) -> Result:
        """Return the lines of a listing, each with what it is judged by; a listing has no stamp."""
        values, left_out = self._readable(rows, lambda row: found([row], None).value)
        return Result(values, (), left_out)

    def keys(self, rows: Sequence[Row]) -> Result:
        """Return all service keys."""
        keys, left_out = self._readable(rows, lambda row: self.record(SERVICE_KEY, row)[0])
        return Result(keys, (), left_out)

    def _readable(self, rows: Sequence[Row], decode: Callable[[Row], T]) -> tuple[list[T], list[Unreadable]]:
        """Return what rows say, and which of them say nothing that can be read; these are logged."""
        records: list[T] = []
        left_out: list[Unreadable] = []
        for row in rows:
            try:
                records.append(decode(row))
            except UNREADABLE as error:
                self._unreadables.met(error)
                left_out.append(unreadable_of((plain(row[0]),), error))
        return records, left_out


def _same(came: object, asked: object) -> None:
    if came != asked:
        raise CorruptRecord("the database answered a record that was not asked for; run session-tokens check --fix")


def _compare(asked: Part | None, record: Session | Token) -> None:
    """Refuse a record that was asked for by its id or look-up key and has another one."""
    if asked is not None:
        _same(record.lookup if asked[0].endswith("_lookup") else record.id, asked[1])
