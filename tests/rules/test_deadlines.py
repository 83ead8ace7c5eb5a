"""When sessions and tokens end by themselves: exactly at their deadline, whether or not anything was swept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from session_tokens import SessionEnded, SessionTokens, UnknownSession
from session_tokens.testing import ManualClock

Opening = Callable[..., SessionTokens]
Settle = Callable[[SessionTokens], None]


def test_a_session_is_dead_at_exactly_its_max_age(st: SessionTokens, clock: ManualClock, settle: Settle) -> None:
    opened = st.open_session("ann", max_age=60)
    clock.advance(60)
    settle(st)

    assert st.verify_session(opened.secret) is None
    assert st.get_session(opened.id) is None


def test_a_session_lives_a_millisecond_before_its_max_age(
    st: SessionTokens, clock: ManualClock, settle: Settle
) -> None:
    opened = st.open_session("ann", max_age=60)
    clock.advance(59.999)
    settle(st)

    assert st.verify_session(opened.secret) is not None


def test_use_never_moves_the_max_age(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann", max_age=60, idle_timeout=50)
    for _ in range(6):
        clock.advance(9.999)
        assert st.verify_session(opened.secret) is not None
    clock.advance(ms=6)

    assert st.verify_session(opened.secret) is None


def test_a_session_without_use_is_dead_at_17_sixteenths_of_its_idle_timeout(
    st: SessionTokens, clock: ManualClock, settle: Settle
) -> None:
    opened = st.open_session("ann", idle_timeout=16)
    clock.advance(17)
    settle(st)

    assert st.verify_session(opened.secret) is None
    with pytest.raises(SessionEnded) as ended:
        st.rotate_session(opened.id)
    assert "idle" == ended.value.details["reason"]


def test_a_session_without_use_lives_a_millisecond_before_that(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann", idle_timeout=16)
    clock.advance(16.999)

    assert st.verify_session(opened.secret) is not None


def test_a_use_within_a_sixteenth_of_the_window_is_not_written(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann", idle_timeout=16)
    clock.advance(0.999)
    session = st.verify_session(opened.secret)

    assert opened.session == session


def test_a_use_after_a_sixteenth_of_the_window_is_written(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann", idle_timeout=16)
    clock.advance(1)
    session = st.verify_session(opened.secret)

    assert session is not None
    assert opened.session.deadline + 1000 == session.deadline
    assert opened.session.last_seen_at + 1000 == session.last_seen_at


def test_an_idle_end_never_comes_early(st: SessionTokens, clock: ManualClock) -> None:
    """A use that was not written down still has its whole timeout before it."""
    opened = st.open_session("ann", idle_timeout=16)
    clock.advance(0.999)
    st.verify_session(opened.secret)
    clock.advance(16)

    assert st.verify_session(opened.secret) is not None


def test_a_look_that_is_no_use_restarts_nothing(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann", idle_timeout=16)
    for _ in range(4):
        clock.advance(4)
        assert st.verify_session(opened.secret, touch=False) is not None
    clock.advance(1)

    assert st.verify_session(opened.secret) is None


def test_reading_a_session_by_its_id_restarts_nothing(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann", idle_timeout=16)
    clock.advance(10)
    st.get_session(opened.id)
    st.list_sessions("ann")
    clock.advance(7)

    assert st.get_session(opened.id) is None


def test_a_use_changes_neither_the_version_nor_tells_an_event(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann", idle_timeout=16)
    told: list[object] = []
    st.subscribe(told.append)
    clock.advance(2)
    session = st.verify_session(opened.secret)

    assert session is not None
    assert 1 == session.version
    assert [] == told


def test_without_idle_timeout_a_use_is_written_after_a_sixteenth_of_the_age(
    st: SessionTokens, clock: ManualClock
) -> None:
    opened = st.open_session("ann", max_age=1600)
    clock.advance(100)
    session = st.verify_session(opened.secret)

    assert session is not None
    assert clock.now() == session.last_seen_at
    assert opened.session.deadline == session.deadline


def test_the_defaults_are_an_hour_of_age_and_no_idle_timeout(clock: ManualClock) -> None:
    with SessionTokens.open("memory://", clock=clock, sweep=False) as st:
        session = st.open_session("ann").session

        assert (3600, None) == (session.max_age, session.idle_timeout)
        assert (None, 3600) == (
            st.issue_token(session.id).token.timeout,
            st.issue_token(session.id, transferable=True).token.disownment_timeout,
        )


def test_general_defaults_hold_where_a_session_says_nothing(opening: Opening) -> None:
    st = opening(max_age=120, idle_timeout=30, detached_timeout=40)
    default = st.open_session("ann").session
    own = st.open_session("ann", max_age=None, idle_timeout=None, detached_timeout=None).session

    assert (120, 30, 40) == (default.max_age, default.idle_timeout, default.detached_timeout)
    assert (None, None, None) == (own.max_age, own.idle_timeout, own.detached_timeout)
    assert own.expires_at is None


def test_durations_are_seconds_or_timedeltas_and_fractions_of_a_millisecond_fall_away(st: SessionTokens) -> None:
    started = st.open_session("ann").session.created_at
    deadlines = [
        st.open_session("ann", max_age=max_age).session.deadline - started
        for max_age in (1, 0.29, 1.0019, timedelta(minutes=1), timedelta(microseconds=1999), 0.001)
    ]

    assert [1000, 290, 1001, 60_000, 1, 1] == deadlines


def test_a_free_token_is_dead_at_exactly_its_timeout(st: SessionTokens, clock: ManualClock, settle: Settle) -> None:
    token = st.issue_token(None, timeout=60)
    clock.advance(59.999)
    alive = st.verify_token(token.secret)
    clock.advance(ms=1)
    settle(st)

    assert token.record == alive
    assert st.verify_token(token.secret) is None
    assert st.get_token(token.id) is None
    assert [] == st.list_tokens().items


def test_a_bound_token_lives_until_its_own_timeout_or_its_sessions_end(
    st: SessionTokens, clock: ManualClock, settle: Settle
) -> None:
    opened = st.open_session("ann", max_age=60)
    short, long = st.issue_token(opened.id, timeout=20), st.issue_token(opened.id, timeout=600)
    clock.advance(20)
    settle(st)

    assert opened.session.expires_at == long.token.expires_at
    assert st.verify_token(short.secret) is None
    assert st.verify_token(long.secret) is not None
    clock.advance(40)
    settle(st)
    assert st.verify_token(long.secret) is None


def test_reading_a_token_restarts_no_clock(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann", idle_timeout=16)
    token = st.issue_token(opened.id, timeout=10)
    for _ in range(9):
        clock.advance(1)
        assert st.verify_token(token.secret) is not None
    clock.advance(1)

    assert st.verify_token(token.secret) is None
    clock.advance(7)
    assert st.verify_session(opened.secret) is None


def test_a_bound_token_shows_the_deadline_that_its_session_has_now(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann", idle_timeout=16)
    token = st.issue_token(opened.id)
    clock.advance(8)
    st.verify_session(opened.secret)
    seen = st.verify_token(token.secret)

    assert seen is not None
    assert clock.now() + 17_000 == seen.expires_at


def test_time_left_is_told_by_the_stores_clock(st: SessionTokens, clock: ManualClock) -> None:
    session = st.open_session("ann", max_age=60).session
    clock.advance(20.5)

    assert 39.5 == session.time_left()
    clock.advance(100)
    assert 0 == session.time_left()
    assert st.open_session("ann", max_age=None).session.time_left() is None


def test_an_ended_session_is_told_from_an_unknown_one_for_an_hour_swept_or_not(
    st: SessionTokens, clock: ManualClock, settle: Settle
) -> None:
    opened = st.open_session("ann")
    st.destroy_session(opened.id)
    clock.advance(3599.999)
    settle(st)
    with pytest.raises(SessionEnded):
        st.rotate_session(opened.id)
    clock.advance(ms=1)
    settle(st)

    with pytest.raises(UnknownSession):
        st.rotate_session(opened.id)
