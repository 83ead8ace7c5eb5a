"""The check of an SQLite file: its structure, its indexes, the MAC of every row, and tokens without their session."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from ...clock import Clock
from ...contract.changes import Changes
from ...contract.drive import drive_now
from ...crypto.minting import PepperKeyring
from ...errors import UNREADABLE, CorruptRecord
from ..common.checking import RecordCheck, Seen, Steps, Stored, shown
from ..common.findings import Finding, Findings, Progress
from ..common.kinds import KINDS, OWNER, Kind
from ..common.record_codec import check_mac, mac_of
from ..common.sql_tables import SIGNED, columns_of, index_statements
from .commit import Applier
from .connections import DAMAGED_REMEDY
from .rows import DIALECT, any_text
from .schema import recorded_peppers, spaces_of

BATCH = 500
TABLES = [kind.table for kind in KINDS.values()]


def check_file(
    connection: sqlite3.Connection,
    keyring: PepperKeyring,
    clock: Clock,
    progress: Progress | None,
    *,
    fix: bool,
) -> list[Finding]:
    """Return what is wrong with a file, and mend it where asked; see ``SqliteStore.check``."""
    findings = Findings(fix)
    foundations = _Foundations(connection, findings, fix)
    connection.execute("BEGIN IMMEDIATE" if fix else "BEGIN")
    connection.text_factory = any_text  # a text that is not UTF-8 is found, and stops nothing
    try:
        for table_prefix in spaces_of(connection):
            foundations.indexes(table_prefix)
        foundations.structure()
        done, total = 0, sum(_count(connection, table_prefix) for table_prefix in spaces_of(connection))
        for table_prefix in spaces_of(connection):
            space = table_prefix.rstrip("_")
            rows = _Rows(connection, table_prefix, keyring, clock, fix)
            check = RecordCheck(rows, findings, recorded_peppers(connection), fix=fix, progress=progress, space=space)
            done = drive_now(check.run(done, total), _nothing)
            rows.tell_older(findings, space)
    except BaseException as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.DatabaseError) and _is_damage(error):
            raise CorruptRecord(
                f"the database {_file_of(connection)} is damaged; {_what_is_left(connection)}"
            ) from error
        raise
    finally:
        connection.text_factory = str
    connection.execute("COMMIT")
    return findings.all


def _count(connection: sqlite3.Connection, table_prefix: str) -> int:
    counts = ", ".join(f"(SELECT count(*) FROM {table_prefix}{table})" for table in TABLES)
    return sum(connection.execute(f"SELECT {counts}").fetchone())


def _nothing(_: object) -> None:
    """Carry out what a script of this store yields: none does."""


def _file_of(connection: sqlite3.Connection) -> str:
    file: str = connection.execute("PRAGMA database_list").fetchone()[2]
    return file


def _is_damage(error: sqlite3.Error) -> bool:
    return bool(getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CORRUPT)


def _what_is_left(connection: sqlite3.Connection) -> str:
    """Return how many records of a damaged file can still be read, and what is done about it."""
    try:
        names = [table_prefix + table for table_prefix in spaces_of(connection) for table in TABLES]
        counts = {name: _readable_count(connection, name) for name in names}
    except sqlite3.DatabaseError:  # not even what tables there are
        counts = {}
    told = ", ".join(f"{count} of {name}" for name, count in counts.items() if count)
    return f"of its rows can be read: {told or 'none'}; {DAMAGED_REMEDY}"


def _readable_count(connection: sqlite3.Connection, table: str) -> int:
    """Return how many rows can be read from the beginning of a table up to its damage, and from its end down to it."""
    (made,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    place = "1" if "WITHOUT ROWID" in made else "rowid"  # the first column is the key
    count = 0
    for order in ("ASC", "DESC"):
        try:
            for _ in connection.execute(
                f"SELECT {'*' if place == '1' else 'rowid, mac'} FROM {table} NOT INDEXED ORDER BY {place} {order}"
            ):
                count += 1
        except sqlite3.DatabaseError:
            continue
        break
    return count


def _bound(key: object) -> tuple[str, object]:
    """Return how a key stands in a statement, and its value there; ``any_text`` read it, so it may be no UTF-8."""
    return ("CAST(? AS TEXT)", key.encode("utf-8", "surrogateescape")) if isinstance(key, str) else ("?", key)


class _Foundations:
    """A look at what the rows of a file rest on, in one transaction."""

    def __init__(self, connection: sqlite3.Connection, findings: Findings, fix: bool) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._findings = findings
        self._fix = fix

    def structure(self) -> None:
        """Ask SQLite whether pages, rows and indexes agree; make the indexes anew where not."""
        damages = [row[0] for row in self._execute("PRAGMA integrity_check(100)").fetchall() if row[0] != "ok"]
        if damages and self._fix:
            self._execute("REINDEX")
        left = damages
        if damages and self._fix:
            left = [row[0] for row in self._execute("PRAGMA integrity_check(100)").fetchall() if row[0] != "ok"]
        if left:
            self._findings.add(Finding("file", "", f"the file is damaged; {DAMAGED_REMEDY}", None, "structure"))
        for damage in damages:
            fixed = None if damage in left else "made the indexes anew"
            self._findings.add(Finding("file", "", damage, fixed, "structure"))

    def indexes(self, table_prefix: str) -> None:
        """See that each index is there, is defined as it should be, and holds what its table holds."""
        there = dict(self._execute("SELECT name, sql FROM sqlite_master WHERE type = 'index'").fetchall())
        for name, kind, _, where, text in index_statements(KINDS.values(), DIALECT, table_prefix, table_prefix):
            table = table_prefix + kind.table
            if name not in there:
                said, remedy = "it is missing", [text]
            elif there[name] != text:
                said, remedy = "it is defined in another way", [f"DROP INDEX {name}", text]
            elif self._differs(name, table, where):
                said, remedy = "it does not hold what its table holds", [f"REINDEX {name}"]
            else:
                continue
            if self._fix:
                for step in remedy:
                    self._execute(step)
            self._findings.add(Finding("index", name, said, "made anew" if self._fix else None, "index"))

    def _differs(self, name: str, table: str, where: str) -> bool:
        """Whether an index and its table hold different rows; of one index alone, damage is a difference.

        SQLite takes a condition that is the index's own to hold for each of its entries, and so adds up all of them.
        Its own check says nothing of too many entries in a partial index from 3.46 on.
        """
        add_up = f"SELECT count(*), total(rowid) FROM {table} {{}} WHERE {where}"
        by_table = self._execute(add_up.format("NOT INDEXED")).fetchone()
        try:
            by_index: object = self._execute(add_up.format(f"INDEXED BY {name}")).fetchone()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            return True
        return bool(by_index != by_table)


class _Rows:
    """The rows of a name space, as ``Inspected`` has them; all of a check is one transaction."""

    def __init__(
        self, connection: sqlite3.Connection, table_prefix: str, keyring: PepperKeyring, clock: Clock, fix: bool
    ) -> None:
        self._execute = connection.execute
        self._prefix = table_prefix
        self._keyring = keyring
        self._clock = clock
        self._fix = fix
        self._applier = Applier(connection, table_prefix, keyring)
        self._older: dict[Kind, int] = {}

    def scan(self, kind: Kind) -> Iterator[Steps[Sequence[Stored]]]:
        """Return all rows from the least key on, which may be none that we would give."""
        page = f"SELECT {columns_of(kind)} FROM {self._prefix}{kind.table} {{}} ORDER BY {kind.key} LIMIT {BATCH}"
        where, values = "", tuple[object, ...]()
        while rows := self._execute(page.format(where), values).fetchall():
            yield self._stored(kind, rows)
            place, value = _bound(rows[-1][0])
            where = f"WHERE {kind.key} > {place}" if value is not None else f"WHERE {kind.key} IS NOT ?"
            values = (value,)

    def _stored(self, kind: Kind, rows: Sequence[tuple[Any, ...]]) -> Steps[Sequence[Stored]]:
        yield from ()
        return [self._read(kind, row) for row in rows]

    def _read(self, kind: Kind, row: tuple[Any, ...]) -> Stored:
        name, columns = self._prefix + kind.table, row[:-1]
        told = columns if kind is not OWNER or shown(row[0]) == row[0] else ()
        try:
            check_mac(self._keyring, name, columns, row[-1])
            record = kind.record(columns, self._clock)
        except UNREADABLE as error:
            return Stored(shown(row[0]), row, told, None, error)
        if not str(row[-1]).startswith(self._keyring.current + ":"):
            self._older[kind] = self._older.get(kind, 0) + 1
            if self._fix:
                mac = mac_of(self._keyring, name, columns)
                self._execute(f"UPDATE {name} SET {SIGNED} = ? WHERE {kind.key} = ?", (mac, row[0]))
        return Stored(shown(row[0]), row, told, record)

    def tell_older(self, findings: Findings, space: str) -> None:
        """Report rows that are signed under an older pepper."""
        for kind, count in self._older.items():
            said = f"{count} rows are signed under an older pepper; that is fine as long as it is given"
            fixed = "signed under the current one" if self._fix else None
            findings.add(Finding(kind.name, "", said, fixed, "older_pepper", space))

    def get(self, kind: Kind, keys: Collection[str]) -> Steps[dict[str, Stored]]:
        """Return those of some rows that are there."""
        yield from ()
        found = {}
        for key in keys:
            query = f"SELECT {columns_of(kind)} FROM {self._prefix}{kind.table} WHERE {kind.key} = ?"
            row = self._execute(query, (key,)).fetchone()
            if row is not None:
                found[key] = self._read(kind, row)
        return found

    def entry_key(self, owner: str) -> str:
        """Return the owner."""
        return shown(owner)

    def now(self) -> Steps[int]:
        """Return the instant."""
        yield from ()
        return self._clock.now()

    def set_aside(
        self, kind: Kind, stored: Stored, reason: str, changes: Changes | None, seen: Sequence[Seen]
    ) -> Steps[bool]:
        """Move a row to the table ``quarantine``."""
        name = self._prefix + kind.table
        values = (self._clock.now(), name, reason, json.dumps(stored.handle, default=repr))
        self._execute("INSERT INTO quarantine VALUES (?, ?, ?, ?)", values)
        place, value = _bound(stored.handle[0])
        self._execute(f"DELETE FROM {name} WHERE {kind.key} IS {place}", (value,))
        return changes is None or (yield from self.write(changes, seen))

    def write(self, changes: Changes, seen: Sequence[Seen]) -> Steps[bool]:
        """Write changes: nothing moves in a transaction."""
        yield from ()
        self._applier.apply(changes, self._clock.now())
        return True
