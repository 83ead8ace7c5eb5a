"""Where a record stands: moved step by step, by hand, by conditions of SQL and by a server, it comes to the same."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from random import Random
from typing import Any

import pytest
import valkey

from session_tokens.clock import NEVER, SteadyClock
from session_tokens.contract import places
from session_tokens.contract.places import Place, moves, session_places, token_places
from session_tokens.contract.store import BlockingStore
from session_tokens.contract.transaction import Transaction
from session_tokens.records import (
    NO_DETAILS,
    NO_TOKEN_DETAILS,
    Offer,
    Session,
    SessionDetails,
    Token,
    TokenDetails,
    TokenKind,
)
from session_tokens.stores.common.kinds import KINDS, Kind
from session_tokens.stores.common.sql_tables import index_statements, schema_statements
from session_tokens.stores.connect import open_store_now
from session_tokens.stores.memory.indexes import members
from session_tokens.stores.memory.store import MemoryStore
from session_tokens.stores.sqlite.rows import DIALECT

CHANGES = 10_000
CLOCK = SteadyClock()
OWNERS = ("ann", "bob", "cy")
SESSION_IDS = tuple(f"s{number}" for number in range(12))
TOKEN_IDS = tuple(f"t{number}" for number in range(30))

Record = Session | Token
Change = tuple[Record | None, Record | None]


class Chance:
    """Records in states that they may come to, and changes from one to the next.

    Args:
        seed: of all that is chosen.
        later: an instant before all deadlines; a server throws away by itself what is long over.
    """

    def __init__(self, seed: int, later: int = 1000) -> None:
        self._later = later
        self._random = Random(seed)
        self._counted = 0
        self.records: dict[str, Record] = {}

    def changes(self, count: int) -> Iterator[Change]:
        """Create, change and delete records."""
        for _ in range(count):
            id = self._random.choice((*SESSION_IDS, *TOKEN_IDS))
            old = self.records.get(id)
            if old is not None and self._random.random() < 0.2 and not self._holds_something(id):
                new = None
                del self.records[id]
            else:
                new = self.records[id] = self._session(id, old) if id[0] == "s" else self._token(id, old)
            yield old, new

    def _holds_something(self, id: str) -> bool:
        """Whether a session is still named by a token or predecessor: rules delete it after those."""
        return any(id in (place[1] for place in places_of(record)) for record in self.records.values())

    def _some(self, *choices: Any) -> Any:
        return self._random.choice(choices)

    def _lookup(self, id: str) -> str | None:
        lookup: str | None = self._some(f"lookup {id}", f"other {id}", None)
        return lookup

    def _session(self, id: str, old: Any) -> Session:
        self._counted += 1
        has_ended = (old is not None and old.ended_at is not None) or self._random.random() < 0.2
        successor = self._some(None, None, *SESSION_IDS)
        details = self._some(NO_DETAILS, SessionDetails(label="a"), SessionDetails(successor=successor))
        return Session._of(
            id, self._some(*OWNERS) if old is None else old.owner, None if has_ended else self._lookup(id),
            self._counted if old is None else old.created_at, 1, 1, 0 if has_ended else self._some(NEVER, self._later),
            None, None, None, True, self._some(None, 9), 9 if has_ended else None, "logout" if has_ended else None,
            self._some(NEVER, 0, self._later, self._later + 5), 0, 1 if old is None else old.version + 1,
            details, None, None, CLOCK,
        )  # fmt: skip

    def _token(self, id: str, old: Any) -> Token:
        self._counted += 1
        kind = self._some(*TokenKind) if old is None else old.kind
        held_in, owner, unassigned_at = None, None, None
        if kind is not TokenKind.FREE:
            held_in, owner = self._some(*SESSION_IDS), self._some(*OWNERS)
        if kind is TokenKind.TRANSFERABLE:
            state = self._some("held", "parked", "unassigned")
            if state != "held":
                held_in = None
            if state == "unassigned":
                owner, unassigned_at = None, self._some(7, 8)
        offer = self._some(None, Offer(True, Decimal(1), None, False), Offer(False, None, None, True))
        tag = self._some(None, "seat", "job") if old is None else old.details.tag
        details = self._some(NO_TOKEN_DETAILS, TokenDetails(offer)) if tag is None else TokenDetails(offer, tag=tag)
        return Token._of(
            id, owner, self._lookup(id), kind, held_in, "value", False,
            self._counted if old is None else old.created_at, None, NEVER,
            self._some(NEVER, self._later, self._later + 5), None, 1,
            unassigned_at, None, 0, 1 if old is None else old.version + 1, details, None, None,
        )  # fmt: skip


def places_of(record: Record | None) -> Sequence[Place]:
    return token_places(record) if isinstance(record, Token) else session_places(record)


def standing(records: dict[str, Record]) -> set[tuple[Place, str]]:
    """Return where records stand, each with its id."""
    return {(place, record.id) for record in records.values() for place in places_of(record)}


def put(tx: Transaction, old: Record | None, new: Record | None) -> None:
    """A rule: write one change."""
    if isinstance(old or new, Session):
        tx.put_session(old, new)  # type: ignore[arg-type]  # both are of one kind
    else:
        tx.put_token(old, new)  # type: ignore[arg-type]  # both are of one kind


def test_moves_are_the_difference_of_old_and_new() -> None:
    """Carried out one by one, they lead to where the records stand in the end."""
    chance = Chance(46)
    held: set[tuple[Place, str]] = set()
    for old, new in chance.changes(CHANGES):
        id = (old or new).id  # type: ignore[union-attr]  # one of them is there
        was, stands = places_of(old), places_of(new)
        assert len(stands) == len({place[0] for place in stands})
        for index, former, present in moves(was, stands):
            assert former != present
            if former is not None:
                assert former[0] == index
                held.remove((former, id))
            if present is not None:
                assert present[0] == index
                assert (present, id) not in held
                held.add((present, id))

    assert standing(chance.records) == held


def test_what_is_said_to_stand_where_it_stood_moves_nowhere() -> None:
    """A token that sessions hold alike moves from one to the other at the most."""
    met = {True: 0, False: 0}
    for old, new in Chance(45).changes(CHANGES):
        if isinstance(old, Session) and isinstance(new, Session) and places.stand_alike(old, new):
            assert not moves(places_of(old), places_of(new))
        if isinstance(old, Token) and isinstance(new, Token):
            moved = moves(places_of(old), places_of(new))
            is_alike = places.are_held_alike(old, new)
            met[is_alike] += 1
            if is_alike:
                assert {index for index, _, _ in moved} <= {places.BOUND_OF, places.TRANSFERABLES_OF}
                assert len(moved) == (old.session_id != new.session_id)

    assert min(met.values()) > 10


def test_memory_holds_by_hand_what_places_say() -> None:
    chance, store = Chance(47), MemoryStore()
    for number, (old, new) in enumerate(chance.changes(CHANGES)):
        store.run_now(put, old, new)
        if number % 10 == 0:
            assert expected_in_memory(chance.records) == in_memory(store)


def expected_in_memory(records: dict[str, Record]) -> set[tuple[str, str, str]]:
    """Return index, whose and id, of the indexes that memory has."""
    kept_as = {
        places.SESSIONS_OF: "owners", places.PREDECESSORS_OF: "predecessors", places.DETACHED: "detached",
        places.BOUND_OF: "held", places.TRANSFERABLES_OF: "held", places.PARKED: "parked",
        places.LISTED: "sellable", places.UNASSIGNED: "unassigned", places.WAITING: "waiting",
        places.WAITING_TAGGED: "waiting",
    }  # fmt: skip
    standing_now = standing(records)
    return {(kept_as[index], whose, id) for (index, whose, _), id in standing_now if index in kept_as}


def in_memory(store: MemoryStore) -> set[tuple[str, str, str]]:
    """Return index, whose and id of what the indexes of memory hold."""
    held = set()
    for name in ("owners", "predecessors", "held", "parked"):
        index = getattr(store, name)
        held |= {(name, key, id) for key in index for id in members(index, key)}
    for name in ("detached", "sellable", "unassigned"):
        held |= {(name, "", id) for id in getattr(store, name)}
    for tag in (None, "seat", "job"):
        held |= {("waiting", tag or "", id) for id in store.waiting.after(tag, None, len(TOKEN_IDS))}
    return held


SQL_OF = {
    places.SESSIONS_OF: ("session", "sessions_of_owner", "owner"),
    places.SESSIONS: ("session", "sessions_in_order", "''"),
    places.DETACHED: ("session", "sessions_detached", "''"),
    places.PREDECESSORS_OF: ("session", "sessions_replaced", "successor"),
    places.SESSION_DUE: ("session", "sessions_to_sweep", "''"),
    places.TOKENS: ("token", "tokens_in_order", "''"),
    places.PARKED: ("token", "tokens_parked", "owner"),
    places.LISTED: ("token", "tokens_listed", "''"),
    places.UNASSIGNED: ("token", "tokens_unassigned", "''"),
    places.TAGGED: ("token", "tokens_tagged", "tag"),
    places.WAITING: ("token", "tokens_waiting", "''"),
    places.WAITING_TAGGED: ("token", "tokens_waiting_tagged", "tag"),
    places.TOKEN_DUE: ("token", "tokens_to_sweep", "''"),
}


def test_conditions_of_sql_select_what_places_say() -> None:
    """Each index by its condition, and held tokens of both sorts by that of all."""
    chance = Chance(48)
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in schema_statements(DIALECT, ""):
            connection.execute(statement)
        conditions = {statement.name: statement.where for statement in index_statements(KINDS.values(), DIALECT, "")}
        for number, (old, new) in enumerate(chance.changes(CHANGES)):
            record = new or old
            kind = KINDS["token" if isinstance(record, Token) else "session"]
            write(connection, kind, record, is_there=new is not None)
            if number % 500:
                continue
            stands = {(place[0], place[1], id) for place, id in standing(chance.records)}
            for index, (name, statement_name, whose) in SQL_OF.items():
                query = f"SELECT {whose}, id FROM {KINDS[name].table} WHERE {conditions[statement_name]}"
                assert {each[1:] for each in stands if each[0] == index} == set(connection.execute(query)), index
            query = f"SELECT session_id, id FROM tokens WHERE {conditions['tokens_of_session']}"
            held = {each[1:] for each in stands if each[0] in (places.BOUND_OF, places.TRANSFERABLES_OF)}
            assert held == set(connection.execute(query))


def write(connection: sqlite3.Connection, kind: Kind, record: Any, *, is_there: bool) -> None:
    """Write a record to a database, or delete it."""
    if is_there:
        marks = ", ".join("?" * (len(kind.columns) + 1))
        connection.execute(f"INSERT OR REPLACE INTO {kind.table} VALUES ({marks})", (*kind.row(record), "mac"))
    else:
        connection.execute(f"DELETE FROM {kind.table} WHERE id = ?", (record.id,))


def test_every_index_of_sessions_and_tokens_is_compared() -> None:
    """Look-up keys aside, and that of an owner's held tokens, which only databases have."""
    left_out = {"sessions_lookup", "tokens_lookup", "tokens_of_owner", "tokens_of_session"}
    compared = {name for _, name, _ in SQL_OF.values()}
    of_both = [KINDS["session"], KINDS["token"]]

    assert {statement.name for statement in index_statements(of_both, DIALECT, "")} == compared | left_out


