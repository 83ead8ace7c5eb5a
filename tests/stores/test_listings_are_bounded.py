"""A list of which nothing matches costs as much over many records as over few: counted in work, on every store."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import valkey

from session_tokens import AsyncSessionTokens, SessionTokens, Settings
from session_tokens.clock import NEVER
from session_tokens.contract.store import BlockingStore
from session_tokens.contract.transaction import Transaction
from session_tokens.crypto.minting import new_id
from session_tokens.crypto.secret_form import SESSION_ID, TOKEN_ID
from session_tokens.records import Offer, Page, TokenDetails
from session_tokens.stores.connect import open_store, open_store_now
from session_tokens.stores.postgres.queries import ReadStatement
from session_tokens.stores.postgres.store import BlockingPostgresStore
from session_tokens.stores.sqlite.store import SqliteStore

PEPPER = bytes(range(32))
FEW, MANY = 1_500, 7_500
AT_ONCE = 500

HELD = "all held and bound, all sessions attached"
POOLED = "all unassigned and offered, all sessions detached"
FILTERS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    HELD: [
        ("list_tokens", {"transferable": True}),
        ("list_tokens", {"transferable": True, "newest": True}),
        ("list_tokens", {"sellable": True}),
        ("list_tokens", {"unassigned": True}),
        ("list_tokens", {"owner": "ann", "transferable": True}),
        ("list_tokens", {"owner": "ann", "sellable": True}),
        ("list_tokens", {"session": "the one", "unassigned": True}),
        ("list_tokens", {"owner": "nobody"}),
        ("list_sessions", {"detached": True}),
        ("list_sessions", {"detached": True, "newest": True}),
        ("list_sessions", {"owner": "ann", "detached": True}),
    ],
    POOLED: [
        ("list_tokens", {"transferable": False}),
        ("list_tokens", {"sellable": False}),
        ("list_tokens", {"unassigned": False}),
        ("list_sessions", {"detached": False}),
    ],
}


def fill(store: BlockingStore, tokens: SessionTokens, kind: str, count: int) -> str:
    """Put so many tokens, and as many sessions, into a store; answer the session that holds what is held."""
    opened = tokens.open_session("ann", max_age=None, detachable=True)
    session = opened.session if kind == HELD else tokens.detach_session(opened.id)
    token = tokens.issue_token(None if kind == POOLED else session.id).token
    if kind == POOLED:
        tokens.destroy_token(token.id)
        details = TokenDetails(Offer(True, None, None, False))
        kind_of = tokens.issue_token(session.id, transferable=True)
        token = kind_of.token.unassigned(session.created_at).replace(details=details, deadline=NEVER)
        tokens.destroy_token(kind_of.id)

    def put(tx: Transaction, first: int) -> None:
        for number in range(first, min(first + AT_ONCE, count)):
            lookup = store.keyring.lookup(f"a secret that nobody has {number}")
            at = session.created_at + number
            tx.put_token(None, token.replace(id=new_id(TOKEN_ID), lookup=lookup, created_at=at))
            given = lookup if kind == HELD else None
            tx.put_session(None, session.replace(id=new_id(SESSION_ID), lookup=given, created_at=at))

    for first in range(0, count, AT_ONCE):
        store.run_now(put, first)
    return session.id


class Work:
    """Counts what a store does, in whatever it does it."""

    def __init__(self, store: BlockingStore, url: str) -> None:
        self.store, self.address = store, url.partition("?")[0]

    def of(self, call: Callable[[], Page[Any]]) -> tuple[Page[Any], int]:
        """Make a call and answer how much work it was."""
        call()  # once before, so that what is learned at first is no part of it
        if isinstance(self.store, SqliteStore):
            with self.steps_of_sqlite(self.store) as count:
                return call(), len(count)
        if isinstance(self.store, BlockingPostgresStore):
            with self.pages_of_postgres(self.store) as count:
                return call(), len(count)
        if self.address.startswith("valkey"):
            with valkey.from_url(self.address) as client:  # type: ignore[no-untyped-call]  # the driver's
                before = self.commands(client)
                return call(), self.commands(client) - before
        with self.calls_of_python() as count:
            return call(), len(count)

    @contextmanager
    def steps_of_sqlite(self, store: SqliteStore) -> Iterator[list[None]]:
        count: list[None] = []
        reader = store._readers.take()
        reader.connection.set_progress_handler(lambda: count.append(None), 50)
        store._readers.give(reader)
        yield count
        reader.connection.set_progress_handler(None, 0)

    @contextmanager
    def pages_of_postgres(self, store: BlockingPostgresStore) -> Iterator[list[None]]:
        count: list[None] = []
        read = store.read_now
        with psycopg.connect(self.address, autocommit=True) as connection:

            def counted(queries: Any) -> Any:
                statement = ReadStatement(store.address.schema, queries).statement
                explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.text}".encode()
                ((plan,),) = connection.execute(explain, statement.params).fetchall()
                count.extend([None] * (plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"]))
                return read(queries)

            store.read_now = counted  # type: ignore[method-assign]  # counts, and does what it did
            yield count
            store.read_now = read  # type: ignore[method-assign]

    @staticmethod
    def commands(client: Any) -> int:
        return sum(stats["calls"] for name, stats in client.info("commandstats").items() if "info" not in name)

    @contextmanager
    def calls_of_python(self) -> Iterator[list[None]]:
        count: list[None] = []
        sys.setprofile(lambda frame, event, arg: count.append(None))
        yield count
        sys.setprofile(None)


def work_of(url: str, kind: str, count: int) -> list[int]:
    """Return how much work each list over so many records is, none of which matches."""
    store = open_store_now(url, pepper=PEPPER)
    with SessionTokens(store, Settings(max_sessions=None)) as tokens:
        held_by = fill(store, tokens, kind, count)
        work = Work(store, url)
        costs = []
        for command, filters in FILTERS[kind]:
            asked = {name: held_by if value == "the one" else value for name, value in filters.items()}
            listing = getattr(tokens, command)
            page, cost = work.of(functools.partial(listing, **asked))
            assert page.items == [], (command, filters)
            costs.append(cost)
            pages = 0
            while page.after is not None:
                page, pages = listing(**asked, after=page.after), pages + 1
                assert page.items == [], (command, filters)
                assert pages <= count // 1_000 + 1
        return costs


@pytest.fixture(params=["memory", "sqlite", "postgres", "valkey"])
def two_urls(request: pytest.FixtureRequest, tmp_path: Any) -> tuple[str, str]:
    if request.param == "memory":
        return "memory://", "memory://"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/few.db?synchronous=OFF", f"sqlite:///{tmp_path}/many.db?synchronous=OFF"
    url = request.getfixturevalue(f"{request.param}_url")
    if request.param == "valkey":
        return url + "few", url + "many"  # it ends with the prefix of its keys
    return url + "?namespace=few", url + "?namespace=many"


@pytest.mark.parametrize("kind", FILTERS)
def test_a_list_of_which_nothing_matches_costs_the_same_over_many(two_urls: tuple[str, str], kind: str) -> None:
    few = work_of(two_urls[0], kind, FEW)
    many = work_of(two_urls[1], kind, MANY)

    grown = {
        f"{command} {filters}": (small, large)
        for (command, filters), small, large in zip(FILTERS[kind], few, many, strict=True)
        if large > 2 * small + 50
    }
    assert grown == {}


async def test_a_list_on_sqlite_leaves_the_event_loop(tmp_path: Any) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/sessions.db", pepper=PEPPER)
    assert isinstance(store, SqliteStore)
    threads: set[int] = set()
    reader = store._readers.take()
    reader.connection.set_progress_handler(lambda: threads.add(threading.get_ident()), 1)
    store._readers.give(reader)
    async with AsyncSessionTokens(store) as tokens:
        opened = await tokens.open_session("ann")
        threads.clear()
        await tokens.list_tokens(owner="ann")
        await tokens.list_sessions("ann")
        assert threads
        assert threading.get_ident() not in threads
        assert await tokens.verify_session(opened.secret, touch=False) == opened.record
        assert threading.get_ident() in threads
