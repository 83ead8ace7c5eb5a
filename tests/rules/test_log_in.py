"""A log-in: one step opens the user's session and ends the one that the browser had before."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from session_tokens import (
    AlreadyExists,
    Event,
    InvalidInput,
    LimitReached,
    OwnerDisabled,
    SessionTokens,
)
from session_tokens.crypto.minting import new_secret
from session_tokens.crypto.secret_form import SESSION_SECRET
from session_tokens.testing import ManualClock

Opening = Callable[..., SessionTokens]


def test_a_visitor_becomes_a_user_with_their_data(st: SessionTokens) -> None:
    visitor = st.log_in(None, data={"cart": ["book"], "step": 2})
    user = st.log_in("ann", former=visitor.secret, data={"theme": "dark", "none": None}, removed=["step"])

    assert visitor.session.owner.startswith("anonymous:")
    assert {"cart": ["book"], "theme": "dark", "none": None} == user.session.data
    assert st.verify_session(visitor.secret) is None
    assert st.verify_session(user.secret) == user.session
    assert visitor.id != user.id
    assert visitor.session.owner not in {session.owner for session in st.list_sessions().items}


def test_one_step_opens_one_and_ends_the_other(st: SessionTokens, told: list[Event]) -> None:
    visitor = st.log_in(None)
    user = st.log_in("ann", former=visitor.id)

    assert [(event.kind, event.subject_id, event.reason) for event in told] == [
        ("session_opened", visitor.id, None),
        ("session_ended", visitor.id, "replaced"),
        ("session_opened", user.id, None),
    ]
    assert told[1].at == told[2].at


def test_the_secret_that_was_handed_out_before_is_the_new_sessions(st: SessionTokens) -> None:
    visitor = st.log_in(None)
    rotated = st.rotate_session(visitor.secret)
    user = st.log_in("ann", former=rotated.secret, secret=rotated.secret)
    fresh = new_secret(SESSION_SECRET)

    assert user.secret == rotated.secret
    assert st.verify_session(rotated.secret) == user.session
    assert st.get_session(visitor.id) is None
    assert st.log_in("ben", secret=fresh).secret == fresh


def test_a_secret_that_another_session_has_is_never_adopted(st: SessionTokens) -> None:
    other, visitor = st.open_session("eve"), st.log_in(None)
    with pytest.raises(AlreadyExists):
        st.log_in("ann", former=visitor.secret, secret=other.secret)
    with pytest.raises(InvalidInput):
        st.log_in("ann", secret="sts_chosen")

    assert st.verify_session(other.secret) == other.session
    assert st.verify_session(visitor.secret) == visitor.session


def test_bound_tokens_end_and_transferable_ones_go_to_the_user_with_their_secret(st: SessionTokens) -> None:
    visitor = st.log_in(None)
    bound, ticket = st.issue_token(visitor.id, "b"), st.issue_token(visitor.id, "t", transferable=True)
    user = st.log_in("ann", former=visitor.secret)

    assert st.verify_token(bound.secret) is None
    held = st.verify_token(ticket.secret)
    assert held is not None
    assert ("ann", user.id, ticket.token.epoch + 1) == (held.owner, held.session_id, held.epoch)


def test_more_tokens_than_one_batch_all_go_to_the_user(st: SessionTokens) -> None:
    visitor = st.log_in(None)
    tickets = [st.issue_token(visitor.id, number, transferable=True) for number in range(600)]
    st.log_in("ann", former=visitor.secret)
    while st.sweep():
        pass

    assert {"ann"} == {token.owner for token in map(st.verify_token, [ticket.secret for ticket in tickets]) if token}
    assert all(st.verify_token(ticket.secret) for ticket in tickets)


def test_another_users_data_and_tokens_stay_theirs(st: SessionTokens, told: list[Event]) -> None:
    ann = st.open_session("ann", data={"secret": "of ann"})
    ticket = st.issue_token(ann.id, "t", transferable=True)
    ben = st.log_in("ben", former=ann.secret, data={"mine": 1})

    assert {"mine": 1} == ben.session.data
    assert st.verify_session(ann.secret) is None
    assert ("session_ended", ann.id, "logout") in [(event.kind, event.subject_id, event.reason) for event in told]
    left = st.get_token(ticket.id)
    assert left is not None
    assert (None, "ann") == (left.owner, left.previous_owner)


def test_the_same_user_again_keeps_data_and_tokens_and_their_epoch(st: SessionTokens) -> None:
    first = st.open_session("ann", data={"cart": 1})
    ticket = st.issue_token(first.id, "t", transferable=True)
    again = st.log_in("ann", former=first.secret)

    held = st.verify_token(ticket.secret)
    assert held is not None
    assert (again.id, ticket.token.epoch) == (held.session_id, held.epoch)
    assert {"cart": 1} == again.session.data


def test_what_is_over_or_unknown_hinders_no_log_in(st: SessionTokens, clock: ManualClock) -> None:
    ended, expired = st.log_in(None, data={"cart": 1}), st.log_in(None, data={"cart": 2}, max_age=1)
    st.destroy_session(ended.id)
    clock.advance(1)

    for former in (ended.secret, ended.id, expired.secret, expired.id, "no key at all", None):
        assert {} == st.log_in("ann", former=former).session.data
    assert {} == st.log_in("ben", former=expired.secret, secret=expired.secret).session.data


def test_the_secret_of_one_that_ran_out_of_time_meanwhile_serves(st: SessionTokens, clock: ManualClock) -> None:
    visitor = st.log_in(None, max_age=1)
    clock.advance(1)
    user = st.log_in("ann", former=visitor.secret, secret=visitor.secret)

    assert st.verify_session(visitor.secret) == user.session


def test_a_refused_log_in_ends_nothing(opening: Opening) -> None:
    st = opening(max_sessions=1, session_policy="refuse", max_data_bytes=20)
    visitor = st.log_in(None, data={"a": 1})
    st.open_session("ann")
    st.disable_owner("bad")
    with pytest.raises(LimitReached):
        st.log_in("ann", former=visitor.secret)
    with pytest.raises(OwnerDisabled):
        st.log_in("bad", former=visitor.secret)
    with pytest.raises(InvalidInput, match="max_data_bytes"):
        st.log_in("ben", former=visitor.secret, data={"b": "b" * 10})

    assert st.verify_session(visitor.secret) == visitor.session


def test_the_session_that_leaves_does_not_count_at_the_cap(opening: Opening) -> None:
    st = opening(max_sessions=2, session_policy="refuse")
    first, other = st.open_session("ann"), st.open_session("ann")
    st.log_in("ann", former=first.secret)

    assert st.verify_session(other.secret) is not None


def test_how_long_visitors_and_remembered_users_stay(opening: Opening) -> None:
    st = opening(idle_timeout=60, max_age=600, anonymous_max_age=120, remember_max_age=9_000)

    assert (120, 60) == (st.log_in(None).session.max_age, st.log_in(None).session.idle_timeout)
    remembered = st.log_in("ann", remember=True).session
    assert (9_000, None) == (remembered.max_age, remembered.idle_timeout)
    assert (600, 60) == (st.log_in("ann").session.max_age, st.log_in("ann").session.idle_timeout)
    assert 5 == st.log_in("ann", remember=True, max_age=5).session.max_age


def test_nobody_chooses_a_visitors_owner(st: SessionTokens) -> None:
    visitor = st.log_in(None)
    for owner in (visitor.session.owner, "anonymous:x"):
        with pytest.raises(InvalidInput):
            st.log_in(owner)
        with pytest.raises(InvalidInput):
            st.open_session(owner)


def test_a_retry_with_a_key_answers_the_first_log_in(st: SessionTokens) -> None:
    visitor = st.log_in(None)
    first = st.log_in("ann", former=visitor.secret, idempotency_key="k")

    assert st.log_in("ann", former=visitor.secret, idempotency_key="k").secret == first.secret
