"""What a rule works on in memory: reads that are the dictionaries' own ``get``, and the change set of one command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from ...contract.changes import Changes
from ...contract.queries import Query
from ...events import Note
from ...records import TRANSFERABLE, IdempotencyRecord, OwnerEntry, ServiceKey, Session, Token
from .indexes import member_count, members

if TYPE_CHECKING:
    from .store import MemoryStore


class MemoryTransaction:
    """The one transaction of a memory store; its reads are the tables' own."""

    __slots__ = (
        "_owners", "_sessions", "_store", "changes", "entry", "idempotency", "note", "notes", "now", "service_key",
        "session", "session_by_lookup", "sessions", "setting", "token", "token_by_lookup", "tokens",
    )  # fmt: skip

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._sessions, self._owners = store.sessions, store.owners
        self.now = 0
        self.session: Callable[[str], Session | None] = store.sessions.get
        self.session_by_lookup: Callable[[str], Session | None] = store.sessions_by_lookup.get
        self.entry: Callable[[str], OwnerEntry | None] = store.entries.get
        self.token: Callable[[str], Token | None] = store.tokens.get
        self.token_by_lookup: Callable[[str], Token | None] = store.tokens_by_lookup.get
        self.idempotency: Callable[[str], IdempotencyRecord | None] = store.outcomes.get
        self.setting: Callable[[str], str | None] = store.settings.get
        self.service_key: Callable[[str], ServiceKey | None] = store.keys.get
        self.renew()

    def renew(self) -> None:
        """Begin with an empty change set."""
        self.changes = Changes()
        self.sessions = self.changes.sessions
        self.tokens = self.changes.tokens
        self.notes = self.changes.notes
        self.note: Callable[[Note], None] = self.notes.append

    def ahead(self, queries: Sequence[Query]) -> None:
        """Nothing has to be read ahead under the lock."""

    def sessions_of(self, owner: str, limit: int | None = None, newest: bool = False) -> Sequence[Session]:
        """The sessions of an owner that were not ended, oldest first: all, or at most the oldest or newest few."""
        bucket = self._owners.get(owner)
        if bucket.__class__ is str:
            return (self._sessions[bucket],)
        if bucket is None:
            return ()
        sessions = self._sessions
        if limit is None:
            return [sessions[id] for id in bucket]
        if newest:
            return [sessions[id] for id in islice(reversed(bucket), limit)][::-1]
        return [sessions[id] for id in islice(bucket, limit)]

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
        tokens = self._store.tokens
        if bucket.__class__ is str:
            return [tokens[bucket]]
        return [tokens[id] for id in (bucket if limit is None else islice(bucket, limit))]

    def transferables_of(self, session_id: str, limit: int | None = None) -> Sequence[Token]:
        """The transferable tokens that name that session as their holder, oldest first, at most ``limit``."""
        bucket = self._store.held.get(session_id)
        if bucket is None:
            return ()
        tokens = self._store.tokens
        if bucket.__class__ is str:
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
        return [self._store.tokens[id] for id in islice(members(self._store.parked, owner), limit)]

    def put_session(self, old: Session | None, new: Session | None) -> None:
        """Create (``old`` is ``None``), replace or delete (``new`` is ``None``) a session."""
        self.sessions.append((old, new))

    def put_token(self, old: Token | None, new: Token | None) -> None:
        """Create, replace or delete a token."""
        self.tokens.append((old, new))

    def put_entry(self, old: OwnerEntry | None, new: OwnerEntry | None) -> None:
        """Create or replace an owner's entry."""
        self.changes.others().entries.append((old, new))

    def put_idempotency(self, record: IdempotencyRecord) -> None:
        """Keep the outcome of a command."""
        self.changes.others().idempotency.append(record)

    def forget_idempotency(self, key: str) -> None:
        """Forget the outcome of a command."""
        self.changes.others().forgotten.append(key)

    def put_setting(self, name: str, text: str | None) -> None:
        """Set a shared setting; ``None`` deletes it."""
        self.changes.others().settings.append((name, text))

    def put_service_key(self, old: ServiceKey | None, new: ServiceKey | None) -> None:
        """Create, replace or delete a service key."""
        self.changes.others().keys.append((old, new))
