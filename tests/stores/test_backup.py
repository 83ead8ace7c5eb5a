"""Backups of stores in use: what was acknowledged before one began is in it, wherever it is put back."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from session_tokens import Conflict, InvalidInput, SessionTokens, Settings
from session_tokens.audit.log import Audit
from session_tokens.audit.reader import read_now, verifying
from session_tokens.crypto.key_file import key_file_of, make_key_file, read_key_file
from session_tokens.rules.copied_settings import ENDS, setting_moved, within_ends
from session_tokens.rules.data_keys import data_keys_of
from session_tokens.stores.backup import BackedUp, Moving, backup_store, restore_store
from session_tokens.stores.key_changes import PEPPER as PEPPER_KEY
from session_tokens.stores.key_changes import add_key, promote_key, retire_key
from tests.helpers.command_line import Cli
from tests.helpers.effort import times
from tests.helpers.recorded_keys import added_long_ago

MOVING = Moving(setting_moved, ENDS, within_ends)
PEPPER = "5a" * 32
TASKS = 4


def quiet(done: int, total: int) -> None:
    """Say nothing."""


def backed_up(url: str, file: Path) -> BackedUp:
    return backup_store(url, str(file), quiet, MOVING)


def restored(file: Path, url: str) -> BackedUp:
    return restore_store(str(file), url, quiet, setting_moved)


class Load:
    """Threads that open sessions, issue, hand on and end without pause.

    Attributes:
        living: secret → id of the sessions that were opened and left alone; only acknowledged ones.
        ended: secrets of those that were ended, and acknowledged so.
    """

    def __init__(self, tokens: SessionTokens) -> None:
        self._tokens = tokens
        self.living: dict[str, str] = {}
        self.ended: list[str] = []
        self._stop = threading.Event()
        self.errors: list[Exception] = []
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(TASKS)]

    @contextmanager
    def going_on(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()
        assert self.errors == []

    def _work(self, number: int) -> None:
        try:
            count = 0
            while not self._stop.is_set():
                count += 1
                kept = self._tokens.open_session(f"owner {number}-{count}")
                assert kept.secret is not None
                self._tokens.issue_token(kept.id, count, transferable=True)
                self.living[kept.secret] = kept.id
                other = self._tokens.open_session(f"other {number}-{count}")
                assert other.secret is not None
                self._tokens.destroy_session(other.id)
                self.ended.append(other.secret)
        except Exception as error:
            self.errors.append(error)

    def wait_for(self, count: int) -> None:
        """Return once so many sessions were opened, more than before."""
        wanted = len(self.living) + count
        while len(self.living) < wanted and not self.errors:
            self._stop.wait(0.01)


def assert_it_holds(url: str, living: dict[str, str], ended: list[str]) -> None:
    """Every session of ``living`` verifies there, none of ``ended`` does, and the audit log is whole."""
    with SessionTokens.open(url, sweep=False) as tokens:
        lost = [id for secret, id in living.items() if tokens.verify_session(secret) is None]
        back = [secret for secret in ended if tokens.verify_session(secret) is not None]
        verdict = read_now(tokens.store, verifying(tokens.store.keyring, [], lambda number: None))

        assert ([], [], []) == (lost, back, verdict.findings)
        assert verdict.entries >= len(living)


def test_a_backup_of_a_live_sqlite_file_holds_what_was_acknowledged_before_it_began(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/live.db"
    shown: list[int] = []
    with SessionTokens.open(url, settings=Settings(events="durable"), audit=Audit(tmp_path / "anchor")) as tokens:
        load = Load(tokens)
        with load.going_on():
            load.wait_for(times(100, proving=3_000))
            living, ended = dict(load.living), list(load.ended)
            made = backup_store(url, str(tmp_path / "backup.db"), lambda done, total: shown.append(done), MOVING)
            load.wait_for(5)
    again = restored(tmp_path / "backup.db", f"sqlite:///{tmp_path}/restored.db")

    assert_it_holds(f"sqlite:///{tmp_path}/restored.db", living, ended)
    assert made.key_file == f"{tmp_path}/backup.db.key" and again.key_file == f"{tmp_path}/restored.db.key"
    assert made.records == again.records > len(living)
    assert shown
    assert {"backup.db", "backup.db.key"} == {path.name for path in tmp_path.glob("backup*")}


@pytest.mark.process
def test_a_copy_of_a_live_file_by_cp_is_no_backup(tmp_path: Path) -> None:
    """What the how-to says: the last commits stand in the file beside, which ``cp`` leaves behind."""
    url = f"sqlite:///{tmp_path}/live.db"
    with SessionTokens.open(url, sweep=False) as tokens:
        opened = tokens.open_session("ann")
        subprocess.run(["cp", tmp_path / "live.db", tmp_path / "copy.db"], check=True)
        subprocess.run(["cp", "-p", tmp_path / "live.db.key", tmp_path / "copy.db.key"], check=True)
        os.chmod(tmp_path / "copy.db", 0o600)
        assert opened.secret is not None
        with SessionTokens.open(f"sqlite:///{tmp_path}/copy.db", sweep=False) as copy:
            assert copy.verify_session(opened.secret) is None


def test_a_backup_goes_from_postgres_to_valkey_to_sqlite(
    tmp_path: Path, postgres_url: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", PEPPER)
    with SessionTokens.open(postgres_url, settings=Settings(events="durable"), audit=Audit()) as tokens:
        tokens.set_setting("idle_timeout", 86_400)
        tokens.disable_owner("mallory")
        load = Load(tokens)
        with load.going_on():
            load.wait_for(times(60, proving=500))
            living, ended = dict(load.living), list(load.ended)
            made = backed_up(postgres_url, tmp_path / "first.db")
            load.wait_for(3)
    restored(tmp_path / "first.db", valkey_url)
    assert_it_holds(valkey_url, living, ended)
    with SessionTokens.open(valkey_url, audit=Audit()) as tokens:
        load = Load(tokens)
        with load.going_on():
            load.wait_for(5)
            living.update(load.living)
            ended += load.ended
            backed_up(valkey_url, tmp_path / "second.db")
            load.wait_for(3)
    restored(tmp_path / "second.db", f"sqlite:///{tmp_path}/end.db")

    assert made.key_file is None
    assert_it_holds(f"sqlite:///{tmp_path}/end.db", living, ended)
    with SessionTokens.open(f"sqlite:///{tmp_path}/end.db", sweep=False) as tokens:
        assert 86_400 == tokens.settings.idle_timeout
        assert "durable" == next(one.value for one in tokens.list_settings() if one.name == "events")
        assert "session_opened" in {event.kind for event in tokens.events(limit=500)}
        assert "owner_disabled" in {entry["kind"] for entry in tokens.list_audit(kind="owner_disabled")}


def test_nothing_is_written_over(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with SessionTokens.open(url, sweep=False) as tokens:
        tokens.open_session("ann")
    backed_up(url, tmp_path / "backup.db")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(Conflict):
        backed_up(url, tmp_path / "backup.db")
    with pytest.raises(Conflict):
        restored(tmp_path / "backup.db", url)
    (tmp_path / "other.db.key").write_bytes(b"pepper 00000000 " + b"ab" * 32 + b"\n")
    (tmp_path / "other.db.key").chmod(0o600)
    with pytest.raises((Conflict, InvalidInput)):
        backed_up(url, tmp_path / "other.db")

    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir() if "other" not in path.name}
    assert not (tmp_path / "other.db").exists()
    assert not list(tmp_path.glob("*.new*"))


def test_what_cannot_be_backed_up_or_put_back_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="memory"):
        backed_up("memory://", tmp_path / "backup.db")
    with pytest.raises(InvalidInput):
        backed_up(f"sqlite:///{tmp_path}/nothing.db", tmp_path / "backup.db")
    with pytest.raises(InvalidInput, match="no backup"):
        restored(tmp_path / "backup.db", f"sqlite:///{tmp_path}/store.db")

    assert [] == list(tmp_path.iterdir())


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    from session_tokens.cli.main import main
    from tests.helpers.command_line import Said

    monkeypatch.setenv("SESSION_TOKENS_STORE", f"sqlite:///{tmp_path}/store.db")

    def call(*arguments: str) -> Said:
        return Said(main(arguments), *capsys.readouterr())

    return call


def test_the_command_line_backs_up_and_restores(cli: Cli, tmp_path: Path) -> None:
    opened = cli("open", "ann", "--json").json["id"]
    made = cli("store", "backup", f"{tmp_path}/backup.db", "--json")
    again = cli("store", "backup", f"{tmp_path}/backup.db")
    put_back = cli("store", "restore", f"{tmp_path}/backup.db", "--store", f"sqlite:///{tmp_path}/new.db")
    there = cli("sessions", opened, "--store", f"sqlite:///{tmp_path}/new.db", "--json")

    assert {"file": f"{tmp_path}/backup.db", "records": 1, "key_file": f"{tmp_path}/backup.db.key"} == made.json
    assert (4, 0, "1 records were put back\n") == (again.code, put_back.code, put_back.out)
    assert "ann" == there.json["owner"]


def test_a_damaged_backup_is_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with SessionTokens.open(url, sweep=False) as tokens:
        for number in range(200):
            tokens.open_session(f"owner {number}")
    backed_up(url, tmp_path / "backup.db")
    content = bytearray((tmp_path / "backup.db").read_bytes())
    content[20_000:40_000] = bytes(20_000)
    (tmp_path / "backup.db").write_bytes(content)
    with pytest.raises(Exception, match=r"whole|copied|malformed"):
        restored(tmp_path / "backup.db", f"sqlite:///{tmp_path}/new.db")

    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize("given", ["nothing", "another key beside it", "another pepper"])
def test_a_backup_without_its_keys_is_not_put_back(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """The page says to keep them elsewhere; what nothing can open must not be taken for restored."""
    cli("open", "ann")
    cli("open", "ben", "--store", f"sqlite:///{tmp_path}/other.db")
    cli("store", "backup", f"{tmp_path}/backup.db")
    key = (tmp_path / "backup.db.key").rename(tmp_path / "elsewhere")
    if given == "another key beside it":
        (tmp_path / "other.db.key").rename(tmp_path / "backup.db.key")
    elif given == "another pepper":
        monkeypatch.setenv("SESSION_TOKENS_PEPPER", PEPPER)
    new = f"sqlite:///{tmp_path}/new.db"
    refused = cli("store", "restore", f"{tmp_path}/backup.db", "--store", new)
    left = sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("new"))
    monkeypatch.delenv("SESSION_TOKENS_PEPPER", raising=False)
    monkeypatch.setenv("SESSION_TOKENS_PEPPER_FILE", str(key))
    put_back = cli("store", "restore", f"{tmp_path}/backup.db", "--store", new)
    there = cli("owners", "list", "--store", new, "--json").json["items"]

    assert (refused.code, left) == (2, [])
    assert "pepper" in refused.err or "SESSION_TOKENS_PEPPER_FILE" in refused.err
    assert (put_back.code, [one["owner"] for one in there]) == (0, ["ann"])


@pytest.mark.parametrize("content", ["text", "another program's", "empty"])
def test_what_is_no_backup_is_bad_input(cli: Cli, tmp_path: Path, content: str) -> None:
    file = tmp_path / "file.db"
    if content == "another program's":
        with closing(sqlite3.connect(file)) as made:
            made.execute("CREATE TABLE meta (a)")
    else:
        file.write_text("no database, and longer than the head of one would be" * 9 if content == "text" else "")
    said = cli("store", "restore", str(file), "--store", f"sqlite:///{tmp_path}/new.db")

    assert said.code == 2
    assert "no backup" in said.err
    assert ["file.db"] == sorted(path.name for path in tmp_path.iterdir())


def test_a_backup_has_the_keys_that_it_needs_though_one_is_retired_meanwhile(tmp_path: Path) -> None:
    """What is copied is as of the beginning; the key file is another one by the end."""
    url, file = f"sqlite:///{tmp_path}/store.db", tmp_path / "store.db.key"
    with SessionTokens.open(url, sweep=False) as tokens:
        opened = tokens.open_session("ann")
    (old,) = read_key_file(file).peppers
    added_long_ago(url, new := add_key(url, PEPPER_KEY))
    promote_key(url, PEPPER_KEY, new)
    retiring = [old]

    def retire(done: int, total: int) -> None:
        if retiring:
            with SessionTokens.open(url, sweep=False) as tokens:
                tokens.rotate_session(opened.secret)
            retire_key(url, PEPPER_KEY, retiring.pop(), quiet, data_keys_of)

    backup_store(url, str(tmp_path / "backup.db"), retire, MOVING)
    again = f"sqlite:///{tmp_path}/again.db"
    restored(tmp_path / "backup.db", again)

    assert (list(read_key_file(file).peppers), list(read_key_file(tmp_path / "again.db.key").peppers)) == (
        [new], [new, old],
    )  # fmt: skip
    with SessionTokens.open(again, sweep=False) as tokens:
        assert tokens.verify_session(opened.secret) is not None


def test_what_is_put_back_takes_no_keys_from_a_store_that_is_made_there_meanwhile(tmp_path: Path) -> None:
    """Nor from another backup: a database that is there goes on with the keys that it was made with."""
    first, place = f"sqlite:///{tmp_path}/first.db", f"sqlite:///{tmp_path}/place.db"
    SessionTokens.open(first, sweep=False).close()
    backed_up(first, tmp_path / "backup.db")
    secrets: list[str] = []

    def make(done: int, total: int) -> None:
        if not secrets:
            with SessionTokens.open(place, sweep=False) as tokens:
                secrets.append(tokens.open_session("ann").secret)

    with pytest.raises(Conflict):
        restore_store(str(tmp_path / "backup.db"), place, make, setting_moved)

    with SessionTokens.open(place, sweep=False) as tokens:
        assert tokens.verify_session(secrets[0]) is not None


def test_keys_that_come_between_a_look_and_a_write_are_left_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process makes the key file at the last moment."""
    first, place = f"sqlite:///{tmp_path}/first.db", tmp_path / "place.db"
    SessionTokens.open(first, sweep=False).close()
    backed_up(first, tmp_path / "backup.db")
    link = os.link

    def make_first(source: Path, target: Path, **options: bool) -> None:
        monkeypatch.setattr(os, "link", link)
        make_key_file(key_file_of(place))
        link(source, target, **options)

    monkeypatch.setattr(os, "link", make_first)
    with pytest.raises(Conflict, match="holds other keys"):
        restored(tmp_path / "backup.db", f"sqlite:///{place}")

    assert read_key_file(key_file_of(place)).peppers != read_key_file(tmp_path / "first.db.key").peppers
    assert not place.exists() and not list(tmp_path.glob("*.new*"))


@pytest.mark.parametrize("content", ["another program's", "begun"])
def test_what_is_no_store_is_not_backed_up(cli: Cli, tmp_path: Path, content: str) -> None:
    """Such as a file whose first process was killed before it had made a table."""
    with closing(sqlite3.connect(tmp_path / "store.db")) as made:
        made.execute("PRAGMA journal_mode = WAL")
        if content == "another program's":
            made.execute("CREATE TABLE meta (a)")
    said = cli("store", "backup", f"{tmp_path}/backup.db")

    assert said.code == 2
    assert "no store" in said.err
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith("store.db")]


@pytest.mark.parametrize("at", [0, 100])
def test_a_damaged_store_is_told_as_every_other_command_tells_it(cli: Cli, tmp_path: Path, at: int) -> None:
    cli("open", "ann")
    content = bytearray((tmp_path / "store.db").read_bytes())
    content[at : at + 3_000] = b"\x5a" * 3_000
    (tmp_path / "store.db").write_bytes(content)
    listed = cli("sessions")
    said = cli("store", "backup", f"{tmp_path}/backup.db")

    assert (said.code, said.err) == (listed.code, listed.err) and said.code == 3 and "restore" in said.err
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("backup")]
