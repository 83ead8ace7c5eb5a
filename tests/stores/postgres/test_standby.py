"""A primary and its standby: what is lost with the first, who finds the second, what is promised at opening."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest

from session_tokens import AsyncSessionTokens, InvalidInput, Issued, SessionTokens, StoreError, StoreUnavailable
from session_tokens.stores.postgres.store import open_postgres, open_postgres_blocking
from tests.helpers.at_once import at_once
from tests.helpers.effort import PROVING
from tests.helpers.servers.postgres import PostgresServer, execute, running_server
from tests.helpers.servers.proxy import always, proxy_to
from tests.helpers.servers.standbys import cut_off, receiving_nothing, set_up, standby_of, waiting_for_a_standby
from tests.helpers.waiting import eventually, until_answered, wait_until

pytestmark = pytest.mark.server

PEPPER = bytes(range(32))
REPLICATED = "timeout=5&durability=replicated"


@pytest.fixture(scope="module")
def primary() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


@pytest.fixture(scope="module")
def standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    with standby_of(primary) as server:
        yield server


@pytest.fixture
def synchronous(primary: PostgresServer, standby: PostgresServer) -> Iterator[None]:
    """Each commit of the primary waits for the standby."""
    set_up(primary, "synchronous_standby_names", "*")
    yield
    set_up(primary, "synchronous_standby_names", "")


def on_both(first: PostgresServer, second: PostgresServer, url: str, options: str) -> str:
    """Return the URL of a store that is on the one or the other server."""
    hosts = f"127.0.0.1:{first.port},127.0.0.1:{second.port}"
    return f"postgresql://postgres@{hosts}/{url.rpartition('/')[2]}?{options}"


def opened(url: str) -> SessionTokens:
    return SessionTokens(open_postgres_blocking(url, pepper=PEPPER))


class Load:
    """Threads that open sessions until they are stopped, and what was acknowledged to them."""

    def __init__(self, url: str) -> None:
        self.acknowledged: list[Issued] = []
        self._tokens = opened(url)
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._open, args=(f"owner {number}",)) for number in range(4)]
        for thread in self._threads:
            thread.start()

    def _open(self, owner: str) -> None:
        while not self._stopping.is_set():
            try:
                self.acknowledged.append(self._tokens.open_session(owner))
            except StoreUnavailable:
                self._stopping.wait(0.02)

    def more(self, count: int = 30) -> None:
        """Wait until so many more were acknowledged."""
        target = len(self.acknowledged) + count
        wait_until(lambda: len(self.acknowledged) >= target)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()
        self._tokens.close()


@pytest.mark.parametrize("durability", ["replicated", "server"] if PROVING else ["replicated"])
def test_what_was_acknowledged_outlives_the_primary_where_standbys_confirm_it(durability: str) -> None:
    """The standby hears nothing of the last moments of its primary; where nobody waits for it, they are lost."""
    with running_server() as primary, standby_of(primary) as standby:
        if durability == "replicated":
            set_up(primary, "synchronous_standby_names", "*")
        url = on_both(primary, standby, primary.new_database(), f"timeout=2&durability={durability}")
        load = Load(url)
        load.more()
        cut_off(standby)
        if durability == "server":
            load.more()
        else:
            wait_until(lambda: waiting_for_a_standby(primary))
        primary.kill()
        load.stop()
        standby.promote()
        with opened(url.replace("replicated", "server")) as tokens:
            lost = [issued for issued in load.acknowledged if tokens.verify_session(issued.secret) is None]

        assert (len(lost) > 0) == (durability == "server")


async def test_nobody_is_kept_from_the_other_host_by_one_that_is_silent(postgres_url: str) -> None:
    """The first host comes to say nothing, as one that was cut off; several connections to it are open."""
    before, _, database = postgres_url.rpartition("/")
    port = int(before.rpartition(":")[2])
    with proxy_to(port) as first:
        url = f"postgresql://postgres@127.0.0.1:{first.port},127.0.0.1:{port}/{database}?timeout=1"
        blocking, tokens = opened(url), AsyncSessionTokens(await open_postgres(url, pepper=PEPPER))
        (issued, *_), _ = at_once(4, lambda number: blocking.open_session(f"owner {number}"))
        assert await tokens.verify_session(issued.secret) == issued.session
        first.request_fate = first.reply_fate = always("swallow")

        assert eventually(lambda: blocking.verify_session(issued.secret)) == issued.session
        assert await until_answered(lambda: tokens.verify_session(issued.secret)) == issued.session
        assert eventually(lambda: blocking.open_session("bea")).session.owner == "bea"
        blocking.close()
        await tokens.close()


def test_replicated_is_refused_where_no_standby_confirms(primary: PostgresServer) -> None:
    with pytest.raises(StoreError, match="PostgreSQL waits for 0 standbys: set synchronous_standby_names"):
        open_postgres_blocking(f"{primary.new_database()}?{REPLICATED}", pepper=PEPPER)


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("setting", ["local", "off"])
def test_replicated_is_refused_to_a_role_that_does_not_wait(primary: PostgresServer, setting: str) -> None:
    url = primary.new_database()
    execute(primary.url(), f'ALTER DATABASE "{url.rpartition("/")[2]}" SET synchronous_commit = {setting}')
    with pytest.raises(StoreError, match="synchronous_commit to on for the database and the role"):
        open_postgres_blocking(f"{url}?{REPLICATED}", pepper=PEPPER)


@pytest.mark.usefixtures("synchronous")
def test_replicated_says_at_opening_whether_it_outlives_the_loss_of_a_server(
    primary: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"{primary.new_database()}?{REPLICATED}"
    with caplog.at_level(logging.WARNING, "session_tokens.stores"):
        open_postgres_blocking(url, pepper=PEPPER).close_now()
    assert "1 of 2 standbys are there" in caplog.text
    caplog.clear()
    with psycopg.connect(primary.url() + "?replication=true"):  # one more that takes the log
        with caplog.at_level(logging.WARNING, "session_tokens.stores"):
            open_postgres_blocking(url, pepper=PEPPER).close_now()

        assert not caplog.text


@pytest.mark.usefixtures("synchronous")
def test_nothing_is_written_where_standbys_are_waited_for_no_more(primary: PostgresServer) -> None:
    with opened(f"{primary.new_database()}?{REPLICATED}") as tokens:
        issued = tokens.open_session("ann")
        set_up(primary, "synchronous_standby_names", "")
        with pytest.raises(StoreUnavailable, match=r"0 of 1 synchronous standbys confirm.*nothing was written"):
            tokens.open_session("bea")

        assert tokens.verify_session(issued.secret) == issued.session
        assert not tokens.list_sessions("bea").items


def in_background(command: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Run a command in a thread; what it returns or raises is added to the list."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(command())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


@pytest.mark.usefixtures("synchronous")
def test_a_commit_whose_wait_was_cancelled_is_of_unknown_outcome(
    primary: PostgresServer, standby: PostgresServer
) -> None:
    """PostgreSQL answers such a statement as one that succeeded, and the standby may not have it."""
    with opened(f"{primary.new_database()}?timeout=30") as tokens:
        tokens.open_session("ann")
        with receiving_nothing(standby):
            thread, outcome = in_background(lambda: tokens.open_session("bea", idempotency_key="once"))
            wait_until(lambda: waiting_for_a_standby(primary))
            (waiting,) = waiting_for_a_standby(primary)
            execute(primary.url(), "SELECT pg_cancel_backend(%s)", (waiting,))
            thread.join(60)
        assert isinstance(outcome[0], StoreUnavailable)
        assert "outcome is unknown" in str(outcome[0])
        again = tokens.open_session("bea", idempotency_key="once")

        assert [again.session] == list(tokens.list_sessions("bea").items)


@pytest.mark.usefixtures("synchronous")
def test_a_commit_that_a_standby_does_not_confirm_in_time_is_of_unknown_outcome(
    primary: PostgresServer, standby: PostgresServer
) -> None:
    """No time-out of PostgreSQL ends such a wait; the store's own does, and the command may be done later."""
    with opened(f"{primary.new_database()}?timeout=1") as tokens:
        tokens.open_session("ann")
        with receiving_nothing(standby), pytest.raises(StoreUnavailable, match="outcome is unknown"):
            tokens.open_session("bea", idempotency_key="once")
        again = eventually(lambda: tokens.open_session("bea", idempotency_key="once"))

        assert [again.session] == list(tokens.list_sessions("bea").items)


