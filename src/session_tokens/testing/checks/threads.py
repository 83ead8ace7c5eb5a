"""Checks for stores that never wait on an event loop: the plain methods, and threads side by side."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ..._sync.api import SessionTokens
from ...contract.queries import Get
from ...contract.store import BlockingStore
from ...contract.transaction import Transaction
from ...errors import Conflict, LimitReached, NotOwner, SessionTokensError, StoreUnavailable
from ...events import Event
from ...records import Session
from ...rules.sessions import touch_session
from ...settings import Settings
from ..harness import NO_CAP, StoreBench, refused
from .transactions import count_up

T = TypeVar("T")
B = TypeVar("B", bound="ThreadChecks")

CALLERS = 32


def check_now(test: Callable[[B], None]) -> Callable[[B], None]:
    """Make a check that runs without an event loop; what it opened is closed."""

    @functools.wraps(test)
    def run(self: B) -> None:
        self.opened_now = []
        try:
            self.store_now = self.another_store_now()
            self.tokens_now = SessionTokens(self.store_now, NO_CAP)
            test(self)
        finally:
            for store in self.opened_now:
                store.close_now()

    del run.__dict__["__wrapped__"]
    return run


def at_once(calls: Sequence[Callable[[], T]]) -> tuple[list[T], list[SessionTokensError]]:
    """Make all calls, each on a thread of its own, starting together; return what was answered and refused.

    The interpreter changes threads as often as it can meanwhile, so that calls that take microseconds meet too.
    """
    barrier = threading.Barrier(len(calls))

    def start(call: Callable[[], T]) -> T | SessionTokensError:
        barrier.wait(30)
        try:
            return call()
        except SessionTokensError as error:
            return error

    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(len(calls)) as pool:
            done = list(pool.map(start, calls))
    finally:
        sys.setswitchinterval(usual_s)
    refusals = [outcome for outcome in done if isinstance(outcome, SessionTokensError)]
    return [outcome for outcome in done if not isinstance(outcome, SessionTokensError)], refusals


class ThreadChecks(StoreBench):
    """Plain calls, from one thread and from many.

    Attributes:
        store_now: an empty store, opened for this check.
        tokens_now: the API on it, without a cap on sessions and without a sweeper.
        opened_now: the stores to close after the check.
    """

    store_now: BlockingStore
    tokens_now: SessionTokens
    opened_now: list[BlockingStore]

    def another_store_now(self) -> BlockingStore:
        """Open one more handle; it is closed after the check."""
        store = self.open_store_now()
        self.opened_now.append(store)
        return store

    def another_now(self, settings: Settings = NO_CAP) -> SessionTokens:
        """Return the API on the same records: on a handle of its own where the store has such."""
        return SessionTokens(self.another_store_now() if self.opens_again else self.store_now, settings)

    @check_now
    def test_now_the_plain_methods_answer_as_the_coroutines_do(self) -> None:
        opened = self.tokens_now.open_session("ann")
        token = self.tokens_now.issue_token(opened.id, transferable=True)
        keyring = self.store_now.keyring
        now, found = self.store_now.read_now([Get("session", opened.id)])

        assert found[0].value.session == opened.record
        assert self.store_now.find_session_now([keyring.lookup(opened.secret)])[1] == opened.record
        assert self.store_now.find_token_now([keyring.lookup(token.secret)])[1] == token.record
        assert list(self.store_now.due_now(now, 10)) == []

    @check_now
    def test_now_sessions_and_tokens_live_and_end(self) -> None:
        opened = self.tokens_now.open_session("ann")
        bound = self.tokens_now.issue_token(opened.secret, [1, "a"])
        moving = self.tokens_now.issue_token(opened.id, "seat", transferable=True)
        given = self.tokens_now.transfer_token(moving.secret, giver="ann", receiver="bob")
        assert self.tokens_now.verify_session(opened.secret) == opened.record
        self.tokens_now.destroy_session(opened.id)

        assert self.tokens_now.verify_session(opened.secret) is None
        assert self.tokens_now.verify_token(bound.secret) is None
        assert self.tokens_now.verify_token(given.secret) == given.record

    @check_now
    def test_now_an_end_is_seen_by_every_other_handle(self) -> None:
        other = self.another_now()
        for number in range(10):
            opened = self.tokens_now.open_session(f"owner {number}")
            assert other.verify_session(opened.secret) is not None
            self.tokens_now.destroy_session(opened.id)
            assert other.verify_session(opened.secret) is None

    @check_now
    def test_now_a_closed_store_says_so(self) -> None:
        opened = self.tokens_now.open_session("ann")
        self.store_now.close_now()
        self.store_now.close_now()
        calls: list[Callable[[], Any]] = [
            lambda: self.tokens_now.verify_session(opened.secret), lambda: self.tokens_now.open_session("bob"),
            lambda: self.store_now.read_now([Get("setting", "x")]), lambda: self.store_now.run_now(count_up, "x"),
            lambda: self.store_now.due_now(0, 1),
        ]  # fmt: skip

        for call in calls:
            with refused(StoreUnavailable):
                call()

    @check_now
    def test_now_of_32_transfers_at_once_exactly_one_succeeds(self) -> None:
        apis = (self.tokens_now, self.another_now())
        opened = self.tokens_now.open_session("ann")
        token = self.tokens_now.issue_token(opened.id, transferable=True)
        given, refusals = at_once([
            functools.partial(apis[number % 2].transfer_token, token.id, giver="ann", receiver=f"receiver {number}")
            for number in range(CALLERS)
        ])  # fmt: skip

        assert len(given) == 1
        assert {type(error) for error in refusals} <= {NotOwner, Conflict}
        assert self.tokens_now.get_token(token.id) == given[0].record
        assert self.tokens_now.verify_token(given[0].secret) == given[0].record
        assert self.tokens_now.verify_token(token.secret) is None

    @check_now
    def test_now_no_count_is_lost(self) -> None:
        stores = (self.store_now, self.another_now().store)

        def count_five(caller: int) -> list[int]:
            return [stores[caller % 2].run_now(count_up, "visits") for _ in range(5)]

        counted, refusals = at_once([functools.partial(count_five, caller) for caller in range(12)])

        assert refusals == []
        assert sorted(number for numbers in counted for number in numbers) == list(range(1, 61))

    @check_now
    def test_now_a_rule_may_be_waited_for_no_longer_than_so_long(self) -> None:
        assert self.store_now.run_within_now(30, count_up, "visits") == 1
        assert self.store_now.run_now(count_up, "visits") == 2

    @check_now
    def test_now_a_touch_that_comes_late_brings_nobody_back(self) -> None:
        issued = self.tokens_now.open_session("ann", idle_timeout=self.moment_s * 16 / 17)
        late = threading.Event()

        def touch_late(tx: Transaction) -> Session | None:
            touched = touch_session(tx, issued.id, "another look-up key")
            if not late.is_set():
                late.set()
                if self.clock_is_manual:
                    self.clock.advance(self.moment_s + 0.001)
                else:
                    threading.Event().wait(self.moment_s + 0.1)
            return touched

        assert self.store_now.run_now(touch_late) is None
        assert self.tokens_now.verify_session(issued.secret) is None

    @check_now
    def test_now_openings_at_once_never_pass_the_cap(self) -> None:
        settings = Settings(max_sessions=5, session_policy="refuse")
        apis = (self.another_now(settings), self.another_now(settings))
        opened, refusals = at_once([functools.partial(apis[turn % 2].open_session, "ann") for turn in range(24)])

        assert len(opened) == 5
        assert {type(error) for error in refusals} == {LimitReached}
        assert len(self.tokens_now.list_sessions("ann").items) == 5

    @check_now
    def test_now_readers_never_see_half_of_a_change(self) -> None:
        """Ending a session is one step: who reads its tokens one by one never sees one live after another died."""
        opened = self.tokens_now.open_session("ann")
        tokens = [self.tokens_now.issue_token(opened.id) for _ in range(8)]
        ended = threading.Event()

        def read() -> bool:
            while True:
                over = ended.is_set()
                seen = [self.tokens_now.verify_token(token.secret) is not None for token in tokens]
                assert seen == sorted(seen, reverse=True), "a token died before one that was read later"
                if over:
                    assert seen == [False] * 8
                    return True

        def end() -> bool:
            done = self.tokens_now.destroy_session(opened.id)
            ended.set()
            return done

        assert at_once([read, read, end]) == ([True, True, True], [])

    @check_now
    def test_now_all_that_was_handed_over_under_one_key_is_answered(self) -> None:
        """Also to who asks again while the first call goes on, which has nothing left to do."""
        opened = self.tokens_now.open_session("ann")
        for _ in range(3):
            self.tokens_now.issue_token(opened.id, transferable=True)
        answers: list[int] = []

        def ask_again(event: Event) -> None:
            end_listening()
            answers.append(self.tokens_now.hand_over("ann", receiver="bob", idempotency_key="leaves"))

        end_listening = self.tokens_now.subscribe(ask_again)
        for _ in range(2):
            answers.append(self.tokens_now.hand_over("ann", receiver="bob", idempotency_key="leaves"))

        assert answers == [3, 3, 3]
        assert len(self.tokens_now.list_tokens(owner="bob").items) == 3
