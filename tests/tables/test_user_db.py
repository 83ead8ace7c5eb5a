"""The application's own DB: what is written there, and that its failures change nothing."""

import asyncio
import inspect
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from session_tokens import (
    FROM_DB,
    AdapterError,
    AsyncTokenTables,
    CorruptRecord,
    InvalidInput,
    TokenTables,
)
from session_tokens.testing import ManualClock
from tests.helpers.user_dbs import AsyncDB, BrokenDB, MixedDB, PlainDB


def snapshot(db: PlainDB) -> tuple[dict[str, str], dict[str, str]]:
    return dict(db.sessions), dict(db.values)


def test_a_tokens_own_key_holds_its_value_verbatim() -> None:
    db = PlainDB()
    with TokenTables(db, sweep=False) as tables:
        tables.add_session("s1", "alice")
        tables.add_transferable_token("seat", '{"row": 3}', "alice")

        assert db.values["seat"] == '{"row": 3}'
        assert json.loads(db.values["\x1fst:t:seat"])["owner"] == "alice"
        assert json.loads(db.values["\x1fst:s:s1"])["owner"] == "alice"
        assert db.sessions == {"s1": "alice"}


def test_the_end_of_a_session_leaves_no_key_of_it_behind() -> None:
    db = PlainDB()
    with TokenTables(db, sweep=False) as tables:
        tables.add_session("s1", "alice", "t1")
        tables.add_session_bounded_token("b", "1", "alice")
        tables.destroy_session("s1")

    assert snapshot(db) == ({}, {})


def test_a_session_that_ends_while_the_db_writes_is_not_brought_back() -> None:
    """The DB takes so long over a longer timeout that the session is over: the change is taken back from it."""
    clock = ManualClock()

    class SlowDB(PlainDB):
        late = False

        def set_key_value(self, t_token: str, value: str) -> Any:
            if self.late:
                clock.advance(100)
            return super().set_key_value(t_token, value)

    db = SlowDB()
    with TokenTables(db, clock=clock, sweep=False) as tables:
        tables.add_session("s1", "alice")
        tables.set_session_timeout("s1", 60_000)
        before, db.late = snapshot(db), True
        tables.set_session_timeout("s1", 600_000)
        db.late = False

        assert not tables.active_session("s1", "alice")
        assert snapshot(db) == before


def test_two_dbs_keep_their_kinds() -> None:
    sessions, tokens = PlainDB(), AsyncDB()
    with TokenTables(sessions, token_db=tokens, sweep=False) as tables:
        tables.add_session("s1", "alice", "t1")

    assert sessions.values == {} and set(sessions.sessions) == {"s1"}
    assert tokens.sessions == {} and "t1" in tokens.values


@pytest.mark.parametrize("method", ["set_session_key_value", "set_key_value"])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_db_that_fails_while_a_session_is_added_leaves_everything_as_it_was(method: str, after: int) -> None:
    db = BrokenDB()

    def fail() -> Any:
        raise OSError("disk full")

    with TokenTables(db, sweep=False) as tables:
        tables.add_session("s0", "zoe", "t0")
        before = snapshot(db)
        db.break_next(method, fail, after=after)
        failed = False
        try:
            tables.add_session("s1", "alice", "t1")
        except AdapterError as error:
            failed = True
            assert "disk full" not in str(error)
            assert error.details["method"] == method

        if failed:
            assert snapshot(db) == before
            assert tables.active_session("s1", "alice") is None
        else:
            assert method == "set_session_key_value" and after > 0
        db.broken = None
        assert tables.active_session("s0", "zoe") is True


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("set_session_key_value", None),
        ("set_session_key_value", 5),
        ("set_session_key_value", ""),
        ("set_session_key_value", b"bytes"),
    ],
)
def test_nonsense_for_a_hash_is_an_adapter_error(method: str, answer: object) -> None:
    db = BrokenDB()
    with TokenTables(db, sweep=False) as tables:
        db.break_next(method, lambda: answer)

        with pytest.raises(AdapterError, match=method):
            tables.add_session("s1", "alice")
        assert snapshot(db) == ({}, {})


