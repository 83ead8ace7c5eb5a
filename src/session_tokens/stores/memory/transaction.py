"""What a rule works on in memory: reads that are the dictionaries' own ``get``, and the change set of one command."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from ...compiled_core import COMPILED
from ...compiler_hints import mypyc_attr
from ...contract.changes import Changes
from ...contract.queries import Query
from ...contract.transaction import Transaction
from ...records import TRANSFERABLE, IdempotencyRecord, OwnerEntry, ServiceKey, Session, Token
from .indexes import member_count, members

if TYPE_CHECKING:
    from .store import MemoryStore


@mypyc_attr(allow_interpreted_subclasses=True)
class MemoryTransaction(Transaction):
    """The one transaction of a memory store; its reads are the tables' own.

    Attributes:
        sessions, tokens, notes: those of its change set.
    """

    __slots__ = ("_owners", "_sessions", "_store", "_tokens", "notes", "sessions", "tokens")

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(0)
        self._store = store
        self._sessions, self._tokens, self._owners = store.sessions, store.tokens, store.owners
        self.renew()

    def renew(self) -> None:
        """Begin with an empty change set."""
        self.changes = Changes()
        self.sessions = self.changes.sessions
        self.tokens = self.changes.tokens
        self.notes = self.changes.notes

    def session(self, id: str) -> Session | None:
        """The session of an id, ended ones too."""
        return self._sessions.get(id)

    def session_by_lookup(self, lookup: str) -> Session | None:
        """The session whose present secret is looked up by that."""
        return self._store.sessions_by_lookup.get(lookup)

    def entry(self, owner: str) -> OwnerEntry | None:
        """The entry of an owner."""
        return self._store.entries.get(owner)

    def token(self, id: str) -> Token | None:
        """The token of an id, as it is stored."""
        return self._tokens.get(id)

    def token_by_lookup(self, lookup: str) -> Token | None:
        """The token whose present secret is looked up by that, as it is stored."""
        return self._store.tokens_by_lookup.get(lookup)

    def idempotency(self, key: str) -> IdempotencyRecord | None:
        """The first outcome under that key."""
        return self._store.outcomes.get(key)

    def setting(self, name: str) -> str | None:
        """A setting that all threads share."""
        return self._store.settings.get(name)

    def service_key(self, id: str) -> ServiceKey | None:
        """The service key of an id."""
        return self._store.keys.get(id)

    def ahead(self, queries: Sequence[Query]) -> None:
        """Nothing has to be read ahead under the lock."""

    def sessions_of(self, owner: str, limit: int | None = None, newest: bool = False) -> Sequence[Session]:
        """The sessions of an owner that were not ended, oldest first: all, or at most the oldest or newest few."""
        bucket = self._owners.get(owner)
        if type(bucket) is str:
            return (self._sessions[bucket],)
        if bucket is None:
            return ()
        session = self._sessions.__getitem__  # no comprehension: its cells are made for who has one session, too
        if limit is None:
            return list(map(session, bucket))
        if newest:
            return list(map(session, islice(reversed(bucket), limit)))[::-1]
        return list(map(session, islice(bucket, limit)))

    def session_count_of(self, owner: str) -> int:
        """How many sessions of an owner were not ended."""
        bucket = self._owners.get(owner)
        return 0 if bucket is None else 1 if isinstance(bucket, str) else len(bucket)

    def predecessors_of(self, session_id: str) -> Sequence[Session]:
        """The replaced sessions whose transferable tokens are in that session, oldest first."""
        if not self._store.predecessors:
            return ()
        return [self._store.sessions[id] for id in members(self._store.predecessors, session_id)]

    def tokens_of(self, session_id: str, limit: int | None) -> Sequence[Token]:
        """The tokens that name that session as their holder, oldest first, at most ``limit``."""
        bucket = self._store.held.get(session_id)
        if bucket is None:
            return ()
        tokens = self._tokens
        if type(bucket) is str:
            return [tokens[bucket]]
        return [tokens[id] for id in (bucket if limit is None else islice(bucket, limit))]

    def transferables_of(self, session_id: str, limit: int | None = None) -> Sequence[Token]:
        """The transferable tokens that name that session as their holder, oldest first, at most ``limit``."""
        bucket = self._store.held.get(session_id)
        if bucket is None:
            return ()
        tokens = self._tokens
        if type(bucket) is str:
            return [token] if (token := tokens[bucket]).traits.kind is TRANSFERABLE else ()
        held = (token for id in bucket if (token := tokens[id]).traits.kind is TRANSFERABLE)
        return list(held if limit is None else islice(held, limit))

    def token_count_of(self, session_id: str, transferable: bool = False) -> int:
        """How many tokens, or transferable ones, name that session as their holder."""
        if transferable:
            return len(self.transferables_of(session_id))
        return member_count(self._store.held, session_id)

    def parked_tokens(self, owner: str, limit: int | None = None) -> Sequence[Token]:
        """The tokens that an owner holds without a session, oldest first, at most ``limit``."""
        if self._store.parked.get(owner) is None:
            return ()
        return list(map(self._tokens.__getitem__, islice(members(self._store.parked, owner), limit)))

    def put_session(self, old: Session | None, new: Session | None) -> None:
        """Create (``old`` is ``None``), replace or delete (``new`` is ``None``) a session."""
        self.sessions.append((old, new))

    def put_token(self, old: Token | None, new: Token | None) -> None:
        """Create, replace or delete a token."""
        self.tokens.append((old, new))


def transaction_on(store: MemoryStore) -> MemoryTransaction:
    """Return the transaction of a store.

    Where nothing is compiled, what is called most is bound once, as it is for SQLite: a call of a builtin takes half as
    long as one of a method that makes it.
    """
    if COMPILED:
        return MemoryTransaction(store)

    def renew(tx: Any) -> None:
        MemoryTransaction.renew(tx)
        tx.note = tx.notes.append

    reads = {
        "session": store.sessions.get,
        "session_by_lookup": store.sessions_by_lookup.get,
        "entry": store.entries.get,
        "token": store.tokens.get,
        "token_by_lookup": store.tokens_by_lookup.get,
    }
    names: dict[str, Any] = {"__slots__": ("note",), "renew": renew, **reads}
    bound: type[MemoryTransaction] = type(MemoryTransaction.__name__, (MemoryTransaction,), names)
    return bound(store)
