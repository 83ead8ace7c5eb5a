"""``session-tokens sealed``: the data key is changed in use; and stores, sealed or not, are copied and put back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from session_tokens import InvalidInput, SessionTokens, Settings, TokenTables
from session_tokens.audit.log import Audit
from session_tokens.cli.main import main
from session_tokens.crypto.key_file import Keys, make_key_file, read_key_file, replace_key_file
from session_tokens.rules.data_keys import data_keys_of
from session_tokens.stores.connect import is_there
from session_tokens.stores.key_changes import DATA_KEY, add_key, promote_key, retire_key
from tests.helpers.effort import PROVING, times
from tests.helpers.filled_store import everything
from tests.helpers.recorded_keys import added_long_ago
from tests.helpers.whole_store import stolen

STORES = ["sqlite", "valkey", "postgres", "mariadb"]
IN_USE = STORES if PROVING else STORES[:2]
"""Where a key is changed while something is written all the time."""
NO_CAP = Settings(max_sessions=None)


@pytest.fixture
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "keys"
    make_key_file(path)
    monkeypatch.setenv("SESSION_TOKENS_PEPPER_FILE", str(path))
    return path


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path, key_file: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'sessions.db'}?busy_timeout=30"
    else:
        yield request.getfixturevalue(f"{request.param}_url")


def opened(url: str, **options: Any) -> SessionTokens:
    return SessionTokens.open(url, sweep=False, settings=NO_CAP, **options)


def data_keys(key_file: Path) -> list[str]:
    return list(read_key_file(key_file).data)


def promoted(url: str) -> str:
    """Add a data key, and promote it as after more than a minute; return its id."""
    key_id = add_key(url, DATA_KEY)
    added_long_ago(url, f"data:{key_id}")
    return promote_key(url, DATA_KEY, None)


def quiet(done: int, total: int) -> None:
    assert done <= total


def retired(url: str, key_id: str) -> None:
    retire_key(url, DATA_KEY, key_id, quiet, data_keys_of)


def test_a_data_key_is_added_promoted_and_the_old_one_retired(
    url: str, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(url, sealed=True) as tokens:
        session = tokens.open_session("ann", data={"n": 1}, label="phone", idempotency_key="k")
        token = tokens.issue_token(None, "value")
    with TokenTables.open(url, sealed=True, sweep=False) as tables:
        tables.add_session("their session", "bob")
        assert tables.add_transferable_token("their token", "value", "bob")
    (old,) = data_keys(key_file)
    before = read_key_file(key_file)

    assert main(["sealed", "add", "--store", url]) == 0
    said = capsys.readouterr()
    new = said.out.strip()
    assert data_keys(key_file) == [old, new] and f"session-tokens sealed promote {new}" in said.err
    assert main(["sealed", "promote", new, "--store", url]) == 4
    assert main(["sealed", "retire", old, "--store", url]) == 4
    added_long_ago(url, f"data:{new}")
    assert main(["sealed", "promote", "--store", url, "--json"]) == 0
    assert data_keys(key_file) == [new, old]
    with opened(url) as tokens:
        assert tokens.verify_token(token.secret) is not None
        tokens.open_session("carol", data={"n": 2})
    assert f"{old}:".encode() in stolen(url)
    assert main(["sealed", "retire", old, "--store", url]) == 0, capsys.readouterr().err

    after = read_key_file(key_file)
    assert (list(after.data), after.peppers, after.index) == ([new], before.peppers, before.index)
    # A file may hold what was overwritten until it is written over.
    assert url.startswith("sqlite") or f"{old}:".encode() not in stolen(url)
    with opened(url) as tokens:
        seen, held = tokens.verify_session(session.secret), tokens.verify_token(token.secret)
        assert seen is not None and held is not None
        assert (seen.data, seen.label, held.value) == ({"n": 1}, "phone", "value")
        assert tokens.open_session("ann", data={"n": 1}, label="phone", idempotency_key="k").secret == session.secret
    with TokenTables.open(url, sweep=False) as tables:
        assert tables.tokens_from_owner("bob") == ["their token"]
    assert main(["check", "--store", url]) == 0
    replace_key_file(key_file, before)
    with pytest.raises(InvalidInput, match=f"data key {new}"):
        opened(url)


@pytest.mark.parametrize("url", IN_USE, indirect=True)
def test_what_is_written_while_a_key_is_retired_is_under_the_new_one(url: str, key_file: Path) -> None:
    values: dict[str, int] = {}
    with opened(url, sealed=True) as tokens:
        values |= {str(tokens.issue_token(None, number).secret): number for number in range(times(100, proving=1_000))}
    (old,) = data_keys(key_file)
    promoted(url)
    stop, errors = threading.Event(), list[Exception]()
    with opened(url) as tokens:

        def work() -> None:
            try:
                while not stop.wait(0.01):  # two who write to one file without a pause can starve each other
                    issued = tokens.issue_token(None, len(values))
                    values[str(issued.secret)] = len(values)
                    tokens.change_token(issued.id, value=values[str(issued.secret)])
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            retired(url, old)
        finally:
            stop.set()
            thread.join(60)
    assert errors == [] and old not in data_keys(key_file)
    with opened(url) as tokens:
        held = {secret: tokens.verify_token(secret) for secret in values}
        assert {secret: token.value for secret, token in held.items() if token is not None} == values


@pytest.mark.process
def test_a_retiring_that_was_killed_loses_nothing_and_is_done_again(tmp_path: Path, key_file: Path) -> None:
    url = f"sqlite:///{tmp_path / 'sessions.db'}"
    with opened(url, sealed=True) as tokens:
        issued = {str(tokens.issue_token(None, number).secret): number for number in range(times(700, proving=5_000))}
    (old,) = data_keys(key_file)
    new = promoted(url)
    program = (
        "import sys; from session_tokens.stores.key_changes import *; "
        "from session_tokens.rules.data_keys import data_keys_of; "
        "retire_key(sys.argv[1], DATA_KEY, sys.argv[2], lambda done, total: print(done, flush=True), data_keys_of)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, url, old], stdout=subprocess.PIPE, env=dict(os.environ), text=True
    )
    assert process.stdout is not None
    while int(process.stdout.readline()) < 300:
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert data_keys(key_file) == [new, old]

    for _ in range(2):
        with opened(url) as tokens:
            held = {secret: tokens.verify_token(secret) for secret in issued}
            assert {secret: token.value for secret, token in held.items() if token is not None} == issued
        if old in data_keys(key_file):
            retired(url, old)
    assert data_keys(key_file) == [new]


def test_a_key_that_webhooks_or_the_audit_log_need_stays(
    tmp_path: Path, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'sessions.db'}"
    with opened(url, sealed=True, audit=Audit()) as tokens:
        tokens.open_session("ann")
    (old,) = data_keys(key_file)
    promoted(url)

    assert main(["sealed", "retire", old, "--store", url]) == 4
    assert "1 of kind setting" in capsys.readouterr().err
    assert old in data_keys(key_file)
    assert data_keys_of("webhooks", '[["whk_1", "https://a.example", null, 0, "k1"]]') == {"k1"}


def test_a_store_in_clear_has_no_data_key_to_change(
    tmp_path: Path, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'sessions.db'}"
    opened(url).close()
    before = key_file.read_bytes()
    for words in (["add"], ["promote"], ["retire", "other"]):
        assert main(["sealed", *words, "--store", url]) == 2
    assert "store copy FROM TO --sealed yes" in capsys.readouterr().err
    assert main(["sealed", "add", "some", "--store", url]) == 2
    assert key_file.read_bytes() == before


@pytest.mark.server
def test_copies_and_backups_are_sealed_if_the_source_is_unless_told_otherwise(
    tmp_path: Path, key_file: Path, postgres_url: str, valkey_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    word = "meerrettich"
    clear, other = f"sqlite:///{tmp_path / 'clear.db'}", f"sqlite:///{tmp_path / 'other.db'}"
    backup = tmp_path / "backup.db"
    with opened(clear) as tokens:
        tokens.open_session("ann", data={"n": word})
        tokens.issue_token(None, word)
    expected = everything(clear)
    way = [
        (["store", "copy", clear, postgres_url, "--sealed", "yes"], postgres_url, True),
        (["store", "backup", str(backup), "--store", postgres_url], f"sqlite:///{backup}", True),
        (["store", "restore", str(backup), "--store", valkey_url], valkey_url, True),
        (["store", "copy", valkey_url, other, "--sealed", "no"], other, False),
    ]
    for words, target, is_sealed in way:
        assert main(words) == 0, capsys.readouterr().err

        assert (word.encode() in stolen(target)) is not is_sealed
        assert everything(target) == expected
        with opened(target) as tokens:
            assert [token.value for token in tokens.list_tokens().items] == [word]
    assert main(["store", "copy", postgres_url, clear]) == 2, "that would open what is sealed, unasked"
    assert "--sealed yes" in capsys.readouterr().err
    assert main(["store", "copy", clear, postgres_url]) == 0, "the same records"


def test_keys_of_another_store_open_no_sealed_copy(tmp_path: Path, key_file: Path) -> None:
    source, target = f"sqlite:///{tmp_path / 'a.db'}", f"sqlite:///{tmp_path / 'b.db'}"
    with opened(source, sealed=True) as tokens:
        tokens.open_session("ann", data={"n": 1})
    keys = read_key_file(key_file)
    assert main(["store", "copy", source, target]) == 0
    replace_key_file(key_file, Keys(keys.peppers, keys.source, {"other": bytes(range(32))}, keys.index))
    with pytest.raises(InvalidInput, match="data key"):
        opened(target)


def whole_store_is_read(url: str, tmp_path: Path) -> list[str]:
    """Back a store up, put that back, export it, import that, and copy it; return the URLs of what came of it."""
    made = [f"sqlite:///{tmp_path / name}" for name in ("back.db", "in.db", "copy.db")]
    backup, lines = str(tmp_path / "backup.db"), str(tmp_path / "all.jsonl")
    for words in (
        ["backup", backup, "--store", url], ["restore", backup, "--store", made[0]],
        ["export", lines, "--store", url], ["import", lines, "--store", made[1]], ["copy", url, made[2]],
    ):  # fmt: skip
        assert main(["store", *words]) == 0, words
    return made


@pytest.mark.server
def test_a_sealed_store_in_which_one_name_space_was_never_used_stays_so(url: str, tmp_path: Path) -> None:
    """What is read is not made: the other one is sealed too when it is first used."""
    with opened(url, sealed=True) as tokens:
        session = tokens.open_session("ann", data={"n": 1})
    made = whole_store_is_read(url, tmp_path)

    for each in (url, *made):
        assert is_there(each, "tt") is each.startswith("sqlite"), "a file has both"
        with TokenTables.open(each, sealed=True, sweep=False) as tables, opened(each, sealed=True) as tokens:
            tables.add_session("their session", "bob")
            assert tables.active_session("their session", "bob")
            assert tokens.verify_session(session.secret) == session.session


@pytest.mark.server
def test_of_tables_alone_everything_is_read_too(url: str, tmp_path: Path) -> None:
    with TokenTables.open(url, sealed=True, sweep=False) as tables:
        tables.add_session("their session", "bob")
    made = whole_store_is_read(url, tmp_path)

    for each in (url, *made):
        assert is_there(each) is each.startswith("sqlite")
        with TokenTables.open(each, sealed=True, sweep=False) as tables:
            assert tables.active_session("their session", "bob")


@pytest.mark.server
def test_the_keys_of_tables_alone_are_changed_too(url: str, key_file: Path) -> None:
    with TokenTables.open(url, sealed=True, sweep=False) as tables:
        tables.add_session("their session", "bob")
    before = data_keys(key_file)

    assert main(["sealed", "add", "--store", url]) == main(["pepper", "add", "--store", url]) == 0
    (_, new), (_, pepper) = data_keys(key_file), read_key_file(key_file).peppers
    assert is_there(url) is url.startswith("sqlite")
    for kind, key_id in (("sealed", new), ("pepper", pepper)):
        added_long_ago(url, f"data:{new}" if kind == "sealed" else pepper, "tt")
        assert main([kind, "promote", key_id, "--store", url]) == 0
    assert main(["sealed", "retire", *before, "--store", url]) == 0
    with TokenTables.open(url, sealed=True, sweep=False) as tables:
        assert tables.active_session("their session", "bob")


@pytest.mark.server
def test_what_comes_of_a_store_is_sealed_where_a_part_of_it_was(url: str, tmp_path: Path) -> None:
    """On a server each name space may be made as it likes."""
    if url.startswith("sqlite"):
        return
    opened(url, sealed=False).close()
    with TokenTables.open(url, sealed=True, sweep=False) as tables:
        tables.add_session("their session", "bob")

    for each in whole_store_is_read(url, tmp_path):
        with TokenTables.open(each, sealed=True, sweep=False) as tables, opened(each, sealed=True):
            assert tables.active_session("their session", "bob")
