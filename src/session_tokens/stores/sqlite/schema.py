"""What an SQLite file must hold before it is used: our mark, a schema we know, the right peppers, a sane clock.

Everything that is checked or made here happens in one write transaction, so that of several first processes each
finds the file either empty or complete. What the file has once stands in ``meta``:

- ``schema_version``: how many migrations it has seen.
- ``space:<beginning of the tables' names>``: one for each name space.
- ``clock_mark_ms``: the instant of the last commit.
- ``events_trimmed:<beginning of the tables' names>``: up to which event they were taken away.
"""

from __future__ import annotations

import re
import sqlite3
from functools import cache
from importlib import resources
from pathlib import Path

from ...clock import Clock
from ...crypto.key_file import Keys, given_keys, key_file_of, make_key_file, read_key_file
from ...crypto.minting import Pepper, PepperKeyring, is_pepper_id
from ...errors import InvalidInput, StoreError
from ..common.migrations import NEWEST, since
from ..common.sql_tables import schema_statements
from .connections import FileOptions
from .queries import PEPPERS_MAX
from .rows import DIALECT
from .upkeep import SqliteUpkeep, spaces_of

APPLICATION_ID = 0x53546B31
"""By which a file is known to be ours; ``STk1`` in ASCII."""

CLOCK_LEAD_MS_MAX = 300_000
"""How far the last commit may be ahead of the clock when a file is opened: 5 minutes."""

_SPACE = re.compile(r"[a-z][a-z0-9]{0,15}")


def table_prefix_of(space: str) -> str:
    """Return how the names of a name space's tables begin: nothing for the main one.

    Raises:
        InvalidInput: a name that is not 1 to 16 small letters and digits.
    """
    if space and not _SPACE.fullmatch(space):
        raise InvalidInput("a name space is 1 to 16 small letters and digits")
    return f"{space}_" if space else ""


@cache
def statements_of(file: str) -> tuple[str, ...]:
    """Return the statements of an SQL file."""
    text = resources.files(__package__).joinpath("sql", file).read_text(encoding="ascii")
    code = re.sub(r"--[^\n]*\n", "", text)
    return tuple(statement for statement in map(str.strip, code.split(";\n")) if statement)


def keys_at_hand(pepper: Pepper | None, path: Path) -> Keys | None:
    """Return the keys that are given, or those in the key file beside the database; ``None`` where there is neither.

    Nothing is made, so that a key that can never be right leaves no database behind.

    Raises:
        InvalidInput: a pepper or key file that can never be right.
    """
    keys = given_keys(pepper)
    beside = key_file_of(path)
    if keys is None and (beside.exists() or beside.is_symlink()):
        keys = read_key_file(beside)
    if keys is not None and len(keys.peppers) > PEPPERS_MAX:
        raise InvalidInput(f"{keys.source} holds more than {PEPPERS_MAX} peppers; take old ones away")
    return keys


def made_keys(path: Path, connection: sqlite3.Connection) -> Keys:
    """Return the keys in a new key file beside a new database.

    Raises:
        InvalidInput: the database has peppers, and none is given; or another process made a key file meanwhile, and
            it can never be right.
    """
    beside = key_file_of(path)
    rows = connection.execute("SELECT key_id FROM peppers").fetchall() if _is_ours(connection, path) else ()
    recorded = [key_id for (key_id,) in rows if is_pepper_id(key_id)]
    if recorded and not beside.exists():
        raise InvalidInput(
            f"the database {path} was written under the pepper {', '.join(recorded)}, and its key file {beside} is "
            "not there; restore that file, or give pepper=. A new key would open nothing that is stored",
            key_id=recorded[0],
            key_ids=recorded,
        )
    make_key_file(beside)
    return read_key_file(beside)


def is_of_session_tokens(connection: sqlite3.Connection) -> bool:
    """Whether a file was made by us; an empty one and another program's were not."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    return bool(application_id == APPLICATION_ID)


def check_keys(connection: sqlite3.Connection, path: Path, keyring: PepperKeyring, source: str, clock: Clock) -> None:
    """Judge whether the file at ``path``, which is ours, can be opened with these keys; it stays as it is.

    Raises:
        InvalidInput: a missing or wrong pepper, or data or index key.
        StoreError: a newer schema.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        for table_prefix in list(spaces_of(connection)):
            _migrate(connection, table_prefix, path)
            upkeep = SqliteUpkeep(connection, table_prefix, keyring, clock, f"the database {path}", source)
            upkeep.at_once(upkeep.recorded())
    finally:
        connection.execute("ROLLBACK")


