"""The records: what a session, a token and an owner's entry are, and whether they are alive at an instant.

Theory of operation. A record is never changed, only replaced, so one reader can keep it while another writes.
Nothing counts down: a record holds *deadlines* (integer milliseconds on the store's clock) and a reader compares
them with its now. A session or token is alive iff ``now < deadline``. A committed end sets the deadline of a session
to 0, so that no clock, however wrong, brings it back.

A token's life is judged together with its session: ending a session is one write, and every token that it holds is
dead or unassigned from that instant, whether or not the sweeper has rewritten it. ``Token.as_of`` is that judgement;
what it answers is what the sweeper will write.

Records are made by plain assignment into slots and then given their public class, which refuses assignment.
(A frozen dataclass costs 3 us more for each session and token that is added.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar, Generic, Literal, NamedTuple, NoReturn, Self, TypeVar

from .clock import NEVER, Clock
from .errors import ReauthenticationRequired
from .settings import Duration, duration_ms

R = TypeVar("R")

JSON = str | int | float | bool | None | list["JSON"] | dict[str, "JSON"]
"""Any JSON value."""

Reason = Literal[
    "logout", "idle", "expired", "detached_timeout", "replaced", "evicted", "revoked", "theft", "owner_disabled"
]
"""Why a session ended."""


class TokenKind(StrEnum):
    """The three kinds of token; a token keeps its kind for life."""

    FREE = "free"
    BOUND = "session-bound"
    TRANSFERABLE = "transferable"


class End(NamedTuple):
    """When and why a session ended."""

    at: int
    reason: str


class _Record:
    """What the records share: named slots, equality by content, a copy with changes."""

    __slots__ = ()
    _fields: ClassVar[tuple[str, ...]]
    _compared: ClassVar[tuple[str, ...]]

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self._compared)

    def __hash__(self) -> int:
        return hash((self.__class__, getattr(self, self._compared[0])))

    def replace(self, **changes: Any) -> Self:
        """Answer a copy with some fields changed."""
        values = [changes.pop(name) if name in changes else getattr(self, name) for name in self._fields]
        if changes:
            raise TypeError(f"{type(self).__name__} has no field {', '.join(changes)}")
        return type(self)._of(*values)

    @classmethod
    def _of(cls, *values: Any) -> Self:
        raise NotImplementedError


def _frozen(self: object, name: str, value: object = None) -> NoReturn:
    raise AttributeError(f"{type(self).__name__} is frozen; change it through the API (no {name} = …)")


class OwnerEntry(NamedTuple):
    """What is kept of an owner beyond its sessions; most owners have none.

    Attributes:
        owner: the application's identity string.
        epoch: grows with each disabling; a session opened under an earlier epoch is dead.
        disabled_at: since when the owner is disabled, ``None`` when lifted.
        watermark: the instant of the last disabling: sessions of an earlier epoch ended then.
    """

    owner: str
    epoch: int
    disabled_at: int | None
    watermark: int


class SessionDetails(NamedTuple):
    """The parts of a session that few sessions have.

    Attributes:
        label: a name for the owner to tell sessions apart.
        user_agent: of the client that logged in.
        address: of the client that logged in.
        data_text: the session's data as JSON text of an object.
        data_versions: for each field of the data, the session's version at its last change.
    """

    label: str | None = None
    user_agent: str | None = None
    address: str | None = None
    data_text: str = "{}"
    data_versions: Mapping[str, int] = {}


NO_DETAILS = SessionDetails()


class _SessionFields(_Record):
    """The slots of a session, assignable while it is made."""

    __slots__ = _fields = (
        "id", "owner", "lookup", "created_at", "last_seen_at", "authenticated_at", "deadline", "idle_timeout_ms",
        "max_age_ms", "detached_timeout_ms", "detachable", "detached_at", "ended_at", "end_reason", "sweep_at",
        "owner_epoch", "version", "details", "client_id", "name", "clock",
    )  # fmt: skip

    def __init__(
        self,
        id: str,
        owner: str,
        lookup: str | None,
        created_at: int,
        last_seen_at: int,
        authenticated_at: int,
        deadline: int,
        idle_timeout_ms: int | None,
        max_age_ms: int | None,
        detached_timeout_ms: int | None,
        detachable: bool,
        detached_at: int | None,
        ended_at: int | None,
        end_reason: str | None,
        sweep_at: int,
        owner_epoch: int,
        version: int,
        details: SessionDetails,
        client_id: str | None,
        name: str | None,
        clock: Clock,
    ) -> None:
        self.id = id
        self.owner = owner
        self.lookup = lookup
        self.created_at = created_at
        self.last_seen_at = last_seen_at
        self.authenticated_at = authenticated_at
        self.deadline = deadline
        self.idle_timeout_ms = idle_timeout_ms
        self.max_age_ms = max_age_ms
        self.detached_timeout_ms = detached_timeout_ms
        self.detachable = detachable
        self.detached_at = detached_at
        self.ended_at = ended_at
        self.end_reason = end_reason
        self.sweep_at = sweep_at
        self.owner_epoch = owner_epoch
        self.version = version
        self.details = details
        self.client_id = client_id
        self.name = name
        self.clock = clock
        self.__class__ = Session


class Session(_SessionFields):
    """A log-in: opened for one owner, and everything issued under it ends with it.

    Instants are integer milliseconds since the epoch on the store's clock, durations are seconds.

    Attributes:
        id: the public id; it manages the session and never authenticates.
        owner: for whom it was opened.
        created_at: when it was opened.
        last_seen_at: when it was last used, up to 1/16 of the idle window late.
        authenticated_at: when its owner last proved who they are.
        detachable: whether it may be detached.
        detached_at: since when it is detached, ``None`` while it is attached.
        ended_at: when it ended; ``None`` while it lives or only ran out of time and is not swept.
        end_reason: why it ended.
        version: grows with each change other than use.
        client_id: the id of the service key that opened it, if one did.
    """

    __slots__ = ()
    _compared = tuple(name for name in _SessionFields._fields if name not in ("clock", "sweep_at"))
    __setattr__ = _frozen
    __delattr__ = _frozen

    @classmethod
    def _of(cls, *values: Any) -> Session:
        return _SessionFields(*values)  # type: ignore[return-value]  # it takes this class as its last step

    def __repr__(self) -> str:
        state = "ended" if self.ended_at is not None else "detached" if self.detached_at is not None else "active"
        return f"Session(id={self.id!r}, owner={self.owner!r}, {state}, version={self.version})"

    @property
    def idle_timeout(self) -> float | None:
        """Seconds without use after which it ends, ``None`` for never."""
        return in_seconds(self.idle_timeout_ms)

    @property
    def max_age(self) -> float | None:
        """Seconds from its opening after which it ends, whatever its use; ``None`` for never."""
        return in_seconds(self.max_age_ms)

    @property
    def detached_timeout(self) -> float | None:
        """Seconds after which it ends when detached, ``None`` for never."""
        return in_seconds(self.detached_timeout_ms)

    @property
    def expires_at(self) -> int | None:
        """The instant at which it ends if it is not used, in milliseconds; ``None`` for never."""
        if self.ended_at is not None:
            return self.ended_at
        return None if self.deadline == NEVER else self.deadline

    @property
    def label(self) -> str | None:
        """A name for the owner to tell sessions apart."""
        return self.details.label

    @property
    def user_agent(self) -> str | None:
        """Of the client that logged in."""
        return self.details.user_agent

    @property
    def address(self) -> str | None:
        """Of the client that logged in."""
        return self.details.address

    @property
    def data(self) -> dict[str, JSON]:
        """The session's data: a fresh copy of a small JSON object."""
        data: dict[str, JSON] = json.loads(self.details.data_text)
        return data

    @property
    def is_detached(self) -> bool:
        """Whether it is logged out but goes on."""
        return self.detached_at is not None and self.ended_at is None

    def time_left(self) -> float | None:
        """Seconds until it ends if it is not used; 0.0 when it is over, ``None`` for never."""
        if self.deadline == NEVER:
            return None
        return max(0, self.deadline - self.clock.now()) / 1000

    def require_recent(self, max_age: Duration) -> None:
        """Accept only if its owner proved who they are at most ``max_age`` (seconds or ``timedelta``) ago.

        Raises:
            ReauthenticationRequired: it was longer ago; let them log in again (step-up).
            InvalidInput: a duration that can never be right.
        """
        age_ms = self.clock.now() - self.authenticated_at
        if age_ms > (duration_ms("max_age", max_age) or 0):
            raise ReauthenticationRequired("the log-in is too old for this; log in again", id=self.id)

    def alive(self, now: int, entry: OwnerEntry | None) -> bool:
        """Whether it lives at ``now``, attached or detached; ``entry`` is its owner's, where there is one."""
        return now < self.deadline and (entry is None or entry.epoch == self.owner_epoch)

    def end(self, now: int, entry: OwnerEntry | None) -> End:
        """When and why a session that is not alive ended."""
        if self.ended_at is not None:
            return End(self.ended_at, self.end_reason or "revoked")
        if entry is not None and entry.epoch != self.owner_epoch and entry.watermark < self.deadline:
            return End(entry.watermark, "owner_disabled")
        if self.max_age_ms is not None and self.deadline == self.created_at + self.max_age_ms:
            return End(self.deadline, "expired")
        return End(self.deadline, "idle" if self.detached_at is None else "detached_timeout")


