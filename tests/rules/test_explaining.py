"""`explain`: why something is as it is, since when, and ended by what, from the record and from the audit log."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from session_tokens import Explanation, InvalidInput, SessionTokens, Settings
from session_tokens.audit.log import Audit, acting
from session_tokens.rules.audit import Act
from session_tokens.settings import ENDED_RETENTION_MS
from session_tokens.testing import ManualClock

Settle = Callable[[SessionTokens], None]
HOUR_S = 3600


@pytest.fixture
def logged(clock: ManualClock) -> Iterator[SessionTokens]:
    """The API with an audit log, whose acts are those of one service key."""
    before = acting.set(Act("key_00boss", "req_1"))
    with SessionTokens.open(
        "memory://", settings=Settings(max_sessions=1), clock=clock, sweep=False, audit=Audit()
    ) as tokens:
        yield tokens
    acting.reset(before)


def said(explained: Explanation) -> str:
    return " ".join(explained.because)


def test_a_living_session_is_active_since_its_opening(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann")
    explained = st.explain(opened.id)

    assert (opened.id, "session", "active", None, clock.now(), "ann") == explained[:6]


def test_a_living_session_says_whether_using_it_puts_its_end_off(st: SessionTokens) -> None:
    used_or_not = st.explain(st.open_session("ann", max_age=60).id)
    while_used = st.explain(st.open_session("ann", max_age=60, idle_timeout=5).id)
    soon_over = st.explain(st.open_session("ann", max_age=60, idle_timeout=600).id)

    assert "used or not" in said(used_or_not)
    assert "If it is not used" in said(while_used)
    assert "used or not" in said(soon_over)


def test_a_detached_session_says_how_it_is_logged_in_again(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann", detachable=True)
    clock.advance(5)
    st.detach_session(opened.id)
    explained = st.explain(opened.id)

    assert ("detached", clock.now()) == (explained.state, explained.since)
    assert "attach" in said(explained)


@pytest.mark.parametrize(
    ("how", "reason", "words"),
    [
        (lambda st, clock, id: st.destroy_session(id), "logout", "logged out"),
        (lambda st, clock, id: st.destroy_session(id, reason="theft"), "theft", "taken to be stolen"),
        (lambda st, clock, id: st.disable_owner("ann"), "owner_disabled", "owner is disabled"),
        (lambda st, clock, id: clock.advance(60), "idle", "idle timeout"),
    ],
)
def test_an_ended_session_says_why_and_when(
    st: SessionTokens, clock: ManualClock, settle: Settle, how: Callable[..., object], reason: str, words: str
) -> None:
    opened = st.open_session("ann", idle_timeout=40)
    clock.advance(1)
    how(st, clock, opened.id)
    ended_at = clock.now()
    clock.advance(100)
    settle(st)
    explained = st.explain(opened.id)

    assert ("ended", reason, "ann") == (explained.state, explained.reason, explained.owner)
    assert explained.since is not None and explained.since <= ended_at
    assert words in said(explained)
    assert opened.secret is not None and opened.secret not in said(explained)


def test_an_ended_session_is_unknown_after_an_hour_unless_an_audit_log_is_kept(
    st: SessionTokens, logged: SessionTokens, clock: ManualClock
) -> None:
    explained = []
    for tokens in (st, logged):
        opened = tokens.open_session("ann")
        tokens.destroy_session(opened.id, reason="revoked")
        explained.append(opened.id)
    ended_at = clock.now()
    clock.advance(ENDED_RETENTION_MS / 1000 + 1)
    for tokens in (st, logged):
        tokens.sweep()
    forgotten, remembered = st.explain(explained[0]), logged.explain(explained[1])

    assert ("unknown", None, None) == (forgotten.state, forgotten.reason, forgotten.since)
    assert "No audit log is kept" in said(forgotten)
    assert ("ended", "revoked", ended_at, "ann") == remembered[2:6]
    assert "by key_00boss in request req_1" in said(remembered)


def test_a_replaced_session_is_told_from_one_that_was_ended(logged: SessionTokens) -> None:
    first = logged.open_session("ann")
    logged.open_session("ann")
    explained = logged.explain(first.id)

    assert ("ended", "replaced") == (explained.state, explained.reason)
    assert "session_ended (replaced) by key_00boss" in said(explained)


def test_a_bound_token_ends_with_its_session(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann")
    token = st.issue_token(opened.id, "value")
    st.destroy_session(opened.id, reason="theft")
    explained = st.explain(token.id)

    assert ("token", "ended", "theft", clock.now()) == explained[1:5]
    assert opened.id in said(explained)


def test_an_unassigned_token_says_whose_it_was_and_until_when_it_waits(
    st: SessionTokens, clock: ManualClock, settle: Settle
) -> None:
    opened = st.open_session("ann")
    token = st.issue_token(opened.id, "value", transferable=True)
    st.destroy_session(opened.id)
    ended_at = clock.now()
    settle(st)
    explained = st.explain(token.id)

    assert ("unassigned", None, ended_at, None) == explained[2:6]
    assert "'ann'" in said(explained) and "claimed" in said(explained)


def test_a_token_whose_time_is_over_says_so_before_and_after_it_is_swept(
    logged: SessionTokens, clock: ManualClock
) -> None:
    token = logged.issue_token(None, "value", timeout=10)
    clock.advance(11)
    before = logged.explain(token.id)
    logged.sweep()
    after = logged.explain(token.id)

    assert ("ended", "expired") == (before.state, before.reason) == (after.state, after.reason)


def test_a_token_that_is_held_is_active_since_it_is_in_these_hands(st: SessionTokens, clock: ManualClock) -> None:
    token = st.issue_token(st.open_session("ann").id, "value", transferable=True)
    clock.advance(7)
    st.transfer_token(token.id, giver="ann", receiver="bob")
    explained = st.explain(token.id)

    assert ("active", None, clock.now(), "bob") == explained[2:6]
    assert "has no session now" in said(explained)


def test_what_is_no_id_is_refused_and_a_secret_is_not_repeated(st: SessionTokens) -> None:
    secret = st.open_session("ann").secret
    assert secret is not None
    for wrong in ("", "ann", "ses_short", secret):
        with pytest.raises(InvalidInput) as raised:
            st.explain(wrong)
        assert secret not in str(raised.value)
    with pytest.raises(TypeError):
        st.explain(None)  # type: ignore[arg-type]  # that is the point
