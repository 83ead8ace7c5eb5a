"""PostgreSQL behind a real PgBouncer that pools by transaction: nothing may rest on the server's session."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from session_tokens import AsyncSessionTokens, LimitReached, SessionTokens, Settings, StoreUnavailable
from session_tokens.errors import StoreError
from session_tokens.stores.postgres.store import migrate_postgres, open_postgres, open_postgres_blocking
from tests.helpers.at_once import at_once
from tests.helpers.conformance import OnPostgres
from tests.helpers.effort import PROVING, one_of
from tests.helpers.races.field import Field
from tests.helpers.races.processes import judge, race_of_processes
from tests.helpers.servers.pgbouncer import (
    Bouncer,
    running_bouncer,
)
from tests.helpers.servers.postgres import (
    DEFINITIONS,
    PostgresServer,
    execute,
    make_role,
    shared_server,
)

pytestmark = pytest.mark.needs_pgbouncer

PEPPER = bytes(range(32))
PATIENCE_S = 60
PREPARED = ["prepared=on", "prepared=off"]
"""Each check has one of the two, and both when everything is proven."""
MANY = Settings(max_sessions=None)


def open_tokens(url: str, options: str = "timeout=10", space: str = "") -> SessionTokens:
    return SessionTokens(open_postgres_blocking(f"{url}?{options}", pepper=PEPPER, space=space), MANY)


@pytest.fixture(scope="module")
def pooled_database() -> Iterator[tuple[str, str]]:
    """One database for the whole suite: its URL, and the one through the pooler."""
    server = shared_server()
    with running_bouncer(server.port) as bouncer:
        url = server.new_database()
        yield url, bouncer.url(url)
    server.drop_database(url)


@pytest.mark.share(3)
class TestConformanceBehindAPooler(OnPostgres):
    @pytest.fixture(autouse=True, params=PREPARED if PROVING else ["prepared=on or off"])
    def _behind_a_pooler(self, request: pytest.FixtureRequest, pooled_database: tuple[str, str]) -> None:
        self.database, pooled = pooled_database
        prepared = request.param if PROVING else one_of(PREPARED, request.function.__name__)
        self.url = f"{pooled}?timeout=10&{prepared}"
        self.empty()


class Lane:
    """A client that keeps the others off one of the server's connections, for as long as its transaction lasts."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url)
        self.backend = self._connection.execute("SELECT pg_backend_pid()").fetchone()

    def free(self) -> None:
        self._connection.rollback()
        self._connection.close()


def lane_but(url: str, backend: object) -> Lane:
    """Take the connection that is not that one."""
    lanes = [Lane(url), Lane(url)]
    (kept,) = (lane for lane in lanes if lane.backend != backend)
    for lane in lanes:
        if lane is not kept:
            lane.free()
    return kept


def test_no_statement_of_another_is_run_in_place_of_ours(postgres_url: str) -> None:
    """Prepared statements live in the server's session, and behind a pooler the session changes under the client.

    Two name spaces each prepare theirs on one of two connections, and then one comes to the other's. A statement known
    by a number alone is then the other's, and a session would be written into the wrong tables.
    """
    with running_bouncer(shared_server().port, pool_size=2) as bouncer:
        url = bouncer.url(postgres_url)
        for space in ("", "tt"):
            open_tokens(url, "timeout=10&prepared=off", space).close()
        with open_tokens(url) as ours, open_tokens(url, space="tt") as theirs:
            lane = Lane(url)
            theirs.open_session("theirs")  # on the second connection
            lane.free()
            first = lane.backend
            lane = lane_but(url, first)
            ours.open_session("ours")  # on the first
            lane.free()
            lane = lane_but(url, lane.backend)
            assert first == lane.backend
            for _ in range(3):
                ours.open_session("ours")  # on the second
            lane.free()

            assert ["ours"] * 4 == [session.owner for session in ours.list_sessions().items]
            assert ["theirs"] == [session.owner for session in theirs.list_sessions().items]


def test_several_processes_race_behind_a_pooler_and_one_order_explains_it(
    bouncer: Bouncer, postgres_url: str, tmp_path: Path
) -> None:
    field = Field(bouncer.url(postgres_url) + "?timeout=20")
    operations, start = race_of_processes(field, 5, 7, tmp_path, 12)
    field.close()

    assert len(operations) >= 5 * 2 * 12
    judge(operations, start)


def test_threads_behind_a_pooler_never_pass_a_cap(bouncer: Bouncer, postgres_url: str) -> None:
    settings = Settings(max_sessions=3, session_policy="refuse")
    url = bouncer.url(postgres_url) + "?timeout=20"
    apis = [SessionTokens(open_postgres_blocking(url, pepper=PEPPER), settings) for _ in range(3)]
    opened, refused = at_once(24, lambda caller: apis[caller % 3].open_session("ann"))

    assert 3 == len(opened) == len(apis[0].list_sessions("ann").items)
    assert {LimitReached} == {type(error) for error in refused}
    for api in apis:
        api.close()


