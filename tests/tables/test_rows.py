"""Each row of the seed's table of names, on memory, SQLite, servers and an application's DB alike."""

import json
import math
from decimal import Decimal

import pytest

from session_tokens import FROM_DB, InvalidInput, TokenTables
from session_tokens.testing import ManualClock

pytestmark = pytest.mark.share(3)

HOUR_MS = 3_600_000


def test_create_token_is_prefix_and_256_random_bits(tables: TokenTables) -> None:
    one, other = tables.create_token("sess-"), tables.create_token("sess-")

    assert one != other
    assert one.startswith("sess-")
    assert len(tables.create_token()) == 55
    assert len(tables.create_token("")) == 55


def test_a_token_creator_is_used_as_it_is_and_none_restores_the_default(tables: TokenTables) -> None:
    tables.set_token_creator(lambda prefix: f"{prefix}mine")
    mine = tables.create_token("x-")
    tables.set_token_creator(None)

    assert mine == "x-mine"
    assert tables.create_token("x-") != "x-mine"


@pytest.mark.parametrize("answer", [None, 5, b"bytes", "", "\x1fst:t:x", "\ud800"])
def test_a_creator_that_answers_no_usable_string_is_refused(tables: TokenTables, answer: object) -> None:
    tables.set_token_creator(lambda prefix: answer)  # type: ignore[arg-type, return-value]  # that is the point

    with pytest.raises(InvalidInput):
        tables.create_token()


def test_a_creator_that_raises_is_one_clear_error(tables: TokenTables) -> None:
    def fail(prefix: str | None) -> str:
        raise ZeroDivisionError

    tables.set_token_creator(fail)

    with pytest.raises(InvalidInput, match="ZeroDivisionError"):
        tables.create_token()


def test_add_session_answers_the_hash_only_when_shared(tables: TokenTables) -> None:
    link = tables.add_session("s1", "alice", "t1", True)

    assert isinstance(link, str) and link
    assert tables.transition_token_is_active("t1") == link
    assert tables.add_session("s2", "bob") is None
    assert tables.active_session("s2", "bob") is True


def test_the_same_session_again_is_idempotent(tables: TokenTables) -> None:
    link = tables.add_session("s1", "alice", "t1", True)

    assert tables.add_session("s1", "alice", "t1", True) == link
    assert tables.active_session("s1", "alice") is True
    assert tables.from_token("t1") == "alice"


def test_the_same_session_for_another_owner_changes_nothing(tables: TokenTables) -> None:
    tables.add_session("s1", "alice", "t1")

    assert tables.add_session("s1", "bob", "t9", True) is None
    assert tables.active_session("s1", "alice") is True
    assert tables.active_session("s1", "bob") is False
    assert tables.from_token("t9") == ""


def test_another_session_of_an_owner_replaces_the_older_and_inherits_transferables(tables: TokenTables) -> None:
    tables.add_session("s1", "alice", "t1")
    tables.add_transferable_token("seat", "12", "alice")
    tables.add_session("s2", "alice", "t2")

    assert tables.active_session("s1", "alice") is None
    assert tables.transition_token_is_active("t1") is None
    assert tables.list_tranferable_tokens("s2") == ["seat"]
    assert tables.from_token("seat") == "alice"


def test_active_session_tells_owner_other_owner_and_none_apart(tables: TokenTables) -> None:
    tables.add_session("s1", "alice")

    assert tables.active_session("s1", "alice") is True
    assert tables.active_session("s1", "bob") is False
    assert tables.active_session("nothing", "alice") is None


def test_destroy_session_by_its_own_token_or_any_that_it_holds(tables: TokenTables) -> None:
    tables.add_session("s1", "alice", "t1")
    tables.add_session("s2", "bob", "t2")
    tables.add_transferable_token("seat", "12", "bob")

    assert tables.destroy_session("s1") is True
    assert tables.destroy_session("s1") is False
    assert tables.destroy_session("seat") is True
    assert tables.active_session("s2", "bob") is None
    assert tables.transition_token_is_active("t2") is None


def test_the_end_of_a_session_leaves_transferables_unassigned(tables: TokenTables) -> None:
    tables.add_session("s1", "alice", "t1")
    tables.add_transferable_token("seat", "12", "alice")
    tables.destroy_session("s1")

    assert tables.list_unassigned_tokens() == ["seat"]
    assert tables.from_token("seat") == ""
    assert tables.transition_token_is_active("seat") == "12"


