"""PostgreSQL whose database, role or URL sets what a commit relies on: the store sees to it itself, or says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from urllib.parse import quote

import psycopg
import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, Settings
from session_tokens.stores.postgres import open_postgres, open_postgres_blocking
from tests.races.test_caps_and_winners import at_once
from tests.servers.pgbouncer import (
    Bouncer,
    _bouncer,  # noqa: F401  # a fixture
)
from tests.servers.postgres import shared_server

from .test_conformance import OnPostgres

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
    "lock_timeout": "1",
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


@pytest.mark.parametrize("level", LEVELS)
async def test_absent_keys_and_sets_are_guarded_at_each_isolation_level(postgres_url: str, level: str) -> None:
    """An idempotency key is used once, and a token that comes meanwhile is moved along with its session."""
    url = by_database(postgres_url, level) + "?timeout=20"
    apis = [AsyncSessionTokens(await open_postgres(url, pepper=PEPPER), Settings(max_sessions=1)) for _ in range(3)]
    for number in range(OWNERS):
        owner = f"owner {number}"
        first = await apis[0].open_session(owner)
        outcomes = await asyncio.gather(
            apis[0].open_session(owner),
            *(api.issue_token(None, "once", idempotency_key=f"key {number}") for api in apis),
            apis[1].issue_token(first.id, "v", transferable=True),
            return_exceptions=True,
        )
        assert len({outcome.secret for outcome in outcomes[1:4]}) == 1  # type: ignore[union-attr]  # all succeed
        for token in (await apis[2].list_tokens(owner=owner)).items:
            (session,) = (await apis[2].list_sessions(owner)).items
            assert token.session_id == session.id
    assert await apis[0].store.check() == []  # type: ignore[attr-defined]  # of this store
    for api in apis:
        await api.close()


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
    opened, refused = at_once(8, lambda number: open_postgres_blocking(url + "?timeout=20", pepper=PEPPER).close_now())

    assert (len(opened), refused) == (8, [])
