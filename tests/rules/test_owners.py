"""Owners: how many sessions they may have, who gives way, all of them ended at once, owners disabled."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from session_tokens import (
    Event,
    LimitReached,
    NotOwner,
    OwnerDisabled,
    Session,
    SessionEnded,
    SessionTokens,
    Settings,
    UnknownSession,
)
from session_tokens.contract.queries import Get
from session_tokens.settings import SESSIONS_OF_OWNER_MAX
from session_tokens.testing import ManualClock

Opening = Callable[..., SessionTokens]
Settle = Callable[[SessionTokens], None]


def living(st: SessionTokens, owner: str = "ann") -> set[str]:
    return {session.id for session in st.list_sessions(owner).items}


def test_a_second_log_in_ends_no_other_by_default(clock: ManualClock) -> None:
    with SessionTokens.open("memory://", clock=clock, sweep=False) as st:
        opened = [st.open_session("ann") for _ in range(3)]

        assert all(st.verify_session(issued.secret) for issued in opened)


def test_with_a_cap_of_one_the_newest_stays(opening: Opening, clock: ManualClock) -> None:
    with opening(max_sessions=1) as st:
        first = st.open_session("ann")
        other = st.open_session("bob")
        second = st.open_session("ann")

        assert st.verify_session(first.secret) is None
        assert st.verify_session(second.secret) is not None
        assert st.verify_session(other.secret) is not None
        with pytest.raises(SessionEnded) as ended:
            st.rotate_session(first.id)
        assert "replaced" == ended.value.details["reason"]


def test_without_a_cap_sessions_are_not_counted(st: SessionTokens) -> None:
    opened = [st.open_session("ann") for _ in range(30)]

    assert {issued.id for issued in opened} == living(st)


def test_at_the_cap_the_oldest_gives_way(opening: Opening, clock: ManualClock) -> None:
    st = opening(max_sessions=3)
    opened = []
    for _ in range(5):
        opened.append(st.open_session("ann"))
        clock.advance(1)

    assert {issued.id for issued in opened[2:]} == living(st)


def test_a_session_used_late_is_no_younger(opening: Opening, clock: ManualClock) -> None:
    st = opening(max_sessions=2, idle_timeout=160)
    first = st.open_session("ann")
    clock.advance(20)
    second = st.open_session("ann")
    clock.advance(20)
    st.verify_session(first.secret)
    third = st.open_session("ann")

    assert {second.id, third.id} == living(st)


def test_replace_all_leaves_the_new_one_only(opening: Opening) -> None:
    st = opening(max_sessions=3, session_policy="replace_all")
    for _ in range(3):
        st.open_session("ann")
    last = st.open_session("ann")

    assert {last.id} == living(st)


def test_below_the_cap_replace_all_replaces_nothing(opening: Opening) -> None:
    st = opening(max_sessions=3, session_policy="replace_all")
    opened = [st.open_session("ann") for _ in range(3)]

    assert {issued.id for issued in opened} == living(st)


def test_refuse_refuses_and_changes_nothing(opening: Opening) -> None:
    st = opening(max_sessions=2, session_policy="refuse")
    opened = [st.open_session("ann") for _ in range(2)]
    with pytest.raises(LimitReached):
        st.open_session("ann")

    assert {issued.id for issued in opened} == living(st)
    assert st.open_session("bob").session.owner == "bob"


def test_a_session_that_is_over_does_not_count(opening: Opening, clock: ManualClock, settle: Settle) -> None:
    st = opening(max_sessions=1, session_policy="refuse")
    st.open_session("ann", max_age=10)
    clock.advance(10)
    settle(st)

    assert {st.open_session("ann").id} == living(st)


def test_a_lowered_cap_is_kept_at_the_next_opening(st: SessionTokens, clock: ManualClock) -> None:
    for _ in range(4):
        st.open_session("ann")
        clock.advance(1)
    last = SessionTokens(st.store, Settings(max_sessions=2)).open_session("ann")

    assert 2 == len(living(st))
    assert last.id in living(st)


def test_detached_sessions_count(opening: Opening) -> None:
    st = opening(max_sessions=1, session_policy="refuse")
    st.detach_session(st.open_session("ann", detachable=True).id)

    with pytest.raises(LimitReached):
        st.open_session("ann")


def test_attached_sessions_are_replaced_before_detached_ones(opening: Opening, clock: ManualClock) -> None:
    st = opening(max_sessions=2)
    detached = st.open_session("ann", detachable=True)
    st.detach_session(detached.id)
    clock.advance(1)
    attached = st.open_session("ann")
    clock.advance(1)
    newest = st.open_session("ann")

    assert {detached.id, newest.id} == living(st)
    assert st.verify_session(attached.secret) is None


def test_where_all_are_detached_the_oldest_of_them_gives_way(opening: Opening, clock: ManualClock) -> None:
    st = opening(max_sessions=2)
    detached = []
    for _ in range(2):
        detached.append(st.open_session("ann", detachable=True))
        st.detach_session(detached[-1].id)
        clock.advance(1)
    newest = st.open_session("ann")

    assert {detached[1].id, newest.id} == living(st)


def test_a_replaced_sessions_bound_tokens_die_and_its_transferables_move(opening: Opening, settle: Settle) -> None:
    st = opening(max_sessions=1)
    first = st.open_session("ann")
    bound, moving = st.issue_token(first.id), st.issue_token(first.id, "seat", transferable=True)
    second = st.open_session("ann")
    settle(st)
    moved = st.verify_token(moving.secret)

    assert st.verify_token(bound.secret) is None
    assert moved is not None
    assert ("ann", second.id, 0, "seat") == (moved.owner, moved.session_id, moved.epoch, moved.value)
    assert [moving.id] == [token.id for token in st.list_tokens(session=second.id).items]


def test_of_an_expired_sessions_transferables_none_moves(opening: Opening, clock: ManualClock, settle: Settle) -> None:
    """The previous owner's next log-in does not silently take back what became unassigned."""
    st = opening(max_sessions=1, disownment_timeout=None)
    first = st.open_session("ann", max_age=10)
    token = st.issue_token(first.id, transferable=True)
    clock.advance(10)
    settle(st)
    st.open_session("ann")
    left = st.get_token(token.id)

    assert left is not None
    assert (None, "ann") == (left.owner, left.previous_owner)
    assert st.verify_token(token.secret) is None


