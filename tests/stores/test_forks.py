"""A process that is forked while its other threads are at work: the child has none of them, and goes on as well."""

from __future__ import annotations

import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from session_tokens import SessionTokens, Settings, TokenTables
from session_tokens.audit.log import Audit
from session_tokens.contract import forks
from session_tokens.contract.transaction import Transaction
from session_tokens.crypto.minting import new_secret
from session_tokens.crypto.secret_form import SESSION_SECRET
from session_tokens.stores.memory.store import MemoryStore
from session_tokens.web.process_store import ProcessStore
from tests.helpers.at_once import in_a_child
from tests.helpers.servers.cluster import shared_cluster
from tests.helpers.user_dbs import AsyncDB
from tests.helpers.waiting import wait_until

PEPPER = bytes(range(32))
SERVERS = ["postgres_url", "mariadb_url"]


def goes_on_in_a_child(act: Callable[[], object]) -> bool:
    """Whether ``act`` comes to an end in a forked child."""
    return in_a_child(act) == 0


@pytest.mark.parametrize("server", SERVERS)
def test_a_child_waits_for_no_connection_behind_threads_of_its_parent(
    request: pytest.FixtureRequest, server: str
) -> None:
    url = request.getfixturevalue(server)
    with SessionTokens.open(f"{url}?pool_size=1&timeout=10", pepper=PEPPER, sweep=False) as tokens:
        store: Any = tokens.store
        secret = tokens.open_session("ann").secret
        only_one = store._pool.take(10)
        answers: list[object] = []
        waiting = threading.Thread(target=lambda: answers.append(tokens.verify_session(secret)))
        waiting.start()
        wait_until(lambda: len(store._pool._waiters) == 1)

        def act() -> None:
            store._pool.give(only_one)  # it is the parent's, and nobody in here gets it
            assert tokens.verify_session(secret) is not None
            assert tokens.open_session("bob").session.owner == "bob"

        assert goes_on_in_a_child(act)
        store._pool.give(only_one)
        waiting.join()

        assert [True] == [answer is not None for answer in answers]
        assert 1 == len(tokens.list_sessions("bob"))


@pytest.mark.parametrize("server", SERVERS)
def test_a_child_waits_for_no_lock_that_a_thread_of_its_parent_held(
    request: pytest.FixtureRequest, server: str
) -> None:
    with SessionTokens.open(request.getfixturevalue(server), pepper=PEPPER, sweep=False) as tokens:
        store: Any = tokens.store
        locks = [store._pool._lock, store._pool._idle._counting, store.retrying.breaker._lock]
        locks += store.conflict_queue._turns
        secret = tokens.open_session("ann").secret
        for lock in locks:
            lock.acquire()

        def act() -> None:
            assert not any(turn.locked() for turn in store.conflict_queue._turns)
            assert tokens.verify_session(secret) is not None
            assert tokens.rotate_session(secret).secret != secret

        went_on = goes_on_in_a_child(act)
        for lock in locks:
            lock.release()

        assert went_on


@pytest.mark.server
def test_a_child_leaves_to_its_parent_what_is_finished_behind_answers_on_a_cluster() -> None:
    url = f"{shared_cluster().url}?timeout=30&namespace=t{uuid.uuid4().hex[:12]}"
    with SessionTokens.open(url, pepper=PEPPER, sweep=False, settings=Settings(events="durable")) as tokens:
        store: Any = tokens.store
        secret = tokens.open_session("ann").secret
        held, over = threading.Event(), threading.Event()

        def hold() -> None:
            with store._behind._changed:
                held.set()
                over.wait()

        holding = threading.Thread(target=hold)
        holding.start()
        held.wait()
        went_on = goes_on_in_a_child(lambda: (tokens.destroy_session(secret), tokens.events()))
        over.set()
        holding.join()

        assert went_on
        assert tokens.verify_session(secret) is None


def test_a_child_adds_to_the_audit_log_though_a_thread_of_its_parent_was_at_it(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "anchors")
    with SessionTokens.open(f"sqlite:///{tmp_path}/store.db", audit=audit, sweep=False) as tokens:
        secret = tokens.open_session("ann").secret
        with audit._lock:
            went_on = goes_on_in_a_child(lambda: tokens.destroy_session(secret))

        assert went_on
        assert tokens.verify_session(secret) is None


def test_a_fork_waits_for_the_command_that_is_under_way_in_memory() -> None:
    """Its lock would never be free in the child, and what it guards half changed."""
    store = MemoryStore()
    tokens = SessionTokens(store)
    secret = tokens.open_session("ann").secret
    begun, forking = threading.Event(), threading.Event()

    def takes_its_time(tx: Transaction) -> None:
        begun.set()
        forking.wait(0.2)

    busy = threading.Thread(target=store.run_now, args=(takes_its_time,))
    busy.start()
    begun.wait()

    assert goes_on_in_a_child(lambda: tokens.destroy_session(secret))
    busy.join()
    assert tokens.verify_session(secret) is not None


def test_a_child_calls_async_methods_of_a_db_on_a_loop_of_its_own() -> None:
    db = AsyncDB()
    with TokenTables(db) as tables:
        tables.add_session("session", "ann")

        def act() -> None:
            assert tables.active_session("session", "ann") is True
            tables.add_session("another", "bob")
            assert tables.active_session("another", "bob") is True

        assert goes_on_in_a_child(act)
        assert tables.active_session("session", "ann") is True


def test_a_child_opens_the_store_of_an_application_though_a_thread_of_its_parent_was_at_it(tmp_path: Path) -> None:
    store = ProcessStore(f"sqlite:///{tmp_path}/store.db")
    with store._opening:
        assert goes_on_in_a_child(store.tokens)

    assert store.tokens().verify_session(new_secret(SESSION_SECRET)) is None
    store.close()


def test_a_fork_takes_its_locks_while_other_threads_make_stores() -> None:
    """An error as they are gone through would leave the locks as they are, and be told nobody."""
    over = threading.Event()

    def make() -> None:
        while not over.is_set():
            stores = [MemoryStore() for _ in range(20)]
            stores.clear()

    making = [threading.Thread(target=make) for _ in range(2)]
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    for thread in making:
        thread.start()
    try:
        for _ in range(300):
            forks._take_locks()
            forks._let_go()
    finally:
        over.set()
        for thread in making:
            thread.join()
        sys.setswitchinterval(before_s)


def test_a_child_of_a_child_looks_at_whose_it_is_while_its_parent_does() -> None:
    owned = forks.Owned()

    def child() -> None:
        looks, goes_on = threading.Event(), threading.Event()

        def begin_anew() -> None:
            looks.set()
            assert goes_on.wait(60)

        looking = threading.Thread(target=owned.look, args=(begin_anew,))
        looking.start()
        assert looks.wait(60)
        anew = list[int]()
        assert goes_on_in_a_child(lambda: owned.look(lambda: anew.append(1)))
        goes_on.set()
        looking.join()

    assert goes_on_in_a_child(child)
