"""What a name space of an SQLite file is asked beside commands: copies, checks, peppers; see ``common.sql_upkeep``."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from ...clock import Clock
from ...contract.changes import Changes
from ...contract.drive import drive_now
from ...contract.event_log import LOOKED_AT_ONCE
from ...contract.optimistic import Commit
from ...crypto.minting import PepperKeyring
from ...events import Event, Place, event_id, event_of
from ..common.checking import shown
from ..common.kinds import Kind
from ..common.pools import Exchange
from ..common.record_codec import check_mac, mac_of
from ..common.sealed_rows import record_in
from ..common.sql_tables import SIGNED, columns_of
from ..common.sql_upkeep import Rows, SqlUpkeep, Words
from .commit import Applier
from .event_log import clear_events

T = TypeVar("T")


class SqliteUpkeep(SqlUpkeep):
    """What is asked over one connection, at once; within a transaction that is open, or in one of its own.

    Args:
        connection: used by nobody else meanwhile.
        table_prefix: how the names of the tables begin.
        keyring: the peppers.
        clock: the store's.
        name: of the store, for people.
        source: where the peppers come from, for people.
    """

    shared_prefix = ""

    def __init__(
        self,
        connection: sqlite3.Connection,
        table_prefix: str,
        keyring: PepperKeyring,
        clock: Clock,
        name: str = "the database",
        source: str = "this process",
    ) -> None:
        self.connection = connection
        self.prefix = table_prefix
        self.keyring = keyring
        self.name = name
        self.source = source
        self._clock = clock
        self._is_inside = connection.in_transaction

    @property
    def words(self) -> Words:
        """What is said in another way here; a MAC changes with each change of a record."""
        return Words(str(self._clock.now()), ("BEGIN IMMEDIATE",), "INSERT OR IGNORE INTO {}", stamp=SIGNED)

    def at_once(self, exchange: Exchange[T]) -> T:
        """Return what an exchange comes to, which never waits here."""
        return drive_now(exchange, _nothing)

    def asking(self, text: str, *values: object, lasts: bool = False) -> Exchange[Rows]:
        """Ask one statement; return its rows."""
        yield from ()
        first, *rest = text.split("%s")
        bound = list(map(_bound, values))
        text = first + "".join(place + part for (place, _), part in zip(bound, rest, strict=True))
        return self.connection.execute(text, [value for _, value in bound]).fetchall()

    def begin(self) -> Exchange[None]:
        """Begin a transaction, unless there is one around all of it."""
        if not self._is_inside:
            yield from super().begin()

    def end(self, is_done: bool = True) -> Exchange[None]:
        """Commit the transaction that was begun, or take it back."""
        if not self._is_inside:
            yield from super().end(is_done)

    def selected(self, kind: Kind, letter: str) -> str:
        """Return the columns of a record as they stand in a ``SELECT``, its MAC the last."""
        return columns_of(kind, letter)

    def read(self, kind: Kind, row: Sequence[Any]) -> Any:
        """Return the record in a row whose MAC is right."""
        check_mac(self.keyring, self.prefix + kind.table, row[:-1], row[-1])
        return record_in(self.keyring, kind, row[:-1], self._clock)

    def columns_in(self, row: Sequence[Any]) -> Sequence[Any]:
        """Return what a row says."""
        return row

    def kept(self, text: str) -> str:
        """Return text as it comes in rows; another one for what no text of ours can be."""
        return shown(text)

    def locking_all(self) -> Exchange[None]:
        """Return at once: nobody else writes in a transaction that may."""
        yield from ()

    def writing(self, changes: Changes) -> Exchange[None]:
        """Write changes."""
        yield from ()
        Applier(self.connection, self.prefix, self.keyring, {}).apply(changes, self._clock.now())

    def commit(self, commits: Sequence[Commit]) -> Exchange[Sequence[bool]]:
        """Write commands within the transaction that is open: nothing moves in it."""
        for commit in commits:
            yield from self.writing(commit.changes)
        return [True] * len(commits)

    def event_rows(self, after: Place) -> Exchange[Sequence[tuple[Place, str, str]]]:
        """Return place, text and MAC of some events after a place."""
        rows = yield from self.asking(
            f"SELECT number, text, mac FROM {self.prefix}events WHERE number > {after[0]:d} "
            f"ORDER BY number LIMIT {LOOKED_AT_ONCE}"
        )
        return [((number, 0), text, mac) for number, text, mac in rows]

    def event_in(self, place: Place, text: str, mac: str) -> Event:
        """Return the event in a row, whose MAC covers its place."""
        check_mac(self.keyring, f"{self.prefix}events", (event_id(place), text), mac)
        return event_of(place, text)

    def putting_event(self, place: Place, text: str) -> Exchange[Rows]:
        """Write the text of an event in the place of another."""
        mac = mac_of(self.keyring, f"{self.prefix}events", (event_id(place), text))
        return self.asking(f"UPDATE {self.prefix}events SET text = %s, mac = %s WHERE number = {place[0]:d}", text, mac)

    def clearing_events(self) -> Exchange[None]:
        """Delete all events, and note up to where."""
        yield from ()
        clear_events(self.connection, self.prefix)

    def forgetting_peppers(self) -> Exchange[None]:
        """Forget the peppers with the last of the name spaces: from then on the file may have other ones."""
        if not self.prefix:
            yield from super().forgetting_peppers()

    def holds_records(self) -> Exchange[bool]:
        """Whether there is any record in any name space."""
        for space in spaces_of(self.connection):
            if (yield from super(SqliteUpkeep, self._of(space)).holds_records()):
                return True
        return False

    def is_needed(self, key_id: str) -> Exchange[bool]:
        """Whether any row of any name space needs a pepper; reads the whole file when none does."""
        for space in spaces_of(self.connection):
            if (yield from super(SqliteUpkeep, self._of(space)).is_needed(key_id)):
                return True
        return False

    def _of(self, space: str) -> SqliteUpkeep:
        return SqliteUpkeep(self.connection, space, self.keyring, self._clock)


def spaces_of(connection: sqlite3.Connection) -> Iterator[str]:
    """Return how the names of the tables of each name space begin."""
    rows = connection.execute("SELECT substr(name, 7) FROM meta WHERE name LIKE 'space:%'").fetchall()
    return (table_prefix for (table_prefix,) in rows)


def _bound(value: object) -> tuple[str, object]:
    """Return how a value stands in a statement, and there; a text that was read as it came may be no UTF-8."""
    if isinstance(value, str) and shown(value) != value:
        return "CAST(? AS TEXT)", value.encode("utf-8", "surrogateescape")
    return "?", value


def _nothing(step: object) -> None:
    """Carry out what an exchange here yields: none does."""
