"""Reading MariaDB or MySQL: each query is a few statements, and those of all queries travel in one packet.

Theory of operation. A query is a generator that yields the statements it needs next and is sent their rows; most need
one. All queries of a read go side by side (``together_in``): each packet holds the next statements of all of them. One
statement sees one snapshot by itself; several are read in one read-only transaction on one snapshot, which the last
packet ends. The clock is asked after them, so what was alive then was alive when it was read.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from ...clock import NEVER
from ...contract.batch import Batch
from ...contract.queries import (
    AllKeys,
    Answered,
    EntryOf,
    IdempotencyOf,
    KeyById,
    KeyByLookup,
    ParkedTokens,
    PeppersInUse,
    PredecessorsOf,
    Query,
    Result,
    SessionById,
    SessionByLookup,
    SessionCountOf,
    SessionListing,
    SessionsOf,
    SettingOf,
    TokenById,
    TokenByLookup,
    TokenCountOf,
    TokenListing,
    TokensOf,
    TransferablesOf,
    singly,
    together,
)
from ...errors import UNREADABLE
from ..common.kinds import IDEMPOTENCY, KINDS, MEMBERS, OWNER, SERVICE_KEY, SESSION, SETTING, TOKEN, Kind
from ..common.locking import Part
from ..common.pools import Exchange
from ..common.retry import Elsewhere
from .connections import takes_writes
from .errors import NO_PRIMARY
from .rows import Decoder, selected, set_stamp
from .statements import NOW, Packet, Rows, literal, literals, plain
from .tables import LIVING

Asking = Generator[Sequence[str], Sequence[Rows], Result]

OVER_MAX = 200
"""Sessions that may be over, and owners' entries, among which tokens that may be unassigned are looked for."""
CLOCK = f"SELECT {NOW}, @@global.read_only"
SNAPSHOT = (
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
)


def now_of(clock: Rows) -> int:
    """Return the instant that a statement ``CLOCK`` answered.

    Raises:
        Elsewhere: the server takes no writes.
    """
    now, read_only = clock[0]
    if not takes_writes(plain(read_only)):
        raise Elsewhere(NO_PRIMARY)
    return int(now)


def together_in(askings: Sequence[Asking], is_over_at_once: bool) -> Exchange[tuple[int, list[Answered]]]:
    """Go through queries side by side; return the instant and what each of them returns, or its error.

    Args:
        askings: the queries, not begun.
        is_over_at_once: whether all of them need one packet only.
    """
    results: list[Any] = [None] * len(askings)
    wanted = [(place, next(asking)) for place, asking in enumerate(askings)]
    is_snapshot = not is_over_at_once or sum(len(texts) for _, texts in wanted) > 1
    now, begin = 0, SNAPSHOT if is_snapshot else ()
    while not now or wanted:
        first, statements = len(begin), [*begin, *(text for _, texts in wanted for text in texts), CLOCK]
        answer = yield Packet([*statements, "COMMIT"] if is_snapshot and is_over_at_once else statements)
        begin, now = (), now_of(answer[len(statements) - 1])
        asked, wanted = wanted, []
        for place, texts in asked:
            try:
                wanted.append((place, askings[place].send(answer[first : first + len(texts)])))
            except StopIteration as stop:
                results[place] = stop.value
            except UNREADABLE as error:
                results[place] = error
            first += len(texts)
    if not is_over_at_once:
        yield Packet(["COMMIT"])
    return now, results


