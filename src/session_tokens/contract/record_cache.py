"""What this process has seen of the records lately, so that a command on them needs one round trip and not two.

Theory of operation. A command reads, judges, and commits only if nothing that it read has changed. Where all that it
reads was seen here lately, the rule runs on that *cached* state, and the commit is sent at once with the stamps of
what was cached. The server compares them, so a commit that is written rests on what is there, as if it had been read
in that instant. One that is refused, for whatever reason, was a guess: the records are read and the rule runs again.
So nothing here has to be right, and nobody has to be notified when others write; it only has to be right mostly.

- Only commits run on the cache. A refusal, an error and a rule that changes nothing are judged on a fresh reading.
- Time is estimated too: the commit names the instant at which it was judged and the one until which that holds, and
  the server's clock must lie between them. What is dead by then is not brought back.
- A part is content and stamp that were read, or written, together. A set with a stamp of its own that a commit of ours
  changes is forgotten: others may have added to it meanwhile, and a new stamp with old content would be wrong.
- What a reading finds changed is remembered anew, and what it finds gone is forgotten, sets too: else each command on
  it would guess wrong once more, and have others read first.
- What is not confirmed is not taken in. Where a stamp may come back after a fail-over, all is forgotten when the
  store's address leads to another run of a server (``drop``): there other writes may stand.
- An outcome under an idempotency key is taken to be absent, which it is unless a command is sent again.
- A rule that asks for what was not seen again and again is tried less and less often, until it finds it.
- Where guesses turn out wrong, as when many processes write the same records, the next commands read first: 1 after
  the first refusal, then 3, 7, up to 63, so that a wrong guess in every command costs a few per cent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from ..records import IdempotencyRecord, OwnerEntry, ServiceKey, Session, Token
from .changes import Changes
from .conflict_queue import ConflictQueue
from .generational_cache import GenerationalCache
from .queries import Members, Query, Stamp
from .transaction import Rule, Transaction, queries_of

T = TypeVar("T")

SEEN_MAX = 8_192
"""Parts that are remembered in each of two generations."""
BELIEVED_MS = 1_000
"""How much later than it was judged a command on cached records may be carried out."""
REFUSALS_MAX = 6
MISSES_MAX = 6
"""How often in turn a rule asks for what was not seen, until only one in ``2**(MISSES_MAX - 3)`` tries it first."""

IDS_MAX = 64
"""Members of the largest set that is remembered."""

Part = tuple[Any, Stamp, Any]
"""A part as the store has it, its stamp, and what it says: a record, or the names of a set's members."""
Naming = Callable[[str], Any]
"""Returns the name of what has that id, look-up key, owner or name."""


class PartNames(NamedTuple):
    """How a store names what it stamps.

    Attributes:
        session, token, entry, setting, service_key, idempotency: the part of a record, by its own key.
        session_lookup, token_lookup: under which it is remembered to what record a look-up key leads. That says its
            look-up key itself, so no commit rests on these.
        sessions_of: under which the sessions of an owner that were not ended are remembered.
        absent: the stamp of what is not there.
    """

    session: Naming
    token: Naming
    entry: Naming
    setting: Naming
    service_key: Naming
    idempotency: Naming
    session_lookup: Naming
    token_lookup: Naming
    sessions_of: Naming
    absent: Stamp


class Unseen(Exception):
    """A rule asks for what was not seen lately."""


class NeverSeen(Exception):
    """A rule asks for a kind of thing that is not remembered."""


class RecordCache:
    """What one store has seen lately; safe for threads, as each step is one operation on a dictionary.

    Args:
        now: the server's time as well as it is known, in milliseconds.
        names: of the parts.
        set_part: of stores whose stamp of a set follows from its members: returns the part that a question asks for,
            from the ids and stamps of these. Of others a set is a part by itself, and so is each member.

    Attributes:
        refusals: how many more commits on it were refused than written, of late.
    """

    def __init__(
        self,
        now: Callable[[], int],
        names: PartNames,
        set_part: Callable[[Members, Sequence[tuple[str, Stamp]]], tuple[Any, Stamp]] | None = None,
    ) -> None:
        self.now = now
        self.names = names
        self.set_part = set_part
        self._parts: GenerationalCache[Any, Part] = GenerationalCache(SEEN_MAX)
        self._unheld: set[Rule[Any]] = set()
        self._misses: dict[Rule[Any], int] = {}
        self._passed: dict[Rule[Any], int] = {}
        self.refusals = self._doubts = 0
        self.get = self._parts.get
        self.keep = self._parts.keep
        self.forget = self._parts.forget
        self.drop = self._parts.clear

    def saw_set(self, name: Any, stamp: Stamp, members: Sequence[Any]) -> None:
        """Remember the names of all members of a set, if they are few."""
        if len(members) <= IDS_MAX:
            self._parts.keep(name, (None, stamp, members))
        else:
            self._parts.forget(name)

    def cached_run(
        self, rule: Rule[T], args: tuple[object, ...], queue: ConflictQueue | None = None
    ) -> tuple[T, CachedTransaction] | None:
        """Run a rule on what was seen lately; ``None`` where it has to be run on what is read.

        Args:
            rule: the rule.
            args: what it is called with, after the transaction.
            queue: where commands that collided take turns: nobody goes past those who wait.
        """
        if self._doubts:
            self._doubts -= 1
            return None
        if self.refusals and queue is not None and queue.turn_of(queries_of(rule, args)).locked():
            return None
        if rule in self._unheld or (rule in self._passed and self._is_passed(rule)):
            return None
        now = self.now()
        tx = CachedTransaction(self, now)
        try:
            answer = rule(tx, *args)
        except NeverSeen:
            if not any(map(callable, args)):  # else it was a rule within this one, and others within it may be held
                self._unheld.add(rule)
            return None
        except Unseen:
            misses = self._misses[rule] = min(self._misses.get(rule, 0) + 1, MISSES_MAX)
            self._passed[rule] = 2 ** max(0, misses - 3) - 1
            return None
        except Exception:  # a refusal, or parts of different instants that contradict each other
            return None
        if self._misses:
            self._misses.pop(rule, None)
        changes, not_after = tx.changes, now + BELIEVED_MS
        if not changes:
            return None
        if not_after < changes.not_after:
            changes.not_after = not_after
        return answer, tx

    def _is_passed(self, rule: Rule[Any]) -> bool:
        """Whether a rule is not tried this time, for it asked for what was not seen the last times."""
        left = self._passed.pop(rule, 0)
        if left > 1:
            self._passed[rule] = left - 1
        return left > 0

    def was_right(self) -> None:
        """A commit on cached records is written, after some were refused."""
        self.refusals = max(0, self.refusals - 1)

    def was_wrong(self) -> None:
        """A commit on cached records is refused."""
        self.refusals = min(self.refusals + 1, REFUSALS_MAX)
        self._doubts = 2**self.refusals - 1


