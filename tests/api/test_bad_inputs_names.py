"""Bad input of kind B, owners and names: refused with a clear error, or kept as the data that they are."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

import pytest

from session_tokens import InvalidInput, LimitReached, SessionEnded, SessionTokens, Settings, TokenTables
from session_tokens.testing import ManualClock
from tests.helpers.counting_store import CountingStore

Refused = Callable[[Any], bool]

E_COMBINED = unicodedata.normalize("NFD", "é")


@pytest.fixture
def refused(st: SessionTokens, store: CountingStore) -> Callable[[Any], bool]:
    """Whether an owner is refused by every command that takes one, and no store was asked."""
    opened = st.open_session("ann")
    token = st.issue_token(opened.id, transferable=True)
    commands: list[Callable[[Any], object]] = [
        st.open_session, st.destroy_sessions, st.disable_owner, st.enable_owner, st.list_sessions,
        lambda owner: st.list_tokens(owner=owner),
        lambda owner: st.transfer_token(token.id, giver="ann", receiver=owner),
        lambda owner: st.transfer_token(token.id, giver=owner, receiver="ann"),
        lambda owner: st.reissue_token(token.id, owner=owner),
    ]  # fmt: skip

    def is_refused(owner: Any) -> bool:
        before = store.calls
        for command in commands:
            with pytest.raises(InvalidInput) as error:
                command(owner)
            assert isinstance(error.value, ValueError)
            assert not owner or len(owner) < 8 or owner not in str(error.value)
        return before == store.calls and st.verify_token(token.secret) == token.record

    return is_refused


def accepted(st: SessionTokens, owner: str) -> bool:
    """Whether an owner is kept as it is, and apart from all others."""
    opened = st.open_session(owner)
    token = st.issue_token(opened.id, owner, transferable=True)
    given = st.transfer_token(token.id, giver=owner, receiver=f"{owner}!")
    session = st.verify_session(opened.secret)
    return (
        session is not None
        and session.owner == owner
        and given.token.owner == f"{owner}!"
        and given.token.value == owner
        and [listed.id for listed in st.list_sessions(owner).items] == [opened.id]
    )


def test_row_29_an_empty_owner(refused: Refused) -> None:
    assert refused("")


@pytest.mark.parametrize("owner", ["a" * 256, "é" * 128, "𝄞" * 64, "a" * 2**20], ids=["256", "é", "𝄞", "1 MiB"])
def test_row_30_an_owner_of_more_than_255_bytes(refused: Refused, owner: str) -> None:
    assert refused(owner)


@pytest.mark.parametrize("owner", ["a" * 254, "é" * 127, "𝄞" * 63], ids=["254", "é", "𝄞"])
def test_row_30_an_owner_of_255_bytes_is_kept(st: SessionTokens, owner: str) -> None:
    assert accepted(st, owner)


@pytest.mark.parametrize("owner", ["\0", "ann\0", "a\0b", "\0ann"], ids=ascii)
def test_row_31_nul_in_an_owner(refused: Refused, owner: str) -> None:
    assert refused(owner)


def test_row_32_two_spellings_of_one_letter_are_never_merged(st: SessionTokens, refused: Refused) -> None:
    assert refused(f"caf{E_COMBINED}")
    assert accepted(st, "café")


@pytest.mark.parametrize("owner", ["alice ", " alice", "alice\u3000", "\u2003alice"], ids=ascii)
def test_row_33_white_space_around_an_owner(refused: Refused, owner: str) -> None:
    assert refused(owner)


def test_row_33_owners_of_other_case_are_others(st: SessionTokens) -> None:
    lower, upper = st.open_session("alice"), st.open_session("Alice")

    assert [lower.id] == [session.id for session in st.list_sessions("alice").items]
    assert [upper.id] == [session.id for session in st.list_sessions("Alice").items]


@pytest.mark.parametrize(
    "owner", ["a\nb", "a\rb", "\x1b[31mred", "a\tb", "\x7f", "a\x85b", "\u2028", "a\u2029b", "\x1fst:"], ids=ascii
)
def test_row_34_control_characters(refused: Refused, owner: str) -> None:
    assert refused(owner)


@pytest.mark.parametrize("owner", ["{tag}", "a{b}c", "{}", "{{x}}"])
def test_row_35_braces_are_data(st: SessionTokens, owner: str) -> None:
    assert accepted(st, owner)


@pytest.mark.parametrize(
    "owner",
    ["'; DROP TABLE sessions; --", '"', "$1", ":name", "?1", "%s", "%(x)s", "{0}", "${jndi:ldap://x}", "\\", "a:b"],
)
def test_row_36_what_other_languages_would_read_is_data(st: SessionTokens, owner: str) -> None:
    assert accepted(st, owner)


def test_row_37_commands_of_a_protocol(st: SessionTokens, refused: Refused) -> None:
    assert refused("\r\n*1\r\n$8\r\nFLUSHALL\r\n")
    assert accepted(st, "return redis.call('FLUSHALL')")
    value = "\r\n*1\r\n$8\r\nFLUSHALL\r\n"
    assert value == st.issue_token(None, value).token.value


@pytest.mark.parametrize(
    "owner", ["<script>alert(1)</script>", "javascript:alert(1)", "=HYPERLINK(1)", "@SUM(1)", "-1+2"]
)
def test_row_38_what_a_page_or_a_sheet_would_run_is_data(st: SessionTokens, owner: str) -> None:
    assert accepted(st, owner)


@pytest.mark.parametrize("name", ["__proto__", "constructor", "__class__", "_owner", "_price", "id", "secret"])
def test_row_40_names_of_fields_that_do_not_exist(st: SessionTokens, name: str) -> None:
    """An unknown argument is a TypeError; in a value or in data such a name is a key like any other."""
    with pytest.raises(TypeError):
        st.open_session("ann", **{name: "eve"})  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        st.issue_token(None, **{name: "eve"})  # type: ignore[arg-type]

    opened = st.open_session("ann", data={name: "eve"})
    token = st.issue_token(opened.id, {name: "eve"}, transferable=True)
    assert ({name: "eve"}, "ann") == (opened.session.data, opened.session.owner)
    assert ({name: "eve"}, "ann", None) == (token.token.value, token.token.owner, token.token.price)


@pytest.mark.parametrize("owner", ["orphan", "system", "unassigned"])
def test_row_41_reserved_owners(refused: Refused, owner: str) -> None:
    assert refused(owner)


@pytest.mark.parametrize("owner", ["console:key_00", "anonymous:x", "console:", "anonymous:"])
def test_row_41_owners_of_the_console_and_before_log_in(st: SessionTokens, owner: str) -> None:
    """They are listed and ended like any, but nothing is opened for them, handed to them or disabled."""
    token = st.issue_token(st.open_session("ann").id, "v", transferable=True)
    for give in (
        lambda: st.open_session(owner),
        lambda: st.transfer_token(token.id, giver="ann", receiver=owner),
        lambda: st.disable_owner(owner),
    ):
        with pytest.raises(InvalidInput, match="reserved"):
            give()

    assert (st.list_sessions(owner).items, st.list_tokens(owner=owner).items) == ([], [])
    assert st.destroy_sessions(owner) == 0
    assert st.get_token(token.id).owner == "ann"  # type: ignore[union-attr]


def test_row_42_nobody_chooses_the_id_or_secret_of_a_session(st: SessionTokens) -> None:
    for name in ("id", "session_id", "secret", "lookup"):
        with pytest.raises(TypeError):
            st.open_session("ann", **{name: "ses_00" + "0" * 22})  # type: ignore[arg-type]

    assert [] == st.list_sessions().items


def test_row_43_an_owner_who_has_a_session_already(store: CountingStore) -> None:
    replacing = SessionTokens(store, Settings(max_sessions=1))
    refusing = SessionTokens(store, Settings(max_sessions=1, session_policy="refuse"))
    first = replacing.open_session("ann")
    with pytest.raises(LimitReached):
        refusing.open_session("ann")
    replacing.open_session("ann")

    with pytest.raises(SessionEnded):
        replacing.rotate_session(first.id)


@pytest.mark.parametrize("prefix", ["a\nb", "\x1f", "x" * 2000, "\ud800"], ids=["newline", "control", "long", "half"])
def test_row_44_a_prefix_that_can_never_be_part_of_a_token(prefix: str) -> None:
    """The empty prefix and `A-B_` are taken: the seed's names put before the secret what they are given."""
    with TokenTables.open("memory://", sweep=False) as tables:
        with pytest.raises(InvalidInput):
            tables.create_token(prefix)

        assert tables.create_token("A-B_").startswith("A-B_stt_")
        assert tables.create_token("").startswith("stt_")


