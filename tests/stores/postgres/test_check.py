"""The check of a PostgreSQL store, on tables that were broken by hand: it names each thing, and ``fix`` mends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from session_tokens import SessionTokens, Settings
from session_tokens.contract.transaction import Transaction
from session_tokens.records import TokenDetails
from session_tokens.stores.postgres.check_indexes import expected_indexes
from session_tokens.stores.postgres.store import (
    BlockingPostgresStore,
    migrate_postgres,
    open_postgres,
    open_postgres_blocking,
)
from tests.helpers.servers.postgres import (
    PostgresServer,
    execute,
    make_role,
)

PEPPER = bytes(range(32))
SETTINGS = Settings(max_sessions=None, disownment_timeout=None)


@pytest.fixture
def tokens(postgres_url: str) -> Iterator[SessionTokens]:
    with SessionTokens(opened(postgres_url), SETTINGS) as tokens:
        yield tokens


def opened(url: str) -> BlockingPostgresStore:
    return open_postgres_blocking(f"{url}?timeout=20", pepper=PEPPER)


def found(tokens: SessionTokens, fix: bool = False) -> list[Any]:
    assert isinstance(tokens.store, BlockingPostgresStore)
    return list(tokens.store.check_now(fix=fix))


def mended(tokens: SessionTokens) -> list[tuple[str, str]]:
    """Check, mend, and check that what was found was told alike, and is mended."""
    first = found(tokens)
    again = found(tokens, fix=True)

    # What is set aside may leave others behind, which are then mended too.
    assert {problem[:3] for problem in first} <= {problem[:3] for problem in again}
    assert all(problem.fixed is None for problem in first) and all(problem.fixed for problem in again)
    assert [] == found(tokens)
    return [(problem.kind, problem.id) for problem in first]


def set_aside(url: str) -> list[tuple[Any, ...]]:
    return execute(url, "SELECT table_name, key, row_json FROM session_tokens.quarantine ORDER BY 1, 2")


CORRUPTIONS = {
    "session": "UPDATE session_tokens.sessions SET owner = 'root' WHERE owner = 'ann'",
    "a session's escape": "UPDATE session_tokens.sessions SET owner = E'\\x1auzzzz' WHERE owner = 'ann'",
    "token": "UPDATE session_tokens.tokens SET value = 'more'",
    "owner": "UPDATE session_tokens.owners SET epoch = 9",
    "an owner's escape": "UPDATE session_tokens.owners SET owner = E'\\x1auzzzz'",
    "idempotency": "UPDATE session_tokens.idempotency SET outcome = '{'",
    "setting": "UPDATE session_tokens.settings SET text = '1'",
    "service key": "INSERT INTO session_tokens.service_keys (id, lookup, role, created_at, mac, stamp)"
    " VALUES ('key_x', 'a:b', 'admin', 1, 'a:b', 1)",
}


@pytest.mark.share(4)
@pytest.mark.parametrize("what", CORRUPTIONS)
def test_a_row_edited_by_hand_is_named_and_set_aside(tokens: SessionTokens, postgres_url: str, what: str) -> None:
    ann = tokens.open_session("ann", idempotency_key="k")
    tokens.issue_token(ann.id, "v")
    tokens.disable_owner("bob")
    tokens.set_general_session_timeout(60)
    assert [] == found(tokens)
    execute(postgres_url, CORRUPTIONS[what])
    kinds = {kind for kind, _ in mended(tokens)}

    assert kinds >= {"session" if what.startswith("a session") else what.removeprefix("an ").partition("'")[0]}
    assert kinds <= {"session", "token"} if "session" in kinds else 1 == len(kinds)
    assert len(set_aside(postgres_url)) >= 1


def test_a_row_copied_over_another_is_set_aside_and_the_others_live_on(
    tokens: SessionTokens, postgres_url: str
) -> None:
    eve, ann = tokens.open_session("eve"), tokens.open_session("ann")
    execute(
        postgres_url,
        "UPDATE session_tokens.sessions AS s SET mac = t.mac, owner = t.owner FROM session_tokens.sessions AS t"
        " WHERE s.owner = 'eve' AND t.owner = 'ann'",
    )
    assert tokens.list_sessions("ann").unreadable == (eve.id,)
    assert [("session", eve.id)] == mended(tokens)
    assert [ann.id] == [session.id for session in tokens.list_sessions("ann").items]
    (row,) = set_aside(postgres_url)
    assert ("sessions", eve.id) == row[:2] and "ann" in row[2]


def test_tokens_of_a_session_that_is_not_there_are_written_down_as_what_they_count_as(
    tokens: SessionTokens, postgres_url: str
) -> None:
    ann = tokens.open_session("ann")
    bound = tokens.issue_token(ann.id, "bound")
    ticket = tokens.issue_token(ann.id, "ticket", transferable=True)
    tokens.issue_token(tokens.open_session("bob").id, "bob's")
    execute(postgres_url, "DELETE FROM session_tokens.sessions WHERE owner = 'ann'")
    before = tokens.get_token(ticket.id)

    assert {("token", bound.id), ("token", ticket.id)} == set(mended(tokens))
    after = tokens.get_token(ticket.id)
    assert before is not None and after is not None
    assert (None, "ann", before.unassigned_at) == (after.owner, after.previous_owner, after.unassigned_at)
    assert execute(postgres_url, "SELECT owner, session_id FROM session_tokens.tokens WHERE value = 'ticket'") == [
        (None, None)
    ]
    assert [bound.id] == [row[1] for row in set_aside(postgres_url)]
    assert tokens.claim_token(ticket.id, session_key=tokens.open_session("carol").id).token.owner == "carol"


def test_an_owners_lost_entry_is_written_anew_and_nobody_who_was_disabled_comes_back(
    tokens: SessionTokens, postgres_url: str
) -> None:
    before = tokens.open_session("ann")
    tokens.disable_owner("ann")
    tokens.enable_owner("ann")
    since = tokens.open_session("ann")
    execute(postgres_url, "DELETE FROM session_tokens.owners")
    execute(
        postgres_url,
        "UPDATE session_tokens.sessions SET sweep_at = sweep_at WHERE id = %s",
        (before.id,),
    )

    assert [("owner", "ann")] == mended(tokens)
    assert tokens.verify_session(before.secret) is None
    assert tokens.verify_session(since.secret) is None, "nobody knows whether they were disabled once more"
    assert tokens.verify_session(tokens.open_session("ann").secret) is not None


def test_indexes_that_are_not_there_are_made_anew(tokens: SessionTokens, postgres_url: str) -> None:
    """All of them, as after a restore of nothing but the rows."""
    fill(tokens)
    names = [index.name for index in expected_indexes()]
    before = {name: definition(postgres_url, name) for name in names}
    for index in expected_indexes():
        if index.name.endswith(("_pkey", "_key")):
            execute(postgres_url, f"ALTER TABLE session_tokens.{index.kind.table} DROP CONSTRAINT {index.name}")
        else:
            execute(postgres_url, f"DROP INDEX {path(index.name)}")

    assert {("index", name) for name in names} == set(mended(tokens))
    assert before == {name: definition(postgres_url, name) for name in names}


def path(index: str) -> str:
    return f"session_tokens.{index}"


def definition(url: str, index: str) -> list[tuple[Any, ...]]:
    return execute(url, f"SELECT pg_get_indexdef('{path(index)}'::regclass)")


def tag(tx: Transaction, id: str) -> None:
    """Say what a token is for."""
    token = tx.token(id)
    assert token is not None
    tx.put_token(token, token.replace(details=TokenDetails(tag="a seat"), version=token.version + 1))


def fill(tokens: SessionTokens, count: int = 8) -> None:
    """Put something into every index."""
    for number in range(count):
        session = tokens.open_session(f"owner{number}", detachable=True)
        held = [tokens.issue_token(session.id, number, transferable=True, timeout=900) for _ in range(4)]
        tokens.offer_token(held[0].id, price=1)
        tokens.store.run_now(tag, held[2].id)
        tokens.transfer_token(held[1].id, giver=f"owner{number}", receiver=f"nobody{number}")
        tokens.open_session(f"here{number}")
        gone = tokens.open_session(f"gone{number}")
        tokens.issue_token(gone.id, number, transferable=True, tag="waiting")
        tokens.destroy_session(gone.id)
        tokens.detach_session(session.id)
    tokens.sweep(10_000)
    replacing = SessionTokens(tokens.store, Settings(max_sessions=1))
    replaced = replacing.open_session("replaced")
    for _ in range(20):
        replacing.issue_token(replaced.id, transferable=True)
    replacing.open_session("replaced")


def test_indexes_that_lack_rows_are_made_anew(tokens: SessionTokens, postgres_url: str) -> None:
    """Broken as a failing disk would: for a while the server believes that the indexes need not be written."""
    execute(postgres_url, f'ALTER DATABASE "{postgres_url.rpartition("/")[2]}" SET jit = off')  # else it takes a minute
    fill(tokens)
    names = [index.name for index in expected_indexes() if index.kind.table in ("sessions", "tokens")]
    believe(postgres_url, names, False)
    with SessionTokens(opened(postgres_url), SETTINGS) as meanwhile:
        fill(meanwhile)
    believe(postgres_url, names, True)
    execute(postgres_url, "ANALYZE")

    assert {("index", name) for name in names} == set(mended(tokens))


def believe(url: str, names: list[str], ready: bool) -> None:
    """Let the server believe that indexes are, or are not, to be written and read."""
    with psycopg.connect(url, autocommit=True) as breaker:
        breaker.execute("SET allow_system_table_mods = on")
        query = "UPDATE pg_index SET indisready = %s, indisvalid = %s WHERE indexrelid = ANY(%s::regclass[])"
        breaker.execute(query, (ready, ready, list(map(path, names))))


def test_an_index_that_was_not_made_to_its_end_is_made_anew(tokens: SessionTokens, postgres_url: str) -> None:
    fill(tokens, 3)
    believe(postgres_url, ["tokens_listed"], False)

    assert [("index", "tokens_listed")] == mended(tokens)


def test_of_rows_restored_twice_the_latest_is_kept(tokens: SessionTokens, postgres_url: str) -> None:
    ann = tokens.open_session("ann")
    for statement in (
        "CREATE TABLE backup AS SELECT * FROM session_tokens.sessions",
        "DROP INDEX session_tokens.sessions_lookup",
        "ALTER TABLE session_tokens.sessions DROP CONSTRAINT sessions_pkey",
    ):
        execute(postgres_url, statement)
    tokens.change_session(ann.id, label="later")
    execute(postgres_url, "INSERT INTO session_tokens.sessions SELECT * FROM backup")

    assert {("session", ann.id), ("index", "sessions_pkey"), ("index", "sessions_lookup")} == set(mended(tokens))
    kept = tokens.verify_session(ann.secret)
    assert kept is not None and "later" == kept.label


def test_functions_that_are_not_there_or_not_ours_are_made_anew(tokens: SessionTokens, postgres_url: str) -> None:
    ann = tokens.open_session("ann")
    execute(postgres_url, "DROP FUNCTION session_tokens.find_session_v1")
    execute(
        postgres_url,
        "CREATE OR REPLACE FUNCTION session_tokens.now_v1() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
    )

    assert {("function", "find_session_v1"), ("function", "now_v1")} == set(mended(tokens))
    assert tokens.verify_session(ann.secret) is not None


def test_the_running_role_mends_rows_and_names_what_only_the_owner_may(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    running = make_role(postgres_server, postgres_url)
    migrate_postgres(postgres_url, grant_to=running.partition("://")[2].partition("@")[0])
    with SessionTokens(opened(running), SETTINGS) as tokens, SessionTokens(opened(postgres_url), SETTINGS) as owner:
        ann = tokens.open_session("ann")
        tokens.open_session("bob")
        assert [] == found(tokens)
        execute(postgres_url, "DROP INDEX session_tokens.tokens_listed")
        execute(postgres_url, "UPDATE session_tokens.sessions SET label = 'root' WHERE owner = 'ann'")
        told = {problem.id: problem for problem in found(tokens, fix=True)}

        assert {"tokens_listed", ann.id} == set(told)
        assert "quarantine" in str(told[ann.id])
        index = told["tokens_listed"]
        assert index.fixed is None and "role that owns" in index.message
        assert ["tokens_listed"] == [problem.id for problem in found(tokens)]
        assert [("index", "tokens_listed")] == mended(owner)


async def test_the_check_for_asyncio_is_the_same(postgres_url: str) -> None:
    store = await open_postgres(postgres_url + "?timeout=20", pepper=PEPPER)
    with SessionTokens(opened(postgres_url), SETTINGS) as tokens:
        ann = tokens.open_session("ann")
    execute(postgres_url, "UPDATE session_tokens.sessions SET label = 'x'")
    seen: list[tuple[int, int]] = []
    told: Callable[[int, int], None] = lambda done, total: seen.append((done, total))  # noqa: E731

    assert [ann.id] == [problem.id for problem in await store.check()]
    assert [ann.id] == [problem.id for problem in await store.check(fix=True, progress=told)]
    assert [] == await store.check()
    assert (1, 1) == seen[-1]
    await store.close()
