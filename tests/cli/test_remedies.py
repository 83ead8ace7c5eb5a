"""What a mistake at the command line is told: which help to read, and what to give in the place of what was given."""

from __future__ import annotations

from tests.helpers.command_line import Cli


def test_words_that_are_too_many_lead_to_the_help_of_their_command(cli: Cli) -> None:
    said = cli("issue", "--uses", "1", "reset the password")

    assert (2, "") == (said.code, said.out)
    assert "reset the password" in said.err and "see session-tokens issue --help" in said.err


def test_an_id_in_the_place_of_a_secret_is_told_from_a_secret_that_is_over(cli: Cli) -> None:
    session = cli("open", "alice", "--json").json["id"]

    for given, told in ((session, True), ("sts_" + "0" * 51, False)):
        said = cli("verify", stdin=given.encode())
        assert (1, "inactive\n") == (said.code, said.out)
        assert told is ("an id never authenticates" in said.err)


def test_who_asks_for_what_is_not_there_is_told_so(cli: Cli) -> None:
    session = cli("open", "alice", "--json").json["id"]
    no_session, no_token = "ses_" + "0" * 24, "tok_" + "0" * 24

    for said in (cli("sessions", no_session), cli("tokens", no_token)):
        assert (1, "") == (said.code, said.out)
        assert "session-tokens explain" in said.err
    nothing = cli("claim", "--next", "--session", session)
    assert (1, "") == (nothing.code, nothing.out)
    assert "no token waits" in nothing.err


def test_an_export_onto_standard_output_does_not_name_it_as_a_file(cli: Cli) -> None:
    cli("open", "alice")

    assert "on standard output" in cli("store", "export", "-").err


def test_a_store_without_an_audit_log_says_how_one_is_kept(cli: Cli) -> None:
    cli("open", "alice")
    said = cli("audit", "list")

    assert (0, "") == (said.code, said.out)
    assert "serve --audit" in said.err


def test_a_pepper_that_is_promoted_before_one_was_added_is_told_so(cli: Cli) -> None:
    said = cli("pepper", "promote")

    assert 2 == said.code
    assert "session-tokens pepper add" in said.err


def test_an_offer_is_accepted_with_the_price_that_was_seen_and_else_it_is_said(cli: Cli) -> None:
    session = cli("open", "alice", "--json").json["id"]
    token = cli("issue", "--session", session, "--transferable", "--json").json["id"]
    cli("offer", token, "--price", "12.50", "--currency", "EUR")
    said = cli("accept", token, "--receiver", "bob")

    assert 4 == said.code
    assert "not offered for that price and currency" in said.err