def test_a_replacement_is_told_as_an_end_and_an_opening(opening: Opening) -> None:
    st = opening(max_sessions=1)
    told: list[Event] = []
    st.subscribe(told.append)
    first, second = st.open_session("ann"), st.open_session("ann")

    assert [
        ("session_opened", first.id, None),
        ("session_ended", first.id, "replaced"),
        ("session_opened", second.id, None),
    ] == [(event.kind, event.subject_id, event.reason) for event in told]


# Ended at once.


def test_all_sessions_of_an_owner_are_ended(st: SessionTokens) -> None:
    for _ in range(3):
        st.open_session("ann")
    other = st.open_session("bob")

    assert 3 == st.destroy_sessions("ann")
    assert set() == living(st)
    assert {other.id} == living(st, "bob")
    assert 0 == st.destroy_sessions("ann")


def test_detached_sessions_are_ended_too(st: SessionTokens) -> None:
    st.detach_session(st.open_session("ann", detachable=True).id)

    assert 1 == st.destroy_sessions("ann", reason="theft")


@pytest.mark.parametrize("by", ["id", "secret"])
def test_all_others_are_ended(st: SessionTokens, by: str) -> None:
    kept = st.open_session("ann")
    for _ in range(3):
        st.open_session("ann")

    assert 3 == st.destroy_sessions("ann", except_session=getattr(kept, by))
    assert {kept.id} == living(st)


def test_a_session_to_keep_that_is_another_owners_ends_nothing(st: SessionTokens) -> None:
    own, other = st.open_session("ann"), st.open_session("bob")
    with pytest.raises(NotOwner):
        st.destroy_sessions("ann", except_session=other.id)

    assert {own.id} == living(st)


def test_a_session_to_keep_that_is_over_ends_nothing(st: SessionTokens) -> None:
    over, own = st.open_session("ann"), st.open_session("ann")
    st.destroy_session(over.id)
    with pytest.raises(SessionEnded):
        st.destroy_sessions("ann", except_session=over.id)
    with pytest.raises(UnknownSession):
        st.destroy_sessions("ann", except_session=over.secret)

    assert {own.id} == living(st)


def test_more_sessions_than_one_step_ends_are_all_ended(st: SessionTokens) -> None:
    kept = st.open_session("ann")
    for _ in range(250):
        st.open_session("ann")

    assert 250 == st.destroy_sessions("ann", except_session=kept.id)
    assert {kept.id} == living(st)


# Disabled.


def test_nothing_opened_before_survives_the_disabling_of_its_owner(st: SessionTokens, settle: Settle) -> None:
    opened = st.open_session("ann", detachable=True)
    detached = st.open_session("ann", detachable=True)
    st.detach_session(detached.id)
    bound = st.issue_token(opened.id)

    assert st.disable_owner("ann") is True
    settle(st)
    assert st.verify_session(opened.secret) is None
    assert st.verify_token(bound.secret) is None
    assert set() == living(st)
    for id in (opened.id, detached.id):
        with pytest.raises(SessionEnded) as ended:
            st.attach_session(id)
        assert "owner_disabled" == ended.value.details["reason"]


def test_a_disabled_owners_transferables_become_unassigned(st: SessionTokens, settle: Settle) -> None:
    token = st.issue_token(st.open_session("ann").id, transferable=True)
    st.disable_owner("ann")
    settle(st)
    left = st.get_token(token.id)

    assert left is not None
    assert (None, "ann", True) == (left.owner, left.previous_owner, left.is_unassigned)


