"""What a rule works on: reads that answer at once, and a change set that is committed whole or not at all.

Theory of operation. A rule is a plain function ``rule(tx, *args)``. It reads records through ``tx``, judges them at
``tx.now``, puts changes and answers. It does not wait, do I/O or ask a clock, so it may be run again at will.
A rule reads before it writes: a read does not show what the same rule has put.

A *locked* store runs the rule under its lock with a transaction of its own that reads directly. An *optimistic* store
runs it on what was read ahead: ``ReadAhead`` raises ``Missing`` for what is not there, the store fetches that and runs
the rule again, and commits only if no stamp moved (``optimistic.attempts``).

What a rule judges alive lowers ``changes.not_after`` (``rules.keys``), and every store refuses to write at or after it.
"""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..compiler_hints import mypyc_attr
from ..errors import StoreError
from ..events import Note
from ..records import IdempotencyRecord, OwnerEntry, ServiceKey, Session, Token
from .changes import Changes
from .queries import Count, Get, Members, Query, Result, SessionResult, Stamp, TokenResult

T = TypeVar("T")
R = TypeVar("R", bound=Callable[..., Any])


@mypyc_attr(allow_interpreted_subclasses=True)
class Transaction(metaclass=ABCMeta):
    """What every store hands to a rule. Reads answer ``None`` or an empty sequence for what is not there.

    A class and no protocol: compiled rules call its methods and read its fields without looking for them by name.

    Args:
        now: the instant of the transaction on the store's clock, in milliseconds.

    Attributes:
        changes: what was put and noted so far, and until when it may be written.
    """

    __slots__ = ("changes", "now")

    def __init__(self, now: int) -> None:
        self.now = now
        self.changes = Changes()

    @abstractmethod
    def session(self, id: str) -> Session | None:
        """Return the session of an id, ended ones too."""
        ...

    @abstractmethod
    def session_by_lookup(self, lookup: str) -> Session | None:
        """Return the session whose present secret is looked up by that."""
        ...

    @abstractmethod
    def entry(self, owner: str) -> OwnerEntry | None:
        """Return the entry of an owner."""
        ...

    @abstractmethod
    def token(self, id: str) -> Token | None:
        """Return the token of an id, as it is stored."""
        ...

    @abstractmethod
    def token_by_lookup(self, lookup: str) -> Token | None:
        """Return the token whose present secret is looked up by that, as it is stored."""
        ...

    @abstractmethod
    def ahead(self, queries: Sequence[Query]) -> None:
        """Say what will be read next, so that it is read at once."""
        ...

    @abstractmethod
    def sessions_of(self, owner: str, limit: int | None = None, newest: bool = False) -> Sequence[Session]:
        """Return the sessions of an owner that were not ended, oldest first: all, or the oldest or newest few."""
        ...

    @abstractmethod
    def session_count_of(self, owner: str) -> int:
        """Return how many sessions of an owner were not ended."""
        ...

    @abstractmethod
    def predecessors_of(self, session_id: str) -> Sequence[Session]:
        """Return the replaced sessions whose transferable tokens are in that session, oldest first."""
        ...

    @abstractmethod
    def tokens_of(self, session_id: str, limit: int | None) -> Sequence[Token]:
        """Return the tokens that name that session as their holder, oldest first, at most ``limit``."""
        ...

    @abstractmethod
    def transferables_of(self, session_id: str, limit: int | None = None) -> Sequence[Token]:
        """Return the transferable tokens that name that session as their holder, oldest first, at most ``limit``."""
        ...

    @abstractmethod
    def token_count_of(self, session_id: str, transferable: bool = False) -> int:
        """Return how many tokens, or transferable ones, name that session as their holder."""
        ...

    @abstractmethod
    def parked_tokens(self, owner: str, limit: int | None = None) -> Sequence[Token]:
        """Return the tokens that an owner holds without a session, oldest first, at most ``limit``."""
        ...

    @abstractmethod
    def idempotency(self, key: str) -> IdempotencyRecord | None:
        """Return the first outcome under that key."""
        ...

    @abstractmethod
    def setting(self, name: str) -> str | None:
        """Return a setting that all processes share."""
        ...

    @abstractmethod
    def service_key(self, id: str) -> ServiceKey | None:
        """Return the service key of an id."""
        ...

    def put_session(self, old: Session | None, new: Session | None) -> None:
        """Create (``old`` is ``None``), replace or delete (``new`` is ``None``) a session."""
        self.changes.sessions.append((old, new))

    def put_token(self, old: Token | None, new: Token | None) -> None:
        """Create, replace or delete a token."""
        self.changes.tokens.append((old, new))

    def put_entry(self, old: OwnerEntry | None, new: OwnerEntry | None) -> None:
        """Create, replace or delete an owner's entry."""
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

    def note(self, note: Note) -> None:
        """Note down what happened; becomes one event when the change set is committed."""
        self.changes.notes.append(note)


Rule = Callable[..., T]
"""``rule(tx, *args)``; ``reads`` names what it will surely read."""

SureReads = Callable[..., Sequence[Query]]


_SURE_READS: dict[Callable[..., Any], SureReads] = {}


def reads(queries: SureReads) -> Callable[[R], R]:
    """Name what a rule will surely read: ``queries(*args)`` is fetched before its first run."""

    def mark(rule: R) -> R:
        _SURE_READS[rule] = queries
        return rule

    return mark


def queries_of(rule: Rule[Any], args: tuple[object, ...]) -> Sequence[Query]:
    """Return what a rule with these arguments names as its sure reads."""
    queries = _SURE_READS.get(rule)
    return queries(*args) if queries is not None else ()


