"""What workers count together: in memory that each maps for itself, and in sums of what each counted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

import pytest

from session_tokens.service.crew import Alone, share_of
from session_tokens.service.listening import Bound
from session_tokens.service.tallies import NAMES_MAX, Tally
from session_tokens.service.workers.memory import SharedMemory
from session_tokens.service.workers.sums import added_up, without_gauges
from session_tokens.service.workers.worker import Handed


@pytest.fixture
def memories() -> Iterator[tuple[SharedMemory, SharedMemory]]:
    """The same memory, as two processes see it."""
    made = SharedMemory.make(2)
    yield made, SharedMemory(os.dup(made.file))
    made.close()


def once_more(before: Tally | None) -> Tally:
    since_s, count = before or (1.0, 0)
    return since_s, count + 1


def begun(at_s: float, _: Tally | None) -> Tally:
    return at_s, 1


def test_what_one_counts_the_other_sees(memories: tuple[SharedMemory, SharedMemory]) -> None:
    one, other = (memory.tallies("rates") for memory in memories)

    assert [one.change("a", once_more), other.change("a", once_more)] == [(1.0, 1.0), (1.0, 2.0)]
    assert other.change("b", once_more) == (1.0, 1.0)
    assert memories[0].tallies("makings").change("a", once_more) == (1.0, 1.0), "each table by itself"


def test_where_there_are_too_many_names_the_oldest_is_forgotten(memories: tuple[SharedMemory, SharedMemory]) -> None:
    tallies = memories[0].tallies("failures")
    for number in range(2 * NAMES_MAX):
        tallies.change(f"early {number}", partial(begun, float(number)))
    late = [f"late {number}" for number in range(5)]
    for name in late:
        tallies.change(name, partial(begun, 1e9))

    assert {tallies.change(name, once_more) for name in late} == {(1e9, 2.0)}
    assert tallies.change("early 0", once_more) == (1.0, 1.0)


def test_a_worker_leaves_connections_to_one_that_holds_two_fewer(memories: tuple[SharedMemory, SharedMemory]) -> None:
    one, other = memories[0].load(0), memories[1].load(5)
    one.begin()
    one.connections, one.streams = 3, 2

    assert not one.is_above_others, "nobody else is there"
    other.begin()
    assert one.is_above_others and not other.is_above_others
    other.connections, other.streams = 2, 1
    assert not one.is_above_others
    assert one.all_streams == other.all_streams == 3
    other.clear()
    assert (one.all_streams, other.connections) == (2, 0)


def test_counts_are_added_up_and_what_all_see_counts_once() -> None:
    def counted(answers: float, unreadable: float, unwritten: float, since_s: float) -> list[list[object]]:
        return [
            ["answers", "", "counter", [["answers_total", {"route": "/a"}, answers], ["answers_created", {}, since_s]]],
            ["session_tokens_unreadable_records", "", "gauge", [["session_tokens_unreadable_records", {}, unreadable]]],
            ["session_tokens_unwritten_uses", "", "gauge", [["session_tokens_unwritten_uses", {}, unwritten]]],
        ]

    both = added_up([counted(3, 2, 1, 50.0), counted(4, 5, 6, 40.0)])
    values = {sample: value for _, _, _, samples in both for sample, _, value in samples}

    assert values == {
        "answers_total": 7, "answers_created": 40.0, "session_tokens_unreadable_records": 5,
        "session_tokens_unwritten_uses": 7,
    }  # fmt: skip
    assert [family[0] for family in without_gauges(both)] == ["answers"]


def test_one_worker_leads_and_each_has_its_share(memories: tuple[SharedMemory, SharedMemory]) -> None:
    handed = Handed(["program"], {}, 3, Bound([]), memories[0])
    crew = Alone()
    crew.size = 3

    assert [handed.first_message(number, number)["leads"] for number in range(3)] == [True, False, False]
    assert (share_of(1_000, Alone()), share_of(1_000, crew)) == (1_000, 334)
