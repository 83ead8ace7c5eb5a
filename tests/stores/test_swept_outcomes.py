"""Outcomes of commands are swept when their own time is over, whatever else is kept for longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from session_tokens import SessionTokens
from session_tokens.testing import ManualClock

DAY_S = 86_400


@pytest.mark.parametrize("url", ["memory://", "sqlite:///{}/s.db"])
def test_outcomes_of_a_day_do_not_stay_behind_one_of_a_month(url: str, tmp_path: Path) -> None:
    clock = ManualClock()
    with SessionTokens.open(url.format(tmp_path), clock=clock, sweep=False) as tokens:
        tokens.move_in("cookie", "ann", kept=31 * DAY_S)
        for number in range(3):
            tokens.issue_token(None, "1", idempotency_key=f"a key of a client {number}")
        clock.advance(DAY_S + 1)
        while tokens.sweep():
            pass
        assert 1 == len(tokens.store.dump_now("idempotency", "", 10)[0])

        clock.advance(30 * DAY_S)
        while tokens.sweep():
            pass
        assert [] == list(tokens.store.dump_now("idempotency", "", 10)[0])
