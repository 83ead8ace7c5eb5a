"""A session's string that is used again: what hung on the former session stays over, and leaves the DB."""

import asyncio
import json
from typing import Any

import pytest

from session_tokens import AsyncTokenTables, TokenTables
from session_tokens.testing import ManualClock
from tests.helpers.user_dbs import AsyncDB, PlainDB


def left_by_a_process(clock: ManualClock) -> PlainDB:
    """A DB in which alice's session s1 ran out, with a token of each kind, and nobody cleaned up."""
    db = PlainDB()
    with TokenTables(db, sweep=False, clock=clock) as tables:
        tables.add_session("s1", "alice", "t1")
        tables.add_session_bounded_token("bound", "1", "alice")
        tables.add_transferable_token("seat", "2", "alice")
    clock.advance(3601)
    return db


@pytest.mark.parametrize("owner", ["bob", "alice"])
def test_tokens_of_a_former_session_of_that_string_are_not_the_new_ones(owner: str) -> None:
    clock = ManualClock()
    db = left_by_a_process(clock)
    with TokenTables(db, sweep=False, clock=clock) as tables:
        tables.add_session("s1", owner, "t2")
        values = {name: tables.transition_token_is_active(name) for name in ("t1", "bound", "seat")}
        owners = {name: tables.from_token(name) for name in ("t1", "bound", "seat", "t2")}
        transferable = tables.list_tranferable_tokens("s1")
        unassigned = tables.list_unassigned_tokens()

    assert values == {"t1": None, "bound": None, "seat": "2"}
    assert owners == {"t1": "", "bound": "", "seat": "", "t2": owner}
    assert (transferable, unassigned) == ([], ["seat"])


@pytest.mark.parametrize("owner", ["bob", "alice"])
def test_what_is_over_leaves_the_db_when_it_is_met(owner: str) -> None:
    clock = ManualClock()
    db = left_by_a_process(clock)
    with TokenTables(db, sweep=False, clock=clock) as tables:
        tables.add_session("s1", owner, "t2")
        for name in ("t1", "bound", "seat"):
            tables.transition_token_is_active(name)

        assert set(db.values) == {"\x1fst:s:s1", "\x1fst:t:t2", "t2", "\x1fst:t:seat", "seat"}
        clock.advance(3601)
        assert tables.transition_token_is_active("seat") is None


def test_the_new_session_is_in_the_db_under_its_own_key() -> None:
    clock = ManualClock()
    db = left_by_a_process(clock)
    with TokenTables(db, sweep=False, clock=clock) as tables:
        link = tables.add_session("s1", "bob", shared=True)

        assert db.sessions == {"s1": "bob"}
        assert link is not None and db.check_hash(link, "bob")


def test_an_unassigned_token_may_be_claimed_by_the_new_owner() -> None:
    clock = ManualClock()
    db = left_by_a_process(clock)
    with TokenTables(db, sweep=False, clock=clock) as tables:
        tables.add_session("s1", "bob")

        assert tables.acquire_token("seat", "s1", "bob") is True
    with TokenTables(db, sweep=False, clock=clock) as tables:
        assert tables.transition_token_is_active("seat") == "2"
        assert tables.from_token("seat") == "bob"


def test_tokens_written_before_they_named_their_session_are_told_by_their_owner() -> None:
    clock = ManualClock()
    db = left_by_a_process(clock)
    for key in [key for key in db.values if key.startswith("\x1fst:t:")]:
        kept = json.loads(db.values[key])
        assert kept.pop("session_created_at") > 0
        db.values[key] = json.dumps(kept)
    with TokenTables(db, sweep=False, clock=clock) as tables:
        tables.add_session("s1", "bob")

        assert tables.transition_token_is_active("bound") is None


def test_a_token_that_moved_to_a_new_session_is_that_sessions() -> None:
    """A replaced session's transferable tokens go on with the new one."""
    clock = ManualClock()
    db = PlainDB()
    with TokenTables(db, sweep=False, clock=clock) as tables:
        tables.add_session("s1", "alice")
        tables.add_transferable_token("seat", "2", "alice")
        tables.add_transferable_token("gift", "3", "alice")
        tables.transfer_token("gift", "alice", "bob")
        clock.advance(5)
        tables.add_session("s2", "alice")
        tables.add_session("b1", "bob")
    with TokenTables(db, sweep=False, clock=clock) as tables:
        assert [tables.transition_token_is_active(name) for name in ("seat", "gift")] == ["2", "3"]
        assert [tables.from_token(name) for name in ("seat", "gift")] == ["alice", "bob"]


def test_the_same_for_asyncio() -> None:
    clock = ManualClock()
    db = left_by_a_process(clock)

    async def run() -> tuple[str | None, str]:
        async with AsyncTokenTables(db, sweep=False, clock=clock) as tables:
            await tables.add_session("s1", "bob", "t2")
            return await tables.transition_token_is_active("bound"), await tables.from_token("seat")

    assert asyncio.run(run()) == (None, "")
    assert "bound" not in db.values


async def test_a_cleaning_that_is_cancelled_in_the_midst_leaves_no_half_of_a_token() -> None:
    clock, entered = ManualClock(), asyncio.Event()
    former = left_by_a_process(clock)

    class Slow(AsyncDB):
        async def del_key_value(self, t_token: str) -> Any:
            await super().del_key_value(t_token)
            if t_token == "bound" and not entered.is_set():
                entered.set()
                await asyncio.sleep(20)

    db = Slow()
    db.sessions, db.values = former.sessions, former.values
    async with AsyncTokenTables(db, db_timeout=None, sweep=False, clock=clock) as tables:
        await tables.add_session("s1", "bob")
        task = asyncio.create_task(tables.transition_token_is_active("bound"))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert {"bound", "\x1fst:t:bound"} <= set(db.values)
        assert await tables.transition_token_is_active("bound") is None
        assert not {"bound", "\x1fst:t:bound"} & set(db.values)