class Offer(NamedTuple):
    """How a transferable token is advertised; it locks nothing and moves no money.

    Attributes:
        listed: whether it is sellable now.
        price: positive: the receiver pays, negative: the giver pays; zero is a price, ``None`` is none.
        currency: a currency or unit, ``None`` when the application has only one.
        gift: whether it is marked as a gift; a flag of its own.
    """

    listed: bool
    price: Decimal | None
    currency: str | None
    gift: bool


class _TokenFields(_Record):
    """The slots of a token, assignable while it is made."""

    __slots__ = _fields = (
        "id", "owner", "lookup", "kind", "session_id", "text", "is_json", "created_at", "timeout_ms", "own_deadline",
        "deadline", "disownment_timeout_ms", "held_since", "unassigned_at", "previous_owner", "epoch", "version",
        "offer", "client_id", "name",
    )  # fmt: skip

    def __init__(
        self,
        id: str,
        owner: str | None,
        lookup: str | None,
        kind: TokenKind,
        session_id: str | None,
        text: str,
        is_json: bool,
        created_at: int,
        timeout_ms: int | None,
        own_deadline: int,
        deadline: int,
        disownment_timeout_ms: int | None,
        held_since: int,
        unassigned_at: int | None,
        previous_owner: str | None,
        epoch: int,
        version: int,
        offer: Offer | None,
        client_id: str | None,
        name: str | None,
    ) -> None:
        self.id = id
        self.owner = owner
        self.lookup = lookup
        self.kind = kind
        self.session_id = session_id
        self.text = text
        self.is_json = is_json
        self.created_at = created_at
        self.timeout_ms = timeout_ms
        self.own_deadline = own_deadline
        self.deadline = deadline
        self.disownment_timeout_ms = disownment_timeout_ms
        self.held_since = held_since
        self.unassigned_at = unassigned_at
        self.previous_owner = previous_owner
        self.epoch = epoch
        self.version = version
        self.offer = offer
        self.client_id = client_id
        self.name = name
        self.__class__ = Token


