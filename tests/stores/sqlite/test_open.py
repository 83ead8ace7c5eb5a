"""Opening an SQLite store: what it makes, what it insists on, and what it says when that is not there."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from session_tokens.clock import ManualClock
from session_tokens.contract.queries import Get
from session_tokens.crypto.minting import new_secret
from session_tokens.errors import InvalidInput, StoreError, StoreUnavailable
from session_tokens.records import TokenKind
from session_tokens.stores.common.migrations import NEWEST, Migration
from session_tokens.stores.sqlite import store as sqlite_module
from session_tokens.stores.sqlite.store import open_sqlite
from tests.helpers.sqlite_files import PEPPER, add_session, add_token, behind, opened, relabel


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_all_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = open_sqlite(tmp_path / "a.db")
        store.run_now(add_session, "s1", "ann", store.clock)
    finally:
        os.umask(before)
    modes = {path.name: mode_of(path) for path in tmp_path.iterdir()}
    store.close_now()

    assert dict.fromkeys(["a.db", "a.db-wal", "a.db-shm", "a.db-reserve", "a.db.key"], 0o600) == modes


def test_a_database_that_was_open_to_others_is_closed_to_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.db"
    opened(path).close_now()
    path.chmod(0o644)
    with caplog.at_level(logging.WARNING, "session_tokens.stores.sqlite"):
        opened(path).close_now()

    assert mode_of(path) == 0o600
    assert "open to others (644)" in caplog.text


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"folder .*/no is not there"):
        opened(tmp_path / "no" / "a.db")


def test_paths_that_are_no_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for path, remedy in [(tmp_path, "not a regular file"), (tmp_path / "file" / "a.db", "not a folder")]:
        with pytest.raises(InvalidInput, match=remedy):
            opened(path)
    for text in ["", ":memory:", "a\0b"]:
        with pytest.raises(InvalidInput, match="path of a file"):
            open_sqlite(text, pepper=PEPPER)


def test_odd_names_of_files_are_just_names(tmp_path: Path) -> None:
    for name in ["a b?mode=ro&x#y.db", "file:a.db", "ä%20.db"]:
        store = opened(tmp_path / name)
        store.run_now(add_session, "s1", "ann", store.clock)
        store.close_now()

        assert (tmp_path / name).is_file()


def test_a_relative_path_means_the_folder_at_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = opened(Path("a.db"))
    monkeypatch.chdir("/")
    store.run_now(add_session, "s1", "ann", store.clock)

    assert store.read_now([Get("session", "s1")]).found[0].value.session.owner == "ann"
    store.close_now()


@pytest.mark.parametrize(
    "options", [{"synchronous": "full"}, {"busy_timeout_s": -1}, {"busy_timeout_s": 1e9}, {"space": "A;"}]
)
def test_options_that_can_never_be_right_are_refused(options: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        opened(tmp_path / "a.db", **options)
    assert list(tmp_path.iterdir()) == []


def test_the_wrong_types_are_type_errors(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        opened(tmp_path / "a.db", busy_timeout_s="5")
    with pytest.raises(TypeError):
        open_sqlite(b"a.db", pepper=PEPPER)  # type: ignore[arg-type]


def test_what_is_no_database_and_what_is_anothers_is_left_alone(tmp_path: Path) -> None:
    text, other = tmp_path / "text", tmp_path / "other.db"
    text.write_text("this is no database, but it is longer than a page header of one hundred bytes: " * 20)
    behind(other, "CREATE TABLE sessions (id)")

    with pytest.raises(StoreError, match="not an SQLite database"):
        opened(text)
    with pytest.raises(StoreError, match="another program's"):
        opened(other)
    assert text.read_text().startswith("this is no database")
    assert [("sessions",)] == behind(other, "SELECT name FROM sqlite_master")


def test_a_truncated_database_is_not_mistaken_for_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = opened(path)
    for number in range(50):
        store.run_now(add_session, f"s{number}", "ann", store.clock)
    store.close_now()
    os.truncate(path, 4096)

    with pytest.raises(StoreError):
        opened(path).read_now([Get("session", "s1")])


def test_a_newer_schema_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    opened(path).close_now()
    behind(path, "UPDATE meta SET value = ? WHERE name = 'schema_version'", NEWEST + 1)

    with pytest.raises(StoreError, match=f"schema {NEWEST + 1}.*upgrade") as caught:
        opened(path)
    assert caught.value.details["schema_version"] == NEWEST + 1
    assert [(NEWEST + 1,)] == behind(path, "SELECT value FROM meta WHERE name = 'schema_version'")


def test_an_older_schema_is_brought_up_in_every_name_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from session_tokens.stores.common import migrations
    from session_tokens.stores.sqlite import schema as sqlite_schema

    path = tmp_path / "a.db"
    opened(path).close_now()
    store = opened(path, space="tt")
    store.run_now(add_session, "s1", "ann", store.clock)
    store.close_now()
    for table in ("service_keys", "tt_service_keys"):
        behind(path, f"ALTER TABLE {table} DROP COLUMN owner_creations")
    next_one = Migration(NEWEST + 1, "creations of keys", (("service key", "owner_creations"),))
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, next_one))
    monkeypatch.setattr(sqlite_schema, "NEWEST", NEWEST + 1)
    store = opened(path, space="tt")
    kept = store.read_now([Get("session", "s1")]).found[0].value.session
    store.close_now()

    assert kept.owner == "ann"
    for table in ("service_keys", "tt_service_keys"):
        assert "owner_creations" in [row[1] for row in behind(path, f"PRAGMA table_info({table})")]
    assert [(NEWEST + 1,)] == behind(path, "SELECT value FROM meta WHERE name = 'schema_version'")


def test_name_spaces_in_one_file_do_not_see_each_other(tmp_path: Path) -> None:
    main, tables = opened(tmp_path / "a.db"), opened(tmp_path / "a.db", space="tt")
    main.run_now(add_session, "s1", "ann", main.clock)
    tables.run_now(add_session, "s1", "bob", tables.clock)

    assert main.read_now([Get("session", "s1")]).found[0].value.session.owner == "ann"
    assert tables.read_now([Get("session", "s1")]).found[0].value.session.owner == "bob"
    main.close_now()
    tables.close_now()


# Peppers.


def test_a_new_database_gets_a_key_file_and_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.db"
    with caplog.at_level(logging.INFO, "session_tokens.keys"):
        first = open_sqlite(path)
        secret = new_secret("sts_")
        first.run_now(add_session, "s1", "ann", first.clock, first.keyring.lookup(secret))
        first.close_now()
        second = open_sqlite(path)
    _, session, _ = second.find_session_now(second.keyring.lookups(secret))
    second.close_now()

    assert session is not None and session.id == "s1"
    assert caplog.text.count(f"made the key file {path}.key") == 1


def test_a_missing_key_file_is_never_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = open_sqlite(path)
    store.close_now()
    Path(f"{path}.key").unlink()

    with pytest.raises(InvalidInput, match=f"pepper {store.keyring.current}.*{path}.key"):
        open_sqlite(path)
    assert not Path(f"{path}.key").exists()


BAD_PEPPERS: dict[str, object] = {
    "too short": b"short",
    "none at all": {},
    "an odd id": {"a b": PEPPER},
    "too many": {f"p{number}": bytes([number]) * 32 for number in range(17)},
    "text": "0" * 64,
}


@pytest.mark.parametrize("bad", BAD_PEPPERS)
def test_a_bad_pepper_leaves_no_file_behind(bad: str, tmp_path: Path) -> None:
    with pytest.raises((InvalidInput, TypeError)):
        opened(tmp_path / "a.db", pepper=BAD_PEPPERS[bad])

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("content", "mode"), [("nonsense!", 0o600), ("", 0o600), ("00" * 32, 0o644)])
def test_a_bad_key_file_leaves_no_database_behind(content: str, mode: int, tmp_path: Path) -> None:
    key = tmp_path / "a.db.key"
    key.write_text(content)
    key.chmod(mode)
    with pytest.raises(InvalidInput, match=r"a\.db\.key"):
        open_sqlite(tmp_path / "a.db")

    assert list(tmp_path.iterdir()) == [key]


def test_a_bad_pepper_in_the_environment_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", "abcd")
    with pytest.raises(InvalidInput, match="SESSION_TOKENS_PEPPER"):
        open_sqlite(tmp_path / "a.db")

    assert list(tmp_path.iterdir()) == []


def test_a_wrong_pepper_is_refused_by_id_and_place(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = open_sqlite(path)
    store.close_now()

    with pytest.raises(InvalidInput, match=f"{store.keyring.current}.*the argument pepper="):
        open_sqlite(path, pepper=b"another" * 8)
    with pytest.raises(InvalidInput, match=f"pepper {store.keyring.current} from the argument"):
        open_sqlite(path, pepper={store.keyring.current: b"another" * 8})


def test_a_key_file_open_to_others_is_refused_by_the_store(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    open_sqlite(path).close_now()
    Path(f"{path}.key").chmod(0o640)

    with pytest.raises(InvalidInput, match="chmod 600"):
        open_sqlite(path)


def test_a_dangling_link_in_place_of_the_key_file_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    Path(f"{path}.key").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(InvalidInput, match="symbolic link"):
        open_sqlite(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_rotated_pepper_finds_old_secrets_and_writes_under_the_new_one(tmp_path: Path) -> None:
    path, old, new = tmp_path / "a.db", {"old": b"o" * 32}, {"new": b"n" * 32, "old": b"o" * 32}
    secret = new_secret("sts_")
    store = opened(path, pepper=old)
    store.run_now(add_session, "s1", "ann", store.clock, store.keyring.lookup(secret))
    store.close_now()
    store = opened(path, pepper=new)
    _, session, _ = store.find_session_now(store.keyring.lookups(secret))
    store.run_now(relabel, "s1", "phone")
    _, relabelled, _ = store.find_session_now(store.keyring.lookups(secret))
    store.close_now()

    assert session is not None and relabelled is not None and relabelled.label == "phone"
    assert [("new",)] == behind(path, "SELECT substr(mac, 1, 3) FROM sessions")


def test_a_retired_pepper_is_asked_for_until_no_row_needs_it(tmp_path: Path) -> None:
    path, old, new = tmp_path / "a.db", {"old": b"o" * 32}, {"new": b"n" * 32}
    store = opened(path, pepper=old)
    store.run_now(add_token, "t1", None, None, TokenKind.FREE)
    store.close_now()
    store = opened(path, pepper=new | old)
    store.close_now()

    with pytest.raises(InvalidInput, match="records under the pepper old") as caught:
        opened(path, pepper=new)
    assert caught.value.details["key_ids"] == ["old"]

    store = opened(path, pepper=new | old)
    assert ["older_pepper"] == [finding.what for finding in store.check(fix=True)]
    store.close_now()
    opened(path, pepper=new).close_now()

    assert [("new",)] == behind(path, "SELECT key_id FROM peppers WHERE key_id <> 'values:'")


def test_a_copy_of_the_database_without_its_key_opens_nothing(tmp_path: Path) -> None:
    path, copy = tmp_path / "a.db", tmp_path / "copy.db"
    store = open_sqlite(path)
    secret = new_secret("sts_")
    store.run_now(add_session, "s1", "ann", store.clock, store.keyring.lookup(secret))
    store.close_now()
    shutil.copy(path, copy)

    with pytest.raises(InvalidInput):
        open_sqlite(copy)
    with pytest.raises(InvalidInput):
        open_sqlite(copy, pepper=os.urandom(32))
    content = copy.read_bytes()
    assert secret.encode() not in content and secret[6:49].encode() not in content


FIRST_OPENER = """
import sys
from session_tokens.stores.sqlite.store import open_sqlite
sys.stdin.readline()
store = open_sqlite(sys.argv[1])
print(store.keyring.lookup("secret"))
store.close_now()
"""


@pytest.mark.process
def test_of_several_first_processes_all_use_the_same_pepper(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST_OPENER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(5)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = {process.communicate(timeout=60)[0] for process in processes}
    assert [0] * 5 == [process.returncode for process in processes]
    assert len(answers) == 1
    left = {file.name for file in tmp_path.iterdir()}
    assert left - {"a.db-shm", "a.db-wal"} == {"a.db", "a.db.key"}  # they stay where nobody is the last to close


# Clocks.


def test_the_clock_goes_on_from_the_last_commit(tmp_path: Path) -> None:
    clock, behind_it = ManualClock(), ManualClock()
    store = opened(tmp_path / "a.db", clock=clock)
    clock.advance(240)
    store.run_now(add_session, "s1", "ann", clock)
    store.close_now()
    again = opened(tmp_path / "a.db", clock=behind_it)
    again.close_now()

    assert behind_it.now() == clock.now()


def test_a_commit_sees_the_instant_of_another_process_last_commit(tmp_path: Path) -> None:
    ahead, late = ManualClock(), ManualClock()
    one, other = opened(tmp_path / "a.db", clock=ahead), opened(tmp_path / "a.db", clock=late)
    ahead.advance(200)
    one.run_now(add_session, "s1", "ann", ahead)
    session = other.run_now(add_session, "s2", "bob", late)
    one.close_now()
    other.close_now()

    assert session.created_at == ahead.now()


def test_a_clock_far_behind_the_last_commit_is_refused_until_it_is_accepted(tmp_path: Path) -> None:
    path, clock = tmp_path / "a.db", ManualClock()
    store = opened(path, clock=clock)
    clock.advance(301)
    store.run_now(add_session, "s1", "ann", clock)
    store.close_now()

    with pytest.raises(StoreError, match=r"301 s ahead.*--fix-clock"):
        opened(path, clock=ManualClock())

    fixed = ManualClock()
    opened(path, clock=fixed, fix_clock=True).close_now()
    opened(path, clock=ManualClock()).close_now()
    assert fixed.now() == ManualClock().now()


def test_the_mark_is_not_written_by_commands_that_change_nothing(tmp_path: Path) -> None:
    path, clock = tmp_path / "a.db", ManualClock()
    store = opened(path, clock=clock)
    store.run_now(add_session, "s1", "ann", clock)
    mark = behind(path, "SELECT value FROM meta WHERE name = 'clock_mark_ms'")
    clock.advance(10)
    store.run_now(lambda tx: None)

    assert mark == behind(path, "SELECT value FROM meta WHERE name = 'clock_mark_ms'")
    store.close_now()


# The defect of SQLite.


@pytest.mark.parametrize(
    ("version", "has_it"),
    [
        ((3, 6, 23), False), ((3, 7, 0), True), ((3, 40, 1), True), ((3, 44, 5), True), ((3, 44, 6), False),
        ((3, 45, 0), True), ((3, 50, 6), True), ((3, 50, 7), False), ((3, 51, 2), True), ((3, 51, 3), False),
        ((3, 53, 0), False),
    ],
)  # fmt: skip
def test_the_wal_reset_defect_is_known_by_version(version: tuple[int, int, int], has_it: bool) -> None:
    assert sqlite_module._has_wal_reset_defect(version) is has_it


def test_the_wal_reset_defect_is_one_line_once_for_a_file_whatever_opens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As workers of one service open one; a later SQLite that still has it is told once too."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 40, 1))
    logger = "session_tokens.stores.sqlite"
    with caplog.at_level(logging.ERROR, logger):
        open_sqlite(tmp_path / "a.db").close_now()  # as a command that does not say it: it is left to who can act
    with caplog.at_level(logging.WARNING, logger):
        for _ in range(3):
            open_sqlite(tmp_path / "a.db").close_now()
        for version in ((3, 41, 0), (3, 51, 3)):
            monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
            open_sqlite(tmp_path / "a.db").close_now()

    lines = [record.getMessage() for record in caplog.records if record.name == logger]
    assert [line.split()[1] for line in lines] == ["3.40.1", "3.41.0"]
    assert all("WAL-reset defect" in line and "3.51.3" in line and len(line) < 120 for line in lines)


def test_each_question_of_the_hot_paths_is_answered_by_an_index(tmp_path: Path) -> None:
    """A plan that scans a table is fast in tests and slow with a million rows."""
    path = tmp_path / "a.db"
    store = opened(path)
    store.close_now()
    questions = {
        "s.lookup = 'x'": "sessions", "s.id = 'x'": "sessions",
        "s.owner = 'x' AND s.ended_at IS NULL ORDER BY s.created_at, s.id": "sessions",
        "s.ended_at IS NULL AND (s.created_at, s.id) > (1, 'x') ORDER BY s.created_at, s.id": "sessions",
        "s.ended_at IS NULL AND s.detached_at IS NOT NULL ORDER BY s.created_at, s.id": "sessions",
        "s.sweep_at < 9223372036854775807 AND s.sweep_at <= 5 ORDER BY s.sweep_at": "sessions",
        "s.session_id = 'x' ORDER BY s.created_at, s.id": "tokens",
        "s.session_id IS NULL AND s.owner = 'x' AND s.kind = 'transferable' ORDER BY s.created_at, s.id": "tokens",
        "s.owner = 'x' AND (s.created_at, s.id) > (1, 'x') ORDER BY s.created_at, s.id": "tokens",
        "s.listed = 1 ORDER BY s.created_at, s.id": "tokens",
        "s.deadline < 9223372036854775807 AND s.deadline <= 5 ORDER BY s.deadline": "tokens",
    }  # fmt: skip
    plans = {
        question: behind(path, f"EXPLAIN QUERY PLAN SELECT * FROM {table} s WHERE {question}")
        for question, table in questions.items()
    }

    assert {} == {
        question: plan
        for question, plan in plans.items()
        if len(plan) != 1 or not plan[0][3].startswith(("SEARCH s USING INDEX", "SCAN s USING INDEX"))
    }


@pytest.mark.parametrize("content", [b"root:x:0:0::/root:/bin/sh\n" * 50, b"x"], ids=["text", "a-byte"])
def test_a_file_that_is_not_ours_is_left_exactly_as_it_was(tmp_path: Path, content: bytes) -> None:
    """Neither its mode nor its content: a mistyped path must not lock others out of their file."""
    path = tmp_path / "passwd"
    path.write_bytes(content)
    path.chmod(0o644)

    with pytest.raises((StoreError, InvalidInput)):
        open_sqlite(str(path))

    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o644
    assert [path] == list(tmp_path.iterdir())


def test_another_programs_database_is_left_exactly_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (a)")
    other.close()
    path.chmod(0o644)
    content = path.read_bytes()

    with pytest.raises(StoreError, match="another program"):
        open_sqlite(str(path))

    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o644
    assert [path] == list(tmp_path.iterdir())
