"""One address behind which PostgreSQL servers change roles: commands find the primary, and no standby is believed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from session_tokens import AsyncSessionTokens, NotOwner, SessionTokens, Settings, StoreUnavailable
from session_tokens.contract.optimistic import Commit, attempts
from session_tokens.rules.tokens import transfer_token
from session_tokens.stores.postgres.store import BlockingPostgresStore, open_postgres, open_postgres_blocking
from tests.helpers.at_once import at_once
from tests.helpers.servers.pgbouncer import running_bouncer
from tests.helpers.servers.postgres import PostgresServer, running_server
from tests.helpers.servers.proxy import Proxy, proxy_to
from tests.helpers.servers.standbys import cut_off, standby_of

pytestmark = pytest.mark.server

PEPPER = bytes(range(32))


@pytest.fixture(scope="module")
def primary() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


def through(proxy: Proxy, url: str, options: str = "timeout=10") -> str:
    return f"postgresql://postgres@127.0.0.1:{proxy.port}/{url.rpartition('/')[2]}?{options}"


def set_read_only(server: PostgresServer, to: str) -> None:
    """Let a server refuse writes from now on, on open connections too, as a switch-over does it."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {to}".encode())
        connection.execute("SELECT pg_reload_conf()")
    while True:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            if connection.execute("SHOW default_transaction_read_only").fetchone() == (to,):
                return


def connections_to(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'session-tokens'"
        ).fetchone()
        assert row is not None
        count: int = row[0]
        return count


async def test_after_a_switch_over_commands_go_to_the_new_primary_at_once(primary: PostgresServer) -> None:
    """The old primary stays up and read-only, and several connections to it are open."""
    url = primary.new_database()
    with standby_of(primary) as standby, proxy_to(primary.port) as address:
        blocking = SessionTokens(open_postgres_blocking(through(address, url), pepper=PEPPER), Settings())
        tokens = AsyncSessionTokens(await open_postgres(through(address, url), pepper=PEPPER))
        issued = await tokens.open_session("ann")
        opened, _ = at_once(4, lambda number: blocking.open_session(f"before {number}"))
        assert len(opened) == 4
        standby.catch_up(primary)
        set_read_only(primary, "on")
        try:
            standby.promote()
            address.target_port = standby.port
            opened, refused = at_once(6, lambda number: blocking.open_session(f"after {number}"))
            assert (len(opened), refused) == (6, [])
            assert (await tokens.rotate_session(issued.id)).session.id == issued.id

            assert await tokens.verify_session(opened[0].secret) == opened[0].session
            assert connections_to(url) == 0
        finally:
            set_read_only(primary, "off")
            blocking.close()
            await tokens.close()


def test_a_primary_that_is_read_only_answers_verifications(primary: PostgresServer) -> None:
    url = primary.new_database()
    with SessionTokens(open_postgres_blocking(url + "?timeout=10", pepper=PEPPER)) as tokens:
        issued = tokens.open_session("ann", idle_timeout=3600)
        set_read_only(primary, "on")
        try:
            with pytest.raises(StoreUnavailable, match="read-only"):
                tokens.rotate_session(issued.id)

            assert tokens.verify_session(issued.secret) == issued.session
        finally:
            set_read_only(primary, "off")


@pytest.mark.share(2)
@pytest.mark.parametrize("options", ["timeout=5", "timeout=5&target_session_attrs=any"])
def test_a_standby_is_told_to_be_one_and_never_asked(primary: PostgresServer, options: str) -> None:
    url = primary.new_database()
    with SessionTokens(open_postgres_blocking(url, pepper=PEPPER)) as tokens, standby_of(primary) as standby:
        issued = tokens.open_session("ann")
        standby.catch_up(primary)
        there = f"{standby.url(url.rpartition('/')[2])}?{options}"
        try:
            with SessionTokens(open_postgres_blocking(there, pepper=PEPPER)) as reader:
                reader.verify_session(issued.secret)
            pytest.fail("a standby answered")
        except StoreUnavailable as error:
            assert "give the address of the primary" in str(error)


