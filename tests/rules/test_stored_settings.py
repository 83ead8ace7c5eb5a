"""The general settings that live with the store: who wins, when it is seen, and what a lowered cap does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from session_tokens import Event, InvalidInput, SessionTokens, Settings
from session_tokens._sync import core as sync_core
from session_tokens.rules.settings import write_setting
from session_tokens.settings import DEFAULTS, SETTING_NAMES, UNSET
from session_tokens.stored_settings import (
    STORED,
    VARIABLES,
    kept_text,
    settings_in,
    value_kept,
    value_shown,
    value_written,
)

Opening = Callable[..., SessionTokens]
VALUES: dict[str, list[Any]] = {
    "max_age": [None, 60, 0.5, 86_400],
    "idle_timeout": [None, 90],
    "detached_timeout": [30],
    "token_timeout": [None, 7],
    "disownment_timeout": [None, 3600],
    "anonymous_max_age": [600],
    "remember_max_age": [None, 86_400 * 7],
    "max_sessions": [None, 3],
    "max_tokens_per_session": [None, 5],
    "max_data_bytes": [2, 65_536],
    "events_kept": [1, 10],
    "session_policy": ["refuse", "replace_all"],
    "events": ["durable", "off"],
}


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


def another(st: SessionTokens, **given: Any) -> SessionTokens:
    """Return the API as another process on the same store would have it."""
    return SessionTokens(st.store, Settings(**given))


def cap_of(st: SessionTokens) -> int | None:
    return {setting.name: setting for setting in st.list_settings()}["max_sessions"].value  # type: ignore[return-value]


def test_the_argument_wins_over_the_environment_that_over_the_store_that_over_the_default(
    opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    st = another(opening())
    seen = [(cap_of(st), sources(st))]
    st.set_setting("max_sessions", 4)
    seen.append((cap_of(st), sources(st)))
    monkeypatch.setenv("SESSION_TOKENS_MAX_SESSIONS", "3")
    seen.append((cap_of(another(st)), sources(another(st))))
    seen.append((cap_of(another(st, max_sessions=2)), sources(another(st, max_sessions=2))))
    seen.append((cap_of(another(st, max_sessions=None)), sources(another(st, max_sessions=None))))

    assert [(None, "default"), (4, "stored"), (3, "environment"), (2, "argument"), (None, "argument")] == seen


def sources(st: SessionTokens) -> str:
    return next(setting.source for setting in st.list_settings() if setting.name == "max_sessions")


def test_another_process_sees_a_change_within_30_seconds(opening: Opening, seconds: Seconds) -> None:
    st = opening()
    other = another(st)
    before = other.open_session("ann").session.idle_timeout
    st.set_setting("idle_timeout", timedelta(minutes=5))
    seconds.now_s += 29.999
    still = other.open_session("ann").session.idle_timeout
    seconds.now_s += 0.001

    assert (None, None, 300) == (before, still, other.open_session("ann").session.idle_timeout)


def test_a_process_may_look_more_often(opening: Opening, seconds: Seconds) -> None:
    st = opening()
    other = another(st, refresh_interval=2)
    other.open_session("ann")
    st.set_setting("idle_timeout", 300)
    seconds.now_s += 2

    assert 300 == other.open_session("ann").session.idle_timeout
    with pytest.raises(InvalidInput, match="30 seconds"):
        Settings(refresh_interval=31)


def test_a_lowered_cap_ends_nobody_before_the_next_opening(opening: Opening) -> None:
    st = another(opening())
    for _ in range(3):
        st.open_session("ann")
    st.set_setting("max_sessions", 1)
    st.sweep()
    after = len(st.list_sessions("ann"))
    st.open_session("ann")

    assert (3, 1) == (after, len(st.list_sessions("ann")))


def test_what_is_unset_is_as_by_default_again(opening: Opening) -> None:
    st = another(opening())
    st.set_setting("session_policy", "refuse")
    unset = st.unset_setting("session_policy")

    assert ("replace_oldest", "default", False) == (unset.value, unset.source, unset.is_stored)
    assert st.settings.session_policy == "replace_oldest"


def test_max_data_bytes_holds_at_once_where_it_is_set(opening: Opening) -> None:
    st = another(opening())
    opened = st.open_session("ann")
    st.set_setting("max_data_bytes", 10)

    with pytest.raises(InvalidInput):
        st.update_session_data(opened.id, {"far": "too much"})


def test_a_change_is_one_event_and_no_change_is_none(st: SessionTokens, told: list[Event]) -> None:
    st.set_setting("max_sessions", 4)
    st.set_setting("max_sessions", 4)
    st.unset_setting("max_sessions")
    st.unset_setting("max_sessions")

    assert [("setting_changed", "max_sessions", None, "4"), ("setting_changed", "max_sessions", None, "unset")] == [
        (event.kind, event.subject_id, event.owner, event.reason) for event in told
    ]


@pytest.mark.parametrize("text", ["many", "-1", "0", "１", ""])
def test_what_makes_no_sense_in_the_store_leaves_the_last_value(
    opening: Opening, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    st = another(opening())
    st.set_setting("max_sessions", 4)
    st.store.run_now(write_setting, STORED["max_sessions"], text)
    with caplog.at_level(logging.WARNING):
        st.refresh_settings()

    assert 4 == st.settings.max_sessions
    assert bool(text) == bool(caplog.records)


def test_names_and_values_that_can_never_be_right_are_refused(opening: Opening) -> None:
    st = opening()
    for name, value in (
        ("max_session", 3), ("sweep_interval", 3), ("max_sessions", 0), ("max_age", 0), ("session_policy", "evict"),
        ("events", "on"), ("max_data_bytes", 1), ("events_kept", 0),
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            st.set_setting(name, value)
    for name, wrong in (("max_sessions", "3"), ("max_age", "1h"), ("session_policy", 3), ("max_data_bytes", None)):
        with pytest.raises(TypeError):
            st.set_setting(name, wrong)


def test_every_setting_is_kept_and_written_so_that_it_reads_as_it_was() -> None:
    assert VALUES.keys() == STORED.keys()
    for name, values in VALUES.items():
        for value in values:
            assert value_kept(name, kept_text(name, value)) == value
            assert value_written(name, value_shown(name, value)) == value


def test_every_setting_but_events_is_taken_from_the_environment() -> None:
    texts = {variable: value_shown(name, VALUES[name][0]) for variable, name in VARIABLES.items() if name in VALUES}
    given = settings_in({**texts, "SESSION_TOKENS_SWEEP_INTERVAL": "5s", "SESSION_TOKENS_MAX_SESSIONS": ""})

    assert set(VARIABLES.values()) == set(SETTING_NAMES) - {"events"}
    assert {name: getattr(given, name) for name in VALUES if name not in ("events", "max_sessions")} == {
        name: values[0] for name, values in VALUES.items() if name not in ("events", "max_sessions")
    }
    assert (given.sweep_interval, given.max_sessions) == (5, UNSET)
    with pytest.raises(InvalidInput, match="SESSION_TOKENS_MAX_AGE"):
        settings_in({"SESSION_TOKENS_MAX_AGE": "soon"})


def test_the_defaults_leave_out_what_follows_something_else() -> None:
    assert {"detached_timeout", "events"} == {name for name in SETTING_NAMES if getattr(DEFAULTS, name) is UNSET}
