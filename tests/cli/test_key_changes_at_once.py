"""Two commands that change the keys of a store, at once: the second is refused, and no key is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from session_tokens import Conflict, SessionTokens
from session_tokens.crypto.key_file import Keys, key_file_of, read_key_file, replace_key_file
from session_tokens.rules.data_keys import data_keys_of
from session_tokens.stores import key_changes
from session_tokens.stores.key_changes import DATA_KEY, PEPPER, KindOfKey, add_key, promote_key, retire_key
from tests.helpers.recorded_keys import added_long_ago

DATABASE = Path("store.db")
URL = f"sqlite:///{DATABASE}"
FILE = key_file_of(DATABASE)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    SessionTokens.open(URL, sweep=False, sealed=True).close()


def quiet(done: int, total: int) -> None:
    """Say nothing."""


def added(kind: KindOfKey) -> str:
    key_id = add_key(URL, kind)
    added_long_ago(URL, kind.prefix + key_id)
    return key_id


def held(kind: KindOfKey) -> list[str]:
    return list(kind.held(read_key_file(FILE)))


def retired(kind: KindOfKey, key_id: str) -> None:
    retire_key(URL, kind, key_id, quiet, data_keys_of)


CHANGES: dict[str, Callable[[], object]] = {
    "add": lambda: add_key(URL, PEPPER),
    "promote": lambda: promote_key(URL, PEPPER, held(PEPPER)[1]),
    "retire": lambda: retired(PEPPER, held(PEPPER)[1]),
    "add a data key": lambda: add_key(URL, DATA_KEY),
    "promote a data key": lambda: promote_key(URL, DATA_KEY, held(DATA_KEY)[1]),
    "retire a data key": lambda: retired(DATA_KEY, held(DATA_KEY)[1]),
}


@pytest.mark.parametrize("first", CHANGES)
@pytest.mark.parametrize("second", ["add", "promote", "retire"])
def test_of_two_that_change_keys_at_once_one_does(first: str, second: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second comes when the first has read the file and is about to write it."""
    added(PEPPER)
    added(DATA_KEY)
    before, seen = FILE.read_text(), list[str]()

    def after_another(path: Path, keys: Keys) -> None:
        monkeypatch.setattr(key_changes, "replace_key_file", replace_key_file)
        with pytest.raises(Conflict, match="another command"):
            CHANGES[second]()
        seen.append(FILE.read_text())
        replace_key_file(path, keys)

    monkeypatch.setattr(key_changes, "replace_key_file", after_another)
    CHANGES[first]()

    assert seen == [before]
    assert FILE.read_text() != before
    CHANGES["add"]()
    SessionTokens.open(URL, sweep=False).close()
