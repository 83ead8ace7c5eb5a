"""PostgreSQL whose database, role or URL sets what a commit relies on: the store sees to it itself, or says so."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import psycopg
import pytest

from session_tokens import SessionTokens, Settings
from session_tokens.stores.postgres.store import open_postgres_blocking
from tests.helpers.at_once import at_once
from tests.helpers.conformance import OnPostgres
from tests.helpers.servers.pgbouncer import (
    Bouncer,
)
from tests.helpers.servers.postgres import shared_server
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.server

PEPPER = bytes(range(32))
OWNERS = 12
LEVELS = ("repeatable read", "serializable")
ODD = {
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "array_nulls": "off",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "datestyle": "SQL, DMY",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Kathmandu",
    "extra_float_digits": "-15",
    "search_path": "nowhere",
    "transform_null_equals": "on",
    "quote_all_identifiers": "on",
    "client_min_messages": "debug1",
    "plan_cache_mode": "force_custom_plan",
    "lock_timeout": "50",  # below what the store waits, above what a busy server takes
    "session_replication_role": "replica",
    "plpgsql.variable_conflict": "use_column",
}
"""What a database may set for each session on it."""


def set_for_all(url: str, **settings: str) -> None:
    """Let each new session on a database have settings."""
    with psycopg.connect(url, autocommit=True) as connection:
        for name, value in settings.items():
            row = connection.execute("SELECT format('%I', current_database())").fetchone()
            assert row is not None
            connection.execute(f"ALTER DATABASE {row[0]} SET {name} = '{value}'".encode())


@pytest.fixture(scope="module")
def odd_database() -> Iterator[str]:
    """One database for the whole suite, with the tables made under the same settings."""
    server = shared_server()
    url = server.new_database()
    set_for_all(url, **ODD)
    open_postgres_blocking(url, pepper=PEPPER).close_now()
    yield url
    server.drop_database(url)


@pytest.mark.share(4)
class TestConformanceUnderOddSettings(OnPostgres):
    @pytest.fixture(autouse=True)
    def _on_such_a_database(self, odd_database: str) -> None:
        self.database, self.url = odd_database, f"{odd_database}?timeout=10"
        self.empty()


def by_database(url: str, level: str) -> str:
    set_for_all(url, default_transaction_isolation=level)
    return url


def by_role(url: str, level: str) -> str:
    with psycopg.connect(url, autocommit=True) as connection:
        role = f"careful_{connection.info.dbname}"
        connection.execute(f"CREATE ROLE {role} LOGIN SUPERUSER".encode())
        connection.execute(f"ALTER ROLE {role} SET default_transaction_isolation = '{level}'".encode())
    return url.replace("postgres@", f"{role}@")


def by_url(url: str, level: str) -> str:
    return f"{url}?options={quote('-c default_transaction_isolation=' + level.replace(' ', chr(92) + ' '), safe='')}"


Way = Callable[[str, str], str]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("way", [by_database, by_role, by_url])
def test_no_isolation_level_lets_an_owner_pass_the_cap(postgres_url: str, way: Way, level: str) -> None:
    """Four log-ins of each owner at once, each of which replaces those before it."""
    url = way(postgres_url, level)
    url += ("&" if "?" in url else "?") + "timeout=20"
    settings = Settings(max_sessions=1)
    apis = [SessionTokens(open_postgres_blocking(url, pepper=PEPPER), settings) for _ in range(4)]
    for number in range(OWNERS):
        at_once(4, lambda caller, number=number: apis[caller].open_session(f"owner {number}"))  # type: ignore[misc]  # the argument is bound here
    living = {f"owner {number}": len(apis[0].list_sessions(f"owner {number}").items) for number in range(OWNERS)}
    for api in apis:
        api.close()

    assert living == dict.fromkeys(living, 1)


def waiting(url: str) -> int:
    """Return how many backends wait for a lock."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
        assert row is not None
        count: int = row[0]
        return count


@pytest.mark.parametrize("level", ["read committed", *LEVELS])
def test_a_set_that_grows_while_a_commit_waits_is_read_anew(postgres_url: str, level: str) -> None:
    """A token is issued to a session, and a log-in that replaces the session waits for that: the token moves along."""
    url = by_database(postgres_url, level) + "?timeout=20"
    with SessionTokens(open_postgres_blocking(url, pepper=PEPPER), Settings(max_sessions=1)) as tokens:
        first = tokens.open_session("alice")
        with ThreadPoolExecutor(2) as pool, psycopg.connect(postgres_url) as other:
            other.execute("SELECT FROM session_tokens.sessions FOR UPDATE")
            issuing = pool.submit(lambda: tokens.issue_token(first.id, "deed", transferable=True))
            wait_until(lambda: waiting(postgres_url) == 1)
            opening = pool.submit(lambda: tokens.open_session("alice"))
            wait_until(lambda: waiting(postgres_url) == 2)
            other.rollback()
            token, second = issuing.result(), opening.result()

        held = tokens.verify_token(token.secret)
        assert held is not None and (held.owner, held.session_id) == ("alice", second.id)


@pytest.mark.needs_pgbouncer
def test_a_pooler_before_it_changes_nothing_about_that(bouncer: Bouncer, postgres_url: str) -> None:
    url = bouncer.url(by_database(postgres_url, "repeatable read")) + "?timeout=20&prepared=off"
    settings = Settings(max_sessions=1)
    apis = [SessionTokens(open_postgres_blocking(url, pepper=PEPPER), settings) for _ in range(3)]
    for number in range(OWNERS):
        at_once(3, lambda caller, number=number: apis[caller].open_session(f"owner {number}"))  # type: ignore[misc]  # the argument is bound here
        assert len(apis[0].list_sessions(f"owner {number}").items) == 1
    for api in apis:
        api.close()


def test_eight_first_openings_at_once_succeed_at_each_level(postgres_url: str) -> None:
    url = by_database(postgres_url, "repeatable read")
    for _ in range(6):
        opened, refused = at_once(
            8, lambda number: open_postgres_blocking(url + "?timeout=20", pepper=PEPPER).close_now()
        )

        assert (len(opened), refused) == (8, [])
        with psycopg.connect(postgres_url) as other:
            other.execute("DELETE FROM session_tokens.peppers")  # they are to be recorded at once again


def test_what_may_be_lost_is_told_when_a_store_opens(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    open_postgres_blocking(postgres_url, pepper=PEPPER).close_now()
    assert "synchronous_commit" not in caplog.text
    set_for_all(postgres_url, synchronous_commit="off")
    open_postgres_blocking(postgres_url, pepper=PEPPER).close_now()

    (told,) = [record for record in caplog.records if "synchronous_commit is off" in record.getMessage()]
    assert told.levelno == logging.WARNING
