"""A fork beside a read of an SQLite store that fails: it waits for that one to be over, and no longer."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from session_tokens.contract.forks import FORK_WAIT_S
from session_tokens.errors import StoreUnavailable
from session_tokens.stores.sqlite.queries import Records
from tests.helpers.at_once import in_a_child
from tests.helpers.sqlite_files import opened
from tests.helpers.waiting import wait_until


def test_a_read_that_fails_while_a_fork_waits_for_it_lets_the_fork_go_on(tmp_path: Path) -> None:
    store = opened(tmp_path / "a.db")
    reading, going_on = threading.Event(), threading.Event()

    def fail(_: Records) -> None:
        reading.set()
        going_on.wait(60)
        raise sqlite3.OperationalError("disk I/O error")

    def read() -> None:
        with pytest.raises(StoreUnavailable):
            store._read(fail)

    def fail_once_a_fork_waits() -> None:
        wait_until(lambda: store._readers._paused)
        going_on.set()

    threads = [threading.Thread(target=read), threading.Thread(target=fail_once_a_fork_waits)]
    for thread in threads:
        thread.start()
    assert reading.wait(FORK_WAIT_S)
    ended_with = in_a_child(lambda: store.read_now([]))

    for thread in threads:
        thread.join()
    assert ended_with == 0
    assert store.read_now([]).now > 0
    store.close_now()