@pytest.mark.parametrize("answer", [True, 5, b"bytes", ["x"], {}])
def test_nonsense_for_a_value_is_an_adapter_error(answer: object) -> None:
    db = BrokenDB()
    with TokenTables(db, sweep=False) as tables:
        tables.add_token("t", "1")
        db.break_next("get_key_value", lambda: answer)

        with pytest.raises(AdapterError, match="get_key_value"):
            tables.transition_token_is_active("t")
        assert tables.transition_token_is_active("t") == "1"


@pytest.mark.parametrize("answer", [None, "yes", 1])
def test_nonsense_from_check_hash_is_an_adapter_error(answer: object) -> None:
    db = BrokenDB()
    with TokenTables(db, sweep=False) as tables:
        link = tables.add_session("s1", "alice", None, True)
        assert link is not None
        db.break_next("check_hash", lambda: answer)

        with pytest.raises(AdapterError, match="check_hash"):
            tables.reload_session_info("s1", "alice", link)


def test_a_record_that_is_none_of_ours_is_corrupt_and_not_active() -> None:
    db = PlainDB()
    db.values["\x1fst:s:s1"] = "{}"

    with TokenTables(db, sweep=False) as tables, pytest.raises(CorruptRecord):
        tables.active_session("s1", "alice")


def test_a_sync_method_that_hangs_is_given_up_and_others_go_on() -> None:
    db, release = BrokenDB(), threading.Event()

    with TokenTables(db, db_timeout=0.2, sweep=False) as tables:
        db.break_next("set_key_value", lambda: release.wait(20))
        with pytest.raises(AdapterError, match="db_timeout"):
            tables.add_token("t", "1")
        assert tables.add_token("u", "1") is True
        assert tables.transition_token_is_active("t") is None
        release.set()


def test_an_async_method_that_hangs_is_given_up() -> None:
    class Hanging(AsyncDB):
        async def set_key_value(self, t_token: str, value: str) -> Any:
            await asyncio.sleep(20)

    with TokenTables(Hanging(), db_timeout=0.2, sweep=False) as tables, pytest.raises(AdapterError, match="db_timeout"):
        tables.add_token("t", "1")


def test_without_a_timeout_sync_methods_run_on_the_callers_thread() -> None:
    seen: list[int] = []

    class Seeing(PlainDB):
        def set_key_value(self, t_token: str, value: str) -> Any:
            seen.append(threading.get_ident())
            return super().set_key_value(t_token, value)

    with TokenTables(Seeing(), db_timeout=None, sweep=False) as tables:
        tables.add_token("t", "1")

    assert set(seen) == {threading.get_ident()}


class Asking(PlainDB):
    """Asks the tables for what they have it write."""

    tables: TokenTables | None = None

    def set_key_value(self, t_token: str, value: str) -> Any:
        if self.tables is not None:
            self.tables.transition_token_is_active(t_token)
        return super().set_key_value(t_token, value)


class AskingFromTheirLoop(Asking):
    """The same with an async method."""

    async def set_key_value(self, t_token: str, value: str) -> Any:
        return super().set_key_value(t_token, value)


@pytest.mark.parametrize("make", [Asking, AskingFromTheirLoop])
@pytest.mark.parametrize("db_timeout", [None, 60.0])
def test_a_method_that_asks_the_tables_for_what_they_have_it_write_is_told_and_waits_for_nothing(
    make: Callable[[], Asking], db_timeout: float | None
) -> None:
    db = make()
    with TokenTables(db, db_timeout=db_timeout, sweep=False) as tables:
        db.tables = tables
        with pytest.raises(AdapterError, match="asked the tables"):
            tables.add_token("t", "1")
        db.tables = None
        assert tables.transition_token_is_active("t") is None
        assert tables.add_token("t", "1") is True


async def test_the_same_for_asyncio_where_another_task_may_ask() -> None:
    class Asking(AsyncDB):
        tables: AsyncTokenTables | None = None
        other: asyncio.Task[str | None] | None = None

        async def set_key_value(self, t_token: str, value: str) -> Any:
            if self.tables is not None:
                self.other = asyncio.create_task(self.tables.transition_token_is_active("u"))
                await self.tables.transition_token_is_active(t_token)
            return await super().set_key_value(t_token, value)

    db = Asking()
    async with AsyncTokenTables(db, db_timeout=None, sweep=False) as tables:
        await tables.add_token("u", "2")
        db.tables = tables
        with pytest.raises(AdapterError, match="asked the tables"):
            await tables.add_token("t", "1")
        assert db.other is not None and await db.other == "2"
        db.tables = None
        assert await tables.add_token("t", "1") is True


