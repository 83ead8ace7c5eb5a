"""Names that are used again, and tables that begin to work on what another process left in the application's DB."""

import math
from collections.abc import Callable
from enum import Enum, IntEnum
from typing import Any

import pytest

from session_tokens import TokenTables
from session_tokens.contract.queries import Get
from session_tokens.testing import ManualClock
from tests.helpers.user_dbs import AsyncDB, PlainDB

Maker = Callable[[], TokenTables]


def test_session_and_first_token_are_named_again_right_after_the_end(tables: TokenTables) -> None:
    tables.add_session("s1", "alice", "t1")
    tables.destroy_session("s1")
    link = tables.add_session("s1", "bob", "t1", shared=True)

    assert link is not None
    assert tables.transition_token_is_active("t1") == link
    assert tables.from_token("t1") == "bob"
    tables.decrement_timers()
    assert tables.transition_token_is_active("t1") == link


def test_a_token_named_as_a_session_that_is_over_ends_the_one_that_holds_it(tables: TokenTables) -> None:
    tables.add_session("s1", "alice")
    tables.destroy_session("s1")
    tables.add_session("s2", "bob", "s1")

    assert tables.destroy_session("s1") is True
    assert tables.active_session("s2", "bob") is None
    assert tables.destroy_session("s1") is False


def test_session_and_first_token_are_named_again_after_a_silent_end(tables: TokenTables, clock: ManualClock) -> None:
    tables.add_session("s1", "alice", "t1")
    tables.add_transferable_token("x1", "1", "alice")
    clock.advance(3600)
    link = tables.add_session("s1", "alice", "t1", shared=True)

    assert tables.transition_token_is_active("t1") == link
    assert tables.list_unassigned_tokens() == ["x1"]


def test_the_first_token_of_a_replaced_session_may_be_that_of_the_new_one(tables: TokenTables) -> None:
    tables.add_session("s1", "alice", "t1")
    link = tables.add_session("s2", "alice", "t1", shared=True)

    assert tables.transition_token_is_active("t1") == link
    tables.decrement_timers()
    assert tables.transition_token_is_active("t1") == link
    assert tables.destroy_session("t1") is True
    assert tables.active_session("s2", "alice") is None


def test_the_first_token_of_someone_else_stays_theirs(tables: TokenTables) -> None:
    tables.add_session("s1", "alice", "t1")

    assert tables.add_session("s2", "bob", "t1", shared=True) is None
    assert tables.active_session("s2", "bob") is None
    assert tables.from_token("t1") == "alice"


@pytest.mark.parametrize("string", ["", "\ud800", "\x1fst:s:s1", "x" * 5_000])
def test_a_string_that_can_name_nothing_is_unknown(tables: TokenTables, string: str) -> None:
    link = tables.add_session("s1", "alice", shared=True) or ""

    assert tables.active_session(string, "alice") is None
    assert tables.reload_session_info(string, "alice", link) is False
    assert tables.reload_session_info("s1", "alice", "\ud800") is False
    assert tables.reload_session_info("s1", "\ud800", link) is False
    assert tables.transition_token_is_active(string) is None
    assert tables.acquire_token("t1", string, "alice") is False
    assert tables.transfer_token(string, "alice", "bob") is False
    assert tables.discard_quick_insert(string) is False


class Name(str, Enum):  # noqa: UP042  # shows itself by another text than it holds
    """Names as an application may have them."""

    SESSION = "s1"
    OWNER = "alice"
    TOKEN = "t1"
    OTHER = "t2"
    VALUE = "seat 12"


class Milliseconds(IntEnum):
    """A number as an application may have it."""

    MINUTE = 60_000


def test_names_and_numbers_that_an_application_has_words_for_are_kept_as_what_they_hold(again: Maker) -> None:
    tables = again()
    link = tables.add_session(Name.SESSION, Name.OWNER, Name.TOKEN, shared=True)
    tables.set_session_timeout(Name.SESSION, Milliseconds.MINUTE)
    assert tables.add_transferable_token(Name.OTHER, Name.VALUE, Name.OWNER)
    assert tables.set_token_timeout(Name.OTHER, Milliseconds.MINUTE)
    other = again()

    assert other.reload_session_info("s1", "alice", link or "")
    assert other.reload_token_info("t1") and other.reload_token_info("t2")
    assert other.active_session("s1", "alice") is True
    assert (other.transition_token_is_active("t2"), other.get_token_timeout("t2")) == ("seat 12", 60_000)
    held = other.tokens_from_session("s1")
    assert sorted(held) == ["t1", "t2"]
    assert {type(string) for string in held} == {str}
    assert other.destroy_session(Name.SESSION) is True
    assert other.from_token("t2") == ""


