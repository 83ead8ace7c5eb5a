"""Follows the changes of a Valkey or Redis store: one connection that tracks what was read over it for a near cache.

Theory of operation. The server remembers which keys were read over this connection after ``CLIENT CACHING YES``
(``OPTIN``), keys that a function reads and absent ones too (Redis only since 7.2: one before is not followed, and
nothing of it is kept), and says (RESP3) when one of them changes. Reads and what is said share the connection, so their
order is the server's: a reading that was answered before a change is followed by word of it. All reads that are kept go
over it, and no writes: what a connection changes itself is tracked no more.

Each beat reads a key of the partition and ends with the probe of every read (``connections``), which a replica and a
server that holds the partition no more refuse. Its answer comes after word of all changes before it; so what is kept
holds from when it was *asked*. A ``PING`` instead would be answered by a server that was demoted or cut off, too. A
primary that was cut off from its Sentinels alone answers beats as well: so one of them is asked once a second.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

from ...contract.near_cache import Lease, NearCache
from ...errors import StoreUnavailable
from ..common.following import BEAT_S, Following
from .blocking_connections import BlockingConnections
from .connections import Steps, timed_probe_of
from .packing import pack
from .primaries import DriverPool, Primary
from .resp3 import ErrorReply, Push, Replies
from .rows import ValkeyCodec
from .schema import Address

BEATS_MAX: Final = 8
"""Beats that may be under way at once."""
CACHING = pack([b"CLIENT", b"CACHING", b"YES"])
OLDEST_REDIS: Final = (7, 2)
"""The first that tells of the keys that a function reads; one before tells only of those that its caller declares."""
SETTING_UP = pack([b"HELLO", b"3"]) + pack([b"CLIENT", b"TRACKING", b"ON", b"OPTIN"])

Answer = list[Any] | None
"""The replies to readings, and to their probe; ``None`` where they were not carried out."""


class _Asked:
    """What was sent and is not answered yet.

    Attributes:
        replies: that have come of it, out of ``count``.
        future: gets them; ``None`` for a beat.
    """

    __slots__ = ("at_s", "count", "future", "replies")

    def __init__(self, count: int, future: Future[Answer] | None) -> None:
        self.count = count
        self.future = future
        self.replies: list[Any] = []
        self.at_s = time.monotonic()


class Tracking(Following):
    """One tracked connection and what is asked over it; ``ask`` is safe for threads.

    Args:
        near: is told what has changed.
        heard: is told the server's time, in milliseconds.
        primary: finds where the server is.
        connections: makes the connections to it.
        key: one of the store's, which a beat reads.
        timeout_s: seconds after which a server that says nothing is left.
    """

    def __init__(
        self,
        near: NearCache,
        heard: Callable[[int], None],
        primary: Primary,
        connections: BlockingConnections,
        key: bytes,
        timeout_s: float,
    ) -> None:
        super().__init__(near, timeout_s)
        self._key = key
        self._heard = heard
        self._primary = primary
        self._connections = connections

    def begin_anew(self) -> None:
        """Be as if nothing had been followed yet."""
        super().begin_anew()
        self._lock = threading.Lock()
        self._queue: deque[tuple[Sequence[bytes], bytes, Future[Answer]]] = deque()
        self._waker: socket.socket | None = None
        self._pending: deque[_Asked] = deque()

    @staticmethod
    def beat_of(key: bytes, timed_probe: bytes) -> tuple[bytes, int]:
        """Return what a beat asks, packed, and how many replies it has."""
        return pack([b"GET", key]) + timed_probe, 2

    def ask(self, commands: Sequence[bytes], probe: bytes) -> Future[Answer] | None:
        """Send readings of one reply each, and their probe; ``None`` where nothing is followed now."""
        self.start()
        future: Future[Answer] = Future()
        with self._lock:
            if self._waker is None:
                return None
            self._queue.append((commands, probe, future))
            if len(self._queue) == 1:
                self._ring()
        return future

    def wake(self) -> None:
        """Have ``follow`` look whether it is to end."""
        with self._lock:
            self._ring()

    def _ring(self) -> None:
        """Wake the thread, if it follows anything; where as much as can be was sent before, that wakes it."""
        if self._waker is not None:
            with suppress(BlockingIOError):
                self._waker.send(b"x")

    def follow(self, lease: Lease) -> None:
        """Connect and follow; any exception ends it."""
        try:
            self._follow(self._connections.take(), lease)
        except Exception as error:
            self._primary.led_astray(error)
            raise

    def _follow(self, connection: Any, lease: Lease) -> None:
        waker, woken = socket.socketpair()
        waker.setblocking(False)
        try:
            wire: socket.socket = connection._sock
            wire.settimeout(self._timeout_s)
            replies = Replies(wire)
            self._set_up(wire, replies)
            self._beat, self._beat_replies = self.beat_of(self._key, timed_probe_of(self._key))
            with self._lock:
                self._waker = waker
            self._serve(wire, replies, woken, lease)
        finally:
            self._leave()
            connection.disconnect()
            waker.close()
            woken.close()

    def _leave(self) -> None:
        """Give those who asked nothing; they ask over another connection."""
        with self._lock:
            self._waker = None
            left = [future for _, _, future in self._queue]
            left += [asked.future for asked in self._pending if asked.future is not None]
            self._queue.clear()
            self._pending.clear()
        for future in left:
            if not future.done():
                future.set_result(None)

    @staticmethod
    def _set_up(wire: socket.socket, replies: Replies) -> None:
        wire.sendall(SETTING_UP)
        hello, tracked = replies.read(), replies.read()
        for answer in (hello, tracked):
            if isinstance(answer, ErrorReply):
                raise StoreUnavailable(
                    f"the server does not let changes be followed ({answer}); grant its user +hello +client|tracking "
                    "+client|caching, as in deploy/valkey"
                )
        check_tells(hello)

    def _serve(self, wire: socket.socket, replies: Replies, woken: socket.socket, lease: Lease) -> None:
        poll = select.poll()
        poll.register(wire, select.POLLIN)
        poll.register(woken, select.POLLIN)
        next_beat_s = time.monotonic()
        while not self.is_stopping and not lease.is_over:
            now_s = time.monotonic()
            if self._pending and now_s - self._pending[0].at_s > self._timeout_s:
                raise StoreUnavailable(f"the server said nothing for {self._timeout_s:g} s")
            if now_s >= next_beat_s:
                if now_s > self._primary.ask_at_s and self._connections.has_moved(self._timeout_s):
                    raise StoreUnavailable("the primary is another server by now")
                next_beat_s = now_s + BEAT_S
                if len(self._pending) < BEATS_MAX or self._pending[-1].future is not None:
                    self._send(wire, self._beat, _Asked(self._beat_replies, None))
            ready = {} if replies.has_more else dict(poll.poll(max(0.0, next_beat_s - time.monotonic()) * 1000))
            if woken.fileno() in ready:
                woken.recv(4096)
            self._send_queued(wire)
            if replies.has_more or wire.fileno() in ready:
                self._take(replies.read(), lease)

    def _send_queued(self, wire: socket.socket) -> None:
        while self._queue:
            with self._lock:
                commands, probe, future = self._queue.popleft()
            if future.set_running_or_notify_cancel():
                packed = b"".join([CACHING + command for command in commands])
                self._send(wire, packed + probe, _Asked(2 * len(commands) + 1, future))

    def _send(self, wire: socket.socket, packed: bytes, asked: _Asked) -> None:
        self._pending.append(asked)
        wire.sendall(packed)

    def _take(self, said: Any, lease: Lease) -> None:
        if isinstance(said, Push):
            if said and said[0] == b"invalidate":
                self._changed(said[1])
            return
        if isinstance(said, ErrorReply):
            raise StoreUnavailable(f"the server refused what a near cache asks: {said}")
        asked = self._pending[0]
        asked.replies.append(said)
        if len(asked.replies) < asked.count:
            return
        self._pending.popleft()
        if asked.future is not None:
            asked.future.set_result([*asked.replies[1:-1:2], asked.replies[-1]])
            return
        if isinstance(said, int):
            self._heard(said)
        self.near.renew(lease, asked.at_s)

    def _changed(self, keys: list[bytes] | None) -> None:
        if keys is None:
            raise StoreUnavailable("the server was emptied")
        self.near.changed([key.partition(b"}:")[2] for key in keys])


def check_tells(hello: Any) -> None:
    """Refuse a server that does not tell of all that a function reads, or whose greeting is not understood.

    Args:
        hello: its reply to ``HELLO 3``.

    Raises:
        StoreUnavailable: what it answers must not be kept.
    """
    fields = hello if isinstance(hello, dict) else {}
    server, version = fields.get(b"server"), fields.get(b"version")
    if server == b"valkey":  # the oldest calls itself Redis 7.2
        return
    numbers = version.split(b".")[:2] if isinstance(version, bytes) else []
    is_known = server == b"redis" and len(numbers) == 2 and all(number.isdigit() for number in numbers)
    if not is_known or tuple(map(int, numbers)) < OLDEST_REDIS:
        raise StoreUnavailable(
            "Redis 7.0 does not tell of the keys that a function reads; a near cache needs Redis 7.2 or Valkey; "
            "the server is asked each time"
        )


def tracking_of(
    address: Address, pool: DriverPool, codec: ValkeyCodec, near: NearCache, heard: Callable[[int], None]
) -> Tracking:
    """Return what follows the changes of a store.

    Args:
        address: where it is.
        pool: how blocking connections to its server are made.
        codec: knows its keys.
        near: is told what has changed.
        heard: is told the server's time.
    """
    timeout_s, key = address.policy.timeout_s, codec.last_stamp_key
    primary = address.primary(pool, key)
    connections = BlockingConnections(pool, primary, key, nothing, nothing_moved, 0, timeout_s)
    return Tracking(near, heard, primary, connections, key, timeout_s)


def nothing() -> Steps:
    """Make nothing ready."""
    yield from ()


def nothing_moved() -> None:
    """Do nothing: whatever was kept was dropped with the connection before."""
