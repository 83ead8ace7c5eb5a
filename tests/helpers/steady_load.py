"""Clients that keep their connections and ask again and again, counting what was not answered."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter

PAUSE_S = 0.02


class SteadyLoad:
    """Introspects one secret over several connections until it is stopped.

    Args:
        port: of the service.
        key: the secret of a service key.
        token: what is asked about.
        connections: each in a thread of its own.
        reconnects: whether a connection that the service closes after an answer is replaced by another.

    Attributes:
        answered: requests that were, by the process that answered.
        refused: requests whose answer was another than 200.
        dropped: requests without a whole answer, and connections that were refused.
    """

    def __init__(self, port: int, key: str, token: str, connections: int = 4, *, reconnects: bool = True) -> None:
        self.answered: Counter[str] = Counter()
        self.refused: list[bytes] = []
        self.dropped: list[str] = []
        self._port = port
        self._reconnects = reconnects
        body = f"token={token}".encode()
        head = (
            f"POST /introspect HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._request = head.encode() + body
        self._stops = threading.Event()
        self._threads = [threading.Thread(target=self._ask_again_and_again) for _ in range(connections)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> SteadyLoad:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def total(self) -> int:
        """How many requests were answered."""
        return sum(self.answered.values())

    def stop(self) -> None:
        """Stop; twice is the same."""
        self._stops.set()
        for thread in self._threads:
            thread.join(30)

    def end(self) -> None:
        """Wait until the service has closed every connection."""
        for thread in self._threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in self._threads), "a connection is open still"

    def _ask_again_and_again(self) -> None:
        connection: socket.socket | None = None
        while not self._stops.is_set():
            try:
                if connection is None:
                    connection = socket.create_connection(("127.0.0.1", self._port), timeout=30)
                connection.sendall(self._request)
                head = answer_on(connection)
            except OSError as error:
                head = None
                why = type(error).__name__
            else:
                why = "closed without an answer"
            if head is None:
                if not self._stops.is_set():
                    self.dropped.append(why)
            elif not head.startswith(b"HTTP/1.1 200 "):
                self.refused.append(head)
            else:
                self.answered[answered_by(head)] += 1
            if connection is not None and (head is None or b"\r\nconnection: close\r\n" in head):
                connection.close()
                connection = None
                if not self._reconnects:
                    return
            time.sleep(PAUSE_S)
        if connection is not None:
            connection.close()


def answer_on(connection: socket.socket) -> bytes | None:
    """Return the head of the next answer, whose body is taken too; ``None`` where the connection ends before."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65_536)
        if not part:
            return None
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        part = connection.recv(65_536)
        if not part:
            return None
        body += part
    return head + b"\r\n"


def answered_by(head: bytes) -> str:
    """Return which process answered, as the id of the request says."""
    return head.partition(b"x-request-id: ")[2].partition(b"-")[0].decode()
