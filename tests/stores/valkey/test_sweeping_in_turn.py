"""Of many processes one sweeps: who found something due has the turn for a while, in each partition by itself."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import valkey

from session_tokens import SessionTokens, Settings
from session_tokens.contract.store import BlockingStore
from session_tokens.stores.valkey.exchanges import TURN_MS
from session_tokens.stores.valkey.store import open_valkey_blocking
from tests.helpers.servers.cluster import shared_cluster
from tests.helpers.servers.valkey import ValkeyServer
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.server

OLD, NEW = {"old": bytes(range(32))}, {"new": bytes(range(1, 33))}
SHORT = Settings(max_age=0.2)
SESSIONS = 40


@pytest.fixture(params=("valkey", "cluster"))
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "cluster":
        return f"{shared_cluster().url}?timeout=30&namespace=t{uuid.uuid4().hex[:12]}"
    url: str = request.getfixturevalue("valkey_url")
    return url


@contextmanager
def two_processes(url: str) -> Iterator[tuple[BlockingStore, BlockingStore]]:
    """Open two stores on one server: to the server each is a process."""
    one, other = (open_valkey_blocking(url, pepper=OLD) for _ in range(2))
    with SessionTokens(one), SessionTokens(other):
        yield one, other


def fill(store: BlockingStore) -> None:
    """Let sessions of many owners be over."""
    tokens = SessionTokens(store, SHORT)
    opened = [tokens.open_session(f"owner {number}") for number in range(SESSIONS)]
    wait_until(lambda: not any(tokens.verify_session(session.secret) for session in opened))


def now_of(store: BlockingStore) -> int:
    return store.read_now([]).now


def test_who_found_something_due_has_the_turn_until_it_is_over(url: str) -> None:
    def found_within_the_turn() -> list[int] | None:
        """Return how much each of three looks finds; ``None`` where by the server's clock they took too long."""
        began = now_of(one)
        found = [len(each.due_in_turn_now(began, 1_000)) for each in (one, other, one)]
        return found if now_of(one) < began + int(TURN_MS) else None

    with two_processes(url) as (one, other):
        fill(one)
        while (found := found_within_the_turn()) is None:
            wait_until(lambda: one.due_in_turn_now(now_of(one), 1_000))
        assert found == [SESSIONS, 0, SESSIONS]
        assert len(other.due_now(now_of(other), 1_000)) == SESSIONS, "who is told to sweep waits for nobody"
        wait_until(lambda: len(other.due_in_turn_now(now_of(other), 1_000)) == SESSIONS)


def test_nobody_takes_a_turn_while_nothing_is_due(url: str) -> None:
    with two_processes(url) as (one, other):
        SessionTokens(one).open_session("alice")
        assert one.due_in_turn_now(now_of(one), 1_000) == []
        fill(other)
        assert len(other.due_in_turn_now(now_of(other), 1_000)) == SESSIONS


def test_each_end_is_told_once_and_none_is_left_by_sweepers_of_several_processes(url: str) -> None:
    settings = Settings(max_age=0.5, sweep_interval=0.05, events="durable")
    processes = [SessionTokens.open(url, pepper=OLD, settings=settings) for _ in range(3)]
    try:
        opened = [processes[0].open_session(f"owner {number}").id for number in range(SESSIONS)]

        def ended() -> list[str]:
            events = processes[0].events(limit=500).items
            return [event.subject_id for event in events if event.kind == "session_ended"]

        wait_until(lambda: len(ended()) >= SESSIONS)
        assert sorted(ended()) == sorted(opened)
    finally:
        for process in processes:
            process.close()


def test_who_cannot_read_what_is_due_leaves_the_turn_to_others(url: str) -> None:
    """A process that lacks a pepper meets the same records in each sweep, and must not keep the turn by that."""
    lacking = SessionTokens.open(url, pepper=OLD, sweep=False, settings=SHORT)
    with lacking, SessionTokens.open(url, pepper=NEW | OLD, sweep=False, settings=SHORT) as knowing:
        opened = [knowing.open_session(f"owner {number}") for number in range(3)]
        wait_until(lambda: not any(knowing.verify_session(session.secret) for session in opened))
        assert lacking._sweep(1_000) == 0
        turn_is_over = time.monotonic() + 2.5
        while time.monotonic() < turn_is_over:
            assert lacking._sweep(1_000) == 0
            time.sleep(0.02)
        assert knowing._sweep(1_000) == 3


def test_a_process_whose_sweeps_fail_keeps_the_turn_from_nobody(private_valkey: Callable[..., ValkeyServer]) -> None:
    """It finds what is due in each of its sweeps, and cleans none of it."""
    port = private_valkey().port
    often = Settings(max_age=0.2, sweep_interval=0.1)
    with valkey.Valkey(port=port) as admin:
        admin.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all")
        with (
            SessionTokens.open(f"valkey://app:secret@127.0.0.1:{port}", pepper=OLD, settings=often),
            SessionTokens.open(f"valkey://127.0.0.1:{port}", pepper=OLD, settings=SHORT, sweep=False) as other,
        ):
            admin.execute_command(
                "ACL", "SETUSER", "app", "-mget"
            )  # what a commit needs, and a look for what is due not
            opened = [other.open_session(f"owner {number}") for number in range(3)]
            wait_until(lambda: not any(other.verify_session(session.secret) for session in opened))
            wait_until(lambda: any(admin.scan_iter(match="*}:sw")))
            wait_until(lambda: other._sweep(1_000) == 3)
