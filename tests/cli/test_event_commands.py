"""``session-tokens events`` and ``session-tokens webhooks``: on, shown, followed by name; added, rotated, removed."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from session_tokens import SessionTokens
from tests.helpers.command_line import Cli


@contextmanager
def followed(folder: Path, *arguments: str) -> Iterator[Iterator[bytes]]:
    """Follow the events of the store in a process of its own, which is killed at the end."""
    command = [sys.executable, "-m", "session_tokens", "events", "--follow", *arguments]
    running = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, env={**os.environ, "SESSION_TOKENS_STORE": "sqlite:///store.db"}
    )
    assert running.stdout is not None
    try:
        yield iter(running.stdout)
    finally:
        running.kill()
        running.wait()
        running.stdout.close()


@contextmanager
def following(folder: Path, *arguments: str) -> Iterator[Iterator[dict[str, Any]]]:
    """Follow the events of the store, each as it is read from JSON."""
    with followed(folder, "--json", *arguments) as lines:
        yield (json.loads(line) for line in lines)


def test_events_are_off_until_they_are_switched_on(cli: Cli) -> None:
    refused = cli("events")
    switched = cli("events", "--on", "--json")
    opened = json.loads(cli("open", "alice", "--json").out)["id"]
    shown = json.loads(cli("events", "--json").out)["events"]
    cli("events", "--off")

    assert refused.code == 2 and "events --on" in refused.err
    assert json.loads(switched.out) == {"events": "durable"}
    assert [(event["kind"], event["subject_id"], event["owner"]) for event in shown] == [
        ("session_opened", opened, "alice")
    ]
    assert cli("events").code == 2


def test_a_page_says_where_it_goes_on_and_an_owner_sees_their_own(cli: Cli) -> None:
    cli("events", "--on")
    for owner in ("alice", "bob", "alice"):
        cli("open", owner)
    first = json.loads(cli("events", "--limit", "2", "--json").out)
    rest = json.loads(cli("events", "--after", first["next"], "--json").out)

    assert [event["owner"] for event in first["events"] + rest["events"]] == ["alice", "bob", "alice"]
    assert rest["next"] is None
    assert f"more: --after {first['next']}" in cli("events", "--limit", "2").err
    assert [event["owner"] for event in json.loads(cli("events", "--owner", "bob", "--json").out)["events"]] == ["bob"]


def test_what_cannot_be_read_is_said_to_be_left_out_of_events_and_owners(cli: Cli, tmp_path: Path) -> None:
    cli("events", "--on")
    opened = [cli("open", owner, "--json").json["id"] for owner in ("ann", "bob")]
    with closing(sqlite3.connect(tmp_path / "store.db")) as raw, raw:
        raw.execute("UPDATE sessions SET mac = zeroblob(32) WHERE id = ?", [opened[0]])
        raw.execute("UPDATE events SET text = '[]' WHERE text LIKE ?", [f"%{opened[0]}%"])
    unread = cli("events", "--json").json["unreadable"]

    assert len(unread) == 1
    assert f"left out, as they cannot be read: {unread[0]}; see check" in cli("events").err
    assert f"left out, as they cannot be read: {opened[0]}; see check" in cli("owners", "list").err


@pytest.mark.process
def test_a_named_follower_that_is_killed_goes_on_where_it_was(cli: Cli, tmp_path: Path) -> None:
    cli("events", "--on")
    tokens = SessionTokens.open("sqlite:///store.db", sweep=False)
    with tokens, following(tmp_path, "--name", "mailer") as events:
        ids = [tokens.open_session("alice").id for _ in range(3)]
        told = [next(events)["subject_id"] for _ in ids]
    with (
        SessionTokens.open("sqlite:///store.db", sweep=False) as tokens,
        following(tmp_path, "--name", "mailer") as events,
    ):
        last = tokens.open_session("alice").id
        again = []
        while last not in again:
            again.append(next(events)["subject_id"])

    assert told == ids
    assert again == [*ids, last][-len(again) :], "at least once, in order, and nothing is left out"


@pytest.mark.process
def test_events_that_are_followed_by_people_have_all_columns_and_the_time_in_words(cli: Cli, tmp_path: Path) -> None:
    cli("events", "--on")
    cli("issue")
    with followed(tmp_path) as lines:
        at, kind, subject, owner, reason, event = next(lines).decode().rstrip("\n").split("  ")

    assert ("token_issued", "-", "-") == (kind, owner, reason)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", at)
    assert subject.startswith("tok_") and event.startswith("evt_")


def test_a_name_goes_with_following(cli: Cli) -> None:
    said = cli("events", "--name", "mailer")

    assert said.code == 2 and "--follow" in said.err


def test_a_limit_is_of_a_page_and_not_of_following(cli: Cli) -> None:
    cli("events", "--on")
    said = cli("events", "--follow", "--limit", "5")

    assert said.code == 2 and "--limit" in said.err


def test_webhooks_are_added_rotated_and_removed(cli: Cli) -> None:
    cli("events", "--on")
    added = json.loads(cli("webhooks", "add", "https://app.example/hooks", "--kind", "session_ended", "--json").out)
    rotated = json.loads(cli("webhooks", "rotate", added["id"], "--json").out)
    listed = cli("webhooks", "list", "--json").out
    gone = [cli("webhooks", "remove", added["id"]).code for _ in range(2)]

    assert added["secret"].startswith("whsec_") and rotated["secret"].startswith("whsec_")
    assert added["secret"] != rotated["secret"]
    assert [hook["id"] for hook in json.loads(listed)["items"]] == [added["id"]]
    assert "whsec_" not in listed
    assert gone == [0, 1]
    assert json.loads(cli("webhooks", "list", "--json").out)["items"] == []


def test_a_webhook_over_http_is_said_to_need_leave(cli: Cli) -> None:
    cli("events", "--on")
    added = cli("webhooks", "add", "http://app.internal:8080/hooks")

    assert added.code == 0
    assert "serve --webhook-allow app.internal:8080" in added.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "ftp://app.example/hooks"), "https"),
        (("add",), "a URL"),
        (("list", "whk_1"), "nothing more"),
        (("dead", "whk_1", "--kind", "session_ended"), "--kind"),
        (("remove", "whk_1", "--after", "evt_1"), "--after"),
    ],
)
def test_what_is_no_webhook_is_refused_with_its_remedy(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    cli("events", "--on")
    refused = cli("webhooks", *arguments)

    assert refused.code == 2, refused
    assert said in refused.err