def test_detach_and_attach(tables: TokenTables) -> None:
    tables.add_session("s1", "alice", "t1")

    assert tables.detach_session("s1") is False
    assert tables.allow_session_detach("s1") is True
    assert tables.attach_session("s1") is False
    assert tables.detach_session("s1") is True
    assert tables.list_detached_sessions() == ["s1"]
    assert tables.active_session("s1", "alice") is True
    assert tables.transition_token_is_active("t1") is not None
    assert tables.attach_session("s1") is True
    assert tables.list_detached_sessions() == []
    assert tables.allow_session_detach("nothing") is False
    assert tables.detach_session("nothing") is False
    assert tables.attach_session("nothing") is False


def test_add_token_is_free_and_may_be_destroyed_and_added_again(tables: TokenTables) -> None:
    assert tables.add_token("door", "open") is True
    assert tables.from_token("door") == ""
    assert tables.transition_token_is_active("door") == "open"
    assert tables.add_token("door", "shut") is True
    assert tables.transition_token_is_active("door") == "shut"
    assert tables.destroy_token("door") is True
    assert tables.destroy_token("door") is False
    assert tables.transition_token_is_active("door") is None
    assert tables.add_token("door", "new") is True
    assert tables.transition_token_is_active("door") == "new"


def test_bound_and_transferable_tokens_need_a_living_session(tables: TokenTables) -> None:
    assert tables.add_session_bounded_token("b", "1", "alice") is False
    assert tables.add_transferable_token("t", "1", "alice") is False
    tables.add_session("s1", "alice")
    assert tables.add_session_bounded_token("b", "1", "alice") is True
    assert tables.add_transferable_token("t", "1", "alice") is True
    assert tables.token_is_transferable("t") is True
    assert tables.token_is_transferable("b") is False
    assert tables.token_is_transferable("nothing") is False


def test_the_same_token_for_another_owner_or_kind_is_refused(tables: TokenTables) -> None:
    tables.add_session("s1", "alice")
    tables.add_session("s2", "bob")
    tables.add_transferable_token("t", "1", "alice")

    assert tables.add_transferable_token("t", "2", "bob") is False
    assert tables.add_session_bounded_token("t", "2", "alice") is False
    assert tables.add_token("t", "2") is False
    assert tables.transition_token_is_active("t") == "1"


def test_adding_again_updates_the_value_and_keeps_the_deadline(tables: TokenTables, clock: ManualClock) -> None:
    tables.add_session("s1", "alice")
    tables.add_transferable_token("t", "1", "alice")
    tables.set_token_timeout("t", 10_000)
    clock.advance(4)
    tables.add_transferable_token("t", "2", "alice")

    assert tables.transition_token_is_active("t") == "2"
    assert tables.get_token_time_left("t") == 6_000


@pytest.mark.parametrize("value", [{"_owner": "x", "_price": 1}, [1, "a", None], 5, True, None])
def test_values_are_answered_as_text_and_never_interpreted(tables: TokenTables, value: object) -> None:
    tables.add_token("t", value)  # type: ignore[arg-type]  # JSON values all

    text = tables.transition_token_is_active("t")

    assert text is not None and json.loads(text) == value


def test_an_empty_value_is_active_too(tables: TokenTables) -> None:
    tables.add_token("t", "")

    assert tables.transition_token_is_active("t") == ""


def test_session_tokens_are_not_transition_tokens(tables: TokenTables) -> None:
    tables.add_session("s1", "alice")

    assert tables.transition_token_is_active("s1") is None
    assert tables.from_token("s1") == "alice"


def test_transfer_keeps_the_string_and_changes_the_owner(tables: TokenTables) -> None:
    tables.add_session("s1", "alice")
    tables.add_session("s2", "bob")
    tables.add_transferable_token("seat", "12", "alice")

    assert tables.transfer_token("seat", "carol", "bob") is False
    assert tables.from_token("seat") == "alice"
    assert tables.transfer_token("seat", "alice", "bob") is True
    assert tables.from_token("seat") == "bob"
    assert tables.list_tranferable_tokens("s2") == ["seat"]
    assert tables.list_transferable_tokens("s1") == []
    assert tables.transfer_token("nothing", "alice", "bob") is False


def test_transfer_from_unassigned_is_by_the_previous_owner_or_nobody(tables: TokenTables) -> None:
    tables.add_session("s1", "alice")
    tables.add_transferable_token("a", "1", "alice")
    tables.add_transferable_token("b", "2", "alice")
    tables.destroy_session("s1")

    assert tables.transfer_token("a", "carol", "bob") is False
    assert tables.transfer_token("a", "alice", "bob") is True
    assert tables.transfer_token("b", "", "bob") is True
    assert tables.from_token("a") == tables.from_token("b") == "bob"


def test_a_parked_token_joins_the_next_session(tables: TokenTables) -> None:
    tables.add_session("s1", "alice")
    tables.add_transferable_token("seat", "12", "alice")
    tables.transfer_token("seat", "alice", "bob")
    tables.add_session("s2", "bob")

    assert tables.list_tranferable_tokens("s2") == ["seat"]


