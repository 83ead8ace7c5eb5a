"""Opening a PostgreSQL store: peppers, roles, versions, name spaces; and what its tables keep and refuse."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from session_tokens import InvalidInput, SessionTokens, Settings, StoreUnavailable
from session_tokens.errors import CorruptRecord, StoreBusy, StoreError
from session_tokens.stores.common.migrations import NEWEST
from session_tokens.stores.postgres import schema
from session_tokens.stores.postgres.address import address_of
from session_tokens.stores.postgres.store import BlockingPostgresStore, migrate_postgres, open_postgres_blocking
from tests.helpers.servers.postgres import (
    DEFINITIONS,
    PostgresServer,
    execute,
    make_role,
)

PEPPER = bytes(range(32))
OTHER = bytes(range(1, 33))
ROOT = Path(__file__).parents[3]


@pytest.fixture
def open_store(postgres_url: str) -> Callable[..., BlockingPostgresStore]:
    return lambda **named: open_postgres_blocking(postgres_url, **{"pepper": PEPPER, **named})


@pytest.mark.parametrize(
    "url",
    [
        "mysql://localhost/db", "postgresql://localhost/db?namespace=Main", "postgresql://localhost/db?namespace=pg_x",
        "postgresql://localhost/db?timeout=soon", "postgresql://localhost/db?timeout=0",
        "postgresql://localhost/db?timeout=nan", "postgresql://localhost/db?pool_size=0",
        "postgresql://localhost/db?prepared=maybe", 'postgresql://localhost/db?namespace=a";drop', "postgresql://[::1/db",
    ],
)  # fmt: skip
def test_a_url_that_can_never_be_right_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        address_of(url)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("sslmode=nonsense", "sslmode in the store's URL is one of disable, allow, prefer, require, verify-ca"),
        ("sslmode=", "sslmode in the store's URL is one of"),
        ("connect_timeout=abc", "connect_timeout in the store's URL is a whole number"),
        ("target_session_attrs=master", "target_session_attrs in the store's URL is one of any"),
        ("gssencmode=maybe", "gssencmode in the store's URL is one of"),
        ("channel_binding=yes", "channel_binding in the store's URL is one of"),
        ("load_balance_hosts=all", "load_balance_hosts in the store's URL is one of"),
        ("ssl_min_protocol_version=SSLv3", "ssl_min_protocol_version in the store's URL is one of TLSv1"),
        ("keepalives_idle=1.5", "keepalives_idle in the store's URL is a whole number"),
        ("tcp_user_timeout=soon", "tcp_user_timeout in the store's URL is a whole number"),
    ],
)
def test_an_option_that_the_driver_cannot_take_is_told_in_our_own_words(option: str, said: str) -> None:
    """It is the caller's to mend, and no failure of a server, which is not even asked."""
    with pytest.raises(InvalidInput) as refused:
        SessionTokens.open(f"postgresql://user:hidden@127.0.0.1:1/name?{option}", pepper=bytes(32))

    assert str(refused.value).startswith(said)
    assert "hidden" not in str(refused.value)


def test_options_that_the_driver_can_take_are_left_to_it() -> None:
    options = "sslmode=verify-full&connect_timeout=5&keepalives=0&target_session_attrs=prefer-standby"
    with pytest.raises(StoreUnavailable):
        SessionTokens.open(f"postgresql://user@127.0.0.1:1/name?{options}&timeout=0.5", pepper=bytes(32))


def test_parameters_of_the_driver_reach_the_driver_and_ours_do_not() -> None:
    address = address_of("postgresql://ann:s%40cret@db/x?sslmode=require&namespace=n&timeout=2.5&prepared=off", "tt")

    assert "sslmode=require" in address.conninfo and "timeout" not in address.conninfo
    assert ("n_tt", 2.5, False) == (address.namespace, address.timeout_s, address.prepared)
    assert "s%40cret" not in repr(address)


def test_a_store_without_a_pepper_is_refused(postgres_url: str) -> None:
    with pytest.raises(InvalidInput, match="pepper"):
        open_postgres_blocking(postgres_url, pepper=None)


def test_another_pepper_under_the_same_id_is_refused(open_store: Callable[..., BlockingPostgresStore]) -> None:
    open_store(pepper={"one": PEPPER}).close_now()

    with pytest.raises(InvalidInput, match=r"pepper one from .* is not the one"):
        open_store(pepper={"one": OTHER})


def test_a_missing_pepper_is_an_error_that_names_its_id(open_store: Callable[..., BlockingPostgresStore]) -> None:
    open_store(pepper={"old": PEPPER}).close_now()

    with pytest.raises(InvalidInput, match="pepper old, which is not among the keys"):
        open_store(pepper={"new": OTHER})


