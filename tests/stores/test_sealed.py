"""Sealed stores: what is stolen tells no value, what is moved is refused, and whoever lacks a key is told so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import valkey

from session_tokens import (
    CorruptRecord,
    InvalidInput,
    SessionTokens,
    Settings,
    StoreError,
    StoreUnavailable,
    TokenTables,
    UnknownPepper,
)
from session_tokens.crypto.key_file import Keys, keyring_of, make_key_file, read_key_file, replace_key_file
from session_tokens.crypto.minting import PepperKeyring
from session_tokens.crypto.sealing import Sealer
from session_tokens.stores.common.kinds import KINDS
from session_tokens.stores.common.record_codec import mac_of
from session_tokens.stores.connect import check_store, open_store
from tests.helpers.rows_behind import Row, lose_keys, put_behind, row_behind
from tests.helpers.sqlite_files import behind, rows_behind
from tests.helpers.whole_store import stolen

NO_CAP = Settings(max_sessions=None)


@pytest.fixture(params=["sqlite", "valkey", "postgres", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path, key_file: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'sessions.db'}"
    else:
        yield request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "keys"
    make_key_file(path)
    monkeypatch.setenv("SESSION_TOKENS_PEPPER_FILE", str(path))
    return path


def opened(url: str, sealed: bool | None = None) -> SessionTokens:
    return SessionTokens.open(url, sealed=sealed, sweep=False, settings=NO_CAP)


def with_data_keys(path: Path, *data: tuple[str, bytes]) -> None:
    """Write other data keys into a key file."""
    keys = read_key_file(path)
    replace_key_file(path, Keys(keys.peppers, keys.source, dict(data), keys.index))


def filled(tokens: SessionTokens, word: str) -> tuple[Any, Any]:
    """Open a session and issue a token in which a word stands wherever an application may write one."""
    session = tokens.open_session(
        "ann", data={word: word}, label=word, user_agent=word, address="10.99.88.77", idempotency_key="opened"
    )
    token = tokens.issue_token(session.id, {"value": word}, transferable=True, idempotency_key="issued")
    tokens.update_session_data(session.id, {"more " + word: 1}, idempotency_key="updated")
    return session, token


@pytest.mark.parametrize("sealed", [True, False])
def test_what_is_stolen_tells_no_value(url: str, sealed: bool) -> None:
    word = "fl\u00fcsterwort"
    with opened(url, sealed) as tokens:
        session, token = filled(tokens, word)
    with TokenTables.open(url, sealed=sealed, sweep=False) as tables:
        tables.add_session("their name", "bob")
        assert tables.add_transferable_token("their token", word, "bob")
    with opened(url) as again:  # as it was made
        seen, held = again.verify_session(session.secret), again.verify_token(token.secret)
        retried = again.issue_token(session.id, {"value": word}, transferable=True, idempotency_key="issued")

        assert seen is not None and held is not None
        assert dict(seen.data) == {word: word, "more " + word: 1} and (seen.label, seen.address) == (
            word,
            "10.99.88.77",
        )
        assert held.value == {"value": word} and retried.secret == token.secret
        assert again.get_session(session.id) == seen and list(again.list_tokens(session=session.id)) == [held]
    taken = stolen(url)
    in_clear = {text for text in (word, "10.99.88.77", "fl\\u00fcsterwort") if text.encode() in taken}

    assert b"ann" in taken, "owners stay in clear"
    assert bool(in_clear) is not sealed


def test_how_values_are_kept_is_decided_when_a_store_is_made(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(url, True).close()
    with pytest.raises(InvalidInput, match="keeps its values sealed"):
        opened(url, False)
    monkeypatch.setenv("SESSION_TOKENS_SEALED", "no")
    with pytest.raises(InvalidInput, match="SESSION_TOKENS_SEALED"):
        opened(url)
    monkeypatch.setenv("SESSION_TOKENS_SEALED", "perhaps")
    with pytest.raises(InvalidInput, match="is yes or no"):
        opened(url)
    monkeypatch.setenv("SESSION_TOKENS_SEALED", "yes")
    opened(url).close()


def test_of_first_processes_that_want_different_things_all_keep_values_alike(url: str) -> None:
    begin, ends = threading.Barrier(4), list[bool | None]()

    def first(sealed: bool) -> None:
        begin.wait(30)
        try:
            with opened(url, sealed):
                ends.append(sealed)
        except InvalidInput:
            ends.append(None)

    threads = [threading.Thread(target=first, args=(number % 2 == 0,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(ends) == 4 and len({end for end in ends if end is not None}) == 1


def test_without_the_data_key_or_with_another_one_nothing_is_opened(url: str, key_file: Path) -> None:
    (key_id, key), *_ = read_key_file(key_file).data.items()
    with opened(url, True) as tokens:
        tokens.open_session("ann")
    with_data_keys(key_file, ("other", bytes(range(32))))
    with pytest.raises(InvalidInput, match=f"data key {key_id}, which is not among the keys") as missing:
        opened(url)
    assert missing.value.details["key_id"] == f"data:{key_id}"
    with_data_keys(key_file, (key_id, bytes(range(32))))
    with pytest.raises(InvalidInput, match=f"the data key {key_id} .*is not the one"):
        opened(url)
    with_data_keys(key_file, (key_id, key))
    with opened(url) as tokens:
        assert len(tokens.list_sessions("ann").items) == 1


async def test_a_process_without_a_data_key_in_use_denies_nothing(url: str, key_file: Path) -> None:
    before = opened(url, True)
    mine = before.open_session("ann", data={"n": 1})
    with_data_keys(key_file, ("new", bytes(range(32))), *read_key_file(key_file).data.items())
    with opened(url) as after:
        theirs = after.open_session("ann", data={"n": 2})
        token = after.issue_token(theirs.id, "v")
        assert after.verify_session(mine.secret) is not None

        for verify, issued in ((before.verify_session, theirs), (before.verify_token, token)):
            with pytest.raises(StoreUnavailable, match="the data key new"):
                verify(issued.secret)
        for command in (before.rotate_session, before.destroy_session):
            with pytest.raises(UnknownPepper, match="the data key 'new'"):
                command(theirs.secret)
        page = before.list_sessions("ann")
        assert ([session.id for session in page], page.unreadable) == ([mine.id], (theirs.id,))
        with pytest.raises(UnknownPepper, match="the data key new"):
            await before.store.ready()
        assert before.destroy_sessions("ann") >= 1
        assert after.verify_session(theirs.secret) is None
    before.close()


Attack = Callable[[Row, Row], Row]
ATTACKS: dict[str, Attack] = {
    "a value is copied over another": lambda dear, cheap: {**cheap, "value": dear["value"]},
    "a row is copied over another": lambda dear, cheap: {**dear, "id": cheap["id"], "lookup": cheap["lookup"]},
    "a row is copied and keeps its MAC": lambda dear, cheap: {**cheap, "value": dear["value"], "mac": dear["mac"]},
    "a MAC is moved": lambda dear, cheap: {**cheap, "mac": dear["mac"]},
    "a value is taken away": lambda dear, cheap: {**cheap, "value": ""},
}


def test_whoever_has_the_database_alone_makes_a_record_say_nothing_else(url: str, key_file: Path) -> None:
    """What was written so is refused and named, beside what is whole; a check takes it away."""
    with opened(url, True) as tokens:
        session = tokens.open_session("ann")
        dear = tokens.issue_token(session.id, "dear", transferable=True)
        attacked = [tokens.issue_token(session.id, "cheap", transferable=True) for _ in ATTACKS]
    row = row_behind(url, "token", dear.id)
    for token, attack in zip(attacked, ATTACKS.values(), strict=True):
        put_behind(url, "token", token.id, attack(row, row_behind(url, "token", token.id)))
    with opened(url) as tokens:
        for token, name in zip(attacked, ATTACKS, strict=True):
            assert tokens.verify_token(token.secret) is None, name
            with pytest.raises(CorruptRecord):
                tokens.get_token(token.id)
        page = tokens.list_tokens(session=session.id)
        assert ([token.value for token in page], set(page.unreadable)) == (["dear"], {one.id for one in attacked})
        assert tokens.verify_token(dear.secret) is not None
    findings = check_store(url, fix=True, progress=lambda done, total: None)
    assert {one.id for one in attacked} == {one.id for one in attacked if any(one.id in str(said) for said in findings)}
    assert check_store(url, fix=False, progress=lambda done, total: None) == []


def test_a_whole_row_that_was_put_back_is_as_it_was(url: str, key_file: Path) -> None:
    """Which sealing does not hinder, and the docs say so; it is that state and no mixture."""
    with opened(url, True) as tokens:
        token = tokens.issue_token(None, "before")
        row = row_behind(url, "token", token.id)
        tokens.change_token(token.id, value="after")
    put_behind(url, "token", token.id, row)
    with opened(url) as tokens:
        held = tokens.verify_token(token.secret)
        assert held is not None and (held.value, held.version) == ("before", 1)


def test_a_field_that_was_moved_is_refused_though_the_row_is_signed(tmp_path: Path, key_file: Path) -> None:
    """By someone who has the pepper and not the data key; it stops nothing but that record, and a check names it."""
    path = tmp_path / "sessions.db"
    url = f"sqlite:///{path}"
    with opened(url, True) as tokens:
        session = tokens.open_session("ann")
        good, bad = (tokens.issue_token(session.id, value, transferable=True) for value in ("dear", "cheap"))
    behind(path, "UPDATE tokens SET value = (SELECT value FROM tokens WHERE id = ?) WHERE id = ?", good.id, bad.id)
    names = ", ".join(KINDS["token"].names)
    (row,) = rows_behind(path, f"SELECT {names} FROM tokens WHERE id = ?", bad.id)
    keyring = PepperKeyring(read_key_file(key_file).peppers)
    keyring.settle(True)
    behind(path, "UPDATE tokens SET mac = ? WHERE id = ?", mac_of(keyring, "tokens", row), bad.id)
    with opened(url) as tokens:
        assert tokens.verify_token(bad.secret) is None
        with pytest.raises(CorruptRecord, match="the sealed value of"):
            tokens.get_token(bad.id)
        page = tokens.list_tokens(session=session.id)
        assert ([token.value for token in page], page.unreadable) == (["dear"], (bad.id,))
    (finding,) = check_store(url, fix=False, progress=lambda done, total: None)
    assert bad.id in str(finding)


def test_a_seal_holds_for_one_field_of_one_record_only() -> None:
    sealer = Sealer({"a": bytes(32)})
    sealed = sealer.seal("token", "tok_1", "value", "text \ud800\0")

    assert sealer.unseal("token", "tok_1", "value", sealed) == "text \ud800\0"
    assert sealer.seal("token", "tok_1", "value", "text") != sealer.seal("token", "tok_1", "value", "text")
    for place in (("session", "tok_1", "value"), ("token", "tok_2", "value"), ("token", "tok_1", "name")):
        with pytest.raises(CorruptRecord):
            sealer.unseal(*place, sealed)
    for text in ("", "a:", "a:!", "a:AAAA", "text", sealed[:-4], sealed[:-2] + "AA", "a:\u00fc"):
        with pytest.raises(CorruptRecord):
            sealer.unseal("token", "tok_1", "value", text)
    with pytest.raises(UnknownPepper, match="data key 'b'"):
        sealer.unseal("token", "tok_1", "value", "b" + sealed[1:])


async def test_the_data_keys_of_bare_peppers_seal_too(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are derived from the pepper, whose leaving is then refused at open."""
    monkeypatch.delenv("SESSION_TOKENS_PEPPER_FILE")
    old, new = {"old": bytes(range(32))}, {"new": bytes(range(1, 33))}
    with SessionTokens.open(url, pepper=old, sealed=True, sweep=False) as tokens:
        issued = tokens.issue_token(None, "v")
    with SessionTokens.open(url, pepper=new | old, sweep=False) as tokens:
        held = tokens.verify_token(issued.secret)
        assert held is not None and held.value == "v"
    with pytest.raises(InvalidInput, match="old"):
        await open_store(url, pepper=new)


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM peppers WHERE key_id = 'values:'",
        "UPDATE peppers SET check_value = 'clear' WHERE key_id = 'values:'",
        "UPDATE peppers SET check_value = '' WHERE key_id = 'values:'",
    ],
)
def test_a_store_that_does_not_say_how_it_keeps_values_is_not_opened(
    tmp_path: Path, key_file: Path, change: str
) -> None:
    url = f"sqlite:///{tmp_path / 'sessions.db'}"
    opened(url, True).close()
    behind(tmp_path / "sessions.db", change)
    for sealed in (None, True, False):
        with pytest.raises(StoreError, match="does not say whether it keeps its values sealed"):
            opened(url, sealed)


