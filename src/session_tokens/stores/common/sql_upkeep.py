"""What is asked of any store in tables beside commands, whatever its database calls things: copies, checks, peppers.

Theory of operation. A statement is text with ``%s`` for its values; ``asking`` sends one and returns its rows. What
databases say differently is in ``Words`` and in a few methods; what is asked for copies, checks, peppers and versions
is the same and stands here. Reading and committing, where they differ most and time counts, are each store's own.
"""

from __future__ import annotations

import hmac
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ...contract.changes import Changes
from ...contract.event_log import LOOKED_AT_ONCE
from ...contract.optimistic import Commit
from ...contract.queries import DueRecord
from ...crypto.minting import PepperKeyring
from ...crypto.sealing import named_key
from ...errors import UNREADABLE, InvalidInput, StoreError
from ...events import NOWHERE, Event, Place, event_text
from .copying import Dump
from .kinds import KINDS, Kind
from .migrations import NEWEST, Migration
from .pepper_records import CLEAR, SEALED, VALUES, Mark, is_recorded_as_sealed, keys_lost, missing_error, not_given
from .pools import Exchange
from .record_codec import mac_of, signed_event
from .sql_tables import pepper_ranges

Rows = Sequence[Sequence[Any]]

_TO_SWEEP = [(kind, index) for kind in KINDS.values() for index in kind.indexes if index.name == "to_sweep"]

HOW_TO_MIGRATE = "run: session-tokens store migrate"


class Words(NamedTuple):
    """What one database says in another way than the next.

    Attributes:
        now: the instant on the store's clock in milliseconds.
        begin: begins a transaction of which each statement sees what was committed before it.
        put_new: an ``INSERT`` that leaves a row alone that is there; ``{}`` stands for what follows ``INTO``.
        quote: what a column's name stands in, where it may be a word of SQL.
        stamp: the column that changes with each change of a record.
    """

    now: str
    begin: Sequence[str]
    put_new: str
    quote: str = ""
    stamp: str = "stamp"


