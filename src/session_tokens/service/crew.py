"""The workers of one service, as each of them sees the others.

A service runs as one process, which is ``Alone``, or as several workers (``workers``) that accept from the same
sockets. What must hold for the service as a whole stands here: how the connections are shared out, what is counted
together, and how one worker asks all others for what only they know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .tallies import OwnTallies, Tallies

METRICS = "metrics"
"""Asks a worker for everything that it counted."""
ACTIVITY = "activity"
"""Asks a worker for what it saw happen."""


class Load(Protocol):
    """What one worker carries, for all to see.

    Attributes:
        connections: that it holds, of all listeners.
        streams: of events that it sends.
        accepts_at_once: how many connections it takes before it looks at what the others carry.
    """

    connections: int
    streams: int
    accepts_at_once: int

    @property
    def all_streams(self) -> int:
        """How many streams all workers send together."""
        ...

    @property
    def is_above_others(self) -> bool:
        """Whether another worker has room for a connection before this one."""
        ...


class Crew(Protocol):
    """The workers of a service.

    Attributes:
        size: how many they are.
        leads: whether this is the one that does what is done once: sweeping, sending webhooks.
        load: what this one carries.
    """

    size: int
    leads: bool
    load: Load

    def tallies(self, name: str) -> Tallies:
        """Return counts that all workers keep together; ``name`` is one of ``workers.memory.TALLIES``."""
        ...

    def answer(self, what: str, answer: Callable[[Any], Any]) -> None:
        """Have what the others ask answered by ``answer(of)``, in plain values of JSON."""
        ...

    async def ask(self, what: str, of: Any = None) -> list[Any]:
        """Return what the others answer; one that does not in time is left out."""
        ...

    def tell(self, what: str, of: Any) -> None:
        """Have the others told something, from any thread; nobody waits for it."""
        ...


class OwnLoad:
    """What a service of one process carries."""

    accepts_at_once = 100

    def __init__(self) -> None:
        self.connections = 0
        self.streams = 0

    @property
    def all_streams(self) -> int:
        """How many streams there are."""
        return self.streams

    @property
    def is_above_others(self) -> bool:
        """Whether another worker has room; there is none."""
        return False


class Alone:
    """A service of one process."""

    size = 1
    leads = True

    def __init__(self) -> None:
        self.load: Load = OwnLoad()
        self._tallies: dict[str, Tallies] = {}

    def tallies(self, name: str) -> Tallies:
        """Return counts of this process, the same under one name."""
        return self._tallies.setdefault(name, OwnTallies())

    def answer(self, what: str, answer: Callable[[Any], Any]) -> None:
        """Do nothing: nobody asks."""

    async def ask(self, what: str, of: Any = None) -> list[Any]:
        """Return nothing: nobody answers."""
        return []

    def tell(self, what: str, of: Any) -> None:
        """Do nothing: nobody listens."""


def share_of(most: int, crew: Crew) -> int:
    """Return how much of what a service may hold falls to each of its workers."""
    return -(-most // crew.size)
