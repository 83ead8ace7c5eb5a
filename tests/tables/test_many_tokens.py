"""An owner with many transferable tokens: batches behind the next log-in, and what the tables answer meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from session_tokens import TokenTables
from session_tokens import settings as limits
from tests.helpers.servers.postgres import shared_server

BATCH = 3
TOKENS = [f"seat {number}" for number in range(3 * BATCH + 1)]
PEPPER = bytes(range(32))


@pytest.fixture(params=["sqlite", "valkey", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(limits, "CLEANING_BATCH", BATCH)
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'tables.db'}"
    elif request.param == "postgres":
        database = shared_server().new_database()
        yield database
        shared_server().drop_database(database)
    else:
        yield request.getfixturevalue("valkey_url")


@pytest.fixture
def tables(url: str) -> TokenTables:
    opened = TokenTables.open(url, pepper=PEPPER, sweep=False)
    opened.add_session("first", "ann", "bound")
    for token in TOKENS:
        assert opened.add_transferable_token(token, f"value of {token}", "ann")
    return opened


def held_by(tables: TokenTables, session: str) -> set[str]:
    """The transferable tokens of a session, each of which must know that it is there."""
    held = set(tables.list_tranferable_tokens(session))
    assert {tables.from_token(token) for token in held} <= {"ann"}
    return held


@pytest.mark.parametrize("swept", [False, True])
def test_they_are_in_the_session_that_replaced_theirs(tables: TokenTables, swept: bool) -> None:
    with tables:
        for session in ("second", "third", "fourth"):
            tables.add_session(session, "ann")
            if swept:
                tables.sweep()
            assert held_by(tables, session) == set(TOKENS)
            assert tables.active_session("first", "ann") is None
        assert [tables.transition_token_is_active(token) for token in TOKENS] == [f"value of {t}" for t in TOKENS]
        assert tables.transition_token_is_active("bound") is None
        assert tables.add_transferable_token(TOKENS[0], "new", "ann")
        assert tables.transition_token_is_active(TOKENS[0]) == "new"
        assert tables.transfer_token(TOKENS[1], "ann", "bob") is True
        assert held_by(tables, "fourth") == set(TOKENS) - {TOKENS[1]}
        assert tables.destroy_session(TOKENS[2]) is True
        assert tables.active_session("fourth", "ann") is None
        assert set(tables.list_unassigned_tokens()) == set(TOKENS) - {TOKENS[1]}


@pytest.mark.parametrize("swept", [False, True])
def test_a_name_is_free_again_however_many_tokens_went_on_from_it(tables: TokenTables, swept: bool) -> None:
    with tables:
        for session in ("second", "first", "second", "first"):
            assert tables.add_session(session, "ann", shared=True)
            if swept:
                tables.sweep()
            assert tables.active_session(session, "ann") is True
            assert held_by(tables, session) == set(TOKENS)
        while tables.sweep():
            pass
        assert held_by(tables, "first") == set(TOKENS)
        assert tables.list_unassigned_tokens() == []


def test_a_name_is_free_again_behind_an_ended_session_with_many_tokens(tables: TokenTables) -> None:
    with tables:
        assert tables.destroy_session("first") is True
        assert tables.add_session("first", "bob", "bound", shared=True)
        assert tables.from_token("bound") == "bob"
        assert tables.list_tranferable_tokens("first") == []
        assert set(tables.list_unassigned_tokens()) == set(TOKENS)
