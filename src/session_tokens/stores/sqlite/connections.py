"""The connections to one SQLite file: how they are opened, pooled for readers, and kept out of forked processes.

Theory of operation. SQLite keeps its file locks per process and remembers in memory which it holds. A child that is
forked while a connection is open would inherit that memory without the locks, and could lose what it writes. So all
connections are closed before a fork and opened again when they are next needed, in the parent and in the child.
For the same reason the database file is never opened and closed by other means than SQLite: closing any descriptor
of a file drops all locks that the process holds on it.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, Protocol, TypeVar
from urllib.parse import quote

from ...contract.forks import in_children
from ...errors import CorruptRecord, InvalidInput, StoreBusy, StoreError, StoreUnavailable
from ..common.retry import Full

T = TypeVar("T")

log = logging.getLogger("session_tokens.stores.sqlite")

CACHE_KIB = 16_384
"""Of pages that one connection keeps in memory."""
CHECKPOINT_PAGES = 4_000
"""How long the write-ahead log grows before it is written back: about 16 MB."""
FORK_WAIT_S = 10.0
"""How long a fork waits for reads and a commit that are under way."""
LOOK_EVERY_S = 1.0
"""For how long reads take it that the file is still in its place; each commit checks it."""

DAMAGED_REMEDY = (
    "stop all processes that use it, keep a copy, and restore a backup together with its key file. Without one, "
    "sqlite3 FILE .recover may save rows into a new file, of which session-tokens check --fix sets the bad ones aside; "
    "or begin with an empty file, and owners log in again"
)
"""What is done about a file in which SQLite does not find its way any more."""

_SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")


class FileOptions:
    """Where the database is and how it is used; checked once.

    Attributes:
        path: the file, absolute, so that a change of the working folder does not matter.
        synchronous: SQLite's setting: ``FULL`` keeps each acknowledged command through a power cut, ``NORMAL`` may
            lose the last ones (never the file's consistency).
        busy_timeout_s: how long to wait for another process that holds the file, in seconds.
    """

    __slots__ = ("busy_timeout_s", "path", "synchronous", "uri")

    def __init__(self, path: str | os.PathLike[str], synchronous: str, busy_timeout_s: float) -> None:
        text = os.fspath(path)
        if not isinstance(text, str):
            raise TypeError("the path of a database is a str or Path")
        if not text or "\0" in text or text == ":memory:":
            raise InvalidInput("SQLite needs the path of a file; for a store in memory use memory://")
        if synchronous not in _SYNCHRONOUS:
            raise InvalidInput(f"synchronous is one of {', '.join(_SYNCHRONOUS)}")
        if isinstance(busy_timeout_s, bool) or not isinstance(busy_timeout_s, int | float):
            raise TypeError("busy_timeout_s is a number of seconds")
        if not 0 <= busy_timeout_s <= 3600:
            raise InvalidInput("busy_timeout_s is 0 to 3600 seconds")
        self.path = Path(os.path.abspath(text))
        self.synchronous = synchronous
        self.busy_timeout_s = float(busy_timeout_s)
        self.uri = f"file:{quote(str(self.path))}?mode=rw"

    def connect(self, *, writing: bool) -> sqlite3.Connection:
        """Open a connection to the file, which is there: a deleted file is not silently made anew.

        A reader waits for locks inside SQLite; a writer does its own waiting (``begin_writing``).
        """
        return self.insist(lambda: self._connect(writing))

    def _connect(self, writing: bool) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.uri,
            uri=True,
            timeout=0 if writing else self.busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            if writing:
                connection.execute(f"PRAGMA synchronous = {self.synchronous}")
                connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            else:
                connection.execute("PRAGMA query_only = ON")
        except BaseException:
            connection.close()
            raise
        return connection

    def begin_writing(self, connection: sqlite3.Connection) -> None:
        """Take the file's one write lock, waiting at most ``busy_timeout_s``.

        It asks again every millisecond or so: SQLite's own waiting backs off to 100 ms and would starve beside a
        busy process.

        Raises:
            StoreBusy: another process held it all the time.
        """
        self.insist(lambda: connection.execute("BEGIN IMMEDIATE"))

    def insist(self, act: Callable[[], T]) -> T:
        """Do ``act``, again and again while the file is locked, at most ``busy_timeout_s``; return what it answers."""
        give_up_at = time.monotonic() + self.busy_timeout_s
        pause_s = 0.0002
        while True:
            try:
                return act()
            except sqlite3.OperationalError as error:
                if _primary_code(error) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise self.meant_by(error) from error
                if time.monotonic() >= give_up_at:
                    raise self.meant_by(error) from error
            except sqlite3.Error as error:
                raise self.meant_by(error) from error
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.002)

    def full(self) -> Full:
        """Return the error for what a full disk does not take."""
        return Full(
            f"there is no space left for the database {self.path}: make room; sessions can be ended, and what is over "
            "swept, meanwhile"
        )

    def meant_by(self, error: sqlite3.Error) -> StoreError:
        """Return the error of our tree that an error of SQLite means, with what to do about it."""
        code = _primary_code(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StoreBusy(
                f"the database {self.path} was locked by another process for {self.busy_timeout_s:g} s; "
                "find what holds a transaction open, or raise busy_timeout"
            )
        if code == sqlite3.SQLITE_FULL or _name_of(error) == "SQLITE_IOERR_SHMSIZE":
            return self.full()
        if code == sqlite3.SQLITE_READONLY:
            return StoreUnavailable(
                f"the database {self.path} is read-only; make the file and its folder writable for user {os.geteuid()}"
            )
        if code == sqlite3.SQLITE_CANTOPEN:
            return StoreUnavailable(
                f"the database {self.path} cannot be opened; see that it is there and that user {os.geteuid()} may "
                "read and write it and its folder"
            )
        if code == sqlite3.SQLITE_IOERR:
            return StoreUnavailable(
                f"reading or writing the database {self.path} failed ({_name_of(error)}); check the disk, its space "
                "and its quota"
            )
        if code == sqlite3.SQLITE_NOTADB:
            return StoreError(f"the file {self.path} is not an SQLite database; restore it, or name another file")
        if code == sqlite3.SQLITE_CORRUPT:
            return CorruptRecord(f"the database {self.path} is damaged; {DAMAGED_REMEDY}")
        return StoreUnavailable(f"the database {self.path} cannot be asked ({_name_of(error)}: {error})")


def meant_by(path: Path, error: sqlite3.Error) -> StoreError:
    """Return the error of our tree that an error of SQLite means of a file that was read and not waited for."""
    return FileOptions(path, "FULL", 0).meant_by(error)


class OpenedFile:
    """The very file that a store was opened on, known by its device and inode.

    Open connections go on with a file that was moved, deleted or replaced, and nothing that they do fails: what they
    write would be acknowledged and then be in no file that anybody opens again.

    Attributes:
        look_at_s: when a read should ``look`` again, on the monotonic clock.
    """

    __slots__ = ("_id", "_options", "_path", "look_at_s")

    def __init__(self, options: FileOptions) -> None:
        self._options = options
        self._path = str(options.path)
        self._id = self._present_id()
        self.look_at_s = time.monotonic() + LOOK_EVERY_S

    def _present_id(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def look(self) -> None:
        """Return if the file is still in its place; it takes a microsecond.

        Raises:
            StoreUnavailable: it is not.
        """
        if self._id is None or self._present_id() != self._id:
            self.look_at_s = 0.0
            raise StoreUnavailable(
                f"the database {self._path} was moved, deleted or replaced while it was open; put it back, or stop "
                "all processes that use it and open the store again on the file that is right"
            )
        self.look_at_s = time.monotonic() + LOOK_EVERY_S

    def connect(self, *, writing: bool) -> sqlite3.Connection:
        """Open a connection to this file, and not to another that has come in its place.

        Raises:
            StoreUnavailable: it is not in its place, or cannot be opened.
        """
        self.look()
        connection = self._options.connect(writing=writing)
        try:
            self.look()
        except BaseException:
            connection.close()
            raise
        return connection


def _primary_code(error: sqlite3.Error) -> int | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _name_of(error: sqlite3.Error) -> str:
    name: str = getattr(error, "sqlite_errorname", type(error).__name__)
    return name


PAGE_BYTES_MIN = 512
"""The smallest page of SQLite: a shorter file that is not empty is no database."""


def make_private_file(path: Path) -> None:
    """Make an empty database file of mode 0600 where there is none; SQLite gives its companions the same mode.

    Raises:
        StoreUnavailable: the folder is not there or cannot be written to.
        InvalidInput: the path names a folder or another thing that is no file.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        if not path.is_file():
            raise InvalidInput(f"{path} is not a regular file; name one") from None
        if 0 < path.stat().st_size < PAGE_BYTES_MIN:  # SQLite would take it for empty, and write over it
            raise InvalidInput(f"{path} is no database; name another file") from None
        return  # whose it is shows when it is read: until then nothing of it is changed
    except FileNotFoundError:
        raise StoreUnavailable(f"the folder {path.parent} is not there; make it first (mkdir -m 700)") from None
    except NotADirectoryError:
        raise InvalidInput(f"{path.parent} is not a folder; name a file in one") from None
    except OSError as error:
        raise StoreUnavailable(f"the database {path} cannot be made: {error.strerror}") from error
    os.fchmod(descriptor, 0o600)
    os.close(descriptor)  # it is new: no connection of this process holds a lock on it


def keep_private(path: Path) -> None:
    """Take the rights of others away from a database that is known to be ours, and from its companions."""
    try:
        for companion in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            try:
                status = os.stat(companion)
                if status.st_mode & 0o077:
                    os.chmod(companion, 0o600)
                    log.warning("%s was open to others (%o); not any more", companion, status.st_mode & 0o777)
            except FileNotFoundError:
                continue
    except PermissionError as error:
        log.warning("%s is open to others and user %s cannot change that", error.filename or path, os.geteuid())


class Reader(Protocol):
    """What a pool keeps: something with a connection of its own."""

    connection: sqlite3.Connection


R = TypeVar("R", bound=Reader)


class ReaderPool(Generic[R]):
    """Idle read connections, last used first. A reader belongs to one thread from ``take`` to ``give``.

    It keeps as many connections as threads ever read at the same time, however many threads come and go.

    Args:
        open_reader: opens one more.
    """

    def __init__(self, open_reader: Callable[[], R]) -> None:
        self._open = open_reader
        self._idle: deque[R] = deque()
        self._gate = threading.RLock()
        self._counting = threading.RLock()  # of its own: a fork holds the gate while it waits for the last one to go
        self.count = 0
        self._paused = False
        self.closed: str | None = None

    def take(self) -> R:
        """Return a reader that is idle, or a new one.

        Raises:
            StoreUnavailable: the store is closed, or the file cannot be opened.
        """
        try:
            return self._idle.pop()
        except IndexError:
            pass
        with self._gate:
            if self.closed is not None:
                raise StoreUnavailable(self.closed)
            reader = self._open()
            with self._counting:
                self.count += 1
            return reader

    def give(self, reader: R) -> None:
        """Take a reader back."""
        self._idle.append(reader)
        if self.closed is not None:
            with self._gate:
                self._close_idle()

    def drop(self, reader: R) -> None:
        """Close a reader that failed instead of taking it back."""
        self._close(reader)

    def close(self, why: str) -> None:
        """Close what is idle now and the rest as it comes back; ``why`` is what is said to those who come later."""
        with self._gate:
            self.closed = self.closed or why
            self._close_idle()

    def pause(self, give_up_at: float) -> bool:
        """Close all readers and hold new ones back until ``resume``; return whether all came back in time."""
        if not self._gate.acquire(timeout=max(0.0, give_up_at - time.monotonic())):
            return False
        self._paused = True
        while True:
            self._close_idle()
            if self.count == 0:
                return True
            if time.monotonic() >= give_up_at:
                return False
            time.sleep(0.0005)

    def resume(self) -> None:
        """Let readers be opened again after ``pause``."""
        if self._paused:
            self._paused = False
            self._gate.release()

    def _close_idle(self) -> None:
        while self._idle:
            try:
                reader = self._idle.pop()
            except IndexError:
                return
            self._close(reader)

    def _close(self, reader: R) -> None:
        reader.connection.close()
        with self._counting:
            self.count -= 1


class Forkable(Protocol):
    """What must let go of its connections before a fork."""

    def before_fork(self, give_up_at: float) -> None:
        """Close all connections and open none; give up at an instant of the monotonic clock, in seconds."""
        ...

    def after_fork_in_parent(self) -> None:
        """Go on."""
        ...

    def after_fork_in_child(self) -> None:
        """Begin anew."""
        ...


_forkables: weakref.WeakSet[Forkable] = weakref.WeakSet()
_left_to_parent: list[object] = []
"""What a child must never close, having got it from a parent that could not let go in time."""


class _Forks:
    """What this process does around each fork; registered with the first store.

    Attributes:
        opening: held while a store is opened, whose connection no store owns yet.
    """

    def __init__(self) -> None:
        self.opening = threading.RLock()
        self._is_registered = False
        self._held = False

    def register(self) -> None:
        if not self._is_registered:
            self._is_registered = True
            os.register_at_fork(before=self._before, after_in_parent=self._in_parent)
            in_children(self._in_child)

    def _before(self) -> None:
        give_up_at = time.monotonic() + FORK_WAIT_S
        self._held = self.opening.acquire(timeout=FORK_WAIT_S)
        for forkable in list(_forkables):
            forkable.before_fork(give_up_at)

    def _in_parent(self) -> None:
        for forkable in list(_forkables):
            forkable.after_fork_in_parent()
        if self._held:
            self.opening.release()

    def _in_child(self) -> None:
        self.opening = threading.RLock()
        for forkable in list(_forkables):
            forkable.after_fork_in_child()


_forks = _Forks()


@contextmanager
def no_fork_meanwhile() -> Iterator[None]:
    """Let a fork wait until this is over."""
    with _forks.opening:
        _forks.register()
        yield


def leave_to_parent(*things: object) -> None:
    """Keep what a parent's connections are reached by, so that they are not closed in this process."""
    _left_to_parent.extend(things)


def watch_forks(forkable: Forkable) -> None:
    """Call ``forkable`` at every fork from now on."""
    _forkables.add(forkable)
