"""A touch that waits for its row until its session is over brings nobody back, on either shell."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor

from session_tokens import AsyncSessionTokens, SessionTokens
from session_tokens.records import Issued, Session
from session_tokens.rules.sessions import touch_session
from tests.helpers.held_rows import row_held, wait_for_waiting

PEPPER = bytes(range(32))
WINDOW_S = 0.8


class Toucher:
    """Writes a use of a session down through a store of its own, which is open before the session is.

    Attributes:
        is_ready: set when the store is open.
        session: whose use it is.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.is_ready = threading.Event()
        self.session: Future[Issued] = Future()

    def touch(self) -> Session | None:
        with SessionTokens.open(self._url, pepper=PEPPER, sweep=False) as tokens:
            self.is_ready.set()
            issued = self.session.result(30)
            return tokens.store.run_now(touch_session, issued.id, tokens.store.keyring.lookup(issued.secret))

    async def touch_awaited(self) -> Session | None:
        async with await AsyncSessionTokens.open(self._url, pepper=PEPPER, sweep=False) as tokens:
            self.is_ready.set()
            issued = await asyncio.wrap_future(self.session)
            return await tokens.store.run(touch_session, issued.id, tokens.store.keyring.lookup(issued.secret))


def check_that_it_stays_dead(url: str, *, awaited: bool) -> None:
    toucher = Toucher(url + "?timeout=10")
    touch = (lambda: asyncio.run(toucher.touch_awaited())) if awaited else toucher.touch
    with SessionTokens.open(url, pepper=PEPPER, sweep=False) as other, ThreadPoolExecutor(1) as threads:
        touched: Future[Session | None] = threads.submit(touch)
        assert toucher.is_ready.wait(30)
        issued = other.open_session("ann", idle_timeout=WINDOW_S)
        with row_held(url, issued.id):
            threading.Event().wait(WINDOW_S / 4)  # a touch is due after a sixteenth
            toucher.session.set_result(issued)
            wait_for_waiting(url)
            assert other.verify_session(issued.secret, touch=False) is not None, "it waits since before the end"
            while other.verify_session(issued.secret, touch=False) is not None:
                threading.Event().wait(0.005)

        touched.exception(30)
        assert other.verify_session(issued.secret, touch=False) is None
        assert touched.result() is None


def test_a_touch_that_waited_for_its_row_brings_nobody_back(postgres_url: str) -> None:
    check_that_it_stays_dead(postgres_url, awaited=False)


def test_an_awaited_touch_that_waited_for_its_row_brings_nobody_back(postgres_url: str) -> None:
    check_that_it_stays_dead(postgres_url, awaited=True)
