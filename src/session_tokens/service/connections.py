"""How many connections there are at a time, whose they are, and which of them makes room for another.

A connection has its place from the moment it is accepted, before a byte of it or of its TLS handshake was read. Where
all places are taken, one makes room: first one that is idle, then one that ends or whose client hung up and may be gone
though its answer is not made yet, then the one whose request takes longest to arrive; of the source that holds most,
where it has one. Only where every connection has a request under way is a new one refused.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from ..web.addresses import Network, address_in
from .crew import Load, OwnLoad

log = logging.getLogger("session_tokens.service")

CONNECTIONS_MAX: Final = 1_000
CONSOLE_CONNECTIONS_MAX: Final = 100
"""On the console's own listener, so that operators get in whatever happens to the service."""
CONNECTIONS_MIN: Final = 16
REFUSED_MAX: Final = 64
"""Connections that still get an answer saying that there are too many; more are closed without a word."""
FILES_KEPT: Final = 256
"""Files that the store and all the rest may open beside connections."""
KNOWN_MAX: Final = 4_096
"""Addresses whose source is remembered, so that it is not worked out at each connection."""
TOLD_EVERY_S: Final = 60.0


class Place:
    """What one connection holds while it is there.

    Attributes:
        source: whom it counts against; ``None`` for a proxy that is trusted and for sockets of this machine.
        since_s: when it was accepted, on the loop's clock.
        is_refused: whether it only gets an answer saying that there are too many.
        cut: ends the connection now.
    """

    __slots__ = ("_all", "_is_held", "_queue", "cut", "is_refused", "since_s", "source")

    def __init__(
        self, connections: Connections, source: str | None, since_s: float, *, is_refused: bool = False
    ) -> None:
        self._all = connections
        self._queue: dict[Place, None] | None = None
        self._is_held = True
        self.source = source
        self.since_s = since_s
        self.is_refused = is_refused
        self.cut: Callable[[], object] = lambda: None

    def is_idle(self) -> None:
        """Note that nothing of a request has come yet."""
        if self._queue is None and self._is_held and not self.is_refused:  # the same as below, at each request
            self._queue = idle = self._all.idle
            idle[self] = None
        else:
            self._move(self._all.idle)

    def is_asked(self) -> None:
        """Note that a request has begun to come; each piece of it makes the connection no younger."""
        if self._queue is not self._all.coming:
            self._move(self._all.coming)

    def is_busy(self) -> None:
        """Note that a request is under way, so that this connection makes room for none."""
        self._move(None)

    def works(self) -> bool:
        """Note that a request begins; whether it may: those of clients that are gone are bounded too."""
        if self._queue is not None:
            self._move(None)
        if self._all.requests >= self._all.requests_max:
            self._all.tell("requests refused")
            return False
        self._all.requests += 1
        return True

    def has_worked(self) -> None:
        """Note that the request under way is done; also when the connection went before it."""
        self._all.requests -= 1

    def is_ending(self) -> None:
        """Note that nothing more will be read: the client closed its half, or the last answer is made."""
        self._move(self._all.ending)

    def leave(self) -> None:
        """Give the place back; twice is the same."""
        if self._is_held:
            self._is_held = False
            self._move(None)
            self._all.left_by(self)

    def _move(self, queue: dict[Place, None] | None) -> None:
        if self._queue is not None:
            del self._queue[self]
        self._queue = queue if self._is_held and not self.is_refused else None
        if self._queue is not None:
            self._queue[self] = None


