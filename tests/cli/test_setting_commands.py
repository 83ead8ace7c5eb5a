"""`session-tokens settings`: what is shown, set and unset, and that other commands go by it."""

from __future__ import annotations

import os
from pathlib import Path

from session_tokens import SessionTokens
from session_tokens.audit.log import Audit
from session_tokens.audit.reader import latest, read_now
from tests.helpers.command_line import Cli


def test_what_is_set_is_listed_and_holds_for_the_next_command(cli: Cli) -> None:
    said = cli("settings", "set", "max_sessions", "1")
    listed = {item["name"]: item for item in cli("settings", "list", "--json").json["items"]}
    cli("open", "ann")
    cli("open", "ann")
    living = len(cli("sessions", "--owner", "ann", "--json").json["items"])

    assert (0, "max_sessions is 1; other processes see it within 30 s\n") == (said.code, said.out)
    assert (1, "stored", 1) == (
        listed["max_sessions"]["value"], listed["max_sessions"]["source"], listed["max_sessions"]["stored"],
    )  # fmt: skip
    assert 1 == living


def test_values_are_written_as_people_write_them(cli: Cli) -> None:
    cli("settings", "set", "idle_timeout", "30m")
    cli("settings", "set", "max_tokens_per_session", "none")
    cli("settings", "set", "token_timeout", "never")
    table = cli("settings", "list").out.splitlines()

    assert ["idle_timeout", "30m", "stored", "30m", "never"] in [line.split() for line in table]
    assert ["max_tokens_per_session", "none", "stored", "none", "none"] in [line.split() for line in table]
    assert ["token_timeout", "never", "stored", "never", "never"] in [line.split() for line in table]


def test_what_is_unset_is_as_by_default(cli: Cli) -> None:
    cli("settings", "set", "max_age", "30m")
    said = cli("settings", "unset", "max_age", "--json")

    assert {
        "name": "max_age", "value": 3600, "source": "default", "is_stored": False, "stored": None, "default": 3600,
    } == said.json  # fmt: skip


def test_the_environment_wins_and_a_bad_variable_is_named(process: Cli) -> None:
    process("settings", "set", "max_sessions", "4")
    item = process("settings", "list", "--json", SESSION_TOKENS_MAX_SESSIONS="2").json["items"]
    bad = process("settings", "list", SESSION_TOKENS_MAX_AGE="soon")

    assert (2, "environment", 4) == next(
        (one["value"], one["source"], one["stored"]) for one in item if one["name"] == "max_sessions"
    )
    assert 2 == bad.code and "SESSION_TOKENS_MAX_AGE" in bad.err


def test_what_can_never_be_right_is_told(cli: Cli) -> None:
    for words in (
        ["set", "max_age", "soon"], ["set", "max_sessions", "0"], ["set", "colour", "red"],
        ["set", "sweep_interval", "1"], ["set", "max_age"], ["unset"], ["list", "max_age"], ["unset", "max_age", "3"],
    ):  # fmt: skip
        said = cli("settings", *words)

        assert (2, "") == (said.code, said.out), words
        assert said.err.startswith("session-tokens: ")


def test_a_change_is_an_entry_of_the_audit_log(cli: Cli, tmp_path: Path) -> None:
    url = os.environ["SESSION_TOKENS_STORE"]
    with SessionTokens.open(url, sweep=False, audit=Audit(tmp_path / "anchor")) as tokens:
        tokens.open_session("ann")
    cli("settings", "set", "max_age", "30m")
    with SessionTokens.open(url, sweep=False) as tokens:
        newest = read_now(tokens.store, latest(1))[0]

    assert ("setting_changed", "max_age", "1800000") == (newest["kind"], newest["subject_id"], newest["reason"])
