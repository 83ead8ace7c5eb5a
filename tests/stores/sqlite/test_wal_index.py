"""The header of the WAL index: it tells of each commit at once, and looking at it disturbs no lock of SQLite's."""

from __future__ import annotations

import fcntl
import gc
import os
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from session_tokens.stores.sqlite import wal_index
from session_tokens.stores.sqlite.queries import Records
from session_tokens.stores.sqlite.store import SqliteStore
from session_tokens.stores.sqlite.wal_index import WalIndex
from tests.helpers.effort import times
from tests.helpers.sqlite_files import add_session, opened, relabel

COMMITS = times(200, proving=5_000)
OF_CONNECTIONS = 128
"""The byte of the shared memory on which each process that has the file open holds a lock (unixShmLock)."""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is mapped")


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = opened(tmp_path / "a.db")
    store.run_now(add_session, "s1", "ann", store.clock)
    yield store
    store.close_now()


def reader_of(store: SqliteStore) -> Records:
    """Return the reader that the store reads with on this thread."""
    reader = store._readers.take()
    store._readers.give(reader)
    return reader


def label_of(store: SqliteStore) -> str | None:
    session = store.find_session_now(["lookup of s1"])[1]
    assert session is not None
    return session.label


def mapped(store: SqliteStore) -> WalIndex:
    """Ask until it pays to map the header; return it."""
    for _ in range(4):
        assert store.find_session_now(["lookup of s1"])[1] is not None
    index = reader_of(store)._index
    assert index is not None
    return index


def asked_of_sqlite(store: SqliteStore, ask: Callable[[], object]) -> list[str]:
    """Return the statements that something costs."""
    statements: list[str] = []
    reader = reader_of(store)
    reader.connection.set_trace_callback(statements.append)
    ask()
    reader.connection.set_trace_callback(None)
    return statements


def test_what_is_known_costs_no_statement_while_nobody_commits(store: SqliteStore) -> None:
    mapped(store)

    assert [] == asked_of_sqlite(store, lambda: [label_of(store) for _ in range(10)])
    store.run_now(relabel, "s1", "new")
    assert asked_of_sqlite(store, lambda: label_of(store))


def test_each_commit_is_seen_at_once_whoever_made_it(store: SqliteStore, tmp_path: Path) -> None:
    other = opened(tmp_path / "a.db")
    mapped(store)
    mapped(other)
    for number in range(COMMITS):
        (store, other)[number % 2].run_now(relabel, "s1", f"label {number}")
        assert [f"label {number}"] * 2 == [label_of(store), label_of(other)]
        if number % 20 == 0:
            with sqlite3.connect(tmp_path / "a.db", isolation_level=None) as connection:
                connection.execute(f"PRAGMA wal_checkpoint({('PASSIVE', 'TRUNCATE', 'RESTART')[number // 20 % 3]})")
            connection.close()
    other.close_now()
    assert label_of(store) == f"label {COMMITS - 1}"


COMMITTING = """
import sys
from pathlib import Path
from tests.helpers.sqlite_files import opened, relabel
store = opened(Path(sys.argv[1]))
for line in sys.stdin:
    store.run_now(relabel, "s1", line.strip())
    print(flush=True)
"""


@pytest.mark.process
def test_a_commit_of_another_process_is_seen_once_it_is_told_of(store: SqliteStore, tmp_path: Path) -> None:
    mapped(store)
    argv = [sys.executable, "-c", COMMITTING, str(tmp_path / "a.db")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(COMMITS):
            print(f"label {number}", file=process.stdin, flush=True)
            process.stdout.readline()
            assert label_of(store) == f"label {number}"
        process.stdin.close()
    assert process.returncode == 0


LOCKED = """
import fcntl, struct, sys
with open(sys.argv[1], "r+b") as file:
    asked = struct.pack("hhqqi", fcntl.F_WRLCK, 0, int(sys.argv[2]), 1, 0)
    print(struct.unpack("hhqqi", fcntl.fcntl(file, fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK)
"""


@pytest.mark.process
def test_the_locks_of_sqlite_stay_when_a_header_is_mapped_and_let_go(store: SqliteStore, tmp_path: Path) -> None:
    """A descriptor of our own would take them away when it is closed."""

    def is_locked() -> bool:
        argv = [sys.executable, "-c", LOCKED, str(tmp_path / "a.db-shm"), str(OF_CONNECTIONS)]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "True\n"

    files = set(os.listdir(wal_index.FILES))
    assert len(struct.pack("hhqqi", fcntl.F_WRLCK, 0, 0, 1, 0)) == struct.calcsize("hhqqi")
    assert is_locked()
    for _ in range(3):
        index = WalIndex.of(str(tmp_path / "a.db"))
        assert index is not None
        assert len(index.header.raw) == wal_index.HEADER_BYTES
        assert is_locked()
        del index
        gc.collect()
        assert is_locked()
    assert len(files) == len(set(os.listdir(wal_index.FILES)))


@pytest.mark.parametrize("lacking", ["/proc", "ctypes"])
def test_where_nothing_can_be_mapped_sqlite_is_asked(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    if lacking == "/proc":
        monkeypatch.setattr(wal_index, "FILES", "/nowhere")
    else:
        monkeypatch.setitem(sys.modules, "ctypes", None)
    for number in range(5):
        store.run_now(relabel, "s1", f"label {number}")
        assert [f"label {number}"] * 3 == [label_of(store) for _ in range(3)]

    assert reader_of(store)._index is None
    assert "PRAGMA data_version" in asked_of_sqlite(store, lambda: label_of(store))


def test_a_file_that_is_not_open_is_not_mapped(tmp_path: Path) -> None:
    opened(tmp_path / "b.db").close_now()

    assert WalIndex.of(str(tmp_path / "b.db")) is None
    (tmp_path / "b.db-shm").write_bytes(bytes(32_768))
    assert WalIndex.of(str(tmp_path / "b.db")) is None
