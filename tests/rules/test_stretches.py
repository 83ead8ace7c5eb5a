"""A stretch of a listing: whose tokens may be unassigned by now, and how far a stretch of several parts goes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from session_tokens.clock import NEVER, ManualClock
from session_tokens.contract.queries import (
    Members,
    Query,
    Result,
    Scan,
    SessionResult,
    Snapshot,
    TokenResult,
    Unreadable,
)
from session_tokens.errors import CorruptRecord
from session_tokens.records import NO_DETAILS, NO_TOKEN_DETAILS, OwnerEntry, Session, Token, TokenKind
from session_tokens.rules.listing import OVER_MAX, stretch, what_follows

NOW = 1_000_000
CLOCK = ManualClock(NOW)
UNASSIGNED = Scan("tokens", None, 4, unassigned=True)


def a_session(id: str, owner: str = "ann", deadline: int = NOW, epoch: int = 0) -> Session:
    return Session._of(
        id, owner, None, 1, 1, 1, deadline, None, None, None, False, None, None, None, deadline, epoch, 1, NO_DETAILS,
        None, None, CLOCK,
    )  # fmt: skip


def a_token(created_at: int, session_id: str | None) -> TokenResult:
    token = Token._of(
        f"t{created_at}", "ann", None, TokenKind.TRANSFERABLE, session_id, "v", False, created_at, None, NEVER, NEVER,
        None, 1, None, None, 0, 1, NO_TOKEN_DETAILS, None, None,
    )  # fmt: skip
    return TokenResult(token, None, None)


def torn(id: str) -> Unreadable:
    return Unreadable(id, CorruptRecord("it is torn"))


class Answers:
    """Carries out a stretch on what it is told.

    Attributes:
        asked: what was read, step by step.
    """

    def __init__(self, due: Sequence[SessionResult], by_index: Result, held: dict[str, Result] | None = None) -> None:
        self.due, self.by_index, self.held = due, by_index, held or {}
        self.sets: dict[str, list[Session]] = {}
        self.asked: list[Sequence[Query]] = []

    def _answer(self, query: Query) -> Result:
        if isinstance(query, Members):
            return Result(self.sets[query.whose])
        assert isinstance(query, Scan)
        if query.what == "due":
            return Result(list(self.due))
        return self.by_index if query.session_id is None else self.held[query.session_id]

    def carried_out(self, listing: Scan) -> Result:
        steps = stretch(listing)
        queries = next(steps)
        while True:
            self.asked.append(queries)
            try:
                queries = steps.send(Snapshot(NOW, [self._answer(query) for query in queries]))
            except StopIteration as stop:
                found: Result = stop.value[1]
                return found


def created(found: Result) -> list[int]:
    return [line.token.created_at for line in found.value]


def test_where_nothing_is_over_one_reading_is_enough() -> None:
    answers = Answers([SessionResult(a_session("s1", deadline=NOW + 1), None)], Result([a_token(3, None)]))

    assert created(answers.carried_out(UNASSIGNED)) == [3]
    assert len(answers.asked) == 1


def test_other_listings_are_read_as_they_are() -> None:
    answers = Answers([], Result([a_token(3, None)]))

    assert created(answers.carried_out(UNASSIGNED._replace(tag="a seat"))) == [3]
    assert answers.asked == [[UNASSIGNED._replace(tag="a seat")]]


def test_tokens_of_sessions_that_are_over_come_in_their_places() -> None:
    held = {"s1": Result([a_token(1, "s1"), a_token(9, "s1")])}
    answers = Answers([SessionResult(a_session("s1"), None)], Result([a_token(3, None)]), held)

    assert created(answers.carried_out(UNASSIGNED)) == [1, 3, 9]


def test_of_an_owner_whose_sessions_ended_in_one_write_all_are_looked_at() -> None:
    entry = OwnerEntry("ann", 1, None, NOW, "logout")
    held = {"s1": Result([]), "s2": Result([a_token(2, "s2")])}
    answers = Answers([SessionResult(a_session("s1", deadline=NEVER), entry)], Result([]), held)
    answers.sets = {"ann": [a_session("s1", deadline=NEVER), a_session("s2", deadline=NEVER)]}

    assert created(answers.carried_out(UNASSIGNED)) == [2]


@pytest.mark.parametrize("whose", ["one owner's", "everybody's"])
def test_where_too_many_are_over_all_tokens_are_looked_at(whose: str) -> None:
    many = [a_session(f"s{number}") for number in range(OVER_MAX + 1)]
    entry = OwnerEntry("ann", 1, None, NOW, "logout")
    due = [SessionResult(session, entry) for session in (many if whose == "everybody's" else many[:1])]
    answers = Answers(due, Result([a_token(5, "s5")]))
    answers.sets = {"ann": many}

    assert created(answers.carried_out(UNASSIGNED)) == [5]
    assert answers.asked[-1] == [UNASSIGNED._replace(unassigned=None)]


def test_a_stretch_goes_no_further_than_each_of_its_parts() -> None:
    """Else what is between the end of one part and that of another would be passed over."""
    full = Result([a_token(place, "s1") for place in (1, 2, 3)], (), [torn("t")])
    answers = Answers([SessionResult(a_session("s1"), None)], Result([a_token(7, None)]), {"s1": full})
    found = answers.carried_out(UNASSIGNED)
    rest = what_follows(UNASSIGNED, found)

    assert created(found) == [1, 2, 3]
    assert rest is not None
    assert rest.after == (3, "t3")


def test_a_part_that_cannot_be_read_holds_the_others_back_until_more_is_asked_for() -> None:
    full = Result([], (), [torn(f"t{number}") for number in range(4)])
    answers = Answers([SessionResult(a_session("s1"), None)], Result([a_token(7, None)]), {"s1": full})
    found = answers.carried_out(UNASSIGNED)
    rest = what_follows(UNASSIGNED, found)

    assert found.value == []
    assert rest is not None
    assert (rest.after, rest.limit) == (None, 8)
