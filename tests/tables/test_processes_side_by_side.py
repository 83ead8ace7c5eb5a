"""Two processes over an application's own DB: what one made of a record stands, though the other was told nothing.

Each keeps what it knows. A sweep, a log-in or the end of a session meets records that nobody named: the DB is asked
about them before they are changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from session_tokens import AsyncTokenTables, TokenTables
from session_tokens.testing import ManualClock
from tests.helpers.user_dbs import AsyncDB, PlainDB


class Both(NamedTuple):
    """The tables of two processes, what they share, and the time."""

    here: TokenTables
    there: TokenTables
    db: PlainDB
    clock: ManualClock

    def fresh(self) -> TokenTables:
        """Return the tables of a process that begins now."""
        return TokenTables(self.db, clock=self.clock, sweep=False)


@pytest.fixture
def both() -> Iterator[Both]:
    db, clock = PlainDB(), ManualClock()
    with TokenTables(db, clock=clock, sweep=False) as here, TokenTables(db, clock=clock, sweep=False) as there:
        yield Both(here, there, db, clock)


def handed_on(both: Both) -> None:
    """Have bob's session hold a ticket here, and end there, where cyn claims the ticket."""
    assert both.here.add_session("bob's", "bob", shared=True)
    assert both.here.add_transferable_token("ticket", "seat 12", "bob")
    assert both.here.add_session_bounded_token("bound", "v", "bob")
    assert both.there.add_session("cyn's", "cyn", shared=True)
    assert both.there.destroy_session("bob's")
    assert both.there.acquire_token("ticket", "cyn's", "cyn")


