"""Looking through a whole store: is each record genuine, do the records agree, and what they rest on with them?

Theory of operation. A check is a script over one connection (``postgres_schema``). It looks at the functions, the
indexes and the sequence first (``postgres_indexes``), then reads every record in batches. Nothing is locked while it
reads; what it mends it looks at once more, under the lock of the whole store or by a commit like any other.

What is set aside goes to the table ``quarantine``, as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...contract.changes import Changes
from ...contract.lost_entries import EPOCH_MAX, WRITTEN_ANEW, end_after_loss
from ...contract.optimistic import Commit
from ...crypto.minting import PepperKeyring
from ...errors import UNREADABLE
from ...records import OwnerEntry, Token
from ..common.kinds import KINDS, OWNER, SESSION, TOKEN, Kind
from ..common.locking import ABSENT
from .address import Address
from .check_indexes import Foundations
from .commit import commit_statement
from .dump import counting, dump_statement
from .queries import Statement
from .rows import NUMBERS, Decoder, escaped, unescaped
from .schema import BEGIN, Command, Script

BATCH = 1000
LOCK_TIMEOUT_MS = 10_000

Progress = Callable[[int, int], None]
"""``progress(done, total)`` records."""


class Problem(NamedTuple):
    """Something in the store that is not as it should be.

    Attributes:
        kind: ``session``, ``token``, ``owner``, ``idempotency``, ``setting`` or ``service key``; ``index``,
            ``function`` or ``sequence``.
        id: of the record, or the name of the thing.
        text: what is wrong, for people; never a secret.
        fixed: what was done about it, ``None`` where nothing was.
    """

    kind: str
    id: str
    text: str
    fixed: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.id}: {self.text}" + (f" ({self.fixed})" if self.fixed else "")


_LOST_TOKENS = """
    SELECT t.id, {schema}.token_json_v1(t) FROM {schema}.tokens t
    WHERE t.id > %s AND t.session_id IS NOT NULL
        AND NOT EXISTS (SELECT FROM {schema}.sessions s WHERE s.id = t.session_id)
    ORDER BY t.id LIMIT %s
"""
_LOST_ENTRIES = """
    SELECT s.owner, max(s.owner_epoch), {schema}.owner_json_v1(o)
    FROM {schema}.sessions s LEFT JOIN {schema}.owners o ON o.owner = s.owner
    WHERE s.owner > %s AND s.owner_epoch > coalesce(o.epoch, 0) AND s.owner_epoch <= %s
    GROUP BY s.owner, o.* ORDER BY s.owner LIMIT %s
"""
_EPOCH_OF_OWNER = """
    SELECT {schema}.now_v1(), max(owner_epoch) FROM {schema}.sessions WHERE owner = %s AND owner_epoch <= %s
"""
_FIRST_OF_OWNER = """
    SELECT {schema}.session_json_v1(s) FROM {schema}.sessions s
    WHERE s.owner = %s ORDER BY s.created_at, s.id LIMIT 100
"""
_SET_ASIDE = """
    WITH gone AS (DELETE FROM {schema}.{table} AS t WHERE t.{key} = %s AND t.stamp = %s RETURNING t.*)
    INSERT INTO {schema}.quarantine SELECT {schema}.now_v1(), %s, %s, %s, to_jsonb(gone)::text FROM gone
