"""A real HTTP server that takes webhooks and answers as a test wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """What came in, in its order.

    Attributes:
        url: where it listens.
        taken: body and headers of each request that was answered with 2xx.
        asked: the message of each request.
        answer: tells the status for a message, and a header ``Location`` if it is one that redirects.
    """

    def __init__(self) -> None:
        self.taken: list[tuple[bytes, dict[str, str]]] = []
        self.asked: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], int] = lambda message: 204
        self.url = ""
        self.came = threading.Condition()

    def events(self) -> list[dict[str, Any]]:
        """The events that were taken."""
        return [json.loads(body)["data"] for body, _ in self.taken]

    def wait_for(self, enough: Callable[[], bool], patience_s: float = 30.0) -> None:
        """Wait until what came is enough."""
        with self.came:
            assert self.came.wait_for(enough, patience_s), "what was waited for did not come"


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Receive on a free port of 127.0.0.1."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # so that connections are kept

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            message = json.loads(body)
            status = receiver.answer(message)
            with receiver.came:
                receiver.asked.append(message)
                if 200 <= status < 300:
                    receiver.taken.append((body, {name.lower(): value for name, value in self.headers.items()}))
                receiver.came.notify_all()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", f"{receiver.url}/elsewhere")
            self.send_header("content-length", "0")
            self.send_header("set-cookie", "kept=no; Path=/")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # of more than the usual five that come at once the system lets some go

    server = Server(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
