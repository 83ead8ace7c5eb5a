"""The change set: what a rule wants written, and what it noted down as having happened."""

from __future__ import annotations

from collections.abc import Sequence

from ..clock import NEVER
from ..events import Event, Note, events_of
from ..records import TRANSFERABLE, IdempotencyRecord, OwnerEntry, ServiceKey, Session, Token


class Rare:
    """The changes of a change set that most have none of.

    Attributes:
        entries: pairs of entries of the same owner.
        idempotency: records to keep.
        forgotten: keys of idempotency records to delete.
        settings: name and text (``None`` deletes).
        keys: pairs of service keys.
    """

    __slots__ = ("entries", "forgotten", "idempotency", "keys", "settings")

    def __init__(self) -> None:
        self.entries: list[tuple[OwnerEntry | None, OwnerEntry | None]] = []
        self.idempotency: list[IdempotencyRecord] = []
        self.forgotten: list[str] = []
        self.settings: list[tuple[str, str | None]] = []
        self.keys: list[tuple[ServiceKey | None, ServiceKey | None]] = []


class Changes:
    """Pairs of old and new record; ``None`` as old creates, as new deletes.

    Create, update and delete are different operations: a store refuses to create what is there or to update or
    delete what is not as it was read.

    Attributes:
        sessions: pairs of sessions of the same id.
        tokens: pairs of tokens of the same id.
        rare: all other changes, ``None`` where there are none; written through ``others``.
        notes: what happened; becomes one event each.
        events: what is written down of it in the same commit; nothing where the store keeps no events.
        not_after: the least deadline of all that was judged alive, in milliseconds: at or after it the judgement may
            not hold, and the store refuses the change set. ``NEVER`` for what may come late.
        only_ends: whether it only ends things or frees space, and so shall be written by a store that is full.
    """

    __slots__ = ("events", "not_after", "notes", "only_ends", "rare", "sessions", "tokens")

    def __init__(self) -> None:
        self.sessions: list[tuple[Session | None, Session | None]] = []
        self.tokens: list[tuple[Token | None, Token | None]] = []
        self.rare: Rare | None = None
        self.notes: list[Note] = []
        self.events: Sequence[Event] = ()
        self.not_after: int = NEVER
        self.only_ends: bool = False

    def others(self) -> Rare:
        """Return where the rarer changes are put."""
        if self.rare is None:
            self.rare = Rare()
        return self.rare

    @property
    def entries(self) -> Sequence[tuple[OwnerEntry | None, OwnerEntry | None]]:
        """The pairs of entries."""
        return () if self.rare is None else self.rare.entries

    @property
    def idempotency(self) -> Sequence[IdempotencyRecord]:
        """The idempotency records to keep."""
        return () if self.rare is None else self.rare.idempotency

    @property
    def forgotten(self) -> Sequence[str]:
        """The keys of idempotency records to delete."""
        return () if self.rare is None else self.rare.forgotten

    @property
    def settings(self) -> Sequence[tuple[str, str | None]]:
        """The names and texts of settings."""
        return () if self.rare is None else self.rare.settings

    @property
    def keys(self) -> Sequence[tuple[ServiceKey | None, ServiceKey | None]]:
        """The pairs of service keys."""
        return () if self.rare is None else self.rare.keys

    def keep_events(self, now: int) -> None:
        """Have what was noted down written in the same commit, as of ``now`` (milliseconds)."""
        self.events = events_of(self.notes, now)

    def __bool__(self) -> bool:
        return len(self.sessions) > 0 or len(self.tokens) > 0 or self.rare is not None


def owner_of_living(session: Session | None) -> str | None:
    """Return the owner in whose index a session stands: none once it was ended."""
    return session.owner if session is not None and session.ended_at is None else None


def parked_owner(token: Token | None) -> str | None:
    """Return the owner in whose index of parked tokens a token stands, if in any."""
    if token is None or token.session_id is not None or token.traits.kind is not TRANSFERABLE:
        return None
    return token.owner
