"""Who can write to the file but has no pepper: what they make answers nothing, and is found by a check."""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from session_tokens import SessionTokens
from session_tokens.clock import NEVER
from session_tokens.contract.queries import Get, Members, Scan
from session_tokens.contract.transaction import Transaction
from session_tokens.errors import CorruptRecord, StoreError
from session_tokens.records import IdempotencyRecord, OwnerEntry, ServiceKey, TokenKind
from session_tokens.stores.sqlite.store import SqliteStore
from tests.helpers.sqlite_files import PEPPER, add_session, add_token, behind, opened, relabel


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """Two owners with a session and a token each, all read once, so that nothing is checked for the first time."""
    store = opened(path)
    for owner in ("ann", "eve"):
        store.run_now(add_session, f"s {owner}", owner, store.clock)
        store.run_now(add_token, f"t {owner}", f"s {owner}", owner, TokenKind.TRANSFERABLE)
        assert store.find_session_now([f"lookup of s {owner}"])[1] is not None
        assert store.find_token_now([f"lookup of t {owner}"])[1] is not None
    yield store
    store.close_now()


ATTACKS = {
    "a longer life": f"UPDATE sessions SET deadline = {NEVER} WHERE id = 's eve'",
    "another owner": "UPDATE sessions SET owner = 'ann' WHERE id = 's eve'",
    "an end undone": "UPDATE sessions SET ended_at = NULL, deadline = deadline + 1 WHERE id = 's eve'",
    "another's secret": "UPDATE sessions SET lookup = CASE id WHEN 's eve' THEN 'x' ELSE lookup END",
    "another's mac": "UPDATE sessions SET mac = (SELECT mac FROM sessions WHERE id = 's ann') WHERE id = 's eve'",
    "no mac": "UPDATE sessions SET mac = '' WHERE id = 's eve'",
    "a mac that is a number": "UPDATE sessions SET mac = 5 WHERE id = 's eve'",
    "a mac that is bytes": "UPDATE sessions SET mac = x'ff00ff' WHERE id = 's eve'",
    "a number that is none": "UPDATE sessions SET deadline = 'soon' WHERE id = 's eve'",
    "a float": "UPDATE sessions SET deadline = deadline + 0.5 WHERE id = 's eve'",
    "bytes": "UPDATE sessions SET owner = x'61' WHERE id = 's eve'",
}


