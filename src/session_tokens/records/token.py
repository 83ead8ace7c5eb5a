"""The token: its record, and how it stands at an instant, judged with its session."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, ClassVar, Final

from ..clock import NEVER
from ..compiled_core import COMPILED
from ..compiler_hints import mypyc_attr
from .read_only import read_only
from .record import Record, frozen_kind, maker_of
from .session import JSON, OwnerEntry, Session, as_datetime, in_seconds, optional_datetime
from .token_details import NO_TOKEN_DETAILS, Offer, TokenDetails, shared
from .traits import BOUND, TRANSFERABLE, TokenKind, TokenTraits, token_traits

VALUE_REMEDY = (
    "a token's value is read only, a change of it would be lost: write change_token(token.id, value=…), with "
    "version=token.version where others write too"
)


@mypyc_attr(acyclic=True)
class _TokenAtHand(Record):
    """What a verification looks at, side by side at the beginning of the record: a cold read touches less memory."""

    __slots__ = ("deadline", "owner", "session_id", "text", "unassigned_at")


_OWN = (
    "id", "owner", "lookup", "session_id", "text", "created_at", "own_deadline", "deadline", "held_since",
    "unassigned_at", "previous_owner", "epoch", "version", "details", "name", "traits",
)  # fmt: skip
_FIELDS = (
    "id", "owner", "lookup", "kind", "session_id", "text", "is_json", "created_at", "timeout_ms", "own_deadline",
    "deadline", "disownment_timeout_ms", "held_since", "unassigned_at", "previous_owner", "epoch", "version",
    "details", "client_id", "name",
)  # fmt: skip
"""With those of its traits."""


@mypyc_attr(acyclic=True)
class Token(_TokenAtHand):
    """A key to some information or state, under a session or free of any.

    Instants are integer milliseconds since the epoch on the store's clock, durations are seconds.

    Attributes:
        id: the public id; it manages the token and never authenticates.
        owner: whose it is; ``None`` for free and unassigned tokens.
        session_id: the session that holds it; ``None`` for free, parked and unassigned tokens.
        created_at: when it was issued.
        held_since: since when its owner, or its being unassigned, is as it is.
        unassigned_at: since when it is unassigned, else ``None``.
        previous_owner: who owned it before, where it has changed hands or is unassigned.
        epoch: grows with each change of hands.
        version: grows with each change.
    """

    __slots__ = tuple(name for name in _OWN if name not in _TokenAtHand.__slots__)
    _compared = _OWN
    _values = attrgetter(*_OWN)
    _all_values: ClassVar[attrgetter[tuple[Any, ...]]] = attrgetter(*_FIELDS)
    _places: ClassVar[dict[str, int]] = {name: place for place, name in enumerate(_OWN)}

    def __init__(
        self,
        id: str,
        owner: str | None,
        lookup: str | None,
        session_id: str | None,
        text: str,
        created_at: int,
        own_deadline: int,
        deadline: int,
        held_since: int,
        unassigned_at: int | None,
        previous_owner: str | None,
        epoch: int,
        version: int,
        details: TokenDetails,
        name: str | None,
        traits: TokenTraits,
    ) -> None:
        self.id: Final = id
        self.owner: Final = owner
        self.lookup: Final = lookup
        self.session_id: Final = session_id
        self.text: Final = text
        self.created_at: Final = created_at
        self.own_deadline: Final = own_deadline
        self.deadline: Final = deadline
        self.held_since: Final = held_since
        self.unassigned_at: Final = unassigned_at
        self.previous_owner: Final = previous_owner
        self.epoch: Final = epoch
        self.version: Final = version
        self.details: Final = details
        self.name: Final = name
        self.traits: Final = traits

    @classmethod
    def _made(cls, *values: Any) -> Token:
        return Token(*values)

    @classmethod
    def _of(
        cls,
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
        details: TokenDetails,
        client_id: str | None,
        name: str | None,
    ) -> Token:
        """Return the token of all that is to be known of one."""
        return Token(
            id, owner, lookup, session_id, text, created_at, own_deadline, deadline, held_since, unassigned_at,
            previous_owner, epoch, version, details, name,
            token_traits(kind, is_json, timeout_ms, disownment_timeout_ms, client_id),
        )  # fmt: skip

    def __reduce__(self) -> tuple[Any, ...]:
        return self._of, self._all_values(self)

    def __repr__(self) -> str:
        return f"Token(id={self.id!r}, kind={self.kind.value!r}, owner={self.owner!r}, epoch={self.epoch})"

    @property
    def value(self) -> JSON:
        """The value as it was given: a ``str`` verbatim, or any other JSON value, read only."""
        if not self.is_json:
            return self.text
        value: JSON = read_only(json.loads(self.text), VALUE_REMEDY)
        return value

    @property
    def created_datetime(self) -> datetime:
        """When it was issued, in UTC."""
        return as_datetime(self.created_at)

    @property
    def expires_datetime(self) -> datetime | None:
        """When it ends, in UTC; ``None`` for never."""
        return optional_datetime(self.expires_at)

    @property
    def held_since_datetime(self) -> datetime:
        """Since when its owner, or its being unassigned, is as it is, in UTC."""
        return as_datetime(self.held_since)

    @property
    def unassigned_datetime(self) -> datetime | None:
        """Since when it is unassigned, in UTC; ``None`` while it is not."""
        return optional_datetime(self.unassigned_at)

    def to_dict(self) -> dict[str, JSON]:
        """Return the token as plain JSON: instants in milliseconds, durations in seconds, price as text; no secret."""
        price = self.price
        return {
            "id": self.id,
            "kind": self.kind.value,
            "owner": self.owner,
            "session_id": self.session_id,
            "value": json.loads(self.text) if self.is_json else self.text,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "timeout": self.timeout,
            "disownment_timeout": self.disownment_timeout,
            "held_since": self.held_since,
            "unassigned_at": self.unassigned_at,
            "previous_owner": self.previous_owner,
            "epoch": self.epoch,
            "version": self.version,
            "sellable": self.is_sellable,
            "price": None if price is None else format(price, "f"),
            "currency": self.currency,
            "gift": self.gift,
            "tag": self.details.tag,
            "scope": self.details.scope,
            "audience": list(self.audience),
            "for_client": self.details.for_client,
            "uses_left": self.details.uses_left,
            "reserved_for": self.details.reserved_for,
            "reserved_until": self.reserved_until,
            "borrower": self.details.borrower,
            "client_id": self.client_id,
        }

    @property
    def kind(self) -> TokenKind:
        """``free``, ``session-bound`` or ``transferable``."""
        return self.traits.kind

    @property
    def is_json(self) -> bool:
        """Whether its value is JSON, and no text that is kept verbatim."""
        return self.traits.is_json

    @property
    def timeout_ms(self) -> int | None:
        """Its own timeout in milliseconds, ``None`` for never."""
        return self.traits.timeout_ms

    @property
    def disownment_timeout_ms(self) -> int | None:
        """Milliseconds that it may wait unassigned, ``None`` for ever."""
        return self.traits.disownment_timeout_ms

    @property
    def client_id(self) -> str | None:
        """The id of the service key that issued it, if one did."""
        return self.traits.client_id

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
        offer = self.details.offer
        return offer.price if offer is not None and offer.listed else None

    @property
    def currency(self) -> str | None:
        """The currency or unit of the price."""
        offer = self.details.offer
        return offer.currency if offer is not None and offer.listed else None

    @property
    def gift(self) -> bool:
        """Whether it is marked as a gift."""
        offer = self.details.offer
        return offer is not None and offer.gift

    @property
    def is_sellable(self) -> bool:
        """Whether it is listed for a transfer."""
        offer = self.details.offer
        return offer is not None and offer.listed

    @property
    def told_scope(self) -> str:
        """What whoever asks is told that it allows: its scope, else its kind."""
        return self.scope or self.kind.value

    @property
    def scope(self) -> str | None:
        """What it is for, words with blanks between (RFC 6749, section 3.3); ``None`` where unsaid."""
        return self.details.scope

    @property
    def audience(self) -> tuple[str, ...]:
        """For whom it is (RFC 7662, ``aud``), empty where unsaid."""
        return () if self.details.audience_text is None else tuple(json.loads(self.details.audience_text))

    @property
    def for_client(self) -> str | None:
        """The client for whom it was issued (RFC 7662, ``client_id``); ``None`` where unsaid."""
        return self.details.for_client

    @property
    def tag(self) -> str | None:
        """What it is for, as the application sorts its tokens; ``None`` where unsaid."""
        return self.details.tag

    @property
    def uses_left(self) -> int | None:
        """How often it can still be used up; ``None`` where uses are not counted."""
        return self.details.uses_left

    @property
    def is_used_up(self) -> bool:
        """Whether its uses were counted and none is left: it is over, and known as that for an hour."""
        return self.details.uses_left == 0

    @property
    def reserved_for(self) -> str | None:
        """The owner to whom alone it is offered; ``None`` where there is none."""
        return self.details.reserved_for

    @property
    def reserved_until(self) -> int | None:
        """Until when that holds, in milliseconds; ``None`` for no end, and where it is reserved for nobody."""
        until = self.details.reserved_until
        return None if until == NEVER else until

    @property
    def borrower(self) -> str | None:
        """Who uses it on loan, where that is who asks; ``owner`` stays the lender."""
        return self.details.borrower

    @property
    def is_loan(self) -> bool:
        """Whether this is the record of a loan of another token."""
        return self.details.lent is not None

    @property
    def is_transferable(self) -> bool:
        """Whether its kind allows it to change hands."""
        return self.kind is TRANSFERABLE

    @property
    def is_unassigned(self) -> bool:
        """Whether it waits for a claim or a transfer."""
        return self.unassigned_at is not None

    def authenticates(self, now: int, session: Session | None, entry: OwnerEntry | None) -> bool:
        """Whether its secret opens anything at ``now``, judged with its session: unassigned tokens do not."""
        if self.deadline is not NEVER and now >= self.deadline:
            return False
        if session is not None:
            return now < session.deadline and (entry is None or entry.epoch == session.owner_epoch)
        return self.session_id is None and self.unassigned_at is None

    def as_of(self, now: int, session: Session | None, entry: OwnerEntry | None) -> Token | None:
        """Return the token as it stands at ``now``: itself, unassigned because its session is over, or ``None``."""
        if now >= self.deadline:
            return None
        details = self.details
        if details is not NO_TOKEN_DETAILS:
            if details.uses_left == 0:
                return None
            if details.reserved_until is not None and now >= details.reserved_until:
                return self._as_of_lapsed(now, session, entry)
        if self.session_id is None or (session is not None and session.alive(now, entry)):
            return self
        if self.traits.kind is BOUND:
            return None
        token = self.unassigned(self._left_at(now, session, entry))
        return token if now < token.deadline else None

    def _as_of_lapsed(self, now: int, session: Session | None, entry: OwnerEntry | None) -> Token | None:
        """As ``as_of`` where an offer to one owner is over, before the session or after it."""
        is_held = self.session_id is not None
        if is_held and (session is None or not session.alive(now, entry)):
            left_at = self._left_at(now, session, entry)
            until = self.details.reserved_until
            if until is not None and left_at < until:
                return self.unassigned(left_at).lapsed().as_of(now, None, None)
        return self.lapsed().as_of(now, session, entry)

    def _left_at(self, now: int, session: Session | None, entry: OwnerEntry | None) -> int:
        """Return when a token lost the session that held it, which is over."""
        return self.held_since if session is None else max(session.end(now, entry).at, self.held_since)

    def offered_at(self, now: int) -> Token:
        """Return a living token without an offer to one owner that is over at ``now``."""
        until = self.details.reserved_until
        return self if until is None or now < until else self.lapsed()

    def lapsed(self) -> Token:
        """Return the token when an offer to one owner is over: no more offered, and for everybody where unassigned."""
        until = self.details.reserved_until
        return self.replace(
            details=self.details.not_offered(),
            unassigned_at=None if self.unassigned_at is None else until,
            version=self.version + 1,
        )

    def unassigned(self, at: int) -> Token:
        """Return the token without an owner since ``at``, its disownment clock running, or waiting for an offer's."""
        details = self.details
        since = at if details.reserved_until is None else max(at, details.reserved_until)
        disownment_ms = self.traits.disownment_timeout_ms
        disownment = NEVER if disownment_ms is None or since == NEVER else since + disownment_ms
        return Token(
            self.id, None, self.lookup, None, self.text, self.created_at, self.own_deadline,
            min(self.own_deadline, disownment), at, at, self.owner, self.epoch, self.version + 1, details, self.name,
            self.traits,
        )  # fmt: skip

    def released(self, now: int) -> Token:
        """Return the token put back by its owner: for everybody, under no offer, loan or secret."""
        return self.replace(lookup=None, details=self.details.in_new_hands()).unassigned(now)

    def used(self, amount: int) -> Token:
        """Return the token with so many uses less."""
        left = (self.details.uses_left or 0) - amount
        return self.replace(details=self.details._replace(uses_left=left), version=self.version + 1)

    def used_up(self, now: int, forget_at: int) -> Token:
        """Return what is kept of a token without any use left, until it is forgotten: nobody's, and opening nothing.

        It would be free for a claim only then, which keeps it behind all that are.
        """
        return self.replace(
            owner=None, session_id=None, own_deadline=forget_at, deadline=forget_at, held_since=now,
            unassigned_at=forget_at, previous_owner=self.owner, text="", is_json=False,
            details=TokenDetails(uses_left=0, loans=self.details.loans),
        )  # fmt: skip

    def held_by(self, owner: str, session_id: str | None, lookup: str | None, now: int) -> Token:
        """Return the token in new hands: epoch + 1, its listing cleared, deadline and value kept."""
        giver = self.owner if self.owner is not None else self.previous_owner
        details = NO_TOKEN_DETAILS if self.details is NO_TOKEN_DETAILS else self.details.in_new_hands()
        return Token(
            self.id, owner, lookup, session_id, self.text, self.created_at, self.own_deadline, self.own_deadline, now,
            None, giver, self.epoch + 1, self.version + 1, details, self.name, self.traits,
        )  # fmt: skip

    def offered(self, offer: Offer | None) -> Token:
        """Return the token advertised in this way; ``None`` takes every mark of an offer away."""
        return self.replace(details=shared(self.details._replace(offer=offer)), version=self.version + 1)

    def reserved(self, offer: Offer | None, owner: str | None, until: int | None, now: int) -> Token:
        """Return the token offered in this way, to one owner alone until then or to everybody.

        Where it is unassigned its disownment clock runs from when it is, or became, for everybody.
        """
        details = self.details._replace(offer=offer, reserved_for=owner, reserved_until=until)
        deadline, unassigned_at = self.deadline, self.unassigned_at
        if unassigned_at is not None and (owner is not None or self.details.reserved_for is not None):
            unassigned_at = now if self.details.reserved_for is not None else unassigned_at
            deadline = self.waiting_until(unassigned_at if until is None else until, self.disownment_timeout_ms)
        return self.replace(
            details=shared(details), unassigned_at=unassigned_at, deadline=deadline, version=self.version + 1
        )

    def waiting_until(self, since: int, disownment_timeout_ms: int | None) -> int:
        """Return when it ends that is unassigned, and for everybody, since an instant."""
        if disownment_timeout_ms is None or since == NEVER:
            return self.own_deadline
        return min(self.own_deadline, since + disownment_timeout_ms)

    def in_session(self, session_id: str | None, moves: int = 1) -> Token:
        """Return the token held in another session of the same owner, after so many moves; its hands stay the same."""
        return Token(
            self.id, self.owner, self.lookup, session_id, self.text, self.created_at, self.own_deadline,
            self.own_deadline, self.held_since, None, self.previous_owner, self.epoch, self.version + moves,
            self.details, self.name, self.traits,
        )  # fmt: skip

    def followed(self, session: Session | None, heir: Session | None) -> tuple[Token, Session | None]:
        """Return the token with the session that it is in now, as it will be written down.

        Args:
            session: the one that its record names.
            heir: the successor of that one, where it was replaced.
        """
        if session is None or heir is None or self.traits.kind is not TRANSFERABLE:
            return self, session
        return self.in_session(heir.id, session.details.moves), heir

    def seen_with(self, session: Session | None) -> Token:
        """Return the token as callers see it: a session-bound one expires with its session at the latest."""
        if session is not None and self.traits.kind is BOUND and session.deadline < self.deadline:
            return Token(
                self.id, self.owner, self.lookup, self.session_id, self.text, self.created_at, self.own_deadline,
                session.deadline, self.held_since, self.unassigned_at, self.previous_owner, self.epoch, self.version,
                self.details, self.name, self.traits,
            )  # fmt: skip
        return self


FrozenToken = Token if COMPILED else frozen_kind(Token)
"""What a made record is an instance of; ``records`` gives it out under the name of its kind."""
if not COMPILED:
    globals()["Token"] = maker_of(Token, FrozenToken)  # whatever makes one calls it by this name
