"""A retry is the same request after a change of general settings; batches of cleaning change no event."""

from pathlib import Path

import pytest

from session_tokens import Event, SessionTokens, Settings
from session_tokens import settings as limits
from session_tokens.testing import ManualClock


def test_a_retry_after_a_change_of_general_settings_answers_the_first_outcome(tmp_path: Path) -> None:
    url, clock = f"sqlite:///{tmp_path / 'store.db'}", ManualClock()
    with SessionTokens.open(url, settings=Settings(max_age=30), clock=clock, sweep=False) as st:
        first = st.open_session("ann", idempotency_key="s")
        token = st.issue_token(first.id, "x", transferable=True, idempotency_key="t")
    changed = Settings(max_age=60, idle_timeout=5, token_timeout=9, disownment_timeout=8)
    with SessionTokens.open(url, settings=changed, clock=clock, sweep=False) as st:
        again = st.open_session("ann", idempotency_key="s")
        same = st.issue_token(first.id, "x", transferable=True, idempotency_key="t")

    assert (first.secret, first.id) == (again.secret, again.id)
    assert (token.secret, token.id) == (same.secret, same.id)


@pytest.mark.parametrize("batch", [1, 500])
def test_a_bound_token_that_died_with_its_session_has_no_event_of_its_own(
    monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(limits, "CLEANING_BATCH", batch)
    clock = ManualClock()
    events: list[Event] = []
    with SessionTokens.open("memory://", settings=Settings(max_age=100), clock=clock, sweep=False) as st:
        session = st.open_session("ann")
        for _ in range(4):
            st.issue_token(session.id, "x", timeout=60)
        st.subscribe(events.append)
        st.destroy_session(session.id)
        clock.advance(70)
        while st.sweep():
            pass

    assert [(event.kind, event.reason) for event in events] == [("session_ended", "logout")]


def test_a_bound_token_that_ran_out_before_its_session_has_one() -> None:
    clock = ManualClock()
    events: list[Event] = []
    with SessionTokens.open("memory://", clock=clock, sweep=False) as st:
        st.issue_token(st.open_session("ann").id, "x", timeout=60)
        st.subscribe(events.append)
        clock.advance(3600)
        while st.sweep():
            pass

    assert sorted((event.kind, event.reason) for event in events) == [
        ("session_ended", "expired"),
        ("token_ended", "expired"),
    ]
