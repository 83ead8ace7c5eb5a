"""What can be asked of a store: few, typed questions, each answered with records and a version stamp.

A query brings records, not ids. A store may filter and order by what it keeps indexed; it never decides: what it
answers may be more than what is alive (never less), and the rules judge it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

from ..errors import CorruptRecord, UnknownPepper
from ..records import OwnerEntry, Session, Token


class SessionById(NamedTuple):
    """The session of that id, ended ones too. Its owner's entry comes along."""

    id: str


class SessionByLookup(NamedTuple):
    """The session whose present secret is looked up by that, or by one of the others. Its owner's entry comes along.

    A secret has a look-up key for each live pepper, the current one's first: one query carries them all.
    """

    lookup: str
    others: tuple[str, ...] = ()


class SessionsOf(NamedTuple):
    """The sessions of an owner that were not ended, oldest first (expired ones too).

    At most ``limit`` of them (``None``: all): the oldest, or the newest.
    """

    owner: str
    limit: int | None = None
    newest: bool = False


class SessionCountOf(NamedTuple):
    """How many sessions of an owner were not ended (expired ones too)."""

    owner: str


class PredecessorsOf(NamedTuple):
    """The replaced sessions whose transferable tokens are in that session, oldest first."""

    session_id: str


class EntryOf(NamedTuple):
    """The owner's entry; most have none."""

    owner: str


class TokenById(NamedTuple):
    """The token of that id. Its session, that one's successor and their owner's entry come along."""

    id: str


class TokenByLookup(NamedTuple):
    """The token whose present secret is looked up by that, or by one of the others; as for ``TokenById``."""

    lookup: str
    others: tuple[str, ...] = ()


class TokensOf(NamedTuple):
    """The tokens that name that session as their holder, at most ``limit`` (``None``: all), oldest first."""

    session_id: str
    limit: int | None


class TransferablesOf(NamedTuple):
    """The transferable tokens that name that session as their holder, at most ``limit``, oldest first."""

    session_id: str
    limit: int | None = None


class TokenCountOf(NamedTuple):
    """How many tokens name that session as their holder; or how many transferable ones."""

    session_id: str
    transferable: bool = False


class ParkedTokens(NamedTuple):
    """The tokens that an owner holds without a session, at most ``limit``, oldest first."""

    owner: str
    limit: int | None = None


class IdempotencyOf(NamedTuple):
    """The first outcome under that key."""

    key: str


class SettingOf(NamedTuple):
    """A setting that all processes on this store share, as text."""

    name: str


class KeyByLookup(NamedTuple):
    """The service key whose secret is looked up by that, or by one of the others."""

    lookup: str
    others: tuple[str, ...] = ()


class KeyById(NamedTuple):
    """The service key of that id."""

    id: str


class AllKeys(NamedTuple):
    """All service keys, oldest first."""


class PeppersInUse(NamedTuple):
    """The key ids of the peppers that records may be under: each was the current one of some process."""


class SessionListing(NamedTuple):
    """Sessions that were not ended, in order of (created_at, id), after a place, at most ``limit``.

    ``detached`` is a hint: a store may leave out those that cannot match, where an index says which.
    """

    owner: str | None
    detached: bool | None
    after: tuple[int, str] | None
    limit: int


class TokenListing(NamedTuple):
    """Tokens in order of (created_at, id), after a place, at most ``limit``; what comes along is as for ``TokenById``.

    Those of a session, or of an owner, are also those that name its predecessors (``PredecessorsOf``). All filters are
    hints: a store may leave out tokens that cannot match, but must keep those whose session may be over: such a token
    may be unassigned by now whatever its record says. It leaves out what an index spares it and reads about ``limit``
    records, never all to find the few that match; less than ``limit`` means that no more follow.
    """

    owner: str | None
    session_id: str | None
    transferable: bool | None
    sellable: bool | None
    unassigned: bool | None
    after: tuple[int, str] | None
    limit: int
    tag: str | None = None


Query = (
    SessionById
    | SessionByLookup
    | SessionsOf
    | SessionCountOf
    | PredecessorsOf
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
    | PeppersInUse
    | SessionListing
    | TokenListing
)


def _equal_of_a_kind(self: tuple[Any, ...], other: object) -> bool:
    return self.__class__ is other.__class__ and tuple.__eq__(self, other)


def _unequal_of_a_kind(self: tuple[Any, ...], other: object) -> bool:
    return not _equal_of_a_kind(self, other)


# Queries are keys of dictionaries. Named tuples are equal to any tuple with the same items: without this, the sessions
# of an owner and the entry of that owner would be one and the same question.
for _kind in get_args(Query):
    _kind.__eq__, _kind.__ne__, _kind.__hash__ = _equal_of_a_kind, _unequal_of_a_kind, tuple.__hash__


