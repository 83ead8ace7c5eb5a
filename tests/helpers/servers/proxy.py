"""A TCP proxy of ours between a store and its server, that loses, delays, cuts and shortens what it carries.

It runs in a thread with an event loop of its own, so that blocking and asyncio tests use it alike. What happens to
each piece that comes by is decided by the test.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

Fate = Literal["pass", "drop", "cut", "truncate", "delay", "swallow"]
"""What happens to one piece:

``pass``: it is carried on · ``drop``: the connection is closed instead, the piece is gone · ``cut``: (replies) as
``drop``; the server did the work, its answer is lost · ``truncate``: half of it is carried on, then the connection is
closed · ``delay``: it is carried on after ``delay_s`` · ``swallow``: it is gone, the connection stays.
"""


def always(fate: Fate) -> Callable[[bytes], Fate]:
    """Return a decision that is the same for every piece."""
    return lambda piece: fate


def losing_one_reply() -> Callable[[bytes], Fate]:
    """Lose the next reply; pass the rest."""
    fates: list[Fate] = ["cut"]
    return lambda piece: fates.pop() if fates else "pass"


@dataclass
class Proxy:
    """One listening proxy.

    Attributes:
        target_port: of the server, on 127.0.0.1.
        port: on which it listens, on 127.0.0.1.
        request_fate: decides what happens to a piece on its way to the server.
        reply_fate: decides what happens to a piece on its way back.
        delay_s: how long ``delay`` takes, in seconds.
        refusing: whether new connections are closed at once.
        lost: how many pieces did not arrive as they were sent.
    """

    target_port: int
    port: int = 0
    request_fate: Callable[[bytes], Fate] = field(default_factory=lambda: always("pass"))
    reply_fate: Callable[[bytes], Fate] = field(default_factory=lambda: always("pass"))
    delay_s: float = 0.2
    refusing: bool = False
    lost: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _carrying: set[asyncio.Task[None]] = field(default_factory=set)

    def heal(self) -> None:
        """Carry everything from now on."""
        self.request_fate = self.reply_fate = always("pass")
        self.refusing = False

    async def serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        """Carry until told to stop."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()
        for writer in self._writers:
            writer.transport.abort()
        if self._carrying:
            await asyncio.wait(self._carrying, timeout=10)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        self._writers.add(writer)
        try:
            if self.refusing:
                return
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
            self._writers.add(up_writer)
            try:
                async with asyncio.TaskGroup() as carrying:
                    carrying.create_task(self._carry(reader, up_writer, writer, lambda: self.request_fate))
                    carrying.create_task(self._carry(up_reader, writer, up_writer, lambda: self.reply_fate))
            finally:
                self._writers.discard(up_writer)
                up_writer.transport.abort()
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        onward: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        decision: Callable[[], Callable[[bytes], Fate]],
    ) -> None:
        try:
            while piece := await reader.read(1 << 16):
                fate = decision()(piece)
                if fate != "pass":
                    self.lost += fate != "delay"
                    if fate in ("drop", "cut"):
                        break
                    if fate == "swallow":
                        continue
                    if fate == "delay":
                        await asyncio.sleep(self.delay_s)
                onward.write(piece[: len(piece) // 2] if fate == "truncate" else piece)
                await onward.drain()
                if fate == "truncate":
                    break
        except OSError:
            pass
        finally:
            onward.transport.abort() if not onward.transport.get_write_buffer_size() else onward.close()
            back.transport.abort() if not back.transport.get_write_buffer_size() else back.close()


@contextmanager
def proxy_to(target_port: int) -> Iterator[Proxy]:
    """Return a proxy to a server on 127.0.0.1, listening, ended afterwards."""
    proxy = Proxy(target_port)
    ready = threading.Event()
    handles: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        stop = asyncio.Event()
        handles.append((asyncio.get_running_loop(), stop))
        await proxy.serve(ready, stop)

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="proxy", daemon=True)
    thread.start()
    assert ready.wait(10), "the proxy did not start"
    try:
        yield proxy
    finally:
        loop, stop = handles[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=10)


def through(proxy: Proxy, url: str, options: str = "") -> str:
    """Return a store's URL that leads through a proxy."""
    return url.replace(f":{proxy.target_port}/", f":{proxy.port}/") + options


def sometimes(chance: random.Random, part: float, *fates: Fate) -> Callable[[bytes], Fate]:
    """Return a decision that lets a part of the pieces suffer one of the fates."""
    return lambda piece: chance.choice(fates) if chance.random() < part else "pass"
