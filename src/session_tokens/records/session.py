"""The session: its record, and whether it is alive at an instant."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, ClassVar, Final, Literal, NamedTuple

from ..clock import NEVER, Clock
from ..compiled_core import COMPILED
from ..crypto.secret_form import SESSION_SECRET
from ..errors import ReauthenticationRequired
from ..settings import Duration, duration_ms
from .read_only import read_only
from .record import Record, frozen_kind, maker_of
from .rotation import Rotation
from .session_details import SessionDetails
from .traits import SessionTraits, session_traits

JSON = str | int | float | bool | None | list["JSON"] | dict[str, "JSON"]
"""Any JSON value."""

Reason = Literal[
    "logout", "idle", "expired", "detached_timeout", "replaced", "evicted", "revoked", "theft", "owner_disabled"
]
"""Why a session ended."""


class End(NamedTuple):
    """When and why a session ended."""

    at: int
    reason: str


EPOCH_MAX: Final = 2**53
"""Above any epoch that was ever counted; a row that nobody signed may name any number."""


class OwnerEntry(NamedTuple):
    """What is kept of an owner beyond its sessions; most owners have none.

    Attributes:
        owner: the application's identity string.
        epoch: grows with each end of all sessions in one write; a session of an earlier epoch is dead.
        disabled_at: since when the owner is disabled, ``None`` when lifted.
        watermark: the instant of the last such end: sessions of an earlier epoch ended then.
        reason: why they did.
    """

    owner: str
    epoch: int
    disabled_at: int | None
    watermark: int
    reason: str = "owner_disabled"

    @classmethod
    def after_loss(cls, owner: str, known: OwnerEntry | None, epochs: Iterable[object], now: int) -> OwnerEntry:
        """Return what stands in the place of an entry that was lost: one by which all of the owner's sessions end.

        An entry tells which sessions ended by one write of it, and they keep no note of that themselves. Without it,
        which of them live is not known any more. So all end, and log-ins after that are good: nobody who was logged
        out comes back.

        Args:
            owner: whose.
            known: a genuine entry that is older than the lost one; whether the owner is disabled is taken from it.
            epochs: as the owner's session records tell them, also those that cannot be read: what is none is passed
                over.
            now: the instant at which they end, in milliseconds.
        """
        told = [epoch for epoch in epochs if isinstance(epoch, int) and 0 <= epoch <= EPOCH_MAX]
        latest = max(told, default=0) if known is None else max(known.epoch, *told)
        return cls(owner, latest + 1, None if known is None else known.disabled_at, now, "revoked")


DATA_REMEDY = (
    "a session's data is read only, a change of it would be lost: write "
    "update_session_data(session.id, {field: value}), with removed=[field] for what shall go"
)


class _SessionAtHand(Record):
    """What a verification looks at, side by side at the beginning of the record: a cold read touches less memory."""

    __slots__ = ("deadline", "detached_at", "owner", "owner_epoch")


_OWN = (
    "id", "owner", "lookup", "created_at", "last_seen_at", "authenticated_at", "deadline", "detached_at", "ended_at",
    "end_reason", "sweep_at", "owner_epoch", "version", "details", "name", "clock", "traits",
)  # fmt: skip
_FIELDS = (
    "id", "owner", "lookup", "created_at", "last_seen_at", "authenticated_at", "deadline", "idle_timeout_ms",
    "max_age_ms", "detached_timeout_ms", "detachable", "detached_at", "ended_at", "end_reason", "sweep_at",
    "owner_epoch", "version", "details", "client_id", "name", "clock",
)  # fmt: skip
"""With those of its traits."""
_NOT_COMPARED = ("clock", "sweep_at")


class Session(_SessionAtHand):
    """A log-in: opened for one owner, and everything issued under it ends with it.

    Instants are integer milliseconds since the epoch on the store's clock, durations are seconds.

    Attributes:
        id: the public id; it manages the session and never authenticates.
        owner: for whom it was opened.
        created_at: when it was opened; of two sessions of one owner the later opened one has the greater.
        last_seen_at: when it was last used, up to 1/16 of the idle window late.
        authenticated_at: when its owner last proved who they are.
        detached_at: since when it is detached, ``None`` while it is attached.
        ended_at: when it ended; ``None`` while it lives or only ran out of time and is not swept.
        end_reason: why it ended.
        version: grows with each change other than use.
    """

    __slots__ = tuple(name for name in _OWN if name not in _SessionAtHand.__slots__)
    _compared = tuple(name for name in _OWN if name not in _NOT_COMPARED)
    _values = attrgetter(*_OWN)
    _all_values: ClassVar[attrgetter[tuple[Any, ...]]] = attrgetter(*_FIELDS)
    _places: ClassVar[dict[str, int]] = {name: place for place, name in enumerate(_OWN)}

    def __init__(
        self,
        id: str,
        owner: str,
        lookup: str | None,
        created_at: int,
        last_seen_at: int,
        authenticated_at: int,
        deadline: int,
        detached_at: int | None,
        ended_at: int | None,
        end_reason: str | None,
        sweep_at: int,
        owner_epoch: int,
        version: int,
        details: SessionDetails,
        name: str | None,
        clock: Clock,
        traits: SessionTraits,
    ) -> None:
        self.id: Final = id
        self.owner: Final = owner
        self.lookup: Final = lookup
        self.created_at: Final = created_at
        self.last_seen_at: Final = last_seen_at
        self.authenticated_at: Final = authenticated_at
        self.deadline: Final = deadline
        self.detached_at: Final = detached_at
        self.ended_at: Final = ended_at
        self.end_reason: Final = end_reason
        self.sweep_at: Final = sweep_at
        self.owner_epoch: Final = owner_epoch
        self.version: Final = version
        self.details: Final = details
        self.name: Final = name
        self.clock: Final = clock
        self.traits: Final = traits

    @classmethod
    def _made(cls, *values: Any) -> Session:
        return Session(*values)

    @classmethod
    def _of(
        cls,
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
    ) -> Session:
        """Return the session of all that is to be known of one."""
        return Session(
            id, owner, lookup, created_at, last_seen_at, authenticated_at, deadline, detached_at, ended_at, end_reason,
            sweep_at, owner_epoch, version, details, name, clock,
            session_traits(idle_timeout_ms, max_age_ms, detached_timeout_ms, detachable, client_id),
        )  # fmt: skip

    def __reduce__(self) -> tuple[Any, ...]:
        return self._of, self._all_values(self)

    def __repr__(self) -> str:
        state = "ended" if self.ended_at is not None else "detached" if self.detached_at is not None else "active"
        return f"Session(id={self.id!r}, owner={self.owner!r}, {state}, version={self.version})"

    @property
    def told_scope(self) -> str:
        """What whoever asks is told that it allows."""
        return "session"

    @property
    def idle_timeout_ms(self) -> int | None:
        """Milliseconds without use after which it ends, ``None`` for never."""
        return self.traits.idle_timeout_ms

    @property
    def max_age_ms(self) -> int | None:
        """Milliseconds from its opening after which it ends, whatever its use; ``None`` for never."""
        return self.traits.max_age_ms

    @property
    def detached_timeout_ms(self) -> int | None:
        """Milliseconds after which it ends when detached, ``None`` for never."""
        return self.traits.detached_timeout_ms

    @property
    def detachable(self) -> bool:
        """Whether it may be detached."""
        return self.traits.detachable

    @property
    def client_id(self) -> str | None:
        """The id of the service key that opened it, if one did."""
        return self.traits.client_id

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
    def opened_at(self) -> int:
        """The instant of its opening, from which its age counts."""
        return self.created_at - self.details.ahead_ms

    @property
    def secret_kind(self) -> str:
        """How its secrets begin, whoever rotates or attaches it: ``sts_``, or ``std_`` where Django opened it."""
        return self.details.secret_kind or SESSION_SECRET

    @property
    def rotated_at(self) -> int | None:
        """When it got its present secret by a rotation with grace, in milliseconds; ``None`` in any other way."""
        rotation = self.details.rotation
        return None if rotation is None or rotation.of is not None else rotation.at

    @property
    def secret_until(self) -> int | None:
        """Until when the secret is good with which it was just verified, in milliseconds, if that is a previous one.

        Give the client the present secret then: ``rotate_session`` with the previous one and ``grace`` returns it.
        ``None`` for the present secret, which is good for as long as the session is.
        """
        rotation = self.details.rotation
        return None if rotation is None else rotation.presented_until

    @property
    def secret_since(self) -> int:
        """Since when it has its present secret, as far as is known: its log-in or a later rotation with grace."""
        return max(self.authenticated_at, self.rotated_at or 0)

    @property
    def former_of(self) -> str | None:
        """The id of the session of which this is no more than a previous secret; ``None`` for a session."""
        rotation = self.details.rotation
        return None if rotation is None else rotation.of

    def former_until(self, id: str) -> int | None:
        """Return until when a previous secret is good that leads to the record of that id; ``None``: it is unknown."""
        rotation = self.details.rotation
        return None if rotation is None else rotation.until_of(id)

    def presented(self, until: int) -> Session:
        """Return the session as it is answered to a previous secret that is good until then."""
        rotation = (self.details.rotation or Rotation())._replace(presented_until=until)
        return self.replace(details=self.details._replace(rotation=rotation))

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
    def acr(self) -> str | None:
        """How surely its owner proved who they are (OpenID Connect Core 1.0, section 2), ``None`` where unsaid."""
        return self.details.acr

    @property
    def amr(self) -> tuple[str, ...]:
        """By which methods its owner proved who they are (RFC 8176), empty where unsaid."""
        return () if self.details.amr_text is None else tuple(json.loads(self.details.amr_text))

    @property
    def data(self) -> Mapping[str, JSON]:
        """The session's data: a small JSON object. It is read only: a change of it raises ``TypeError``."""
        data: Mapping[str, JSON] = read_only(json.loads(self.details.data_text), DATA_REMEDY)
        return data

    @property
    def created_datetime(self) -> datetime:
        """When it was opened, in UTC."""
        return as_datetime(self.created_at)

    @property
    def last_seen_datetime(self) -> datetime:
        """When it was last used, in UTC, up to 1/16 of the idle window late."""
        return as_datetime(self.last_seen_at)

    @property
    def authenticated_datetime(self) -> datetime:
        """When its owner last proved who they are, in UTC."""
        return as_datetime(self.authenticated_at)

    @property
    def expires_datetime(self) -> datetime | None:
        """When it ends if it is not used, in UTC; ``None`` for never."""
        return optional_datetime(self.expires_at)

    @property
    def detached_datetime(self) -> datetime | None:
        """Since when it is detached, in UTC; ``None`` while it is attached."""
        return optional_datetime(self.detached_at)

    @property
    def ended_datetime(self) -> datetime | None:
        """When it ended, in UTC; ``None`` as ``ended_at``."""
        return optional_datetime(self.ended_at)

    def to_dict(self) -> dict[str, JSON]:
        """Return the session as plain JSON: instants in milliseconds, durations in seconds; no secret."""
        return {
            "id": self.id,
            "owner": self.owner,
            "created_at": self.created_at,
            "last_seen_at": self.last_seen_at,
            "authenticated_at": self.authenticated_at,
            "expires_at": self.expires_at,
            "idle_timeout": self.idle_timeout,
            "max_age": self.max_age,
            "detached_timeout": self.detached_timeout,
            "detachable": self.detachable,
            "detached_at": self.detached_at,
            "label": self.label,
            "user_agent": self.user_agent,
            "address": self.address,
            "acr": self.acr,
            "amr": list(self.amr),
            "data": json.loads(self.details.data_text),
            "version": self.version,
            "client_id": self.client_id,
            "rotated_at": self.rotated_at,
            "secret_until": self.secret_until,
        }

    @property
    def is_detached(self) -> bool:
        """Whether it is logged out but goes on."""
        return self.detached_at is not None and self.ended_at is None

    def time_left(self) -> float | None:
        """Return the seconds until it ends if it is not used; 0.0 when it is over, ``None`` for never."""
        if self.deadline == NEVER:
            return None
        return max(0, self.deadline - self.clock.now()) / 1000

    def require_recent(self, max_age: Duration, *, acr: str | Collection[str] | None = None) -> None:
        """Accept only if its owner proved who they are at most ``max_age`` (seconds or ``timedelta``) ago.

        Args:
            acr: how surely, where that matters: the value that was kept at the log-in, or all that will do.

        Raises:
            ReauthenticationRequired: it was longer ago, or in another way; let them log in again (step-up).
            InvalidInput: a duration that can never be right.
        """
        age_ms = self.clock.now() - self.authenticated_at
        if age_ms > (duration_ms("max_age", max_age) or 0):
            raise ReauthenticationRequired("the log-in is too old for this; log in again", id=self.id)
        if acr is not None and self.details.acr not in ((acr,) if isinstance(acr, str) else acr):
            raise ReauthenticationRequired("this needs a log-in that proves more; log in again so", id=self.id)

    def authenticates(self, now: int, entry: OwnerEntry | None) -> bool:
        """Whether its secret is good at ``now`` (milliseconds): it is attached, and ``alive``."""
        if self.detached_at is not None:
            return False
        return now < self.deadline and (entry is None or entry.epoch == self.owner_epoch)  # as ``alive``

    def alive(self, now: int, entry: OwnerEntry | None) -> bool:
        """Whether it lives at ``now``, attached or detached; ``entry`` is its owner's, where there is one."""
        return now < self.deadline and (entry is None or entry.epoch == self.owner_epoch)

    def ended(self, at: int, reason: str) -> Session:
        """Return the session ended at ``at``: no clock brings it back, no secret finds it, the sweeper is next."""
        return Session(
            self.id, self.owner, None, self.created_at, self.last_seen_at, self.authenticated_at, 0, self.detached_at,
            at, reason, 0, self.owner_epoch, self.version + 1, self.details, self.name, self.clock, self.traits,
        )  # fmt: skip

    def followed_by(self, heir_id: str) -> Session:
        """Return the ended session with its transferable tokens in another session from now on."""
        details = self.details
        return self.replace(details=details._replace(successor=heir_id, moves=details.moves + 1))

    @property
    def needs_entry(self) -> bool:
        """Whether its owner's entry must be there, for it tells of what only happens with a write of one.

        It was opened under an epoch that an entry counted, it is where the sweeper begins behind an end of all at once,
        or it ended as its owner was disabled.
        """
        is_mark = self.sweep_at == 0 and self.ended_at is None
        return is_mark or self.owner_epoch > 0 or self.end_reason == "owner_disabled"

    def end(self, now: int, entry: OwnerEntry | None) -> End:
        """Return when and why a session that is not alive ended."""
        if self.ended_at is not None:
            return End(self.ended_at, self.end_reason or "revoked")
        if entry is not None and entry.epoch != self.owner_epoch and entry.watermark < self.deadline:
            return End(entry.watermark, entry.reason)
        if self.max_age_ms is not None and self.opened_at + self.max_age_ms <= self.deadline:
            return End(self.deadline, "expired")
        return End(self.deadline, "idle" if self.detached_at is None else "detached_timeout")


FrozenSession = Session if COMPILED else frozen_kind(Session)
"""What a made record is an instance of; ``records`` gives it out under the name of its kind."""
if not COMPILED:
    globals()["Session"] = maker_of(Session, FrozenSession)  # whatever makes one calls it by this name


def is_another(session: Session, former: Session) -> bool:
    """Whether two sessions of one id were opened apart, as an application may that names them itself."""
    return session.created_at != former.created_at or session.owner != former.owner


def as_datetime(instant: int) -> datetime:
    """Return milliseconds since the epoch as an aware ``datetime`` in UTC."""
    return datetime.fromtimestamp(instant // 1000, UTC).replace(microsecond=instant % 1000 * 1000)


def optional_datetime(instant: int | None) -> datetime | None:
    """As ``as_datetime``; ``None`` stays ``None``."""
    return None if instant is None else as_datetime(instant)


def in_seconds(duration_ms: int | None) -> float | None:
    """Return milliseconds as seconds: a whole number where it is one."""
    if duration_ms is None:
        return None
    return duration_ms // 1000 if duration_ms % 1000 == 0 else duration_ms / 1000