def test_nor_is_one_on_valkey(valkey_url: str, key_file: Path) -> None:
    opened(valkey_url, True).close()
    address, _, name = valkey_url.partition("?")
    with valkey.Valkey.from_url(address) as client:
        assert client.hdel(f"{{{name.partition('=')[2]}:00}}:m", "values:") == 1
    with pytest.raises(StoreError, match="does not say whether it keeps its values sealed"):
        opened(valkey_url)


@pytest.mark.parametrize(
    ("url", "sealed"),
    [("sqlite", True), ("sqlite", False), ("valkey", True), ("postgres", True), ("mariadb", False)],
    indirect=["url"],
)
def test_a_store_whose_keys_were_taken_away_is_not_taken_for_a_new_one(url: str, key_file: Path, sealed: bool) -> None:
    """Else it would be one in clear from then on, of which nothing that was sealed could be read."""
    with opened(url, sealed) as tokens:
        tokens.issue_token(None, "v")
    lose_keys(url)
    for wanted in (None, True, False):
        with pytest.raises(StoreError, match=r"nothing is left of what each store records.*from a backup"):
            opened(url, wanted)
    with pytest.raises(StoreError, match="nothing is left of what each store records"):
        check_store(url, fix=True, progress=lambda done, total: None)


def test_the_keyring_of_a_key_file_says_what_is_recorded(key_file: Path) -> None:
    keys = read_key_file(key_file)
    keyring = keyring_of(keys)
    keyring.settle(False)
    assert keyring.recorded == tuple(keys.peppers)
    keyring.settle(True)
    assert keyring.recorded == (*keys.peppers, *(f"data:{key_id}" for key_id in keys.data))