class Connections:
    """The places of one listener.

    Args:
        most: how many there are. One source takes three quarters of them at most.
        trusted_proxies: networks whose connections are many people's and count against no source.
        load: where they are counted for other workers to see.

    Attributes:
        most, trusted_proxies, load: as given.
        idle: of connections without a request, the longest idle one first.
        ending: of those that read no more: their client closed its half and may be gone, or must take an answer.
        coming: of those whose request has not come whole.
        requests: under way.
    """

    def __init__(
        self, most: int = CONNECTIONS_MAX, trusted_proxies: Sequence[Network] = (), load: Load | None = None
    ) -> None:
        self.most = most
        self.load = OwnLoad() if load is None else load
        self.of_source_max = max(1, most * 3 // 4)
        self.requests_max = 2 * most
        self.requests = 0
        self.idle: dict[Place, None] = {}
        self.ending: dict[Place, None] = {}
        self.coming: dict[Place, None] = {}
        self.trusted_proxies = tuple(trusted_proxies)
        self._known: dict[str, str | None] = {}
        self._held = self._refused = 0
        self._sources: Counter[str] = Counter()
        self._happened: Counter[str] = Counter()
        self._telling: asyncio.TimerHandle | None = None

    def place_for(self, peer: object) -> Place | None:
        """Return the place of a connection that was accepted, making room where there is none.

        Args:
            peer: the other side's address as sockets name it.

        Returns:
            A place; one that ``is_refused`` where nothing makes room; ``None`` where too many are being refused.
        """
        source = self._source_of(peer)
        now_s = asyncio.get_running_loop().time()
        if source is not None and self._sources[source] >= self.of_source_max:
            has_room = self.make_room(source)
        else:
            has_room = self._held < self.most or self.make_room()
        if not has_room:
            if self._refused >= REFUSED_MAX:
                self.tell("closed at once")
                return None
            self.tell("refused")
            self._refused += 1
            return Place(self, source, now_s, is_refused=True)
        self._held += 1
        self.load.connections += 1
        if source is not None:
            self._sources[source] += 1
        place = Place(self, source, now_s)
        place.is_idle()
        return place

    def left_by(self, place: Place) -> None:
        """Count a place that was given back."""
        if place.is_refused:
            self._refused -= 1
            return
        self._held -= 1
        self.load.connections -= 1
        if place.source is not None:
            self._sources[place.source] -= 1
            if not self._sources[place.source]:
                del self._sources[place.source]

    def make_room(self, source: str | None = None) -> bool:
        """End one connection that makes room for another; whether there was one.

        Args:
            source: whose alone may go; if ``None``, those of the sources that hold most go first.
        """
        if source is None:
            most = max(self._sources.values(), default=0)
            largest = {source for source, count in self._sources.items() if count == most}
        else:
            largest = {source}
        for queue, words in ((self.idle, "idle"), (self.ending, "ending"), (self.coming, "slow")):
            place = next((place for place in queue if place.source in largest), None)
            if place is None and source is None:
                place = next(iter(queue), None)
            if place is not None:
                self.tell(f"closed while {words}")
                place.leave()
                place.cut()
                return True
        return False

    def tell(self, what: str) -> None:
        """Count what happened, and write it down: at once the first time, then once a minute."""
        self._happened[what] += 1
        if self._telling is None:
            self._tell()

    def _tell(self) -> None:
        self._telling = None
        if not self._happened:
            return
        counts = ", ".join(f"{what}: {count}" for what, count in sorted(self._happened.items()))
        log.warning("there are too many connections (%s)", counts, extra={"event": "too_many_connections"})
        self._happened.clear()
        self._telling = asyncio.get_running_loop().call_later(TOLD_EVERY_S, self._tell)

    def _source_of(self, peer: object) -> str | None:
        """Return whom a connection counts against: an address, of IPv6 the network that one customer is given."""
        if not isinstance(peer, tuple):
            return None
        host = str(peer[0])
        if host not in self._known:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[host] = self._source_at(host)
        return self._known[host]

    def _source_at(self, host: str) -> str | None:
        try:
            address = address_in(host.partition("%")[0])
        except ValueError:
            return None
        if any(address in network for network in self.trusted_proxies if network.version == address.version):
            return None
        return address.packed[:8].hex()


def allowed_connections(wanted: int = CONNECTIONS_MAX) -> int:
    """Let this process open as many files as its connections need; return how many connections that makes.

    The soft limit is raised up to the hard one. Where that is too low, the log says so and what to raise.
    """
    beside = FILES_KEPT + REFUSED_MAX + CONSOLE_CONNECTIONS_MAX
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted + beside:
        raised = wanted + beside if hard == resource.RLIM_INFINITY else min(hard, wanted + beside)
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        soft = raised
    if soft == resource.RLIM_INFINITY or soft >= wanted + beside:
        return wanted
    # Half where there is next to nothing, so that the store keeps some whatever the limit is.
    allowed = max(CONNECTIONS_MIN, soft - beside if soft >= 2 * beside else soft // 4)
    log.warning(
        "this process may open %d files, so that it takes %d connections at a time and not %d; raise the limit to %d "
        "(systemd: LimitNOFILE=, a shell: ulimit -n)", soft, allowed, wanted, wanted + beside,
        extra={"event": "few_files"},
    )  # fmt: skip
    return allowed