async def test_tasks_share_few_connections_and_no_answer_crosses(bouncer: Bouncer, postgres_url: str) -> None:
    store = await open_postgres(bouncer.url(postgres_url) + "?timeout=20", pepper=PEPPER)
    tokens = AsyncSessionTokens(store, MANY)
    issued = [await tokens.open_session(f"canary {number}") for number in range(20)]

    async def ask(number: int) -> bool:
        one = issued[number % 20]
        if number % 3 == 0:
            return (await tokens.change_session(one.id, label=f"canary {number % 20}")).id == one.id
        session = await tokens.verify_session(one.secret)
        return session is not None and session.owner == f"canary {number % 20}"

    assert all(await asyncio.gather(*map(ask, range(600))))
    await tokens.close()


def test_nothing_of_ours_is_left_in_the_servers_sessions(bouncer: Bouncer, postgres_url: str) -> None:
    """Whoever gets our server's connection next finds no lock, no setting, no listener and no table of ours."""
    url = bouncer.url(postgres_url)
    with open_tokens(url, "timeout=10&prepared=off") as tokens:
        issued = tokens.open_session("ann", idempotency_key="k")
        token = tokens.issue_token(issued.id, "v", transferable=True)
        tokens.transfer_token(token.id, giver="ann", receiver="bob")
        tokens.disable_owner("ann")
        tokens.sweep()
        assert [] == tokens.store.check_now()  # type: ignore[attr-defined]  # of this store
    lanes = [psycopg.connect(url) for _ in range(3)]
    left = {}
    for lane in lanes:
        for what in (
            "locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
            "prepared_statements",
            "cursors WHERE name <> ''",
            "settings WHERE source = 'session' AND name NOT IN ('application_name', 'client_encoding')",
            "class WHERE relpersistence = 't'",
        ):
            left[what] = lane.execute(f"SELECT * FROM pg_{what}".encode()).fetchall()
        left["listeners"] = lane.execute("SELECT pg_listening_channels()").fetchall()
    for lane in lanes:
        lane.close()

    assert {what: [] for what in left} == left


def test_a_pooler_that_is_killed_under_load_loses_nothing_that_was_acknowledged(
    bouncer: Bouncer, postgres_url: str
) -> None:
    url = bouncer.url(postgres_url)
    acknowledged: list[str] = []
    ended: list[str] = []
    answered = threading.Event()
    over = threading.Event()
    failures: list[type[Exception]] = []

    def work(number: int, tokens: SessionTokens) -> None:
        while not over.is_set():
            try:
                issued = tokens.open_session(f"owner{number}")
                acknowledged.append(issued.secret)
                if len(acknowledged) % 3 == 0 and tokens.destroy_session(issued.id):
                    ended.append(issued.secret)
                answered.set()
            except StoreUnavailable as error:
                failures.append(type(error))
                time.sleep(0.01)

    opened = [open_tokens(url, "timeout=5") for _ in range(6)]
    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(opened)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            wait_for(answered)
            bouncer.stop()
            answered.clear()
            time.sleep(0.05)
            bouncer.start()
        wait_for(answered)
    finally:
        over.set()
        for thread in threads:
            thread.join()
        for tokens in opened:
            tokens.close()

    assert failures
    with open_tokens(postgres_url) as tokens:
        ends = set(ended)
        living = [secret for secret in acknowledged if tokens.verify_session(secret) is not None]
        lost = [secret for secret in acknowledged if secret not in ends and secret not in set(living)]
        # An end whose answer was cut off was carried out or not: one for each worker and each time.
        assert len(lost) <= 3 * len(threads)
        assert [] == [secret for secret in living if secret in ends]
        assert [] == tokens.store.check_now()  # type: ignore[attr-defined]  # of this store


def wait_for(event: threading.Event) -> None:
    assert event.wait(PATIENCE_S), "nobody was answered"


def test_a_migrating_and_a_running_role_come_through_apart(
    bouncer: Bouncer, postgres_server: PostgresServer, postgres_url: str
) -> None:
    role = make_role(postgres_server, postgres_url).partition("://")[2].partition("@")[0]
    bouncer.admit(role)
    migrating = bouncer.url(postgres_url)
    running = migrating.replace("postgres@", f"{role}@")
    with pytest.raises(StoreError, match="session-tokens store migrate"):
        open_postgres_blocking(running, pepper=PEPPER)
    migrate_postgres(migrating, grant_to=role)

    with open_tokens(running) as tokens:
        issued = tokens.open_session("ann")
        assert tokens.verify_session(issued.secret) is not None
        assert tokens.destroy_session(issued.id) is not None
    for statement in DEFINITIONS:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(running, statement)


def test_eight_first_openings_at_once_through_a_pooler_all_succeed(bouncer: Bouncer, postgres_url: str) -> None:
    url = bouncer.url(postgres_url)
    opened, refused = at_once(8, lambda number: open_tokens(url, "timeout=20").close())

    assert (8, []) == (len(opened), refused)
