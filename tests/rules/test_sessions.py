"""The life of a session: opened, verified, rotated, detached and attached, changed, ended for good."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from session_tokens import (
    Conflict,
    Event,
    InvalidInput,
    NotDetachable,
    ReauthenticationRequired,
    SessionEnded,
    SessionTokens,
    Settings,
    UnknownSession,
)
from session_tokens.testing import ManualClock

Opening = Callable[..., SessionTokens]
Settle = Callable[[SessionTokens], None]


def test_only_the_secret_verifies_an_id_never_does(st: SessionTokens) -> None:
    opened = st.open_session("ann")

    assert opened.session == st.verify_session(opened.secret)
    assert st.verify_session(opened.id) is None


def test_a_session_keeps_what_it_was_opened_with(st: SessionTokens, clock: ManualClock) -> None:
    session = st.open_session(
        "ann", data={"theme": "dark", "empty": None}, label="phone", user_agent="Browser/1", address="192.0.2.1"
    ).session

    assert ("ann", "phone", "Browser/1", "192.0.2.1") == (
        session.owner, session.label, session.user_agent, session.address,
    )  # fmt: skip
    assert {"theme": "dark", "empty": None} == session.data
    assert clock.now() == session.created_at == session.last_seen_at == session.authenticated_at


def test_unknown_malformed_ended_expired_and_detached_verify_alike(st: SessionTokens, clock: ManualClock) -> None:
    ended, expired = st.open_session("ann"), st.open_session("ann", max_age=1)
    detached = st.open_session("ann", detachable=True)
    with SessionTokens.open("memory://", sweep=False) as other:
        unknown = other.open_session("ann")
    st.destroy_session(ended.id)
    st.detach_session(detached.id)
    clock.advance(1)
    secrets = [unknown.secret, "sts_", ended.secret, expired.secret, detached.secret]

    assert [None] * 5 == [st.verify_session(secret) for secret in secrets]


# Rotation.


def test_rotating_keeps_the_session_and_kills_the_old_secret_at_once(st: SessionTokens) -> None:
    opened = st.open_session("ann", data={"a": 1})
    token = st.issue_token(opened.id)
    rotated = st.rotate_session(opened.secret)

    assert (opened.id, 2) == (rotated.id, rotated.session.version)
    assert st.verify_session(opened.secret) is None
    assert rotated.session == st.verify_session(rotated.secret)
    assert st.verify_token(token.secret) is not None


def test_a_rotated_away_secret_is_no_key(st: SessionTokens) -> None:
    opened = st.open_session("ann")
    st.rotate_session(opened.id)

    with pytest.raises(UnknownSession):
        st.rotate_session(opened.secret)
    with pytest.raises(UnknownSession):
        st.issue_token(opened.secret)
    assert st.destroy_session(opened.secret) is False


def test_rotating_moves_no_clock(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann", idle_timeout=16)
    clock.advance(10)
    rotated = st.rotate_session(opened.id)

    assert opened.session.deadline == rotated.session.deadline
    assert opened.session.authenticated_at == rotated.session.authenticated_at


def test_rotating_at_a_log_in_restarts_the_idle_and_the_step_up_clock(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann", idle_timeout=16)
    clock.advance(10)
    rotated = st.rotate_session(opened.id, authenticated=True).session

    assert clock.now() == rotated.authenticated_at == rotated.last_seen_at
    assert clock.now() + 17_000 == rotated.deadline


def test_a_detached_session_has_no_secret_to_rotate(st: SessionTokens) -> None:
    opened = st.open_session("ann", detachable=True)
    st.detach_session(opened.id)

    with pytest.raises(Conflict):
        st.rotate_session(opened.id)


# Step-up.


def test_a_log_in_is_recent_up_to_and_including_the_age_asked_for(st: SessionTokens, clock: ManualClock) -> None:
    session = st.open_session("ann").session
    clock.advance(300)
    session.require_recent(300)
    clock.advance(ms=1)

    with pytest.raises(ReauthenticationRequired):
        session.require_recent(300)


def test_use_is_no_log_in(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann", idle_timeout=400)
    clock.advance(300)
    session = st.verify_session(opened.secret)

    assert session is not None
    with pytest.raises(ReauthenticationRequired):
        session.require_recent(299)


# Detach and attach.


def test_only_a_detachable_session_is_detached(st: SessionTokens) -> None:
    opened = st.open_session("ann")

    with pytest.raises(NotDetachable):
        st.detach_session(opened.id)
    assert st.verify_session(opened.secret) is not None


def test_a_detached_session_lives_but_does_not_authenticate(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann", detachable=True)
    token = st.issue_token(opened.id)
    detached = st.detach_session(opened.secret)

    assert clock.now() == detached.detached_at
    assert st.verify_session(opened.secret) is None
    assert detached == st.get_session(opened.id)
    assert st.verify_token(token.secret) is not None


def test_detaching_twice_changes_nothing(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann", detachable=True)
    detached = st.detach_session(opened.id)
    clock.advance(5)

    assert detached == st.detach_session(opened.id)


def test_a_detached_sessions_idle_clock_stands(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann", detachable=True, idle_timeout=16)
    clock.advance(10)
    st.detach_session(opened.id)
    clock.advance(100)

    assert st.get_session(opened.id) is not None


def test_a_detached_session_ends_after_its_detached_timeout(
    st: SessionTokens, clock: ManualClock, settle: Settle
) -> None:
    opened = st.open_session("ann", detachable=True, detached_timeout=30)
    clock.advance(10)
    st.detach_session(opened.id)
    clock.advance(29.999)
    alive = st.get_session(opened.id)
    clock.advance(ms=1)
    settle(st)

    assert alive is not None
    assert st.get_session(opened.id) is None
    with pytest.raises(SessionEnded) as ended:
        st.attach_session(opened.id)
    assert "detached_timeout" == ended.value.details["reason"]


def test_the_detached_timeout_is_the_general_session_timeout_by_default(opening: Opening) -> None:
    session = opening(max_age=120).open_session("ann", max_age=None).session

    assert 120 == session.detached_timeout


def test_the_age_of_a_detached_session_goes_on(st: SessionTokens, clock: ManualClock, settle: Settle) -> None:
    opened = st.open_session("ann", detachable=True, detached_timeout=600, max_age=60)
    st.detach_session(opened.id)
    clock.advance(60)
    settle(st)

    with pytest.raises(SessionEnded) as ended:
        st.attach_session(opened.id)
    assert "expired" == ended.value.details["reason"]


def test_attaching_gives_a_new_secret_and_restarts_the_idle_clock(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann", detachable=True, idle_timeout=16)
    st.detach_session(opened.id)
    clock.advance(100)
    attached = st.attach_session(opened.id)

    assert st.verify_session(opened.secret) is None
    assert attached.session == st.verify_session(attached.secret)
    assert clock.now() + 17_000 == attached.session.deadline
    assert attached.session.detached_at is None


def test_attaching_takes_an_id_and_never_the_dead_secret(st: SessionTokens) -> None:
    opened = st.open_session("ann", detachable=True)
    st.detach_session(opened.id)

    with pytest.raises(UnknownSession):
        st.attach_session(opened.secret)


def test_attaching_an_attached_session_is_a_conflict(st: SessionTokens) -> None:
    opened = st.open_session("ann", detachable=True)

    with pytest.raises(Conflict):
        st.attach_session(opened.id)


def test_the_secret_of_a_detached_session_is_no_key(st: SessionTokens) -> None:
    opened = st.open_session("ann", detachable=True)
    st.detach_session(opened.id)

    with pytest.raises(UnknownSession):
        st.issue_token(opened.secret)
    assert st.destroy_session(opened.secret) is False
    assert st.issue_token(opened.id).token.session_id == opened.id


# Change.


def test_a_new_max_age_counts_from_the_opening(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann", max_age=600)
    clock.advance(100)
    changed = st.change_session(opened.id, max_age=150)

    assert opened.session.created_at + 150_000 == changed.deadline


def test_a_max_age_that_is_over_already_ends_the_session(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann", max_age=600)
    clock.advance(100)
    st.change_session(opened.id, max_age=100)

    assert st.verify_session(opened.secret) is None


def test_a_new_idle_timeout_counts_from_now(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann")
    clock.advance(900)
    changed = st.change_session(opened.secret, idle_timeout=16)

    assert clock.now() + 17_000 == changed.deadline


def test_a_new_detached_timeout_counts_from_the_detaching(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann", detachable=True)
    detached = st.detach_session(opened.id)
    clock.advance(10)
    changed = st.change_session(opened.id, detached_timeout=30)

    assert detached.detached_at is not None
    assert detached.detached_at + 30_000 == changed.deadline


def test_what_is_not_given_stays(st: SessionTokens) -> None:
    opened = st.open_session("ann", label="phone", idle_timeout=60, detachable=True)
    changed = st.change_session(opened.id, label=None)

    assert opened.session.replace(details=changed.details, version=2) == changed
    assert changed.label is None


def test_a_change_of_a_version_that_is_past_is_a_conflict(st: SessionTokens) -> None:
    opened = st.open_session("ann")
    st.change_session(opened.id, label="first", version=1)

    with pytest.raises(Conflict):
        st.change_session(opened.id, label="second", version=1)
    with pytest.raises(Conflict):
        st.destroy_session(opened.id, version=1)


# Data.


def test_concurrent_updates_of_different_fields_both_survive(st: SessionTokens) -> None:
    opened = st.open_session("ann", data={"a": 1})
    st.update_session_data(opened.id, {"b": 2}, version=1)
    session = st.update_session_data(opened.id, {"c": 3}, version=1)

    assert {"a": 1, "b": 2, "c": 3} == session.data


def test_concurrent_updates_of_one_field_conflict_and_say_which(st: SessionTokens) -> None:
    opened = st.open_session("ann", data={"a": 1})
    st.update_session_data(opened.id, {"a": 2}, version=1)

    with pytest.raises(Conflict) as refused:
        st.update_session_data(opened.id, {"a": 3, "b": 4}, version=1)
    assert ["a"] == refused.value.details["fields"]
    session = st.get_session(opened.id)
    assert session is not None
    assert {"a": 2} == session.data


def test_a_removed_field_conflicts_as_a_changed_one_does(st: SessionTokens) -> None:
    opened = st.open_session("ann", data={"a": 1})
    st.update_session_data(opened.id, {}, removed=["a"], version=1)

    with pytest.raises(Conflict):
        st.update_session_data(opened.id, {"a": 3}, version=1)


def test_without_a_version_the_last_update_stands(st: SessionTokens) -> None:
    opened = st.open_session("ann", data={"a": 1})
    st.update_session_data(opened.secret, {"a": 2})

    assert {"a": [3]} == st.update_session_data(opened.secret, {"a": [3]}).data


def test_a_version_that_is_not_there_yet_is_a_conflict(st: SessionTokens) -> None:
    opened = st.open_session("ann")

    with pytest.raises(Conflict):
        st.update_session_data(opened.id, {"a": 1}, version=2)


def test_data_never_grows_beyond_16_kib(st: SessionTokens) -> None:
    opened = st.open_session("ann", data={"a": "x" * 16_000})

    with pytest.raises(InvalidInput):
        st.update_session_data(opened.id, {"b": "x" * 400})
    session = st.get_session(opened.id)
    assert session is not None
    assert {"a"} == set(session.data)


def test_none_is_a_value_of_a_field_and_removed_names_what_goes(st: SessionTokens) -> None:
    opened = st.open_session("ann", data={"a": None, "b": 1, "c": 2})
    assert {"a": None, "b": 1, "c": 2} == opened.session.data

    changed = st.update_session_data(opened.id, {"b": None}, removed=["c", "never there"])

    assert {"a": None, "b": None} == changed.data
    assert st.get_session(opened.id) == changed
    assert {"b": None} == st.update_session_data(opened.id, {}, removed={"a"}).data


def test_a_field_is_not_written_and_removed_at_once(st: SessionTokens) -> None:
    opened = st.open_session("ann", data={"a": 1})

    with pytest.raises(InvalidInput, match="at once"):
        st.update_session_data(opened.id, {"a": 2}, removed=["a"])
    for removed in ("a", b"a", 1, {"a": 1}, [1]):
        with pytest.raises(TypeError):
            st.update_session_data(opened.id, {}, removed=removed)  # type: ignore[arg-type]  # that is the point
    assert {"a": 1} == opened.session.data


def test_the_limit_of_data_is_a_setting_up_to_1_mib() -> None:
    with SessionTokens.open("memory://", settings=Settings(max_data_bytes=2**20), sweep=False) as large:
        exactly = {"a": "x" * (2**20 - len('{"a":""}'))}
        opened = large.open_session("ann", data=exactly)
        assert exactly == large.update_session_data(opened.id, exactly).data
        with pytest.raises(InvalidInput, match="1048576"):
            large.update_session_data(opened.id, {"b": 1})
        with pytest.raises(InvalidInput, match="1048576"):
            large.open_session("bob", data={"a": exactly["a"] + "x"})
        with pytest.raises(InvalidInput, match="16384"):
            large.issue_token(opened.id, "x" * 16_385)  # a value has a limit of its own
    for wrong in (0, 1, -1, 2**20 + 1):
        with pytest.raises(InvalidInput):
            Settings(max_data_bytes=wrong)
    for wrong_kind in (1.5, "16384", None):
        with pytest.raises(TypeError):
            Settings(max_data_bytes=wrong_kind)  # type: ignore[arg-type]  # that is the point
    with pytest.raises((TypeError, InvalidInput)):  # a compiled core takes it for 1
        Settings(max_data_bytes=True)


# The end.


@pytest.mark.parametrize("reason", ["logout", "revoked", "theft", "evicted", "replaced"])
def test_an_ended_session_says_why(st: SessionTokens, told: list[Event], reason: str) -> None:
    opened = st.open_session("ann")

    assert st.destroy_session(opened.id, reason=reason) is True  # type: ignore[arg-type]  # one of the agreed words
    with pytest.raises(SessionEnded) as ended:
        st.change_session(opened.id, label="late")
    assert reason == ended.value.details["reason"] == told[-1].reason


def test_an_ended_session_never_comes_back(st: SessionTokens, clock: ManualClock, settle: Settle) -> None:
    opened = st.open_session("ann", detachable=True, max_age=None)
    st.destroy_session(opened.secret)
    settle(st)
    late: list[Callable[[], object]] = [
        lambda: st.rotate_session(opened.id), lambda: st.attach_session(opened.id), lambda: st.issue_token(opened.id),
        lambda: st.detach_session(opened.id), lambda: st.change_session(opened.id, max_age=None),
        lambda: st.update_session_data(opened.id, {"a": 1}),
    ]  # fmt: skip
    for command in late:
        with pytest.raises(SessionEnded):
            command()

    assert st.destroy_session(opened.id) is False
    assert st.verify_session(opened.secret) is None
    assert [] == st.list_sessions().items


def test_ending_what_is_over_or_unknown_answers_false_and_tells_nothing(
    st: SessionTokens, told: list[Event], clock: ManualClock
) -> None:
    opened = st.open_session("ann", max_age=1)
    clock.advance(1)

    assert st.destroy_session(opened.id) is False
    assert st.destroy_session("ses_nonsense") is False
    assert st.destroy_session(opened.secret) is False
    assert ["session_opened"] == [event.kind for event in told]


def test_the_event_of_an_expiry_appears_when_it_is_swept_and_once(
    st: SessionTokens, told: list[Event], clock: ManualClock
) -> None:
    opened = st.open_session("ann", max_age=10)
    clock.advance(25)
    before = list(told)
    swept = [st.sweep(), st.sweep()]

    assert ["session_opened"] == [event.kind for event in before]
    assert [1, 0] == swept
    assert [("session_ended", opened.id, "expired", clock.now())] == [
        (event.kind, event.subject_id, event.reason, event.at) for event in told[1:]
    ]


def test_versions_only_grow(st: SessionTokens) -> None:
    opened = st.open_session("ann", detachable=True)
    versions = [
        opened.session.version,
        st.rotate_session(opened.id).session.version,
        st.update_session_data(opened.id, {"a": 1}).version,
        st.change_session(opened.id, label="x").version,
        st.detach_session(opened.id).version,
        st.attach_session(opened.id).session.version,
    ]

    assert [1, 2, 3, 4, 5, 6] == versions


def test_sweeping_leaves_what_lives(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann", max_age=60)
    token = st.issue_token(opened.id, timeout=60)
    clock.advance(59.999)

    assert 0 == st.sweep()
    assert st.verify_token(token.secret) is not None
