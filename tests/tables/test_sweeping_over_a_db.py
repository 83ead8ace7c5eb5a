"""The sweeper over an application's DB: what it says while that is away."""

from __future__ import annotations

from typing import Any

import pytest

from session_tokens import TokenTables
from session_tokens.sweeper import ThreadSweeper
from session_tokens.testing import ManualClock
from tests.helpers.user_dbs import PlainDB
from tests.helpers.waiting import wait_until


class DBAway(PlainDB):
    """Fails while it is away."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away, self.failed = False, 0

    def get_key_value(self, t_token: str) -> Any:
        if self.is_away:
            self.failed += 1
            raise ConnectionError("no route")
        return super().get_key_value(t_token)


def test_a_db_that_is_away_is_told_once_and_that_it_is_there_again(caplog: pytest.LogCaptureFixture) -> None:
    """A sweep is tried each second, all night, and asks the DB about what it meets."""
    db, clock = DBAway(), ManualClock()
    with TokenTables(db, clock=clock, sweep=False) as tables:
        tables.add_session("a session", "ann")
        clock.advance(3600)
        db.is_away = True
        sweeper = ThreadSweeper(tables, TokenTables._sweep, 0.001)
        wait_until(lambda: db.failed > 20)
        db.is_away = False
        wait_until(lambda: not db.sessions)
        sweeper.stop()

    told = [record.getMessage() for record in caplog.records if record.name == "session_tokens.sweeper"]
    assert [False, True] == [message.startswith("sweeps go on") for message in told], told
    assert "get_key_value (ConnectionError)" in told[0]
