"""The contract of a store on a server: five exchanges, and how the server is connected to. The kit does the rest.

Theory of operation. An author writes a ``Backend``: what is said to the server for a read, a commit, the sweeper, the
opening and a scan, as generators without I/O that yield what to ask and are sent the answer. ``ServerStore`` and its
twin for threads drive them over pooled connections (``pools``), within the store's time-out and with the one retry and
breaker (``retry``), and run rules optimistically on them. ``docs/how-to/write-a-store.md`` is the manual.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from ...contract.batch import Batch
from ...contract.event_log import LogRead
from ...contract.optimistic import Commit
from ...contract.queries import DueRecord, Query
from ...contract.record_cache import RecordCache
from ...contract.unreadable import Unreadables
from ...crypto.minting import PepperKeyring
from ...events import Event, Place
from .copying import Dump
from .findings import Finding, Progress
from .pepper_records import Mark
from .pools import Exchange, Links
from .server_clock import ServerClock


class Backend(ABC):
    """What one kind of server is asked, and what its answers mean.

    Args:
        links: how the server is connected to.
        keyring: the peppers.

    Attributes:
        clock: the server's clock, as well as it is known.
        unreadables: told of each record that is left out because it cannot be read.
        record_cache: what was seen lately, for backends that tell it what they read and wrote; then most commands are
            a ``commit`` alone.
    """

    record_cache: RecordCache | None = None

    def __init__(self, links: Links, keyring: PepperKeyring) -> None:
        self.links = links
        self.keyring = keyring
        self.clock = ServerClock()
        self.unreadables = Unreadables()

    @abstractmethod
    def fetch(self, queries: Sequence[Query]) -> Exchange[Batch]:
        """Return the results of queries as of one instant, that instant on the server's clock, and their stamps.

        An error in place of a result is for who asked that query. On a server that is not the primary it raises
        ``Elsewhere``.
        """

    @abstractmethod
    def commit(self, commits: Sequence[Commit]) -> Exchange[Sequence[bool | Exception]]:
        """Write each command whole or not at all; return for each whether it was, or its error.

        ``Changes.events`` are written with it. A command is refused (``False``) if a stamp has moved, if the server's
        clock is before its ``now``, or if at the last step before it is written the clock is at or after its
        ``not_after``. Where an error says that nothing
        was written, it is a ``NotExecuted``: then the same is asked once more.
        """

    @abstractmethod
    def due(self, now: int, limit: int) -> Exchange[Sequence[DueRecord]]:
        """Return at most ``limit`` keys of what should be swept at ``now``, longest due first."""

    @abstractmethod
    def prepare(self) -> Exchange[None]:
        """Make what records need where it is not there, and see that it and the peppers are the right ones.

        Raises:
            InvalidInput: a pepper that records need is missing, or another one.
            StoreError: what is there is of another version.
        """

    @abstractmethod
    def scan(self, kind: str, after: str, limit: int) -> Exchange[Dump]:
        """Return a batch of all records of a kind; see ``copying.Copyable``."""

    @abstractmethod
    def count(self) -> Exchange[int]:
        """Return how many records there are in the name space."""

    @abstractmethod
    def clear(self) -> Exchange[None]:
        """Delete every record of the name space, and which peppers it had."""

    @abstractmethod
    def is_there(self) -> Exchange[bool]:
        """Return whether there is a store of this name space; make nothing."""

    @abstractmethod
    def migrate(self, grant_to: str | None) -> Exchange[list[int]]:
        """Bring what is there up to this version; return the numbers of the steps taken."""

    @abstractmethod
    def check(self, fix: bool, progress: Progress | None) -> Exchange[Sequence[Finding]]:
        """Return what is wrong with the records and what they rest on; mend what can be mended where ``fix``."""

    @abstractmethod
    def read_events(self, after: Place, limit: int) -> Exchange[LogRead]:
        """Return at most ``limit`` events that stand after a place; see ``contract.event_log``."""

    @abstractmethod
    def trim_events(self, keep: int) -> Exchange[int]:
        """Take away the oldest of the events beyond ``keep``, ``TRIMMED_AT_ONCE`` at most; return how many were."""

    @abstractmethod
    def rewrite_events(self, change: Callable[[Event], Event]) -> Exchange[int]:
        """Put what ``change`` returns in the place of each event that it changes; return how many those were."""

    @abstractmethod
    def pepper_marks(self) -> Exchange[dict[str, Mark]]:
        """Return what is recorded of each pepper, by its key id."""

    @abstractmethod
    def forget_pepper(self, key_id: str) -> Exchange[None]:
        """Record of a pepper nothing any more."""

    def heard(self, batch: Batch) -> Batch:
        """Take in the instant of a batch; return the batch."""
        self.clock.heard(batch.now)
        return batch
