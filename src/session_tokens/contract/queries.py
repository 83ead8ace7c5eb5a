"""What can be asked of a store: four shapes of question, each answered with records and a version stamp.

A query brings records, not ids. A store may filter and order by what it keeps indexed; it never decides: what it
answers may be more than what is alive (never less), and the rules judge it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from ..errors import CorruptRecord, StoreError, UnknownPepper
from ..records import OwnerEntry, Session, Token

What = Literal[
    "session", "session_lookup", "token", "token_lookup", "entry", "idempotency", "setting", "key", "key_lookup"
]
"""One record that can be got: by its own key, or (``…_lookup``) by the look-up key of its present secret."""
SetName = Literal["sessions_of", "predecessors_of", "tokens_of", "transferables_of", "parked_tokens"]
"""A set of records that belongs to somebody:

- ``sessions_of`` an owner: those that were not ended (expired ones too);
- ``predecessors_of`` a session: those replaced ones whose transferable tokens are in it;
- ``tokens_of`` a session: those that name it as their holder; ``transferables_of``: of these the transferable ones;
- ``parked_tokens`` of an owner: those that they hold without a session.
"""


class Get(NamedTuple):
    """One record, with what it is judged by.

    A session comes with its owner's entry, ended ones too; a token with its session, that one's successor and their
    owner's entry. An owner's entry, an outcome (``idempotency``), a setting and a service key (``key``) come alone.

    Attributes:
        what: which record.
        key: its id, look-up key, owner or name.
        others: further look-up keys: a secret has one for each live pepper, the current one's first.
    """

    what: What
    key: str
    others: tuple[str, ...] = ()


class Members(NamedTuple):
    """The records of a set, oldest first.

    Attributes:
        what: which set.
        whose: the owner or session that it belongs to.
        limit: how many at most, ``None`` for all of them.
        newest: whether these are the newest, or else the oldest; of ``sessions_of`` alone.
    """

    what: SetName
    whose: str
    limit: int | None = None
    newest: bool = False


class Count(NamedTuple):
    """How many records are in a set; as ``Members``."""

    what: SetName
    whose: str


class Scan(NamedTuple):
    """Records in order of (created_at, id), after a place, at most ``limit``.

    ``newest`` turns the order of ``sessions`` and ``tokens`` round: what follows a place was created before it.

    ``sessions`` are those that were not ended, ``tokens`` all of them, each with what comes along in ``Get``. Tokens of
    a session, or of an owner, are also those that name its predecessors. ``waiting`` are the tokens that are unassigned
    as written, all or those with a ``tag``, in order of (unassigned_at, id). ``keys`` are all service keys; ``peppers``
    the key ids of the peppers that records may be under: each was the current one of some process. ``due``
    are the sessions whose ``sweep_at`` has come on the store's clock, ended ones too, longest due first.

    All filters are hints: a store may leave out what does not match, and leaves out what an index spares it (``by``).
    It judges nothing: a record matches by what is written in it. It reads about ``limit`` records, never all to find
    the few that match; less than ``limit`` means that no more follow.
    """

    what: Literal["sessions", "tokens", "waiting", "keys", "peppers", "due"]
    after: tuple[int, str] | None = None
    limit: int = 1_000_000
    owner: str | None = None
    session_id: str | None = None
    tag: str | None = None
    detached: bool | None = None
    sellable: bool | None = None
    unassigned: bool | None = None
    transferable: bool | None = None
    newest: bool = False

    @property
    def by(self) -> tuple[str, str]:
        """The one index that spares most, and whose entries of it; empty for all of them."""
        if self.session_id is not None:
            return "session", self.session_id
        if self.owner is not None:
            return "owner", self.owner
        if self.tag is not None:
            return "tag", self.tag
        marked = {"sellable": self.sellable, "unassigned": self.unassigned, "detached": self.detached}
        return next((name for name, is_asked in marked.items() if is_asked), "all"), ""


Query = Get | Members | Count | Scan
"""Queries are keys of dictionaries; those of different shapes are never equal, for they differ in length."""


Stamp = Any
"""The version of an answer: equal stamps, equal answers. Only its store knows what is in it."""


class SessionResult(NamedTuple):
    """A session with its owner's entry, as one that is got is answered."""

    session: Session | None
    entry: OwnerEntry | None


class TokenResult(NamedTuple):
    """A token with what it is judged by, as one that is got is answered.

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
        value: of ``Get`` a ``SessionResult``, a ``TokenResult``, else the record or a setting's text, ``None`` where
            there is none; of ``Members`` a list of records; of ``Count`` a number; of ``Scan`` a list of such results,
            of service keys or of texts.
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


BY_LOOKUP = frozenset({"session_lookup", "token_lookup", "key_lookup"})


def singly(queries: Sequence[Query]) -> Sequence[Query]:
    """Return queries of which each asks by one look-up key: one that carries several becomes several, in its place."""
    if not [query for query in queries if query.__class__ is Get and query.others]:
        return queries
    single: list[Query] = []
    for query in queries:
        if isinstance(query, Get):
            single += [Get(query.what, key) for key in (query.key, *query.others)]
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
        several = isinstance(query, Get) and query.others
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
        if (  # mostly it found something
            isinstance(answer, Result)
            and not leads_somewhere(answer.value)
            and isinstance(query, Get)
            and query.what in BY_LOOKUP
        ):
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


class DueRecords(list[DueRecord]):
    """What is due in a store of several partitions, some of which could not be asked.

    Attributes:
        away: why the first such one could not.
    """

    away: StoreError | None = None
