"""``open`` and ``rotate`` keep how an owner proved who they are, and ``sessions`` shows it."""

from __future__ import annotations

import json

from tests.helpers.command_line import Cli

STRONG = "urn:example:strong"


def test_open_and_rotate_keep_how_it_was_proved(cli: Cli) -> None:
    opened = json.loads(cli("open", "ann", "--acr", STRONG, "--amr", "pwd", "--amr", "otp", "--json").out)
    shown = json.loads(cli("sessions", opened["id"], "--json").out)
    listed = json.loads(cli("sessions", "--json").out)["items"][0]
    rotated = json.loads(cli("rotate", opened["id"], "--authenticated", "--amr", "pwd", "--json").out)

    assert [(each["acr"], each["amr"]) for each in (opened, shown, listed)] == [(STRONG, ["pwd", "otp"])] * 3
    assert (rotated["acr"], rotated["amr"]) == (None, ["pwd"])
    assert STRONG in cli("open", "ben", "--acr", STRONG).out


def test_how_it_was_proved_is_said_with_a_proof_alone(cli: Cli) -> None:
    id = json.loads(cli("open", "ann", "--json").out)["id"]
    refused = cli("rotate", id, "--acr", STRONG)

    assert refused.code == 2 and "authenticated" in refused.err


def test_a_grace_keeps_the_old_secret_good(cli: Cli) -> None:
    opened = json.loads(cli("open", "ann", "--json").out)
    rotated = json.loads(cli("rotate", opened["id"], "--grace", "1m", "--json").out)
    refused = cli("rotate", opened["id"], "--grace", "1m", "--authenticated")

    assert rotated["rotated_at"] is not None
    for secret in (opened["secret"], rotated["secret"]):
        assert cli("verify", stdin=secret.encode()).code == 0
    assert refused.code == 2 and "log-in" in refused.err
