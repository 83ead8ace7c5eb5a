"""The check of an SQLite file: its structure, its indexes, the MAC of every row, and tokens without their session."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from ...clock import Clock
from ...crypto.minting import PepperKeyring
from ...errors import CorruptRecord
from ..common.findings import Finding, Findings, Progress
from ..common.kinds import KINDS, Kind
from ..common.record_codec import mac_of
from ..common.sql_check import checking_records
from ..common.sql_tables import SIGNED, index_statements
from .connections import DAMAGED_REMEDY
from .rows import DIALECT, any_text
from .upkeep import SqliteUpkeep, spaces_of

TABLES = [kind.table for kind in KINDS.values()]


def check_file(
    connection: sqlite3.Connection,
    keyring: PepperKeyring,
    clock: Clock,
    progress: Progress | None,
    *,
    fix: bool,
) -> list[Finding]:
    """Return what is wrong with a file, and mend it where asked, in a transaction; see ``SqliteStore.check``."""
    findings = Findings(fix)
    foundations = _Foundations(connection, findings, fix)
    if not fix:
        connection.execute("BEGIN")
    connection.text_factory = any_text  # a text that is not UTF-8 is found, and stops nothing
    try:
        for table_prefix in spaces_of(connection):
            foundations.indexes(table_prefix)
        foundations.structure()
        spaces = [SqliteUpkeep(connection, space, keyring, clock) for space in spaces_of(connection)]
        done, total = 0, sum(space.at_once(space.count()) for space in spaces)
        for space in spaces:
            name, older = space.prefix.rstrip("_"), _Older(space, fix)
            done = space.at_once(checking_records(space, findings, fix, progress, older.heard, name, done, total))
            older.tell(findings, name)
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
    if not fix:
        connection.execute("COMMIT")
    return findings.all


class _Older:
    """Rows of a name space that are signed under an older pepper."""

    def __init__(self, space: SqliteUpkeep, fix: bool) -> None:
        self._space = space
        self._fix = fix
        self._counts: dict[Kind, int] = {}

    def heard(self, kind: Kind, columns: Sequence[Any]) -> None:
        """Count a row if it is one, and sign it anew where asked."""
        keyring, name = self._space.keyring, self._space.prefix + kind.table
        if str(columns[-1]).startswith(keyring.current + ":"):
            return
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if self._fix:
            mac = mac_of(keyring, name, columns[:-1])
            self._space.connection.execute(f"UPDATE {name} SET {SIGNED} = ? WHERE {kind.key} = ?", (mac, columns[0]))

    def tell(self, findings: Findings, space: str) -> None:
        """Report them."""
        for kind, count in self._counts.items():
            said = f"{count} rows are signed under an older pepper; that is fine as long as it is given"
            fixed = "signed under the current one" if self._fix else None
            findings.add(Finding(kind.name, "", said, fixed, "older_pepper", space))


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