class CachedTransaction(Transaction):
    """A transaction on what was seen lately.

    Args:
        record_cache: what was seen.
        now: the instant at which it is judged, in milliseconds.

    Attributes:
        used: name → stamp of each part that was asked for.
    """

    __slots__ = ("_names", "_part", "_set_part", "used")

    def __init__(self, record_cache: RecordCache, now: int) -> None:
        self.changes = Changes()  # as ``Transaction`` does, without another call
        self._names = record_cache.names
        self._part = record_cache.get
        self._set_part = record_cache.set_part
        self.now = now
        self.used: dict[Any, Stamp] = {}

    def _asked(self, name: Any) -> Any:
        part = self._part(name)
        if part is None:
            raise Unseen
        _, stamp, said = part
        if self.used.setdefault(name, stamp) != stamp:  # as ``_use``
            raise Unseen
        return said

    def _use(self, name: Any, stamp: Stamp) -> None:
        """Note what an answer rests on: what another thread changed between two of them is not taken for one."""
        if self.used.setdefault(name, stamp) != stamp:
            raise Unseen

    def session(self, id: str) -> Session | None:
        """The session of an id."""
        session: Session = self._asked(self._names.session(id))
        return session

    def session_by_lookup(self, lookup: str) -> Session | None:
        """The session whose present secret is looked up by that."""
        session: Session = self._led(self._names.session_lookup(lookup), lookup)
        return session

    def entry(self, owner: str) -> OwnerEntry | None:
        """The entry of an owner."""
        entry: OwnerEntry | None = self._asked(self._names.entry(owner))
        return entry

    def token(self, id: str) -> Token | None:
        """The token of an id."""
        token: Token = self._asked(self._names.token(id))
        return token

    def token_by_lookup(self, lookup: str) -> Token | None:
        """The token whose present secret is looked up by that."""
        token: Token = self._led(self._names.token_lookup(lookup), lookup)
        return token

    def _led(self, name: Any, lookup: str) -> Any:
        """Return the record to which a look-up key leads: its stamp says that it still has that key."""
        led = self._part(name)
        if led is None:
            raise Unseen
        record = self._asked(led[2])
        if record.lookup != lookup:
            raise Unseen
        return record

    def ahead(self, queries: Sequence[Query]) -> None:
        """Nothing is read here."""

    def sessions_of(self, owner: str, limit: int | None = None, newest: bool = False) -> Sequence[Session]:
        """The sessions of an owner that were not ended, if all are known."""
        name = self._names.sessions_of(owner)
        kept = self._part(name)
        if kept is None:
            raise Unseen
        if self._set_part is None:
            self._use(name, kept[1])
            sessions = [each for each in map(self._asked, kept[2]) if _is_of(each, owner)]
            return sessions if limit is None else sessions[-limit:] if newest else sessions[:limit]
        parts = [part for part in map(self._part, kept[2]) if part is not None and _is_of(part[2], owner)]
        if len(parts) < len(kept[2]):
            raise Unseen
        if limit is not None:
            parts = parts[-limit:] if newest else parts[:limit]
        members = [(session.id, stamp) for _, stamp, session in parts]
        part, stamp = self._set_part(Members("sessions_of", owner, limit, newest), members)
        self._use(part, stamp)
        return [session for _, _, session in parts]

    def setting(self, name: str) -> str | None:
        """A setting that all processes share."""
        text: str | None = self._asked(self._names.setting(name))
        return text

    def service_key(self, id: str) -> ServiceKey | None:
        """The service key of an id."""
        key: ServiceKey = self._asked(self._names.service_key(id))
        return key

    def idempotency(self, key: str) -> IdempotencyRecord | None:
        """No outcome: the key was not used yet, which the commit finds out."""
        self.used[self._names.idempotency(key)] = self._names.absent
        return None

    def _unheld(self, *_: Any, **__: Any) -> Any:
        raise NeverSeen

    tokens_of = transferables_of = token_count_of = parked_tokens = predecessors_of = session_count_of = _unheld


def _is_of(session: Session, owner: str) -> bool:
    return session.owner == owner and session.ended_at is None