def test_a_hanging_call_for_one_owner_does_not_stop_another() -> None:
    entered, release = threading.Event(), threading.Event()

    class Slow(PlainDB):
        def set_session_key_value(self, session_token: str, ownership_key: str) -> Any:
            if session_token == "slow":
                entered.set()
                release.wait(20)
            return super().set_session_key_value(session_token, ownership_key)

    with TokenTables(Slow(), sweep=False) as tables:
        other = threading.Thread(target=tables.add_session, args=("slow", "alice"))
        other.start()
        assert entered.wait(5)
        tables.add_session("quick", "bob")
        active = tables.active_session("quick", "bob")
        release.set()
        other.join()

        assert active is True
        assert tables.active_session("slow", "alice") is True


def test_a_db_without_a_method_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="set_session_key_value"):
        TokenTables(object())
    with pytest.raises(InvalidInput, match="token_db"):
        TokenTables(token_db=PlainDB())


def test_from_db_reads_the_applications_setting(clock: ManualClock) -> None:
    db = PlainDB()
    db.values["session_tokens:general_session_timeout"] = "5000"
    with TokenTables(db, clock=clock, sweep=False) as tables:
        tables.set_general_session_timeout(FROM_DB)
        tables.add_session("s1", "alice")
        assert tables.get_session_timeout("s1") == 5_000
        db.values["session_tokens:general_session_timeout"] = "nonsense"
        tables.set_general_session_timeout(FROM_DB)
        tables.add_session("s2", "bob")
        assert tables.get_session_timeout("s2") == 5_000
        db.values["session_tokens:general_session_timeout"] = "never"
        tables.set_general_session_timeout(FROM_DB)
        tables.add_session("s3", "carol")
        assert tables.get_session_timeout("s3") == float("inf")


def test_the_shared_timeout_is_written_where_the_application_may_read_it(clock: ManualClock) -> None:
    db = PlainDB()
    with TokenTables(db, clock=clock, sweep=False) as tables:
        tables.share_general_session_timeout(9_000)
        assert db.values["session_tokens:general_session_timeout"] == "9000"
        tables.share_general_session_timeout(None)
        assert db.values["session_tokens:general_session_timeout"] == "never"


@pytest.mark.parametrize("make", [PlainDB, AsyncDB, MixedDB])
async def test_async_tables_over_every_kind_of_db(make: Callable[[], PlainDB], clock: ManualClock) -> None:
    db = make()
    async with AsyncTokenTables(db, clock=clock, sweep=False) as tables:
        link = await tables.add_session("s1", "alice", "t1", True)
        assert await tables.transition_token_is_active("t1") == link
        assert await tables.add_transferable_token("seat", "12", "alice") is True
        assert await tables.transfer_token("seat", "alice", "bob") is True
        assert await tables.destroy_session("s1") is True
        assert await tables.from_token("seat") == "bob"
        assert await tables.active_session("s1", "alice") is None


async def test_thirty_two_tasks_transfer_one_token_and_one_wins() -> None:
    async with AsyncTokenTables(AsyncDB(), sweep=False) as tables:
        await tables.add_session("s1", "alice")
        await tables.add_transferable_token("seat", "12", "alice")

        answers = await asyncio.gather(*(tables.transfer_token("seat", "alice", f"owner-{n}") for n in range(32)))

        assert answers.count(True) == 1
        assert await tables.from_token("seat") == f"owner-{answers.index(True)}"


async def test_a_cancelled_command_is_taken_back() -> None:
    entered = asyncio.Event()

    class Slow(AsyncDB):
        async def set_key_value(self, t_token: str, value: str) -> Any:
            self.values[t_token] = value
            entered.set()
            await asyncio.sleep(20)

    db = Slow()
    async with AsyncTokenTables(db, db_timeout=None, sweep=False) as tables:
        task = asyncio.create_task(tables.add_token("t", "1"))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert db.values == {}
        assert await tables.transition_token_is_active("t") is None


