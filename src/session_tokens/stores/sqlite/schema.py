"""What an SQLite file must hold before it is used: our mark, a schema we know, the right peppers, a sane clock.

Everything that is checked or made here happens in one write transaction, so that of several first processes each
finds the file either empty or complete. What the file has once stands in ``meta``:

- ``schema_version``: how many migrations it has seen.
- ``space:<beginning of the tables' names>``: one for each name space.
- ``pepper:<key id>``: HMAC of ``check`` under that pepper, to recognise a wrong one when the file is opened;
  ``pepper_added:<key id>``, ``pepper_used:<key id>``: since when it was given, and since when it was current.
- ``clock_mark_ms``: the instant of the last commit.
- ``events_trimmed:<beginning of the tables' names>``: up to which event they were taken away.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path

from ...clock import Clock
from ...crypto.key_file import Keys, given_keys, key_file_of, keyring_of, make_key_file, read_key_file
from ...crypto.minting import Pepper
from ...errors import InvalidInput, StoreError
from ..common.migrations import NEWEST, since
from ..common.pepper_records import Mark, missing_error, not_given
from ..common.sql_tables import pepper_ranges, schema_statements
from .connections import FileOptions
from .queries import PEPPERS_MAX
from .rows import DIALECT

APPLICATION_ID = 0x53546B31
"""By which a file is known to be ours; ``STk1`` in ASCII."""

CLOCK_LEAD_MS_MAX = 300_000
"""How far the last commit may be ahead of the clock when a file is opened: 5 minutes."""

ADDED, USED = "pepper_added", "pepper_used"
"""Prefixes of the names under which ``meta`` holds when a pepper was first given, and when it was first current."""

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
    recorded = recorded_peppers(connection) if _is_ours(connection, path) else {}
    if recorded and not beside.exists():
        raise InvalidInput(
            f"the database {path} was written under the pepper {', '.join(recorded)}, and its key file {beside} is "
            "not there; restore that file, or give pepper=. A new key would open nothing that is stored",
            key_id=next(iter(recorded)),
            key_ids=list(recorded),
        )
    make_key_file(beside)
    return read_key_file(beside)


def _is_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file was made by us, ``False`` for an empty one.

    Raises:
        StoreError: it is another program's.
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if application_id == APPLICATION_ID:
        return True
    if application_id != 0 or connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        raise StoreError(f"the database {path} is another program's; give session-tokens a file of its own")
    return False


def recorded_peppers(connection: sqlite3.Connection) -> dict[str, str]:
    """Return key id → check value of each pepper that the file knows."""
    rows = connection.execute("SELECT substr(name, 8), value FROM meta WHERE name LIKE 'pepper:%'")
    return dict(rows.fetchall())


def prepare(
    options: FileOptions,
    connection: sqlite3.Connection,
    table_prefix: str,
    keys: Keys,
    clock: Clock,
    *,
    fix_clock: bool = False,
) -> None:
    """Make or migrate the tables, check and record the peppers, check and raise the clock: in one transaction.

    Args:
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
        _check_peppers(connection, keys, options.path, clock.now())
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


def spaces_of(connection: sqlite3.Connection) -> Iterator[str]:
    """Return how the names of the tables of each name space begin."""
    rows = connection.execute("SELECT substr(name, 7) FROM meta WHERE name LIKE 'space:%'").fetchall()
    return (table_prefix for (table_prefix,) in rows)


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


def _check_peppers(connection: sqlite3.Connection, keys: Keys, path: Path, now: int) -> None:
    keyring = keyring_of(keys)
    recorded = recorded_peppers(connection)
    for key_id in keys.peppers:
        if key_id in recorded and recorded[key_id] != keyring.check_of(key_id):
            raise InvalidInput(
                f"the pepper {key_id} from {keys.source} is not the one that the database {path} was written under; "
                "give the right one",
                key_ids=[key_id],
            )
    used = marks_of(connection, USED)
    missing, asked = not_given({key_id: used.get(key_id) for key_id in recorded}, keys.peppers, keyring.current)
    needed = missing + [key_id for key_id in asked if _is_needed(connection, key_id)]
    if needed:
        raise missing_error(f"the database {path}", needed, keys.source)
    for key_id in asked:
        forget_pepper(connection, key_id)
    fresh = [key_id for key_id in keys.peppers if key_id not in recorded]
    rows: list[tuple[str, str | int]] = [(f"pepper:{key_id}", keyring.check_of(key_id)) for key_id in fresh]
    rows += [(f"{ADDED}:{key_id}", now) for key_id in fresh]
    if keyring.current not in used:
        rows.append((f"{USED}:{keyring.current}", now))
    connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)


def marks_of(connection: sqlite3.Connection, mark: str) -> dict[str, int]:
    """Return key id → when its pepper was first given (``ADDED``) or first current (``USED``), in milliseconds."""
    rows = connection.execute("SELECT name, value FROM meta").fetchall()
    return {name.partition(":")[2]: value for name, value in rows if name.startswith(mark + ":")}


def pepper_marks(connection: sqlite3.Connection) -> dict[str, Mark]:
    """Return what is recorded of each pepper, by its key id."""
    added, used = marks_of(connection, ADDED), marks_of(connection, USED)
    return {key_id: Mark(at, key_id in used) for key_id, at in added.items()}


def forget_pepper(connection: sqlite3.Connection, key_id: str) -> None:
    """Take a pepper out of what the file knows."""
    for kind in ("pepper", ADDED, USED):
        connection.execute("DELETE FROM meta WHERE name = ?", (f"{kind}:{key_id}",))


def _is_needed(connection: sqlite3.Connection, key_id: str) -> bool:
    """Whether any row is looked up, named, signed or kept under a pepper; reads the whole file when none is."""
    between = (f"{key_id}:", f"{key_id};")
    for space in spaces_of(connection):
        questions: Mapping[str, tuple[str, ...]] = {
            **{f"{space}{rows}": between for rows in pepper_ranges("?")},
            f"{space}idempotency WHERE key_id = ?": (key_id,),
        }
        for question, values in questions.items():
            if connection.execute(f"SELECT 1 FROM {question} LIMIT 1", values).fetchone():
                return True
    return False


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
