"""Committing to MariaDB or MySQL: two packets in a transaction; stamps are compared under locks, the clock comes last.

Theory of operation. The first packet locks and looks: every name that was read or will be written (``common.locking``)
leads to one of ``SLOTS`` rows, and these are locked in their order, shared for what is read, so that no two commits can
wait for each other. Only then, in later statements and so on later snapshots (READ COMMITTED), are the present stamps
read. All of them are under locks that last until the changes are visible: nothing here rests on the isolation level of
what is read, nor on gaps of an index, which two commits of different owners may both have to enter. Nothing is written
so far: whatever fails here certainly was not carried out.

The second packet writes what passed. Its last statements compare the server's clock with the least ``not_after`` and
end the transaction: at or after it, one of them fails by the key of a slot that is there, and the end is never reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any
from zlib import crc32

from ...clock import NEVER
from ...contract.changes import Changes
from ...contract.optimistic import Commit
from ...crypto.minting import Keyring
from ...errors import CorruptRecord, StoreError, StoreUnavailable
from ..common.kinds import IDEMPOTENCY, OWNER, RECORDS, SERVICE_KEY, SESSION, SETTING, TOKEN, Kind
from ..common.locking import ABSENT, COUNTS, SETS, Locks, Part, part_of
from ..common.one_by_one import one_by_one
from ..common.pools import Exchange
from ..common.record_codec import Row, Setting, mac_of
from ..common.sealed_rows import kept_row
from ..common.seen_parts import SeenParts, new_stamp
from ..common.sql_tables import SIGNED
from .errors import CLASH, number_of
from .event_log import event_statements
from .queries import CLOCK, count_statement, now_of, set_stamp_of, set_stamp_statement
from .statements import NOW, Packet, Rows, literal, literals, plain
from .tables import STAMP

SLOTS = 4096
NAMES_MAX = 192
"""How many slots one batch locks one by one; a larger batch takes them all."""
PACKET_LENGTH_MAX = 1_000_000
"""Characters after which what is written goes on in another packet; a server takes 16 MB at once unless told."""

BEGIN = ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION")
ROLLBACK = Packet(["ROLLBACK"])


def slot_of(name: str) -> int:
    """Return the slot to which a name leads, the same in every process."""
    return crc32(name.encode("utf-8", "surrogatepass")) % SLOTS


def lock_statements(prefix: str, locks: Locks) -> Iterator[str]:
    """Yield what locks all names of a batch, in the order that all batches have."""
    select = f"SELECT COUNT(*) FROM {prefix}slots FORCE INDEX (PRIMARY) WHERE slot"
    read, written = locks.names()
    exclusive = {slot_of(name) for name in written}
    slots = sorted(exclusive | {slot_of(name) for name in read})
    if len(slots) > NAMES_MAX:
        yield f"{select} >= 0 FOR UPDATE"
        return
    for is_exclusive, run in groupby(slots, exclusive.__contains__):
        yield f"{select} IN ({literals(run)}) {'FOR UPDATE' if is_exclusive else 'LOCK IN SHARE MODE'}"


def committing(
    prefix: str, keyring: Keyring, commits: Sequence[Commit], seen: SeenParts
) -> Exchange[Sequence[bool | Exception]]:
    """Write each command whole or not at all, all in one transaction; see ``Backend.commit``.

    Args:
        prefix: how the names of the tables begin.
        keyring: makes the MACs.
        commits: the commands.
        seen: told of what was written.
    """
    try:
        accepted = yield from _accepted(prefix, commits)
        if not accepted:
            yield ROLLBACK
        else:
            yield from _written(prefix, keyring, [commits[place] for place in accepted], seen)
        return [place in accepted for place in range(len(commits))]
    except StoreUnavailable:
        raise
    except StoreError as error:
        yield ROLLBACK
        if len(commits) == 1:
            return [False if number_of(error.__cause__) in CLASH else error]
    return (yield from one_by_one(lambda one: committing(prefix, keyring, one, seen), commits))  # nothing was written


def _accepted(prefix: str, commits: Sequence[Commit]) -> Exchange[set[int]]:
    """Lock all that the commands rest on; return the places of those whose stamps have not moved and that come in time.

    Of commands that disturb one another the first goes ahead.
    """
    locks, own = Locks(), list[Locks]()
    for commit in commits:
        own.append(Locks())
        for each in (locks, own[-1]):
            for part, stamp in commit.stamps.items():
                each.read(part, stamp)
            each.write(commit.changes, commit.stamps)
    locking = list(lock_statements(prefix, locks))
    parts = list(dict.fromkeys(part for commit in commits for part in commit.stamps))
    looking = list(_stamp_statements(prefix, parts))
    answer = yield Packet([*BEGIN, *locking, *(text for _, text in looking), CLOCK])
    of_locks = answer[len(BEGIN) : len(BEGIN) + len(locking)]
    if 0 in (rows[0][0] for rows in of_locks):
        raise CorruptRecord("the table of slots is not whole; run: session-tokens store migrate")
    present = _stamps(looking, answer[len(BEGIN) + len(locking) :])
    now = now_of(answer[-1])
    accepted, moved = set[int](), set[str]()
    for place, commit in enumerate(commits):
        read, written = own[place].names()
        is_as_read = all(present.get(part, ABSENT) == stamp for part, stamp in commit.stamps.items())
        if is_as_read and commit.now <= now < commit.not_after and moved.isdisjoint(read | written):
            accepted.add(place)
            moved |= written
    return accepted


def _stamp_statements(prefix: str, parts: Iterable[Part]) -> Iterator[tuple[Part | str, str]]:
    """Yield what asks for the present stamps, each with the kind of its records, or with the one part that it is of."""
    single: dict[str, list[str]] = {}
    for part in parts:
        if part[0] in SETS:
            yield part, set_stamp_statement(prefix, part)
        elif part[0] in COUNTS:
            yield part, count_statement(prefix, part)
        else:
            single.setdefault(part[0], []).append(part[1])
    for kind, keys in single.items():
        of, column = RECORDS[kind]
        found = f"SELECT r.{column}, r.{STAMP} FROM {prefix}{of.table} r WHERE r.{column} IN"
        yield kind, f"{found} ({literals(keys)})"


def _stamps(looking: Sequence[tuple[Part | str, str]], answers: Sequence[Rows]) -> dict[Part, str]:
    present: dict[Part, str] = {}
    for (of, _), rows in zip(looking, answers, strict=False):
        if isinstance(of, str):
            present.update(((of, plain(key)), str(stamp)) for key, stamp in rows)
        else:
            present[of] = set_stamp_of(rows) if of[0] in SETS else str(rows[0][0])
    return present


def _written(prefix: str, keyring: Keyring, commits: Sequence[Commit], seen: SeenParts) -> Exchange[None]:
    """Write commands down and end the transaction, if it is not too late by then."""
    statements, length = list[str](), 0
    writings = [Writing(prefix, keyring) for _ in commits]
    for commit, writing in zip(commits, writings, strict=True):
        for statement in writing.statements(commit.changes):
            if length + len(statement) > PACKET_LENGTH_MAX and statements:
                yield Packet(statements)
                statements, length = [], 0
            statements.append(statement)
            length += len(statement)
    events = [event for commit in commits for event in commit.changes.events]
    statements += event_statements(prefix, keyring, events) if events else ()
    not_after = min(commit.not_after for commit in commits)
    if not_after != NEVER:
        statements.append(f"INSERT INTO {prefix}slots SELECT 0 FROM DUAL WHERE {NOW} >= {not_after}")
    yield Packet([*statements, "COMMIT"], lasts=True)
    for commit, writing in zip(commits, writings, strict=True):
        seen.wrote(commit, writing.stamps)


class Writing:
    """What the changes of one command are in statements: to create, to replace and to delete are different ones.

    Attributes:
        stamps: of each record that is put. No two are alike: that of a set is their exclusive or.
    """

    def __init__(self, prefix: str, keyring: Keyring) -> None:
        self._prefix = prefix
        self._keyring = keyring
        self.stamps: dict[Part, int] = {}

    def statements(self, changes: Changes) -> Iterator[str]:
        """Yield what writes a change set; what goes goes first, so that its look-up key is free."""
        pairs: list[tuple[Kind, Any, Any]] = [(SESSION, old, new) for old, new in changes.sessions]
        pairs += [(TOKEN, old, new) for old, new in changes.tokens]
        pairs += [(SERVICE_KEY, old, new) for old, new in changes.keys]
        yield from (self._deleted(kind, old.id) for kind, old, new in pairs if new is None and old is not None)
        gone = (old.owner for old, new in changes.entries if old is not None and new is None)
        yield from (self._deleted(OWNER, owner) for owner in gone)
        yield from (self._deleted(IDEMPOTENCY, key) for key in changes.forgotten)
        yield from (self._deleted(SETTING, name) for name, text in changes.settings if text is None)
        for kind, old, new in pairs:
            if new is not None:
                row = kept_row(self._keyring, kind, new)
                yield self._created(kind, row) if old is None else self._replaced(kind, kind.row(old), row)
        yield from (self._put(OWNER, entry) for _, entry in changes.entries if entry is not None)
        yield from (self._put(IDEMPOTENCY, record) for record in changes.idempotency)
        yield from (self._put(SETTING, Setting(name, text)) for name, text in changes.settings if text is not None)

    def _signed(self, kind: Kind, row: Row) -> list[Any]:
        stamp = self.stamps[part_of(kind), str(row[0])] = new_stamp()
        return [*row, mac_of(self._keyring, kind.table, row), stamp]

    def _created(self, kind: Kind, row: Row) -> str:
        columns = ", ".join(map(_quoted, (*kind.names, SIGNED, STAMP)))
        return f"INSERT INTO {self._prefix}{kind.table} ({columns}) VALUES ({literals(self._signed(kind, row))})"

    def _replaced(self, kind: Kind, old: Row, new: Row) -> str:
        """Write the columns that are others than those in clear: those of an index that stay cost nothing."""
        signed = zip((*kind.names, SIGNED, STAMP), self._signed(kind, new), (*old, None, None), strict=True)
        changed = ", ".join(f"{_quoted(name)} = {literal(value)}" for name, value, former in signed if value != former)
        return f"UPDATE {self._prefix}{kind.table} SET {changed} WHERE {_quoted(kind.key)} = {literal(new[0])}"

    def _put(self, kind: Kind, record: Any) -> str:
        """Create a record or replace it; of these kinds none has another unique key than the first column."""
        changed = ", ".join(f"{_quoted(name)} = VALUES({_quoted(name)})" for name in (*kind.names[1:], SIGNED, STAMP))
        return f"{self._created(kind, kept_row(self._keyring, kind, record))} ON DUPLICATE KEY UPDATE {changed}"

    def _deleted(self, kind: Kind, key: str) -> str:
        return f"DELETE FROM {self._prefix}{kind.table} WHERE {_quoted(kind.key)} = {literal(key)}"


def _quoted(column: str) -> str:
    """Return a column's name as it stands in SQL, where one of them is a word of its own."""
    return f"`{column}`"
