"""One file and many processes: locks, forks, full disks and read-only files, with real processes each time."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from session_tokens import SessionTokens
from session_tokens.contract.queries import Get
from session_tokens.contract.transaction import Transaction
from session_tokens.errors import StoreBusy, StoreUnavailable
from session_tokens.records import TokenKind
from session_tokens.stores.sqlite import connections as sqlite_connections
from session_tokens.stores.sqlite.store import SqliteStore
from tests.helpers.at_once import in_a_child
from tests.helpers.full_disk import full_at
from tests.helpers.sqlite_files import PEPPER, add_session, add_token, behind, opened, relabel

HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.helpers.sqlite_files import add_session, opened
store = opened(Path(sys.argv[1]), busy_timeout_s=60)
for number in range(50):
    store.run_now(add_session, f"{sys.argv[2]} {number}", sys.argv[2], store.clock)
store.close_now()
"""

ROOT = str(Path(__file__).parents[3])


def session_of(store: SqliteStore, id: str) -> Any:
    return store.read_now([Get("session", id)]).found[0].value.session


@contextmanager
def held_by_another_process(path: Path) -> Iterator[Callable[[], None]]:
    """Hold the file's write lock in another process; what is yielded lets it go."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    try:
        yield lambda: process.communicate("go\n", timeout=30) and None
    finally:
        if process.poll() is None:
            process.communicate("go\n", timeout=30)


def forked() -> int:
    """Fork; newer Pythons warn of threads that the child has not, and the store's is one it can do without."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = opened(tmp_path / "a.db")
    store.run_now(add_session, "s1", "ann", store.clock)
    yield store
    store.close_now()


# Locks.


@pytest.mark.process
def test_reads_go_on_while_another_process_holds_the_lock_and_writes_are_busy(tmp_path: Path) -> None:
    store = opened(tmp_path / "a.db", busy_timeout_s=0.2)
    store.run_now(add_session, "s1", "ann", store.clock)
    with held_by_another_process(tmp_path / "a.db"):
        with pytest.raises(StoreBusy, match=r"locked by another process for 0\.2 s"):
            store.run_now(relabel, "s1", "phone")
        assert session_of(store, "s1").label is None
        with pytest.raises(StoreBusy):
            opened(tmp_path / "a.db", busy_timeout_s=0)
    store.run_now(relabel, "s1", "phone")

    assert session_of(store, "s1").label == "phone"
    store.close_now()


@pytest.mark.process
def test_a_write_waits_for_the_lock_and_is_then_done(tmp_path: Path) -> None:
    store = opened(tmp_path / "a.db", busy_timeout_s=60)
    store.run_now(add_session, "s1", "ann", store.clock)
    with held_by_another_process(tmp_path / "a.db") as let_go:
        waiting = threading.Thread(target=store.run_now, args=(relabel, "s1", "phone"))
        waiting.start()
        waiting.join(0.05)
        assert waiting.is_alive()
        let_go()
        waiting.join(60)

    assert session_of(store, "s1").label == "phone"
    store.close_now()


@pytest.mark.process
def test_several_processes_write_to_one_file_and_nothing_is_lost(store: SqliteStore, tmp_path: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "a.db"), name, ROOT]) for name in "abc"]
    codes = [process.wait(120) for process in processes]

    assert [0, 0, 0] == codes
    assert behind(tmp_path / "a.db", "SELECT owner, count(*) FROM sessions WHERE owner <> 'ann' GROUP BY owner") == [
        ("a", 50), ("b", 50), ("c", 50),
    ]  # fmt: skip
    assert store.check() == []


def test_what_ends_in_one_process_is_refused_in_another_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    with SessionTokens.open(url, pepper=PEPPER, sweep=False) as tokens:
        issued = tokens.open_session("ann")
        assert tokens.verify_session(issued.secret) is not None

        def end() -> None:
            with SessionTokens.open(url, pepper=PEPPER, sweep=False) as other:
                other.destroy_session(issued.id)

        assert in_a_child(end) == 0
        assert tokens.verify_session(issued.secret) is None


# Forks.


def test_parent_and_child_go_on_after_a_fork(store: SqliteStore) -> None:
    def child() -> None:
        assert session_of(store, "s1").owner == "ann"
        store.run_now(add_session, "child's", "bob", store.clock)
        assert session_of(store, "child's").owner == "bob"
        store.close_now()

    assert in_a_child(child) == 0
    store.run_now(add_session, "parent's", "ann", store.clock)

    assert session_of(store, "child's").owner == "bob"
    assert session_of(store, "parent's").owner == "ann"


def test_no_connection_is_open_at_the_instant_of_a_fork(store: SqliteStore, tmp_path: Path) -> None:
    """SQLite's own memory of its locks must not be inherited, so the child finds no open file of the database."""
    session_of(store, "s1")

    def child() -> None:
        names = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if _is_open(name)]
        assert [] == [name for name in names if name.startswith(str(tmp_path))]

    here = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if _is_open(name)]
    assert [name for name in here if name.startswith(str(tmp_path))]
    assert in_a_child(child) == 0


