"""The records of an SQL server as a check of them (``checking``) wants them shown, set aside and written.

Theory of operation. Nothing is locked while it reads; what it mends it looks at once more, under all locks or by a
commit like any other. What finds a record again is its key as the database has it, and its stamp. What is set aside
goes to the table ``quarantine``, as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from ...contract.changes import Changes
from ...contract.optimistic import Commit
from ...errors import UNREADABLE
from .checking import RecordCheck, Seen, Steps, Stored, shown
from .findings import Findings, Progress
from .kinds import Kind
from .locking import ABSENT, part_of
from .pools import Exchange
from .sql_server import SqlBackend

BATCH = 1000


def checking_records(
    backend: SqlBackend,
    findings: Findings,
    fix: bool,
    progress: Progress | None,
    heard: Callable[[Any], None] = lambda stamp: None,
) -> Exchange[None]:
    """Look at every record.

    Args:
        backend: keeps them.
        findings: told of each thing that is wrong.
        fix: whether to mend what can be mended.
        progress: told how far it is, if given.
        heard: called with the stamp of each record that can be read.
    """
    rows = yield from backend.asking(f"SELECT key_id FROM {backend.prefix}peppers")
    recorded = {backend.plain(key_id) for (key_id,) in rows}
    records = _Records(backend, heard)
    check = RecordCheck(records, findings, recorded, fix=fix, progress=progress)
    yield from check.run(0, (yield from backend.count()))


class _Records:
    """The records of a name space, as ``Inspected`` has them; a handle is a key as it came, and all that it said."""

    def __init__(self, backend: SqlBackend, heard: Callable[[Any], None]) -> None:
        self._backend = backend
        self._heard = heard

    def scan(self, kind: Kind) -> Iterator[Steps[Sequence[Stored]]]:
        """Return all records in order of their keys."""
        after: list[Any] = [""]
        while after[0] is not None:
            yield self._batch(kind, after)

    def _batch(self, kind: Kind, after: list[Any]) -> Steps[Sequence[Stored]]:
        rows = yield from self._backend.batch(kind, after[0], BATCH)
        after[0] = rows[-1][0] if len(rows) == BATCH else None
        return [self._read(kind, row) for row in rows]

    def _read(self, kind: Kind, row: Sequence[Any]) -> Stored:
        backend = self._backend
        columns = backend.columns_in(row)
        key, handle = shown(backend.plain(row[0])), (row[0], columns)
        is_in_place = isinstance(columns[0], str) and backend.kept(columns[0]) == row[0]
        told = columns[:-2] if is_in_place else ()  # else it says nothing that we would have written there
        try:
            record = backend.read(kind, row)
        except UNREADABLE as error:
            return Stored(key, handle, told, None, error)
        self._heard(columns[-1])
        return Stored(key, handle, told, record)

    def get(self, kind: Kind, keys: Collection[str]) -> Steps[dict[str, Stored]]:
        """Return those of some records that are there."""
        backend = self._backend
        kept = {backend.kept(key): key for key in keys}
        table, places = f"{backend.prefix}{kind.table}", ", ".join(["%s"] * len(kept))
        found = f"SELECT {backend.selected(kind, 'r')} FROM {table} r WHERE r.{kind.key} IN ({places})"
        rows = yield from backend.asking(found, *kept)
        return {kept[row[0]]: self._read(kind, row) for row in rows}

    def entry_key(self, owner: str) -> str:
        """Return the owner as the database has it."""
        return shown(self._backend.plain(self._backend.kept(owner)))

    def now(self) -> Steps[int]:
        """Return the server's instant."""
        return (yield from self._backend.instant())

    def set_aside(
        self, kind: Kind, stored: Stored, reason: str, changes: Changes | None, seen: Sequence[Seen]
    ) -> Steps[bool]:
        """Move a row to the table ``quarantine``, if it and all else are still as they were seen."""
        backend, (key, columns) = self._backend, stored.handle
        yield from backend.begin()
        yield from backend.locking_all()
        is_as_seen = yield from self._is_there(kind, key, stored)
        for of_kind, other, was in seen:
            is_as_seen = is_as_seen and (yield from self._is_there(of_kind, backend.kept(other), was))
        if not is_as_seen:
            yield from backend.asking("ROLLBACK")
            return False
        into = f"INSERT INTO {backend.prefix}quarantine VALUES ({backend.words.now}, %s, %s, %s, %s)"
        yield from backend.asking(into, kind.table, key, reason, json.dumps(columns))
        gone = f"DELETE FROM {backend.prefix}{kind.table} WHERE {backend.column(kind.key)} = %s"
        yield from backend.asking(gone, key)
        if changes is not None:
            yield from backend.writing(changes)
        yield from backend.asking("COMMIT", lasts=True)
        return True

    def _is_there(self, kind: Kind, key: Any, was: Stored | None) -> Steps[bool]:
        """Whether a record is as it was seen, which may be not at all."""
        backend = self._backend
        found = f"SELECT stamp FROM {backend.prefix}{kind.table} WHERE {backend.column(kind.key)} = %s"
        rows = yield from backend.asking(found, key)
        return [stamp for (stamp,) in rows] == ([] if was is None else [was.handle[1][-1]])

    def write(self, changes: Changes, seen: Sequence[Seen]) -> Steps[bool]:
        """Write like any command."""
        stamps = {
            (part_of(kind), key): ABSENT if stored is None else str(stored.handle[1][-1]) for kind, key, stored in seen
        }
        outcomes = yield from self._backend.commit([Commit(changes, stamps, 0)])
        return outcomes[0] is True