class Missing(Exception):
    """A rule asked for what was not read ahead; the store fetches it and runs the rule again."""

    def __init__(self, queries: Sequence[Query]) -> None:
        super().__init__(queries)
        self.queries = queries


class ReadAhead(Transaction):
    """A transaction on what was read ahead, for optimistic stores.

    Args:
        now: the instant of the reads on the store's clock, in milliseconds.
        found: what was read: query → answer.
        unread: what could not be read: query → the error, which is raised for who asks for that.
    """

    __slots__ = ("_found", "_unread", "used")

    def __init__(self, now: int, found: dict[Query, Result], unread: dict[Query, StoreError] | None = None) -> None:
        super().__init__(now)
        self._found = found
        self._unread = unread
        self.used: dict[Any, Stamp] = {}

    def _answer(self, query: Query) -> Any:
        found = self._found.get(query) or self._brought_along(query)
        if found is None:
            if self._unread is not None and query in self._unread:
                raise self._unread[query]
            raise Missing([query])
        self.used.update(found.stamps)
        return found.value

    def _brought_along(self, query: Query) -> Result | None:
        """Return a query from what came along with another, which saves the round trip that fetches it."""
        if not isinstance(query, Get) or query.what not in ("session", "entry"):
            return None
        is_session = query.what == "session"
        for value, stamps, _ in self._found.values():
            if isinstance(value, TokenResult):
                if is_session:
                    if value.token is not None and value.token.session_id == query.key:
                        return Result(SessionResult(value.session, value.entry), stamps)
                    if value.heir is not None and value.heir.id == query.key:
                        return Result(SessionResult(value.heir, value.entry), stamps)
            elif not isinstance(value, SessionResult):
                continue
            session = value.session
            if session is None:
                continue
            if is_session and session.id == query.key:
                return Result(SessionResult(session, value.entry), stamps)
            if not is_session and session.owner == query.key:
                return Result(value.entry, stamps)
        return None

    def session(self, id: str) -> Session | None:
        """Return the session of an id."""
        found: SessionResult = self._answer(Get("session", id))
        return found.session

    def session_by_lookup(self, lookup: str) -> Session | None:
        """Return the session whose present secret is looked up by that."""
        found: SessionResult = self._answer(Get("session_lookup", lookup))
        return found.session

    def entry(self, owner: str) -> OwnerEntry | None:
        """Return the entry of an owner."""
        entry: OwnerEntry | None = self._answer(Get("entry", owner))
        return entry

    def ahead(self, queries: Sequence[Query]) -> None:
        """Say what will be read next."""
        unread = self._unread or ()
        missing = [query for query in queries if query not in self._found and query not in unread]
        if missing:
            raise Missing(missing)

    def sessions_of(self, owner: str, limit: int | None = None, newest: bool = False) -> Sequence[Session]:
        """Return the sessions of an owner that were not ended."""
        sessions: Sequence[Session] = self._answer(Members("sessions_of", owner, limit, newest))
        return sessions

    def session_count_of(self, owner: str) -> int:
        """Return how many sessions of an owner were not ended."""
        count: int = self._answer(Count("sessions_of", owner))
        return count

    def predecessors_of(self, session_id: str) -> Sequence[Session]:
        """Return the replaced sessions whose transferable tokens are in that session."""
        sessions: Sequence[Session] = self._answer(Members("predecessors_of", session_id))
        return sessions

    def token(self, id: str) -> Token | None:
        """Return the token of an id."""
        found: TokenResult = self._answer(Get("token", id))
        return found.token

    def token_by_lookup(self, lookup: str) -> Token | None:
        """Return the token whose present secret is looked up by that."""
        found: TokenResult = self._answer(Get("token_lookup", lookup))
        return found.token

    def tokens_of(self, session_id: str, limit: int | None) -> Sequence[Token]:
        """Return the tokens that name that session as their holder."""
        tokens: Sequence[Token] = self._answer(Members("tokens_of", session_id, limit))
        if limit is None:
            return tokens
        asked, left_out = limit, self._left_out(Members("tokens_of", session_id, limit))
        while left_out and len(tokens) < limit and len(tokens) + left_out >= asked:  # what cannot be read took a place
            asked *= 2
            tokens = self._answer(Members("tokens_of", session_id, asked))
            left_out = self._left_out(Members("tokens_of", session_id, asked))
        return tokens[:limit]

    def _left_out(self, query: Query) -> int:
        """Return how many records an answer left out because they cannot be read."""
        found = self._found.get(query)
        return 0 if found is None else len(found.unreadable)

    def transferables_of(self, session_id: str, limit: int | None = None) -> Sequence[Token]:
        """Return the transferable tokens that name that session as their holder."""
        tokens: Sequence[Token] = self._answer(Members("transferables_of", session_id, limit))
        return tokens

    def token_count_of(self, session_id: str, transferable: bool = False) -> int:
        """Return how many tokens name that session as their holder."""
        count: int = self._answer(Count("transferables_of" if transferable else "tokens_of", session_id))
        return count

    def parked_tokens(self, owner: str, limit: int | None = None) -> Sequence[Token]:
        """Return the tokens that an owner holds without a session."""
        tokens: Sequence[Token] = self._answer(Members("parked_tokens", owner, limit))
        return tokens

    def idempotency(self, key: str) -> IdempotencyRecord | None:
        """Return the first outcome under that key."""
        record: IdempotencyRecord | None = self._answer(Get("idempotency", key))
        return record

    def setting(self, name: str) -> str | None:
        """Return a setting that all processes share."""
        text: str | None = self._answer(Get("setting", name))
        return text

    def service_key(self, id: str) -> ServiceKey | None:
        """Return the service key of an id."""
        key: ServiceKey | None = self._answer(Get("key", id))
        return key
