"""What is asked of any server that keeps a table for each kind of record, whatever it calls things: half of a backend.

Theory of operation. A statement is text with ``%s`` for its values; ``asking`` sends one and returns its rows. What
the servers say differently is in ``Words`` and in a few methods; what is asked for copies, checks, peppers and versions
is the same and stands here. Reading and committing, where they differ most and time counts, are each server's own.
"""

from __future__ import annotations

import hmac
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from ...contract.changes import Changes
from ...crypto.minting import PepperKeyring
from ...errors import InvalidInput, StoreError
from .backend import Backend
from .copying import Dump
from .kinds import KINDS, Kind
from .migrations import NEWEST
from .pepper_records import Mark, missing_error, not_given
from .pools import Exchange, Links
from .sql_tables import pepper_ranges

Rows = Sequence[Sequence[Any]]

HOW_TO_MIGRATE = "run: session-tokens store migrate"


class Words(NamedTuple):
    """What one server says in another way than the next.

    Attributes:
        now: the instant on its clock in milliseconds.
        begin: begins a transaction of which each statement sees what was committed before it.
        put_new: an ``INSERT`` that leaves a row alone that is there; ``{}`` stands for what follows ``INTO``.
        quote: what a column's name stands in, where it may be a word of SQL.
    """

    now: str
    begin: Sequence[str]
    put_new: str
    quote: str = ""


