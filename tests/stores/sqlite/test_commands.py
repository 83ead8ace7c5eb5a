"""Commands on the SQLite store: each whole or not at all, many a commit, answered after it and never crossed."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from session_tokens import AsyncSessionTokens, SessionTokens
from session_tokens.clock import ManualClock
from session_tokens.contract.drive import drive_now
from session_tokens.contract.queries import Get, Scan
from session_tokens.contract.transaction import Transaction
from session_tokens.errors import AlreadyExists, Conflict, StoreBusy, StoreUnavailable
from session_tokens.events import Event
from session_tokens.records import OwnerEntry, Session, TokenKind
from session_tokens.rules.listing import stretch
from session_tokens.rules.sessions import touch_session
from session_tokens.stores.sqlite import rows as sqlite_rows
from session_tokens.stores.sqlite import writer as sqlite_writer
from session_tokens.stores.sqlite.store import SqliteStore, open_sqlite
from tests.helpers.sqlite_files import PEPPER, add_session, add_token, behind, forget_session, opened, relabel


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = opened(tmp_path / "a.db")
    yield store
    store.close_now()


def session_of(store: SqliteStore, id: str) -> Any:
    return store.read_now([Get("session", id)]).found[0].value.session


def test_what_run_answered_is_there_for_every_reader(store: SqliteStore, tmp_path: Path) -> None:
    added = store.run_now(add_session, "s1", "ann", store.clock)
    other = opened(tmp_path / "a.db")

    assert session_of(store, "s1") == added == session_of(other, "s1")
    other.close_now()


def test_a_rule_that_raises_leaves_everything_as_it_was(store: SqliteStore) -> None:
    def fail(tx: Transaction) -> None:
        add_session(tx, "s1", "ann", store.clock)
        raise Conflict("no")

    with pytest.raises(Conflict):
        store.run_now(fail)
    assert session_of(store, "s1") is None


def test_a_change_set_of_which_one_part_fails_is_not_written_at_all(store: SqliteStore) -> None:
    store.run_now(add_session, "s1", "ann", store.clock)

    def two(tx: Transaction) -> None:
        add_session(tx, "s2", "bob", store.clock)
        add_session(tx, "s1", "eve", store.clock)

    with pytest.raises(AlreadyExists):
        store.run_now(two)
    assert session_of(store, "s2") is None
    assert session_of(store, "s1").owner == "ann"


def test_creating_what_has_the_same_secret_is_refused(store: SqliteStore) -> None:
    store.run_now(add_session, "s1", "ann", store.clock, "the same")

    with pytest.raises(AlreadyExists):
        store.run_now(add_session, "s2", "bob", store.clock, "the same")
    assert store.find_session_now(["the same"])[1] == session_of(store, "s1")


def test_an_update_or_delete_of_what_is_gone_brings_nothing_back(store: SqliteStore) -> None:
    late = store.run_now(add_session, "s1", "ann", store.clock)
    store.run_now(forget_session, "s1")

    with pytest.raises(AssertionError):
        store.run_now(lambda tx: tx.put_session(late, late.replace(version=2)))
    with pytest.raises(AssertionError):
        store.run_now(lambda tx: tx.put_session(late, None))
    assert session_of(store, "s1") is None


def test_an_update_of_what_moved_on_is_refused(store: SqliteStore) -> None:
    early = store.run_now(add_session, "s1", "ann", store.clock)
    store.run_now(relabel, "s1", "phone")

    with pytest.raises(AssertionError):
        store.run_now(lambda tx: tx.put_session(early, early.replace(version=2, owner="eve")))
    assert session_of(store, "s1").owner == "ann"


def test_one_command_of_a_group_fails_alone_and_the_others_are_committed(store: SqliteStore) -> None:
    """The writer is held by the first rule until the others wait, so that they share one commit."""
    started, go_on = threading.Event(), threading.Event()

    def hold(tx: Transaction) -> None:
        started.set()
        assert go_on.wait(30)

    outcomes: dict[str, object] = {}

    def run(name: str, id: str) -> None:
        try:
            outcomes[name] = store.run_now(add_session, id, name, store.clock).owner
        except AlreadyExists as error:
            outcomes[name] = error.code

    holder = threading.Thread(target=store.run_now, args=(hold,))
    holder.start()
    assert started.wait(30)
    threads = [threading.Thread(target=run, args=(name, id)) for name, id in [("a", "1"), ("b", "1"), ("c", "3")]]
    for thread in threads:
        thread.start()
    while store._writer._waiting.qsize() < 3:
        threading.Event().wait(0.001)
    go_on.set()
    for thread in [holder, *threads]:
        thread.join(30)

    assert sorted(map(str, outcomes.values())) in (["a", "already_exists", "c"], ["already_exists", "b", "c"])
    assert [session_of(store, id) is not None for id in "13"] == [True, True]


def test_one_command_of_a_group_comes_too_late_and_the_others_are_committed(tmp_path: Path) -> None:
    """What a command judged alive ends while the last one of its group runs: it alone is judged again."""
    clock = ManualClock()
    store = open_sqlite(tmp_path / "late.db", clock=clock)
    issued = SessionTokens(store).open_session("ann", idle_timeout=60)
    started, go_on = threading.Event(), threading.Event()
    runs: list[str] = []

    def hold(tx: Transaction) -> None:
        started.set()
        assert go_on.wait(30)

    def touch(tx: Transaction) -> Session | None:
        runs.append("touch")
        return touch_session(tx, issued.id, "another look-up key")

    def count(tx: Transaction) -> str:
        number = str(int(tx.setting("count") or 0) + 1)
        tx.put_setting("count", number)
        return number

    def wait_long(tx: Transaction) -> None:
        if runs == ["touch"]:
            clock.advance(64)

    with ThreadPoolExecutor(4) as threads:
        holder: Future[Any] = threads.submit(store.run_now, hold)
        assert started.wait(30)
        late: list[Future[Any]] = []
        for number, rule in enumerate((touch, count, wait_long), 1):
            late.append(threads.submit(store.run_now, rule))
            while store._writer._waiting.qsize() < number:
                threading.Event().wait(0.001)
        go_on.set()
        outcomes = [command.result(30) for command in [holder, *late]]

    assert outcomes == [None, None, "1", None]
    assert runs == ["touch", "touch"]
    assert session_of(store, issued.id) == issued.record
    store.close_now()


async def test_many_tasks_share_few_commits_and_each_gets_its_own_answer(store: SqliteStore) -> None:
    groups: list[int] = []
    commit = store._writer._run_with_reserve

    def counted(group: list[Any]) -> int:
        groups.append(len(group))
        return commit(group)

    store._writer._run_with_reserve = counted  # type: ignore[method-assign]  # counts, and does what it did
    owners = [f"owner {number}" for number in range(200)]
    sessions = await asyncio.gather(*[store.run(add_session, f"s {owner}", owner, store.clock) for owner in owners])

    assert owners == [session.owner for session in sessions]
    assert sum(groups) == 200
    assert len(groups) < 100
    assert max(groups) <= sqlite_writer.GROUP_MAX


def test_threads_get_their_own_answers(store: SqliteStore) -> None:
    answers: dict[str, list[str]] = {}

    def work(owner: str) -> None:
        answers[owner] = [
            store.run_now(add_session, f"{owner}{number}", owner, store.clock).owner for number in range(10)
        ]

    threads = [threading.Thread(target=work, args=(f"owner {number}",)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert {f"owner {number}": [f"owner {number}"] * 10 for number in range(20)} == answers


async def test_a_cancelled_task_neither_disturbs_others_nor_gets_their_answers(store: SqliteStore) -> None:
    tasks = [
        asyncio.create_task(store.run(add_session, f"s{number}", f"owner {number}", store.clock))
        for number in range(30)
    ]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    await store.run(add_session, "last", "ann", store.clock)

    assert [f"owner {number}" for number in range(1, 30, 2)] == [answer.owner for answer in outcomes[1::2]]  # type: ignore[union-attr]
    assert {asyncio.CancelledError} == {type(answer) for answer in outcomes[::2]}


async def test_several_event_loops_may_use_one_store(store: SqliteStore) -> None:
    def in_a_loop_of_its_own(number: int) -> str:
        return asyncio.run(store.run(add_session, f"s{number}", f"owner {number}", store.clock)).owner

    answers = await asyncio.gather(*[asyncio.to_thread(in_a_loop_of_its_own, number) for number in range(8)])

    assert [f"owner {number}" for number in range(8)] == answers


def test_listeners_hear_of_commits_in_order_and_before_the_caller_goes_on(store: SqliteStore) -> None:
    heard: list[Event] = []
    store.listeners.add(heard.append)
    for number in range(20):
        store.run_now(add_session, f"s{number}", "ann", store.clock)
        assert heard[-1].subject_id == f"s{number}"

    def fail(tx: Transaction) -> None:
        add_session(tx, "never", "ann", store.clock)
        raise Conflict("no")

    with pytest.raises(Conflict):
        store.run_now(fail)
    assert [f"s{number}" for number in range(20)] == [event.subject_id for event in heard]


def test_a_listener_may_read_and_run_commands(store: SqliteStore) -> None:
    seen: list[str] = []

    def listen(event: Event) -> None:
        if event.subject_id == "s1":
            assert session_of(store, "s1") is not None
            seen.append(store.run_now(add_session, "s2", "ann", store.clock).id)

    store.listeners.add(listen)
    store.run_now(add_session, "s1", "ann", store.clock)

    assert seen == ["s2"]
    assert session_of(store, "s2") is not None


def test_a_listener_that_raises_even_system_exit_disturbs_nobody(store: SqliteStore) -> None:
    def listen(event: Event) -> None:
        raise SystemExit(3) if event.subject_id == "s2" else ValueError("no")

    store.listeners.add(listen)
    for id in ("s1", "s2", "s3"):
        store.run_now(add_session, id, "ann", store.clock)

    assert [session_of(store, id).id for id in ("s1", "s2", "s3")] == ["s1", "s2", "s3"]


async def test_a_rule_with_a_bug_fails_alone(store: SqliteStore) -> None:
    def stop(tx: Transaction) -> None:
        raise StopIteration

    def leave(tx: Transaction) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        store.run_now(leave)
    outcomes = await asyncio.gather(
        store.run(stop), store.run(add_session, "s1", "ann", store.clock), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [RuntimeError, Session]


def test_what_is_remembered_is_bounded_and_strangers_guesses_are_not(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_rows, "REMEMBERED_MAX", 3)
    for number in range(10):
        store.run_now(add_session, f"s{number}", "ann", store.clock)
        store.run_now(relabel, f"s{number}", "one")
    for number in range(10):
        assert store.find_session_now([f"lookup of s{number}"])[1] is not None
        assert store.find_session_now([f"guess {number}"])[1] is None
    records = store._readers.take()

    assert 0 < len(records._sessions_lately) <= 3
    assert 0 < len(records._checked) <= 3
    assert store._writer._records is not None
    assert 0 < len(store._writer._records._checked) <= 3
    store._readers.give(records)


def test_what_is_remembered_does_not_outlive_a_change(store: SqliteStore, tmp_path: Path) -> None:
    """By this store, by another on the same file, and by a change of the owner's entry alone."""
    other = opened(tmp_path / "a.db")
    store.run_now(add_session, "s1", "ann", store.clock)
    seen = []
    for change in (
        lambda: store.run_now(relabel, "s1", "one"),
        lambda: other.run_now(relabel, "s1", "two"),
        lambda: other.run_now(lambda tx: tx.put_entry(None, OwnerEntry("ann", 1, 5, 5))),
        lambda: other.run_now(forget_session, "s1"),
    ):
        assert store.find_session_now(["lookup of s1"])[1] is not None
        change()
        _, session, entry = store.find_session_now(["lookup of s1"])
        seen.append((session and session.label, entry and entry.epoch))

    assert seen == [("one", None), ("two", None), ("two", 1), (None, None)]
    other.close_now()