@pytest.mark.parametrize(
    ("stand_in", "told"),
    [
        ("version() RETURNS text AS $$SELECT 'CockroachDB CCL v24.1.2 (x86_64-pc-linux-gnu)'$$", "CockroachDB"),
        ("version() RETURNS text AS $$SELECT 'PostgreSQL 11.2-YB-2.20.1.0-b0 on x86_64'$$", "YB-"),
        ("pg_advisory_xact_lock_shared(bigint) RETURNS void AS $$SELECT$$", "lock nothing"),
    ],
)
def test_what_speaks_like_postgresql_and_does_not_lock_is_refused(
    primary: PostgresServer, stand_in: str, told: str
) -> None:
    """A real server that says so of itself, or whose locks are the stand-ins that CockroachDB has."""
    url = primary.new_database()
    execute(url, f"CREATE SCHEMA other_make; CREATE FUNCTION other_make.{stand_in} LANGUAGE sql")
    path = "other_make, pg_catalog, public"
    execute(primary.url(), f'ALTER DATABASE "{url.rpartition("/")[2]}" SET search_path = {path}')
    with pytest.raises(InvalidInput, match=f"{told}.*use PostgreSQL"):
        open_postgres_blocking(url, pepper=PEPPER)
    assert execute(url, "SELECT FROM pg_namespace WHERE nspname = 'session_tokens'") == []
    execute(primary.url(), f'ALTER DATABASE "{url.rpartition("/")[2]}" RESET search_path')

    open_postgres_blocking(url, pepper=PEPPER).close_now()