def test_row_45_a_creator_that_makes_a_string_again(url: str, clock: ManualClock) -> None:
    with TokenTables.open(url, pepper=bytes(32), clock=clock, sweep=False, token_strings="clear") as tables:
        tables.set_token_creator(lambda prefix: "always the same")
        tables.add_session("s1", "ann")
        first, second = tables.create_token(), tables.create_token()

        assert tables.add_session_bounded_token(first, "ann's", "ann") is True
        assert tables.add_token(second, "other") is False
        assert "ann's" == tables.transition_token_is_active(first)


def test_row_46_a_creator_that_makes_no_string_or_fails(url: str, clock: ManualClock) -> None:
    def fail(prefix: str | None) -> str:
        raise RuntimeError("no more strings")

    with TokenTables.open(url, pepper=bytes(32), clock=clock, sweep=False, token_strings="clear") as tables:
        for answer in (None, 5, b"bytes", "", "\x1fst:x", "a" * 5000, "\ud800"):
            tables.set_token_creator(lambda prefix, answer=answer: answer)  # type: ignore[misc]
            with pytest.raises(InvalidInput):
                tables.create_token()
        tables.set_token_creator(fail)
        with pytest.raises(InvalidInput, match="RuntimeError"):
            tables.create_token()

        assert [] == tables.list_unassigned_tokens() + tables.list_sellable_tokens()
        tables.set_token_creator(None)
        assert tables.create_token().startswith("stt_")