def test_an_owner_that_is_no_string_is_a_type_error(tables: TokenTables) -> None:
    tables.add_session("s1", "alice")
    given: Any = 5

    with pytest.raises(TypeError):
        tables.active_session("s1", given)
    with pytest.raises(TypeError):
        tables.acquire_token("t1", "s1", given)
    with pytest.raises(TypeError):
        tables.reload_session_info("s1", given, "hash")
    with pytest.raises(TypeError):
        tables.discard_quick_insert(given)


def test_the_applications_db_is_not_asked_for_what_can_name_nothing() -> None:
    db = PlainDB()
    with TokenTables(db, sweep=False) as tables:
        db.get_key_value = None  # type: ignore[method-assign,assignment]  # a call would fail
        assert tables.transition_token_is_active("\ud800") is None
        assert tables.active_session("\x1fst:s:s1", "alice") is None


def test_a_fresh_process_takes_no_session_of_another_owner(again: Maker) -> None:
    link = again().add_session("s1", "alice", shared=True)
    fresh = again()

    assert fresh.add_session("s1", "bob", shared=True) is None
    assert fresh.active_session("s1", "alice") is True
    assert fresh.add_session("s1", "alice", shared=True) == link


def test_a_fresh_process_overwrites_no_token(again: Maker) -> None:
    tables = again()
    tables.add_session("s1", "alice")
    tables.add_transferable_token("x1", "1", "alice")
    fresh = again()
    fresh.add_session("s2", "bob")

    assert fresh.add_token("x1", "2") is False
    assert fresh.add_session_bounded_token("x1", "2", "bob") is False
    assert fresh.add_session("s3", "carol", "x1") is None
    assert fresh.active_session("s3", "carol") is None
    assert tables.transition_token_is_active("x1") == "1"
    assert tables.from_token("x1") == "alice"


def test_a_fresh_process_joins_a_token_to_a_session_that_it_has_not_seen(again: Maker) -> None:
    tables = again()
    tables.add_session("s1", "alice")
    tables.add_transferable_token("x1", "1", "alice")
    tables.destroy_session("s1")
    tables.add_session("s2", "bob")

    assert again().acquire_token("x1", "s2", "bob") is True


def test_a_fresh_process_lists_a_detached_session_that_it_was_asked_for(again: Maker) -> None:
    tables = again()
    tables.add_session("s1", "alice")
    tables.allow_session_detach("s1")
    tables.detach_session("s1")
    fresh = again()

    assert fresh.active_session("s1", "alice") is True
    assert fresh.list_detached_sessions() == ["s1"]
    assert fresh.attach_session("s1") is True
    assert fresh.list_detached_sessions() == []


@pytest.mark.parametrize("db_class", [PlainDB, AsyncDB])
def test_a_session_that_was_opened_anew_elsewhere_is_taken_over(db_class: type[PlainDB], clock: ManualClock) -> None:
    db = db_class()
    here, there = (TokenTables(db, clock=clock, sweep=False) for _ in range(2))
    here.add_session("s1", "alice")
    here.allow_session_detach("s1")
    here.set_session_timeout("s1", 1_000)
    there.destroy_session("s1")
    clock.advance(ms=1)
    there.add_session("s1", "alice")

    assert here.get_session_time_left("s1") == 3_600_000
    assert here.detach_session("s1") is False
    here.close()
    there.close()


def test_dead_hints_are_dropped_now_and_then_and_not_at_each_hint(clock: ManualClock) -> None:
    with TokenTables(clock=clock, sweep=False) as tables:
        for number in range(2_500):
            tables.quick_insert_active_session(f"s{number}", "hash")
        full = tables._hints_full
        clock.advance(3600)
        tables.quick_insert_active_session("late", "hash")
        for number in range(full):
            tables.quick_insert_active_session(f"t{number}", "hash")

        assert full > 2_500
        assert tables.discard_quick_insert("late") is True
        assert "s0" not in tables._hints


def test_a_timeout_that_is_given_later_counts_from_then_and_is_no_data_of_the_session() -> None:
    clock = ManualClock()
    tables = TokenTables(clock=clock, sweep=False)
    tables.add_session("s1", "ann")
    clock.advance(ms=700)
    for timeout in (5_000, 7_000, None, 9_000):
        clock.advance(ms=300)
        assert tables.set_session_timeout("s1", timeout)
        clock.advance(ms=100)
        assert tables.get_session_timeout("s1") == (math.inf if timeout is None else timeout)
        assert tables.get_session_time_left("s1") == (math.inf if timeout is None else timeout - 100)
    (found,) = tables.store.read_now([Get("session", "s1")]).found

    assert found.value.session.data == {}
