"""A group of commands on the SQLite store that fails as a whole: each caller gets an error of their own."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from session_tokens.contract.transaction import Transaction
from session_tokens.errors import StoreUnavailable
from tests.helpers.sqlite_files import add_session, opened
from tests.helpers.waiting import wait_until


def test_each_command_of_a_group_that_fails_as_a_whole_raises_an_error_of_its_own(tmp_path: Path) -> None:
    """One that several raise grows by the places where each of them did, for as long as it is kept."""
    path = tmp_path / "a.db"
    store = opened(path)
    store.run_now(add_session, "s1", "ann", store.clock)
    entered, going_on, count = threading.Event(), threading.Event(), 5

    def wait(tx: Transaction) -> None:
        entered.set()
        going_on.wait(60)

    with ThreadPoolExecutor(count + 1) as pool:
        asking: list[Future[Any]] = [pool.submit(store.run_now, wait)]
        entered.wait(60)
        asking += [pool.submit(store.run_now, add_session, f"t{n}", "ann", store.clock) for n in range(count)]
        wait_until(lambda: store._writer._waiting.qsize() == count)
        path.rename(tmp_path / "away.db")
        going_on.set()
        errors = [future.exception(60) for future in asking]

    assert all(isinstance(error, StoreUnavailable) for error in errors)
    assert len({id(error) for error in errors}) == count + 1
    store.close_now()
