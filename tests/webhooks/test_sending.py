"""An attempt keeps nothing of an answer, ends in time, and takes nothing that another webhook needs."""

from __future__ import annotations

import asyncio
import socket
import socketserver
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from session_tokens.crypto.minting import PlainKeyring
from session_tokens.events import Event, event_id
from session_tokens.rules.webhooks import Hook
from session_tokens.webhooks import sending
from session_tokens.webhooks.sending import AT_ONCE, Outcome, Sender
from tests.helpers.waiting import wait_until
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


@pytest.mark.parametrize("body", [b"", b"x" * 100, b"x" * 100_000])
async def test_a_connection_is_used_again_unless_a_long_answer_is_on_it(sender: Sender, body: bytes) -> None:
    with answering(body) as (url, accepted):
        for _ in range(3):
            assert await attempt(sender, hook_to(url)) == Outcome(True, False, "HTTP 200")

    assert len(accepted) == (3 if len(body) > sending.BODY_BYTES else 1)


async def test_a_kept_connection_that_was_closed_costs_no_attempt(sender: Sender) -> None:
    with answering(b"", closes_after=2) as (url, accepted):
        outcomes = [await attempt(sender, hook_to(url)) for _ in range(6)]

    assert outcomes == [Outcome(True, False, "HTTP 200")] * 6
    assert len(accepted) == 3


@contextmanager
def answering(body: bytes, closes_after: int = 10**9) -> Iterator[tuple[str, list[int]]]:
    """A server that answers 200, and closes each connection without a word when it is asked once too often."""
    accepted: list[int] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            accepted.append(1)
            for _ in range(closes_after):
                length = 0
                while (line := self.rfile.readline().lower()) not in (b"\r\n", b""):
                    length = int(line.split(b":")[1]) if line.startswith(b"content-length") else length
                if not line:
                    return
                self.rfile.read(length)
                with suppress(OSError):
                    self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            self.rfile.readline()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/", accepted
        finally:
            server.shutdown()
            thread.join()


async def test_all_webhooks_together_hold_a_bounded_number_of_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has one that no other takes away, however many events of others wait for an answer."""
    monkeypatch.setattr(sending, "SPARE", 3)
    sender, released, many = Sender(["127.0.0.1"]), threading.Event(), 5
    at_once, most, lock = 0, 0, threading.Lock()

    def hangs(message: dict[str, Any]) -> int:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        released.wait(60)
        with lock:
            at_once -= 1
        return 204

    with receiving() as stuck:
        stuck.answer = hangs
        hooks = [hook_to(stuck.url, number) for number in range(many)]
        sent = [asyncio.create_task(attempt(sender, hook)) for hook in hooks for _ in range(AT_ONCE)]
        try:
            await asyncio.to_thread(wait_until, lambda: at_once == many + 3)
            await asyncio.sleep(0.2)  # in which more would come
            late = asyncio.create_task(attempt(sender, hook_to(stuck.url, many)))
            await asyncio.to_thread(wait_until, lambda: at_once == many + 1 + 3)
        finally:
            released.set()
            outcomes = await asyncio.gather(*sent, late)
        kept = [len(line.transport._pool.connections) for line in sender._lines.values()]
        await sender.close()

    assert outcomes == [TAKEN] * len(outcomes)
    assert most == many + 1 + 3
    assert max(kept) == 1


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
