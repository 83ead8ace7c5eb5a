"""``session-tokens pepper``: a new pepper is added, promoted after a minute, and the old one retired."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import valkey

from session_tokens import Conflict, InvalidInput, SessionTokens, Settings, TokenTables
from session_tokens.cli.main import main
from session_tokens.crypto.key_file import read_key_file
from session_tokens.rules.data_keys import data_keys_of
from session_tokens.stores.connect import check_store, open_store_now
from session_tokens.stores.key_changes import PEPPER, add_key, promote_key, retire_key
from session_tokens.testing import ManualClock
from tests.helpers.recorded_keys import added_long_ago
from tests.helpers.servers.mariadb import shared_server as mariadb
from tests.helpers.sqlite_files import behind

OLD = bytes(range(32)).hex()


@pytest.fixture(params=["sqlite", "valkey", "postgres", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'sessions.db'}"
    else:
        yield request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bare pepper in a file, as a secret manager writes it."""
    path = tmp_path / "pepper"
    path.touch(mode=0o600)
    path.write_text(OLD + "\n")
    monkeypatch.setenv("SESSION_TOKENS_PEPPER_FILE", str(path))
    return path


def peppers_of(file: Path) -> list[str]:
    return list(read_key_file(file).peppers)


def opened(url: str) -> SessionTokens:
    return SessionTokens.open(url, sweep=False, settings=Settings(max_sessions=None))


def quiet(done: int, total: int) -> None:
    assert done <= total


def add_pepper(url: str) -> str:
    return add_key(url, PEPPER)


def promote_pepper(url: str, key_id: str | None) -> str:
    return promote_key(url, PEPPER, key_id)


def retire_pepper(url: str, key_id: str, progress: Callable[[int, int], None]) -> None:
    retire_key(url, PEPPER, key_id, progress, data_keys_of)


def test_a_pepper_is_added_promoted_and_the_old_one_retired(url: str, file: Path) -> None:
    with opened(url) as tokens:
        session, token = tokens.open_session("ann"), tokens.issue_token(None, "v")
        tokens.disable_owner("eve")
        tokens.set_general_session_timeout(60)
    with TokenTables.open(url, sweep=False) as tables:
        hash_before = tables.add_session("their name", "bob", shared=True)
    (old,) = peppers_of(file)

    new = add_pepper(url)
    assert peppers_of(file) == [old, new]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(Conflict, match="less than a minute ago"):
        promote_pepper(url, new)
    assert peppers_of(file) == [old, new]
    with pytest.raises(Conflict, match="is the current one"):
        retire_pepper(url, old, quiet)
    added_long_ago(url, new)
    assert promote_pepper(url, None) == new
    assert peppers_of(file) == [new, old]

    with opened(url) as tokens:
        assert tokens.verify_session(session.secret) is not None
        assert tokens.verify_token(token.secret) is not None
    with pytest.raises(Conflict, match="1 of kind token"):
        retire_pepper(url, old, quiet)
    assert peppers_of(file) == [new, old]
    with opened(url) as tokens:
        fresh = tokens.destroy_token(token.id)
        assert fresh
    with TokenTables.open(url, sweep=False) as tables:
        assert tables.add_session("their name", "bob", shared=True) == hash_before, "the index key stays"
        assert tables.destroy_session("their name")
    with pytest.raises(Conflict, match="of kind session"):  # it ended, and is remembered for an hour under its name
        retire_pepper(url, old, quiet)
    forget_ended(url)
    retire_pepper(url, old, quiet)

    assert peppers_of(file) == [new]
    with opened(url) as tokens:
        assert tokens.verify_session(session.secret) is not None
        assert tokens.open_session("carol").secret
    file.write_text(OLD + "\n")
    with pytest.raises(InvalidInput, match=new):
        opened(url)