Stamp = Any
"""The version of an answer: equal stamps, equal answers. Only its store knows what is in it."""


class SessionResult(NamedTuple):
    """A session with its owner's entry, as ``SessionById`` and ``SessionByLookup`` are answered."""

    session: Session | None
    entry: OwnerEntry | None


class TokenResult(NamedTuple):
    """A token with what it is judged by, as ``TokenById`` and ``TokenByLookup`` are answered.

    Attributes:
        token: as it is stored.
        session: the one that it names.
        entry: of that session's owner.
        heir: the successor of that session, where it was replaced.
    """

    token: Token | None
    session: Session | None
    entry: OwnerEntry | None
    heir: Session | None = None

    def followed(self) -> tuple[Token | None, Session | None, OwnerEntry | None]:
        """Return the token in the session where it is now, that session, and its owner's entry."""
        if self.heir is None or self.token is None:
            return self.token, self.session, self.entry
        return (*self.token.followed(self.session, self.heir), self.entry)


NO_SESSION = SessionResult(None, None)
NO_TOKEN = TokenResult(None, None, None)


class Unreadable(NamedTuple):
    """A record that an answer would hold if it could be read.

    Attributes:
        id: its public id, as far as it is known.
        error: why it cannot be read, and what is done about it.
    """

    id: str
    error: CorruptRecord | UnknownPepper


class Result(NamedTuple):
    """One answer.

    Attributes:
        value: ``SessionResult`` or ``TokenResult`` for one record; a list of ``Session`` for ``SessionsOf``, of
            ``SessionResult`` for ``SessionListing``, of ``Token`` for ``TokensOf``, ``TransferablesOf`` and
            ``ParkedTokens``, of ``TokenResult`` for ``TokenListing``; else the record, text or number, ``None``
            where there is none.
        stamps: stamp of each part that the answer was made of, by the name the store gives it.
        unreadable: what is left out of a list because it cannot be read; it counts towards the list's limit. What is
            asked for by its own id or look-up key is an error instead.
    """

    value: Any
    stamps: Sequence[tuple[Any, Stamp]] = ()
    unreadable: Sequence[Unreadable] = ()


class Snapshot(NamedTuple):
    """The answers of one round trip, and the instant on the store's clock at which they held (milliseconds)."""

    now: int
    found: Sequence[Result]


Answered = Result | CorruptRecord | UnknownPepper


_BY_LOOKUP = frozenset({SessionByLookup, TokenByLookup, KeyByLookup})


def singly(queries: Sequence[Query]) -> Sequence[Query]:
    """Return queries of which each asks by one look-up key: one that carries several becomes several, in its place."""
    if not [query for query in queries if query.__class__ in _BY_LOOKUP and query.others]:
        return queries
    single: list[Query] = []
    for query in queries:
        if isinstance(query, SessionByLookup | TokenByLookup | KeyByLookup):
            kind = type(query)
            single += [kind(lookup) for lookup in (query.lookup, *query.others)]
        else:
            single.append(query)
    return single


def together(queries: Sequence[Query], found: Sequence[Answered]) -> Sequence[Answered]:
    """Return the answers of queries from those of ``singly(queries)``: of several keys, the first that leads somewhere.

    Its stamps are those of all keys. Where none leads anywhere, an error comes before an absence.
    """
    if len(queries) == len(found):
        return found
    answers, at = [], 0
    for query in queries:
        several = isinstance(query, SessionByLookup | TokenByLookup | KeyByLookup) and query.others
        past = at + 1 + len(several or ())
        answers.append(_first_that_leads(found[at:past]) if several else found[at])
        at = past
    return answers


def leads_somewhere(value: Any) -> bool:
    """Whether an answer's value holds the one record that was asked for."""
    return value is not None and (not isinstance(value, tuple) or value[0] is not None)


def is_lost(queries: Sequence[Query], found: Sequence[Answered]) -> bool:
    """Whether a look-up key among what was asked found nothing."""
    for query, answer in zip(queries, found, strict=True):
        if query.__class__ in _BY_LOOKUP and isinstance(answer, Result):
            value = answer.value
            if value is None or value[0] is None:
                return True
    return False


def _first_that_leads(found: Sequence[Answered]) -> Answered:
    results = [answer for answer in found if isinstance(answer, Result)]
    for result in results:
        if leads_somewhere(result.value):
            return Result(result.value, [stamp for each in results for stamp in each.stamps])
    if len(results) < len(found):
        return next(answer for answer in found if not isinstance(answer, Result))
    return Result(found[0][0], [stamp for each in results for stamp in each.stamps])  # type: ignore[index]  # all are results


class DueRecord(NamedTuple):
    """A record that the sweeper rewrites or removes: ``kind`` is ``session``, ``token`` or ``idempotency``."""

    kind: str
    id: str
