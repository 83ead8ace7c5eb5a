"""What can be asked of a store: few, typed questions, each answered with records and a version stamp.

A want brings records, not ids. A store may filter and order by what it keeps indexed; it never decides: what it
answers may be more than what is alive (never less), and the rules judge it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

from .errors import CorruptRecord, UnknownPepper
from .records import OwnerEntry, Session, Token


class SessionById(NamedTuple):
    """The session of that id, ended ones too. Its owner's entry comes along."""

    id: str


class SessionByLookup(NamedTuple):
    """The session whose present secret is looked up by that. Its owner's entry comes along."""

    lookup: str


class SessionsOf(NamedTuple):
    """All sessions of an owner that were not ended, oldest first (expired ones too)."""

    owner: str


class EntryOf(NamedTuple):
    """The owner's entry; most have none."""

    owner: str


class TokenById(NamedTuple):
    """The token of that id. Its session and that owner's entry come along."""

    id: str


class TokenByLookup(NamedTuple):
    """The token whose present secret is looked up by that. Its session and that owner's entry come along."""

    lookup: str


class TokensOf(NamedTuple):
    """The tokens that name that session as their holder, at most ``limit`` (``None``: all), oldest first."""

    session_id: str
    limit: int | None


class TransferablesOf(NamedTuple):
    """All transferable tokens that name that session as their holder, oldest first."""

    session_id: str


class TokenCountOf(NamedTuple):
    """How many tokens name that session as their holder."""

    session_id: str


class ParkedTokens(NamedTuple):
    """All tokens that an owner holds without a session, oldest first."""

    owner: str


class IdempotencyOf(NamedTuple):
    """The first outcome under that key."""

    key: str


class SettingOf(NamedTuple):
    """A setting that all processes on this store share, as text."""

    name: str


class KeyByLookup(NamedTuple):
    """The service key whose secret is looked up by that."""

    lookup: str


class KeyById(NamedTuple):
    """The service key of that id."""

    id: str


class AllKeys(NamedTuple):
    """All service keys, oldest first."""


class SessionListing(NamedTuple):
    """Sessions that were not ended, in order of (created_at, id), after a place, at most ``limit``.

    ``detached`` is a hint: a store may leave out those that cannot match.
    """

    owner: str | None
    detached: bool | None
    after: tuple[int, str] | None
    limit: int


class TokenListing(NamedTuple):
    """Tokens in order of (created_at, id), after a place, at most ``limit``; each one's session comes along.

    All filters are hints: a store may leave out tokens that cannot match, but must keep those whose session may be
    over: such a token may be unassigned by now whatever its record says.
    """

    owner: str | None
    session_id: str | None
    transferable: bool | None
    sellable: bool | None
    unassigned: bool | None
    after: tuple[int, str] | None
    limit: int


Want = (
    SessionById
    | SessionByLookup
    | SessionsOf
    | EntryOf
    | TokenById
    | TokenByLookup
    | TokensOf
    | TransferablesOf
    | TokenCountOf
    | ParkedTokens
    | IdempotencyOf
    | SettingOf
    | KeyByLookup
    | KeyById
    | AllKeys
    | SessionListing
    | TokenListing
)


def _equal_of_a_kind(self: tuple[Any, ...], other: object) -> bool:
    return self.__class__ is other.__class__ and tuple.__eq__(self, other)


def _unequal_of_a_kind(self: tuple[Any, ...], other: object) -> bool:
    return not _equal_of_a_kind(self, other)


# Wants are keys of dictionaries. Named tuples are equal to any tuple with the same items: without this, the sessions
# of an owner and the entry of that owner would be one and the same question.
for _kind in get_args(Want):
    _kind.__eq__, _kind.__ne__, _kind.__hash__ = _equal_of_a_kind, _unequal_of_a_kind, tuple.__hash__


Stamp = Any
"""What tells that an answer is still the same: equal stamps, equal answers. Only its store knows what is in it."""


class SessionFound(NamedTuple):
    """A session with its owner's entry, as ``SessionById`` and ``SessionByLookup`` are answered."""

    session: Session | None
    entry: OwnerEntry | None


class TokenFound(NamedTuple):
    """A token with its session and that owner's entry, as ``TokenById`` and ``TokenByLookup`` are answered."""

    token: Token | None
    session: Session | None
    entry: OwnerEntry | None


NO_SESSION = SessionFound(None, None)
NO_TOKEN = TokenFound(None, None, None)


class Unreadable(NamedTuple):
    """A record that an answer would hold if it could be read.

    Attributes:
        id: its public id, as far as that can be told.
        error: why it cannot be read, and what is done about it.
    """

    id: str
    error: CorruptRecord | UnknownPepper


class Found(NamedTuple):
    """One answer.

    Attributes:
        value: ``SessionFound`` or ``TokenFound`` for one record; a list of ``Session`` for ``SessionsOf``, of
            ``SessionFound`` for ``SessionListing``, of ``Token`` for ``TokensOf``, ``TransferablesOf`` and
            ``ParkedTokens``, of ``TokenFound`` for ``TokenListing``; else the record, text or number, ``None``
            where there is none.
        stamps: stamp of each part that the answer was made of, by the name the store gives it.
        unreadable: what is left out of a list because it cannot be read; it counts towards the list's limit. What is
            asked for by its own id or look-up key is an error instead.
    """

    value: Any
    stamps: Sequence[tuple[Any, Stamp]] = ()
    unreadable: Sequence[Unreadable] = ()


class Answer(NamedTuple):
    """The answers of one round trip, and the instant on the store's clock at which they held (milliseconds)."""

    now: int
    found: Sequence[Found]


class Key(NamedTuple):
    """What the sweeper should look at: ``kind`` is ``session``, ``token`` or ``idempotency``."""

    kind: str
    id: str
