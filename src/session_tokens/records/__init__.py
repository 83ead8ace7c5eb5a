"""The records: what a session, a token and an owner's entry are, and whether they are alive at an instant.

Theory of operation. A record is never changed, only replaced, so one reader can keep it while another writes.
Nothing counts down: a record holds *deadlines* (integer milliseconds on the store's clock) and a reader compares
them with its now. A session or token is alive iff ``now < deadline``. A committed end sets the deadline of a session
to 0, so that no clock, however wrong, brings it back.

A token's life is judged together with its session: ending a session is one write, and every token that it holds is
dead or unassigned from that instant, whether or not the sweeper has rewritten it. ``Token.as_of`` is that judgement;
what it answers is what the sweeper will write.

Records are made by plain assignment into slots and then given their public class, which refuses assignment.
(A frozen dataclass costs 3 us more for each session and token that is added.) A compiled record refuses by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar, overload

from ..compiled_core import COMPILED
from .session import JSON, End, FrozenSession, OwnerEntry, Reason, Session
from .session_details import NO_DETAILS, SessionDetails
from .token import FrozenToken, Token
from .token_details import NO_TOKEN_DETAILS, Offer, TokenDetails
from .traits import BOUND, FREE, TRANSFERABLE, TokenKind

R = TypeVar("R")

if not (TYPE_CHECKING or COMPILED):  # the same to a reader; see above
    Session, Token = FrozenSession, FrozenToken

__all__ = [
    "BOUND",
    "FREE",
    "JSON",
    "NO_DETAILS",
    "NO_TOKEN_DETAILS",
    "TRANSFERABLE",
    "End",
    "IdempotencyRecord",
    "Issued",
    "Offer",
    "OwnerEntry",
    "Page",
    "Reason",
    "ServiceKey",
    "Session",
    "SessionDetails",
    "Token",
    "TokenDetails",
    "TokenKind",
]


class Issued:
    """A session or token together with its secret, given out this once.

    Attributes:
        secret: the bearer string; it is kept nowhere, and is in no repr or log. ``None`` for a token that is
            unassigned from birth, and for nothing else: claiming it gives one.
        record: the session or token.
    """

    __slots__ = ("record", "secret")

    def __init__(self, record: Session | Token, secret: str | None) -> None:
        self.record = record
        self.secret: str = secret  # type: ignore[assignment]  # who issues into the pool knows that there is none

    @property
    def session(self) -> Session:
        """The session; only where a session was asked for."""
        if not isinstance(self.record, Session):
            raise AttributeError("a token was issued, not a session; read .token")
        return self.record

    @property
    def token(self) -> Token:
        """The token; only where a token was asked for."""
        if not isinstance(self.record, Token):
            raise AttributeError("a session was issued, not a token; read .session")
        return self.record

    @property
    def id(self) -> str:
        """The public id of the session or token."""
        return self.record.id

    def __repr__(self) -> str:
        return f"Issued({self.record!r}, secret=<hidden>)"


class IdempotencyRecord(NamedTuple):
    """The first outcome of a command with an idempotency key.

    Attributes:
        key: digest of caller, command and key.
        request: digest of the request; another request under the same key is a conflict.
        nonce: 128 random bits in hex, from which the new secret was derived.
        key_id: the pepper that it was derived with.
        outcome: the record, flag, number, numbers or text that were answered.
        expires_at: when it may be forgotten, in milliseconds.
    """

    key: str
    request: str
    nonce: str
    key_id: str
    outcome: Session | Token | bool | int | str | Sequence[int] | None
    expires_at: int


class ServiceKey(NamedTuple):
    """A key with which a program calls the HTTP service.

    Attributes:
        id: the public id.
        lookup: what the secret is looked up by; never the secret.
        role: what it may do.
        created_at: when it was made, in milliseconds.
        expires_at: when it ends, in milliseconds; ``None`` for never.
        label: a name for people.
        networks: those that it may be used from, with blanks between; ``None`` for everywhere.
        owner_prefix: how the owners begin for whom it acts; ``None`` for all.
        namespace: the name space to which what it makes belongs, and beyond which it sees nothing; ``None`` for all.
        audience: it sees only tokens that were issued for this audience; ``None`` for all.
        max_age_ms: the longest life that it may give, in milliseconds; ``None`` for any.
        rate: how many requests a second it may send to each process; ``None`` for any.
        owner_creations: how much it may make for one owner a minute in each process; ``None`` for any.
    """

    id: str
    lookup: str
    role: str
    created_at: int
    expires_at: int | None
    label: str | None
    networks: str | None = None
    owner_prefix: str | None = None
    namespace: str | None = None
    audience: str | None = None
    max_age_ms: int | None = None
    rate: int | None = None
    owner_creations: int | None = None

    def alive(self, now: int) -> bool:
        """Whether it opens the service at ``now`` (milliseconds)."""
        return self.expires_at is None or now < self.expires_at

    @property
    def is_bound(self) -> bool:
        """Whether there are records that it does not see."""
        return self.owner_prefix is not None or self.namespace is not None or self.audience is not None

    def __repr__(self) -> str:
        return f"ServiceKey(id={self.id!r}, role={self.role!r})"


class OwnerSummary(NamedTuple):
    """An owner in a list of owners.

    Attributes:
        owner: the application's identity string.
        sessions: how many sessions they have, counting those that ran out of time and were not swept.
        since: when the oldest of their living sessions was opened, in milliseconds; ``None`` where none is.
        disabled_at: since when they are disabled, in milliseconds; ``None`` if they are not.
    """

    owner: str
    sessions: int
    since: int | None
    disabled_at: int | None


class Forgotten(NamedTuple):
    """What forgetting an owner came to: in how much their name was replaced by a pseudonym, or taken away.

    Attributes:
        pseudonym: what stands in their place from now on; the same each time, and for nobody else.
        sessions: sessions that were ended, now or before.
        tokens: tokens that were theirs or offered to them, and loans to them.
        outcomes: what commands with an idempotency key had answered.
        events: events that the store keeps.
        webhook_events: events that wait for a webhook or were given up.
        audit_entries: entries of the audit log.
    """

    pseudonym: str
    sessions: int
    tokens: int
    outcomes: int
    events: int
    webhook_events: int
    audit_entries: int


class Page(Sequence[R]):
    """One page of a listing, in order of creation: a sequence of its items.

    Attributes:
        items: the sessions or tokens.
        after: give it as ``after=`` for the next page; ``None`` when there is none. A page may be short, even empty,
            and still name a next one.
        unreadable: the ids of what belongs here or right after and was left out because it cannot be read: damaged,
            forged, or under a pepper that this process was not given; ``session-tokens check`` says more.
    """

    __slots__ = ("after", "items", "unreadable")

    def __init__(self, items: list[R], after: str | None, unreadable: Sequence[str] = ()) -> None:
        self.items = items
        self.after = after
        self.unreadable = unreadable

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[R]:
        return iter(self.items)

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> list[R]: ...
    def __getitem__(self, index: int | slice) -> R | list[R]:
        return self.items[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Page):
            return NotImplemented
        return self.items == other.items and self.after == other.after

    __hash__ = None  # type: ignore[assignment]  # it holds a list

    def __repr__(self) -> str:
        return f"Page(items={self.items!r}, after={self.after!r})"
