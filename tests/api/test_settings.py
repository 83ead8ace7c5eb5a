"""Settings are plain values: they can be copied and sent to another process, compiled or not."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta

import pytest

from session_tokens import FROM_DB, Settings


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(max_age=FROM_DB, events="durable"),
        Settings(idle_timeout=timedelta(minutes=5), max_sessions=3),
    ],
    ids=["defaults", "from the store", "given"],
)
def test_settings_are_copied_and_pickled_whole(settings: Settings) -> None:
    copies = [copy.copy(settings), copy.deepcopy(settings), pickle.loads(pickle.dumps(settings))]  # noqa: S301  # our own

    assert [settings] * 3 == copies
    assert all(one.max_age is settings.max_age or one.max_age == settings.max_age for one in copies)
    assert all(one.events is settings.events or one.events == settings.events for one in copies)
