"""Two processes over an application's own DB that add the same string: who is refused takes back nothing of the other.

Each has tables of its own, and a DB that refuses what is there already, as one does that inserts. What one wrote
between the other's look and its own write stands there when that one is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from session_tokens import AdapterError, AsyncTokenTables, TokenTables
from session_tokens._async.mirror import SESSION_PREFIX
from session_tokens.testing import ManualClock
from tests.helpers.user_dbs import PlainDB


class Refused(Exception):
    """Something is there already."""


class InsertingDB(PlainDB):
    """One process's handle on what all share, which refuses to write over what another one wrote.

    Attributes:
        before: is done once, before the next write.
    """

    def __init__(self, shared: PlainDB) -> None:
        super().__init__()
        self.sessions, self.values = shared.sessions, shared.values
        self.before: Callable[[], object] | None = None
        self._own: set[str] = set()

    def _insist(self, key: str, there: dict[str, str]) -> None:
        before, self.before = self.before, None
        if before is not None:
            before()
        if key in there and key not in self._own:
            raise Refused(key)
        self._own.add(key)

    def set_session_key_value(self, session_token: str, ownership_key: str) -> Any:
        self._insist(session_token, self.sessions)
        return super().set_session_key_value(session_token, ownership_key)

    def set_key_value(self, t_token: str, value: str) -> Any:
        self._insist(t_token, self.values)
        return super().set_key_value(t_token, value)


class InterruptedDB(PlainDB):
    """One process's handle on what all share, which breaks where it is to write one key; it writes over what is there.

    Attributes:
        key: the one key.
        before: is done once, before it breaks.
    """

    def __init__(self, shared: PlainDB, key: str, before: Callable[[], object]) -> None:
        super().__init__()
        self.sessions, self.values = shared.sessions, shared.values
        self.key = key
        self.before = before

    def set_key_value(self, t_token: str, value: str) -> Any:
        if t_token == self.key:
            self.before()
            raise ConnectionError
        return super().set_key_value(t_token, value)


class Two:
    """The tables of two processes; what the first one does comes between the second one's look and its write."""

    def __init__(self) -> None:
        self.shared = PlainDB()
        self.db = InsertingDB(self.shared)
        self.first = TokenTables(InsertingDB(self.shared), sweep=False, clock=ManualClock())
        self.later = ManualClock()
        self.later.advance(1)

    def there(self) -> tuple[dict[str, str], dict[str, str]]:
        return dict(self.shared.sessions), dict(self.shared.values)


@pytest.fixture
def two() -> Two:
    return Two()


@pytest.mark.parametrize("value", ["of the first", "of the second"])
def test_a_token_that_another_process_added_meanwhile_stays(two: Two, value: str) -> None:
    """Also where both have the same value."""
    with two.first as first, TokenTables(two.db, sweep=False, clock=two.later) as second:
        two.db.before = lambda: first.add_token("x", value)
        with pytest.raises(AdapterError):
            second.add_token("x", "of the second")

        assert first.transition_token_is_active("x") == value
        assert second.transition_token_is_active("x") == value


@pytest.mark.parametrize("value", ["of the first", "of the second"])
def test_a_token_that_was_written_over_before_the_db_broke_stays(value: str) -> None:
    """The record tells whose it is; the value may be the same."""
    shared, later = PlainDB(), ManualClock()
    later.advance(1)
    with TokenTables(shared, sweep=False, clock=ManualClock()) as first:
        db = InterruptedDB(shared, "x", lambda: first.add_token("x", value))
        with TokenTables(db, sweep=False, clock=later) as second:
            with pytest.raises(AdapterError):
                second.add_token("x", "of the second")

            assert first.transition_token_is_active("x") == value
            assert second.transition_token_is_active("x") == value


def test_a_session_that_another_process_opened_meanwhile_stays(two: Two) -> None:
    with two.first as first, TokenTables(two.db, sweep=False, clock=two.later) as second:
        two.db.before = lambda: first.add_session("s", "ann", "t")
        with pytest.raises(AdapterError):
            second.add_session("s", "bob", "u")
        there = two.there()

        assert there[0] == {"s": "ann"}
        assert (first.active_session("s", "ann"), second.active_session("s", "ann")) == (True, True)
        assert second.active_session("s", "bob") is False
        assert second.transition_token_is_active("u") is None


def test_a_session_that_another_process_opened_while_it_was_ended_here_keeps_its_owner() -> None:
    """A log-in ends the owner's last session, and breaks when the DB knows of that; another has the string then."""
    shared, later = PlainDB(), ManualClock()
    later.advance(1)
    with TokenTables(shared, sweep=False, clock=later) as first:
        db = InterruptedDB(shared, "nothing yet", lambda: first.add_session("s", "ann"))
        with TokenTables(db, sweep=False, clock=ManualClock()) as second:
            second.add_session("s", "bob")
            db.key = f"{SESSION_PREFIX}anew"
            with pytest.raises(AdapterError):
                second.add_session("anew", "bob")

            assert shared.sessions == {"s": "ann"}
            assert first.active_session("s", "ann") is True


def test_a_session_whose_first_token_another_process_added_meanwhile_is_taken_back_alone(two: Two) -> None:
    with two.first as first, TokenTables(two.db, sweep=False, clock=two.later) as second:
        second.add_session("s", "bob")
        second.destroy_session("s")
        two.db.before = lambda: first.add_token("t", "of the first")
        with pytest.raises(AdapterError):
            second.add_session("s", "bob", "t")

        assert two.there()[0] == {}
        assert second.active_session("s", "bob") is None
        assert first.transition_token_is_active("t") == "of the first"


async def test_a_task_that_is_refused_takes_back_nothing_of_another_process(two: Two) -> None:
    async with AsyncTokenTables(two.db, sweep=False, clock=two.later) as second:
        two.db.before = lambda: two.first.add_session("s", "ann", "t")
        with pytest.raises(AdapterError):
            await second.add_session("s", "bob", "t")

        assert two.there()[0] == {"s": "ann"}
        assert await second.transition_token_is_active("t") == two.first.transition_token_is_active("t")
        assert await second.active_session("s", "ann") is True
    two.first.close()
