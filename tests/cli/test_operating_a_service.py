"""The commands for operators, given to a running service in place of its store: the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from session_tokens.cli.main import main
from tests.helpers.command_line import Cli, Said
from tests.helpers.running_service import RunningService


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """Call the command line on a service of this test's own, with its admin key."""
    service = RunningService(f"sqlite:///{tmp_path}/store.db", tmp_path / "log")
    key = tmp_path / "key"
    key.write_text(service.secret)
    key.chmod(0o600)

    def call(*arguments: str) -> Said:
        code = main([*arguments, "--store", service.url, "--key-file", str(key)])
        return Said(code, *capsys.readouterr())

    yield call
    service.stop()


@pytest.mark.server
def test_settings_owners_and_explanations(cli: Cli) -> None:
    kept = cli("settings", "set", "idle_timeout", "30m", "--json")
    opened = cli("open", "ann", "--json").json
    listed = cli("owners", "list", "--json").json["items"]
    renamed = cli("owners", "rename", "ann", "--to", "anna", "--json")
    cli("end", opened["id"], "--reason", "theft")
    explained = cli("explain", opened["id"], "--json")
    cli("owners", "disable", "mallory")
    disabled = cli("owners", "list", "--disabled", "--json").json["items"]

    assert (0, 1800, 1800) == (kept.code, kept.json["value"], opened["idle_timeout"])
    assert [("ann", 1)] == [(owner["owner"], owner["sessions"]) for owner in listed]
    assert {"owner": "anna", "renamed": 1} == renamed.json
    assert (1, "ended", "theft", "anna") == (
        explained.code, explained.json["state"], explained.json["reason"], explained.json["owner"],
    )  # fmt: skip
    assert ["mallory"] == [owner["owner"] for owner in disabled]


@pytest.mark.server
def test_what_lives_is_shown_without_what_a_service_does_not_keep(cli: Cli) -> None:
    cli("open", "ann")
    shown = cli("top", "--once", "--json").json

    assert ("1", "", []) == (shown["figures"]["sessions"], shown["source"], shown["happened"])
    assert 0 == cli("audit", "list").code


@pytest.mark.parametrize(
    "said", [("create", "--role", "verify"), ("list",), ("find",), ("rotate", "key_1"), ("revoke", "key_1")]
)
def test_what_works_on_keys_names_where_it_works(said: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody is asked: there is no such service."""
    code = main(["keys", *said, "--store", "https://tokens.invalid", "--key-file", "/nowhere"])
    told = capsys.readouterr().err

    assert 2 == code
    assert f"keys {said[0]} works on the store itself" in told and "/v1/keys" in told