class Asker:
    """What the queries of one name space are in statements.

    Args:
        prefix: how the names of its tables begin.
        decoder: makes records of the rows.
    """

    def __init__(self, prefix: str, decoder: Decoder) -> None:
        self.prefix = prefix
        self._decoder = decoder
        session, token, entry = selected(SESSION, "s"), selected(TOKEN, "t"), selected(OWNER, "o")
        entries = f"LEFT JOIN {prefix}owners o ON o.owner = s.owner"
        self._session_with_entry = f"SELECT {session}, {entry} FROM {prefix}sessions s {entries}"
        self._token_with_session = (
            f"SELECT {token}, {session}, {entry}, {selected(SESSION, 'h')} FROM {prefix}tokens t "
            f"LEFT JOIN {prefix}sessions s ON s.id = t.session_id {entries} "
            f"LEFT JOIN {prefix}sessions h ON h.id = s.successor"
        )

    def fetch(self, queries: Sequence[Query]) -> Exchange[Batch]:
        """Return the results of queries as of one instant; see ``Backend.fetch``."""
        single = singly(queries)
        askings = [_ASKINGS[type(query)](self, query) for query in single]
        now, found = yield from together_in(askings, not any(isinstance(query, TokenListing) for query in single))
        return Batch(now, together(queries, found))

    def _session_by(self, column: str, part: Part) -> Asking:
        (rows,) = yield [f"{self._session_with_entry} WHERE s.{column} = {literal(part[1])}"]
        return self._decoder.session(rows, part)

    def _token_by(self, column: str, part: Part) -> Asking:
        (rows,) = yield [f"{self._token_with_session} WHERE t.{column} = {literal(part[1])}"]
        return self._decoder.token(rows, part)

    def _one(self, kind: Kind, part: Part, place: int = 0) -> Asking:
        condition = f"r.{kind.names[place]} = {literal(part[1])}"
        (rows,) = yield [f"SELECT {selected(kind, 'r')} FROM {self.prefix}{kind.table} r WHERE {condition}"]
        return self._decoder.one(kind, rows, part, place)

    def _set(self, part: Part, whose: Callable[[Any], object]) -> Asking:
        kind, condition, order = _set_of(part)
        (rows,) = yield [f"SELECT {selected(kind, 'm')} FROM {self.prefix}{kind.table} m WHERE {condition} {order}"]
        return self._decoder.members(kind, rows[::-1] if "DESC" in order else rows, part, whose)

    def _count(self, part: Part) -> Asking:
        (rows,) = yield [f"SELECT COUNT(*) FROM {self.prefix}{_counted_in(part)}"]
        count = int(rows[0][0])
        return Result(count, ((part, str(count)),))

    def _all_keys(self) -> Asking:
        (rows,) = yield [
            f"SELECT {selected(SERVICE_KEY, 'r')} FROM {self.prefix}service_keys r ORDER BY r.created_at, r.id"
        ]
        return self._decoder.keys(rows)

    def _peppers_in_use(self) -> Asking:
        (rows,) = yield [f"SELECT key_id FROM {self.prefix}peppers WHERE used_at IS NOT NULL ORDER BY key_id"]
        return Result([plain(key_id) for (key_id,) in rows])

    def _sessions_listed(self, query: SessionListing) -> Asking:
        if query.owner is not None:
            condition = f"s.owner = {literal(query.owner)} AND s.ended_at IS NULL"
        else:
            condition = "s.is_detached = 1" if query.detached else "s.ended_at IS NULL"
        end = f"{_after('s', query.after)} ORDER BY s.created_at, s.id LIMIT {query.limit}"
        (rows,) = yield [f"{self._session_with_entry} WHERE {condition}{end}"]
        return self._decoder.listing(rows, self._decoder.session)

    def _tokens_listed(self, query: TokenListing) -> Asking:
        """List tokens by the one index that spares most; what else is asked the rules look at."""
        if query.session_id is not None:
            (found,) = yield [f"SELECT id FROM {self.prefix}sessions WHERE successor = {literal(query.session_id)}"]
            ids = [query.session_id, *(plain(id) for (id,) in found)]
            return (yield from self._listed_from([f"t.session_id = {literal(id)}" for id in ids], query))
        if query.owner is not None:
            return (yield from self._listed_from([f"t.owner = {literal(query.owner)}"], query))
        if query.tag is not None:
            return (yield from self._listed_from([f"t.tag = {literal(query.tag)}"], query))
        if query.unassigned:
            over = yield from self._sessions_over()
            if over is not None:
                sources = ["t.is_unassigned = 1", *(f"t.session_id = {literal(id)}" for id in over)]
                return (yield from self._listed_from(sources, query))
        return (yield from self._listed_from(["t.listed = 1" if query.sellable else "TRUE"], query))

    def _listed_from(self, sources: Sequence[str], query: TokenListing) -> Asking:
        """Return the first lines of what comes from several places, each of them in order."""
        end = f"{_after('t', query.after)} ORDER BY t.created_at, t.id LIMIT {query.limit}"
        if len(sources) == 1:
            (rows,) = yield [f"{self._token_with_session} WHERE {sources[0]}{end}"]
            return self._decoder.listing(rows, self._decoder.token)
        answers = yield [
            f"SELECT t.created_at, t.id FROM {self.prefix}tokens t WHERE {place}{end}" for place in sources
        ]
        places = sorted({(at, id) for rows in answers for at, id in rows})[: query.limit]
        ids = literals([plain(id) for _, id in places]) or "NULL"
        (rows,) = yield [f"{self._token_with_session} WHERE t.id IN ({ids}) ORDER BY t.created_at, t.id"]
        return self._decoder.listing(rows, self._decoder.token)

    def _sessions_over(self) -> Generator[Sequence[str], Sequence[Rows], Sequence[str] | None]:
        """Return the ids of sessions that may be over, by their time or their owner's entry; ``None`` for many."""
        most, p = OVER_MAX + 1, self.prefix
        due, entries = yield [
            f"SELECT id FROM {p}sessions WHERE sweep_at <= {NOW} AND sweep_at < {NEVER} LIMIT {most}",
            f"SELECT owner, epoch FROM {p}owners ORDER BY owner LIMIT {most}",
        ]
        ids = {plain(id) for (id,) in due}
        if len(entries) > OVER_MAX or len(ids) > OVER_MAX:
            return None
        theirs = yield [
            f"SELECT id, owner_epoch FROM {p}sessions WHERE owner = {literal(plain(owner))} AND ended_at IS NULL"
            f" LIMIT {most}"
            for owner, _ in entries
        ]
        if any(len(sessions) > OVER_MAX for sessions in theirs):
            return None
        for (_, epoch), sessions in zip(entries, theirs, strict=True):
            ids.update(plain(id) for id, its_epoch in sessions if its_epoch != epoch)
        return None if len(ids) > OVER_MAX else sorted(ids)