def test_several_wants_are_answered_as_of_one_instant(store: SqliteStore) -> None:
    """A session and its token are made and removed together; no read may see one of them alone."""
    stop, torn = threading.Event(), list[Any]()

    def make(tx: Transaction) -> None:
        add_session(tx, "s1", "ann", store.clock)
        add_token(tx, "t1", "s1", "ann", TokenKind.BOUND)

    def unmake(tx: Transaction) -> None:
        session, token = tx.session("s1"), tx.token("t1")
        assert session is not None and token is not None
        tx.put_session(session, None)
        tx.put_token(token, None)

    def read() -> None:
        while not stop.is_set():
            _, (session, token) = store.read_now([Get("session", "s1"), Get("token", "t1")])
            if (session.value.session is None) != (token.value.token is None):
                torn.append((session, token))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(60):
        store.run_now(make)
        store.run_now(unmake)
    stop.set()
    for reader in readers:
        reader.join(30)

    assert torn == []


def test_a_read_leaves_no_transaction_open(store: SqliteStore, tmp_path: Path) -> None:
    """An open one would keep the write-ahead log from being written back, so it would grow for ever."""
    store.run_now(add_session, "s1", "ann", store.clock)
    store.find_session_now(["lookup of s1"])
    store.read_now([Get("session", "s1"), Get("session_lookup", "lookup of s1")])
    store.read_now([Scan("sessions", limit=10)])
    ((busy, pages, moved),) = behind(tmp_path / "a.db", "PRAGMA wal_checkpoint(TRUNCATE)")

    assert (busy, pages, moved) == (0, 0, 0)


