"""Every call of the library is a command, by its verb; what may be said twice takes an idempotency key."""

from __future__ import annotations

import argparse
import inspect

from session_tokens import SessionTokens
from session_tokens.cli.arguments import parser
from tests.helpers.command_line import Cli

VERBS = {
    "open_session": "open", "log_in": "log-in", "verify_session": "verify", "verify_token": "verify",
    "rotate_session": "rotate", "detach_session": "detach", "attach_session": "attach", "change_session": "change",
    "update_session_data": "change", "change_token": "change", "destroy_session": "end", "destroy_sessions": "end",
    "destroy_token": "end", "get_session": "sessions", "list_sessions": "sessions", "get_token": "tokens",
    "list_tokens": "tokens", "issue_token": "issue", "transfer_token": "transfer", "claim_token": "claim",
    "claim_next_token": "claim", "reissue_token": "reissue", "offer_token": "offer", "withdraw_token": "withdraw",
    "accept_offer": "accept", "lend_token": "lend", "recall_token": "recall", "consume_token": "consume",
    "release_token": "release", "hand_over": "hand-over", "list_owners": "owners", "list_disabled_owners": "owners",
    "disable_owner": "owners", "enable_owner": "owners", "rename_owner": "owners", "forget_owner": "owners",
    "explain": "explain", "list_audit": "audit", "events": "events", "follow_events": "events", "sweep": "sweep",
    "list_settings": "settings", "set_setting": "settings", "unset_setting": "settings",
    "set_general_session_timeout": "settings", "finish_moving_in": "import",
}  # fmt: skip
NONE = {
    "open", "connect", "close", "subscribe", "record_events", "refresh_settings", "general_timeouts",
    "verify_token_until", "events_are_late", "last_event_id", "forget_follower", "move_in",
}  # fmt: skip
"""How the library is opened, what only a program can be told, and what a cookie is needed for."""
ONCE_ANYHOW = {"set_setting", "unset_setting"}
"""Saying them twice is the same as once."""


def commands() -> dict[str, argparse.ArgumentParser]:
    (choices,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(choices.choices)


def test_every_call_has_its_command() -> None:
    calls = {name for name, _ in inspect.getmembers(SessionTokens, callable) if not name.startswith("_")}

    assert VERBS.keys() | NONE == calls and not VERBS.keys() & NONE
    assert set(VERBS.values()) <= commands().keys()


def test_what_takes_an_idempotency_key_takes_it_at_the_command_line() -> None:
    taking = {
        verb
        for name, verb in VERBS.items()
        if name not in ONCE_ANYHOW and "idempotency_key" in inspect.signature(getattr(SessionTokens, name)).parameters
    }

    assert [] == [verb for verb in taking if "--idempotency-key" not in commands()[verb]._option_string_actions]


def test_every_command_answers_json() -> None:
    plain = [name for name, made in commands().items() if "--json" not in made._option_string_actions]

    assert ["store"] == plain  # each of its actions does


def test_the_same_said_twice_is_done_once(cli: Cli) -> None:
    ann = cli("open", "ann", "--json").json["id"]
    seat = cli("issue", "--session", ann, "--transferable", "--json").json["id"]
    other = cli("issue", "--session", ann, "--transferable", "--json").json["id"]
    offers = [cli("offer", seat, "--price", "5", "--idempotency-key", "k", "--json").json for _ in range(2)]
    mismatch = cli("offer", other, "--price", "5", "--idempotency-key", "k")
    handed = [
        cli("hand-over", "ann", "--receiver", "bob", "--idempotency-key", "h", "--json").json["handed"]
        for _ in range(2)
    ]
    forgotten = [cli("owners", "forget", "ann", "--yes", "--idempotency-key", "f", "--json") for _ in range(2)]

    assert offers[0] == offers[1] and mismatch.code == 4
    assert handed == [2, 2]
    assert (0, forgotten[0].json) == (forgotten[1].code, forgotten[1].json)
    assert forgotten[0].json["sessions"] == 1 and forgotten[0].json["pseudonym"].startswith("forgotten:")
    assert cli("owners", "forget", "ann").code == 2  # nobody can be asked
    assert cli("log-in", "ann", "--former", ann, "--json").json["owner"] == "ann"
