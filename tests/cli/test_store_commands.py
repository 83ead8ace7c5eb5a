"""`session-tokens store`: migrate, check and copy, over real stores of every kind."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from session_tokens import SessionTokens, Settings
from session_tokens.audit import Audit
from session_tokens.errors import OwnerDisabled, SessionEnded
from session_tokens.stores.connect import copy_mark_of, open_store_now
from session_tokens.stores.copying import KINDS, MARK, SPACES, Setting, batches, put_records
from session_tokens.token_tables import TokenTables
from session_tokens.wants import SettingOf
from tests.servers.postgres import PostgresServer, _postgres_server, _postgres_url
from tests.servers.valkey import _valkey_url

from .conftest import Cli

__all__ = ["_postgres_server", "_postgres_url", "_valkey_url"]

OK, BAD_INPUT, CONFLICT = 0, 2, 4
SETTINGS = Settings(max_sessions=3)
FIRST = "sqlite:///first.db"


@contextmanager
def library(url: str) -> Iterator[SessionTokens]:
    with SessionTokens.open(url, settings=SETTINGS, sweep=False) as tokens:
        yield tokens


@pytest.fixture(autouse=True)
def _one_key_file_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key file of the first store, made with it, is named for each store."""
    monkeypatch.chdir(tmp_path)
    open_store_now(FIRST).close_now()
    monkeypatch.setenv("SESSION_TOKENS_PEPPER_FILE", str(tmp_path / "first.db.key"))


class Filled:
    """A store with something of every kind in it, and the secrets that were given out."""

    def __init__(self, url: str) -> None:
        with SessionTokens.open(url, settings=SETTINGS, sweep=False, audit=Audit()) as tokens:
            self.alice = tokens.open_session("alice", data={"lang": "de"}, detachable=True, label="phone")
            self.detached = tokens.open_session("dän ☂", detachable=True)
            tokens.detach_session(self.detached.id)
            self.bound = tokens.issue_token(self.alice.id, "välue\0\x1a", timeout=600)
            self.offered = tokens.issue_token(self.alice.id, {"n": 1}, transferable=True)
            tokens.offer_token(self.offered.id, price=Decimal("1.50"), currency="EUR")
            self.parked = tokens.issue_token(self.alice.id, None, transferable=True)
            self.parked = tokens.transfer_token(self.parked.id, giver="alice", receiver="nobody is here")
            self.free = tokens.issue_token(None, "free")
            self.gone = tokens.open_session("mallory")
            self.freed = tokens.issue_token(self.gone.id, "freed", transferable=True)
            tokens.destroy_session(self.gone.id)
            self.banned = tokens.open_session("banned")
            tokens.disable_owner("banned")
            self.once = tokens.open_session("bob", idempotency_key="once")
        with TokenTables.open(url) as tables:
            tables.add_session("their session", "eve", "their token")
            tables.add_transferable_token("their other", "7", "eve")

    def must_hold_in(self, url: str) -> None:
        """Ask for what was there, by secrets and by commands."""
        with library(url) as tokens:
            assert tokens.verify_session(self.alice.secret) == self.alice.session
            for issued, value in ((self.bound, "välue\0\x1a"), (self.offered, {"n": 1}), (self.free, "free")):
                verified = tokens.verify_token(issued.secret)
                assert verified is not None and verified.value == value
            parked = tokens.verify_token(self.parked.secret)
            assert parked is not None and (parked.owner, parked.session_id) == ("nobody is here", None)
            assert tokens.verify_session(self.detached.secret) is None
            assert tokens.verify_session(self.banned.secret) is None
            with pytest.raises(OwnerDisabled):
                tokens.open_session("banned")
            with pytest.raises(SessionEnded):
                tokens.rotate_session(self.gone.id)
            assert tokens.open_session("bob", idempotency_key="once").secret == self.once.secret
        with TokenTables.open(url) as tables:
            assert tables.active_session("their session", "eve") is True
            assert tables.list_tranferable_tokens("their session") == ["their other"]
            assert tables.from_token("their token") == tables.from_token("their session")
            assert tables.transition_token_is_active("their other") == "7"


def listings(url: str) -> dict[str, Any]:
    with library(url) as tokens:
        return {
            "sessions": tokens.list_sessions().items,
            "detached": tokens.list_sessions(detached=True).items,
            **{f"of {owner}": tokens.list_tokens(owner=owner).items for owner in ("alice", "nobody is here")},
            "sellable": tokens.list_tokens(sellable=True).items,
            "unassigned": tokens.list_tokens(unassigned=True).items,
            "tokens": tokens.list_tokens().items,
        }