class SqlUpkeep(ABC):
    """What a store in tables is asked beside commands.

    Attributes:
        keyring: the peppers.
        prefix: what stands before the name of every table.
        name: of the store, for people.
        source: where the peppers come from, for people.
    """

    keyring: PepperKeyring
    prefix: str
    name = "the store"
    source = "this process (pepper=, SESSION_TOKENS_PEPPER or SESSION_TOKENS_PEPPER_FILE)"

    # What its author writes.

    @property
    @abstractmethod
    def words(self) -> Words:
        """What is said in another way here."""

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
        """Return what such a row says, whoever wrote it: the columns of its kind, what follows, its stamp the last."""

    @abstractmethod
    def locking_all(self) -> Exchange[None]:
        """Wait, within a transaction, until nobody else commits; they wait until it is over."""

    @abstractmethod
    def writing(self, changes: Changes) -> Exchange[None]:
        """Write changes within a transaction in which everything is locked."""

    @abstractmethod
    def commit(self, commits: Sequence[Commit]) -> Exchange[Sequence[bool | Exception]]:
        """Write commands, each whole or not at all; see ``Backend.commit``."""

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

    @property
    def shared_prefix(self) -> str:
        """What stands before the names of tables that are no kind's; a file has one of each for all its name spaces."""
        return self.prefix

    def begin(self) -> Exchange[None]:
        """Begin a transaction."""
        for statement in self.words.begin:
            yield from self.asking(statement)

    def end(self, is_done: bool = True) -> Exchange[None]:
        """Commit a transaction, or take it back."""
        yield from self.asking("COMMIT" if is_done else "ROLLBACK", lasts=is_done)

    def instant(self) -> Exchange[int]:
        """Return the instant on the server's clock."""
        rows = yield from self.asking(f"SELECT {self.words.now}")
        return int(rows[0][0])

    def batch(self, kind: Kind, after: Any, limit: int) -> Exchange[Rows]:
        """Return the rows of some records in the order of their keys, after one of these, or from the first on."""
        rows = f"SELECT {self.selected(kind, 'r')} FROM {self.prefix}{kind.table} r"
        order = f"ORDER BY r.{kind.key} LIMIT {limit}"
        if after is None:
            return self.asking(f"{rows} {order}")
        return self.asking(f"{rows} WHERE r.{kind.key} > %s {order}", after)

    def scan(self, kind: str, after: str, limit: int) -> Exchange[Dump]:
        """Return a batch of all records of a kind in the order of their keys."""
        of = KINDS[kind]
        rows = yield from self.batch(of, after, limit)
        records = [self.read(of, row) for row in rows]
        return Dump(records, None if len(rows) < limit else self.plain(rows[-1][0]))

    def due(self, now: int, limit: int) -> Exchange[Sequence[DueRecord]]:
        """Return at most ``limit`` keys of what should be swept at ``now`` (milliseconds), longest due first."""
        parts = []
        for kind, index in _TO_SWEEP:
            (at,), key = index.columns, self.column(kind.key)
            also = f" AND {index.where}" if index.where else ""
            table = f"{self.prefix}{kind.table} WHERE {at} <= {now:d}{also} ORDER BY {at} LIMIT {limit:d}"
            parts.append(
                f"SELECT * FROM (SELECT '{kind.name}' AS kind, {key} AS id, {at} AS at FROM {table}) AS of_{kind.table}"
            )
        rows = yield from self.asking(f"{' UNION ALL '.join(parts)} ORDER BY at LIMIT {limit:d}")
        return [DueRecord(str(self.plain(kind)), self.plain(id)) for kind, id, _ in rows]

    def event_rows(self, after: Place) -> Exchange[Sequence[tuple[Place, str, str]]]:
        """Return place, text and MAC of some events after a place, those that are not shown yet too."""
        rows = yield from self.asking(
            f"SELECT place, minor, text, mac FROM {self.prefix}events "
            f"WHERE place > {after[0]:d} OR (place = {after[0]:d} AND minor > {after[1]:d}) "
            f"ORDER BY place, minor LIMIT {LOOKED_AT_ONCE}"
        )
        return [((place, minor), self.plain(text), self.plain(mac)) for place, minor, text, mac in rows]

    def event_in(self, place: Place, text: str, mac: str) -> Event:
        """Return the event in a row.

        Raises:
            CorruptRecord, UnknownPepper: it cannot be read.
        """
        return signed_event(self.keyring, place, text, mac)

    def putting_event(self, place: Place, text: str) -> Exchange[Rows]:
        """Write the text of an event in the place of another."""
        put = f"UPDATE {self.prefix}events SET text = %s, mac = %s WHERE place = {place[0]:d} AND minor = {place[1]:d}"
        return self.asking(put, text, mac_of(self.keyring, "events", (text,)))

    def rewrite_events(self, change: Callable[[Event], Event]) -> Exchange[int]:
        """Put changed events in the place of others, each batch in one transaction; see ``Store.rewrite_events``."""
        place, count, unread = NOWHERE, 0, None
        while True:
            rows = yield from self.event_rows(place)
            changed: list[tuple[Place, str]] = []
            for place, text, mac in rows:
                try:
                    event = self.event_in(place, text, mac)
                except UNREADABLE as error:
                    unread = unread or error
                    continue
                if (put := change(event)) != event:
                    changed.append((place, event_text(put)))
            if changed:
                yield from self.begin()
                for at, text in changed:
                    yield from self.putting_event(at, text)
                yield from self.end()
                count += len(changed)
            if len(rows) < LOOKED_AT_ONCE:
                break
        if unread is not None:
            raise unread
        return count

    def holds_records(self) -> Exchange[bool]:
        """Whether there is any record, of which no key was recorded where none is."""
        rows = " OR ".join(f"EXISTS (SELECT 1 FROM {self.prefix}{kind.table})" for kind in KINDS.values())
        found = yield from self.asking(f"SELECT {rows}")
        return bool(found[0][0])

    def count(self) -> Exchange[int]:
        """Return how many records there are."""
        counts = ", ".join(f"(SELECT COUNT(*) FROM {self.prefix}{kind.table})" for kind in KINDS.values())
        rows = yield from self.asking(f"SELECT {counts}")
        return sum(rows[0])

    def clear(self) -> Exchange[None]:
        """Delete every record, and which peppers they had, all or none."""
        yield from self.begin()
        for kind in KINDS.values():
            yield from self.asking(f"DELETE FROM {self.prefix}{kind.table}")
        yield from self.forgetting_peppers()
        yield from self.clearing_events()
        yield from self.end()

    def forgetting_peppers(self) -> Exchange[None]:
        """Delete what is recorded of peppers, in a store that has no records any more."""
        yield from self.asking(f"DELETE FROM {self.shared_prefix}peppers")

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

    def migrated(self, *taken: Migration) -> Exchange[None]:
        """Record that migrations were carried out, all at one moment."""
        rows = ", ".join(["(%s, %s)"] * len(taken))
        values = [value for migration in taken for value in (migration.number, migration.name)]
        yield from self.asking(f"INSERT INTO {self.prefix}migrations (number, name) VALUES {rows}", *values, lasts=True)

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
        yield from self.recorded()

    # Peppers.

    def pepper_marks(self) -> Exchange[dict[str, Mark]]:
        """Return what is recorded of each pepper."""
        rows = yield from self.asking(f"SELECT key_id, recorded_at, used_at FROM {self.shared_prefix}peppers")
        marks = {self.plain(key_id): Mark(at, used_at is not None) for key_id, at, used_at in rows}
        marks.pop(VALUES, None)
        return marks

    def forget_pepper(self, key_id: str) -> Exchange[None]:
        """Record of a pepper nothing any more."""
        yield from self._by_itself(f"DELETE FROM {self.shared_prefix}peppers WHERE key_id = %s", key_id)

    def _checks(self) -> Exchange[dict[str, tuple[str, int | None]]]:
        rows = yield from self.asking(f"SELECT key_id, check_value, used_at FROM {self.shared_prefix}peppers")
        return {self.plain(key_id): (self.plain(check), used_at) for key_id, check, used_at in rows}

    def recorded(self) -> Exchange[None]:
        """Compare the keys with those recorded, and record new ones; the first to record an id is right."""
        while not (yield from self._recorded()):
            pass  # another process has recorded keys meanwhile, which may be others than these

    def _recorded(self) -> Exchange[bool]:
        """As ``recorded``; return ``False``, with nothing done, if what was judged is recorded otherwise by now."""
        keyring = self.keyring
        recorded = yield from self._checks()
        if not recorded and (yield from self.holds_records()):
            recorded = yield from self._checks()  # unless another first process has just recorded its own
            if not recorded:
                raise keys_lost(self.name)
        if not recorded:
            yield from self._record(VALUES, SEALED if keyring.wants_sealing else CLEAR)
            recorded = yield from self._checks()
        keyring.settle(is_recorded_as_sealed({key_id: said for key_id, (said, _) in recorded.items()}, self.name))
        for key_id in keyring.recorded:
            if key_id in recorded and not hmac.compare_digest(recorded[key_id][0], keyring.check_of(key_id)):
                raise InvalidInput(
                    f"the {named_key(key_id)} from {self.source} is not the one that {self.name} was written with; "
                    "give that one",
                    key_id=key_id,
                    key_ids=[key_id],
                )
        forgotten = yield from self._retired({key_id: used_at for key_id, (_, used_at) in recorded.items()})
        judged = {key_id: said for key_id, said in recorded.items() if key_id not in forgotten}
        new = {key_id: keyring.check_of(key_id) for key_id in keyring.recorded if key_id not in judged}
        unused = [key_id for key_id in keyring.written_under if judged.get(key_id, ("", None))[1] is None]
        return not (new or unused) or (yield from self._put_marks(judged, new, unused))

    def _put_marks(
        self, judged: Mapping[str, tuple[str, int | None]], new: Mapping[str, str], unused: Sequence[str]
    ) -> Exchange[bool]:
        """Record new keys, and that some are in use; return ``False`` if something else than ``judged`` is recorded."""
        peppers, now = f"{self.shared_prefix}peppers", self.words.now
        yield from self.begin()
        # Whoever records keys waits here for the one before: this row is there before any key is.
        yield from self.asking(f"UPDATE {peppers} SET recorded_at = recorded_at WHERE key_id = %s", VALUES)
        is_as_judged = (yield from self._checks()) == judged
        if is_as_judged:
            into = f"INSERT INTO {peppers} (key_id, check_value, recorded_at) VALUES (%s, %s, {now})"
            for key_id, check in new.items():
                yield from self.asking(into, key_id, check)
            for key_id in unused:
                yield from self.asking(f"UPDATE {peppers} SET used_at = {now} WHERE key_id = %s", key_id)
        yield from self.end(is_as_judged)
        return is_as_judged

    def _record(self, name: str, said: str) -> Exchange[None]:
        """Record something beside the records, unless somebody was faster."""
        into = f"{self.shared_prefix}peppers (key_id, check_value, recorded_at) VALUES (%s, %s, {self.words.now})"
        yield from self._by_itself(self.words.put_new.format(into), name, said)

    def _by_itself(self, text: str, *values: object) -> Exchange[None]:
        """Do one change in a transaction of its own: at the level of the session it could be refused beside others."""
        yield from self.begin()
        yield from self.asking(text, *values)
        yield from self.end()

    def _retired(self, used_at: dict[str, int | None]) -> Exchange[Sequence[str]]:
        """Forget older peppers that are not given and under which no row is looked up, signed or kept; return them."""
        missing, asked = not_given(used_at, self.keyring.recorded, self.keyring.current)
        needed = list(missing)
        for key_id in asked:
            if (yield from self.is_needed(key_id)):
                needed.append(key_id)
        if needed:
            raise missing_error(self.name, needed, self.source)
        for key_id in asked:
            yield from self.forget_pepper(key_id)
        return asked

    def is_needed(self, key_id: str) -> Exchange[bool]:
        """Whether any row needs a pepper; reads all tables when none does."""
        ranges = pepper_ranges("%s")
        places = [*ranges, "idempotency WHERE key_id = %s"]
        any_of = " OR ".join(f"EXISTS (SELECT 1 FROM {self.prefix}{rows})" for rows in places)
        values = [*(f"{key_id}:", f"{key_id};") * len(ranges), key_id]
        rows = yield from self.asking(f"SELECT {any_of}", *values)
        return bool(rows[0][0])
