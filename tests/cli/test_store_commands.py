"""`session-tokens store migrate` and `store check`, over real stores of every kind."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
import valkey

from session_tokens._sync.token_tables import TokenTables
from session_tokens.stores.connect import open_store_now
from tests.helpers.command_line import Cli
from tests.helpers.filled_store import FIRST, Filled, library
from tests.helpers.servers.postgres import PostgresServer

OK, BAD_INPUT, CONFLICT = 0, 2, 4


@pytest.fixture(autouse=True)
def _one_key_file_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key file of the first store, made with it, is named for each store."""
    monkeypatch.chdir(tmp_path)
    open_store_now(FIRST).close_now()
    monkeypatch.setenv("SESSION_TOKENS_PEPPER_FILE", str(tmp_path / "first.db.key"))


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


def test_a_role_that_is_not_there_is_granted_nothing(cli: Cli, postgres_url: str) -> None:
    said = cli("store", "migrate", postgres_url, "--grant-to", "nobody")

    assert said.code == BAD_INPUT
    assert "CREATE ROLE" in said.err and "nobody" in said.err


@pytest.mark.parametrize("words", [("backup",), ("export",), ("restore", "there")])
def test_a_folder_that_is_not_there_is_named(cli: Cli, tmp_path: Path, words: tuple[str, ...]) -> None:
    Filled(FIRST)
    cli("store", "backup", "there", "--store", FIRST)
    to = ("nowhere/file",) if len(words) == 1 else ("--store", "sqlite:///nowhere/file")
    said = cli("store", *words, *(to if len(words) > 1 else (*to, "--store", FIRST)))

    assert said.code == 3
    assert f"the folder {tmp_path / 'nowhere'} is not there; make it first" in said.err


def test_migrate_says_where_there_is_nothing_to_do(cli: Cli, valkey_url: str) -> None:
    for url in (FIRST, valkey_url, "memory://"):
        assert cli("store", "migrate", url, "--json").json == {"steps": 0, "needed": False}
        assert cli("store", "migrate", url, "--grant-to", "runner").code == BAD_INPUT


def test_check_is_the_check(cli: Cli, tmp_path: Path) -> None:
    Filled(FIRST)
    assert cli("store", "check", FIRST, "--json").json == {"findings": [], "fixed": False, "left": []}
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


def test_check_mends_what_can_be_mended_and_sets_the_rest_aside(cli: Cli, valkey_url: str) -> None:
    """An index entry that is lost is made anew from its record; a record that somebody wrote to is set aside."""
    with library(valkey_url) as tokens:
        session, other = tokens.open_session("alice"), tokens.open_session("bob")
    with TokenTables.open(valkey_url) as tables:
        tables.add_session("their session", "eve")
    prefix = parse_qs(urlsplit(valkey_url).query)["namespace"][0]
    with valkey.Valkey.from_url(valkey_url.partition("?")[0]) as client:
        for name in client.scan_iter(f"{{{prefix}*}}:ls"):
            assert client.delete(name) == 1  # the listing of all living sessions, of both name spaces
        listed = cli("sessions", "--store", valkey_url, "--json").json["items"]
        found = cli("store", "check", valkey_url, "--json")
        mended = cli("store", "check", valkey_url, "--fix", "--json")
        whole = cli("store", "check", valkey_url)
        listed_again = cli("sessions", "--store", valkey_url, "--json").json["items"]

        forged = f"{{{prefix}:00}}:s:{session.id}"
        value = client.get(forged)
        assert isinstance(value, bytes) and b"alice" in value
        client.set(forged, value.replace(b"alice", b"admin"))
    said = cli("store", "check", valkey_url)
    aside = cli("store", "check", valkey_url, "--fix", "--json")

    assert listed == []
    assert (found.code, len(found.json["findings"]), found.json["fixed"]) == (CONFLICT, 3, False)
    assert sum(finding.startswith("tt ") for finding in found.json["findings"]) == 1
    assert (mended.code, len(mended.json["findings"]), mended.json["left"]) == (OK, 3, [])
    assert (whole.code, whole.out) == (OK, "nothing is wrong\n")
    assert {item["id"] for item in listed_again} == {session.id, other.id}
    assert said.code == CONFLICT
    assert said.out.startswith(f"session {session.id}: ")
    assert (aside.code, aside.json["left"]) == (OK, [])
    assert [finding.endswith("(moved to quarantine)") for finding in aside.json["findings"]] == [True]
