"""The SQLite store: one file, many processes; reads on the caller's thread, writes through one writer, no server.

Theory of operation. A read is one SELECT on a connection of its own, on the thread that asks, in asyncio too: it takes
microseconds, a hop to another thread takes longer. Lists take milliseconds, and hop. A verify first asks whether
anybody has committed since this connection looked last: if not, what was found then still holds. Several queries of one
``read`` share one transaction, so they hold as of one instant. Writes are rules, run in the writer's thread and
committed in groups (``sqlite_writer.py``). Each row carries a MAC; one that is wrong answers nothing on the hot path
and is an error everywhere else.

Limits. The file must be on a disk of this host (write-ahead logging does not work over a network file system). Who can
write to the file may put a whole row back to an earlier state of itself, delete rows, or hide them; that is not
detected. The file and its key file belong in different backups.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import weakref
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TypeGuard, TypeVar

from ...clock import Clock, SteadyClock
from ...contract.brief import awaited_within
from ...contract.event_log import LogRead
from ...contract.queries import BY_LOOKUP, NO_SESSION, NO_TOKEN, DueRecord, Get, Members, Query, Snapshot, is_lost
from ...contract.store import BlockingStore
from ...contract.threads import in_thread
from ...contract.transaction import Rule
from ...contract.unreadable import Unreadables
from ...crypto.key_file import Keys, keyring_of
from ...crypto.minting import Pepper, PepperKeyring
from ...crypto.safe_places import insist_on_own_database, insist_on_safe_folder
from ...errors import UNREADABLE, CorruptRecord, StoreUnavailable, UnknownPepper
from ...events import Event, Listeners, Place
from ...records import OwnerEntry, Session, Token
from ..common.copying import Dump
from ..common.findings import Finding, Progress
from ..common.pepper_records import Mark
from ..common.pools import Exchange
from ..common.retry import Full
from .check import check_file
from .connections import (
    FileOptions,
    OpenedFile,
    ReaderPool,
    keep_private,
    leave_to_parent,
    make_private_file,
    no_fork_meanwhile,
    watch_forks,
)
from .event_log import cut_of, read_events, trim_events
from .queries import Records
from .reserve import Reserve
from .rows import CheckedRows
from .schema import keys_at_hand, made_keys, prepare, set_clock_mark, table_prefix_of
from .upkeep import SqliteUpkeep
from .writer import Writer

log = logging.getLogger("session_tokens.stores.sqlite")

T = TypeVar("T")

CLOSED = "the store is closed; open it again"


def open_sqlite(
    path: str | os.PathLike[str],
    *,
    pepper: Pepper | None = None,
    clock: Clock | None = None,
    space: str = "",
    synchronous: str = "FULL",
    busy_timeout_s: float = 5.0,
    fix_clock: bool = False,
    sealed: bool | None = None,
) -> SqliteStore:
    """Open the store in an SQLite file, made with mode 0600 where there is none; its folder must be there.

    Args:
        path: the file. Its key file, where none of the other sources gives a pepper, is ``<path>.key``.
        pepper: at least 32 bytes, or key id → bytes with the current one first.
        clock: the store's time; the host's steady clock where not given.
        space: the name space of its records within the file: nothing, or 1 to 16 small letters and digits.
        synchronous: ``FULL`` (each acknowledged command survives a power cut), ``NORMAL`` (the last ones may be
            lost), ``OFF`` or ``EXTRA``.
        busy_timeout_s: how long to wait for another process that holds the file, in seconds.
        fix_clock: accept that the last commit is far ahead of the clock, and go on from the clock.
        sealed: whether a new file seals values; ``None``: as it was made, a new one in clear.

    Raises:
        InvalidInput: an argument, pepper or key file that can never be right; a pepper that is missing or another one.
        StoreError: another program's file, a newer schema, a clock that stepped back.
        StoreUnavailable: the folder is missing, the file cannot be opened or written.
        StoreBusy: another process held the file for ``busy_timeout_s``.
        CorruptRecord: the file is damaged.
    """
    options = FileOptions(path, synchronous, busy_timeout_s)
    table_prefix = table_prefix_of(space)
    clock = clock or SteadyClock()
    with no_fork_meanwhile():
        try:
            keys, keyring = _prepared_file(options, pepper, clock, table_prefix, fix_clock, sealed)
        except Full:  # also to be opened a file needs some space beside it
            Reserve(options.path).give_up()
            keys, keyring = _prepared_file(options, pepper, clock, table_prefix, fix_clock, sealed)
        return SqliteStore(options, table_prefix, keys, keyring, clock)


def _prepared_file(
    options: FileOptions,
    pepper: Pepper | None,
    clock: Clock,
    table_prefix: str,
    fix_clock: bool,
    sealed: bool | None,
) -> tuple[Keys, PepperKeyring]:
    insist_on_safe_folder(options.path, "database")
    insist_on_own_database(options.path)
    at_hand = keys_at_hand(pepper, options.path)
    make_private_file(options.path)
    connection = options.connect(writing=True)
    try:
        keys = at_hand or options.insist(lambda: made_keys(options.path, connection))
        keep_private(options.path)
        _log_ahead_of_data(options, connection)
        keyring = keyring_of(keys, sealed)
        prepare(options, connection, table_prefix, keyring, keys.source, clock, fix_clock=fix_clock)
        _warn_of_wal_reset(options, connection, sqlite3.sqlite_version_info)
        return keys, keyring
    except sqlite3.Error as error:
        raise options.meant_by(error) from error
    finally:
        connection.close()


class SqliteStore(BlockingStore):
    """Sessions and tokens in one SQLite file. Safe for threads, event loops, processes and forks.

    Made by ``open_sqlite``. A fork waits for what is under way, up to 10 s; parent and child both go on.

    Attributes:
        keys: the keys, and where they were found.
    """

    keeps_events = True
    keyring: PepperKeyring

    def __init__(
        self, options: FileOptions, table_prefix: str, keys: Keys, keyring: PepperKeyring, clock: Clock
    ) -> None:
        self.clock = clock
        self.keyring = keyring
        self.listeners = Listeners()
        self.unreadables = Unreadables()
        self.keys = keys
        self._options = options
        self._beginning = table_prefix
        self._file = OpenedFile(options)
        self._writer = Writer(options, self._file, table_prefix, self.keyring, clock, self.listeners, self.unreadables)
        self._let_go = False
        self._make_pool()
        watch_forks(self)

    def _make_pool(self) -> None:
        file, table_prefix, keyring, clock = self._file, self._beginning, self.keyring, self.clock
        checked, unreadables = CheckedRows(), self.unreadables
        self._readers = ReaderPool(
            lambda: Records(file.connect(writing=False), table_prefix, keyring, clock, checked, unreadables)
        )
        self._close_when_gone = weakref.finalize(self, _close, self._writer, self._readers)

    # Reads, on the caller's thread.

    def _read(self, act: Callable[..., T], *args: object) -> T:
        """Do ``act(records, *args)`` with a reader."""
        if monotonic() >= self._file.look_at_s:
            self._file.look()
        readers = self._readers
        reader = readers.take()
        try:
            answer = act(reader, *args)
        except sqlite3.Error as error:
            readers.drop(reader)
            raise self._options.meant_by(error) from error
        except BaseException:
            if reader.connection.in_transaction:
                reader.connection.execute("ROLLBACK")
            readers.give(reader)
            raise
        readers.give(reader)
        return answer

    def find_session_now(self, lookups: Sequence[str]) -> tuple[int, Session | None, OwnerEntry | None]:
        """Return now and the session of a secret with its owner's entry; nothing, and an alert, for a forged row."""
        now = self.clock.now()
        try:
            found = self._read(Records.session_lately, lookups)
        except UNREADABLE as error:
            found = self._not_believed(error, NO_SESSION)
        if found.session is None:
            self.insist_on_peppers_now()
        return (now, *found)

    def find_token_now(self, lookups: Sequence[str]) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        """Return now and the token of a secret with its session and that owner's entry; as above for a forged row."""
        now = self.clock.now()
        try:
            found = self._read(Records.token_lately, lookups)
        except UNREADABLE as error:
            found = self._not_believed(error, NO_TOKEN.followed())
        if found[0] is None:
            self.insist_on_peppers_now()
        return (now, *found)

    def _not_believed(self, error: CorruptRecord | UnknownPepper, nothing: T) -> T:
        """Return nothing for a row that is not as it was written; a damaged file is still an error."""
        if isinstance(error.__cause__, sqlite3.Error):
            raise error
        self.unreadables.met(error)
        return nothing

    def read_now(self, queries: Sequence[Query]) -> Snapshot:
        """Return the results of all queries as of one instant, on this thread."""
        now = self.clock.now()
        return Snapshot(now, self._read(Records.found, queries, now))

    def look_now(self, queries: Sequence[Query]) -> Snapshot:
        """As ``read_now``; what look-up keys found lately still holds if nobody has committed since."""
        if not all_by_lookup(queries):
            return super().look_now(queries)
        now = self.clock.now()
        found = self._read(Records.found_lately, queries, now)
        if is_lost(queries, found):
            self.insist_on_peppers_now()
        return Snapshot(now, found)

    def state_now(self) -> tuple[int, object]:
        """Return now, and what stands for all that was committed to the file, by any process."""
        return self.clock.now(), self._read(Records.state)

    def due_now(self, now: int, limit: int) -> Sequence[DueRecord]:
        """Return what should be swept, longest due first."""
        return self._read(lambda to: self._keeping_up(to.connection, lambda upkeep: upkeep.due(now, limit)))

    def read_events_now(self, after: Place, limit: int) -> LogRead:
        """Return events that stand after a place."""
        return self._read(read_events, self.keyring, self.unreadables, after, limit)

    # Writes, through the writer.

    def run_now(self, rule: Rule[T], *args: object) -> T:
        """Run a rule in the writer's thread and wait for its commit on this one."""
        return self._writer.run_now(rule, args)

    def run_within_now(self, patience_s: float, rule: Rule[T], *args: object) -> T:
        """As ``run_now``, but wait for the commit ``patience_s`` seconds at the most; it goes on by itself then."""
        return self._writer.run_now(rule, args, patience_s)

    async def run(self, rule: Rule[T], *args: object) -> T:
        """Run a rule in the writer's thread and wait for its commit without holding the loop.

        A task that is cancelled while it waits does not take its command back: it may still be committed.
        """
        return await self._writer.run(rule, args)

    async def run_within(self, patience_s: float, rule: Rule[T], *args: object) -> T:
        """As ``run``, but wait for the commit ``patience_s`` seconds at the most; it goes on by itself then."""
        return await awaited_within(patience_s, self._writer.run(rule, args))

    async def read(self, queries: Sequence[Query]) -> Snapshot:
        """Return all results as of one instant: on this thread, but for lists, which would hold the loop for long."""
        if any(isinstance(query, Members) or query.what in ("sessions", "tokens", "waiting") for query in queries):
            return await in_thread(self.read_now, queries)
        return self.read_now(queries)

    async def look(self, queries: Sequence[Query]) -> Snapshot:
        """As ``read``; what look-up keys found lately still holds if nobody has committed since."""
        return (
            self.look_now(queries)
            if BY_LOOKUP.issuperset([query.what for query in queries])
            else await super().look(queries)
        )

    async def due(self, now: int, limit: int) -> Sequence[DueRecord]:
        """Return what should be swept, without holding the loop."""
        return await in_thread(self.due_now, now, limit)

    def trim_events_now(self, keep: int) -> int:
        """Take the oldest events away."""
        cut = self._read(cut_of, keep)
        if cut is None:
            return 0
        return self._writer.alone_writing(lambda connection: trim_events(connection, self._beginning, cut))

    async def trim_events(self, keep: int) -> int:
        """Take the oldest events away, without holding the loop."""
        return await in_thread(self.trim_events_now, keep)

    def rewrite_events_now(self, change: Callable[[Event], Event]) -> int:
        """Put changed events in the place of others."""
        return self._writer.alone(lambda to: self._keeping_up(to, lambda upkeep: upkeep.rewrite_events(change)))

    async def rewrite_events(self, change: Callable[[Event], Event]) -> int:
        """Put changed events in the place of others, without holding the loop."""
        return await in_thread(self.rewrite_events_now, change)

    async def dump(self, kind: str, after: str, limit: int) -> Dump:
        """Return a batch of all records of a kind, without holding the loop."""
        return await in_thread(self.dump_now, kind, after, limit)

    # Care.

    async def ready(self) -> None:
        """Return if commands could be carried out now, and would be there for who opens the file next."""
        await super().ready()
        self._file.look()

    def check(self, *, fix: bool = False, progress: Progress | None = None) -> list[Finding]:
        """Look the whole file over: structure, indexes, the MAC of every row, tokens without their session.

        Args:
            fix: mend what can be mended: indexes are made anew, rows that are not as written go into the table
                ``quarantine``, rows under an older pepper are signed under the current one. Writers wait meanwhile.
            progress: called with how many rows were read and how many there are.

        Raises:
            StoreUnavailable: the file cannot be read.
        """
        if fix:
            return self._writer.alone_writing(
                lambda connection: check_file(connection, self.keyring, self.clock, progress, fix=True)
            )
        return self._read(lambda records: check_file(records.connection, self.keyring, self.clock, progress, fix=False))

    def _keeping_up(self, connection: sqlite3.Connection, ask: Callable[[SqliteUpkeep], Exchange[T]]) -> T:
        upkeep = SqliteUpkeep(connection, self._beginning, self.keyring, self.clock)
        return upkeep.at_once(ask(upkeep))

    def dump_now(self, kind: str, after: str, limit: int) -> Dump:
        """Return a batch of all records of a kind; see ``copying.Copyable``."""
        return self._read(lambda to: self._keeping_up(to.connection, lambda upkeep: upkeep.scan(kind, after, limit)))

    def count_now(self) -> int:
        """Return how many records there are in the store's name space."""
        return self._read(lambda to: self._keeping_up(to.connection, SqliteUpkeep.count))

    def clear_now(self) -> None:
        """Delete every record of the store's name space, all or none."""
        self._writer.alone_writing(lambda connection: self._keeping_up(connection, SqliteUpkeep.clear))

    def pepper_marks(self) -> dict[str, Mark]:
        """Return what is recorded of each pepper, by its key id."""
        return self._read(lambda to: self._keeping_up(to.connection, SqliteUpkeep.pepper_marks))

    def forget_pepper(self, key_id: str) -> None:
        """Record of a pepper nothing any more."""
        self._writer.alone_writing(
            lambda connection: self._keeping_up(connection, lambda upkeep: upkeep.forget_pepper(key_id))
        )

    def fix_clock(self) -> None:
        """Take this store's clock for the instant of the last commit, should that be ahead of it."""
        self._writer.alone_writing(lambda connection: set_clock_mark(connection, self.clock.now()))

    def close_now(self) -> None:
        """Finish the commands that wait, then let go of the file; calling it again does nothing."""
        self._stop(CLOSED)

    # Forks; see sqlite_connections.py.

    def before_fork(self, give_up_at: float) -> None:
        """Close all connections and begin nothing until the fork is done."""
        self._let_go = all([self._writer.pause(give_up_at), self._readers.pause(give_up_at)])

    def after_fork_in_parent(self) -> None:
        """Go on; connections are opened again when they are needed."""
        self._readers.resume()
        self._writer.resume()

    @property
    def is_closed(self) -> bool:
        """Whether it answers no more: it was closed, or a fork left it to the parent."""
        return bool(self._readers.closed)

    def after_fork_in_child(self) -> None:
        """Begin anew with connections and a thread of this process; refuse to if the parent's could not be closed."""
        self._close_when_gone.detach()
        former, left_open = self._readers, self._readers.count > 0 or self._writer.is_connected
        self._writer.start_again()
        self._make_pool()
        if left_open:
            leave_to_parent(former)
            self._stop("the process was forked while the store was in use; open the store again in this process")
        elif former.closed:
            self._stop(CLOSED)

    def _stop(self, why: str) -> None:
        self._close_when_gone.detach()
        self._writer.stop(why)
        self._readers.close(why)


