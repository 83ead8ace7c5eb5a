"""The clock of tests moves by seconds, by a ``timedelta``, and by nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from session_tokens import InvalidInput
from session_tokens.testing import ManualClock


@pytest.mark.parametrize("step", [90, 90.0, timedelta(minutes=1, seconds=30)])
def test_a_clock_advances_by_seconds_or_a_timedelta(step: float | timedelta) -> None:
    clock = ManualClock(start_ms=0)

    assert 90_000 == clock.advance(step) == clock.now()


def test_a_clock_advances_by_nothing_else() -> None:
    wrong: Any = "90s"
    with pytest.raises(TypeError, match="float"):  # a compiled clock says no more than that
        ManualClock().advance(wrong)
    with pytest.raises(InvalidInput):
        ManualClock().advance(timedelta(seconds=-1))