"""


def checking(
    address: Address, keyring: PepperKeyring, decoder: Decoder, fix: bool = False, progress: Progress | None = None
) -> Script:
    """A script that answers the problems found, as a list, and mends what can be mended where ``fix``."""
    check = _Check(address, keyring, decoder, fix, progress)
    yield from check.everything()
    return check.problems


def _is_owner(column: str) -> bool:
    """Whether the text of a column is one that ``escaped`` makes."""
    try:
        return escaped(unescaped(column)) == column
    except ValueError:
        return False


class _Check:
    """One look over a name space."""

    def __init__(
        self, address: Address, keyring: PepperKeyring, decoder: Decoder, fix: bool, progress: Progress | None
    ) -> None:
        self.problems: list[Problem] = []
        self._schema = address.schema
        self._keyring = keyring
        self._fix = fix
        self._progress = progress
        self._below = Foundations(address, fix, self._report)
        self._highest = 0
        self._bad: set[tuple[str, str]] = set()
        self._recorded: set[str] = set()
        self._decode = decoder.record

    def _report(self, kind: str, id: str, text: str, fixed: str | None) -> None:
        self.problems.append(Problem(kind, id, text, fixed))

    def everything(self) -> Script:
        """Look at what the records rest on, then at each of them, then at how they go together."""
        if not (yield from self._below.functions()):
            return  # nothing can be asked without them
        yield from self._below.indexes()
        rows = yield Statement(f"SELECT key_id FROM {self._schema}.peppers", ())
        self._recorded = {key_id for (key_id,) in rows}
        total, done = (yield from counting(self._schema)), 0
        for kind in KINDS.values():
            after: str | None = ""
            while after is not None:
                some: Sequence[tuple[str, str]] = yield dump_statement(self._schema, kind, after, BATCH)
                yield from self._records(kind, some)
                done += len(some)
                if self._progress is not None:
                    self._progress(done, max(done, total))
                after = some[-1][0] if len(some) == BATCH else None
        yield from self._lost_tokens()
        yield from self._lost_entries()
        yield from self._below.stamps(self._highest)

    def _records(self, kind: Kind, rows: Sequence[tuple[str, str]]) -> Script:
        """See that each record is as someone with the pepper wrote it."""
        for key, record in rows:
            try:
                _, stamp = self._decode(kind, record)
            except UNREADABLE as error:
                self._bad.add((kind.name, key))
                done = None
                if self._fix and error.details.get("key_id") not in self._recorded:  # else it lives for who has that
                    yield from self._set_aside(kind, key, json.loads(record)[-1], str(error))
                    done = "moved to quarantine"
                    if kind is OWNER and _is_owner(key):
                        done = f"{done}; {WRITTEN_ANEW}"
                self._report(kind.name, key, str(error), done)
            else:
                self._highest = max(self._highest, stamp & NUMBERS)

    def _set_aside(self, kind: Kind, key: str, stamp: int, reason: str) -> Script:
        """Move a row out of the way, if it is still the one that was looked at; for an owner's comes a new one."""
        text = _SET_ASIDE.format(schema=self._schema, table=kind.table, key=kind.key)
        locks = json.dumps({"alone": True, "lock_timeout_ms": str(LOCK_TIMEOUT_MS)})
        yield BEGIN
        yield Statement(f"SELECT {self._schema}.lock_v1(%s::jsonb)", (locks,))
        yield Statement(text, (key, stamp, kind.table, key, reason))
        if kind is OWNER and _is_owner(key):
            yield from self._written_anew(key, None, ABSENT)
        yield Command("COMMIT")

    def _lost_tokens(self) -> Script:
        """See that each token that names a session has it; without it, it is written down as what it counts as."""
        query, after = _LOST_TOKENS.format(schema=self._schema), ""
        while True:
            rows = yield Statement(query, (after, BATCH))
            now = (yield Statement(f"SELECT {self._schema}.now_v1()", ()))[0][0]
            for id, text in rows:
                if ("token", id) in self._bad:
                    continue
                token, stamp = self._decode(TOKEN, text)
                left = token.as_of(now, None, None)
                said = (
                    f"its session {token.session_id} is not there; it {'is dead' if left is None else 'is unassigned'}"
                )
                done = None
                if self._fix and left is None:
                    yield from self._set_aside(TOKEN, id, stamp, said)
                    done = "moved to quarantine"
                elif self._fix:
                    yield self._written(Changes(), token, left, stamp)
                    done = "written down as unassigned"
                self._report("token", id, said, done)
            if len(rows) < BATCH:
                return
            after = rows[-1][0]

    def _written(self, changes: Changes, token: Token, left: Token, stamp: int) -> Statement:
        changes.tokens.append((token, left))
        stamps = {("token", token.id): str(stamp), ("session", token.session_id): ABSENT}
        return self._commit(changes, stamps)

    def _commit(self, changes: Changes, stamps: dict[Any, str]) -> Statement:
        """Write like any command: not at all if something has moved meanwhile, which the next check will tell."""
        return commit_statement(self._schema, self._keyring, [Commit(changes, stamps, 0)], LOCK_TIMEOUT_MS)

    def _lost_entries(self) -> Script:
        """See that no session was opened under a later epoch than its owner's entry knows.

        Without its entry an owner's sessions that were ended by it would live again.
        """
        query, after = _LOST_ENTRIES.format(schema=self._schema), ""
        while True:
            rows = yield Statement(query, (after, EPOCH_MAX, BATCH))
            for column, epoch, text in rows:
                after = column
                if ("owner", column) in self._bad or not _is_owner(column):
                    continue
                said = f"a session was opened under its epoch {epoch}, which its entry does not know"
                done = None
                if self._fix:
                    known, stamp = self._decode(OWNER, text) if text is not None else (None, ABSENT)
                    yield from self._written_anew(column, known, str(stamp))
                    done = WRITTEN_ANEW
                self._report("owner", column, said, done)
            if len(rows) < BATCH:
                return

    def _written_anew(self, column: str, known: OwnerEntry | None, stamp: str) -> Script:
        """Write an owner's entry where theirs was lost, so that what ended by it stays ended."""
        owner = unescaped(column)
        rows = yield Statement(_EPOCH_OF_OWNER.format(schema=self._schema), (column, EPOCH_MAX))
        now, latest = rows[0]
        stamps = {("entry", owner): stamp}
        first = None
        for (text,) in (yield Statement(_FIRST_OF_OWNER.format(schema=self._schema), (column,))):
            try:
                first, session_stamp = self._decode(SESSION, text)
            except UNREADABLE:
                continue
            stamps["session", first.id] = str(session_stamp)
            break
        yield self._commit(end_after_loss(owner, known, (latest,), first, now), stamps)
