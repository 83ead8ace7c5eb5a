"""The tables of the memory store, and how a change set is written into them and their indexes.

The moves between indexes are written by hand, because they are on the way of every command; ``contract/places`` says
the same as a table, and a test compares both.
"""

from __future__ import annotations

from ...clock import NEVER
from ...contract.changes import Changes, parked_owner
from ...contract.store import BlockingStore
from ...records import (
    NO_DETAILS,
    NO_TOKEN_DETAILS,
    IdempotencyRecord,
    OwnerEntry,
    ServiceKey,
    Session,
    Token,
)
from .indexes import Bucket, Deadlines, Order, Waiting, add_member, drop_member


class MemoryTables(BlockingStore):
    """Records by their ids and look-up keys, and what finds them otherwise. Written under the store's lock."""

    # More names than an instance keeps at hand (30), of which those of a subclass are some.
    __slots__ = (
        "detached", "entries", "held", "keys", "outcome_deadlines", "outcomes", "owners", "parked",
        "predecessors", "sellable", "session_deadlines", "session_order", "sessions", "sessions_by_lookup",
        "settings", "tagged", "token_deadlines", "token_order", "tokens", "tokens_by_lookup", "unassigned",
        "waiting",
    )  # fmt: skip

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.sessions_by_lookup: dict[str, Session] = {}
        self.owners: dict[str, Bucket] = {}
        self.predecessors: dict[str, Bucket] = {}
        self.entries: dict[str, OwnerEntry] = {}
        self.tokens: dict[str, Token] = {}
        self.tokens_by_lookup: dict[str, Token] = {}
        self.held: dict[str, Bucket] = {}
        self.parked: dict[str, Bucket] = {}
        self.unassigned: dict[str, None] = {}
        self.waiting = Waiting()
        self.sellable: dict[str, None] = {}
        self.tagged: dict[str, Bucket] = {}
        self.detached: dict[str, None] = {}
        self.outcomes: dict[str, IdempotencyRecord] = {}
        self.settings: dict[str, str] = {}
        self.keys: dict[str, ServiceKey] = {}
        self.session_deadlines = Deadlines()
        self.token_deadlines = Deadlines()
        self.outcome_deadlines = Deadlines()
        self.session_order = Order()
        self.token_order = Order()

    def apply_sessions(self, pairs: list[tuple[Session | None, Session | None]]) -> None:
        """Write sessions; a reader without the lock sees each before or after."""
        for old, new in pairs:
            if old is not None:
                if new is None:
                    self._remove_session(old)
                else:
                    self._replace_session(old, new)
            elif new is not None:
                id = new.id
                self.sessions[id] = new
                if new.lookup is not None:
                    self.sessions_by_lookup[new.lookup] = new
                if new.ended_at is None:  # else it was taken over from elsewhere
                    if new.owner in self.owners:
                        add_member(self.owners, new.owner, id)
                    else:  # as there, on the way of most openings
                        self.owners[new.owner] = id
                    if new.detached_at is not None:
                        self.detached[id] = None
                self.session_deadlines.add(new.sweep_at, id)
                if (details := new.details) is not NO_DETAILS:
                    self.session_order.ahead_ms = max(self.session_order.ahead_ms, details.ahead_ms)
                    if details.successor is not None:
                        add_member(self.predecessors, details.successor, id)

    def _replace_session(self, old: Session, new: Session) -> None:
        id, lookup = new.id, new.lookup
        self.sessions[id] = new
        if lookup is not None:
            self.sessions_by_lookup[lookup] = new
        if old.lookup is not None and lookup != old.lookup:
            del self.sessions_by_lookup[old.lookup]
        if new.sweep_at != old.sweep_at and (new.sweep_at < old.sweep_at or old.sweep_at == 0):
            self.session_deadlines.add(new.sweep_at, id)
        if new.ended_at is None:
            if new.owner is not old.owner and new.owner != old.owner:
                drop_member(self.owners, old.owner, id)
                add_member(self.owners, new.owner, id)
            if new.detached_at is not None:
                self.detached[id] = None
            elif old.detached_at is not None:
                self.detached.pop(id, None)
        else:
            if old.ended_at is None:
                drop_member(self.owners, old.owner, id)
            if old.detached_at is not None:
                self.detached.pop(id, None)
        if new.details is not old.details:
            former, successor = old.details.successor, new.details.successor
            if former != successor:
                if former is not None:
                    drop_member(self.predecessors, former, id)
                if successor is not None:
                    add_member(self.predecessors, successor, id)

    def _remove_session(self, old: Session) -> None:
        del self.sessions[old.id]
        self.held.pop(old.id, None)
        if old.lookup is not None:
            del self.sessions_by_lookup[old.lookup]
        if old.ended_at is None:
            drop_member(self.owners, old.owner, old.id)
        if old.detached_at is not None:
            self.detached.pop(old.id, None)
        if old.details.successor is not None:
            drop_member(self.predecessors, old.details.successor, old.id)

    def apply_tokens(self, pairs: list[tuple[Token | None, Token | None]]) -> None:
        """Write tokens; a reader without the lock sees each before or after."""
        for old, new in pairs:
            if old is not None:
                if new is None:
                    self._remove_token(old)
                else:
                    self._replace_token(old, new)
            elif new is not None:
                id = new.id
                self.tokens[id] = new
                if new.lookup is not None:
                    self.tokens_by_lookup[new.lookup] = new
                if new.session_id is None:
                    self._place_token(new)
                elif new.session_id in self.held:
                    add_member(self.held, new.session_id, id)
                else:  # as there, of most sessions' first tokens
                    self.held[new.session_id] = id
                if new.details is not NO_TOKEN_DETAILS:
                    self._list(None, new)
                if new.deadline != NEVER:
                    self.token_deadlines.add(new.deadline, id)

    def _replace_token(self, old: Token, new: Token) -> None:
        id, lookup = new.id, new.lookup
        self.tokens[id] = new
        if lookup is not None:
            self.tokens_by_lookup[lookup] = new
        former = old.lookup
        if former is not None and former != lookup:
            del self.tokens_by_lookup[former]
        if new.deadline < old.deadline:
            self.token_deadlines.add(new.deadline, id)
        left, holder = old.session_id, new.session_id
        if left is None:
            if holder is not None or old.owner != new.owner or old.unassigned_at != new.unassigned_at:
                self._displace_token(old)
                if holder is None:
                    self._place_token(new)
                else:
                    add_member(self.held, holder, id)
        elif left != holder:
            drop_member(self.held, left, id)
            if holder is None:
                self._place_token(new)
            else:
                add_member(self.held, holder, id)
        if new.details is not old.details:
            self._list(old, new)

    def _remove_token(self, old: Token) -> None:
        del self.tokens[old.id]
        if old.lookup is not None:
            del self.tokens_by_lookup[old.lookup]
        if old.session_id is None:
            self._displace_token(old)
        else:
            drop_member(self.held, old.session_id, old.id)
        if old.details is not NO_TOKEN_DETAILS:
            self._list(old, None)

    def _list(self, old: Token | None, new: Token | None) -> None:
        """Put a token among those that are listed, and those of its tag, or take it away."""
        if new is not None and new.is_sellable:
            self.sellable[new.id] = None
        elif old is not None:
            self.sellable.pop(old.id, None)
        was, tag = None if old is None else old.details.tag, None if new is None else new.details.tag
        if was != tag:
            if old is not None and was is not None:
                drop_member(self.tagged, was, old.id)
            if new is not None and tag is not None:
                add_member(self.tagged, tag, new.id)

    def _displace_token(self, old: Token) -> None:
        """Take a token that no session held from among the unassigned or parked ones."""
        if old.unassigned_at is not None:
            self.unassigned.pop(old.id, None)
            self.waiting.drop(old)
        elif (former := parked_owner(old)) is not None:
            drop_member(self.parked, former, old.id)

    def _place_token(self, new: Token) -> None:
        """Put a token that no session holds among the unassigned or parked ones."""
        if new.unassigned_at is not None:
            self.unassigned[new.id] = None
            self.waiting.add(new)
        elif (owner := parked_owner(new)) is not None:
            add_member(self.parked, owner, new.id)

    def apply_rest(self, changes: Changes) -> None:
        """Write what a change set says of everything but sessions and tokens."""
        if (rare := changes.rare) is None:
            return
        for old_entry, entry in rare.entries:
            if entry is not None:
                self.entries[entry.owner] = entry
            elif old_entry is not None:
                self.entries.pop(old_entry.owner, None)
        for record in rare.idempotency:
            self.outcomes[record.key] = record
            self.outcome_deadlines.add(record.expires_at, record.key)
        for key in rare.forgotten:
            self.outcomes.pop(key, None)
        for name, text in rare.settings:
            if text is None:
                self.settings.pop(name, None)
            else:
                self.settings[name] = text
        for old_key, new_key in rare.keys:
            if new_key is not None:
                self.keys[new_key.id] = new_key
            elif old_key is not None:
                self.keys.pop(old_key.id, None)