def test_a_pepper_is_needed_until_no_row_is_under_it(open_store: Callable[..., BlockingPostgresStore]) -> None:
    with SessionTokens(open_store(pepper={"old": PEPPER})) as tokens:
        issued = tokens.open_session("ann")
    open_store(pepper={"new": OTHER, "old": PEPPER}).close_now()
    with pytest.raises(InvalidInput, match="pepper old"):
        open_store(pepper={"new": OTHER})
    with SessionTokens(open_store(pepper={"new": OTHER, "old": PEPPER})) as tokens:
        rotated = tokens.rotate_session(issued.id)

    with SessionTokens(open_store(pepper={"new": OTHER})) as tokens:
        assert tokens.verify_session(rotated.secret) is not None
    with pytest.raises(InvalidInput, match="pepper new"):
        open_store(pepper={"old": PEPPER})


def test_secrets_under_an_earlier_pepper_go_on_and_are_rotated_to_the_current(
    open_store: Callable[..., BlockingPostgresStore],
) -> None:
    before = SessionTokens(open_store(pepper={"old": PEPPER}))
    issued = before.open_session("ann")
    before.close()
    after = SessionTokens(open_store(pepper={"new": OTHER, "old": PEPPER}))

    session = after.verify_session(issued.secret)
    assert session is not None and session.id == issued.id
    rotated = after.rotate_session(issued.secret)
    assert after.verify_session(issued.secret) is None
    assert after.verify_session(rotated.secret) is not None
    assert str(after.store.find_session_now(after.store.keyring.lookups(rotated.secret))[1].lookup).startswith("new:")  # type: ignore[union-attr]  # it is there
    after.close()


def test_opening_makes_the_tables_and_opening_again_changes_nothing(postgres_url: str) -> None:
    open_postgres_blocking(postgres_url, pepper=PEPPER).close_now()
    first = execute(postgres_url, "SELECT number, applied_at FROM session_tokens.migrations ORDER BY 1")
    open_postgres_blocking(postgres_url, pepper=PEPPER).close_now()

    assert first == execute(postgres_url, "SELECT number, applied_at FROM session_tokens.migrations ORDER BY 1")
    assert NEWEST == first[-1][0]
    assert [] == migrate_postgres(postgres_url)


def test_eight_first_openings_at_once_all_succeed(postgres_url: str) -> None:
    failures: list[Exception] = []

    def opened() -> None:
        try:
            open_postgres_blocking(postgres_url + "?timeout=10", pepper=PEPPER).close_now()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=opened) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == failures