def test_acquire_token_claims_joins_and_knows_its_holder(tables: TokenTables) -> None:
    tables.add_session("s1", "alice")
    tables.add_session("s2", "bob")
    tables.add_transferable_token("seat", "12", "alice")

    assert tables.acquire_token("seat", "s1", "alice") is True
    assert tables.acquire_token("seat", "s2", "bob") is False
    tables.destroy_session("s1")
    assert tables.acquire_token("seat", "s2", "carol") is False
    assert tables.acquire_token("seat", "s2", "bob") is True
    assert tables.from_token("seat") == "bob"
    assert tables.acquire_token("nothing", "s2", "bob") is False


def test_session_timeouts(tables: TokenTables, clock: ManualClock) -> None:
    tables.add_session("s1", "alice")
    assert tables.get_session_timeout("s1") == HOUR_MS
    assert tables.get_session_time_left("s1") == HOUR_MS
    clock.advance(10)
    assert tables.get_session_time_left("s1") == HOUR_MS - 10_000
    assert tables.set_session_timeout("s1", 5_000) is True
    assert tables.get_session_timeout("s1") == 5_000
    assert tables.get_session_time_left("s1") == 5_000
    clock.advance(ms=4_999)
    assert tables.active_session("s1", "alice") is True
    clock.advance(ms=1)
    assert tables.active_session("s1", "alice") is None
    assert tables.get_session_timeout("s1") is None
    assert tables.get_session_time_left("s1") is None
    assert tables.set_session_timeout("s1", 5_000) is False


def test_a_session_may_never_time_out(tables: TokenTables, clock: ManualClock) -> None:
    tables.add_session("s1", "alice")
    tables.set_session_timeout("s1", None)
    clock.advance(10 * 365 * 86_400)

    assert tables.active_session("s1", "alice") is True
    assert tables.get_session_timeout("s1") == math.inf
    assert tables.get_session_time_left("s1") == math.inf


def test_the_general_session_timeout_holds_for_sessions_added_later(tables: TokenTables) -> None:
    tables.add_session("s1", "alice")
    tables.set_general_session_timeout(2_000)
    tables.add_session("s2", "bob")

    assert tables.get_session_timeout("s1") == HOUR_MS
    assert tables.get_session_timeout("s2") == 2_000
    tables.set_general_session_timeout(None)
    tables.add_session("s3", "carol")
    assert tables.get_session_timeout("s3") == math.inf


def test_token_timeouts(tables: TokenTables, clock: ManualClock) -> None:
    tables.add_session("s1", "alice")
    tables.add_session_bounded_token("b", "1", "alice")
    tables.add_token("f", "1")
    assert tables.get_token_timeout("f") == math.inf
    assert tables.get_token_time_left("f") == math.inf
    assert tables.get_token_time_left("b") == HOUR_MS
    tables.set_token_timeout("b", 2 * HOUR_MS)
    assert tables.get_token_timeout("b") == 2 * HOUR_MS
    assert tables.get_token_time_left("b") == HOUR_MS
    tables.set_general_token_timeout(1_000)
    tables.add_token("g", "1")
    assert tables.get_token_timeout("g") == 1_000
    clock.advance(1)
    assert tables.transition_token_is_active("g") is None
    assert tables.get_token_timeout("g") is None
    assert tables.get_token_time_left("g") is None
    assert tables.set_token_timeout("g", 1_000) is False


def test_the_disownment_timeout_counts_from_becoming_unassigned(tables: TokenTables, clock: ManualClock) -> None:
    tables.add_session("s1", "alice")
    tables.add_transferable_token("seat", "12", "alice")
    tables.add_session_bounded_token("b", "1", "alice")
    assert tables.set_disownment_token_timeout("b", 1_000) is False
    assert tables.set_disownment_token_timeout("nothing", 1_000) is False
    assert tables.set_disownment_token_timeout("seat", 1_000) is True
    clock.advance(100)
    assert tables.transition_token_is_active("seat") == "12"
    tables.destroy_session("s1")
    clock.advance(ms=999)
    assert tables.list_unassigned_tokens() == ["seat"]
    clock.advance(ms=1)
    assert tables.list_unassigned_tokens() == []
    assert tables.transition_token_is_active("seat") is None