def _after(letter: str, after: tuple[int, str] | None) -> str:
    """Return the condition that something comes after a place; written out, for rows of values use no index here."""
    if after is None:
        return ""
    at, id = after
    made = f"{letter}.created_at"
    return f" AND {made} >= {at} AND ({made} > {at} OR {letter}.id > {literal(id)})"


_MEMBERS = {members.name: members for members in MEMBERS}


def _set_of(part: Part) -> tuple[Kind, str, str]:
    """Return the kind of a set's members, the condition that they fulfil, and their order with how many are meant."""
    name, key = part
    most, _, whose = key.partition(":")
    is_newest = name == "newest_sessions_of"
    members = _MEMBERS["sessions_of" if is_newest else name]
    also = f" AND {members.where.replace('{living}', LIVING)}" if members.where else ""
    order = "ORDER BY created_at DESC, id DESC" if is_newest else "ORDER BY created_at, id"
    return KINDS[members.kind], f"{members.of} = {literal(whose)}{also}", order + (f" LIMIT {most}" if most else "")


_TRANSFERABLE = literal("transferable")


def _counted_in(part: Part) -> str:
    """Return the table and condition of what is counted."""
    kind, whose = part
    if kind == "session_count_of":
        return f"sessions WHERE owner = {literal(whose)} AND ended_at IS NULL"
    also = f" AND kind = {_TRANSFERABLE}" if kind == "transferable_count_of" else ""
    return f"tokens WHERE session_id = {literal(whose)}{also}"


def set_stamp_statement(prefix: str, part: Part) -> str:
    """Return what asks for the present stamp of a set."""
    kind, condition, order = _set_of(part)
    members = f"{prefix}{kind.table} WHERE {condition}"
    if "LIMIT" not in order:
        return f"SELECT COUNT(*), COALESCE(BIT_XOR(stamp), 0) FROM {members}"
    return f"SELECT COUNT(*), COALESCE(BIT_XOR(stamp), 0) FROM (SELECT stamp FROM {members} {order}) AS few"


def set_stamp_of(rows: Rows) -> str:
    """Return the stamp in the answer to that."""
    count, stamps = rows[0]
    return set_stamp(int(count), int(stamps))


def count_statement(prefix: str, part: Part) -> str:
    """Return what asks for the present stamp of a number."""
    return f"SELECT COUNT(*) FROM {prefix}{_counted_in(part)}"


def _some(limit: int | None, whose: str) -> str:
    """Return the key of the part that is a set, or at most so many of it."""
    return f"{'' if limit is None else limit}:{whose}"


_ASKINGS: dict[type, Callable[[Asker, Any], Asking]] = {
    SessionById: lambda to, query: to._session_by("id", ("session", query.id)),
    SessionByLookup: lambda to, query: to._session_by("lookup", ("session_lookup", query.lookup)),
    TokenById: lambda to, query: to._token_by("id", ("token", query.id)),
    TokenByLookup: lambda to, query: to._token_by("lookup", ("token_lookup", query.lookup)),
    SessionsOf: lambda to, query: to._set(
        ("newest_sessions_of" if query.newest else "sessions_of", _some(query.limit, query.owner)),
        lambda session: session.owner,
    ),
    SessionCountOf: lambda to, query: to._count(("session_count_of", query.owner)),
    PredecessorsOf: lambda to, query: to._set(
        ("predecessors_of", _some(None, query.session_id)), lambda session: session.details.successor
    ),
    EntryOf: lambda to, query: to._one(OWNER, ("entry", query.owner)),
    TokensOf: lambda to, query: to._set(
        ("tokens_of", _some(query.limit, query.session_id)), lambda token: token.session_id
    ),
    TransferablesOf: lambda to, query: to._set(
        ("transferables_of", _some(query.limit, query.session_id)), lambda token: token.session_id
    ),
    TokenCountOf: lambda to, query: to._count(
        ("transferable_count_of" if query.transferable else "token_count_of", query.session_id)
    ),
    ParkedTokens: lambda to, query: to._set(
        ("parked_tokens", _some(query.limit, query.owner)),
        lambda token: token.owner if token.session_id is None else None,
    ),
    IdempotencyOf: lambda to, query: to._one(IDEMPOTENCY, ("idempotency", query.key)),
    SettingOf: lambda to, query: to._one(SETTING, ("setting", query.name)),
    KeyByLookup: lambda to, query: to._one(
        SERVICE_KEY, ("key_lookup", query.lookup), SERVICE_KEY.names.index("lookup")
    ),
    KeyById: lambda to, query: to._one(SERVICE_KEY, ("key", query.id)),
    AllKeys: lambda to, query: to._all_keys(),
    PeppersInUse: lambda to, query: to._peppers_in_use(),
    SessionListing: Asker._sessions_listed,
    TokenListing: Asker._tokens_listed,
}
