"""The check of a whole store: what a check of its records (``common/checking``) asks of PostgreSQL.

Theory of operation. A check is a script over one connection (``schema.Script``). It looks at the functions, the indexes
and the sequence first (``check_indexes``), then at every record. Nothing is locked while it reads; what it mends it
looks at once more, under the lock of the whole store or by a commit like any other.

What is set aside goes to the table ``quarantine``, as it was.
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
from ..common.findings import Findings, Progress
from ..common.kinds import OWNER, Kind
from ..common.locking import ABSENT, part_of
from .address import Address
from .check_indexes import Foundations
from .commit import commit_statement
from .dump import counting, dump_statement
from .functions import json_function
from .queries import Statement
from .rows import NUMBERS, Decoder, columns_in, escaped
from .schema import BEGIN, PlainStatement, Script

BATCH = 1000
LOCK_TIMEOUT_MS = 10_000

_SET_ASIDE = """
    WITH gone AS (DELETE FROM {schema}.{table} AS t WHERE t.{key} = %s AND t.stamp = %s RETURNING t.*)
    INSERT INTO {schema}.quarantine SELECT {schema}.now_v1(), %s, %s, %s, to_jsonb(gone)::text FROM gone
    RETURNING key
"""


def checking(
    address: Address, keyring: PepperKeyring, decoder: Decoder, fix: bool = False, progress: Progress | None = None
) -> Script:
    """A script that answers what is wrong, as a list, and mends what can be mended where ``fix``."""
    findings, schema = Findings(fix), address.schema
    foundations = Foundations(address, fix, findings)
    if not (yield from foundations.functions()):
        return findings.all  # nothing can be asked without them
    yield from foundations.indexes()
    recorded = {key_id for (key_id,) in (yield Statement(f"SELECT key_id FROM {schema}.peppers", ()))}
    records = _Records(schema, keyring, decoder)
    check = RecordCheck(records, findings, recorded, fix=fix, progress=progress)
    yield from check.run(0, (yield from counting(schema)))
    yield from foundations.stamps(records.highest)
    return findings.all


class _Records:
    """The records of a name space, as ``Inspected`` has them; what finds one again is its column and its stamp.

    Attributes:
        highest: the number of the highest stamp of a record that can be read.
    """

    def __init__(self, schema: str, keyring: PepperKeyring, decoder: Decoder) -> None:
        self.highest = 0
        self._schema = schema
        self._keyring = keyring
        self._decoder = decoder

    def scan(self, kind: Kind) -> Iterator[Steps[Sequence[Stored]]]:
        """Return all records in order of their keys."""
        after: list[str | None] = [""]
        while after[0] is not None:
            yield self._batch(kind, after)

    def _batch(self, kind: Kind, after: list[str | None]) -> Steps[Sequence[Stored]]:
        rows = yield dump_statement(self._schema, kind, after[0] or "", BATCH)
        after[0] = rows[-1][0] if len(rows) == BATCH else None
        return [self._read(kind, column, text) for column, text in rows]

    def _read(self, kind: Kind, column: str, text: str) -> Stored:
        columns = columns_in(text)
        row = columns[:-2]
        if not isinstance(row[0], str) or escaped(row[0]) != column:
            row = []  # it says to be something that would stand elsewhere
        handle = (column, columns[-1])
        try:
            record, stamp = self._decoder.record(kind, text)
        except UNREADABLE as error:
            return Stored(shown(column), handle, row, None, error)
        self.highest = max(self.highest, stamp & NUMBERS)
        return Stored(shown(column), handle, row, record)

    def get(self, kind: Kind, keys: Collection[str]) -> Steps[dict[str, Stored]]:
        """Return those of some records that are there."""
        by_column = {escaped(key): key for key in keys}
        text = (
            f"SELECT t.{kind.key}, {self._schema}.{json_function(kind)}(t) FROM {self._schema}.{kind.table} t"
            f" WHERE t.{kind.key} = ANY(%s::text[])"
        )
        rows = yield Statement(text, (list(by_column),))
        return {by_column[column]: self._read(kind, column, record) for column, record in rows}

    def entry_key(self, owner: str) -> str:
        """Return the owner as the database has it."""
        return shown(escaped(owner))

    def now(self) -> Steps[int]:
        """Return the server's instant."""
        now: int = (yield Statement(f"SELECT {self._schema}.now_v1()", ()))[0][0]
        return now

    def set_aside(
        self, kind: Kind, stored: Stored, reason: str, changes: Changes | None, seen: Sequence[Seen]
    ) -> Steps[bool]:
        """Move a row to the table ``quarantine``, if it is still the one that was read."""
        text = _SET_ASIDE.format(schema=self._schema, table=kind.table, key=kind.key)
        locks = json.dumps({"alone": True, "lock_timeout_ms": str(LOCK_TIMEOUT_MS)})
        column, stamp = stored.handle
        yield BEGIN
        yield Statement(f"SELECT {self._schema}.lock_v1(%s::jsonb)", (locks,))
        done = bool((yield Statement(text, (column, stamp, kind.table, column, reason))))
        if done and changes is not None:
            owner = stored.row[0] if kind is OWNER else None
            absent: Sequence[Seen] = () if owner is None else ((OWNER, owner, None),)
            done = yield from self.write(changes, [*seen, *absent])
        yield PlainStatement("COMMIT" if done else "ROLLBACK")
        return done

    def write(self, changes: Changes, seen: Sequence[Seen]) -> Steps[bool]:
        """Write like any command."""
        stamps: dict[Any, str] = {
            (part_of(kind), key): ABSENT if stored is None else str(stored.handle[1]) for kind, key, stored in seen
        }
        commit = Commit(changes, stamps, 0)
        rows = yield commit_statement(self._schema, self._keyring, [commit], LOCK_TIMEOUT_MS)
        return bool(rows[0][0][0])