def test_sellable_tokens_and_gifts(tables: TokenTables) -> None:
    tables.add_session("s1", "alice")
    for name in ("a", "b", "c"):
        tables.add_transferable_token(name, "1", "alice")
    tables.add_session_bounded_token("bound", "1", "alice")

    assert tables.set_token_sellable("a", 2.5) is True
    assert tables.set_token_sellable("b", "-3") is True
    assert tables.set_token_sellable("bound", 1) is False
    assert tables.set_token_sellable("nothing") is False
    assert tables.set_token_gift("c") is True
    assert sorted(tables.list_sellable_tokens()) == ["a", "b"]
    assert tables.map_sellable_tokens() == {"a": Decimal("2.5"), "b": Decimal(-3)}
    assert tables.list_gifted_tokens() == ["c"]
    assert tables.set_token_sellable("a") is True
    assert tables.map_sellable_tokens()["a"] == Decimal("2.5")
    assert tables.unset_token_sellable("a") is True
    assert tables.list_sellable_tokens() == ["b"]
    assert tables.unset_token_gift("c") is True
    assert tables.list_gifted_tokens() == []


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), "1,50", 10**30, "1e999"])
def test_an_amount_that_is_no_price_raises(tables: TokenTables, amount: object) -> None:
    with pytest.raises(InvalidInput):
        tables.set_token_sellable("a", amount)  # type: ignore[arg-type]  # that is the point


def test_a_transfer_clears_the_listing(tables: TokenTables) -> None:
    tables.add_session("s1", "alice")
    tables.add_transferable_token("a", "1", "alice")
    tables.set_token_sellable("a", 1)
    tables.transfer_token("a", "alice", "bob")

    assert tables.list_sellable_tokens() == []


def test_lists_are_right_after_an_expiry_swept_or_not(tables: TokenTables, clock: ManualClock) -> None:
    tables.add_session("s1", "alice")
    tables.add_transferable_token("seat", "12", "alice")
    clock.advance(3600)
    before = (tables.list_unassigned_tokens(), tables.list_tranferable_tokens("s1"), tables.from_token("seat"))
    tables.decrement_timers()

    assert before == (["seat"], [], "")
    assert (tables.list_unassigned_tokens(), tables.list_tranferable_tokens("s1")) == (["seat"], [])


def test_decrement_timers_advances_a_test_clock_by_a_tick(tables: TokenTables, clock: ManualClock) -> None:
    start_ms = clock.now()

    assert tables.decrement_timers() is True
    assert clock.now() - start_ms == 500


def test_reload_in_the_same_process(tables: TokenTables) -> None:
    link = tables.add_session("s1", "alice", "t1", True)
    assert link is not None

    assert tables.reload_session_info("s1", "alice", link) is True
    assert tables.reload_session_info("s1", "bob", link) is False
    assert tables.reload_session_info("s1", "alice", "wrong") is False
    assert tables.reload_token_info("t1") is True
    assert tables.reload_token_info("nothing") is False


def test_a_quick_insert_is_a_hint_and_grants_nothing(tables: TokenTables, clock: ManualClock) -> None:
    assert tables.quick_insert_active_session("s9", "hash") is True
    assert tables.active_session("s9", "alice") is not True
    assert tables.from_token("s9") == ""
    assert tables.discard_quick_insert("s9") is True
    assert tables.discard_quick_insert("s9") is False
    tables.quick_insert_active_session("s8", "hash")
    clock.advance(3600)
    assert tables.discard_quick_insert("s8") is False


@pytest.mark.parametrize("string", ["", "\x1fst:s:x", "\ud800", "x" * 1025])
def test_strings_that_can_never_name_anything_are_refused_when_written(tables: TokenTables, string: str) -> None:
    with pytest.raises(InvalidInput):
        tables.add_session(string, "alice")
    with pytest.raises(InvalidInput):
        tables.add_token(string, "1")
    assert tables.active_session(string, "alice") is None
    assert tables.transition_token_is_active(string) is None
    assert tables.from_token(string) == ""


@pytest.mark.parametrize("timeout", [0, -1, True, 1.5, "5", 2**63])
def test_timeouts_are_whole_milliseconds(tables: TokenTables, timeout: object) -> None:
    with pytest.raises((InvalidInput, TypeError)):
        tables.set_general_session_timeout(timeout)  # type: ignore[arg-type]  # that is the point
    with pytest.raises((InvalidInput, TypeError)):
        tables.set_token_timeout("t", timeout)  # type: ignore[arg-type]


@pytest.mark.parametrize("owner", ["", "orphan", "a\nb", " a", "x" * 256])
def test_impossible_owners_raise(tables: TokenTables, owner: str) -> None:
    with pytest.raises(InvalidInput):
        tables.add_session("s1", owner)


def test_shutdown_twice_does_nothing(tables: TokenTables) -> None:
    assert tables.shutdown() is True
    tables.close()


def test_from_db_reads_the_general_timeout_where_the_tables_share_it(tables: TokenTables) -> None:
    """Missing: the last value, else one hour."""
    tables.set_general_session_timeout(FROM_DB)
    tables.add_session("s1", "alice")

    assert tables.get_session_timeout("s1") == HOUR_MS
