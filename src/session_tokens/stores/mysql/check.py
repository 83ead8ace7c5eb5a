"""The check of a whole store in MariaDB or MySQL: its tables, their indexes and slots, and its records."""

from __future__ import annotations

from collections.abc import Sequence

from ..common.findings import Finding, Findings, Progress
from ..common.kinds import KINDS
from ..common.pools import Exchange
from ..common.sql_check import checking_records
from ..common.sql_upkeep import SqlUpkeep
from .commit import SLOTS
from .statements import Packet, plain
from .tables import index_statements


def checking(backend: SqlUpkeep, fix: bool, progress: Progress | None) -> Exchange[Sequence[Finding]]:
    """Return what is wrong, and mend what can be mended where ``fix``."""
    findings = Findings(fix)
    foundations = _Foundations(backend.prefix, findings, fix)
    yield from foundations.indexes()
    yield from foundations.slots()
    yield from checking_records(backend, findings, fix, progress)
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
