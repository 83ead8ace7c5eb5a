"""``session-tokens webhooks``: what it changes is in the audit log that a store has."""

from __future__ import annotations

import json

import pytest

from session_tokens import SessionTokens, Settings
from session_tokens.audit.log import Audit
from session_tokens.audit.reader import latest, read_now, verifying
from tests.helpers.command_line import Cli

HERE, THERE = "https://app.example/hooks", "https://app.example/other?key=hidden"


def test_the_command_line_changes_and_is_audited(cli: Cli) -> None:
    durable = Settings(events="durable")
    with SessionTokens.open("sqlite:///store.db", settings=durable, sweep=False, audit=Audit()) as tokens:
        tokens.open_session("alice")
    id = json.loads(cli("webhooks", "add", HERE, "--json").out)["id"]
    changed = json.loads(cli("webhooks", "change", id, "--url", THERE, "--kind", "session_ended", "--json").out)
    off = json.loads(cli("webhooks", "change", id, "--off", "--every-kind", "--json").out)
    on = json.loads(cli("webhooks", "change", id, "--on", "--json").out)
    codes = [cli("webhooks", "rotate", id).code, cli("webhooks", "rotate", id).code]
    codes += [cli("webhooks", "rotate", id, "--overlap", "never").code]
    codes += [cli("webhooks", "replay", id).code, cli("webhooks", "remove", id).code]
    with SessionTokens.open("sqlite:///store.db", sweep=False) as tokens:
        entries = read_now(tokens.store, latest(20))[::-1]
        verdict = read_now(tokens.store, verifying(tokens.store.keyring, [], lambda number: None))

    assert (changed["url"], changed["kinds"]) == (THERE, ["session_ended"])
    assert (off["kinds"], off["is_on"], on["is_on"]) == (None, False, True)
    assert codes == [0, 4, 0, 0, 0]
    assert [(entry["kind"], entry["reason"]) for entry in entries[1:]] == [
        ("webhook_added", None),
        ("webhook_changed", "url kinds"),
        ("webhook_changed", "kinds off"),
        ("webhook_changed", "on"),
        ("webhook_rotated", None),
        ("webhook_rotated", None),
        ("webhook_replayed", None),
        ("webhook_removed", None),
    ]
    assert verdict.findings == []


@pytest.mark.parametrize("action", ["change", "dead", "remove", "replay", "rotate"])
@pytest.mark.parametrize("id", ["whk_1", "whk_00aaaaaaaaaaaaaaaaaaaaaa"])
def test_a_webhook_that_is_not_there_is_not_bad_input(cli: Cli, action: str, id: str) -> None:
    cli("events", "--on")
    said = cli("webhooks", action, id, *(["--off"] if action == "change" else []))

    assert said.code == 1
    assert action == "remove" or "list the webhooks" in said.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list", "--on"), "webhooks change"),
        (("remove", "whk_1", "--url", THERE), "webhooks change"),
        (("dead", "whk_1", "--every-kind"), "webhooks change"),
        (("change",), "the id of a webhook"),
    ],
)
def test_options_of_another_action_are_refused(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    refused = cli("webhooks", *arguments)

    assert refused.code == 2 and said in refused.err
