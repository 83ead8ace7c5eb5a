"""What is asked for once in a turn of the loop: never older than a request that is read in it."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

import pytest

from session_tokens import SessionTokens
from session_tokens.service.turns import NumberedLoop
from tests.helpers.effort import times
from tests.helpers.running_service import LOOPS, RunningService

ENDED = times(100, proving=3_000)
SIDE_BY_SIDE = 8


def test_each_turn_of_a_loop_has_another_number() -> None:
    async def numbers() -> tuple[list[int], int]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, NumberedLoop)
        seen = []
        for _ in range(5):
            seen.append(loop.turns.number)
            await asyncio.sleep(0)
        return seen, loop.turns.number

    with asyncio.Runner(loop_factory=NumberedLoop) as one, asyncio.Runner(loop_factory=NumberedLoop) as other:
        (seen, last), (more, _) = one.run(numbers()), other.run(numbers())

    assert len({*seen, last, *more}) == 11


class Client:
    """One connection that introspects."""

    def __init__(self, service: RunningService) -> None:
        self._socket = socket.create_connection(("127.0.0.1", service.port), timeout=20)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")
        self._head = f"POST /introspect HTTP/1.1\r\nHost: tokens.test\r\nAuthorization: Bearer {service.secret}\r\n"

    def is_active(self, secret: str) -> bool:
        body = f"token={secret}"
        about = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
        self._socket.sendall((self._head + about + body).encode())
        assert b" 200 " in self._file.readline()
        length = 0
        while (line := self._file.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            length = int(value) if name == b"content-length" else length
        return self._file.read(length).startswith(b'{"active":true')

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@pytest.mark.process
@pytest.mark.parametrize("loop", LOOPS)
def test_what_another_process_ended_is_never_active_again_however_busy_the_service(tmp_path: Path, loop: str) -> None:
    url = f"sqlite:///{tmp_path}/sessions.db"
    service = RunningService(url, tmp_path / "log", loop=loop)
    assert ("uvloop" in Path(f"/proc/{service.process.pid}/maps").read_text()) == (loop == "uvloop")
    clients = [Client(service) for _ in range(SIDE_BY_SIDE + 1)]
    try:
        with SessionTokens.open(url, sweep=False) as tokens:
            kept = [tokens.open_session(f"owner/{number}").secret for number in range(50)]
            ended = [tokens.open_session(f"ended/{number}") for number in range(ENDED)]
            done, active = threading.Event(), [0] * SIDE_BY_SIDE

            def keep_busy(which: int) -> None:
                while not done.is_set():
                    for secret in kept:
                        active[which] += clients[which].is_active(secret)

            threads = [threading.Thread(target=keep_busy, args=(which,)) for which in range(SIDE_BY_SIDE)]
            for thread in threads:
                thread.start()
            try:
                for session in ended:
                    assert [clients[-1].is_active(session.secret) for _ in range(3)] == [True] * 3
                    tokens.destroy_session(session.id)
                    assert not clients[-1].is_active(session.secret)
            finally:
                done.set()
                for thread in threads:
                    thread.join()
            assert all(count % len(kept) == 0 and count for count in active)
    finally:
        for client in clients:
            client.close()
        service.stop()