def all_by_lookup(queries: Sequence[Query]) -> TypeGuard[Sequence[Get]]:
    """Whether each query asks by a look-up key."""
    return BY_LOOKUP.issuperset([query.what for query in queries])


def _close(writer: Writer, readers: ReaderPool[Records]) -> None:
    """Let go of the file when the store was forgotten without being closed."""
    writer.stop(CLOSED, wait=False)
    readers.close(CLOSED)


def _log_ahead_of_data(options: FileOptions, connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging, which readers need to go on beside the writer.

    Raises:
        StoreUnavailable: the file system cannot do it.
    """
    (mode,) = options.insist(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone())
    if mode != "wal":
        raise StoreUnavailable(
            f"the file system under {options.path} cannot do SQLite's write-ahead logging; use a disk of this host"
        )


def _warn_of_wal_reset(options: FileOptions, connection: sqlite3.Connection, version: tuple[int, ...]) -> None:
    """Say once for a file, not once for each process, that this SQLite has the WAL-reset defect; the docs say more."""
    if not (_has_wal_reset_defect(version) and log.isEnabledFor(logging.WARNING)):
        return
    name, shown = "wal_reset_told", ".".join(map(str, version))
    if connection.execute("SELECT 1 FROM meta WHERE name = ? AND value = ?", (name, shown)).fetchone():
        return
    options.begin_writing(connection)
    changed = connection.execute(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value "
        "WHERE value <> excluded.value",
        (name, shown),
    ).rowcount
    connection.execute("COMMIT")
    if changed:
        log.warning(
            "SQLite %s has the WAL-reset defect, rare and of several processes on one file; 3.51.3 has it no more",
            shown,
        )


def _has_wal_reset_defect(version: tuple[int, ...]) -> bool:
    mended_in = {(3, 44): 6, (3, 50): 7}
    if version[:2] in mended_in:
        return version[2] < mended_in[version[0], version[1]]
    return (3, 7, 0) <= version < (3, 51, 3)