def test_a_disabled_owner_keeps_the_tokens_that_wait_for_them(st: SessionTokens) -> None:
    token = st.issue_token(st.open_session("ann").id, transferable=True)
    parked = st.transfer_token(token.id, giver="ann", receiver="bob")
    st.disable_owner("bob")

    assert parked.record == st.verify_token(parked.secret)


def test_a_disabled_owner_opens_nothing_and_receives_nothing(st: SessionTokens) -> None:
    token = st.issue_token(st.open_session("bob").id, transferable=True)
    st.disable_owner("ann")

    with pytest.raises(OwnerDisabled):
        st.open_session("ann")
    with pytest.raises(OwnerDisabled):
        st.transfer_token(token.id, giver="bob", receiver="ann")
    assert token.record == st.verify_token(token.secret)


def test_an_owner_may_be_disabled_before_the_first_session(st: SessionTokens) -> None:
    st.disable_owner("ann")

    with pytest.raises(OwnerDisabled):
        st.open_session("ann")


def test_enabling_lets_open_again_and_brings_nothing_back(st: SessionTokens, settle: Settle) -> None:
    opened = st.open_session("ann")
    st.disable_owner("ann")
    settle(st)

    assert st.enable_owner("ann") is True
    assert st.verify_session(opened.secret) is None
    assert st.verify_session(st.open_session("ann").secret) is not None


def test_disabling_and_enabling_twice_changes_and_tells_nothing(st: SessionTokens, told: list[Event]) -> None:
    answers = [st.enable_owner("ann"), st.disable_owner("ann"), st.disable_owner("ann"), st.enable_owner("ann")]

    assert [False, True, False, True] == answers
    assert [("owner_disabled", "ann"), ("owner_enabled", "ann")] == [(event.kind, event.owner) for event in told]


def test_each_session_of_a_disabled_owner_is_told_once(st: SessionTokens, told: list[Event]) -> None:
    opened = {st.open_session("ann").id for _ in range(3)}
    st.disable_owner("ann")
    while st.sweep():
        pass
    ended = [event.subject_id for event in told if event.kind == "session_ended"]

    assert opened == set(ended)
    assert 3 == len(ended)


# Listed.


def test_listing_shows_attached_and_detached_or_one_of_them(st: SessionTokens) -> None:
    attached = st.open_session("ann")
    detached = st.open_session("ann", detachable=True)
    st.detach_session(detached.id)

    assert {attached.id, detached.id} == living(st)
    assert [detached.id] == [session.id for session in st.list_sessions(detached=True).items]
    assert [attached.id] == [session.id for session in st.list_sessions("ann", detached=False).items]


@pytest.mark.parametrize("command", ["disable_owner", "destroy_sessions"])
def test_what_stands_is_answered_though_the_store_goes_before_all_is_cleaned_up(
    st: SessionTokens, caplog: pytest.LogCaptureFixture, command: str
) -> None:
    opened = [st.open_session("ann") for _ in range(250)]
    st.subscribe(lambda event: st.store.close_now())

    assert (True if command == "disable_owner" else len(opened)) == getattr(st, command)("ann")
    assert "the sweeper goes on" in caplog.text


def test_more_sessions_than_fit_one_write_end_in_one_instant(st: SessionTokens, clock: ManualClock) -> None:
    opened = [st.open_session("ann") for _ in range(250)]
    alive: list[int] = []

    def look(event: Event) -> None:
        alive.append(sum(st.verify_session(each.secret) is not None for each in opened))
        clock.advance(1)

    st.subscribe(look)

    assert 249 == st.destroy_sessions("ann", except_session=opened[7].id)
    assert [1] * 249 == alive
    ends = {session.end(clock.now(), None) for each in opened if (session := at_hand(st, each.id)) and session.ended_at}
    assert 1 == len(ends)


def test_an_owner_has_at_most_ten_thousand_living_sessions(st: SessionTokens, clock: ManualClock) -> None:
    brief = st.open_session("ann", max_age=60)
    for _ in range(SESSIONS_OF_OWNER_MAX - 1):
        st.open_session("ann", max_age=None)

    with pytest.raises(LimitReached) as reached:
        st.open_session("ann")
    assert SESSIONS_OF_OWNER_MAX == reached.value.details["cap"]
    assert st.open_session("bob")
    clock.advance(61)
    assert st.verify_session(brief.secret) is None
    assert st.open_session("ann")
    with pytest.raises(LimitReached):
        st.open_session("ann")


def at_hand(st: SessionTokens, id: str) -> Session | None:
    """Return the record of a session, ended ones too."""
    _, found = st.store.read_now([Get("session", id)])
    session: Session | None = found[0].value.session
    return session
