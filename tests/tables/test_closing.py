"""Tables that are closed: by who is cancelled, while somebody waits for the DB, and asked afterwards."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from session_tokens import AsyncSessionTokens, AsyncTokenTables, StoreUnavailable, TokenTables
from tests.helpers.user_dbs import AsyncDB
from tests.helpers.waiting import wait_until


def _loops_of_dbs() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "session-tokens db loop"]


def test_tables_that_are_closed_leave_no_loop_behind_whoever_asks_them_then() -> None:
    before = _loops_of_dbs()
    tables = TokenTables(AsyncDB(), sweep=False)
    tables.add_session("s", "ann")
    tables.close()
    with pytest.raises(StoreUnavailable):
        tables.active_session("s", "ann")

    wait_until(lambda: _loops_of_dbs() == before)


def test_who_waits_for_a_db_while_the_tables_are_closed_is_answered() -> None:
    entered, going_on = threading.Event(), threading.Event()

    class Slow(AsyncDB):
        async def set_key_value(self, t_token: str, value: str) -> Any:
            entered.set()
            try:
                await asyncio.to_thread(going_on.wait, 60)
            finally:
                await asyncio.sleep(0.001)  # as a driver does that gives its connection back
            return await super().set_key_value(t_token, value)

    before = _loops_of_dbs()
    tables = TokenTables(Slow(), db_timeout=None, sweep=False)
    adding = threading.Thread(target=tables.add_token, args=("t", "1"), daemon=True)
    adding.start()
    entered.wait(60)
    tables.close()
    going_on.set()
    adding.join(30)

    assert not adding.is_alive()
    wait_until(lambda: _loops_of_dbs() == before)


@pytest.mark.parametrize("kind", [AsyncSessionTokens, AsyncTokenTables])
async def test_a_close_that_is_cancelled_says_so_and_is_made_good_by_the_next(kind: Any, tmp_path: Path) -> None:
    """As by ``asyncio.timeout`` around a shutdown."""
    opened = await kind.open(f"sqlite:///{tmp_path}/s.db")
    closing = asyncio.create_task(opened.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    assert closing.cancelled()
    assert not opened.store.is_closed

    await opened.close()
    assert opened.store.is_closed


async def test_tables_that_are_closed_begin_to_sweep_no_more() -> None:
    """Those that were made before there was a loop begin with the first command."""
    tables = await asyncio.to_thread(AsyncTokenTables)
    await tables.close()
    with pytest.raises(StoreUnavailable):
        await tables.add_token("t", "1")

    assert {asyncio.current_task()} == asyncio.all_tasks()