def test_listings_keep_tokens_whose_session_may_be_over(store: SqliteStore) -> None:
    store.run_now(add_session, "s1", "ann", store.clock)
    store.run_now(add_token, "held", "s1", "ann", TokenKind.TRANSFERABLE)
    store.run_now(add_token, "free", None, None, TokenKind.FREE)

    def end(tx: Transaction) -> None:
        session = tx.session("s1")
        assert session is not None
        tx.put_session(session, session.replace(deadline=0, ended_at=tx.now, sweep_at=0, lookup=None, version=2))

    listing = Scan("tokens", limit=10, unassigned=True)
    before = [found.token.id for found in drive_now(stretch(listing), store.read_now)[1].value]
    store.run_now(end)
    after = [found.token.id for found in drive_now(stretch(listing), store.read_now)[1].value]

    assert "held" not in before
    assert "held" in after


def test_what_is_due_comes_longest_due_first_and_within_the_limit(store: SqliteStore) -> None:
    for number in range(4):
        store.run_now(add_session, f"s{number}", "ann", store.clock)
        store.run_now(add_token, f"t{number}", f"s{number}", "ann", TokenKind.BOUND)
        began = store.clock.now()
        while store.clock.now() == began:  # what is due at the same instant comes in no order
            pass
    end = max(session_of(store, "s3").deadline, store.clock.now()) + 10_000
    due = store.due_now(end, 5)

    assert store.due_now(store.clock.now(), 10) == []
    assert len(due) == 5
    assert {"s0", "s1", "t0", "t1"} <= {id for _, id in due}