def _is_open(name: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{name}")


def test_a_child_keeps_what_it_writes_after_its_parent_closed_the_store(tmp_path: Path) -> None:
    """The last to close removes the write-ahead log: it must see that the child still uses it."""
    store = opened(tmp_path / "a.db")
    store.run_now(add_session, "s1", "ann", store.clock)
    to_child, from_child = os.pipe(), os.pipe()
    child = forked()
    if child == 0:
        try:
            store.run_now(add_session, "early", "bob", store.clock)
            os.write(from_child[1], b"1")
            os.read(to_child[0], 1)
            store.run_now(add_session, "late", "bob", store.clock)
            store.close_now()
            os._exit(0)
        finally:
            os._exit(1)
    os.read(from_child[0], 1)
    store.close_now()
    os.write(to_child[1], b"1")
    _, status = os.waitpid(child, 0)
    for end in (*to_child, *from_child):
        os.close(end)

    assert status == 0
    store = opened(tmp_path / "a.db")
    assert [session_of(store, id) is not None for id in ("s1", "early", "late")] == [True, True, True]
    store.close_now()


def test_forks_in_the_middle_of_reads_and_writes_lose_and_cross_nothing(store: SqliteStore) -> None:
    stop = threading.Event()
    written: list[str] = []
    failed: list[BaseException] = []

    def busy(name: str) -> None:
        try:
            while not stop.is_set():
                id = f"{name} {len(written)} {threading.get_ident()}"
                store.run_now(add_session, id, name, store.clock)
                written.append(id)
                assert session_of(store, id).owner == name
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=busy, args=(name,)) for name in ("x", "y")]
    for thread in threads:
        thread.start()

    def child(number: int) -> None:
        store.run_now(add_session, f"child {number}", "child", store.clock)

    codes = [in_a_child(lambda number=number: child(number)) for number in range(8)]  # type: ignore[misc]
    stop.set()
    for thread in threads:
        thread.join(60)

    assert failed == []
    assert [0] * 8 == codes
    assert all(session_of(store, id) is not None for id in written)
    assert all(session_of(store, f"child {number}") is not None for number in range(8))
    assert store.check() == []


