"""Backs a store up into one file that can be kept anywhere, while the store is in use, and puts it back.

An SQLite file is copied as of one instant by SQLite itself. Of a store on a server the backup is an SQLite file too, so
that one kind of file is put back into whatever store is wanted.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from ..clock import SteadyClock
from ..crypto.key_file import (
    KEY_FILE_SUFFIX,
    Keys,
    given_keys,
    key_file_of,
    keyring_of,
    put_key_file,
    read_key_file,
)
from ..crypto.safe_places import insist_on_safe_folder
from ..errors import Conflict, CorruptRecord, InvalidInput, StoreUnavailable
from .common.backing_up import BackingUp, Within
from .common.copying import MoveSetting
from .common.kinds import KINDS
from .common.store_url import store_url_of
from .connect import copy_mark_of, copy_store, insist_it_is_there, open_anyway_now, opened_to_read
from .sqlite.connections import meant_by
from .sqlite.schema import check_keys, is_of_session_tokens, keys_at_hand
from .sqlite.upkeep import spaces_of

PAGES_AT_ONCE = 512
"""Of the file, between two signs of how far it has come."""
Progress = Callable[[int, int], None]


class BackedUp(NamedTuple):
    """What a backup holds, or what was put back.

    Attributes:
        records: how many there are, of all kinds.
        key_file: where the keys are that it needs; ``None`` where they are given another way, and not in it.
    """

    records: int
    key_file: str | None


class Moving(NamedTuple):
    """How settings go into a backup; ``rules.copied_settings`` has all three."""

    move: MoveSetting
    ends: Sequence[str]
    within: Within


def backup_store(url: str, file: str, progress: Progress, moving: Moving) -> BackedUp:
    """Write everything that a store holds into a new file, while it is in use.

    Whatever was acknowledged before this began is in it. The file appears whole or not at all.

    Args:
        url: of the store; see ``open_store``.
        file: the path of the file to make; ``<file>.key`` is made beside it where the store has a key file of its own.
        progress: ``progress(done, total)``, called now and then.
        moving: how settings go into it.

    Raises:
        InvalidInput: a store in memory, one that is not there, or a place that a file may not be in.
        Conflict: there is such a file already.
        StoreError: the store cannot be read, or the file not be written.
    """
    named, path = store_url_of(url), Path(os.path.abspath(file))
    if named.kind == "memory":
        raise InvalidInput("a store in memory ends with its process and cannot be backed up; name one that outlives it")
    insist_it_is_there(url)
    insist_it_is_new(path)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    try:
        if named.kind == "sqlite":
            source = Path(os.path.abspath(named.path))
            _insist_it_is_a_store(source)
            # Read before the copy is of its instant: a key that is retired meanwhile is needed there.
            keys = read_key_file(key_file_of(source)) if given_keys(None) is None else None
            _copied_file(source, draft, progress)
        else:
            _dumped(url, draft, progress, moving)
            keys = None
        return BackedUp(put_in_place(draft, path, keys), None if keys is None else str(key_file_of(path)))
    finally:
        remove_draft(draft)


def restore_store(
    file: str, url: str, progress: Progress, move: MoveSetting, *, sealed: bool | None = None
) -> BackedUp:
    """Put a backup into a store that is empty, or not there.

    Args:
        file: what ``backup_store`` made, with its key file where it has one.
        url: of the store; see ``open_store``.
        progress: ``progress(done, total)``, called now and then.
        move: what moves settings where events have other ids; see ``copy_store``.
        sealed: see ``copy_store``; a file that is put back as a file is copied as it is.

    Raises:
        InvalidInput: there is no such file or it is no backup, a store in memory, or keys that are missing or not
            those of the backup.
        Conflict: the store holds something, or its file is there.
        StoreError: the file cannot be read, or the store not be written.
    """
    named, path = store_url_of(url), Path(os.path.abspath(file))
    if not path.is_file():
        raise InvalidInput(f"there is no backup {path}")
    _insist_it_is_a_backup(path)
    if named.kind != "sqlite":
        counts, _, _ = copy_store(f"sqlite:///{path}", url, progress, move, sealed=sealed)
        return BackedUp(sum(counts.values()), None)
    target = Path(os.path.abspath(named.path))
    insist_it_is_new(target)
    draft = target.with_name(f"{target.name}.{secrets.token_hex(8)}.new")
    held = _keys_of(path)
    keys = held if given_keys(None) is None else None
    try:
        _copied_file(path, draft, progress)
        _insist_on_keys(path, draft, held)
        return BackedUp(put_in_place(draft, target, keys), None if keys is None else str(key_file_of(target)))
    finally:
        remove_draft(draft)


def _keys_of(backup: Path) -> Keys:
    """Return the keys with which a backup is put back.

    Raises:
        InvalidInput: none are given, and none are beside it.
    """
    keys = keys_at_hand(None, backup)
    if keys is None:
        raise InvalidInput(
            f"the backup {backup} opens nothing without its keys, and there is no {key_file_of(backup)}: put it back "
            "there, or name it, SESSION_TOKENS_PEPPER_FILE=FILE"
        )
    return keys


def _insist_it_is_a_backup(path: Path) -> None:
    """Refuse a file that is none."""
    try:
        with closing(_reading(path)) as connection:
            if is_of_session_tokens(connection):
                return
    except sqlite3.Error as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
            raise StoreUnavailable(f"{path} cannot be read: {error}") from error
    raise InvalidInput(f"{path} is no backup of a store; name what store backup made")


def _insist_it_is_a_store(path: Path) -> None:
    """Refuse a file that is no store of ours; of one that is damaged say what all commands say."""
    try:
        with closing(_reading(path)) as connection:
            if is_of_session_tokens(connection):
                return
    except sqlite3.Error as error:
        raise meant_by(path, error) from error
    raise InvalidInput(f"{path} is no store of session-tokens; look at its name")


def _insist_on_keys(backup: Path, copy: Path, keys: Keys) -> None:
    """Refuse keys that are not those of a backup, by its copy, which stays as it is."""
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        try:
            check_keys(connection, backup, keyring_of(keys), keys.source, SteadyClock())
        except sqlite3.Error as error:
            raise CorruptRecord(f"the backup {backup} is not whole: {error}") from error


def _reading(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)


def insist_it_is_new(path: Path) -> None:
    """Refuse a place that a file may not be in, or where there is one.

    Raises:
        InvalidInput: others can write to its folder.
        Conflict: there is a file.
    """
    insist_on_safe_folder(path, "database")
    for there in (path, path.with_name(path.name + "-wal")):
        if there.exists() or there.is_symlink():
            raise Conflict(f"there is a file {there} already; name one that is not there, or move it away")


def not_written(draft: Path, error: OSError) -> StoreUnavailable:
    """Return what is said where a file cannot be made: of its folder, for the draft's name is nobody's."""
    if isinstance(error, FileNotFoundError):
        return StoreUnavailable(f"the folder {draft.parent} is not there; make it first (mkdir -m 700)")
    return StoreUnavailable(f"nothing can be written to {draft.parent}: {error.strerror}; name another folder")


def _copied_file(source: Path, draft: Path, progress: Progress) -> None:
    """Copy a database as of one instant, whatever is written meanwhile."""
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with closing(_reading(source)) as reading:
            reading.execute("BEGIN")
            reading.execute("SELECT count(*) FROM sqlite_master").fetchone()  # from now on it sees this instant
            with closing(sqlite3.connect(draft, isolation_level=None)) as writing:
                reading.backup(
                    writing, pages=PAGES_AT_ONCE, progress=lambda status, left, total: progress(total - left, total)
                )
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise meant_by(source, error) from error
        raise StoreUnavailable(f"{source} cannot be copied to {draft.parent}: {error}") from error
    except OSError as error:
        raise not_written(draft, error) from error


def _dumped(url: str, draft: Path, progress: Progress, moving: Moving) -> None:
    """Write what a store on a server holds into a database, under the keys that were given."""
    target = f"sqlite:///{draft}?synchronous=OFF"  # it is synced once, at the end
    backing_up = BackingUp(
        partial(opened_to_read, url),
        lambda space, is_sealed: open_anyway_now(target, space=space, sealed=is_sealed),
        copy_mark_of(url),
        progress,
        *moving,
    )
    backing_up.run()


def put_in_place(draft: Path, path: Path, keys: Keys | None) -> int:
    """Give a whole database its name, after its keys have theirs; return how many records it holds."""
    count = _alone(draft)
    if keys is not None and not put_key_file(beside := key_file_of(path), keys):
        there = read_key_file(beside)
        if (there.peppers, there.data, there.index) != (keys.peppers, keys.data, keys.index):
            raise Conflict(f"the key file {beside} holds other keys; move it away, or name another file")
    give_name(draft, path)
    return count


def remove_draft(draft: Path) -> None:
    """Remove a file that was not given its name, with its keys and what SQLite made beside it."""
    for rest in ("", "-wal", "-shm", "-journal", "-reserve", KEY_FILE_SUFFIX):
        left = draft.with_name(draft.name + rest)
        if left.exists():  # of a file system that is read-only nothing can be removed, not even what is not there
            left.unlink(missing_ok=True)


def give_name(draft: Path, path: Path) -> None:
    """Give a file that is whole, and on the disk, the name that nothing has.

    Raises:
        Conflict: there is a file of that name.
        StoreUnavailable: it cannot be made.
    """
    try:
        os.link(draft, path, follow_symlinks=False)
    except FileExistsError:
        raise Conflict(f"there is a file {path} already; name one that is not there") from None
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be made: {error.strerror}") from error
    draft.unlink()
    sync(path.parent)


def _alone(draft: Path) -> int:
    """Make a database one file, with nothing beside it, on the disk; return how many records it holds."""
    with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            raise CorruptRecord(f"the copy is not whole ({said}); session-tokens check names what is wrong")
        tables = [f"{space}{kind.table}" for space in spaces_of(connection) for kind in KINDS.values()]
        count: int = sum(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)
    sync(draft)
    return count


def sync(path: Path) -> None:
    """Have what was written to a file, or the names in a folder, be on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
