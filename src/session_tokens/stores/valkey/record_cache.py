"""What this process has seen of the records lately, so that a command on them needs one round trip and not two.

Theory of operation. A command reads, judges, and commits only if nothing that it read has changed. Where all that it
reads was seen here lately, the rule runs on that *cached* state, and the commit is sent at once with the stamps of
what was cached. The server compares them, so a commit that is written rests on what is there, as if it had been read
in that instant. One that is refused, for whatever reason, was a guess: the records are read and the rule runs again.
So nothing here has to be right, and nobody has to be notified when others write; it only has to be right mostly.

- Only commits run on the cache. A refusal, an error and a rule that changes nothing are judged on a fresh reading.
- Time is estimated too: the commit names the instant at which it was judged and the one until which that holds, and
  the server's clock must lie between them. What is dead by then is not brought back.
- A part is content and stamp that were read, or written, together. A bucket that a commit of ours touches is forgotten:
  others may have added to it meanwhile, and a new stamp with old content would be a wrong entry.
- What is not confirmed is not taken in: where replicas are asked for, a write is when they have it. And all is
  forgotten when the store's address leads to another run of a server (``drop``): there other writes may stand.
- Where guesses turn out wrong, as when many processes write the same records, the next commands read first: 1 after
  the first refusal, then 3, 7, up to 63, so that a wrong guess in every command costs a few per cent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from ...contract.optimistic import Commit
from ...contract.queries import Query
from ...contract.transaction import Rule, WriteSet
from ...records import OwnerEntry, Session, Token
from ..common.generational_cache import GenerationalCache
from .keys import STAMP_LENGTH, lookup_part, owner_part, part_of

T = TypeVar("T")

SEEN_MAX = 8_192
"""Parts that are remembered in each of two generations."""
VALUE_MAX = 2_048
"""Bytes of the largest value that is remembered."""
BELIEVED_MS = 1_000
"""How much later than it was judged a command on cached records may be carried out."""
REFUSALS_MAX = 6

IDS_MAX = 64
"""Ids of the largest bucket that is remembered."""

Part = tuple[bytes | None, bytes, Any]
"""A value, its stamp, and what it says: a record, the name a look-up key leads to, the ids of a bucket."""


class Wrote(Protocol):
    """What a commit writes.

    Attributes:
        bodies: name, value without stamp, and record of what is put.
        gone: names and buckets of which nothing is known afterwards.
    """

    bodies: list[tuple[bytes, bytes, Any]]
    gone: list[bytes]


class Unseen(Exception):
    """A rule asks for what was not seen lately."""


class NeverSeen(Exception):
    """A rule asks for a kind of thing that is not remembered."""


class RecordCache:
    """What one store has seen lately; safe for threads, as each step is one operation on a dictionary.

    Args:
        now: the server's time as well as it is known, in milliseconds.
    """

    def __init__(self, now: Callable[[], int]) -> None:
        self.now = now
        self._parts: GenerationalCache[bytes, Part] = GenerationalCache(SEEN_MAX)
        self._unheld: set[Rule[Any]] = set()
        self._refusals = self._doubts = 0
        self.get = self._parts.get
        self.forget = self._parts.forget
        self.drop = self._parts.clear

    def saw(self, name: bytes, value: bytes | None, said: Any) -> None:
        """Remember the value of a name, ``None`` for its absence, and what it says."""
        if value is None:
            self._parts.keep(name, (None, b"", said))
        elif len(value) <= VALUE_MAX:
            self._parts.keep(name, (value, value[:STAMP_LENGTH], said))
        else:
            self._parts.forget(name)

    def saw_bucket(self, name: bytes, stamp: bytes, ids: Sequence[bytes]) -> None:
        """Remember the ids of a bucket, if they are few."""
        if len(ids) <= IDS_MAX:
            self._parts.keep(name, (None, stamp, ids))
        else:
            self._parts.forget(name)

    def wrote(self, stamp: bytes, writes: Wrote) -> None:
        """Take in what a commit of ours has written under a stamp, once it is confirmed."""
        for name, body, record in writes.bodies:
            self.saw(name, stamp + body, record)
        for name in writes.gone:
            self._parts.forget(name)

    def cached_run(self, rule: Rule[T], args: tuple[object, ...]) -> tuple[T, Commit] | None:
        """Run a rule on what was seen lately; ``None`` where it has to be run on what is read."""
        if self._doubts:
            self._doubts -= 1
            return None
        if rule in self._unheld:
            return None
        tx = CachedTransaction(self, self.now())
        try:
            answer = rule(tx, *args)
        except NeverSeen:
            self._unheld.add(rule)
            return None
        except Exception:  # what is not there, a refusal, or parts of different instants that contradict each other
            return None
        changes = tx.changes
        if not changes:
            return None
        changes.not_after = min(changes.not_after, tx.now + BELIEVED_MS)
        return answer, Commit(changes, tx.used, tx.now)

    def was_right(self) -> None:
        """A commit on cached records is written."""
        if self._refusals:
            self._refusals -= 1

    def was_wrong(self) -> None:
        """A commit on cached records is refused."""
        self._refusals = min(self._refusals + 1, REFUSALS_MAX)
        self._doubts = 2**self._refusals - 1


class CachedTransaction(WriteSet):
    """A transaction on what was seen lately.

    Args:
        near: what was seen.
        now: the instant at which it is judged, in milliseconds.

    Attributes:
        used: name → stamp of each part that was asked for.
    """

    __slots__ = ("_part", "_record_cache", "now", "used")

    def __init__(self, record_cache: RecordCache, now: int) -> None:
        super().__init__()
        self._record_cache = record_cache
        self._part = record_cache.get
        self.now = now
        self.used: dict[Any, bytes] = {}

    def _asked(self, name: bytes) -> Any:
        part = self._part(name)
        if part is None:
            raise Unseen
        self.used[name] = part[1]
        return part[2]

    def session(self, id: str) -> Session | None:
        """The session of an id."""
        session: Session = self._asked(b"s:" + part_of(id))
        return session

    def session_by_lookup(self, lookup: str) -> Session | None:
        """The session whose present secret is looked up by that."""
        session: Session = self._led(b"S:" + lookup_part(lookup))
        if session.lookup != lookup:
            raise Unseen
        return self.session(session.id)

    def entry(self, owner: str) -> OwnerEntry | None:
        """The entry of an owner."""
        entry: OwnerEntry | None = self._asked(b"e:" + owner_part(owner))
        return entry

    def token(self, id: str) -> Token | None:
        """The token of an id."""
        token: Token = self._asked(b"t:" + part_of(id))
        return token

    def token_by_lookup(self, lookup: str) -> Token | None:
        """The token whose present secret is looked up by that."""
        token: Token = self._led(b"T:" + lookup_part(lookup))
        if token.lookup != lookup:
            raise Unseen
        return self.token(token.id)

    def _led(self, name: bytes) -> Any:
        """Return the record to which a look-up key leads."""
        record = self._asked(self._asked(name))
        if record is None:
            raise Unseen
        return record

    def ahead(self, queries: Sequence[Query]) -> None:
        """Nothing is read here."""

    def sessions_of(self, owner: str, limit: int | None = None, newest: bool = False) -> Sequence[Session]:
        """The sessions of an owner that were not ended, if all are known."""
        sessions = []
        for id in self._asked(b"bo:" + owner_part(owner)):
            session: Session = self._asked(b"s:" + id)
            if session.owner == owner and session.ended_at is None:
                sessions.append(session)
        if limit is None:
            return sessions
        return sessions[-limit:] if newest else sessions[:limit]

    def setting(self, name: str) -> str | None:
        """A setting that all processes share."""
        text: str | None = self._asked(b"c:" + part_of(name))
        return text

    def _unheld(self, *_: object) -> Any:
        raise NeverSeen

    tokens_of = transferables_of = token_count_of = parked_tokens = predecessors_of = session_count_of = _unheld
    idempotency = service_key = _unheld