def test_what_a_rotation_with_grace_left_holds_a_pepper_up_for_an_hour(tmp_path: Path, file: Path) -> None:
    url = f"sqlite:///{tmp_path / 'sessions.db'}"
    clock = ManualClock(time.time_ns() // 1_000_000 - 2 * 3_600_000)
    with SessionTokens(open_store_now(url, clock=clock)) as tokens:
        before = tokens.open_session("ann", idle_timeout=None, max_age=None)
        rotated = tokens.rotate_session(before.secret, grace=60)
        lately = tokens.open_session("bob", idle_timeout=None, max_age=None)
    (old,) = peppers_of(file)
    with opened(url) as tokens:
        moved = tokens.rotate_session(lately.secret, grace=60)
    added_long_ago(url, new := add_pepper(url))
    promote_pepper(url, new)
    with opened(url) as tokens:
        for secret in (rotated.secret, moved.secret):
            assert tokens.verify_session(secret) is not None
    with pytest.raises(Conflict, match=r"2 of kind session.*needed for an hour"):  # both of bob
        retire_pepper(url, old, quiet)
    with opened(url) as tokens:
        assert tokens.verify_session(lately.secret) is not None
        tokens.destroy_session(lately.secret)
        while tokens.sweep():
            pass
    retire_pepper(url, old, quiet)

    with opened(url) as tokens:
        assert tokens.verify_session(before.secret) is None, "it is unknown by now, and ends nothing"
        present = tokens.verify_session(rotated.secret)
        assert present is not None
        assert tokens.rotate_session(rotated.secret, grace=60).session.version == present.version + 1
    assert check_store(url, fix=False, progress=quiet) == []


def forget_ended(url: str) -> None:
    """Take out what ended an hour ago, as sweeping will."""
    if url.startswith("sqlite"):
        behind(Path(url[10:]), "DELETE FROM tt_sessions WHERE ended_at IS NOT NULL")
    elif url.startswith("postgresql"):
        with psycopg.connect(url) as connection:
            connection.execute("DELETE FROM session_tokens_tt.sessions WHERE ended_at IS NOT NULL")
    elif url.startswith("mysql"):
        ended = "DELETE FROM session_tokens_tt_sessions WHERE ended_at IS NOT NULL"
        mariadb().execute(ended, url.rpartition("/")[2])
    else:
        address, _, name = url.partition("?")
        with valkey.Valkey.from_url(address) as client:
            for key in client.scan_iter(f"{{{name.partition('=')[2]}.tt:00}}:s:*"):
                client.delete(key)


def test_the_command_says_what_comes_next(url: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened(url).close()
    assert main(["pepper", "add", "--store", url]) == 0
    said = capsys.readouterr()
    key_id = said.out.strip()

    assert peppers_of(file)[1] == key_id
    assert f"session-tokens pepper promote {key_id}" in said.err
    assert main(["pepper", "promote", key_id, "--store", url]) == 4
    assert main(["pepper", "promote", "other", "--store", url]) == 2
    assert main(["pepper", "retire", "--store", url]) == 2
    added_long_ago(url, key_id)
    assert main(["pepper", "promote", key_id, "--store", url, "--json"]) == 0
    assert main(["pepper", "promote", key_id, "--store", url]) == 4
    assert OLD not in "".join(capsys.readouterr())


def test_a_pepper_of_the_environment_cannot_be_changed(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", OLD)
    opened(url).close()

    assert main(["pepper", "add", "--store", url]) == 2
    assert "SESSION_TOKENS_PEPPER_FILE" in capsys.readouterr().err


def test_the_key_file_beside_a_database_is_changed_too(tmp_path: Path) -> None:
    url, file = f"sqlite:///{tmp_path / 'a.db'}", tmp_path / "a.db.key"
    with opened(url) as tokens:
        issued = tokens.open_session("ann")
    before = read_key_file(file)
    new = add_pepper(url)
    after = read_key_file(file)

    assert list(after.peppers) == [*before.peppers, new]
    assert (after.data, after.index) == (before.data, before.index)
    with opened(url) as tokens:
        assert tokens.verify_session(issued.secret) is not None
