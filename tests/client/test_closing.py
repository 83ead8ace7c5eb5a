"""What is closed while a command, or the beginning of a stream, is under way."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading

import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, StoreUnavailable
from session_tokens.crypto.minting import new_secret
from session_tokens.events import Event
from tests.helpers.answering import answering
from tests.helpers.waiting import wait_until


async def test_a_client_that_is_closed_between_two_tries_says_so() -> None:
    st = await AsyncSessionTokens.connect("http://127.0.0.1:1", key=new_secret("stk_"), retry_for=60)
    listing = asyncio.create_task(st.list_sessions())
    await asyncio.sleep(0.1)
    await st.close()

    with pytest.raises(StoreUnavailable, match="closed; connect again"):
        await listing


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n:\n\n\r\n"


class Held:
    """A service that begins a stream once it may, and says how the client leaves it."""

    def __init__(self) -> None:
        self.asked, self.may_answer, self.left = threading.Event(), threading.Event(), threading.Event()

    def speak(self, head: bytes, connection: socket.socket) -> None:
        self.asked.set()
        self.may_answer.wait(30)
        connection.sendall(STREAM)
        if not connection.recv(1):
            self.left.set()


def test_a_follower_that_is_closed_while_its_stream_begins_holds_none() -> None:
    held = Held()
    ended: list[Event | None] = []
    with answering(held.speak) as url, SessionTokens.connect(url, key=new_secret("stk_"), retry_for=30) as st:
        follower = st.follow_events()
        thread = threading.Thread(target=lambda: ended.append(next(follower, None)), daemon=True)
        thread.start()
        assert held.asked.wait(30)
        follower.close()
        held.may_answer.set()
        thread.join(30)

        assert [None] == ended
        assert held.left.wait(10)


async def test_a_follower_for_asyncio_that_is_closed_while_its_stream_begins_holds_none() -> None:
    held = Held()
    with answering(held.speak) as url:
        async with await AsyncSessionTokens.connect(url, key=new_secret("stk_"), retry_for=30) as st:
            follower = st.follow_events()
            following = asyncio.create_task(anext(follower, None))
            assert await asyncio.to_thread(held.asked.wait, 30)
            await follower.close()
            held.may_answer.set()

            assert await following is None
            assert await asyncio.to_thread(held.left.wait, 10)


def test_a_thread_that_waits_for_events_ends_with_its_follower() -> None:
    """Though the service, which says something every ten seconds, is silent."""
    held = Held()
    held.may_answer.set()
    ended: list[Event | None] = []
    with answering(held.speak) as url, SessionTokens.connect(url, key=new_secret("stk_"), retry_for=30) as st:
        follower = st.follow_events()
        for _ in range(2):  # begins, and reads a sign of life
            assert follower.next_few() == []
        thread = threading.Thread(target=lambda: ended.append(next(follower, None)), daemon=True)
        thread.start()
        wait_until(lambda: reads(thread))
        follower.close()
        thread.join(30)

        assert [None] == ended
        assert held.left.wait(10)


def reads(thread: threading.Thread) -> bool:
    """Whether a thread is within the reading of an answer."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None and frame.f_code.co_name != "iter_raw":
        frame = frame.f_back
    return frame is not None
