"""Connections of valkey-py or redis-py, each held by one exchange at a time, to the primary of the day.

An exchange sends its commands in one go and reads as many replies. Whatever disturbs it, a time-out or a cancelled
task too, closes the connection, so that no reply is ever left over for the next exchange.

An address may come to lead to another server, and a server may become a replica while connections to it stay open.
So each new connection asks which run of which server it leads to, and whether that is a primary. Each read ends with a
probe, a command that changes nothing but may write, so that a replica refuses it: the library's function for
the time, or ``PERSIST`` of a key that never expires. Who is refused like that closes this connection and all idle ones.
Where a new connection leads to another run than those before, they are closed too, what was remembered of records is
forgotten, and a commit that was judged on the other run is not sent. In a cluster the probe is ``EXISTS`` of a key
that never is: a replica refuses it, and a node from which the slot is moved away key by key does.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any
from weakref import WeakSet

from ...contract.forks import Owned, in_children
from ...errors import StoreUnavailable
from ..common.retry import Declined, Elsewhere, NotExecuted
from ..common.waits import Deadlines
from .diagnosis import diagnosis
from .errors import (
    UNKNOWN_OUTCOME,
    NotReached,
    is_driver_error,
    is_of_another_role,
    is_refusal,
)
from .keys import keys_of
from .packing import pack
from .primaries import DriverPool, Options, Primary

IDLE_MAX = 16
"""Connections kept for later exchanges."""
LOOKED_FOR = 0.5
"""The part of a call's time for which it is asked whether the primary has moved, while that answers as ever."""
SHORTEST_S, SLACK = 0.001, 1.05
"""Seconds of the shortest wait of a thread, and how many times as long as it should it may be at the most."""
LOOK_AFTER_S = 0.05
"""A connection that lay idle for longer is checked before it is used: its server may have gone meanwhile."""


class NoTimeLeft(Exception):
    """Another server was not asked: what was to be found out has had all the time that it may take."""


class Moved(Exception):
    """A commit was not sent: the address leads to another server than the one on which it was judged."""


TIME = pack([b"TIME"])
ASKED_AT_LEAST = 3
"""Of other servers, so many can be asked for where the primary is, though all but the last keep silent."""


def timed_probe_of(key: bytes) -> bytes:
    """Return a packed command that a primary alone carries out which holds a key, and that tells the time."""
    return pack([b"FCALL", b"session_tokens_now_v1", b"1", key])


Steps = Generator[list[bytes], Any, None]
"""Yields commands; the reply is sent in, or thrown in as ``StoreError``."""
_Idle = tuple[Any, str, float]
"""A connection, the run that it leads to, and since when it is idle, in seconds."""


_of_this_process: WeakSet[Connections] = WeakSet()


def _begin_anew() -> None:
    """Leave their connections to the process that this one was forked from: the replies on them are not for us."""
    for connections in list(_of_this_process):
        connections._taken_idle()


in_children(_begin_anew)