@pytest.fixture
def server_store(valkey_url: str) -> Iterator[BlockingStore]:
    store = open_store_now(valkey_url, pepper=bytes(range(32)))
    yield store
    store.close_now()


def test_a_check_finds_nothing_after_many_moves(server_store: Any, valkey_url: str) -> None:
    """Of Valkey, whose commits move records and whose check compares the indexes with them."""
    chance = Chance(49, server_store.clock.now() + 60_000)
    for old, new in chance.changes(600):
        server_store.run_now(read_and_put, old, new)
    found = server_store.check_now()
    namespace = valkey_url.partition("namespace=")[2].partition("&")[0]
    client: Any = valkey.Valkey.from_url(valkey_url.partition("?")[0])
    tagged = sum(client.zcard(name) for name in client.scan_iter(f"*{namespace}*lg:*"))
    waiting = sum(client.zcard(name) for name in client.scan_iter(f"*{namespace}*lw:*"))

    assert [] == [str(finding) for finding in found if finding.kind == "index"]
    assert sum(place[0] == places.TAGGED for place, _ in standing(chance.records)) == tagged > 0
    assert sum(place[0] == places.WAITING_TAGGED for place, _ in standing(chance.records)) == waiting > 0


def read_and_put(tx: Transaction, old: Record | None, new: Record | None) -> None:
    """A rule: write one change of what is there."""
    id = (old or new).id  # type: ignore[union-attr]  # one of them is there
    if id[0] == "s":
        tx.put_session(tx.session(id), new)  # type: ignore[arg-type]  # it is a session
    else:
        tx.put_token(tx.token(id), new)  # type: ignore[arg-type]  # it is a token
