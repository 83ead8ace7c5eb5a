"""The twelve defects of the JavaScript code, each in a test of its name: none comes back."""

from collections.abc import Callable

from session_tokens import TokenTables
from session_tokens.testing import ManualClock

Maker = Callable[[], TokenTables]


def test_math_random_tokens(tables: TokenTables, monkeypatch: object) -> None:
    """Strings come from the operating system: seeding Python's random changes nothing."""
    import random

    random.seed(1)
    one = tables.create_token()
    random.seed(1)

    assert tables.create_token() != one


def test_every_token_dead_at_the_first_tick_by_default(tables: TokenTables) -> None:
    tables.add_session("s1", "alice", "t1")
    tables.add_token("free", "1")
    tables.decrement_timers()

    assert tables.transition_token_is_active("t1") is not None
    assert tables.transition_token_is_active("free") == "1"


def test_an_expired_session_still_active(tables: TokenTables, clock: ManualClock) -> None:
    tables.add_session("s1", "alice", "t1")
    clock.advance(3600)

    assert tables.active_session("s1", "alice") is None
    assert tables.transition_token_is_active("t1") is None


def test_detach_attach_inverted(tables: TokenTables) -> None:
    tables.add_session("s1", "alice")
    tables.allow_session_detach("s1")
    tables.detach_session("s1")
    detached = tables.list_detached_sessions()
    tables.attach_session("s1")

    assert detached == ["s1"]
    assert tables.list_detached_sessions() == []


def test_transfer_to_an_owner_without_session_destroys_the_token(tables: TokenTables) -> None:
    tables.add_session("s1", "alice")
    tables.add_transferable_token("seat", "12", "alice")
    tables.transfer_token("seat", "alice", "bob")

    assert tables.from_token("seat") == "bob"
    assert tables.transition_token_is_active("seat") == "12"


def test_unassigned_tokens_can_never_be_transferred(tables: TokenTables) -> None:
    tables.add_session("s1", "alice")
    tables.add_transferable_token("seat", "12", "alice")
    tables.destroy_session("s1")

    assert tables.transfer_token("seat", "alice", "bob") is True
    assert tables.from_token("seat") == "bob"


def test_acquire_token_always_false(tables: TokenTables) -> None:
    tables.add_session("s1", "alice")
    tables.add_transferable_token("seat", "12", "alice")
    tables.destroy_session("s1")
    tables.add_session("s2", "bob")

    assert tables.acquire_token("seat", "s2", "bob") is True


def test_owner_to_dead_session_left_behind(tables: TokenTables) -> None:
    tables.add_session("s1", "alice")
    tables.destroy_session("s1")

    assert tables.add_session_bounded_token("b", "1", "alice") is False
    assert tables.from_token("s1") == ""


def test_a_session_without_t_token_cannot_be_ended(tables: TokenTables) -> None:
    tables.add_session("s1", "alice")

    assert tables.destroy_session("s1") is True
    assert tables.active_session("s1", "alice") is None


def test_the_db_key_of_a_token_parsed_as_timing_data(tables: TokenTables) -> None:
    value = '{"_time_left": 1, "_timeout": 1, "_shared": true}'
    tables.add_token("t", value)
    tables.decrement_timers()

    assert tables.reload_token_info("t") is True
    assert tables.transition_token_is_active("t") == value


def test_a_restarted_process_knows_nothing(again: Maker) -> None:
    first = again()
    link = first.add_session("s1", "alice", "t1", True)
    first.add_transferable_token("seat", "12", "alice")
    assert link is not None

    restarted = again()

    assert restarted.reload_session_info("s1", "alice", link) is True
    assert restarted.active_session("s1", "alice") is True
    assert restarted.transition_token_is_active("seat") == "12"
    assert restarted.from_token("seat") == "alice"


def test_a_session_destroyed_in_one_process_active_in_another(again: Maker) -> None:
    one, other = again(), again()
    one.add_session("s1", "alice", "t1")
    assert other.active_session("s1", "alice") is True
    one.destroy_session("s1")

    assert other.active_session("s1", "alice") is None
    assert other.transition_token_is_active("t1") is None
