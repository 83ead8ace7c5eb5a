"""Looking an SQLite file over: its structure, its indexes, the MAC of every row, and tokens without their session."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ...clock import Clock
from ...contract.lost_entries import WRITTEN_ANEW, end_after_loss
from ...crypto.minting import PepperKeyring
from ...errors import UNREADABLE, CorruptRecord, UnknownPepper
from ...records import OwnerEntry, Session, Token
from ..common.kinds import KINDS, OWNER, SESSION, TOKEN, Kind
from ..common.record_codec import check_mac, mac_of, session_of, token_of, token_row
from ..common.sql_tables import SIGNED, columns_of, index_statements
from .commit import Applier
from .connections import DAMAGED_REMEDY
from .rows import any_text
from .schema import DIALECT, recorded_peppers, spaces_of

BATCH = 500
IN_ORDER = (*(kind for kind in KINDS.values() if kind is not OWNER), OWNER)
"""Entries come after the sessions that tell of them."""
TABLES = [kind.table for kind in KINDS.values()]
FINDINGS_MAX = 1_000
"""Findings that are answered; more are counted in one last finding."""

Progress = Callable[[int, int], None]
"""``progress(done, total)`` rows."""


class Finding(NamedTuple):
    """One thing that is not as it should be.

    Attributes:
        kind: ``structure``, ``index``, ``forged``, ``malformed``, ``unknown_pepper``, ``orphan``, ``lost_entry``,
            ``older_pepper`` or ``more``.
        table: where, empty for the whole file.
        key: the id or key of the row, ``None`` where it is no single row.
        message: what is wrong, for people; never a secret.
        fixed: what was done about it, ``None`` where nothing was.
    """

    kind: str
    table: str
    key: str | None
    message: str
    fixed: str | None = None

    def __str__(self) -> str:
        where = " ".join(word for word in (self.table, self.key) if word)
        return f"{where or 'file'}: {self.message}" + (f" ({self.fixed})" if self.fixed else "")


def check_file(
    connection: sqlite3.Connection,
    keyring: PepperKeyring,
    clock: Clock,
    progress: Progress | None,
    *,
    fix: bool,
) -> list[Finding]:
    """Return what is wrong with a file, and mend it where asked; see ``SqliteStore.check``."""
    check = _Check(connection, keyring, clock, progress, fix)
    connection.execute("BEGIN IMMEDIATE" if fix else "BEGIN")
    connection.text_factory = any_text  # a text that is not UTF-8 is found, and stops nothing
    try:
        for table_prefix in spaces_of(connection):
            check.indexes(table_prefix)
        check.structure()
        for table_prefix in spaces_of(connection):
            for kind in IN_ORDER:
                check.rows(table_prefix, kind)
            check.lost_entries(table_prefix)
            check.orphans(table_prefix)
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
    return check.findings


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


def _is_utf_8(text: object) -> bool:
    """Whether a value is text that an owner may have."""
    try:
        return isinstance(text, str) and bool(text.encode())
    except UnicodeEncodeError:
        return False


class _Check:
    """One look over a file, in one transaction."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        keyring: PepperKeyring,
        clock: Clock,
        progress: Progress | None,
        fix: bool,
    ) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._keyring = keyring
        self._clock = clock
        self._progress = progress
        self._fix = fix
        self._done = 0
        self._total = 0
        self._unlisted = 0
        self._recorded = frozenset(recorded_peppers(connection))
        self._found: list[Finding] = []
        self._untold: dict[str, int] = {}
        """Owners of the name space → the latest epoch of a session of theirs, until their entry tells of it."""

    @property
    def findings(self) -> list[Finding]:
        """What was found, at most ``FINDINGS_MAX`` and one that counts the rest."""
        if not self._unlisted:
            return self._found
        more = Finding("more", "", None, f"{self._unlisted} more of the same kinds", "as those" if self._fix else None)
        return [*self._found, more]

    def _add(self, kind: str, table: str, key: object, message: str, fixed: str | None = None) -> None:
        if len(self._found) >= FINDINGS_MAX:
            self._unlisted += 1
        else:
            shown = key if key is None or _is_utf_8(key) else ascii(key)
            self._found.append(Finding(kind, table, None if shown is None else str(shown), message, fixed))

    def structure(self) -> None:
        """Ask SQLite whether pages, rows and indexes agree; make the indexes anew where not."""
        for table_prefix in spaces_of(self._connection):
            for table in TABLES:
                self._total += self._execute(f"SELECT count(*) FROM {table_prefix}{table}").fetchone()[0]
        damages = [row[0] for row in self._execute("PRAGMA integrity_check(100)").fetchall() if row[0] != "ok"]
        if damages and self._fix:
            self._execute("REINDEX")
        left = damages
        if damages and self._fix:
            left = [row[0] for row in self._execute("PRAGMA integrity_check(100)").fetchall() if row[0] != "ok"]
        if left:
            self._add("structure", "", None, f"the file is damaged; {DAMAGED_REMEDY}")
        for damage in damages:
            self._add("structure", "", None, damage, None if damage in left else "made the indexes anew")

    def indexes(self, table_prefix: str) -> None:
        """See that each index is there, is defined as it should be, and holds what its table holds."""
        there = dict(self._execute("SELECT name, sql FROM sqlite_master WHERE type = 'index'").fetchall())
        for name, kind, _, where, text in index_statements(KINDS.values(), DIALECT, table_prefix, table_prefix):
            table = table_prefix + kind.table
            if name not in there:
                said, remedy = f"the index {name} is missing", [text]
            elif there[name] != text:
                said, remedy = f"the index {name} is defined in another way", [f"DROP INDEX {name}", text]
            elif self._differs(name, table, where):
                said, remedy = f"the index {name} does not hold what its table holds", [f"REINDEX {name}"]
            else:
                continue
            if self._fix:
                for step in remedy:
                    self._execute(step)
            self._add("index", table, None, said, "made anew" if self._fix else None)

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

    def rows(self, table_prefix: str, kind: Kind) -> None:
        """See that each row is as someone with the pepper wrote it, and means a record."""
        name, key, older = table_prefix + kind.table, kind.key, 0
        for row in self._all_rows(name, key, columns_of(kind)):
            try:
                check_mac(self._keyring, name, row[:-1], row[-1])
                self._decode(kind, row[:-1])
            except UNREADABLE as error:
                self._unreadable(table_prefix, kind, row, error)
                continue
            if not str(row[-1]).startswith(self._keyring.current + ":"):
                older += 1
                if self._fix:
                    mac = mac_of(self._keyring, name, row[:-1])
                    self._execute(f"UPDATE {name} SET mac = ? WHERE {key} = ?", (mac, row[0]))
        if older:
            message = f"{older} rows are signed under an older pepper; that is fine as long as it is given"
            self._add("older_pepper", name, None, message, "signed under the current one" if self._fix else None)

    def _unreadable(
        self, table_prefix: str, kind: Kind, row: tuple[object, ...], error: CorruptRecord | UnknownPepper
    ) -> None:
        """Set a row aside, but for one that lives for who has its pepper."""
        name, is_entry = table_prefix + kind.table, kind is OWNER
        if is_entry:
            self._untold.pop(str(row[0]), None)
        if error.details.get("key_id") in self._recorded:
            self._add("unknown_pepper", name, row[0], str(error))
            return
        what = "malformed" if error.details.get("malformed") else "forged"
        done = self._set_aside(name, kind.key, row, str(error))
        if is_entry and done is not None and _is_utf_8(row[0]):
            done = f"{done}; {self._write_anew(table_prefix, str(row[0]), None)}"
        self._add(what, name, row[0], str(error), done)

    def _all_rows(self, name: str, key: str, columns: str) -> Iterator[tuple[object, ...]]:
        page = f"SELECT {columns} FROM {name} {{}} ORDER BY {key} LIMIT {BATCH}"
        where = ""  # from the least on, which may be none that we would give
        values: tuple[object, ...] = ()
        while rows := self._execute(page.format(where), values).fetchall():
            yield from rows
            place, value = _bound(rows[-1][0])
            where = f"WHERE {key} > {place}" if value is not None else f"WHERE {key} IS NOT ?"
            values = (value,)
            self._done += len(rows)
            if self._progress is not None:
                self._progress(self._done, max(self._total, self._done))

    def _decode(self, kind: Kind, row: tuple[object, ...]) -> None:
        record = kind.record(row, self._clock)
        if isinstance(record, Session):
            if record.owner_epoch > self._untold.get(record.owner, 0):
                self._untold[record.owner] = record.owner_epoch
        elif isinstance(record, OwnerEntry) and self._untold.get(record.owner, 0) <= record.epoch:
            self._untold.pop(record.owner, None)

    def _set_aside(self, name: str, key: str, row: tuple[object, ...], reason: str) -> str | None:
        if not self._fix:
            return None
        values = (self._clock.now(), name, reason, json.dumps(row, default=repr))
        self._execute("INSERT INTO quarantine VALUES (?, ?, ?, ?)", values)
        place, value = _bound(row[0])
        self._execute(f"DELETE FROM {name} WHERE {key} IS {place}", (value,))
        return "moved to quarantine"

    def lost_entries(self, table_prefix: str) -> None:
        """See that no session was opened under a later epoch than its owner's entry tells, where there is one."""
        name = f"{table_prefix}{OWNER.table}"
        for owner, epoch in self._untold.items():
            row = self._execute(f"SELECT {columns_of(OWNER)} FROM {name} WHERE owner = ?", (owner,)).fetchone()
            fixed = self._write_anew(table_prefix, owner, None if row is None else OwnerEntry(*row[:-1]))
            said = f"a session was opened under its epoch {epoch}, which its entry does not know"
            self._add("lost_entry", name, owner, said, fixed)
        self._untold.clear()

    def _write_anew(self, table_prefix: str, owner: str, known: OwnerEntry | None) -> str | None:
        """Write an owner's entry where theirs was lost, so that what ended by it stays ended."""
        if not self._fix:
            return None
        name = f"{table_prefix}{SESSION.table}"
        epochs = [epoch for (epoch,) in self._execute(f"SELECT owner_epoch FROM {name} WHERE owner = ?", (owner,))]
        rows = self._execute(
            f"SELECT {columns_of(SESSION)} FROM {name} WHERE owner = ? ORDER BY created_at, id", (owner,)
        )
        first = next((session for row in rows if (session := self._session(name, row)) is not None), None)
        changes = end_after_loss(owner, known, epochs, first, self._clock.now())
        Applier(self._connection, table_prefix, self._keyring).apply(changes, self._clock.now())
        return WRITTEN_ANEW

    def _session(self, name: str, row: tuple[object, ...]) -> Session | None:
        """Return the session of a row, ``None`` for what cannot be read."""
        try:
            check_mac(self._keyring, name, row[:-1], row[-1])
            return session_of(row[:-1], self._clock)
        except UNREADABLE:
            return None

    def orphans(self, table_prefix: str) -> None:
        """See that each token that names a session has it; without it, it is written down as what it counts as."""
        name = f"{table_prefix}tokens"
        orphans = self._execute(
            f"SELECT {columns_of(TOKEN, 't')} FROM {name} t LEFT JOIN {table_prefix}sessions s ON s.id = t.session_id "
            "WHERE t.session_id IS NOT NULL AND s.id IS NULL"
        ).fetchall()
        for row in orphans:
            try:
                check_mac(self._keyring, name, row[:-1], row[-1])
                token = token_of(row[:-1])
            except UNREADABLE:
                continue  # told with the rows
            left = token.as_of(self._clock.now(), None, None)
            said = f"its session {token.session_id} is not there; it {'is dead' if left is None else 'is unassigned'}"
            fixed = self._set_aside(name, "id", row, said) if left is None else self._put(name, left)
            self._add("orphan", name, token.id, said, fixed)

    def _put(self, name: str, token: Token) -> str | None:
        if not self._fix:
            return None
        row = token_row(token)
        values = ", ".join(f"{column} = ?" for column in (*TOKEN.names, SIGNED))
        self._execute(f"UPDATE {name} SET {values} WHERE id = ?", (*row, mac_of(self._keyring, name, row), token.id))
        return "written down as unassigned"