async def test_of_several_hosts_the_primary_is_taken(primary: PostgresServer) -> None:
    url = primary.new_database()
    with standby_of(primary) as standby:
        hosts = f"127.0.0.1:{standby.port},127.0.0.1:{primary.port}"
        there = f"postgresql://postgres@{hosts}/{url.rpartition('/')[2]}?timeout=10"
        async with AsyncSessionTokens(await open_postgres(there, pepper=PEPPER)) as tokens:
            issued = await tokens.open_session("ann")

            assert await tokens.verify_session(issued.secret) == issued.session


@pytest.mark.share(2)
@pytest.mark.needs_pgbouncer
@pytest.mark.parametrize("prepared", ["on", "off"])
async def test_no_pooler_that_leads_to_a_standby_by_now_makes_it_answer(primary: PostgresServer, prepared: str) -> None:
    """The connection to the pooler stays open, and behind it another server answers."""
    url = primary.new_database()
    with running_bouncer(primary.port) as bouncer, standby_of(primary) as standby:
        there = f"{bouncer.url(url)}?timeout=5&prepared={prepared}"
        reader = AsyncSessionTokens(await open_postgres(there, pepper=PEPPER))
        with SessionTokens(open_postgres_blocking(there, pepper=PEPPER)) as blocking:
            issued = await reader.open_session("ann")
            assert blocking.verify_session(issued.secret) == issued.session
            standby.catch_up(primary)
            bouncer.lead_to(standby.port)
            with pytest.raises(StoreUnavailable, match="give the address of the primary"):
                blocking.verify_session(issued.secret)
            with pytest.raises(StoreUnavailable, match="give the address of the primary"):
                await reader.verify_session(issued.secret)
            standby.promote()

            assert blocking.verify_session(issued.secret) == issued.session
            assert await reader.verify_session(issued.secret) == issued.session
            assert (await reader.rotate_session(issued.id)).session.id == issued.id
        await reader.close()


def commit_of(store: BlockingPostgresStore, rule: Any, *args: object) -> Commit:
    """Return what a command would commit now, judged on what it reads; it is not sent."""
    steps = attempts(rule, args)
    step = next(steps)
    while isinstance(step, list):
        step = steps.send(store.read_now(step))
    assert isinstance(step, Commit)
    return step


def test_what_a_lost_branch_said_is_not_believed(primary: PostgresServer) -> None:
    """Commands run on what was seen lately, and no stamp of what was lost is ever given out again."""
    url = primary.new_database()
    with standby_of(primary) as standby, proxy_to(primary.port) as address:
        store = open_postgres_blocking(through(address, url), pepper=PEPPER)
        with SessionTokens(store, Settings(max_sessions=None)) as tokens:
            sessions = {owner: tokens.open_session(owner) for owner in ("alice", "bob", "carol", "dave")}
            token = tokens.issue_token(sessions["alice"].id, "deed", transferable=True)
            standby.catch_up(primary)
            cut_off(standby)
            tokens.transfer_token(token.id, giver="alice", receiver="bob")
            lost = commit_of(store, transfer_token, token.id, "bob", "dave", None, None)
            standby.promote()
            set_read_only(primary, "on")
            address.target_port = standby.port
            try:
                assert store.record_cache is not None
                assert store.record_cache.get(("token", token.id))[2].owner == "bob"  # type: ignore[index]  # it is there
                with pytest.raises(NotOwner):
                    tokens.transfer_token(token.id, giver="bob", receiver="dave")
                kept = tokens.transfer_token(token.id, giver="alice", receiver="carol")

                assert not store.commit_now(lost)
                assert tokens.verify_token(kept.secret) is not None
            finally:
                set_read_only(primary, "off")
