"""The one writer of an SQLite store: runs rules to their end in its thread and commits a whole group at once.

Theory of operation. Callers put commands into a queue and wait. The writer takes what has gathered (at most
``GROUP_MAX``), begins one write transaction, runs the rules one after the other, each seeing what those before it
wrote, and commits once: one sync of the disk serves the group. A rule that raises has written nothing, for its change
set is applied after it answered; an application of several records that fails is undone by its savepoint alone.
Nobody is answered before the commit. The last look before it is at the clock: if something that a command judged alive
has ended meanwhile, all is undone and the group run again, where that command finds it over and the others go through.
If the commit fails, the whole group fails, refusals too: they were judged by what did not come to be.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ...clock import NEVER, Clock
from ...contract.brief import late
from ...contract.own_errors import own_copy
from ...contract.threads import start, to_be_started
from ...contract.transaction import Rule, Transaction
from ...contract.unreadable import Unreadables
from ...crypto.minting import Keyring
from ...errors import AlreadyExists, StoreBusy, StoreError, StoreUnavailable
from ...events import Listeners, Note
from ..common.retry import Full
from .commit import Applier
from .connections import FileOptions, OpenedFile, leave_to_parent
from .queries import Records
from .reserve import Reserve
from .rows import CheckedRows
from .schema import clock_mark_ms, set_clock_mark

log = logging.getLogger("session_tokens.stores.sqlite")

T = TypeVar("T")

GROUP_MAX = 256
"""Commands that one commit takes."""
WAITING_MAX = 10_000
"""Commands that may wait for the writer."""
LATE_MAX = 16
"""How often a group is run in which something that was judged alive has ended before the commit."""
STOP_WAIT_S = 30.0


READS = (
    "ahead", "entry", "idempotency", "parked_tokens", "predecessors_of", "service_key", "session",
    "session_by_lookup", "session_count_of", "sessions_of", "setting", "token", "token_by_lookup",
    "token_count_of", "tokens_of", "transferables_of",
)  # fmt: skip
"""What a rule reads with."""


def transactions_on(records: Records) -> Callable[[int], Transaction]:
    """Return what makes transactions over a connection, whose reads go straight there.

    How they read is bound once, and not for each command.
    """
    reads = {name: staticmethod(getattr(records, name)) for name in READS}
    return type("SqliteTransaction", (Transaction,), {"__slots__": (), **reads})


class QueuedCommand(Generic[T]):
    """A rule that waits to be run, and then its outcome."""

    __slots__ = ("_done", "args", "error", "future", "notes", "result", "rule")

    def __init__(self, rule: Rule[T], args: tuple[object, ...], future: asyncio.Future[T] | None = None) -> None:
        self.rule = rule
        self.args = args
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None
        self.notes: list[Note] = []
        self._done = threading.Lock()
        self._done.acquire()

    def wait(self, patience_s: float = -1) -> T:
        """Wait on a thread until the command was committed or refused; return or raise what it came to.

        Raises:
            StoreBusy: it is not done within ``patience_s``; it goes on by itself.
        """
        if not self._done.acquire(timeout=patience_s):
            raise late(patience_s)
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # a traceback that holds its own error is only freed by the collector
        result: T = self.result
        return result

    def wake(self) -> None:
        """Let the waiting thread go on."""
        self._done.release()

    def resolve(self) -> None:
        """Return the waiting task, on its loop, unless it was cancelled."""
        if self.future is None or self.future.done():
            return
        if isinstance(self.error, StopIteration):  # a future cannot hold it
            self.future.set_exception(RuntimeError("a rule raised StopIteration"))
        elif self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class _Lost(Exception):
    """The transaction is gone, with all that the group wrote."""


class Writer:
    """Runs commands, many a commit, in a thread of its own that starts with the first.

    Args:
        options: how the file is used.
        file: the file, which every commit must still find in its place.
        beginning: how the names of the tables begin.
        keyring: signs the rows and checks their MACs.
        clock: each group has one instant on it.
        listeners: called after each commit, in the order of the commits, before callers get their results.
        unreadables: gets each row that is left out of a set because it cannot be read.
    """

    def __init__(
        self,
        options: FileOptions,
        file: OpenedFile,
        table_prefix: str,
        keyring: Keyring,
        clock: Clock,
        listeners: Listeners,
        unreadables: Unreadables,
    ) -> None:
        self._options = options
        self._file = file
        self._beginning = table_prefix
        self._keyring = keyring
        self._clock = clock
        self._listeners = listeners
        self._unreadables = unreadables
        self._reserve = Reserve(options.path)
        self._start()

    def _start(self) -> None:
        self._waiting: queue.SimpleQueue[QueuedCommand[Any] | None] = queue.SimpleQueue()
        self._putting = threading.RLock()  # a signal's handler may put a command while one is put
        self._busy = threading.Lock()
        self._paused = False
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._records: Records | None = None
        self._transaction: Callable[[int], Any] | None = None
        self._applier: Applier | None = None
        self._closed: str | None = None

    def run_now(self, rule: Rule[T], args: tuple[object, ...], patience_s: float = -1) -> T:
        """Run a rule and wait on this thread for its commit, ``patience_s`` at the most where that is given.

        A listener may call this too: on the writer's own thread the rule is committed by itself at once.
        """
        command = QueuedCommand(rule, args)
        if self._thread is threading.current_thread():
            self._commit([command])
        else:
            self._put(command)
        return command.wait(patience_s)

    async def run(self, rule: Rule[T], args: tuple[object, ...]) -> T:
        """Run a rule and wait for its commit without holding the loop.

        A task that is cancelled while it waits does not take its command back: it may still be committed.
        """
        command: QueuedCommand[T] = QueuedCommand(rule, args, asyncio.get_running_loop().create_future())
        self._put(command)
        assert command.future is not None
        return await command.future

    def _put(self, command: QueuedCommand[Any]) -> None:
        with self._putting:
            if self._closed is not None:
                raise StoreUnavailable(self._closed)
            if self._waiting.qsize() >= WAITING_MAX:
                raise StoreBusy(f"{WAITING_MAX} commands wait for the database; try again later")
            if self._thread is None:
                self._thread = to_be_started("writer", self._work, self._waiting)
                try:
                    start(self._thread)
                except StoreUnavailable:
                    self._thread = None
                    raise
            self._waiting.put(command)

    def stop(self, why: str, *, wait: bool = True) -> None:
        """Take no more commands, finish those that wait, close the connection. Calling it again does nothing.

        Args:
            why: what is said to those who come later.
            wait: whether to wait until it is done.
        """
        with self._putting:
            already, self._closed = self._closed, self._closed or why
            thread = self._thread
            if already is None and thread is not None:
                self._waiting.put(None)
        if thread is None:
            with self._busy:
                self._disconnect()
        elif wait and thread is not threading.current_thread():
            thread.join(STOP_WAIT_S)

    def _work(self, waiting: queue.SimpleQueue[QueuedCommand[Any] | None]) -> None:
        going_on = True
        while going_on:
            group: list[QueuedCommand[Any]] = []
            command = waiting.get()
            try:
                while command is not None:
                    group.append(command)
                    if len(group) == GROUP_MAX:
                        break
                    command = waiting.get_nowait()
                else:
                    going_on = False
            except queue.Empty:
                pass
            if group:
                self._commit(group)
            if waiting is not self._waiting:
                return  # forked meanwhile, by a listener: this is the child, and the thread its first
        with self._busy:
            self._disconnect()

    def _commit(self, group: list[QueuedCommand[Any]]) -> None:
        """Run a group to its commit, then call the listeners and give the callers their results."""
        now = 0
        try:
            with self._busy:
                now = self._run_with_reserve(group)
        except BaseException as error:
            if not isinstance(error, StoreError):
                log.exception("the writer of %s failed", self._options.path)
            for command in group:
                command.error, command.notes = error if command is group[0] else own_copy(error), []
        try:
            for command in group:
                if command.notes:
                    self._listeners.tell(command.notes, now)
        except BaseException:  # SystemExit from a listener must end neither this thread nor the wait of the callers
            log.exception("a listener asked the writer of %s to end", self._options.path)
        _answer(group)

    def _run_with_reserve(self, group: list[QueuedCommand[Any]]) -> int:
        """Run a group; where the disk is full, only what ends things or frees space."""
        now, left = 0, group
        if self._reserve.is_kept() or self._reserve.keep():
            try:
                now = self._run_group(group)
                left = [command for command in group if isinstance(command.error, Full)]
            except Full:
                pass
            if not left:
                return now
            log.warning("there is no space left for %s; what only ends things goes on", self._options.path)
            self._reserve.give_up()
            self._begin_log_anew()
        try:
            return self._run_group(left, scarce=True)
        except Full:
            self._begin_log_anew()
        for command in left:  # several together may be too many for the place that the log has
            try:
                now = self._run_group([command], scarce=True)
            except StoreError as error:
                command.error, command.notes = error, []
        return now

    def _begin_log_anew(self) -> None:
        """Have the write-ahead log begin anew, in the place that it has already; nothing where a reader needs it."""
        with contextlib.suppress(sqlite3.Error):
            self._connected()[0].execute("PRAGMA wal_checkpoint(RESTART)").fetchall()

    def _run_group(self, group: list[QueuedCommand[Any]], *, scarce: bool = False) -> int:
        """Run a group to its commit; where space is scarce, refuse what makes the file grow."""
        connection, transaction, applier = self._connected()
        self._options.begin_writing(connection)
        try:
            for _ in range(LATE_MAX):
                mark = clock_mark_ms(connection)
                self._clock.raise_to(mark)
                now = self._clock.now()
                wrote, not_after = False, NEVER
                for command in group:
                    tx = transaction(now)
                    if self._run_one(command, connection, tx, applier, scarce):
                        wrote, not_after = True, min(not_after, tx.changes.not_after)
                if wrote and now > mark:
                    set_clock_mark(connection, now)
                self._file.look()
                if self._clock.now() < not_after:
                    connection.execute("COMMIT")
                    return now
                connection.execute("ROLLBACK")
                self._options.begin_writing(connection)
            raise StoreBusy("what was to be changed ended before it could be written, each time; try again later")
        except _Lost as lost:
            raise self._failed(connection, lost.__cause__) from lost.__cause__
        except sqlite3.Error as error:
            raise self._failed(connection, error) from error
        except BaseException:
            self._disconnect()
            raise

    def _run_one(
        self,
        command: QueuedCommand[Any],
        connection: sqlite3.Connection,
        tx: Any,
        applier: Applier,
        scarce: bool,
    ) -> bool:
        """Run one rule and write its change set down; return whether there was anything to write."""
        command.result, command.error, command.notes = None, None, []
        try:
            if self._records is not None:
                self._records.left_out = []
            result = command.rule(tx, *command.args)
            if tx.changes:
                if scarce and not tx.changes.only_ends:
                    raise self._options.full()
                if self._listeners.kept:
                    tx.changes.keep_events(tx.now)
                applier.apply(tx.changes, tx.now)
        except sqlite3.IntegrityError:
            command.error = AlreadyExists("another record has that id or secret; nothing was written")
        except sqlite3.Error as error:
            if not connection.in_transaction:
                raise _Lost from error
            command.error = self._options.meant_by(error)
            command.error.__cause__ = error
        except BaseException as error:
            if not connection.in_transaction:
                raise _Lost from error
            command.error = error
        else:
            command.result = result
            command.notes = tx.changes.notes
            return bool(tx.changes)
        return False

    def _failed(self, connection: sqlite3.Connection, error: BaseException | None) -> BaseException:
        """Undo what is left of a transaction; return what its failure means."""
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._disconnect()
        if isinstance(error, sqlite3.Error):
            return self._options.meant_by(error)
        return error or StoreUnavailable("the transaction was lost; try again")

    def _connected(self) -> tuple[sqlite3.Connection, Callable[[int], Any], Applier]:
        if self._connection is None or self._transaction is None or self._applier is None:
            self._connection = self._file.connect(writing=True)
            checked = CheckedRows()
            self._records = Records(
                self._connection, self._beginning, self._keyring, self._clock, checked, self._unreadables
            )
            self._transaction = transactions_on(self._records)
            self._applier = Applier(self._connection, self._beginning, self._keyring, checked)
        return self._connection, self._transaction, self._applier

    def _disconnect(self) -> None:
        connection, self._connection, self._records = self._connection, None, None
        self._transaction = self._applier = None
        if connection is not None:
            connection.close()

    def alone(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Do ``act`` with the writer's connection while no group is under way, on this thread."""
        with self._busy:
            if self._closed is not None:
                raise StoreUnavailable(self._closed)
            connection, _, _ = self._connected()
            self._file.look()
            try:
                return act(connection)
            except sqlite3.Error as error:
                raise self._failed(connection, error) from error
            except BaseException as error:
                self._failed(connection, error)
                raise

    def alone_writing(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """As ``alone``, in a transaction that waits for whoever writes to the file, and is committed if ``act`` is."""

        def writing(connection: sqlite3.Connection) -> T:
            self._options.begin_writing(connection)
            answer = act(connection)
            connection.execute("COMMIT")
            return answer

        return self.alone(writing)

    def pause(self, give_up_at: float) -> bool:
        """Close the connection and begin nothing until ``resume``; return whether that was reached in time."""
        self._paused = self._busy.acquire(timeout=max(0.0, give_up_at - time.monotonic()))
        if self._paused:
            self._disconnect()
        return self._paused

    def resume(self) -> None:
        """Go on after ``pause``."""
        if self._paused:
            self._paused = False
            self._busy.release()

    def start_again(self) -> None:
        """Begin anew in a forked child: the parent's queue, thread and connection are not this process's."""
        if self._connection is not None:
            leave_to_parent(self._connection, self._records, self._applier)
        self._start()

    @property
    def is_connected(self) -> bool:
        """Whether a connection is open."""
        return self._connection is not None


def _answer(group: list[QueuedCommand[Any]]) -> None:
    """Wake the waiting threads, and each event loop once for all its waiting tasks."""
    by_loop: dict[asyncio.AbstractEventLoop, list[QueuedCommand[Any]]] = {}
    for command in group:
        if command.future is None:
            command.wake()
        else:
            by_loop.setdefault(command.future.get_loop(), []).append(command)
    for loop, commands in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, commands)
        except RuntimeError:
            log.debug("an event loop was closed while %d commands waited", len(commands))


def _resolve(commands: list[QueuedCommand[Any]]) -> None:
    for command in commands:
        command.resolve()