class SqlBackend(Backend):
    """What a server with tables is asked.

    Args:
        links: how the server is connected to.
        keyring: the peppers.
        prefix: what stands before the name of every table.
    """

    words: ClassVar[Words]

    def __init__(self, links: Links, keyring: PepperKeyring, prefix: str) -> None:
        super().__init__(links, keyring)
        self.prefix = prefix

    # What its author writes.

    @abstractmethod
    def asking(self, text: str, *values: object, lasts: bool = False) -> Exchange[Rows]:
        """Ask one statement; return its rows.

        Args:
            text: with ``%s`` for each value.
            values: text, numbers, and what came in rows.
            lasts: whether what it does may last, so that without an answer nobody knows.
        """

    @abstractmethod
    def selected(self, kind: Kind, letter: str) -> str:
        """Return the columns of a record as they stand in a ``SELECT``: its key, then what ``read`` needs."""

    @abstractmethod
    def read(self, kind: Kind, row: Sequence[Any]) -> Any:
        """Return the record in such a row.

        Raises:
            CorruptRecord, UnknownPepper: it cannot be read.
        """

    @abstractmethod
    def columns_in(self, row: Sequence[Any]) -> Sequence[Any]:
        """Return what such a row says, whoever wrote it: the columns of its kind, its MAC and its stamp."""

    @abstractmethod
    def locking_all(self) -> Exchange[None]:
        """Wait, within a transaction, until nobody else commits; they wait until it is over."""

    @abstractmethod
    def writing(self, changes: Changes) -> Exchange[None]:
        """Write changes within a transaction in which everything is locked."""

    @abstractmethod
    def clearing_events(self) -> Exchange[None]:
        """Delete all events within a transaction, and note up to where."""

    def kept(self, text: str) -> Any:
        """Return text as it comes in rows."""
        return text

    def plain(self, value: Any) -> Any:
        """Return a value in a row so that it can be shown, and asked for again."""
        return value

    # What follows from it.

    def column(self, name: str) -> str:
        """Return a column's name as it stands in SQL."""
        return f"{self.words.quote}{name}{self.words.quote}"

    def begin(self) -> Exchange[None]:
        """Begin a transaction."""
        for statement in self.words.begin:
            yield from self.asking(statement)

    def instant(self) -> Exchange[int]:
        """Return the instant on the server's clock."""
        rows = yield from self.asking(f"SELECT {self.words.now}")
        return int(rows[0][0])

    def batch(self, kind: Kind, after: Any, limit: int) -> Exchange[Rows]:
        """Return the rows of some records in the order of their keys, after one of these."""
        beyond = f"r.{kind.key} > %s ORDER BY r.{kind.key} LIMIT {limit}"
        table = f"{self.prefix}{kind.table}"
        return self.asking(f"SELECT {self.selected(kind, 'r')} FROM {table} r WHERE {beyond}", after)

    def scan(self, kind: str, after: str, limit: int) -> Exchange[Dump]:
        """Return a batch of all records of a kind in the order of their keys."""
        of = KINDS[kind]
        rows = yield from self.batch(of, after, limit)
        records = [self.read(of, row) for row in rows]
        return Dump(records, None if len(rows) < limit else self.plain(rows[-1][0]))

    def count(self) -> Exchange[int]:
        """Return how many records there are."""
        counts = ", ".join(f"(SELECT COUNT(*) FROM {self.prefix}{kind.table})" for kind in KINDS.values())
        rows = yield from self.asking(f"SELECT {counts}")
        return sum(rows[0])

    def clear(self) -> Exchange[None]:
        """Delete every record, and which peppers they had, all or none."""
        yield from self.begin()
        for name in (*(kind.table for kind in KINDS.values()), "peppers"):
            yield from self.asking(f"DELETE FROM {self.prefix}{name}")
        yield from self.clearing_events()
        yield from self.asking("COMMIT", lasts=True)

    # Versions.

    def version(self) -> Exchange[int]:
        """Return the version of the tables, which are there.

        Raises:
            StoreError: it is newer than this library.
        """
        rows = yield from self.asking(f"SELECT COALESCE(MAX(number), 0) FROM {self.prefix}migrations")
        at = int(rows[0][0])
        if at > NEWEST:
            raise StoreError(
                f"the store's tables are of version {at}, made by a newer session-tokens; this one knows {NEWEST}: "
                "install the newer one"
            )
        return at

    def migrated(self, number: int, name: str) -> Exchange[None]:
        """Record that a migration was carried out."""
        into = f"INSERT INTO {self.prefix}migrations (number, name) VALUES (%s, %s)"
        yield from self.asking(into, number, name, lasts=True)

    def checked(self) -> Exchange[None]:
        """See that the tables are of this version; record the peppers, and see that they are theirs.

        Raises:
            InvalidInput: a pepper that rows need is missing or another one.
            StoreError: the tables are older or newer than this library.
        """
        at = yield from self.version()
        if at < NEWEST:
            raise StoreError(
                f"the store's tables are of version {at}, this library needs {NEWEST}; {HOW_TO_MIGRATE}, as a user "
                "who owns them"
            )
        yield from self._recorded()

    # Peppers.

    def pepper_marks(self) -> Exchange[dict[str, Mark]]:
        """Return what is recorded of each pepper."""
        rows = yield from self.asking(f"SELECT key_id, recorded_at, used_at FROM {self.prefix}peppers")
        return {self.plain(key_id): Mark(at, used_at is not None) for key_id, at, used_at in rows}

    def forget_pepper(self, key_id: str) -> Exchange[None]:
        """Record of a pepper nothing any more."""
        yield from self.asking(f"DELETE FROM {self.prefix}peppers WHERE key_id = %s", key_id, lasts=True)

    def _checks(self) -> Exchange[dict[str, tuple[str, int | None]]]:
        rows = yield from self.asking(f"SELECT key_id, check_value, used_at FROM {self.prefix}peppers")
        return {self.plain(key_id): (self.plain(check), used_at) for key_id, check, used_at in rows}

    def _recorded(self) -> Exchange[None]:
        """Compare the peppers with those recorded, and record new ones; the first to record an id is right."""
        keyring, now = self.keyring, self.words.now
        recorded = yield from self._checks()
        yield from self._retired({key_id: used_at for key_id, (_, used_at) in recorded.items()})
        new = [key_id for key_id in keyring.peppers if key_id not in recorded]
        for key_id in new:
            into = f"{self.prefix}peppers (key_id, check_value, recorded_at) VALUES (%s, %s, {now})"
            put = self.words.put_new.format(into)
            yield from self.asking(put, key_id, keyring.check_of(key_id), lasts=True)
        if new:
            recorded = yield from self._checks()
        for key_id in keyring.peppers:
            if not hmac.compare_digest(recorded[key_id][0], keyring.check_of(key_id)):
                raise InvalidInput(
                    f"the pepper {key_id} is not the one that the store was written with; give that one", key_id=key_id
                )
        if recorded[keyring.current][1] is None:
            use = f"UPDATE {self.prefix}peppers SET used_at = {now} WHERE key_id = %s AND used_at IS NULL"
            yield from self.asking(use, keyring.current, lasts=True)

    def _retired(self, used_at: dict[str, int | None]) -> Exchange[None]:
        """Forget older peppers that are not given and under which no row is looked up, signed or kept any more."""
        missing, asked = not_given(used_at, self.keyring.peppers, self.keyring.current)
        needed = list(missing)
        for key_id in asked:
            if (yield from self._is_needed(key_id)):
                needed.append(key_id)
        if needed:
            given = "this process (pepper=, SESSION_TOKENS_PEPPER or SESSION_TOKENS_PEPPER_FILE)"
            raise missing_error("the store", needed, given)
        for key_id in asked:
            yield from self.forget_pepper(key_id)

    def _is_needed(self, key_id: str) -> Exchange[bool]:
        """Whether any row needs a pepper; reads all tables when none does."""
        ranges = pepper_ranges("%s")
        places = [*ranges, "idempotency WHERE key_id = %s"]
        any_of = " OR ".join(f"EXISTS (SELECT 1 FROM {self.prefix}{rows})" for rows in places)
        values = [*(f"{key_id}:", f"{key_id};") * len(ranges), key_id]
        rows = yield from self.asking(f"SELECT {any_of}", *values)
        return bool(rows[0][0])
