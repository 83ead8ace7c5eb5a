"""Reading MariaDB or MySQL: each query is a few statements, and those of all queries travel in one packet.

Theory of operation. A query is a generator that yields the statements it needs next and is sent their rows; most need
one. All queries of a read go side by side (``together_in``): each packet holds the next statements of all of them. One
statement sees one snapshot by itself; several are read in one read-only transaction on one snapshot, which the last
packet ends. The clock is asked after them, so what was alive then was alive when it was read.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from ...clock import NEVER
from ...contract.batch import Batch
from ...contract.queries import Answered, Get, Members, Query, Result, Scan, singly, together
from ...errors import UNREADABLE
from ..common.kinds import OWNER, RECORD_SETS, RECORDS, SERVICE_KEY, SESSION, TOKEN, Kind
from ..common.locking import COUNT_OF, NEWEST, Part, part_asked
from ..common.pools import Exchange
from ..common.retry import Elsewhere
from ..common.sql_tables import condition_of
from .connections import takes_writes
from .errors import NO_PRIMARY
from .rows import Decoder, selected, set_stamp, split
from .statements import NOW, Packet, Rows, literal, literals, plain
from .tables import DIALECT

Asking = Generator[Sequence[str], Sequence[Rows], Result]
Listed = Generator[Sequence[str], Sequence[Rows], Rows]
Listing = Generator[Sequence[str], Sequence[Rows], tuple[tuple[Kind, ...], Rows]]

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


ALONG: dict[str, tuple[Kind, ...]] = {"session": (SESSION, OWNER), "token": (TOKEN, SESSION, OWNER, SESSION)}
"""What comes along with a record of a kind, itself the first."""


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
        self._with_along = {
            "session": f"SELECT {session}, {entry} FROM {prefix}sessions s {entries} WHERE s.",
            "token": f"SELECT {token}, {session}, {entry}, {selected(SESSION, 'h')} FROM {prefix}tokens t "
            f"LEFT JOIN {prefix}sessions s ON s.id = t.session_id {entries} "
            f"LEFT JOIN {prefix}sessions h ON h.id = s.successor WHERE t.",
        }

    def fetch(self, queries: Sequence[Query]) -> Exchange[Batch]:
        """Return the results of queries as of one instant; see ``Backend.fetch``."""
        single = singly(queries)
        askings = [self._asking(query) for query in single]
        now, found = yield from together_in(askings, not any(query.what == "tokens" for query in single))
        return Batch(now, together(queries, found))

    def _asking(self, query: Query) -> Asking:
        if isinstance(query, Scan):
            kinds, rows = yield from self._scanned(query)
        elif isinstance(query, Get):
            kind, column = RECORDS[query.what]
            kinds, begin = ALONG.get(kind.name, (kind,)), self._with_along.get(kind.name) or self._alone(kind, "")
            (rows,) = yield [f"{begin}{column} = {literal(query.key)}"]
        elif isinstance(query, Members):
            kinds, (rows,) = (RECORD_SETS[query.what].kind,), (yield [self._members(query)])
            rows = rows[::-1] if query.newest else rows
        else:
            kinds, (rows,) = (), (yield [count_statement(self.prefix, part_asked(query))])
        return self._decoder.answer(query, [list(split(row, kinds)) if kinds else row for row in rows])

    def _alone(self, kind: Kind, where: str) -> str:
        return f"SELECT {selected(kind, 'r')} FROM {self.prefix}{kind.table} r WHERE r.{where}"

    def _members(self, query: Members) -> str:
        kind, condition, order = _set_of(part_asked(query))
        return f"{self._alone(kind, condition)} {order}"

    def _scanned(self, query: Scan) -> Listing:
        if query.what == "peppers":
            (rows,) = yield [f"SELECT key_id FROM {self.prefix}peppers WHERE used_at IS NOT NULL ORDER BY key_id"]
            return (), [(plain(key_id),) for (key_id,) in rows]
        if query.what == "keys":
            (rows,) = yield [self._alone(SERVICE_KEY, "created_at >= 0 ORDER BY r.created_at, r.id")]
            return (SERVICE_KEY,), rows
        if query.what == "tokens":
            return ALONG["token"], (yield from self._tokens_listed(query))
        if query.what == "waiting":
            also = "" if query.tag is None else f" AND t.tag = {literal(query.tag)}"
            end = f"{also}{_after('t', query.after, 'unassigned_at')} ORDER BY t.unassigned_at, t.id"
            (rows,) = yield [f"{self._with_along['token']}is_unassigned = 1{end} LIMIT {query.limit}"]
            return ALONG["token"], rows
        if query.what == "due":
            due = f"sweep_at <= {NOW} AND s.sweep_at < {NEVER} ORDER BY s.sweep_at LIMIT {query.limit}"
            (rows,) = yield [f"{self._with_along['session']}{due}"]
            return ALONG["session"], rows
        (by, whose), living = query.by, DIALECT.living
        condition = "is_detached = 1" if by == "detached" else living
        if by == "owner":
            condition = f"owner = {literal(whose)} AND s.{living}"
        end = f"{_after('s', query.after, newest=query.newest)} {_ordered('s', query)} LIMIT {query.limit}"
        (rows,) = yield [f"{self._with_along['session']}{condition}{end}"]
        return ALONG["session"], rows

    def _tokens_listed(self, query: Scan) -> Listed:
        """List tokens by the one index that spares most; what else is asked the rules look at."""
        by, whose = query.by
        if by == "session":
            (found,) = yield [f"SELECT id FROM {self.prefix}sessions WHERE successor = {literal(whose)}"]
            ids = [whose, *(plain(id) for (id,) in found)]
            return (yield from self._listed_from([f"session_id = {literal(id)}" for id in ids], query))
        if by in ("owner", "tag"):
            return (yield from self._listed_from([f"{by} = {literal(whose)}"], query))
        marked = {"unassigned": "is_unassigned = 1", "sellable": "listed = 1"}.get(by, "created_at >= 0")
        return (yield from self._listed_from([marked], query))

    def _listed_from(self, sources: Sequence[str], query: Scan) -> Listed:
        """Return the first lines of what comes from several places, each of them in order."""
        begin, order = self._with_along["token"], _ordered("t", query)
        end = f"{_after('t', query.after, newest=query.newest)} {order}"
        if len(sources) == 1:
            return (yield [f"{begin}{sources[0]}{end} LIMIT {query.limit}"])[0]
        answers = yield [
            f"SELECT t.created_at, t.id FROM {self.prefix}tokens t WHERE t.{place}{end} LIMIT {query.limit}"
            for place in sources
        ]
        places = sorted({(at, id) for rows in answers for at, id in rows}, reverse=query.newest)[: query.limit]
        ids = literals([plain(id) for _, id in places]) or "NULL"
        return (yield [f"{begin}id IN ({ids}) {order}"])[0]


def _ordered(letter: str, query: Scan) -> str:
    descending = " DESC" if query.newest else ""
    return f"ORDER BY {letter}.created_at{descending}, {letter}.id{descending}"


def _after(letter: str, after: tuple[int, str] | None, column: str = "created_at", *, newest: bool = False) -> str:
    """Return the condition that something comes after a place; written out, for rows of values use no index here."""
    if after is None:
        return ""
    at, id = after
    made = f"{letter}.{column}"
    sign = "<" if newest else ">"
    return f" AND {made} {sign}= {at} AND ({made} {sign} {at} OR {letter}.id {sign} {literal(id)})"


def _set_of(part: Part) -> tuple[Kind, str, str]:
    """Return the kind of a set's members, the condition that they fulfil, and their order with how many are meant."""
    name, key = part
    most, _, whose = key.partition(":")
    of, is_newest = RECORD_SETS[name.removeprefix(NEWEST)], name.startswith(NEWEST)
    order = "ORDER BY created_at DESC, id DESC" if is_newest else "ORDER BY created_at, id"
    return of.kind, _belongs_to(name.removeprefix(NEWEST), whose), order + (f" LIMIT {most}" if most else "")


def _belongs_to(name: str, whose: str) -> str:
    """Return the condition that a record is in somebody's set."""
    of = RECORD_SETS[name]
    also = condition_of(of.where, DIALECT).replace("'transferable'", literal("transferable"))
    return f"{of.of} = {literal(whose)}" + (f" AND {also}" if also else "")


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
    """Return what asks for the present stamp of a number, which is the number."""
    name = part[0].removeprefix(COUNT_OF)
    return f"SELECT COUNT(*) FROM {prefix}{RECORD_SETS[name].kind.table} WHERE {_belongs_to(name, part[1])}"
