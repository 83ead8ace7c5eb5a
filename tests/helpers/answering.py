"""Something that answers on a socket as a test has it speak, byte for byte."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Speak = Callable[[bytes, socket.socket], None]


@contextmanager
def answering(speak: Speak) -> Iterator[str]:
    """Yield the address where ``speak`` answers, on a thread for each connection, once something has come."""
    done = threading.Event()
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while not done.is_set() and (head := connection.recv(65_536)):
                if b" HTTP/1.1\r\n" in head:  # else it is a body that comes by itself
                    speak(head, connection)

    def accept() -> None:
        while not done.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                connection.settimeout(30)
                threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.02)
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            done.set()
            accepting.join(30)