def test_a_full_queue_is_busy_and_not_endless(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_writer, "WAITING_MAX", 0)

    with pytest.raises(StoreBusy, match="try again later"):
        store.run_now(add_session, "s1", "ann", store.clock)


async def test_a_closed_store_says_so_and_closing_twice_does_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path / "a.db")
    store.run_now(add_session, "s1", "ann", store.clock)
    store.close_now()
    store.close_now()
    await store.close()

    for ask in (
        lambda: store.run_now(add_session, "s2", "ann", store.clock),
        lambda: store.read_now([Get("session", "s1")]),
        lambda: store.find_session_now(["x"]),
        lambda: store.find_token_now(["x"]),
        lambda: store.due_now(0, 1),
        lambda: store.check(),
        store.fix_clock,
    ):
        with pytest.raises(StoreUnavailable, match="closed; open it again"):
            ask()
    with pytest.raises(StoreUnavailable):
        await store.run(add_session, "s2", "ann", store.clock)


def test_closing_finishes_the_commands_that_wait(tmp_path: Path) -> None:
    store = opened(tmp_path / "a.db")
    threads = [
        threading.Thread(target=store.run_now, args=(add_session, f"s{number}", "ann", store.clock))
        for number in range(20)
    ]
    for thread in threads:
        thread.start()
    while store._writer._thread is None:
        threading.Event().wait(0.001)
    for thread in threads:
        thread.join(30)
    store.close_now()

    assert behind(tmp_path / "a.db", "SELECT count(*) FROM sessions") == [(20,)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db", "a.db-reserve"]


def test_a_store_that_is_forgotten_lets_go_of_its_thread_and_files(tmp_path: Path) -> None:
    store = opened(tmp_path / "a.db")
    store.run_now(add_session, "s1", "ann", store.clock)
    thread, gone = store._writer._thread, weakref.ref(store)
    del store
    gc.collect()
    assert thread is not None
    thread.join(30)

    assert gone() is None
    assert not thread.is_alive()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db", "a.db-reserve"]


def test_threads_that_come_and_go_do_not_pile_up_connections(store: SqliteStore) -> None:
    for _ in range(30):
        thread = threading.Thread(target=store.find_session_now, args=(["x"],))
        thread.start()
        thread.join(30)

    assert store._readers.count <= 2


async def test_both_apis_work_on_one_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}?synchronous=NORMAL&busy_timeout=2"
    tokens = await AsyncSessionTokens.open(url, pepper=PEPPER, sweep=False)
    issued = await tokens.open_session("ann")
    with SessionTokens.open(url, pepper=PEPPER, sweep=False) as others:
        verified = others.verify_session(issued.secret)
        others.destroy_session(issued.id)

    assert verified == issued.session
    assert await tokens.verify_session(issued.secret) is None
    await tokens.close()
