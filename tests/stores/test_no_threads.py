"""A thread that cannot be started is told at once, and is started when it can be: nobody waits for one that is not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, StoreUnavailable, TokenTables
from session_tokens.contract.brief import THREADS_MAX, done_within
from session_tokens.errors import AdapterError
from session_tokens.stores.valkey.blocking_behind import BlockingBehind
from tests.helpers.near_caches import BOUND_S, answers_near
from tests.helpers.no_threads import no_thread_starts
from tests.helpers.servers.valkey import client_of
from tests.helpers.user_dbs import AsyncDB
from tests.helpers.waiting import wait_until

PEPPER = bytes(range(32))
WITHIN_S = 30


def ends(act: Callable[[], object]) -> bool:
    """Whether ``act`` comes to an end."""
    acting = threading.Thread(target=act, daemon=True)
    acting.start()
    acting.join(WITHIN_S)
    return not acting.is_alive()


def test_a_file_takes_commands_once_its_writer_can_be_started(tmp_path: Path) -> None:
    SessionTokens.open(f"sqlite:///{tmp_path}/s.db", sweep=False).close()  # which made it, and had to write
    tokens = SessionTokens.open(f"sqlite:///{tmp_path}/s.db", sweep=False)
    with no_thread_starts(), pytest.raises(StoreUnavailable, match="thread"):
        tokens.open_session("ann")

    assert ends(lambda: tokens.open_session("bob"))
    assert ["bob"] == [session.owner for session in tokens.list_sessions().items]
    tokens.close()


def test_a_store_whose_sweeper_cannot_be_started_is_not_left_open(valkey_url: str) -> None:
    with no_thread_starts(), pytest.raises(StoreUnavailable, match="thread"):
        SessionTokens.open(f"{valkey_url}&client_name=left", pepper=PEPPER)

    with closing(client_of(valkey_url)) as client:
        asking: Any = client
        wait_until(lambda: all(each["name"] != "left" for each in asking.client_list()))


async def test_tasks_wait_for_no_writer_that_was_not_started(tmp_path: Path) -> None:
    async with await AsyncSessionTokens.open(f"sqlite:///{tmp_path}/s.db", sweep=False) as tokens:
        pass
    async with await AsyncSessionTokens.open(f"sqlite:///{tmp_path}/s.db", sweep=False) as tokens:
        with no_thread_starts(), pytest.raises(StoreUnavailable, match="thread"):
            await tokens.open_session("ann")

        assert (await asyncio.wait_for(tokens.open_session("bob"), WITHIN_S)).session.owner == "bob"


def test_a_use_that_no_thread_can_write_down_fails_no_verification(valkey_url: str) -> None:
    with SessionTokens.open(valkey_url, pepper=PEPPER, sweep=False) as tokens:
        secret = tokens.open_session("ann", idle_timeout=8).secret
        with no_thread_starts():
            wait_until(lambda: tokens.verify_session(secret) is None or tokens.touches.failed)
        assert 1 == tokens.touches.failed
        assert tokens.verify_session(secret) is not None


def test_calls_that_were_not_begun_take_no_places() -> None:
    for _ in range(THREADS_MAX):
        with no_thread_starts(), pytest.raises(StoreUnavailable, match="thread"):
            done_within(WITHIN_S, list)

    assert [] == done_within(WITHIN_S, list)


def test_a_db_of_the_application_is_asked_once_a_thread_can_be_started() -> None:
    tables = TokenTables(AsyncDB(), db_timeout=WITHIN_S)
    with no_thread_starts(), pytest.raises(AdapterError):
        tables.add_session("s", "ann", "t", True)
    assert tables.add_session("s", "ann", "t", True)
    tables.close()

    tables = TokenTables(AsyncDB(), db_timeout=WITHIN_S)
    with no_thread_starts(), pytest.raises(AdapterError):
        tables.add_session("s", "ann", "t", True)
    tables.close()


def test_a_near_cache_follows_once_a_thread_can_be_started(valkey_url: str) -> None:
    with no_thread_starts():
        tokens = SessionTokens.open(valkey_url, pepper=PEPPER, sweep=False, near_cache=BOUND_S)
        issued = tokens.open_session("ann")
        assert tokens.verify_session(issued.secret) is not None
        tokens.close()  # there is nothing to wait for
    with no_thread_starts():
        tokens = SessionTokens.open(valkey_url, pepper=PEPPER, sweep=False, near_cache=BOUND_S)
    wait_until(lambda: answers_near(tokens, issued.secret))
    tokens.close()


def test_what_is_left_behind_is_done_though_other_work_failed(caplog: pytest.LogCaptureFixture) -> None:
    behind, done = BlockingBehind(), list[str]()

    def fails(finished: Callable[[], None]) -> None:
        raise ValueError("it is wrong")

    behind.do(fails)
    behind.settle(WITHIN_S)
    behind.do(lambda finished: done.append("next"))
    behind.settle(WITHIN_S)
    assert (["next"], False) == (done, behind.is_busy)
    assert "it is wrong" in caplog.text
    behind.close()


def test_what_no_thread_can_finish_behind_is_left_to_others() -> None:
    behind, done = BlockingBehind(), list[str]()
    with no_thread_starts():
        behind.do(lambda finished: done.append("left"))
    behind.settle(WITHIN_S)
    assert not behind.is_busy
    behind.do(lambda finished: done.append("next"))
    behind.settle(WITHIN_S)
    assert ["next"] == done
    behind.close()


async def test_a_list_for_which_no_thread_starts_is_an_error_of_the_store(tmp_path: Path) -> None:
    async with await AsyncSessionTokens.open(f"sqlite:///{tmp_path}/s.db", sweep=False) as tokens:
        await tokens.open_session("ann")
        with no_thread_starts(), pytest.raises(StoreUnavailable, match="thread"):
            await tokens.list_sessions()

        assert ["ann"] == [session.owner for session in (await tokens.list_sessions()).items]
