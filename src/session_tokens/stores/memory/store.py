"""The memory store: rules run to their end under one lock, on records that are handed out as they are.

Theory of operation. One transaction object (``memory_transaction``) is used again and again under the lock. A change
set is applied record by record, sessions first. Readers of the hot path take no lock: one
record is replaced by one assignment, so a reader sees it before or after. A token is judged with its session, which
are two records: an answer "alive" held at the instant at which the token was read, an answer "dead" is asked again
under the lock.

A change set is applied only before the deadline of what its rule judged alive; what comes later is judged again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, ClassVar, TypeVar

from ...clock import NEVER, Clock, SteadyClock, local
from ...contract.changes import Changes
from ...contract.event_log import EventLog, LogRead
from ...contract.forks import held_over_forks
from ...contract.queries import (
    NO_SESSION,
    NO_TOKEN,
    Count,
    DueRecord,
    Get,
    Members,
    Query,
    Result,
    Scan,
    SessionResult,
    Snapshot,
    TokenResult,
)
from ...contract.transaction import Rule
from ...contract.unreadable import Unreadables
from ...crypto.minting import PlainKeyring
from ...errors import StoreUnavailable
from ...events import Event, Listeners, Place
from ...records import NO_DETAILS, OwnerEntry, ServiceKey, Session, Token
from .commit import MemoryTables
from .indexes import members, place_of
from .transaction import MemoryTransaction, transaction_on

T = TypeVar("T")
R = TypeVar("R", Session, Token)

SORTED_MAX = 5_000
"""Records of which a list is made by sorting; of more, all are gone through in their order."""


class MemoryStore(MemoryTables):
    """Sessions and tokens of one process, gone with it. Safe for threads; any number of event loops.

    Args:
        clock: the store's time; the host's steady clock where not given.
    """

    durable: ClassVar[bool] = False
    keeps_events: ClassVar[bool] = True

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__()
        self.clock = clock or SteadyClock()
        self.local_clock = local(self.clock)
        self.keyring = PlainKeyring()
        self.listeners = Listeners()
        self.unreadables = Unreadables()
        self._event_log = EventLog()
        self._lock = held_over_forks(threading.Lock())
        # A step of this takes the lock, for two thirds of what entering it costs; as there, no interrupt comes between
        # taking it and the `try` that lets go of it.
        self._taking: Iterator[bool] = iter(self._lock.acquire, False)
        self._tx = transaction_on(self)
        self._first: tuple[object, ...] = (self._tx,)  # put before a rule's own arguments
        self._closed = False

    def run_now(self, rule: Rule[T], *args: object) -> T:
        """Run a rule under the lock; what it raises leaves everything as it was."""
        tx = self._tx
        for _ in self._taking:
            try:
                tx.now = self.local_clock.now()
                answer: T = rule(*(self._first + args))
                changes = tx.changes
                if changes.not_after != NEVER:
                    if self.local_clock.now() >= changes.not_after:
                        answer, changes = self._judged_again(rule, args)
                    changes.not_after = NEVER
                if sessions := tx.sessions:
                    self.apply_sessions(sessions)
                    sessions.clear()
                if tokens := tx.tokens:
                    self.apply_tokens(tokens)
                    tokens.clear()
                if changes.rare is None and not self.listeners.any:
                    tx.notes.clear()
                    return answer
                now = tx.now
                self._apply_rest(changes, now)
                tx.renew()
            except BaseException:
                tx.renew()
                raise
            finally:
                self._lock.release()
            break
        else:
            raise StoreUnavailable("the store is closed; open it again")
        self.listeners.tell(changes.notes, now)
        return answer

    def _judged_again(self, rule: Rule[T], args: tuple[object, ...]) -> tuple[T, Changes]:
        """Run a rule until what it judged alive still is; return what it answers, and its change set."""
        tx = self._tx
        while True:
            tx.renew()
            tx.now = self.local_clock.now()
            answer = rule(tx, *args)
            if self.local_clock.now() < tx.changes.not_after:
                return answer, tx.changes

    def run_within_now(self, patience_s: float, rule: Rule[T], *args: object) -> T:
        """As ``run_now``, which never waits for long."""
        return self.run_now(rule, *args)

    def plan_now(self, rule: Rule[T], *args: object) -> tuple[T, Changes, int]:
        """Run a rule without writing: answer what it answers, its change set and the instant."""
        tx = self._tx
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the store is closed; open it again")
            tx.now = now = self.clock.now()
            try:
                result = rule(tx, *args)
            finally:
                changes = tx.changes
                tx.renew()
        return result, changes, now

    def commit_now(self, changes: Changes, now: int) -> bool:
        """Write a planned change set if no record that it replaces has changed since, in time; return whether."""
        with self._lock:
            if self.clock.now() >= changes.not_after:
                return False
            if any(self.sessions.get(old.id) is not old for old, _ in changes.sessions if old is not None) or any(
                self.tokens.get(old.id) is not old for old, _ in changes.tokens if old is not None
            ):
                return False
            self.apply_sessions(changes.sessions)
            self.apply_tokens(changes.tokens)
            self._apply_rest(changes, now)
        self.listeners.tell(changes.notes, now)
        return True

    def _apply_rest(self, changes: Changes, now: int) -> None:
        self.apply_rest(changes)
        if self.listeners.kept:
            changes.keep_events(now)
            self._event_log.append(changes.events, now)

    def read_events_now(self, after: Place, limit: int) -> LogRead:
        """Return events that stand after a place."""
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the store is closed; open it again")
            return self._event_log.read(after, limit)

    def trim_events_now(self, keep: int) -> int:
        """Take the oldest events away."""
        with self._lock:
            return self._event_log.trim(keep)

    def rewrite_events_now(self, change: Callable[[Event], Event]) -> int:
        """Put changed events in the place of others."""
        with self._lock:
            return self._event_log.rewrite(change)

    def adopt_now(self, rule: Rule[None], *args: object) -> None:
        """Run a rule that takes over records that were created elsewhere, maybe long ago."""
        self.run_now(rule, *args)
        self.session_order.forget()
        self.token_order.forget()

    def find_session_now(self, lookups: Sequence[str]) -> tuple[int, Session | None, OwnerEntry | None]:
        """Return now and the session of a secret with its owner's entry; takes no lock."""
        if self._closed:
            raise StoreUnavailable("the store is closed; open it again")
        session = self.sessions_by_lookup.get(lookups[0])
        return self.clock.now(), session, None if session is None else self.entries.get(session.owner)

    def find_token_now(self, lookups: Sequence[str]) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        """Return now and the token of a secret with its session and that owner's entry."""
        if self._closed:
            raise StoreUnavailable("the store is closed; open it again")
        now = self.clock.now()
        token, session, entry, _ = self._token_found(self.tokens_by_lookup.get(lookups[0]))
        if token is not None and not token.authenticates(now, session, entry):
            with self._lock:  # it may have been read while it moved
                token, session, entry = self._token_found(self.tokens_by_lookup.get(lookups[0])).followed()
        return now, token, session, entry

    def find_session_by_id_now(self, ids: Sequence[str]) -> tuple[int, Session | None, OwnerEntry | None]:
        """Return now and the session of an id with its owner's entry; takes no lock."""
        if self._closed:
            raise StoreUnavailable("the store is closed; open it again")
        session = self.sessions.get(ids[0])
        return self.clock.now(), session, None if session is None else self.entries.get(session.owner)

    def find_token_by_id_now(self, ids: Sequence[str]) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        """Return now and the token of an id with its session and that owner's entry."""
        if self._closed:
            raise StoreUnavailable("the store is closed; open it again")
        now = self.clock.now()
        token, session, entry, _ = self._token_found(self.tokens.get(ids[0]))
        if token is not None and not token.authenticates(now, session, entry):
            with self._lock:  # it may have been read while it moved
                token, session, entry = self._token_found(self.tokens.get(ids[0])).followed()
        return now, token, session, entry

    def _token_found(self, token: Token | None) -> TokenResult:
        if token is None:
            return NO_TOKEN
        if token.session_id is None:
            return TokenResult(token, None, None)
        session = self.sessions.get(token.session_id)
        if session is None:
            return TokenResult(token, None, None)
        entry = self.entries.get(session.owner)
        if session.details is NO_DETAILS or session.details.successor is None:
            return TokenResult(token, session, entry)
        return TokenResult(token, session, entry, self.sessions.get(session.details.successor))

    def _session_found(self, session: Session | None) -> SessionResult:
        return NO_SESSION if session is None else SessionResult(session, self.entries.get(session.owner))

    def read_now(self, queries: Sequence[Query]) -> Snapshot:
        """Return the results of all queries as of one instant."""
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the store is closed; open it again")
            now = self.clock.now()
            return Snapshot(now, [Result(self._answer(query, now)) for query in queries])

    def _answer(self, query: Query, now: int) -> Any:
        if isinstance(query, Get):
            return _GET[query.what](self, query)
        if isinstance(query, Members):
            return _MEMBERS[query.what](self._tx, query)
        if isinstance(query, Count):
            return _COUNT[query.what](self._tx, query.whose)
        if query.what in ("keys", "peppers"):
            return sorted(self.keys.values(), key=place_of) if query.what == "keys" else ()
        if query.what == "due":
            due = self.session_deadlines.due(now, query.limit, self._session_sweep_at)
            return [self._session_found(self.sessions[id]) for id in due]
        if query.what == "waiting":
            ids = self.waiting.after(query.tag, query.after, query.limit)
            return [self._token_found(self.tokens[id]) for id in ids]
        return self._sessions_listed(query) if query.what == "sessions" else self._tokens_listed(query)

    def _sessions_listed(self, query: Scan) -> list[SessionResult]:
        (by, whose), ids = query.by, None
        if by == "owner":
            ids = members(self.owners, whose)
        elif by == "detached":
            ids = self.detached
        if ids is not None and len(ids) <= SORTED_MAX:
            found = _after_place((self.sessions[id] for id in ids), query)
            return [self._session_found(session) for session in found[: query.limit]]
        listed: list[SessionResult] = []
        for session in self.session_order.after(self.sessions, query.after, newest=query.newest):
            if session.ended_at is None:
                listed.append(self._session_found(session))
                if len(listed) == query.limit:
                    break
        return listed

    def _tokens_listed(self, query: Scan) -> list[TokenResult]:
        candidates = self._token_candidates(query)
        if candidates is not None:
            return [self._token_found(token) for token in _after_place(candidates, query)[: query.limit]]
        listed: list[TokenResult] = []
        for token in self.token_order.after(self.tokens, query.after, newest=query.newest):
            listed.append(self._token_found(token))
            if len(listed) == query.limit:
                break
        return listed

    def _token_candidates(self, query: Scan) -> list[Token] | None:
        """Return a superset of the tokens in a listing where an index gives one that is small enough to be sorted."""
        (by, whose), found = query.by, list[Collection[str]]()
        holders: Iterable[str] = ()
        if by == "session":
            holders = (whose, *members(self.predecessors, whose))
        elif by == "owner" and len(members(self.owners, whose)) <= SORTED_MAX:
            found.append(members(self.parked, whose))
            holders = self._with_predecessors(members(self.owners, whose))
        elif by == "tag":
            found.append(members(self.tagged, whose))
        elif by == "sellable":
            found.append(self.sellable)
        elif by == "unassigned":
            found.append(self.unassigned)
        else:
            return None
        count = sum(map(len, found))
        for number, holder in enumerate(dict.fromkeys(holders)):
            if count > SORTED_MAX or number >= SORTED_MAX:
                return None
            held = members(self.held, holder)
            count += len(held)
            found.append(held)
        if count > SORTED_MAX:
            return None
        return [self.tokens[id] for id in dict.fromkeys(chain.from_iterable(found))]

    def _with_predecessors(self, session_ids: Iterable[str]) -> Iterator[str]:
        """Return sessions, and those whose tokens are in them."""
        for id in session_ids:
            yield id
            yield from members(self.predecessors, id)

    def _session_sweep_at(self, id: str) -> int | None:
        session = self.sessions.get(id)
        return None if session is None else session.sweep_at

    def _token_sweep_at(self, id: str) -> int | None:
        token = self.tokens.get(id)
        return None if token is None else token.deadline

    def _outcome_sweep_at(self, key: str) -> int | None:
        record = self.outcomes.get(key)
        return None if record is None else record.expires_at

    def due_now(self, now: int, limit: int) -> Sequence[DueRecord]:
        """Return what should be swept: sessions first, then tokens, then forgotten outcomes."""
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the store is closed; open it again")
            keys = [DueRecord("session", id) for id in self.session_deadlines.due(now, limit, self._session_sweep_at)]
            tokens = self.token_deadlines.due(now, limit - len(keys), self._token_sweep_at)
            keys += [DueRecord("token", id) for id in tokens]
            outcomes = self.outcome_deadlines.due(now, limit - len(keys), self._outcome_sweep_at)
            return keys + [DueRecord("idempotency", key) for key in outcomes]

    def dump_now(self, kind: str, after: str, limit: int) -> tuple[Sequence[Any], str | None]:
        """Return records of a kind after a place."""
        tables: dict[str, dict[str, Any]] = {
            "owner": self.entries, "session": self.sessions, "token": self.tokens, "idempotency": self.outcomes
        }  # fmt: skip
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the store is closed; open it again")
            keys = sorted(key for key in tables[kind] if key > after)
            following = keys[limit - 1] if len(keys) > limit else None
            return [tables[kind][key] for key in keys[:limit]], following

    def close_now(self) -> None:
        """Refuse further work; what was stored is gone with this object."""
        self._closed = True
        self._taking = iter(())

    def _key_found(self, query: Get) -> ServiceKey | None:
        lookups = (query.key, *query.others)
        return next((key for key in self.keys.values() if key.lookup in lookups), None)


