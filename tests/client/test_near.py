"""A client that keeps what was verified: how old an answer may be, and what is asked for all the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from session_tokens import AsyncSessionTokens, InvalidInput, SessionTokens, StoreUnavailable
from session_tokens.client.near import NearAnswers
from session_tokens.clock import ManualClock
from session_tokens.crypto.minting import new_secret
from session_tokens.records import Session
from tests.helpers.running_service import RunningService
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.process
BOUND_S = 1.0
LONG_S = 60.0


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    running = RunningService(f"sqlite:///{tmp_path}/s.db", tmp_path / "log")
    yield running
    running.stop()


def near_to(service: RunningService, bound_s: float) -> Any:
    return SessionTokens.connect(service.url, key=service.secret, near_cache=bound_s, retry_for=0.1)


def test_what_was_verified_is_answered_for_the_bound_and_not_longer(service: RunningService) -> None:
    with near_to(service, BOUND_S) as st:
        opened = st.open_session("ann")
        token = st.issue_token(opened.id, 7)
        asked_at_s = time.monotonic()
        verified = st.verify_session(opened.secret), st.verify_token(token.secret)
        service.stop()
        while time.monotonic() < asked_at_s + BOUND_S / 2:
            assert (st.verify_session(opened.secret), st.verify_token(token.secret)) == verified
        assert verified == (opened.session, token.token)
        time.sleep(BOUND_S)
        with pytest.raises(StoreUnavailable):
            st.verify_session(opened.secret)
        with pytest.raises(StoreUnavailable):
            st.verify_token(token.secret)


def test_an_end_elsewhere_is_seen_within_the_bound(service: RunningService) -> None:
    with near_to(service, BOUND_S) as st, SessionTokens.connect(service.url, key=service.secret) as other:
        opened = st.open_session("ann")
        token = st.issue_token(opened.id, transferable=True)
        assert None not in (st.verify_session(opened.secret), st.verify_token(token.secret))
        other.transfer_token(token.id, giver="ann", receiver="bob")
        other.destroy_session(opened.id)
        ended_at_s = time.monotonic()
        wait_until(lambda: st.verify_session(opened.secret) is None and st.verify_token(token.secret) is None)

        assert time.monotonic() - ended_at_s <= BOUND_S


@pytest.mark.parametrize(
    "change",
    [
        lambda st, opened, token: st.destroy_session(opened.id),
        lambda st, opened, token: st.rotate_session(opened.id),
        lambda st, opened, token: st.disable_owner("ann"),
        lambda st, opened, token: st.log_in("ann", former=opened.secret),
    ],
)
def test_what_the_client_changes_it_sees_at_once(service: RunningService, change: Callable[..., object]) -> None:
    with near_to(service, LONG_S) as st:
        opened = st.open_session("ann")
        token = st.issue_token(opened.id)
        assert st.verify_session(opened.secret) == st.verify_session(opened.secret) is not None
        change(st, opened, token)

        assert st.verify_session(opened.secret) is None


def test_deadlines_are_judged_at_each_answer_and_what_is_not_valid_is_asked_for(service: RunningService) -> None:
    with near_to(service, LONG_S) as st:
        short = st.open_session("ann", max_age=1)
        token = st.issue_token(short.id, timeout=1)
        assert None not in (st.verify_session(short.secret), st.verify_token(token.secret))
        wait_until(lambda: st.verify_session(short.secret) is None)
        wait_until(lambda: st.verify_token(token.secret) is None)
        assert st.verify_session(short.secret) is None


def test_uses_are_written_down_when_they_are_due(service: RunningService) -> None:
    with near_to(service, LONG_S) as st:
        opened = st.open_session("ann", idle_timeout=16)

        def is_written_down() -> bool:
            assert st.verify_session(opened.secret) is not None
            return bool(st.get_session(opened.id).last_seen_at > opened.session.last_seen_at)

        assert not is_written_down()
        wait_until(is_written_down)


async def test_tasks_have_it_too(service: RunningService) -> None:
    async with await AsyncSessionTokens.connect(
        service.url, key=service.secret, near_cache=LONG_S, retry_for=0.1
    ) as st:
        opened, never_asked = await st.open_session("ann"), await st.open_session("bob")
        first = await st.verify_session(opened.secret)
        service.stop()

        assert await st.verify_session(opened.secret) == first == opened.session
        with pytest.raises(StoreUnavailable):
            await st.verify_session(never_asked.secret)


def test_what_was_asked_before_a_change_is_not_kept_after_it() -> None:
    clock, now_s = ManualClock(), [0.0]
    with SessionTokens.open("memory://", clock=clock, sweep=False) as st:
        opened = st.open_session("ann")
    near = NearAnswers(LONG_S, clock.now, monotonic_s=lambda: now_s[0])
    asking = near.session(opened.secret, touch=True)
    assert not isinstance(asking, Session)
    near.keep(asking, opened.session)
    assert near.session(opened.secret, touch=True) == opened.session
    near.changed()
    near.keep(asking, opened.session)

    assert near.session(opened.secret, touch=True) != opened.session


@pytest.mark.parametrize("bound_s", [0.1, 61, float("nan")])
def test_a_bound_that_cannot_be_kept_is_refused(bound_s: float) -> None:
    with pytest.raises(InvalidInput, match="near_cache"):
        SessionTokens.connect("http://127.0.0.1:1", key=new_secret("stk_"), near_cache=bound_s)


def test_a_client_that_was_closed_answers_nothing_from_it(service: RunningService) -> None:
    with near_to(service, LONG_S) as st:
        opened = st.open_session("ann")
        assert st.verify_session(opened.secret) is not None

    with pytest.raises(StoreUnavailable, match="closed"):
        st.verify_session(opened.secret)