@pytest.mark.parametrize("steps", range(0, 24, 3))
async def test_a_command_that_is_cancelled_again_and_again_is_done_or_taken_back_whole(steps: int) -> None:
    """As anyio cancels: at each step, also while what was done is taken back."""

    class Slow(AsyncDB):
        async def set_key_value(self, t_token: str, value: str) -> Any:
            await super().set_key_value(t_token, value)
            await asyncio.sleep(0)

        async def del_key_value(self, t_token: str) -> Any:
            await asyncio.sleep(0)
            await super().del_key_value(t_token)

    db = Slow()
    async with AsyncTokenTables(db, sweep=False) as tables:
        await tables.add_session("s1", "alice", "t1")
        before = snapshot(db)
        task = asyncio.create_task(tables.add_session("s2", "bob", "t2"))
        for _ in range(steps):
            await asyncio.sleep(0)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)

        assert task.cancelled() or await tables.active_session("s2", "bob") is True
        if await tables.active_session("s2", "bob") is None:
            assert snapshot(db) == before
        else:
            assert await tables.from_token("t2") == "bob"
        assert await tables.add_session("s2", "bob", "t2", True) is not None


async def test_a_cancelled_opening_of_which_the_db_has_made_the_hash_is_taken_back() -> None:
    entered = asyncio.Event()

    class Slow(AsyncDB):
        async def set_session_key_value(self, session_token: str, ownership_key: str) -> Any:
            made = await super().set_session_key_value(session_token, ownership_key)
            entered.set()
            await asyncio.sleep(20)
            return made

    db = Slow()
    async with AsyncTokenTables(db, db_timeout=None, sweep=False) as tables:
        task = asyncio.create_task(tables.add_session("s1", "alice"))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert snapshot(db) == ({}, {})


@pytest.mark.parametrize("times", [1, 3])
async def test_a_thread_that_still_writes_for_who_was_cancelled_is_waited_for(times: int) -> None:
    """Else what it writes lands behind what takes it back, and a session lives that nobody was told of."""
    entered, release = threading.Event(), threading.Event()

    class Slow(PlainDB):
        def set_key_value(self, t_token: str, value: str) -> Any:
            entered.set()
            assert release.wait(60)
            super().set_key_value(t_token, value)

    db = Slow()
    async with AsyncTokenTables(db, db_timeout=60, sweep=False) as tables:
        task = asyncio.create_task(tables.add_session("s1", "alice"))
        await asyncio.to_thread(entered.wait)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert snapshot(db) == ({}, {})
        assert await tables.active_session("s1", "alice") is None


async def test_a_thread_that_was_given_up_ends_quietly(caplog: pytest.LogCaptureFixture) -> None:
    entered, release, threads = threading.Event(), threading.Event(), []

    class Hanging(PlainDB):
        def set_key_value(self, t_token: str, value: str) -> Any:
            threads.append(threading.current_thread())
            entered.set()
            assert release.wait(60)

    failures: list[object] = []
    hook, threading.excepthook = threading.excepthook, failures.append
    try:
        async with AsyncTokenTables(Hanging(), db_timeout=0.2, sweep=False) as tables:
            with pytest.raises(AdapterError, match="db_timeout"):
                await tables.add_token("t", "1")
            release.set()
            for thread in threads:
                await asyncio.to_thread(thread.join)
    finally:
        threading.excepthook = hook

    assert (failures, caplog.messages) == ([], [])


def test_the_two_tables_have_the_same_names_and_arguments() -> None:
    for name, method in inspect.getmembers(TokenTables, callable):
        if name.startswith("_"):
            continue
        twin = getattr(AsyncTokenTables, name)
        assert inspect.signature(method).parameters.keys() == inspect.signature(twin).parameters.keys(), name
        assert inspect.iscoroutinefunction(twin), name


def test_idle_tables_ask_the_db_nothing() -> None:
    db = PlainDB()
    with TokenTables(db) as tables:
        tables.add_session("s1", "alice", "t1")
        calls = len(db.calls)
        time.sleep(1.2)  # the background sweeper has run

        assert len(db.calls) == calls


async def test_async_tables_made_before_a_loop_ran_sweep_all_the_same(clock: ManualClock) -> None:
    tables = await asyncio.to_thread(AsyncTokenTables, clock=clock)
    await tables.add_session("s1", "alice")
    clock.advance(3600)
    for _ in range(60):
        if not tables.store.sessions:  # type: ignore[attr-defined]  # it is a memory store
            break
        await asyncio.sleep(0.1)

    assert tables.store.sessions == {}  # type: ignore[attr-defined]
    await tables.close()
