"""What the rows of MariaDB or MySQL mean: columns become records whose MAC is right, with the stamps of answers.

A row of a table is its columns in the order of ``kinds``, its MAC and its stamp; several of them may stand in one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import xor
from typing import Any

from ...clock import Clock
from ...contract.generational_cache import GenerationalCache
from ...contract.unreadable import Unreadables
from ...crypto.minting import Keyring
from ..common.kinds import Kind
from ..common.locking import ABSENT
from ..common.record_codec import check_mac
from ..common.sealed_rows import record_in
from ..common.sql_results import Results
from ..common.sql_tables import columns_of
from .statements import plain
from .tables import STAMP

Row = tuple[Any, ...]

KNOWN_MAX = 4_096
"""Rows of one generation that are remembered to be genuine."""


def selected(kind: Kind, letter: str) -> str:
    """Return the columns of a row as they stand in a SELECT."""
    return f"{columns_of(kind, letter)}, {letter}.{STAMP}"


def set_stamp(count: int, stamps: int) -> str:
    """Return the stamp of a set from how many members it has and the exclusive or of their stamps.

    The stamp of each record is a random number, another one each time that it is written.
    """
    return f"{count}:{stamps}" if count else ABSENT


def split(row: Row, kinds: Sequence[Kind]) -> Iterator[Row | None]:
    """Yield the rows of kinds that stand in one line, ``None`` for what is not there."""
    at = 0
    for kind in kinds:
        begin, at = at, at + len(kind.columns) + 2
        yield None if row[begin] is None else row[begin:at]


class Decoder(Results[Row]):
    """Makes records of the rows of one store; see ``Results``."""

    def __init__(self, keyring: Keyring, clock: Clock, unreadables: Unreadables) -> None:
        super().__init__(keyring, clock, unreadables)
        self._known: GenerationalCache[tuple[str, Any], tuple[Row, Any]] = GenerationalCache(KNOWN_MAX)

    def record(self, kind: Kind, raw: Row) -> tuple[Any, int]:
        """Return the record of a row whose MAC is right, and its stamp."""
        place = (kind.table, raw[0])
        known = self._known.get(place)
        if known is not None and known[0] == raw:
            return known[1], raw[-1]
        *columns, mac = map(plain, raw[:-1])
        row = tuple(columns)
        check_mac(self.keyring, kind.table, row, mac)
        record = record_in(self.keyring, kind, row, self.clock)
        self._known.keep(place, (raw, record))
        return record, raw[-1]

    def columns(self, raw: Row) -> Sequence[Any]:
        """Return the columns of a row, its stamp the last."""
        return [plain(column) for column in raw]

    def set_stamp(self, members: Sequence[tuple[str, int]]) -> str:
        """Return the stamp of a set from those of its members."""
        return set_stamp(len(members), reduce(xor, (stamp for _, stamp in members), 0))
