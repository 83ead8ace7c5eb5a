"""The seed's mappings (owner, session, token, each way) on memory, SQLite, servers and an application's DB."""

import asyncio

import pytest

from session_tokens import AsyncTokenTables, TokenTables
from session_tokens.testing import ManualClock
from tests.helpers.tables_on_servers import Maker

pytestmark = pytest.mark.share(3)


def test_each_mapping_is_answered_by_name(tables: TokenTables) -> None:
    tables.add_session("s1", "alice", "first")
    tables.add_session("s2", "bob")
    tables.add_token("door", "free")
    tables.add_session_bounded_token("bound", 1, "alice")
    tables.add_transferable_token("seat", 2, "alice")

    assert [tables.owner_from_session(name) for name in ("s1", "s2")] == ["alice", "bob"]
    assert [tables.session_from_owner(name) for name in ("alice", "bob")] == ["s1", "s2"]
    assert [tables.session_from_token(name) for name in ("first", "bound", "seat")] == ["s1"] * 3
    for listed in (tables.tokens_from_session("s1"), tables.tokens_from_owner("alice")):
        assert sorted(listed) == ["bound", "first", "seat"]
    assert tables.tokens_from_session("s2") == tables.tokens_from_owner("bob") == []
    assert tables.session_from_token("door") == ""


@pytest.mark.parametrize("string", ["", "unknown", "\x1fst:t:x", "\ud800", "a\0b", "orphan", "x" * 2_000])
def test_the_unknown_is_an_empty_answer_and_never_an_error(tables: TokenTables, string: str) -> None:
    tables.add_session("s1", "alice", "first")

    assert tables.owner_from_session(string) == tables.session_from_owner(string) == ""
    assert tables.session_from_token(string) == ""
    assert tables.tokens_from_session(string) == tables.tokens_from_owner(string) == []


def test_what_is_no_string_is_a_type_error(tables: TokenTables) -> None:
    for call in (
        tables.owner_from_session, tables.session_from_owner, tables.session_from_token, tables.tokens_from_session,
        tables.tokens_from_owner,
    ):  # fmt: skip
        with pytest.raises(TypeError):
            call(None)  # type: ignore[arg-type]  # that is the point


def test_a_transfer_moves_the_mappings_and_a_parked_token_has_no_session(tables: TokenTables) -> None:
    tables.add_session("s1", "alice")
    tables.add_session("s2", "bob")
    tables.add_transferable_token("seat", 1, "alice")
    tables.add_transferable_token("gift", 1, "alice")
    assert tables.transfer_token("seat", "alice", "bob") and tables.transfer_token("gift", "alice", "carol")

    assert (tables.session_from_token("seat"), tables.session_from_token("gift")) == ("s2", "")
    assert (tables.tokens_from_session("s1"), tables.tokens_from_session("s2")) == ([], ["seat"])
    assert [tables.tokens_from_owner(name) for name in ("alice", "bob", "carol")] == [[], ["seat"], ["gift"]]
    assert tables.session_from_owner("carol") == ""

    tables.add_session("s3", "carol")
    assert tables.session_from_token("gift") == tables.session_from_owner("carol") == "s3"
    assert tables.tokens_from_session("s3") == ["gift"]


@pytest.mark.parametrize("swept", [False, True])
def test_an_end_empties_the_mappings_of_its_session(tables: TokenTables, clock: ManualClock, swept: bool) -> None:
    tables.add_session("s1", "alice", "first")
    tables.add_transferable_token("seat", 1, "alice")
    tables.set_session_timeout("s1", 10_000)
    clock.advance(10)
    if swept:
        tables.decrement_timers()

    assert tables.owner_from_session("s1") == tables.session_from_owner("alice") == ""
    assert tables.session_from_token("first") == tables.session_from_token("seat") == ""
    assert tables.tokens_from_session("s1") == tables.tokens_from_owner("alice") == []
    assert tables.list_unassigned_tokens() == ["seat"]


def test_a_detached_session_is_still_mapped_and_a_second_one_takes_its_place(tables: TokenTables) -> None:
    tables.add_session("s1", "alice")
    tables.add_transferable_token("seat", 1, "alice")
    tables.allow_session_detach("s1")
    assert tables.detach_session("s1")
    assert tables.session_from_owner("alice") == "s1" and tables.owner_from_session("s1") == "alice"

    tables.add_session("s2", "alice")

    assert (tables.session_from_owner("alice"), tables.owner_from_session("s1")) == ("s2", "")
    assert (tables.session_from_token("seat"), tables.tokens_from_session("s2")) == ("s2", ["seat"])


def test_what_another_process_ended_is_seen(again: Maker) -> None:
    one, other = again(), again()
    one.add_session("s1", "alice", "first")
    assert other.owner_from_session("s1") == "alice"
    assert other.session_from_token("first") == "s1"
    assert other.session_from_owner("alice") == "s1"

    one.destroy_session("s1")

    assert (
        other.owner_from_session("s1") == other.session_from_owner("alice") == other.session_from_token("first") == ""
    )
    assert other.tokens_from_session("s1") == other.tokens_from_owner("alice") == []


def test_the_async_tables_have_them_too() -> None:
    async def use() -> list[object]:
        async with AsyncTokenTables() as tables:
            await tables.add_session("s1", "alice", "first")
            return [
                await tables.owner_from_session("s1"), await tables.session_from_owner("alice"),
                await tables.session_from_token("first"), await tables.tokens_from_session("s1"),
                await tables.tokens_from_owner("alice"),
            ]  # fmt: skip

    assert asyncio.run(use()) == ["alice", "s1", "s1", ["first"], ["first"]]