def everything(url: str) -> dict[tuple[str, str, str], object]:
    """Every record of both name spaces, as what makes two records equal."""
    records: dict[tuple[str, str, str], object] = {}
    for space in SPACES:
        store = open_store_now(url, space=space)
        for kind, of_kind in KINDS.items():
            for batch in batches(store, kind):
                records |= {(space, kind, key): of_kind.row(record) for key, record in batch.items()}
        store.close_now()
    return records


def test_a_copy_from_store_to_store_and_back_keeps_everything(cli: Cli, postgres_url: str, valkey_url: str) -> None:
    filled = Filled(FIRST)
    role = cli("keys", "create", "--role", "verify", "--json", "--store", FIRST).json
    expected, listed = everything(FIRST), listings(FIRST)
    stores = [FIRST, postgres_url, valkey_url, "sqlite:///last.db"]
    for source, target in pairwise(stores):
        said = cli("store", "copy", source, target, "--json")

        assert said.code == OK, said.err
        assert said.json["written"] == sum(said.json["records"].values()) == len(expected)
        assert set(said.json["records"]) == set(KINDS) and all(said.json["records"].values())
        assert everything(target) == expected
        assert listings(target) == listed
        assert cli("store", "check", target).out == "nothing is wrong\n"
        assert cli("audit", "verify", "--store", target, "--json").json["findings"] == []
        assert [key["id"] for key in cli("keys", "list", "--store", target, "--json").json["items"]] == [role["id"]]
    assert everything(FIRST) == expected
    for target in stores[1:]:  # not before all are copied: to ask what holds is to use the store
        filled.must_hold_in(target)


def test_a_copy_that_is_complete_is_only_compared(cli: Cli, valkey_url: str) -> None:
    Filled(FIRST)
    cli("store", "copy", FIRST, valkey_url)

    said = cli("store", "copy", FIRST, valkey_url, "--json")
    assert (said.code, said.json["written"]) == (OK, 0)

    with library(valkey_url) as tokens:
        tokens.open_session("somebody since")
    before = everything(valkey_url)
    said = cli("store", "copy", FIRST, valkey_url, "--json")
    assert said.code == CONFLICT
    assert everything(valkey_url) == before


@pytest.mark.parametrize("kind", ["postgres", "valkey"])
def test_a_copy_that_was_killed_goes_on(cli: Cli, request: pytest.FixtureRequest, kind: str) -> None:
    """Killed with some of it written, the target tells so, and the next run completes it."""
    target: str = request.getfixturevalue(f"{kind}_url")
    with SessionTokens.open(FIRST, settings=Settings(max_sessions=None), sweep=False) as tokens:
        issued = [tokens.open_session(f"owner {number}") for number in range(1_500)]
        tokens.disable_owner("owner 7")
    copying = subprocess.Popen(
        [sys.executable, "-m", "session_tokens.cli.main", "store", "copy", FIRST, target],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ),
    )  # fmt: skip
    watched = open_store_now(target)
    while not any(True for _ in batches(watched, "session")):
        assert copying.poll() is None, copying.communicate()
        time.sleep(0.001)
    copying.send_signal(signal.SIGKILL)
    copying.communicate(timeout=30)
    there = sum(len(batch) for batch in batches(watched, "session"))
    assert 0 < there < 1_500
    assert watched.read_now([SettingOf(MARK)]).found[0].value is not None
    watched.close_now()
    with SessionTokens.open(FIRST, settings=Settings(max_sessions=None), sweep=False) as tokens:
        tokens.destroy_session(issued[0].id)  # a source that went on is copied as it is now

    said = cli("store", "copy", FIRST, target, "--json")

    assert said.code == OK, said.err
    assert said.json["written"] > 0  # what came in between the count and the kill was written by the first run
    assert everything(target) == everything(FIRST)
    with library(target) as tokens:
        assert tokens.verify_session(issued[0].secret) is None
        assert tokens.verify_session(issued[7].secret) is None
        assert tokens.verify_session(issued[1_499].secret) is not None


def test_what_the_source_has_forgotten_since_is_deleted(cli: Cli, valkey_url: str) -> None:
    """A session that an unfinished copy brought over must not outlive its record in the source."""
    with library(FIRST) as tokens:
        tokens.open_session("alice")
    with library(valkey_url) as tokens:
        left = tokens.open_session("left behind")
    assert cli("store", "copy", FIRST, valkey_url).code == CONFLICT
    target = open_store_now(valkey_url)
    target.run_now(put_records, "setting", {MARK: Setting(MARK, copy_mark_of(FIRST))})
    target.close_now()

    said = cli("store", "copy", FIRST, valkey_url, "--json")

    assert said.code == OK, said.err
    assert everything(valkey_url) == everything(FIRST)
    with library(valkey_url) as tokens:
        assert tokens.verify_session(left.secret) is None


