"""Looking through a whole store: is each record genuine, do the records agree, and what they rest on with them?

Theory of operation. A check is an exchange over one connection. It looks at the tables and their indexes first, then
reads every record in batches. Nothing is locked while it reads; what it mends it looks at once more, under all locks or
by a commit like any other. What is set aside goes to the table ``quarantine``, as it was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ...contract.changes import Changes
from ...contract.lost_entries import EPOCH_MAX, WRITTEN_ANEW, end_after_loss
from ...contract.optimistic import Commit
from ...crypto.minting import PepperKeyring
from ...errors import UNREADABLE
from ...records import Session, Token
from ..common.backend import Progress
from ..common.kinds import KINDS, OWNER, SESSION, TOKEN, Kind
from ..common.locking import ABSENT
from ..common.pools import Exchange
from ..common.problems import Problem
from .commit import BEGIN, ROLLBACK, SLOTS, Writing, committing
from .rows import Decoder, selected
from .statements import NOW, Packet, literal, plain
from .tables import index_statements

BATCH = 1000


def checking(
    prefix: str, keyring: PepperKeyring, decoder: Decoder, fix: bool, progress: Progress | None
) -> Exchange[Sequence[Problem]]:
    """Return the problems found, and mend what can be mended where ``fix``."""
    check = _Check(prefix, keyring, decoder, fix, progress)
    yield from check.everything()
    return check.problems


class _Check:
    """One look over a name space."""

    def __init__(
        self, prefix: str, keyring: PepperKeyring, decoder: Decoder, fix: bool, progress: Progress | None
    ) -> None:
        self.problems: list[Problem] = []
        self._prefix = prefix
        self._keyring = keyring
        self._decoder = decoder
        self._fix = fix
        self._progress = progress
        self._bad: set[tuple[str, Any]] = set()

    def _report(self, kind: str, id: str, text: str, fixed: str | None) -> None:
        self.problems.append(Problem(kind, id, text, fixed))

    def everything(self) -> Exchange[None]:
        """Look at what the records rest on, then at each of them, then at how they go together."""
        yield from self._indexes()
        yield from self._slots()
        counts = yield Packet(
            [
                f"SELECT key_id FROM {self._prefix}peppers",
                *(f"SELECT COUNT(*) FROM {self._prefix}{kind.table}" for kind in KINDS.values()),
            ]
        )
        recorded = {plain(key_id) for (key_id,) in counts[0]}
        total, done = sum(rows[0][0] for rows in counts[1:]), 0
        for kind in KINDS.values():
            after: Any = b""
            while after is not None:
                (rows,) = yield Packet([self._batch(kind, after)])
                yield from self._records(kind, rows, recorded)
                done += len(rows)
                if self._progress is not None:
                    self._progress(done, max(done, total))
                after = rows[-1][0] if len(rows) == BATCH else None
        yield from self._lost_tokens()
        yield from self._lost_entries()

    def _indexes(self) -> Exchange[None]:
        """See that each index is there, and that each leads to what its table holds."""
        there = "SELECT DISTINCT table_name, index_name FROM information_schema.statistics"
        (rows,) = yield Packet([f"{there} WHERE table_schema = DATABASE()"])
        found = {(plain(table), plain(name)) for table, name in rows}
        for index in index_statements(self._prefix):
            if (self._prefix + index.kind.table, index.name) in found:
                continue
            if self._fix:
                yield Packet([index.text], lasts=True)
            self._report("index", index.name, "it is not there", "made anew" if self._fix else None)
        for kind in KINDS.values():
            name = self._prefix + kind.table
            (said,) = yield Packet([f"CHECK TABLE {name}"])
            wrong = [plain(text) for *_, kind, text in said if plain(kind) not in ("status", "note", "info")]
            if wrong:
                if self._fix:
                    yield Packet([f"ALTER TABLE {name} FORCE"], lasts=True)
                self._report("table", name, "; ".join(wrong), "made anew" if self._fix else None)

    def _slots(self) -> Exchange[None]:
        """See that each row is there that stands for names in locks."""
        (((count,),),) = yield Packet([f"SELECT COUNT(*) FROM {self._prefix}slots"])
        if count == SLOTS:
            return
        if self._fix:
            rows = ", ".join(f"({slot})" for slot in range(SLOTS))
            yield Packet([f"INSERT IGNORE INTO {self._prefix}slots VALUES {rows}"], lasts=True)
        said = f"{count} of {SLOTS} rows are there; names that lead to the others cannot be locked"
        self._report("table", f"{self._prefix}slots", said, "filled up" if self._fix else None)

    def _batch(self, kind: Kind, after: bytes) -> str:
        return (
            f"SELECT {selected(kind, 'r')} FROM {self._prefix}{kind.table} r"
            f" WHERE r.{kind.key} > X'{after.hex()}' ORDER BY r.{kind.key} LIMIT {BATCH}"
        )

    def _records(self, kind: Kind, rows: Sequence[Any], recorded: set[str]) -> Exchange[None]:
        """See that each record is as someone with the pepper wrote it."""
        for row in rows:
            try:
                self._decoder.record(kind, row)
            except UNREADABLE as error:
                self._bad.add((kind.name, row[0]))
                done = None
                if self._fix and error.details.get("key_id") not in recorded:  # else it lives for who has that pepper
                    yield from self._set_aside(kind, row, str(error))
                    done = "moved to quarantine"
                    if kind is OWNER:
                        done = f"{done}; {WRITTEN_ANEW}"
                self._report(kind.name, plain(row[0]), str(error), done)

    def _set_aside(self, kind: Kind, row: Any, reason: str) -> Exchange[None]:
        """Move a row out of the way, if it is still the one that was looked at; for an owner's comes a new one."""
        name, key = self._prefix + kind.table, f"X'{row[0].hex()}'"
        by = f"`{kind.key}` = {key}"
        *_, rows = yield Packet(
            [*BEGIN, f"SELECT COUNT(*) FROM {self._prefix}slots FOR UPDATE", f"SELECT stamp FROM {name} WHERE {by}"]
        )
        if [stamp for (stamp,) in rows] != [row[-1]]:
            yield ROLLBACK
            return
        as_it_was = literal(json.dumps([plain(column) for column in row]))
        kept = f"{NOW}, {literal(kind.table)}, {key}, {literal(reason)}, {as_it_was}"
        statements = [f"INSERT INTO {self._prefix}quarantine SELECT {kept}", f"DELETE FROM {name} WHERE {by}"]
        if kind is OWNER:
            anew = yield from self._anew(row[0], None)
            statements += Writing(self._prefix, self._keyring).statements(anew[0])
        yield Packet([*statements, "COMMIT"], lasts=True)

    def _lost_tokens(self) -> Exchange[None]:
        """See that each token that names a session has it; without it, it is written down as what it counts as."""
        after = b""
        while True:
            query = (
                f"SELECT {selected(TOKEN, 't')} FROM {self._prefix}tokens t"
                f" LEFT JOIN {self._prefix}sessions s ON s.id = t.session_id"
                f" WHERE t.id > X'{after.hex()}' AND t.session_id IS NOT NULL AND s.id IS NULL"
                f" ORDER BY t.id LIMIT {BATCH}"
            )
            rows, clock = yield Packet([query, f"SELECT {NOW}"])
            for row in rows:
                if ("token", row[0]) not in self._bad:
                    yield from self._lost_token(row, clock[0][0])
            if len(rows) < BATCH:
                return
            after = rows[-1][0]

    def _lost_token(self, row: Any, now: int) -> Exchange[None]:
        token: Token
        token, stamp = self._decoder.record(TOKEN, row)
        left = token.as_of(now, None, None)
        said = f"its session {token.session_id} is not there; it {'is dead' if left is None else 'is unassigned'}"
        done = None
        if self._fix and left is None:
            yield from self._set_aside(TOKEN, row, said)
            done = "moved to quarantine"
        elif self._fix:
            changes = Changes()
            changes.tokens.append((token, left))
            stamps = {("token", token.id): stamp, ("session", token.session_id): ABSENT}
            yield from committing(self._prefix, self._keyring, [Commit(changes, stamps, 0)])
            done = "written down as unassigned"
        self._report("token", token.id, said, done)

    def _lost_entries(self) -> Exchange[None]:
        """See that no session was opened under a later epoch than its owner's entry knows.

        Without its entry an owner's sessions that were ended by it would live again.
        """
        after, p = b"", self._prefix
        while True:
            query = (
                f"SELECT DISTINCT s.owner FROM {p}sessions s LEFT JOIN {p}owners o ON o.owner = s.owner"
                f" WHERE s.owner > X'{after.hex()}' AND s.owner_epoch > COALESCE(o.epoch, 0)"
                f" AND s.owner_epoch <= {EPOCH_MAX} ORDER BY s.owner LIMIT {BATCH}"
            )
            (rows,) = yield Packet([query])
            for (owner,) in rows:
                if ("owner", owner) in self._bad:
                    continue
                done = None
                if self._fix:
                    (found,) = yield Packet(
                        [f"SELECT {selected(OWNER, 'o')} FROM {p}owners o WHERE o.owner = X'{owner.hex()}'"]
                    )
                    changes, stamps = yield from self._anew(owner, found[0] if found else None)
                    yield from committing(p, self._keyring, [Commit(changes, stamps, 0)])
                    done = WRITTEN_ANEW
                said = "a session was opened under an epoch of theirs which their entry does not know"
                self._report("owner", plain(owner), said, done)
            if len(rows) < BATCH:
                return
            after = rows[-1][0]

    def _anew(self, owner: bytes, entry_row: Any) -> Exchange[tuple[Changes, dict[Any, str]]]:
        """Return what is written where an owner's entry was lost, so that what ended stays ended; and its stamps."""
        by = f"FROM {self._prefix}sessions s WHERE s.owner = X'{owner.hex()}'"
        epochs, rows, clock = yield Packet(
            [
                f"SELECT MAX(s.owner_epoch) {by} AND s.owner_epoch <= {EPOCH_MAX}",
                f"SELECT {selected(SESSION, 's')} {by} ORDER BY s.created_at, s.id LIMIT 100",
                f"SELECT {NOW}",
            ]
        )
        known, stamp = self._decoder.record(OWNER, entry_row) if entry_row is not None else (None, ABSENT)
        stamps = {("entry", plain(owner)): stamp}
        first: Session | None = None
        for row in rows:
            try:
                first, session_stamp = self._decoder.record(SESSION, row)
            except UNREADABLE:
                continue
            stamps["session", first.id] = session_stamp
            break
        return end_after_loss(plain(owner), known, (epochs[0][0],), first, clock[0][0]), stamps