def _after_place(records: Iterable[R], query: Scan) -> list[R]:
    """Return records in the order of a listing, from its place on."""
    ordered = sorted(records, key=place_of, reverse=query.newest)
    if query.after is None:
        return ordered
    after = query.after
    return [record for record in ordered if (place_of(record) < after if query.newest else place_of(record) > after)]


def _first_in(index: dict[str, T], query: Get) -> T | None:
    found = index.get(query.key)
    if found is None and query.others:
        return next((index[lookup] for lookup in query.others if lookup in index), None)
    return found


_GET: dict[str, Callable[[MemoryStore, Get], Any]] = {
    "session": lambda self, query: self._session_found(self.sessions.get(query.key)),
    "session_lookup": lambda self, query: self._session_found(_first_in(self.sessions_by_lookup, query)),
    "token": lambda self, query: self._token_found(self.tokens.get(query.key)),
    "token_lookup": lambda self, query: self._token_found(_first_in(self.tokens_by_lookup, query)),
    "entry": lambda self, query: self.entries.get(query.key),
    "idempotency": lambda self, query: self.outcomes.get(query.key),
    "setting": lambda self, query: self.settings.get(query.key),
    "key": lambda self, query: self.keys.get(query.key),
    "key_lookup": lambda self, query: self._key_found(query),
}
_MEMBERS: dict[str, Callable[[MemoryTransaction, Members], Any]] = {
    "sessions_of": lambda tx, query: tx.sessions_of(query.whose, query.limit, query.newest),
    "predecessors_of": lambda tx, query: tx.predecessors_of(query.whose)[: query.limit],
    "tokens_of": lambda tx, query: tx.tokens_of(query.whose, query.limit),
    "transferables_of": lambda tx, query: tx.transferables_of(query.whose, query.limit),
    "parked_tokens": lambda tx, query: tx.parked_tokens(query.whose, query.limit),
}
_COUNT: dict[str, Callable[[MemoryTransaction, str], int]] = {
    "sessions_of": lambda tx, whose: tx.session_count_of(whose),
    "predecessors_of": lambda tx, whose: len(tx.predecessors_of(whose)),
    "tokens_of": lambda tx, whose: tx.token_count_of(whose),
    "transferables_of": lambda tx, whose: tx.token_count_of(whose, True),
    "parked_tokens": lambda tx, whose: len(tx.parked_tokens(whose)),
}