def test_who_waits_too_long_for_another_that_makes_the_tables_is_told_so(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before nobody has answered for so long that the server is taken for lost."""
    monkeypatch.setattr(schema, "MAKING_S", 0.2)
    with psycopg.connect(postgres_url) as maker:
        maker.execute("SELECT pg_advisory_xact_lock(hashtextextended('session_tokens session_tokens', 1))")
        with pytest.raises(StoreBusy, match=r"such as .* a migration"):
            open_postgres_blocking(postgres_url, pepper=PEPPER)
    open_postgres_blocking(postgres_url, pepper=PEPPER).close_now()


def test_a_running_role_finds_no_tables_and_is_told_what_to_run(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    running = make_role(postgres_server, postgres_url)

    with pytest.raises(StoreError, match="session-tokens store migrate"):
        open_postgres_blocking(running, pepper=PEPPER)


def test_a_running_role_works_on_tables_that_it_cannot_change(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    running = make_role(postgres_server, postgres_url)
    role = running.partition("://")[2].partition("@")[0]
    migrate_postgres(postgres_url, grant_to=role)

    with SessionTokens(open_postgres_blocking(running, pepper=PEPPER)) as tokens:
        issued = tokens.open_session("ann")
        assert tokens.verify_session(issued.secret) is not None
        assert tokens.destroy_session(issued.id) is not None
    for statement in DEFINITIONS:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(running, statement)


def test_the_roles_that_we_deploy_are_enough_and_no_more(private_postgres: PostgresServer) -> None:
    url = private_postgres.new_database()
    execute(url, (ROOT / "deploy" / "postgres" / "roles.sql").read_text())
    migrating, running = (url.replace("postgres@", f"{role}@") for role in ("session_tokens_migrate", "session_tokens"))
    with pytest.raises(StoreError, match="session-tokens store migrate"):
        open_postgres_blocking(running, pepper=PEPPER)
    for space in ("", "tt"):
        assert NEWEST == len(migrate_postgres(migrating, space=space))

        with SessionTokens(open_postgres_blocking(running, pepper=PEPPER, space=space)) as tokens:
            issued = tokens.open_session("ann")
            assert tokens.verify_session(issued.secret) is not None
            tokens.disable_owner("ann")
            tokens.sweep()
    for statement in (*DEFINITIONS, "CREATE SCHEMA more", "CREATE TABLE public.more ()"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(running, statement)


def test_tables_of_a_newer_version_are_refused_by_all(postgres_url: str) -> None:
    open_postgres_blocking(postgres_url, pepper=PEPPER).close_now()
    execute(postgres_url, "INSERT INTO session_tokens.migrations (number, name) VALUES (9999, 'later')")

    with pytest.raises(StoreError, match="newer session-tokens"):
        open_postgres_blocking(postgres_url, pepper=PEPPER)
    with pytest.raises(StoreError, match="newer session-tokens"):
        migrate_postgres(postgres_url)


def test_tables_of_an_older_version_wait_for_the_migration(postgres_url: str) -> None:
    open_postgres_blocking(postgres_url, pepper=PEPPER).close_now()
    execute(postgres_url, f"DELETE FROM session_tokens.migrations WHERE number = {NEWEST}")

    with pytest.raises(StoreError, match="session-tokens store migrate"):
        open_postgres_blocking(postgres_url, pepper=PEPPER)


def test_a_database_in_another_encoding_is_refused(postgres_server: PostgresServer) -> None:
    execute(postgres_server.url(), "CREATE DATABASE st_latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        with pytest.raises(InvalidInput, match="UTF8"):
            open_postgres_blocking(postgres_server.url("st_latin"), pepper=PEPPER)
    finally:
        execute(postgres_server.url(), "DROP DATABASE st_latin WITH (FORCE)")


def test_name_spaces_of_one_database_know_nothing_of_each_other(postgres_url: str) -> None:
    with (
        SessionTokens(open_postgres_blocking(postgres_url, pepper=PEPPER)) as here,
        SessionTokens(open_postgres_blocking(postgres_url + "?namespace=there", pepper=PEPPER)) as there,
        SessionTokens(open_postgres_blocking(postgres_url, pepper=PEPPER, space="tt")) as beside,
    ):
        issued = here.open_session("ann")

        for other in (there, beside):
            assert other.verify_session(issued.secret) is None
            assert other.get_session(issued.id) is None
            assert [] == other.list_sessions().items


@pytest.mark.parametrize("value", ["nul\0byte", "\x1a0", "\x1a\x1a\0", 'é🙂\n"\\', {"k\0": ["\x1a1", None, 1.5]}, ""])
def test_every_text_comes_back_as_it_was_given(open_store: Callable[..., BlockingPostgresStore], value: Any) -> None:
    with SessionTokens(open_store()) as tokens:
        session = tokens.open_session("dän'; --", data={"field": value}).session
        issued = tokens.issue_token(session.id, value)

        token = tokens.verify_token(issued.secret)
        assert token is not None and token.value == value
        found = tokens.get_session(session.id)
        assert found is not None and found.data == {"field": value}
        assert [token.id] == [listed.id for listed in tokens.list_tokens(owner="dän'; --").items]


def test_no_secret_is_in_the_database(open_store: Callable[..., BlockingPostgresStore], postgres_url: str) -> None:
    with SessionTokens(open_store()) as tokens:
        session = tokens.open_session("ann", idempotency_key="k")
        token = tokens.issue_token(session.id, "v")
        rows = [
            row
            for table in ("sessions", "tokens", "idempotency", "settings", "service_keys", "owners", "peppers")
            for row in execute(postgres_url, f"SELECT t::text FROM session_tokens.{table} t")
        ]

    assert len(rows) > 3
    assert not any(secret in str(rows) for secret in (session.secret, token.secret, PEPPER.hex()))


def test_a_forged_session_does_not_authenticate_and_an_alert_is_logged(
    open_store: Callable[..., BlockingPostgresStore], postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with SessionTokens(open_store(), Settings(max_sessions=None)) as tokens:
        issued = tokens.open_session("ann")
        token = tokens.issue_token(issued.id, "v")
        execute(postgres_url, "UPDATE session_tokens.sessions SET owner = 'root'")

        with caplog.at_level(logging.ERROR):
            assert tokens.verify_session(issued.secret) is None
            assert tokens.verify_token(token.secret) is None
        assert 1 == len([record for record in caplog.records if record.levelno >= logging.ERROR])
        with pytest.raises(CorruptRecord):
            tokens.get_session(issued.id)
        assert [("session", issued.id)] == [problem[:2] for problem in tokens.store.check_now()]  # type: ignore[attr-defined]  # of this store


def test_a_row_copied_over_another_is_refused(
    open_store: Callable[..., BlockingPostgresStore], postgres_url: str
) -> None:
    with SessionTokens(open_store()) as tokens:
        mine = tokens.open_session("eve")
        tokens.open_session("ann")
        execute(
            postgres_url,
            "UPDATE session_tokens.sessions AS s SET mac = t.mac, owner = t.owner FROM session_tokens.sessions AS t"
            " WHERE s.owner = 'eve' AND t.owner = 'ann'",
        )

        assert tokens.verify_session(mine.secret) is None


def test_a_function_that_answers_another_genuine_record_opens_nothing(
    open_store: Callable[..., BlockingPostgresStore], postgres_url: str
) -> None:
    """Someone who may change the database's functions still holds no pepper."""
    with SessionTokens(open_store()) as tokens:
        eve, ann = tokens.open_session("eve"), tokens.open_session("ann")
        execute(
            postgres_url,
            "CREATE OR REPLACE FUNCTION session_tokens.find_session_v1(wanted text) RETURNS text"
            " LANGUAGE sql AS $$ SELECT concat(session_tokens.session_json_v1(s), E'\\n\\x1e')"
            " FROM session_tokens.sessions s WHERE s.owner = 'ann' $$",
        )
        execute(
            postgres_url,
            "CREATE OR REPLACE FUNCTION session_tokens.looked_up_v1(session_keys text[], token_keys text[],"
            " service_keys text[]) RETURNS text LANGUAGE sql AS $$ SELECT session_tokens.find_session_v1('') $$",
        )

        assert tokens.verify_session(eve.secret) is None
        assert tokens.verify_session(ann.secret) is not None


def test_a_token_whose_session_is_gone_is_found_by_the_check(
    open_store: Callable[..., BlockingPostgresStore], postgres_url: str
) -> None:
    with SessionTokens(open_store()) as tokens:
        token = tokens.issue_token(tokens.open_session("ann").id, "v")
        assert [] == tokens.store.check_now()  # type: ignore[attr-defined]  # of this store
        execute(postgres_url, "DELETE FROM session_tokens.sessions")

        assert [("token", token.id)] == [problem[:2] for problem in tokens.store.check_now()]  # type: ignore[attr-defined]  # of this store


def test_a_closed_store_refuses_and_closing_twice_does_nothing(
    open_store: Callable[..., BlockingPostgresStore],
) -> None:
    store = open_store()
    store.close_now()
    store.close_now()

    with pytest.raises(StoreUnavailable, match="closed"):
        store.read_now([])


def test_a_verification_is_one_statement_and_so_a_command_on_what_was_seen(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    """The server's own log counts: an owner never seen is read first."""
    execute(postgres_url, f"ALTER DATABASE \"{postgres_url.rpartition('/')[2]}\" SET log_statement = 'all'")
    log = postgres_server.folder / "log"
    with SessionTokens(open_postgres_blocking(postgres_url, pepper=PEPPER), Settings(idle_timeout=3600)) as tokens:
        ann, bob = tokens.open_session("ann"), tokens.open_session("bob")
        token = tokens.issue_token(ann.secret, "v", transferable=True)
        counted = {}
        for name, command in (
            ("verify_session", lambda: tokens.verify_session(bob.secret)),
            ("verify_token", lambda: tokens.verify_token(token.secret)),
            ("open_session", lambda: tokens.open_session("carol")),
            ("issue_token", lambda: tokens.issue_token(ann.id, "w")),
            ("transfer_token", lambda: tokens.transfer_token(token.id, giver="ann", receiver="bob")),
        ):
            before = log.read_text().count("LOG:  ")
            assert command() is not None
            counted[name] = log.read_text().count("LOG:  ") - before

    assert {"verify_session": 1, "verify_token": 1, "open_session": 2, "issue_token": 1, "transfer_token": 1} == counted


def test_what_is_due_comes_longest_due_first(open_store: Callable[..., BlockingPostgresStore]) -> None:
    with SessionTokens(open_store(), Settings(max_sessions=None)) as tokens:
        later = tokens.open_session("ann", max_age=20)
        sooner = tokens.open_session("ann", max_age=10)
        never = tokens.open_session("ann", max_age=None)
        token = tokens.issue_token(later.id, "v", timeout=15)
        now = tokens.store.read_now([]).now

        assert [] == tokens.store.due_now(now, 10)
        assert [sooner.id, token.id, later.id] == [key.id for key in tokens.store.due_now(now + 60_000, 10)]
        assert [sooner.id] == [key.id for key in tokens.store.due_now(now + 60_000, 1)]
        assert never.id not in [key.id for key in tokens.store.due_now(2**63 - 1, 10)]
