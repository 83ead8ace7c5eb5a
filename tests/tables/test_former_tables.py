"""What the npm package left in the application's DB moves to a native store, once; ``tests/interop`` has it written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from session_tokens import AdapterError, AsyncTokenTables, InvalidInput, TokenTables
from tests.helpers.user_dbs import AsyncDB, PlainDB

PEPPER = bytes(range(32))
Open = Callable[..., TokenTables]


def timing(left: object = 1_800_000, **more: object) -> str:
    """Return what the package writes of a shared session."""
    return json.dumps({
        "_detachment_allowed": True, "_is_detached": False, "_time_left": left, "_time_left_after_detachment": 0,
        "_time_allotted": 3_600_000, "_shared": True, **more,
    })  # fmt: skip


@pytest.fixture
def db() -> PlainDB:
    """What a process with the package left: a session of alice, and two tokens of nobody."""
    db = PlainDB()
    db.set_session_key_value("S1", "alice")
    db.values |= {"S1": timing(), "T1": '{"a": 1}', "T2": "a text"}
    return db


@pytest.fixture(
    params=["memory", "sqlite", "valkey", "postgres", pytest.param("mariadb", marks=pytest.mark.needs_mariadb)]
)
def again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens tables on one store, as another process would; in memory they are others."""
    kind, made = str(request.param), list[TokenTables]()
    url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path / 'tables.db'}"}.get(kind) or ""
    if not url:
        url = str(request.getfixturevalue(f"{kind}_url"))
    if kind == "postgres":
        from session_tokens.stores.postgres.store import migrate_postgres

        migrate_postgres(url, space="tt")

    def make(db: object | None) -> TokenTables:
        pepper = None if kind in ("memory", "sqlite") else PEPPER
        made.append(TokenTables.open(url, token_strings="clear", pepper=pepper, sweep=False, migrate_from=db))
        return made[-1]

    yield make
    for tables in made:
        tables.close()


def test_a_session_moves_in_with_its_hash_and_what_is_left_of_it(again: Open, db: PlainDB) -> None:
    link = db.hash_of("S1", "alice")
    before = dict(db.values)
    tables = again(db)

    assert tables.active_session("S1", "alice") is None
    assert tables.reload_session_info("S1", "bob", link) is False
    assert tables.reload_session_info("S1", "alice", link + "x") is False
    assert tables.reload_session_info("S1", "alice", link) is True
    assert tables.active_session("S1", "alice") is True
    left_ms = tables.get_session_time_left("S1")
    assert left_ms is not None
    assert 1_700_000 < left_ms <= 1_800_000
    assert tables.detach_session("S1") is True
    assert before == db.values
    assert {"set_session_key_value", "check_hash", "get_key_value"} >= set(db.calls)


def test_a_session_that_ended_here_does_not_come_back(again: Open, db: PlainDB) -> None:
    link = db.hash_of("S1", "alice")
    tables = again(db)
    tables.reload_session_info("S1", "alice", link)
    tables.destroy_session("S1")
    tables.sweep()

    assert tables.reload_session_info("S1", "alice", link) is False
    if tables.store.durable:
        assert again(db).reload_session_info("S1", "alice", link) is False
        assert again(None).reload_session_info("S1", "alice", link) is False


def test_a_token_of_no_session_moves_in_when_it_is_asked_for(again: Open, db: PlainDB) -> None:
    tables = again(db)

    assert '{"a": 1}' == tables.transition_token_is_active("T1")
    assert tables.reload_token_info("T2") is True
    assert tables.transition_token_is_active("S1") is None  # that is a session's timing
    assert tables.transition_token_is_active("T3") is None
    assert tables.set_token_timeout("T1", 60_000) is True
    assert tables.destroy_token("T1") is True
    assert tables.transition_token_is_active("T1") is None
    assert tables.destroy_token("T1") is False
    assert "T1" in db.values
    if tables.store.durable:
        other = again(None)
        assert "a text" == other.transition_token_is_active("T2")
        assert again(db).transition_token_is_active("T1") is None


def test_what_is_destroyed_before_it_was_asked_for_is_gone(again: Open, db: PlainDB) -> None:
    tables = again(db)

    assert tables.destroy_token("T1") is True
    assert tables.transition_token_is_active("T1") is None


@pytest.mark.parametrize(
    "text",
    [
        timing(0),
        timing(-500),
        timing("much"),
        timing(True),
        "{}",
        "[1]",
        "no JSON",
        "{" * 500,
        timing(_shared="x" * 2_000),
    ],
)
def test_what_is_no_living_session_does_not_move_in(db: PlainDB, text: str) -> None:
    db.values["S1"] = text
    with TokenTables.open(sweep=False, migrate_from=db) as tables:
        assert tables.reload_session_info("S1", "alice", db.hash_of("S1", "alice")) is False


def test_a_session_without_an_end_gets_ours(db: PlainDB) -> None:
    db.values["S1"] = timing(None)  # Infinity, in JavaScript's JSON
    with TokenTables.open(sweep=False, migrate_from=db) as tables:
        assert tables.reload_session_info("S1", "alice", db.hash_of("S1", "alice")) is True
        assert 3_600_000 == tables.get_session_timeout("S1")


def test_a_value_that_is_too_large_stays_where_it_is(db: PlainDB) -> None:
    db.values["T1"] = "x" * 20_000
    with TokenTables.open(sweep=False, migrate_from=db) as tables:
        assert tables.transition_token_is_active("T1") is None


async def test_a_db_for_asyncio_is_read_too() -> None:
    db = AsyncDB()
    await db.set_session_key_value("S1", "alice")
    db.values |= {"S1": timing(), "T1": "text"}
    async with await AsyncTokenTables.open(sweep=False, migrate_from=db) as tables:
        assert await tables.reload_session_info("S1", "alice", db.hash_of("S1", "alice")) is True
        assert "text" == await tables.transition_token_is_active("T1")


def test_a_db_that_cannot_be_asked_is_an_error_and_one_without_its_methods_refused(db: PlainDB) -> None:
    class Away(PlainDB):
        def get_key_value(self, t_token: str) -> Any:
            raise OSError("away")

    with TokenTables.open(sweep=False, migrate_from=Away()) as tables, pytest.raises(AdapterError):
        tables.transition_token_is_active("T1")
    with pytest.raises(InvalidInput, match="method"):
        TokenTables.open(sweep=False, migrate_from=object())
