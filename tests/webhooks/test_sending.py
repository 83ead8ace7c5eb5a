"""An attempt keeps nothing of an answer, ends in time, and takes nothing that another webhook needs."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from session_tokens.crypto.minting import PlainKeyring
from session_tokens.events import Event, event_id
from session_tokens.rules.webhooks import Hook
from session_tokens.webhooks import sending
from session_tokens.webhooks.sending import AT_ONCE, Outcome, Sender
from tests.helpers.webhook_receiver import Receiver, receiving

KEYRING = PlainKeyring()
EVENT = Event("session_ended", 1_700_000_000_123, "ses_1", "ann", "logout", None, event_id((7, 0)))
TAKEN = Outcome(True, False, "HTTP 204")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
async def sender(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sender]:
    monkeypatch.setattr(sending, "TIMEOUT_S", 2.0)
    made = Sender(["127.0.0.1", "slow.example", "localhost"])
    yield made
    await made.close()


def hook_to(url: str, number: int = 1) -> Hook:
    return Hook(f"whk_{number}", url, None, 0, next(iter(KEYRING.data_keys)))


async def attempt(sender: Sender, hook: Hook) -> Outcome:
    return await sender.send(KEYRING, hook, EVENT, EVENT.at)


async def test_no_cookie_of_a_receiver_is_sent_on(sender: Sender, receiver: Receiver) -> None:
    for number in (1, 2, 1):
        assert await attempt(sender, hook_to(receiver.url, number)) == TAKEN
    assert [headers.get("cookie") for _, headers in receiver.taken] == [None] * 3


async def test_a_receiver_that_drips_is_given_up_in_time(sender: Sender) -> None:
    stopped = threading.Event()

    def drip() -> None:
        client, _ = server.accept()
        with client:
            for byte in b"HTTP/1.1 200 OK\r\nx-slow: " + b"x" * 50 + b"\r\ncontent-length: 0\r\n\r\n":
                if stopped.wait(0.1):
                    return
                try:
                    client.send(bytes([byte]))
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip)
        thread.start()
        try:
            outcome = await attempt(sender, hook_to(f"http://127.0.0.1:{server.getsockname()[1]}/"))
        finally:
            stopped.set()
            thread.join()
    assert outcome == Outcome(False, False, "TimeoutError")


async def test_receivers_that_do_not_answer_leave_others_their_connections(sender: Sender, receiver: Receiver) -> None:
    released, begun = threading.Event(), threading.Semaphore(0)

    def hangs(message: dict[str, Any]) -> int:
        begun.release()
        released.wait(60)
        return 204

    with receiving() as stuck:
        stuck.answer = hangs
        many = 8
        hanging = [
            asyncio.create_task(attempt(sender, hook_to(stuck.url, number)))
            for number in range(2, 2 + many)
            for _ in range(AT_ONCE + 2)
        ]
        try:
            for _ in range(32):
                await asyncio.to_thread(begun.acquire)
            assert await attempt(sender, hook_to(receiver.url)) == TAKEN
        finally:
            released.set()
            outcomes = await asyncio.gather(*hanging)
    assert {outcome.said for outcome in outcomes} <= {"HTTP 204", "TimeoutError"}, "no queue of ours is their fault"


async def test_names_that_are_not_found_in_time_hold_nobody_up(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver that does not answer holds one thread for a webhook, and none of the program's own."""
    released, asked, real = threading.Event(), [], socket.getaddrinfo

    def resolver(host: str, *args: Any, **options: Any) -> Any:
        if host != "slow.example":
            return real(host, *args, **options)
        asked.append(threading.current_thread().name)
        released.wait(60)
        raise socket.gaierror("not found")

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    slow = [asyncio.create_task(attempt(sender, hook_to("http://slow.example/"))) for _ in range(AT_ONCE)]
    try:
        await asyncio.sleep(0)
        url = receiver.url.replace("127.0.0.1", "localhost")
        assert await attempt(sender, hook_to(url, 2)) == TAKEN
        assert {outcome.said for outcome in await asyncio.gather(*slow)} == {"TimeoutError"}
    finally:
        released.set()
    assert len(asked) == 1
    assert asked[0].startswith("session-tokens")
