"""What a check of an SQLite file says of its indexes, and of a file in which SQLite does not find its way any more."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from session_tokens.errors import CorruptRecord
from session_tokens.stores.common.kinds import KINDS
from session_tokens.stores.common.sql_tables import index_statements
from session_tokens.stores.sqlite.rows import DIALECT
from tests.helpers.sqlite_files import add_session, behind, opened

INDEXES = {statement.name: statement.text for statement in index_statements(KINDS.values(), DIALECT, "")}


def filled(path: Path, count: int = 40) -> None:
    """Make a file with sessions, every second of them detached from what partial indexes hold."""
    store = opened(path)
    for number in range(count):
        store.run_now(add_session, f"s{number:04}", f"owner {number % 7}", store.clock)
    store.close_now()


def redefined(path: Path, name: str, made_as: str) -> None:
    """Make an index by another definition, and put the right one beside its content."""
    connection = sqlite3.connect(path, isolation_level=None)
    ((definition,),) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchall()
    connection.execute(f"DROP INDEX {name}")
    connection.execute(made_as)
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (definition, name))
    connection.close()


@pytest.mark.parametrize(
    ("name", "made_as"),
    [
        ("sessions_detached", "CREATE INDEX sessions_detached ON sessions (created_at, id)"),
        ("sessions_of_owner", "CREATE INDEX sessions_of_owner ON sessions (owner, created_at, id) WHERE id < 's0020'"),
        ("sessions_to_sweep", "CREATE INDEX sessions_to_sweep ON sessions (sweep_at) WHERE sweep_at = 5"),
    ],
    ids=["too many", "too few", "none"],
)
def test_an_index_is_counted_against_its_table(tmp_path: Path, name: str, made_as: str) -> None:
    """SQLite's own check says "ok" to too many entries of a partial index from 3.46 on."""
    path = tmp_path / "a.db"
    filled(path)
    redefined(path, name, made_as)
    store = opened(path)
    found = [finding for finding in store.check() if finding.kind == "index"]
    fixed = [finding for finding in store.check(fix=True) if finding.kind == "index"]
    left = store.check()
    store.close_now()

    assert [finding.id for finding in found] == [name]
    assert [finding.fixed for finding in fixed] == ["made anew"]
    assert left == []


def test_an_index_of_another_definition_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    filled(path)
    behind(path, "DROP INDEX sessions_of_owner")
    behind(path, "CREATE INDEX sessions_of_owner ON sessions (owner)")
    store = opened(path)

    assert [finding.fixed for finding in store.check(fix=True)] == ["made anew"]
    assert store.check() == []
    store.close_now()
    ((definition,),) = behind(path, "SELECT sql FROM sqlite_master WHERE name = 'sessions_of_owner'")
    assert definition == INDEXES["sessions_of_owner"]


@pytest.mark.parametrize("fix", [False, True])
def test_of_a_damaged_file_it_says_what_can_be_read_and_to_restore_it(tmp_path: Path, fix: bool) -> None:
    path = tmp_path / "a.db"
    filled(path, 2000)
    pages = path.stat().st_size // 4096
    ((root,),) = behind(path, "SELECT rootpage FROM sqlite_master WHERE name = 'sessions'")
    whole = path.read_bytes()
    # A leaf of the table: the first page after the middle whose first byte is that of such a leaf.
    leaf = next(page for page in range(pages // 2, pages) if page + 1 != root and whole[page * 4096] == 13)
    with path.open("r+b") as file:
        file.seek(leaf * 4096)
        file.write(b"\x5a" * 4096)
    store = opened(path)
    with pytest.raises(CorruptRecord) as caught:
        store.check(fix=fix)
    said = str(caught.value)
    store.close_now()

    (count,) = re.findall(r"(\d+) of sessions", said)
    assert 1900 < int(count) < 2000
    assert "restore a backup together with its key file" in said
    assert "session-tokens check --fix --store" not in said
    assert not re.search(r"run\s+session-tokens check --fix", said)


def test_a_file_that_cannot_be_opened_for_damage_does_not_send_one_round_in_circles(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    filled(path, 200)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\x5a" * (size - 4096))
    with pytest.raises(CorruptRecord, match="restore a backup together with its key file"):
        opened(path).check(fix=True)
