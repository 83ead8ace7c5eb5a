"""What a server's clock shows, as far as its answers tell."""

from __future__ import annotations

import pickle
import time

import pytest

from session_tokens.stores.common.server_clock import ServerClock


class Machine:
    """A steady clock that moves when it is moved, and a server whose clock may be set."""

    def __init__(self) -> None:
        self.steady_ns = time.monotonic_ns()
        self.server_ms = time.time_ns() // 1_000_000
        self.clock = ServerClock(lambda: self.steady_ns)

    def passes(self, ms: int) -> None:
        self.steady_ns += ms * 1_000_000
        self.server_ms += ms

    def answers(self, late_ms: int = 0) -> None:
        """The server answers, and the answer is so long on its way."""
        said = self.server_ms
        self.passes(late_ms)
        self.clock.heard(said)

    @property
    def ahead_ms(self) -> int:
        """How far the estimate is ahead of the server's clock."""
        return self.clock.now() - self.server_ms


@pytest.mark.parametrize("back_ms", [1, 300, 999, 1_000, 60_000, 86_400_000])
@pytest.mark.parametrize("every_ms", [10, 900, 5_000])
def test_a_server_whose_clock_was_set_back_is_followed_within_seconds(back_ms: int, every_ms: int) -> None:
    machine = Machine()
    machine.answers()
    machine.server_ms -= back_ms
    for _ in range(-(-2_000 // every_ms) + 1):
        machine.passes(every_ms)
        machine.answers()

    assert machine.ahead_ms == 0


@pytest.mark.parametrize("host_ms", [-3_600_000, -400, 400, 3_600_000])
def test_the_first_answer_counts_whatever_the_host_shows(host_ms: int) -> None:
    machine = Machine()
    machine.server_ms -= host_ms
    machine.answers(late_ms=3)

    assert machine.ahead_ms == -3


def test_a_clock_that_is_set_forward_is_followed_at_once() -> None:
    machine = Machine()
    machine.answers()
    machine.server_ms += 5
    machine.answers()

    assert machine.ahead_ms == 0


def test_an_answer_that_was_long_on_its_way_is_outdone_by_those_of_the_last_second() -> None:
    machine = Machine()
    for _ in range(50):
        machine.answers(late_ms=1)
        machine.passes(50)
        machine.answers(late_ms=400)

        assert machine.ahead_ms == -1


def test_it_is_raised_until_answers_say_otherwise() -> None:
    machine = Machine()
    machine.answers()
    machine.clock.raise_to(machine.server_ms + 500)
    raised = machine.ahead_ms
    for _ in range(5):
        machine.passes(500)
        machine.answers()

    assert (raised, machine.ahead_ms) == (500, 0)


def test_out_of_a_pickle_it_is_as_far_ahead_of_the_host_as_before() -> None:
    """Its steady clock would count from another instant on another host."""
    steady_ns = 5
    clock = ServerClock(lambda: steady_ns)
    clock.heard(2_000_000_000_000)
    pickled = pickle.loads(pickle.dumps(clock))  # noqa: S301  # its own bytes

    assert 0 <= pickled.now() - 2_000_000_000_000 < 60_000