class Token(_TokenFields):
    """A key to some information or state, under a session or free of any.

    Instants are integer milliseconds since the epoch on the store's clock, durations are seconds.

    Attributes:
        id: the public id; it manages the token and never authenticates.
        kind: ``free``, ``session-bound`` or ``transferable``.
        owner: whose it is; ``None`` for free and unassigned tokens.
        session_id: the session that holds it; ``None`` for free, parked and unassigned tokens.
        created_at: when it was issued.
        held_since: since when its owner, or its being unassigned, is as it is.
        unassigned_at: since when it is unassigned, else ``None``.
        previous_owner: who owned it before, where it has changed hands or is unassigned.
        epoch: grows with each change of hands.
        version: grows with each change.
        client_id: the id of the service key that issued it, if one did.
    """

    __slots__ = ()
    _compared = _TokenFields._fields
    __setattr__ = _frozen
    __delattr__ = _frozen

    @classmethod
    def _of(cls, *values: Any) -> Token:
        return _TokenFields(*values)  # type: ignore[return-value]  # it takes this class as its last step

    def __repr__(self) -> str:
        return f"Token(id={self.id!r}, kind={self.kind.value!r}, owner={self.owner!r}, epoch={self.epoch})"

    @property
    def value(self) -> JSON:
        """The value as it was given: a ``str`` verbatim, or a fresh copy of any other JSON value."""
        if not self.is_json:
            return self.text
        value: JSON = json.loads(self.text)
        return value

    @property
    def expires_at(self) -> int | None:
        """The instant at which it ends, in milliseconds; ``None`` for never."""
        return None if self.deadline == NEVER else self.deadline

    @property
    def timeout(self) -> float | None:
        """Its own timeout in seconds, ``None`` for never."""
        return in_seconds(self.timeout_ms)

    @property
    def disownment_timeout(self) -> float | None:
        """Seconds that it may wait unassigned, ``None`` for ever."""
        return in_seconds(self.disownment_timeout_ms)

    @property
    def price(self) -> Decimal | None:
        """The price that it is offered at; ``None`` where it is not offered or has no price."""
        return self.offer.price if self.offer is not None and self.offer.listed else None

    @property
    def currency(self) -> str | None:
        """The currency or unit of the price."""
        return self.offer.currency if self.offer is not None and self.offer.listed else None

    @property
    def gift(self) -> bool:
        """Whether it is marked as a gift."""
        return self.offer is not None and self.offer.gift

    @property
    def is_sellable(self) -> bool:
        """Whether it is listed for a transfer."""
        return self.offer is not None and self.offer.listed

    @property
    def is_transferable(self) -> bool:
        """Whether its kind allows it to change hands."""
        return self.kind is TokenKind.TRANSFERABLE

    @property
    def is_unassigned(self) -> bool:
        """Whether it waits for a claim or a transfer."""
        return self.unassigned_at is not None

    def authenticates(self, now: int, session: Session | None, entry: OwnerEntry | None) -> bool:
        """Whether its secret opens anything at ``now``, judged with its session: unassigned tokens do not."""
        if now >= self.deadline:
            return False
        if self.session_id is None:
            return self.unassigned_at is None
        return session is not None and session.alive(now, entry)

    def as_of(self, now: int, session: Session | None, entry: OwnerEntry | None) -> Token | None:
        """Answer the token as it stands at ``now``: itself, unassigned because its session is over, or ``None``."""
        if now >= self.deadline:
            return None
        if self.session_id is None or (session is not None and session.alive(now, entry)):
            return self
        if self.kind is TokenKind.BOUND:
            return None
        left_at = self.held_since if session is None else max(session.end(now, entry).at, self.held_since)
        token = self.unassigned(left_at)
        return token if now < token.deadline else None

    def unassigned(self, at: int) -> Token:
        """Answer the token without an owner since ``at``, its disownment clock running."""
        disownment = NEVER if self.disownment_timeout_ms is None else at + self.disownment_timeout_ms
        return _TokenFields(  # type: ignore[return-value]  # see Token._of
            self.id, None, self.lookup, self.kind, None, self.text, self.is_json, self.created_at, self.timeout_ms,
            self.own_deadline, min(self.own_deadline, disownment), self.disownment_timeout_ms, at, at, self.owner,
            self.epoch, self.version + 1, self.offer, self.client_id, self.name,
        )  # fmt: skip

    def held_by(self, owner: str, session_id: str | None, lookup: str | None, now: int) -> Token:
        """Answer the token in new hands: epoch + 1, its listing cleared, deadline and value kept."""
        giver = self.owner if self.owner is not None else self.previous_owner
        return _TokenFields(  # type: ignore[return-value]  # see Token._of
            self.id, owner, lookup, self.kind, session_id, self.text, self.is_json, self.created_at, self.timeout_ms,
            self.own_deadline, self.own_deadline, self.disownment_timeout_ms, now, None, giver, self.epoch + 1,
            self.version + 1, None, self.client_id, self.name,
        )  # fmt: skip

    def in_session(self, session_id: str | None) -> Token:
        """Answer the token held in another session of the same owner; its hands stay the same."""
        return _TokenFields(  # type: ignore[return-value]  # see Token._of
            self.id, self.owner, self.lookup, self.kind, session_id, self.text, self.is_json, self.created_at,
            self.timeout_ms, self.own_deadline, self.own_deadline, self.disownment_timeout_ms, self.held_since, None,
            self.previous_owner, self.epoch, self.version + 1, self.offer, self.client_id, self.name,
        )  # fmt: skip

    def seen_with(self, session: Session | None) -> Token:
        """Answer the token as callers see it: a session-bound one expires with its session at the latest."""
        if self.kind is TokenKind.BOUND and session is not None and session.deadline < self.deadline:
            return self.replace(deadline=session.deadline)
        return self


class Issued:
    """A session or token together with its secret, given out this once.

    Attributes:
        secret: the bearer string; it is kept nowhere, and is in no repr or log.
        record: the session or token.
    """

    __slots__ = ("record", "secret")

    def __init__(self, record: Session | Token, secret: str) -> None:
        self.record = record
        self.secret = secret

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
        outcome: the record, flag or number that was answered.
        expires_at: when it may be forgotten, in milliseconds.
    """

    key: str
    request: str
    nonce: str
    key_id: str
    outcome: Session | Token | bool | int | None
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
    """

    id: str
    lookup: str
    role: str
    created_at: int
    expires_at: int | None
    label: str | None


class Page(NamedTuple, Generic[R]):
    """One page of a listing, in order of creation.

    Attributes:
        items: the sessions or tokens.
        next: give it as ``after=`` for the next page; ``None`` when there is none.
    """

    items: list[R]
    next: str | None


def in_seconds(duration_ms: int | None) -> float | None:
    """Answer milliseconds as seconds: a whole number where it is one."""
    if duration_ms is None:
        return None
    return duration_ms // 1000 if duration_ms % 1000 == 0 else duration_ms / 1000
