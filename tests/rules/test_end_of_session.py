"""What the end of a session, by any cause, does to its tokens: at once, swept or not, however many there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from session_tokens import Event, SessionTokens, UnknownToken
from session_tokens.records import Session, Token
from session_tokens.testing import ManualClock

Opening = Callable[..., SessionTokens]
Settle = Callable[[SessionTokens], None]

CAUSES = ["logout", "expired", "idle", "detached_timeout", "owner_disabled", "all_ended"]


def end_by(cause: str, st: SessionTokens, clock: ManualClock) -> tuple[Session, list[Token], Callable[[], None]]:
    """Open a session with a bound and two transferable tokens; answer them and what ends it by that cause."""
    clocks: dict[str, dict[str, Any]] = {"expired": {"max_age": 30}, "idle": {"idle_timeout": 16, "max_age": None}}
    opened = st.open_session("ann", detachable=True, detached_timeout=30, **clocks.get(cause, {}))
    tokens = [st.issue_token(opened.id, number, transferable=number > 0).token for number in range(3)]

    def end() -> None:
        match cause:
            case "logout":
                st.destroy_session(opened.id)
            case "expired":
                clock.advance(30)
            case "idle":
                clock.advance(17)
            case "detached_timeout":
                st.detach_session(opened.id)
                clock.advance(30)
            case "owner_disabled":
                st.disable_owner("ann")
            case _:
                st.destroy_sessions("ann")

    return opened.session, tokens, end


@pytest.mark.parametrize("cause", CAUSES)
def test_bound_tokens_are_dead_and_transferable_ones_unassigned(
    st: SessionTokens, clock: ManualClock, settle: Settle, cause: str
) -> None:
    session, (bound, first, second), end = end_by(cause, st, clock)
    end()
    settle(st)
    left = [st.get_token(first.id), st.get_token(second.id)]

    assert st.get_session(session.id) is None
    assert st.get_token(bound.id) is None
    assert [(None, "ann", None, True, clock.now()), (None, "ann", None, True, clock.now())] == [
        (token.owner, token.previous_owner, token.session_id, token.is_unassigned, token.unassigned_at)
        for token in left
        if token is not None
    ]


@pytest.mark.parametrize("cause", CAUSES)
def test_listings_are_right_at_once(st: SessionTokens, clock: ManualClock, settle: Settle, cause: str) -> None:
    session, (_, first, second), end = end_by(cause, st, clock)
    end()
    settle(st)

    assert [] == st.list_sessions().items
    assert [] == st.list_tokens(session=session.id).items
    assert [] == st.list_tokens(owner="ann").items
    assert {first.id, second.id} == {token.id for token in st.list_tokens(unassigned=True).items}
    assert {first.id, second.id} == {token.id for token in st.list_tokens().items}


@pytest.mark.parametrize("cause", CAUSES)
def test_the_end_is_told_once(st: SessionTokens, clock: ManualClock, told: list[Event], cause: str) -> None:
    session, _, end = end_by(cause, st, clock)
    end()
    while st.sweep():
        pass
    ended = [event for event in told if event.kind in ("session_ended", "token_ended")]

    assert [("session_ended", session.id)] == [(event.kind, event.subject_id) for event in ended]
    assert ("logout" if cause == "all_ended" else cause) == ended[0].reason


def test_free_tokens_and_other_owners_are_left_alone(st: SessionTokens) -> None:
    opened, other = st.open_session("ann"), st.open_session("bob")
    free, bound = st.issue_token(None), st.issue_token(other.id)
    st.destroy_session(opened.id)

    assert st.verify_token(free.secret) is not None
    assert st.verify_token(bound.secret) is not None


def test_a_transferable_tokens_own_timeout_goes_on_while_it_is_unassigned(
    st: SessionTokens, clock: ManualClock, settle: Settle
) -> None:
    opened = st.open_session("ann")
    token = st.issue_token(opened.id, transferable=True, timeout=30, disownment_timeout=600)
    st.destroy_session(opened.id)
    clock.advance(29.999)
    settle(st)
    alive = st.get_token(token.id)
    clock.advance(ms=1)

    assert alive is not None
    assert st.get_token(token.id) is None


# The disownment clock.


def test_the_disownment_clock_runs_from_the_sessions_end_and_not_from_the_sweep(
    st: SessionTokens, clock: ManualClock, settle: Settle
) -> None:
    opened = st.open_session("ann", max_age=100)
    token = st.issue_token(opened.id, transferable=True, disownment_timeout=50)
    clock.advance(130)
    settle(st)
    clock.advance(19.999)
    waiting = st.get_token(token.id)
    clock.advance(ms=1)

    assert waiting is not None
    assert opened.session.created_at + 100_000 == waiting.unassigned_at
    assert opened.session.created_at + 150_000 == waiting.expires_at
    assert st.get_token(token.id) is None


def test_the_general_disownment_timeout_is_an_hour(st: SessionTokens, clock: ManualClock, settle: Settle) -> None:
    opened = st.open_session("ann")
    token = st.issue_token(opened.id, transferable=True)
    st.destroy_session(opened.id)
    clock.advance(3599.999)
    settle(st)
    waiting = st.get_token(token.id)
    clock.advance(ms=1)

    assert waiting is not None
    assert st.get_token(token.id) is None


def test_without_a_disownment_timeout_a_token_waits_for_ever(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann")
    token = st.issue_token(opened.id, transferable=True, disownment_timeout=None)
    st.destroy_session(opened.id)
    clock.advance(10**9)

    assert st.get_token(token.id) is not None


def test_a_token_held_since_after_its_sessions_end_is_unassigned_from_then_on(
    st: SessionTokens, clock: ManualClock
) -> None:
    """As where a transfer and the end of the receiving session met on two partitions."""
    opened = st.open_session("ann", max_age=100)
    token = st.issue_token(opened.id, transferable=True, disownment_timeout=50).token
    end_ms = opened.session.created_at + 100_000
    late = token.replace(held_since=end_ms + 20_000)

    left = late.as_of(end_ms + 30_000, opened.session, None)
    assert left is not None
    assert (end_ms + 20_000, end_ms + 70_000) == (left.unassigned_at, left.expires_at)
    assert late.as_of(end_ms + 70_000, opened.session, None) is None
    assert late.as_of(end_ms + 69_999, opened.session, None) is not None


def test_a_token_whose_session_is_forgotten_is_unassigned_since_it_was_held(st: SessionTokens) -> None:
    token = st.issue_token(st.open_session("ann").id, transferable=True, disownment_timeout=50).token
    left = token.as_of(token.held_since + 10_000, None, None)

    assert left is not None
    assert token.held_since == left.unassigned_at


def test_a_disowned_token_that_ran_out_is_told_as_ended(
    st: SessionTokens, clock: ManualClock, told: list[Event]
) -> None:
    opened = st.open_session("ann")
    token = st.issue_token(opened.id, transferable=True, disownment_timeout=50)
    st.destroy_session(opened.id)
    clock.advance(50)
    while st.sweep():
        pass

    assert [("token_ended", token.id, "expired")] == [
        (event.kind, event.subject_id, event.reason) for event in told if event.kind == "token_ended"
    ]


# Very many tokens.


@pytest.fixture
def crowded(st: SessionTokens) -> tuple[str, list[str], set[str]]:
    """A session with 1,300 tokens, every hundredth of them transferable."""
    opened = st.open_session("ann")
    issued = [st.issue_token(opened.id, transferable=number % 100 == 0) for number in range(1300)]
    return opened.id, [token.secret for token in issued], {token.id for token in issued[::100]}


def test_of_very_many_tokens_all_are_dead_at_once(st: SessionTokens, crowded: tuple[str, list[str], set[str]]) -> None:
    session_id, secrets, transferable = crowded
    st.destroy_session(session_id)

    assert [None] * 1300 == [st.verify_token(secret) for secret in secrets]
    page = st.list_tokens(limit=500)
    listed = {token.id for token in page.items}
    while page.after is not None:  # a page looks at about 1,000 records, of which most are dead here
        page = st.list_tokens(limit=500, after=page.after)
        listed |= {token.id for token in page.items}
    assert transferable == listed


def test_of_very_many_tokens_the_sweeper_cleans_a_bounded_batch_at_a_time(
    st: SessionTokens, crowded: tuple[str, list[str], set[str]], clock: ManualClock
) -> None:
    session_id, _, transferable = crowded
    st.destroy_session(session_id)
    left = [st.store.run_now(lambda tx: tx.token_count_of(session_id))]
    while st.sweep():
        left.append(st.store.run_now(lambda tx: tx.token_count_of(session_id)))

    assert [1300, 800, 300, 0] == left
    assert transferable == {token.id for token in st.list_tokens(unassigned=True).items}
    clock.advance(3600)
    assert 1 + len(transferable) == st.sweep()  # the session's record, and what nobody claimed


def test_a_late_token_never_joins_a_session_that_is_being_cleaned(
    st: SessionTokens, crowded: tuple[str, list[str], set[str]]
) -> None:
    session_id, secrets, _ = crowded
    st.destroy_session(session_id)
    st.sweep()

    with pytest.raises(UnknownToken):
        st.transfer_token(secrets[-100], giver="ann", receiver="bob")
    assert [] == st.list_tokens(owner="ann").items


def test_all_transferables_of_a_replaced_session_move_in_one_step(opening: Opening, settle: Settle) -> None:
    st = opening(max_sessions=1)
    first = st.open_session("ann")
    issued = [st.issue_token(first.id, transferable=True) for _ in range(700)]
    second = st.open_session("ann")
    settle(st)

    assert {second.id} == {token.session_id for secret in issued if (token := st.verify_token(secret.secret))}
    assert 700 == len(st.list_tokens(session=second.id, limit=500).items) + len(
        st.list_tokens(session=second.id, limit=500, after=st.list_tokens(session=second.id, limit=500).after).items
    )
    assert not st.list_tokens(session=first.id).items