def test_what_the_writer_has_read_or_written_is_checked_again_once_it_was_changed(
    store: SqliteStore, path: Path
) -> None:
    def read(tx: Transaction, kind: str, id: str) -> object:
        return tx.session(id) if kind == "sessions" else tx.token(id)

    for kind, id in (("sessions", "s eve"), ("tokens", "t eve")):
        assert store.run_now(read, kind, id) is store.run_now(read, kind, id)
        behind(path, f"UPDATE {kind} SET deadline = deadline + 1 WHERE id = '{id}'")
        with pytest.raises(CorruptRecord):
            store.run_now(read, kind, id)
        behind(path, f"UPDATE {kind} SET deadline = deadline - 1 WHERE id = '{id}'")
        assert store.run_now(read, kind, id) is not None


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_changed_session_answers_nothing_and_alarms(
    attack: str, store: SqliteStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    behind(path, ATTACKS[attack])
    lookup = "x" if attack == "another's secret" else "lookup of s eve"
    with caplog.at_level(logging.ERROR, "session_tokens.alerts"):
        _, session, entry = store.find_session_now([lookup])

    assert (session, entry) == (None, None)
    assert store.find_token_now(["lookup of t eve"])[1] is None
    assert "session_tokens.alerts" in {record.name for record in caplog.records}
    for query in (Get("session", "s eve"), Get("token", "t eve")):
        with pytest.raises(CorruptRecord):
            store.read_now([query])
    (listed,) = store.read_now([Scan("sessions", limit=10)]).found
    assert [found.session.id for found in listed.value] == ["s ann"]
    assert [record.id for record in listed.unreadable] == ["s eve"]
    with pytest.raises(CorruptRecord):
        store.run_now(relabel, "s eve", "phone")
    assert store.find_session_now(["lookup of s ann"])[1] is not None


@pytest.mark.parametrize("attack", [name for name in ATTACKS if name != "bytes"])
def test_the_error_names_the_row_and_the_remedy(attack: str, store: SqliteStore, path: Path) -> None:
    """What a list leaves out is named: left out silently it might be what someone wants to hide."""
    behind(path, ATTACKS[attack])
    ((_, error),) = store.read_now([Scan("sessions", limit=10)]).found[0].unreadable

    assert re.search(r"'s eve' .*session-tokens check --fix", str(error))
    assert (error.details["table"], error.details["id"]) == ("sessions", "s eve")
    assert "lookup of" not in str(error)


def test_after_the_remedy_everybody_else_is_listed_again(store: SqliteStore, path: Path) -> None:
    behind(path, ATTACKS["another owner"])
    store.check(fix=True)
    (found,) = store.read_now([Scan("sessions", limit=10)]).found

    assert ["s ann"] == [one.session.id for one in found.value]


def test_an_id_that_was_forged_is_named_without_what_it_could_do_to_a_terminal(store: SqliteStore, path: Path) -> None:
    behind(path, "UPDATE sessions SET id = ? WHERE id = 's eve'", "\x1b[2J\n" + "x" * 5000)
    ((id, error),) = store.read_now([Scan("sessions", limit=10)]).found[0].unreadable

    assert f"{id}{error}".isprintable()
    assert len(id) < 100
    assert len(str(error)) < 400


def test_a_row_copied_over_another_is_refused(store: SqliteStore, path: Path) -> None:
    """All of the victim's row, but looked up by the thief's secret."""
    columns = [row[1] for row in behind(path, "PRAGMA table_info(sessions)") if row[1] not in ("id", "lookup")]
    copied = ", ".join(columns)
    behind(
        path,
        f"UPDATE sessions SET ({copied}) = (SELECT {copied} FROM sessions WHERE id = 's ann') WHERE id = 's eve'",
    )

    assert store.find_session_now(["lookup of s eve"])[1] is None
    assert store.find_session_now(["lookup of s ann"])[1] is not None


def test_a_forged_token_or_its_session_answers_nothing(store: SqliteStore, path: Path) -> None:
    behind(path, "UPDATE tokens SET session_id = 's ann', owner = 'ann' WHERE id = 't eve'")

    assert store.find_token_now(["lookup of t eve"])[1] is None
    for query in (Members("tokens_of", "s ann", None), Scan("tokens", limit=10)):
        (listed,) = store.read_now([query]).found
        assert [record.id for record in listed.unreadable] == ["t eve"]


def test_a_row_of_another_name_space_is_no_row_of_this_one(store: SqliteStore, path: Path) -> None:
    other = opened(path, space="tt")
    behind(path, "INSERT INTO tt_sessions SELECT * FROM sessions")

    assert other.find_session_now(["lookup of s ann"])[1] is None
    other.close_now()


def test_an_index_that_leads_to_another_row_is_not_believed(store: SqliteStore, path: Path) -> None:
    """SQLite trusts an index; one that was filled by another definition leads from the thief's secret to a victim."""
    store.close_now()
    connection = sqlite3.connect(path, isolation_level=None)
    ((true_index,),) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'sessions_lookup'").fetchall()
    connection.execute("DROP INDEX sessions_lookup")
    connection.execute(
        "CREATE UNIQUE INDEX sessions_lookup ON sessions (CASE id WHEN 's ann' THEN 'thief' ELSE lookup END) "
        "WHERE lookup IS NOT NULL"
    )
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'sessions_lookup'", (true_index,))
    connection.close()
    assert behind(path, "SELECT id FROM sessions WHERE lookup = 'thief'") == [("s ann",)]
    store = opened(path)

    assert store.find_session_now(["thief"])[1] is None
    with pytest.raises(CorruptRecord):
        store.read_now([Get("session_lookup", "thief")])
    with pytest.raises(CorruptRecord):
        store.run_now(lambda tx: tx.session_by_lookup("thief"))
    store.close_now()


def test_entries_settings_keys_and_outcomes_are_signed_too(store: SqliteStore, path: Path) -> None:
    def write(tx: Transaction) -> None:
        tx.put_entry(None, OwnerEntry("eve", 1, 5, 5))
        tx.put_setting("general_session_timeout", "1000")
        tx.put_service_key(None, ServiceKey("key_1", "lookup of key", "verify", 1, None, None))
        tx.put_idempotency(IdempotencyRecord("k", "request", "00", store.keyring.current, 5, tx.now + 1000))

    store.run_now(write)
    queries: list[Any] = [
        Get("entry", "eve"),
        Get("setting", "general_session_timeout"),
        Get("key", "key_1"),
        Get("idempotency", "k"),
    ]
    assert all(found.value is not None for found in store.read_now([*queries, Scan("keys")]).found)
    behind(path, "UPDATE owners SET disabled_at = NULL")
    behind(path, "UPDATE settings SET text = 'never'")
    behind(path, "UPDATE service_keys SET role = 'admin'")
    behind(path, "UPDATE idempotency SET outcome = '{\"plain\":6}'")

    (keys,) = store.read_now([Scan("keys")]).found
    assert (keys.value, [record.id for record in keys.unreadable]) == ([], ["key_1"])
    for query in [*queries, Get("key_lookup", "lookup of key")]:
        with pytest.raises(CorruptRecord):
            store.read_now([query])
    assert store.find_session_now(["lookup of s eve"])[1] is None


def test_a_whole_row_put_back_to_an_earlier_state_is_not_detected(store: SqliteStore, path: Path) -> None:
    """The limit that the docs state: a MAC tells who wrote a row, not whether it is the latest."""
    behind(path, "CREATE TABLE stolen AS SELECT * FROM sessions WHERE id = 's eve'")
    store.run_now(relabel, "s eve", "new")
    behind(path, "DELETE FROM sessions WHERE id = 's eve'")
    behind(path, "INSERT INTO sessions SELECT * FROM stolen")
    _, session, _ = store.find_session_now(["lookup of s eve"])

    assert session is not None and session.label is None


# Checking.


def test_a_healthy_file_has_no_findings_and_tells_its_progress(store: SqliteStore) -> None:
    calls: list[tuple[int, int]] = []

    assert store.check(progress=lambda done, total: calls.append((done, total))) == []
    assert calls[-1] == (4, 4)


@pytest.mark.parametrize("attack", [name for name in ATTACKS if name != "bytes"])
def test_a_check_finds_what_was_forged_and_sets_it_aside(attack: str, store: SqliteStore, path: Path) -> None:
    behind(path, ATTACKS[attack])
    found = store.check()
    fixed = store.check(fix=True)

    assert [("session", "s eve", None)] == [(finding.kind, finding.id, finding.fixed) for finding in found]
    assert {"s eve": "moved to quarantine"} == {f.id: f.fixed for f in fixed if f.kind == "session"}
    assert behind(path, "SELECT table_name FROM quarantine WHERE row_json LIKE '%s eve%'")
    assert ["sessions"] == [name for (name,) in behind(path, "SELECT table_name FROM quarantine")]
    assert store.check() == []
    assert store.find_session_now(["lookup of s eve"])[1] is None
    assert store.find_session_now(["lookup of s ann"])[1] is not None


def test_a_check_writes_down_what_tokens_without_their_session_are(path: Path) -> None:
    """What moves on is unassigned, as on the other stores; what was bound to the session is set aside."""
    with SessionTokens.open(f"sqlite:///{path}", pepper=PEPPER, sweep=False) as tokens:
        session = tokens.open_session("ann")
        tickets = [
            tokens.issue_token(session.id, "ticket", transferable=True, timeout=timeout) for timeout in (None, 9)
        ]
        bound = tokens.issue_token(session.id, "job")
    behind(path, "UPDATE sessions SET label = 'Mallory'")
    store = opened(path)
    assert {finding.id: finding.fixed for finding in store.check(fix=True)} == {
        session.id: "moved to quarantine",
        bound.id: "moved to quarantine",
        **{ticket.id: "written down as unassigned" for ticket in tickets},
    }
    assert store.check() == []
    store.close_now()
    with SessionTokens.open(f"sqlite:///{path}", pepper=PEPPER, sweep=False) as tokens:
        page = tokens.list_tokens(unassigned=True)
        assert {(token.id, token.previous_owner, token.version) for token in page} == {
            (ticket.id, "ann", 2) for ticket in tickets
        }
        heir = tokens.open_session("bob")
        assert tokens.claim_token(tickets[0].id, session_key=heir.id).record.owner == "bob"


def test_a_text_that_is_not_utf8_stops_nothing_but_its_row(store: SqliteStore, path: Path) -> None:
    behind(path, "UPDATE sessions SET label = CAST(x'ff41' AS TEXT) WHERE id = 's eve'")
    (listed,) = store.read_now([Scan("sessions", limit=10)]).found

    assert [found.session.id for found in listed.value] == ["s ann"]
    assert [record.id for record in listed.unreadable] == ["s eve"]
    assert store.find_session_now(["lookup of s eve"])[1] is None
    with pytest.raises(CorruptRecord):
        store.read_now([Get("session", "s eve")])
    assert [session.id for session in store.run_now(lambda tx: tx.sessions_of("eve"))] == []
    assert "moved to quarantine" in [finding.fixed for finding in store.check(fix=True)]
    assert store.read_now([Scan("sessions", limit=10)]).found[0].unreadable == []


def test_a_row_under_a_pepper_that_the_file_knows_is_not_set_aside(store: SqliteStore, path: Path) -> None:
    """It lives for the processes that have that pepper; under one that nobody recorded it is forged."""
    behind(path, "INSERT INTO peppers VALUES ('later', 'check', 1, 1)")
    for owner, key_id in (("ann", "later"), ("eve", "never")):
        mac = f"'{key_id}' || substr(mac, instr(mac, ':'))"
        behind(path, f"UPDATE sessions SET mac = {mac} WHERE owner = ?", owner)
    found = {finding.id: (finding.what, finding.fixed) for finding in store.check(fix=True)}

    assert found["s ann"] == ("unknown_pepper", None)
    assert found["s eve"] == ("forged", "moved to quarantine")


@pytest.mark.parametrize("key", ["''", "CAST(x'ff61' AS TEXT)", "x'616e6e'", "7"])
def test_a_row_under_a_key_that_is_none_is_set_aside(store: SqliteStore, path: Path, key: str) -> None:
    behind(path, f"UPDATE sessions SET id = {key} WHERE id = 's eve'")
    behind(path, f"INSERT INTO owners VALUES ({key}, 1, NULL, 1, 'revoked', 'x')")

    found = store.check(fix=True)
    assert all(str(finding).encode() for finding in found), "they can be shown"
    assert all("moved to quarantine" in str(f) for f in found if f.what != "orphan")
    assert {"session", "owner"} <= {f.kind for f in found}
    assert [] == store.check()


def test_all_sessions_end_though_their_owners_entry_is_lost(path: Path) -> None:
    """They stand in an epoch of which no entry tells, and one of them cannot be read."""
    with SessionTokens.open(f"sqlite:///{path}", pepper=PEPPER, sweep=False) as tokens:
        tokens.disable_owner("ann")
        tokens.enable_owner("ann")
        issued = [tokens.open_session("ann") for _ in range(3)]
        text = behind(path, "SELECT mac FROM sessions WHERE id = ?", issued[0].id)
        behind(path, "DELETE FROM owners")
        behind(path, "UPDATE sessions SET mac = 'x' WHERE id = ?", issued[0].id)

        assert tokens.destroy_sessions("ann") == 2
        behind(path, f"UPDATE sessions SET mac = '{text[0][0]}' WHERE id = ?", issued[0].id)
        assert [tokens.verify_session(one.secret) for one in issued] == [None] * 3
        assert tokens.verify_session(tokens.open_session("ann").secret) is not None


def test_a_check_finds_a_bound_token_without_its_session(store: SqliteStore, path: Path) -> None:
    store.run_now(add_token, "bound", "s eve", "eve", TokenKind.BOUND)
    behind(path, "DELETE FROM sessions WHERE id = 's eve'")
    fixed = {finding.id: finding.fixed for finding in store.check(fix=True)}

    assert {"bound": "moved to quarantine", "t eve": "written down as unassigned"} == fixed
    assert store.check() == []


def test_a_check_finds_a_missing_index_and_makes_it_anew(store: SqliteStore, path: Path) -> None:
    behind(path, "DROP INDEX sessions_of_owner")
    found = store.check(fix=True)

    assert ["index"] == [finding.kind for finding in found]
    assert found[0].id == "sessions_of_owner"
    assert store.check() == []
    assert [session.id for session in store.read_now([Members("sessions_of", "ann")]).found[0].value] == ["s ann"]


def test_a_finding_reads_as_a_line_without_secrets(store: SqliteStore, path: Path) -> None:
    behind(path, ATTACKS["another owner"])
    (finding,) = store.check()

    assert str(finding).startswith(
        "session s eve: the row 's eve' of sessions was not written by a holder of the pepper"
    )
    assert "lookup of" not in str(finding)


def test_a_damaged_page_is_an_error_and_not_an_answer(path: Path) -> None:
    store = opened(path)
    for number in range(200):
        store.run_now(add_session, f"s{number}", f"owner {number}", store.clock)
    store.close_now()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\x5a" * (size - 4096))

    with pytest.raises(StoreError, match="damaged"):
        opened(path).find_session_now(["lookup of s1"])


def test_a_forged_secret_is_inactive_through_the_api(path: Path) -> None:
    with SessionTokens.open(f"sqlite:///{path}", pepper=PEPPER, sweep=False) as tokens:
        issued = tokens.open_session("ann")
        token = tokens.issue_token(issued.id, "value", transferable=True)
        behind(path, "UPDATE sessions SET owner = 'eve'")
        behind(path, "UPDATE tokens SET owner = 'eve'")

        assert tokens.verify_session(issued.secret) is None
        assert tokens.verify_token(token.secret) is None
        with pytest.raises(CorruptRecord):
            tokens.get_session(issued.id)
        with pytest.raises(CorruptRecord):
            tokens.transfer_token(token.id, giver="eve", receiver="bob")
