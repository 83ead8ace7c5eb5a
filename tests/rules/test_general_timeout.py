"""The general session timeout that all processes share: `FROM_DB`, seen within 30 seconds, whatever stands there."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from session_tokens import FROM_DB, SessionTokens, Settings
from session_tokens._sync import core as sync_core
from session_tokens.rules.settings import write_setting
from session_tokens.settings import SESSION_TIMEOUT_SETTING

Opening = Callable[..., SessionTokens]


class Seconds:
    """A monotonic clock in seconds that moves when told, in the place of the module `time`."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Seconds:
    clock = Seconds()
    monkeypatch.setattr(sync_core, "time", clock)
    return clock


def max_age_of(st: SessionTokens) -> float | None:
    return st.open_session("ann").session.max_age


def test_without_a_value_in_the_store_it_is_one_hour(opening: Opening, caplog: pytest.LogCaptureFixture) -> None:
    assert 3600 == max_age_of(opening(max_age=FROM_DB))
    assert [] == caplog.records


def test_who_sets_it_sees_it_at_once(opening: Opening) -> None:
    st = opening(max_age=FROM_DB)
    seen = []
    for max_age in (120, None, 0.5):
        st.set_general_session_timeout(max_age)
        seen.append(max_age_of(st))

    assert [120, None, 0.5] == seen


def test_another_process_sees_it_within_30_seconds(opening: Opening, seconds: Seconds) -> None:
    st = opening(max_age=FROM_DB)
    other = SessionTokens(st.store, Settings(max_age=FROM_DB, max_sessions=None))
    before = max_age_of(other)
    st.set_general_session_timeout(120)
    seconds.now_s += 29.999
    still = max_age_of(other)
    seconds.now_s += 0.001

    assert [3600, 3600, 120] == [before, still, max_age_of(other)]


def test_it_holds_for_sessions_opened_later(opening: Opening) -> None:
    st = opening(max_age=FROM_DB)
    earlier = st.open_session("ann")
    st.set_general_session_timeout(120)

    assert earlier.session == st.get_session(earlier.id)


def test_it_is_the_default_of_the_detached_timeout_too(opening: Opening) -> None:
    st = opening(max_age=FROM_DB)
    st.set_general_session_timeout(120)

    assert 120 == st.open_session("ann", max_age=None).session.detached_timeout


@pytest.mark.parametrize(
    "text", ["", "soon", "-5", "0", "1.5", "1e3", " 60000", "６００００", "99999999999999999999", "True"]
)
def test_with_a_bad_value_the_last_one_stands(
    opening: Opening, seconds: Seconds, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    st = opening(max_age=FROM_DB)
    st.set_general_session_timeout(120)
    max_age_of(st)
    st.store.run_now(write_setting, SESSION_TIMEOUT_SETTING, text)
    seconds.now_s += 30
    with caplog.at_level(logging.WARNING):
        seen = max_age_of(st)

    assert 120 == seen
    assert bool(text) == bool(caplog.records)


def test_with_a_value_that_was_taken_away_the_last_one_stands(opening: Opening, seconds: Seconds) -> None:
    st = opening(max_age=FROM_DB)
    st.set_general_session_timeout(120)
    max_age_of(st)
    st.store.run_now(write_setting, SESSION_TIMEOUT_SETTING, None)
    seconds.now_s += 30

    assert 120 == max_age_of(st)


def test_a_store_without_the_setting_is_not_asked(opening: Opening) -> None:
    st = opening(max_age=60)
    st.set_general_session_timeout(120)

    assert 60 == max_age_of(st)
