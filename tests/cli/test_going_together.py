"""What means nothing to an action of a command is refused and named: whoever said it expects something of it."""

from __future__ import annotations

import json

import pytest

from tests.helpers.command_line import Cli

BAD_INPUT = 2


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("create", "key_x", "--role", "audit"), "KEY_ID"),
        (("list", "key_x"), "KEY_ID"),
        (("find", "key_x"), "KEY_ID"),
        (("list", "--label", "x"), "--label"),
        (("list", "--role", "audit"), "--role"),
        (("list", "--secret-file", "file"), "--secret-file"),
        (("rotate", "KEY", "--label", "other"), "--label"),
        (("rotate", "KEY", "--role", "verify"), "--role"),
        (("revoke", "KEY", "--overlap", "1d"), "--overlap"),
        (("revoke", "KEY", "--expires", "1d"), "--expires"),
        (("create", "--role", "audit", "--overlap", "never"), "--overlap"),
    ],
)
def test_what_means_nothing_to_an_action_on_keys(cli: Cli, words: tuple[str, ...], named: str) -> None:
    key = cli("keys", "create", "--role", "admin", "--label", "first", "--json").json["id"]
    said = cli("keys", *(key if word == "KEY" else word for word in words))
    there = cli("keys", "list", "--json").json["items"]

    assert said.code == BAD_INPUT
    assert named in said.err
    assert [(key, "first")] == [(one["id"], one["label"]) for one in there]


@pytest.mark.parametrize("action", ["create", "rotate"])
def test_a_key_that_never_ends_is_still_made(cli: Cli, action: str) -> None:
    first = cli("keys", "create", "--role", "audit", "--expires", "never", "--json").json
    words = ("--role", "audit") if action == "create" else (first["id"],)
    made = cli("keys", action, *words, "--expires", "never", "--json").json

    assert (None, None) == (first["expires_at"], made["expires_at"])


@pytest.mark.parametrize(
    "words", [("add", "https://app.example/hooks"), ("list",), ("change", "ID", "--off"), ("dead", "ID")]
)
def test_an_overlap_goes_with_the_rotation_of_a_webhook(cli: Cli, words: tuple[str, ...]) -> None:
    cli("events", "--on")
    hook = cli("webhooks", "add", "https://app.example/first", "--json").json["id"]
    said = cli("webhooks", *(hook if word == "ID" else word for word in words), "--overlap", "1h")
    there = cli("webhooks", "list", "--json").json["items"]

    assert said.code == BAD_INPUT
    assert "--overlap" in said.err
    assert [(hook, True)] == [(one["id"], one["is_on"]) for one in there]


@pytest.mark.parametrize("words", [("--owner", "alice"), ("--follow",), ("--after", "evt_1"), ("--limit", "5")])
def test_switching_events_takes_nothing_else(cli: Cli, words: tuple[str, ...]) -> None:
    cli("open", "alice")
    said = cli("events", "--on", *words)

    assert said.code == BAD_INPUT
    assert words[0] in said.err
    assert BAD_INPUT == cli("events").code  # none are kept


def test_a_reason_goes_with_the_end_of_a_session(cli: Cli) -> None:
    token = cli("issue", "--json").json["id"]
    said = cli("end", token, "--reason", "theft")

    assert said.code == BAD_INPUT
    assert "--reason" in said.err
    assert 1 == len(cli("tokens", "--json").json["items"])


def test_an_exception_goes_with_the_end_of_all_sessions_of_an_owner(cli: Cli) -> None:
    first, second = (cli("open", "alice", "--json").json["id"] for _ in range(2))
    said = cli("end", first, "--except", second)

    assert said.code == BAD_INPUT
    assert "--except" in said.err
    assert 2 == len(cli("sessions", "--json").json["items"])


def test_cleaning_up_nothing_is_bad_input(cli: Cli) -> None:
    cli("open", "alice")
    said = cli("sweep", "--limit", "0")

    assert said.code == BAD_INPUT
    assert "limit" in said.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("sessions", "ses_00aaaaaaaaaaaaaaaaaaaaaa"), "unknown_session"),
        (("tokens", "tok_00aaaaaaaaaaaaaaaaaaaaaa"), "unknown_token"),
        (("claim", "--next", "--session", "SESSION"), "unknown_token"),
    ],
)
def test_what_is_not_there_is_told_to_programs_as_json(cli: Cli, words: tuple[str, ...], code: str) -> None:
    session = cli("open", "alice", "--json").json["id"]
    given = tuple(session if word == "SESSION" else word for word in words)
    said, told = cli(*given, "--json"), cli(*given)

    assert (1, "", code) == (said.code, said.out, json.loads(said.err)["error"])
    assert (1, "") == (told.code, told.out)
    assert told.err.startswith("session-tokens: no ")