def test_a_child_of_a_parent_that_could_not_let_go_is_told_to_open_again(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule holds the writer while the fork happens; the wait for it is cut short here."""
    monkeypatch.setattr(sqlite_connections, "FORK_WAIT_S", 0.05)
    started, go_on = threading.Event(), threading.Event()

    def hold(tx: Transaction) -> str:
        started.set()
        assert go_on.wait(30)
        return "held"

    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(store.run_now(hold)))
    thread.start()
    assert started.wait(30)

    def child() -> None:
        for ask in (lambda: session_of(store, "s1"), lambda: store.run_now(relabel, "s1", "no")):
            with pytest.raises(StoreUnavailable, match="forked while the store was in use; open the store again"):
                ask()

    code = in_a_child(child)
    go_on.set()
    thread.join(30)

    assert code == 0
    assert answers == ["held"]
    assert session_of(store, "s1").label is None


def test_a_fork_of_a_closed_store_stays_closed(tmp_path: Path) -> None:
    store = opened(tmp_path / "a.db")
    store.close_now()

    def child() -> None:
        with pytest.raises(StoreUnavailable, match="closed"):
            session_of(store, "s1")

    assert in_a_child(child) == 0


@pytest.mark.process
def test_a_process_ends_without_closing_its_store(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from tests.helpers.sqlite_files import add_session, opened\n"
        "store = opened(Path(sys.argv[1])); store.run_now(add_session, 's1', 'ann', store.clock)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script, str(tmp_path / "a.db"), ROOT], timeout=60, check=True)
    store = opened(tmp_path / "a.db")

    assert session_of(store, "s1").owner == "ann"
    store.close_now()


# Disks.


def test_a_full_disk_refuses_the_command_and_keeps_what_there_was(tmp_path: Path) -> None:
    """A limit on the size of files stands for the end of the disk: what is written beyond it fails."""
    path = tmp_path / "a.db"

    def child() -> None:
        store = opened(path)
        store.run_now(add_session, "s1", "ann", store.clock)
        with full_at(Path(f"{path}-wal").stat().st_size + 8192):
            with pytest.raises(StoreUnavailable, match="space"):
                store.run_now(_many_tokens, 200)
            assert session_of(store, "s1").owner == "ann"
        store.run_now(relabel, "s1", "room again")
        store.close_now()

    assert in_a_child(child) == 0
    store = opened(path)
    assert session_of(store, "s1").label == "room again"
    assert behind(path, "SELECT count(*) FROM tokens") == [(0,)]
    assert store.check() == []
    store.close_now()


def _many_tokens(tx: Transaction, count: int) -> None:
    for number in range(count):
        add_token(tx, f"t{number}", None, None, TokenKind.FREE)


def test_a_file_that_may_not_be_written_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    opened(path).close_now()
    if os.geteuid() == 0:
        os.chown(tmp_path, 12345, 12345)

    def child() -> None:
        path.chmod(0o400)
        tmp_path.chmod(0o500)
        if os.geteuid() == 0:
            os.chown(path, 12345, 12345)
            for folder, mode in modes:
                os.chmod(folder, mode | 0o011)
            os.setuid(12345)
        with pytest.raises(StoreUnavailable, match="writ"):
            opened(path)

    # The folders of pytest are for their owner alone; the child has to pass through them.
    modes = [(up, up.stat().st_mode & 0o7777) for up in tmp_path.parents if not up.stat().st_mode & 0o001]
    try:
        assert in_a_child(child) == 0
    finally:
        tmp_path.chmod(0o700)
        for folder, mode in modes:
            folder.chmod(mode & 0o7777)


def test_a_file_that_was_deleted_is_not_silently_made_anew(store: SqliteStore, tmp_path: Path) -> None:
    (tmp_path / "a.db").unlink()

    def child() -> None:
        with pytest.raises(StoreUnavailable, match="was moved, deleted or replaced"):
            session_of(store, "s1")

    assert in_a_child(child) == 0
    assert not (tmp_path / "a.db").exists()


def _moved(path: Path) -> None:
    path.rename(path.with_name("moved.db"))


def _replaced(path: Path) -> None:
    """As a restored backup does it: another file under the same name."""
    opened(path.with_name("other.db")).close_now()
    path.with_name("other.db").replace(path)


GONE: dict[str, Callable[[Path], None]] = {"moved": _moved, "deleted": Path.unlink, "replaced": _replaced}


@pytest.mark.parametrize("how", GONE)
def test_nothing_is_acknowledged_of_a_file_that_is_gone(how: str, store: SqliteStore, tmp_path: Path) -> None:
    """Connections that are open go on with such a file, and nothing that they do fails."""
    path = tmp_path / "a.db"
    store.run_now(relabel, "s1", "before")
    GONE[how](path)

    with pytest.raises(StoreUnavailable, match=r"a\.db was moved, deleted or replaced.*put it back.*open the store"):
        store.run_now(relabel, "s1", "after")


def test_a_file_that_came_back_is_gone_on_with(store: SqliteStore, tmp_path: Path) -> None:
    path, away = tmp_path / "a.db", tmp_path / "away.db"
    companions = [(Path(f"{path}{end}"), Path(f"{away}{end}")) for end in ("", "-wal", "-shm")]
    for here, there in companions:
        here.rename(there)
    with pytest.raises(StoreUnavailable):
        store.run_now(relabel, "s1", "away")
    for here, there in companions:
        there.rename(here)
    store.run_now(relabel, "s1", "back")

    assert session_of(store, "s1").label == "back"


@pytest.mark.parametrize("how", GONE)
def test_a_file_that_is_gone_is_not_read_for_long(
    how: str, store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read looks for the file once a second; here that second is always over."""
    monkeypatch.setattr(sqlite_connections, "LOOK_EVERY_S", 0.0)
    again = opened(tmp_path / "a.db")
    assert again.find_session_now(["lookup of s1"])[1] is not None
    GONE[how](tmp_path / "a.db")

    for read in (lambda: again.find_session_now(["lookup of s1"]), lambda: again.read_now([Get("session", "s1")])):
        with pytest.raises(StoreUnavailable, match="was moved, deleted or replaced"):
            read()
    again.close_now()


def test_a_reader_that_is_opened_late_does_not_read_the_file_that_came_instead(
    store: SqliteStore, tmp_path: Path
) -> None:
    first = store._readers.take()
    _replaced(tmp_path / "a.db")

    with pytest.raises(StoreUnavailable, match="was moved, deleted or replaced"):
        store._readers.take()
    store._readers.give(first)


def test_errors_of_sqlite_mean_errors_of_ours_with_a_remedy(tmp_path: Path) -> None:
    options = sqlite_connections.FileOptions(tmp_path / "a.db", "FULL", 1)
    remedies = {
        sqlite3.SQLITE_BUSY: "raise busy_timeout", sqlite3.SQLITE_FULL: "make room",
        sqlite3.SQLITE_READONLY: "writable", sqlite3.SQLITE_IOERR_WRITE: "check the disk",
        sqlite3.SQLITE_CANTOPEN: "may read and write", sqlite3.SQLITE_NOTADB: "restore it",
        sqlite3.SQLITE_CORRUPT: "check --fix", sqlite3.SQLITE_NOMEM: "cannot be asked",
    }  # fmt: skip
    for code, remedy in remedies.items():
        error = sqlite3.OperationalError("it")
        error.sqlite_errorcode, error.sqlite_errorname = code, "NAME"

        assert remedy in str(options.meant_by(error))
        assert str(tmp_path) in str(options.meant_by(error))