def test_a_copy_begun_from_elsewhere_is_not_overwritten(cli: Cli, valkey_url: str) -> None:
    with library(FIRST) as tokens:
        tokens.open_session("alice")
    target = open_store_now(valkey_url)
    target.run_now(put_records, "setting", {MARK: Setting(MARK, copy_mark_of("sqlite:///another.db"))})
    target.close_now()

    said = cli("store", "copy", FIRST, valkey_url)

    assert said.code == CONFLICT
    assert "another store" in said.err


def test_a_target_with_another_pepper_is_refused(
    cli: Cli, valkey_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SQLite finds its own key file; the server is given another pepper, so no secret would be valid there."""
    Filled(FIRST)
    monkeypatch.delenv("SESSION_TOKENS_PEPPER_FILE")
    other = "sqlite:///other.db"

    said = cli("store", "copy", FIRST, other)

    assert said.code == BAD_INPUT
    assert "SESSION_TOKENS_PEPPER_FILE" in said.err
    assert everything(other) == {}


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("memory://", FIRST),
        (FIRST, "memory://"),
        (FIRST, "sqlite:///./first.db"),
        ("sqlite:///not_there.db", "sqlite:///new.db"),
        ("ftp://host/x", FIRST),
    ],
)
def test_a_copy_that_makes_no_sense_is_bad_input(cli: Cli, source: str, target: str, tmp_path: Path) -> None:
    said = cli("store", "copy", source, target, "--json")

    assert said.code == BAD_INPUT
    assert not (tmp_path / "not_there.db").exists() and not (tmp_path / "new.db").exists()


def test_migrate_makes_both_name_spaces_for_a_role_that_owns_nothing(
    cli: Cli, postgres_server: PostgresServer, postgres_url: str
) -> None:
    role = "runner_" + postgres_url.rpartition("_")[2]
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'CREATE ROLE "{role}" LOGIN'.encode())
    as_runner = postgres_server.url(postgres_url.rpartition("/")[2], role)
    refused = cli("sessions", "--store", as_runner)
    assert refused.code != OK and "store migrate" in refused.err

    said = cli("store", "migrate", postgres_url, "--grant-to", role, "--json")

    assert (said.code, said.json["needed"]) == (OK, True)
    assert said.json["steps"] > 0
    with library(as_runner) as tokens:
        assert tokens.verify_session(tokens.open_session("alice").secret) is not None
    with TokenTables.open(as_runner) as tables:
        tables.add_session("their session", "eve", "their token")
        assert tables.active_session("their session", "eve") is True
    assert cli("store", "migrate", "--store", postgres_url, "--json").json == {"steps": 0, "needed": True}
    assert cli("store", "migrate", postgres_url, "--store", postgres_url).code == BAD_INPUT


def test_migrate_says_where_there_is_nothing_to_do(cli: Cli, valkey_url: str) -> None:
    for url in (FIRST, valkey_url, "memory://"):
        assert cli("store", "migrate", url, "--json").json == {"steps": 0, "needed": False}
        assert cli("store", "migrate", url, "--grant-to", "runner").code == BAD_INPUT


def test_check_is_the_check(cli: Cli, tmp_path: Path) -> None:
    Filled(FIRST)
    assert cli("store", "check", FIRST, "--json").json == {"findings": [], "fixed": False}
    with sqlite3.connect(tmp_path / "first.db") as connection:
        connection.execute("UPDATE sessions SET owner = 'mallory' WHERE owner = 'alice'")
    connection.close()

    said = cli("store", "check", FIRST, "--json")
    assert said.code == CONFLICT and len(said.json["findings"]) == 1

    assert cli("store", "copy", FIRST, "sqlite:///second.db").code != OK  # what is forged is not carried on
    cli("store", "check", FIRST, "--fix")
    assert cli("store", "copy", FIRST, "sqlite:///third.db").code == OK


def test_check_looks_at_both_name_spaces_of_a_server(cli: Cli, postgres_url: str) -> None:
    with library(postgres_url) as tokens:
        session = tokens.open_session("alice")
    with TokenTables.open(postgres_url) as tables:
        tables.add_session("their session", "eve")
    assert cli("store", "check", postgres_url, "--json").json["findings"] == []
    with psycopg.connect(postgres_url) as connection:
        for schema in ("session_tokens", "session_tokens_tt"):
            connection.execute(f"UPDATE {schema}.sessions SET owner = 'mallory'".encode())

    said = cli("store", "check", postgres_url, "--json")

    assert said.code == CONFLICT
    assert said.json["findings"][0].startswith(f"session {session.id}: ")
    assert said.json["findings"][1].startswith("tt session ")
    assert len(said.json["findings"]) == 2
