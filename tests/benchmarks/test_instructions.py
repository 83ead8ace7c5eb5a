"""Instructions come out the same again: else they could not tell two versions apart."""

from __future__ import annotations

import sys

import pytest

from benchmarks.instructions import instructions


@pytest.mark.parametrize("operation", ["tables:destroy_session", "sqlite:open_session"])
@pytest.mark.needs_valgrind
@pytest.mark.process
@pytest.mark.proof
def test_a_count_of_instructions_comes_out_the_same_again(operation: str) -> None:
    first, second = (instructions(sys.executable, operation) for _ in range(2))

    assert first > 1_000
    assert second == pytest.approx(first, rel=0.03)