LOOKS: dict[str, Callable[[Both], object]] = {
    "active_session": lambda both: both.here.active_session("bob's", "bob"),
    "tokens_from_session": lambda both: both.here.tokens_from_session("bob's"),
    "tokens_from_owner": lambda both: both.here.tokens_from_owner("bob"),
    "add_session": lambda both: both.here.add_session("another", "bob"),
    "destroy_session": lambda both: both.here.destroy_session("bob's"),
    "detach_session": lambda both: both.here.detach_session("bob's"),
    "sweep": lambda both: (both.clock.advance(3600), both.here.sweep()),
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_token_that_was_claimed_there_stays_where_it_is(both: Both, look: str) -> None:
    handed_on(both)
    both.there.set_session_timeout("cyn's", None)
    LOOKS[look](both)

    for tables in (both.fresh(), both.there):
        assert tables.session_from_token("ticket") == "cyn's"
        assert tables.transition_token_is_active("ticket") == "seat 12"
        assert tables.transition_token_is_active("bound") is None


def test_a_token_that_was_transferred_there_is_not_taken_along_to_the_next_session(both: Both) -> None:
    both.here.add_session("bob's", "bob")
    both.here.add_transferable_token("ticket", "seat 12", "bob")
    both.there.add_session("cyn's", "cyn")
    assert both.there.transfer_token("ticket", "bob", "cyn")
    both.here.add_session("another", "bob")

    assert ["cyn", "cyn"] == [tables.owner_from_session(tables.session_from_token("ticket")) for tables in both[:2]]


def test_a_session_and_a_token_that_go_on_there_are_not_swept_here(both: Both) -> None:
    both.here.set_general_session_timeout(60_000)
    both.here.add_session("bob's", "bob")
    both.here.add_token("key", "v")
    both.here.set_token_timeout("key", 60_000)
    assert both.there.set_session_timeout("bob's", None)
    assert both.there.set_token_timeout("key", None)
    both.clock.advance(61)
    both.here.sweep()

    for tables in (both.fresh(), both.here, both.there):
        assert tables.active_session("bob's", "bob") is True
        assert tables.transition_token_is_active("key") == "v"


def test_strings_that_were_used_again_there_are_not_swept_here(both: Both) -> None:
    both.here.set_general_session_timeout(60_000)
    both.here.add_session("a session", "bob")
    both.here.add_token("key", "old")
    both.here.set_token_timeout("key", 60_000)
    both.clock.advance(61)
    assert both.there.add_session("a session", "cyn", shared=True)
    assert both.there.add_token("key", "new")
    both.here.sweep()

    for tables in (both.fresh(), both.here, both.there):
        assert tables.active_session("a session", "cyn") is True
        assert tables.transition_token_is_active("key") == "new"


def test_nothing_is_added_under_a_session_that_ended_there(both: Both) -> None:
    for add in (both.here.add_transferable_token, both.here.add_session_bounded_token):
        both.here.add_session("bob's", "bob")
        assert both.there.destroy_session("bob's")

        assert add("ticket", "seat 12", "bob") is False
        assert both.fresh().transition_token_is_active("ticket") is None


def test_a_token_for_an_owner_whose_session_ended_there_is_parked(both: Both) -> None:
    both.here.add_session("bob's", "bob")
    both.here.add_transferable_token("ticket", "seat 12", "bob")
    both.here.add_session("cyn's", "cyn")
    assert both.there.destroy_session("cyn's")
    assert both.here.transfer_token("ticket", "bob", "cyn") is True

    assert ("cyn", "") == (both.here.from_token("ticket"), both.here.session_from_token("ticket"))
    both.here.add_session("another", "cyn")
    assert both.fresh().session_from_token("ticket") == "another"


async def test_tasks_leave_what_was_claimed_there_too() -> None:
    db = AsyncDB()
    async with AsyncTokenTables(db, sweep=False) as here, AsyncTokenTables(db, sweep=False) as there:
        await here.add_session("bob's", "bob")
        await here.add_transferable_token("ticket", "seat 12", "bob")
        await there.add_session("cyn's", "cyn")
        await there.destroy_session("bob's")
        assert await there.acquire_token("ticket", "cyn's", "cyn")

        assert await here.active_session("bob's", "bob") is None
        assert [await tables.session_from_token("ticket") for tables in (here, there)] == ["cyn's", "cyn's"]


def test_a_token_of_a_string_that_names_another_session_by_now_is_known_at_once(both: Both) -> None:
    """Taking over the new session drops what the former one of that string held here."""
    both.here.add_session("a session", "ann")
    assert both.there.destroy_session("a session")
    both.there.add_session("a session", "bob")
    assert both.there.add_transferable_token("ticket", "seat 12", "bob")
    both.here.add_session("cyn's", "cyn")

    assert both.here.add_transferable_token("ticket", "another", "cyn") is False
    assert both.there.transition_token_is_active("ticket") == "seat 12"
    assert both.here.destroy_token("ticket") is True


def test_a_token_left_behind_by_who_did_not_know_it_waits_from_when_it_is_met(both: Both) -> None:
    """When its session ended, nobody knows any more; counted from when it was added, its time would be over."""
    both.here.add_session("bob's", "bob")
    both.here.add_transferable_token("ticket", "seat 12", "bob")
    both.here.add_session_bounded_token("bound", "v", "bob")
    both.clock.advance(3500)
    assert both.there.destroy_session("bob's")
    both.clock.advance(200)
    fresh = both.fresh()

    assert ("seat 12", "") == (fresh.transition_token_is_active("ticket"), fresh.from_token("ticket"))
    assert fresh.list_unassigned_tokens() == ["ticket"]
    assert fresh.transition_token_is_active("bound") is None and "bound" not in both.db.values
    both.clock.advance(3599)
    fresh.add_session("cyn's", "cyn")
    assert fresh.acquire_token("ticket", "cyn's", "cyn")
    assert both.here.session_from_token("ticket") == "cyn's"


def test_a_token_that_nobody_claims_is_over_an_hour_after_it_was_met(both: Both) -> None:
    both.here.add_session("bob's", "bob")
    both.here.add_transferable_token("ticket", "seat 12", "bob")
    assert both.there.destroy_session("bob's")
    assert both.there.transition_token_is_active("ticket") == "seat 12"
    both.clock.advance(3600)

    for tables in (both.fresh(), both.here, both.there):
        assert tables.transition_token_is_active("ticket") is None
