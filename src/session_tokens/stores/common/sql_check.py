"""The records of a store in tables as a check of them (``checking``) wants them shown, set aside and written.

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
from .sql_upkeep import SqlUpkeep

BATCH = 1000


def checking_records(
    upkeep: SqlUpkeep,
    findings: Findings,
    fix: bool,
    progress: Progress | None,
    heard: Callable[[Kind, Sequence[Any]], None] = lambda kind, columns: None,
    space: str = "",
    done: int = 0,
    total: int | None = None,
) -> Exchange[int]:
    """Look at every record; return how many were read by now.

    Args:
        upkeep: keeps them.
        findings: told of each thing that is wrong.
        fix: whether to mend what can be mended.
        progress: told how far it is, if given.
        heard: called with kind and columns of each record that can be read.
        space: the name space, for the findings.
        done: how many records were read before.
        total: how many there will be at the end, if it is known.
    """
    rows = yield from upkeep.asking(f"SELECT key_id FROM {upkeep.shared_prefix}peppers")
    recorded = {upkeep.plain(key_id) for (key_id,) in rows}
    records = _Records(upkeep, heard)
    check = RecordCheck(records, findings, recorded, fix=fix, progress=progress, space=space)
    return (yield from check.run(done, (yield from upkeep.count()) if total is None else total))


class _Records:
    """The records of a name space, as ``Inspected`` has them; a handle is a key as it came, and all that it said."""

    def __init__(self, upkeep: SqlUpkeep, heard: Callable[[Kind, Sequence[Any]], None]) -> None:
        self._upkeep = upkeep
        self._heard = heard

    def scan(self, kind: Kind) -> Iterator[Steps[Sequence[Stored]]]:
        """Return all records in order of their keys."""
        after, is_first = list[Any]([None]), True
        while is_first or after[0] is not None:
            is_first = False
            yield self._batch(kind, after)

    def _batch(self, kind: Kind, after: list[Any]) -> Steps[Sequence[Stored]]:
        rows = yield from self._upkeep.batch(kind, after[0], BATCH)
        after[0] = rows[-1][0] if len(rows) == BATCH else None
        return [self._read(kind, row) for row in rows]

    def _read(self, kind: Kind, row: Sequence[Any]) -> Stored:
        upkeep = self._upkeep
        columns = upkeep.columns_in(row)
        key, handle = shown(upkeep.plain(row[0])), (row[0], columns)
        is_in_place = isinstance(columns[0], str) and upkeep.kept(columns[0]) == row[0]
        told = (
            columns[: len(kind.columns)] if is_in_place else ()
        )  # else it says nothing that we would have written there
        try:
            record = upkeep.read(kind, row)
        except UNREADABLE as error:
            return Stored(key, handle, told, None, error)
        self._heard(kind, columns)
        return Stored(key, handle, told, record)

    def get(self, kind: Kind, keys: Collection[str]) -> Steps[dict[str, Stored]]:
        """Return those of some records that are there."""
        upkeep = self._upkeep
        kept = {upkeep.kept(key): key for key in keys}
        table, places = f"{upkeep.prefix}{kind.table}", ", ".join(["%s"] * len(kept))
        found = f"SELECT {upkeep.selected(kind, 'r')} FROM {table} r WHERE r.{kind.key} IN ({places})"
        rows = yield from upkeep.asking(found, *kept)
        return {kept[row[0]]: self._read(kind, row) for row in rows}

    def entry_key(self, owner: str) -> str:
        """Return the owner as the database has it."""
        return shown(self._upkeep.plain(self._upkeep.kept(owner)))

    def now(self) -> Steps[int]:
        """Return the server's instant."""
        return (yield from self._upkeep.instant())

    def set_aside(
        self, kind: Kind, stored: Stored, reason: str, changes: Changes | None, seen: Sequence[Seen]
    ) -> Steps[bool]:
        """Move a row to the table ``quarantine``, if it and all else are still as they were seen."""
        upkeep, (key, columns) = self._upkeep, stored.handle
        yield from upkeep.begin()
        yield from upkeep.locking_all()
        is_as_seen = yield from self._is_there(kind, key, stored)
        for of_kind, other, was in seen:
            is_as_seen = is_as_seen and (yield from self._is_there(of_kind, upkeep.kept(other), was))
        if not is_as_seen:
            yield from upkeep.end(False)
            return False
        table = upkeep.prefix.removeprefix(upkeep.shared_prefix) + kind.table
        into = f"INSERT INTO {upkeep.shared_prefix}quarantine VALUES ({upkeep.words.now}, %s, %s, %s, %s)"
        yield from upkeep.asking(into, table, key, reason, json.dumps(columns, default=repr))
        gone = f"DELETE FROM {upkeep.prefix}{kind.table} WHERE {upkeep.column(kind.key)} = %s"
        yield from upkeep.asking(gone, key)
        if changes is not None:
            yield from upkeep.writing(changes)
        yield from upkeep.end()
        return True

    def _is_there(self, kind: Kind, key: Any, was: Stored | None) -> Steps[bool]:
        """Whether a record is as it was seen, which may be not at all."""
        upkeep = self._upkeep
        found = f"SELECT {upkeep.words.stamp} FROM {upkeep.prefix}{kind.table} WHERE {upkeep.column(kind.key)} = %s"
        rows = yield from upkeep.asking(found, key)
        return [stamp for (stamp,) in rows] == ([] if was is None else [was.handle[1][-1]])

    def write(self, changes: Changes, seen: Sequence[Seen]) -> Steps[bool]:
        """Write like any command."""
        stamps = {
            (part_of(kind), key): ABSENT if stored is None else str(stored.handle[1][-1]) for kind, key, stored in seen
        }
        outcomes = yield from self._upkeep.commit([Commit(changes, stamps, 0)])
        return outcomes[0] is True
