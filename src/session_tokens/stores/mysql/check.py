"""The check of a whole store: what a check of its records (``common/checking``) asks of MariaDB or MySQL.

Theory of operation. A check is an exchange over one connection. It looks at the tables and their indexes first, then at
every record. Nothing is locked while it reads; what it mends it looks at once more, under all locks or by a commit like
any other. What is set aside goes to the table ``quarantine``, as it was.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from ...contract.changes import Changes
from ...contract.optimistic import Commit
from ...crypto.minting import PepperKeyring
from ...errors import UNREADABLE
from ..common.checking import RecordCheck, Seen, Steps, Stored, shown
from ..common.findings import Finding, Findings, Progress
from ..common.kinds import KINDS, Kind
from ..common.locking import ABSENT, part_of
from ..common.pools import Exchange
from .commit import BEGIN, ROLLBACK, SLOTS, Writing, committing
from .rows import Decoder, selected
from .statements import NOW, Packet, literal, plain
from .tables import index_statements

BATCH = 1000


def checking(
    prefix: str, keyring: PepperKeyring, decoder: Decoder, fix: bool, progress: Progress | None
) -> Exchange[Sequence[Finding]]:
    """Return what is wrong, and mend what can be mended where ``fix``."""
    findings = Findings(fix)
    foundations = _Foundations(prefix, findings, fix)
    yield from foundations.indexes()
    yield from foundations.slots()
    counts = [f"SELECT COUNT(*) FROM {prefix}{kind.table}" for kind in KINDS.values()]
    peppers, *numbers = yield Packet([f"SELECT key_id FROM {prefix}peppers", *counts])
    recorded = {plain(key_id) for (key_id,) in peppers}
    records = _Records(prefix, keyring, decoder)
    check = RecordCheck(records, findings, recorded, fix=fix, progress=progress)
    yield from check.run(0, sum(rows[0][0] for rows in numbers))
    return findings.all


class _Foundations:
    """A look at what the records of a name space rest on."""

    def __init__(self, prefix: str, findings: Findings, fix: bool) -> None:
        self._prefix = prefix
        self._findings = findings
        self._fix = fix

    def _report(self, kind: str, id: str, said: str, done: str) -> None:
        what = "index" if kind == "index" else "foundation"
        self._findings.add(Finding(kind, id, said, done if self._fix else None, what))

    def indexes(self) -> Exchange[None]:
        """See that each index is there, and that each leads to what its table holds."""
        there = "SELECT DISTINCT table_name, index_name FROM information_schema.statistics"
        (rows,) = yield Packet([f"{there} WHERE table_schema = DATABASE()"])
        found = {(plain(table), plain(name)) for table, name in rows}
        for index in index_statements(self._prefix):
            if (self._prefix + index.kind.table, index.name) in found:
                continue
            if self._fix:
                yield Packet([index.text], lasts=True)
            self._report("index", index.name, "it is not there", "made anew")
        for kind in KINDS.values():
            name = self._prefix + kind.table
            (said,) = yield Packet([f"CHECK TABLE {name}"])
            wrong = [plain(text) for *_, kind, text in said if plain(kind) not in ("status", "note", "info")]
            if wrong:
                if self._fix:
                    yield Packet([f"ALTER TABLE {name} FORCE"], lasts=True)
                self._report("table", name, "; ".join(wrong), "made anew")

    def slots(self) -> Exchange[None]:
        """See that each row is there that stands for names in locks."""
        (((count,),),) = yield Packet([f"SELECT COUNT(*) FROM {self._prefix}slots"])
        if count == SLOTS:
            return
        if self._fix:
            rows = ", ".join(f"({slot})" for slot in range(SLOTS))
            yield Packet([f"INSERT IGNORE INTO {self._prefix}slots VALUES {rows}"], lasts=True)
        said = f"{count} of {SLOTS} rows are there; names that lead to the others cannot be locked"
        self._report("table", f"{self._prefix}slots", said, "filled up")


class _Records:
    """The records of a name space, as ``Inspected`` has them; what finds one again is its row as it came."""

    def __init__(self, prefix: str, keyring: PepperKeyring, decoder: Decoder) -> None:
        self._prefix = prefix
        self._keyring = keyring
        self._decoder = decoder

    def scan(self, kind: Kind) -> Iterator[Steps[Sequence[Stored]]]:
        """Return all records in order of their keys."""
        after: list[bytes | None] = [b""]
        while after[0] is not None:
            yield self._batch(kind, after)

    def _batch(self, kind: Kind, after: list[bytes | None]) -> Steps[Sequence[Stored]]:
        beyond = f"r.{kind.key} > X'{(after[0] or b'').hex()}' ORDER BY r.{kind.key} LIMIT {BATCH}"
        (rows,) = yield Packet([self._select(kind, beyond)])
        after[0] = rows[-1][0] if len(rows) == BATCH else None
        return [self._read(kind, row) for row in rows]

    def _select(self, kind: Kind, where: str) -> str:
        return f"SELECT {selected(kind, 'r')} FROM {self._prefix}{kind.table} r WHERE {where}"

    def _read(self, kind: Kind, raw: tuple[Any, ...]) -> Stored:
        row: Sequence[Any] = [plain(column) for column in raw[:-2]]
        key = shown(row[0])
        if literal(row[0]) != f"X'{raw[0].hex()}'":
            row = []  # it says nothing that we would have written there
        try:
            record, _ = self._decoder.record(kind, raw)
        except UNREADABLE as error:
            return Stored(key, raw, row, None, error)
        return Stored(key, raw, row, record)

    def get(self, kind: Kind, keys: Collection[str]) -> Steps[dict[str, Stored]]:
        """Return those of some records that are there."""
        (rows,) = yield Packet([self._select(kind, f"r.{kind.key} IN ({', '.join(map(literal, keys))})")])
        return {plain(row[0]): self._read(kind, row) for row in rows}

    def entry_key(self, owner: str) -> str:
        """Return the owner."""
        return shown(owner)

    def now(self) -> Steps[int]:
        """Return the server's instant."""
        (((now,),),) = yield Packet([f"SELECT {NOW}"])
        return int(now)

    def set_aside(
        self, kind: Kind, stored: Stored, reason: str, changes: Changes | None, seen: Sequence[Seen]
    ) -> Steps[bool]:
        """Move a row to the table ``quarantine``, if it is still the one that was read."""
        raw = stored.handle
        name, key = self._prefix + kind.table, f"X'{raw[0].hex()}'"
        by = f"`{kind.key}` = {key}"
        looks = [f"SELECT stamp FROM {name} WHERE {by}"]
        expected = [[raw[-1]]]
        for of_kind, other, was in seen:
            looks.append(f"SELECT stamp FROM {self._prefix}{of_kind.table} WHERE `{of_kind.key}` = {literal(other)}")
            expected.append([] if was is None else [was.handle[-1]])
        begin = [*BEGIN, f"SELECT COUNT(*) FROM {self._prefix}slots FOR UPDATE"]
        answers = yield Packet([*begin, *looks])
        if [[stamp for (stamp,) in rows] for rows in answers[len(begin) :]] != expected:
            yield ROLLBACK
            return False
        as_it_was = literal(json.dumps([plain(column) for column in raw]))
        kept = f"{NOW}, {literal(kind.table)}, {key}, {literal(reason)}, {as_it_was}"
        statements = [f"INSERT INTO {self._prefix}quarantine SELECT {kept}", f"DELETE FROM {name} WHERE {by}"]
        if changes is not None:
            statements += Writing(self._prefix, self._keyring).statements(changes)
        yield Packet([*statements, "COMMIT"], lasts=True)
        return True

    def write(self, changes: Changes, seen: Sequence[Seen]) -> Steps[bool]:
        """Write like any command."""
        stamps = {
            (part_of(kind), key): ABSENT if stored is None else str(stored.handle[-1]) for kind, key, stored in seen
        }
        outcomes = yield from committing(self._prefix, self._keyring, [Commit(changes, stamps, 0)])
        return outcomes[0] is True