def _is_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file was made by us, ``False`` for an empty one.

    Raises:
        StoreError: it is another program's.
    """
    if is_of_session_tokens(connection):
        return True
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if application_id != 0 or connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        raise StoreError(f"the database {path} is another program's; give session-tokens a file of its own")
    return False


def prepare(
    options: FileOptions,
    connection: sqlite3.Connection,
    table_prefix: str,
    keyring: PepperKeyring,
    source: str,
    clock: Clock,
    *,
    fix_clock: bool = False,
) -> None:
    """Make or migrate the tables, check and record the keys, check and raise the clock: in one transaction.

    Args:
        keyring: of the store; learns whether that is sealed.
        source: where its keys come from, for people.
        fix_clock: take the clock for the instant of the last commit first.

    Raises:
        InvalidInput: a missing or wrong pepper.
        StoreError: a newer schema, another program's file, a mark ahead of the clock.
        StoreBusy: another process holds the file.
    """
    options.begin_writing(connection)
    try:
        if not _is_ours(connection, options.path):
            _make_file(connection)
        _migrate(connection, table_prefix, options.path)
        upkeep = SqliteUpkeep(connection, table_prefix, keyring, clock, f"the database {options.path}", source)
        upkeep.at_once(upkeep.recorded())
        if fix_clock:
            set_clock_mark(connection, clock.now())
        _check_clock(connection, clock, options.path)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _make_file(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
    for statement in statements_of("file.sql"):
        connection.execute(statement)
    rows = [("schema_version", NEWEST), ("clock_mark_ms", 0)]
    connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)


def _migrate(connection: sqlite3.Connection, table_prefix: str, path: Path) -> None:
    (version,) = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()
    if not isinstance(version, int) or version > NEWEST:
        raise StoreError(
            f"the database {path} has schema {version}, this session-tokens knows {NEWEST}; upgrade "
            "session-tokens, or restore a backup from before the upgrade",
            schema_version=version,
        )
    spaces = list(spaces_of(connection))
    for space in spaces:
        _apply(connection, space, version)
    if table_prefix not in spaces:
        _apply(connection, table_prefix, 0)
        connection.execute("INSERT INTO meta VALUES (?, 1)", (f"space:{table_prefix}",))
    if version < NEWEST:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'schema_version'", (NEWEST,))


def _apply(connection: sqlite3.Connection, table_prefix: str, seen: int) -> None:
    """Make the tables of a name space, or bring those of version ``seen`` up to this one."""
    if seen == 0:
        for statement in schema_statements(DIALECT, table_prefix, table_prefix):
            connection.execute(statement)
        for statement in statements_of("space.sql"):
            connection.execute(statement.replace("{space}", table_prefix))
        return
    for migration in since(seen):
        for _, _, statement in migration.statements(DIALECT, table_prefix):
            connection.execute(statement)


def clock_mark_ms(connection: sqlite3.Connection) -> int:
    """Return the instant of the last commit, 0 before the first."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'clock_mark_ms'").fetchone()
    mark: int = row[0] if row is not None and isinstance(row[0], int) else 0
    return mark


def _check_clock(connection: sqlite3.Connection, clock: Clock, path: Path) -> None:
    mark, now = clock_mark_ms(connection), clock.now()
    if mark > now + CLOCK_LEAD_MS_MAX:
        raise StoreError(
            f"the last commit to the database {path} is {(mark - now) // 1000} s ahead of this host's clock; set the "
            "clock right, or accept it with session-tokens check --fix-clock",
            mark_ms=mark,
            now_ms=now,
        )
    clock.raise_to(mark)


def set_clock_mark(connection: sqlite3.Connection, now: int) -> None:
    """Write the instant of a commit down."""
    connection.execute("UPDATE meta SET value = ? WHERE name = 'clock_mark_ms'", (now,))
