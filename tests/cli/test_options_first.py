"""Options that every command takes, said before the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from session_tokens import SessionTokens
from tests.helpers.command_line import Cli

OTHER = "sqlite:///other.db"


@pytest.fixture
def other(cli: Cli) -> str:
    """A second store beside the one that the environment names, and a session in it."""
    with SessionTokens.open(OTHER, sweep=False) as st:
        return st.open_session("of-the-other").id


@pytest.mark.parametrize(
    "words",
    [
        ("--store", OTHER, "--json", "sessions"),
        (f"--store={OTHER}", "sessions", "--json"),
        ("--json", "sessions", "--store", OTHER),
        ("--json", "--key-file", "unread", "--store", OTHER, "sessions"),
        ("--store", "sqlite:///store.db", "--json", "sessions", "--store", OTHER),
    ],
)
def test_they_go_before_the_command_or_behind_it(cli: Cli, other: str, words: tuple[str, ...]) -> None:
    listed = cli(*words)

    assert listed.code == 0, listed.err
    assert [other] == [each["id"] for each in listed.json["items"]]


def test_they_go_before_a_command_of_two_words(cli: Cli, other: str, tmp_path: Path) -> None:
    made = cli("--store", OTHER, "store", "backup", "copy.db")
    checked = cli("--json", "--store", OTHER, "store", "check")

    assert made.code == 0, made.err
    assert (tmp_path / "copy.db").exists()
    assert checked.json["findings"] == []


def test_words_behind_two_dashes_are_no_options(cli: Cli, other: str) -> None:
    assert cli("--store", OTHER, "open", "--", "--of-dashes").code == 0
    assert len(cli("sessions", "--owner=--of-dashes", "--store", OTHER, "--json").json["items"]) == 1


@pytest.mark.parametrize("words", [("--store", OTHER), ("--json",), ("--store",)])
def test_without_a_command_it_says_so(cli: Cli, words: tuple[str, ...]) -> None:
    said = cli(*words)

    assert (said.code, said.out) == (2, "")
    assert "no command; see session-tokens --help" in said.err


def test_what_a_command_does_not_take_is_refused_before_it_too(cli: Cli, other: str) -> None:
    said = cli("--store", OTHER, "store", "copy", "sqlite:///store.db", "memory://")

    assert said.code == 2
    assert "unrecognized arguments: --store" in said.err


def test_help_says_where_they_go(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli("--help")

    assert "go before a command or behind it" in capsys.readouterr().out