class Connections:
    """What connections for asyncio and for threads have in common.

    A forked process makes its own.

    Attributes:
        run: of the server to which the last new connection led; empty before the first.
        probe: what a read ends with that knows the time, or does not care.
        timed_probe: what another ends with; it returns the instant in milliseconds.

    Args:
        pool: the connection pool of a client; only how it makes connections is used.
        primary: finds where they lead.
        key: of the store, one that has no expiry.
        preparing: makes the steps by which a server is made ready for the store.
        when_moved: called when a connection leads to another server run than those before.
        replicas: how many are to confirm each commit.
        timeout_s: seconds that one call may take.
    """

    def __init__(
        self,
        pool: DriverPool,
        primary: Primary,
        key: bytes,
        preparing: Callable[[], Steps],
        when_moved: Callable[[], None],
        replicas: int,
        timeout_s: float,
    ) -> None:
        self._pool = pool
        self._primary = primary
        self._options: Options = primary.options  # of the connection that was made last
        self._at: Options = primary.options  # of the one that was made last to the primary
        self._preparing = preparing
        self._timeout_s = timeout_s
        self._replicas = replicas
        self._was_followed = False
        self.probe = pack([b"EXISTS", key[:-1] + b"0"] if primary.in_cluster else [b"PERSIST", key])
        self.timed_probe = timed_probe_of(key)
        self._keys = keys_of(key)
        self._greeting = b"".join(primary.greeting)
        self._when_moved = when_moved
        self.run = ""
        self._idle: list[_Idle] = []
        self._owned = Owned()
        self._closed = False
        self._deadlines = Deadlines()  # of those for asyncio; the others have it from their sockets
        _of_this_process.add(self)

    @staticmethod
    def limited(connection: Any, left_s: float) -> Any:
        """Return a connection for threads, each of whose waits ends about when the time of a call is over.

        A socket that waits about as long already is left as it is: to set it is a call to the system.
        """
        wire = connection._sock
        if wire is not None and not left_s <= wire.gettimeout() <= left_s * SLACK:
            wire.settimeout(max(SHORTEST_S, left_s))
        return connection

    def _greeted(self, replies: Sequence[Any]) -> str:
        """Return the run to which a new connection leads; what is known of another one is forgotten.

        Raises:
            StoreError: it leads to no server of the kind that was named.
            NotExecuted: it leads to a replica, or to one that may have become one.
        """
        run, self._was_followed = self._primary.insist(*replies)
        if run != self.run:
            is_first, self.run = not self.run, run
            if not is_first:
                self._when_moved()
        return run

    def _never_followed(self) -> Declined:
        """Return the error for a primary that never had a replica, where replicas are to confirm.

        Its replication offset is 0, and ``WAIT`` for that counts a first replica before it has loaded anything.
        """
        return Declined(f"0 of {self._replicas} replicas have ever been there; nothing was written")

    def why_not_reached(self, lost: NotReached, told: NotExecuted) -> NotExecuted:
        """Ask the port what is wrong with how it was spoken to; takes up to three seconds.

        Args:
            lost: what came of speaking to it.
            told: what was made of that, and is to be told where the port does not say more.
        """
        tls = any(kind.__name__ == "SSLConnection" for kind in self._pool.connection_class.__mro__)
        options = self._options if lost.options is None else lost.options
        return NotExecuted(diagnosis(options, wants_tls=tls) or str(told))

    @property
    def has_idle(self) -> bool:
        """Whether there is a connection that nobody uses."""
        return bool(self._idle)

    def _taken_idle(self) -> list[_Idle]:
        """Return the idle connections, which nobody takes any more, to be closed."""
        taken, self._idle = self._idle, []
        return taken

    def _new(self, options: Options) -> Any:
        """Return a connection that is yet to be made."""
        self._options = options
        return self._pool.connection_class(**options)

    def _is_led_astray(self, error: BaseException) -> bool:
        """Whether an error says that the primary may be elsewhere: so may silence, where there are others to ask."""
        if is_of_another_role(error) or isinstance(error, Elsewhere):
            return True
        return self._primary.can_move and is_driver_error(error) and not is_refusal(error)

    def _believe(self, run: str, probe: bytes) -> None:
        """Refuse answers of another server than the one to which the address leads by now."""
        if run != self.run:
            raise Elsewhere(_MOVED) if probe else StoreUnavailable(f"{_MOVED}; {UNKNOWN_OUTCOME}")


_MOVED = "the address of the store came to lead to another server meanwhile"


def arrived(connection: Any, most: int) -> Iterator[Any]:
    """Yield replies that came along with one that was just read, ``most`` at the most; an error stands for itself.

    The drivers' fast parsers hold them. To ask the driver for each takes ten times as long, and of one that keeps them
    in another way none is taken here: whoever wants more asks it.
    """
    reader: Any = getattr(getattr(connection, "_parser", None), "_reader", None)
    if not hasattr(reader, "gets") or getattr(connection, "protocol", None) in _WITH_PUSHES:
        return
    for _ in range(most):
        reply = reader.gets(False)
        if reply.__class__ is object:  # the driver's word for one that has not come whole
            return
        yield reply


_WITH_PUSHES = (3, "3")
"""Protocols in which a server says things unasked, which are the driver's to tell apart."""


def leaves_nothing(error: BaseException, replies: int, probe: bytes) -> bool:
    """Whether no reply is left over after an error, and the connection is good for the next exchange."""
    return isinstance(error, Moved | Declined) or (
        replies == 1 and not probe and is_refusal(error) and not is_of_another_role(error)
    )
