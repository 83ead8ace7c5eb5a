"""Steps are counted by function, and come out the same again: else they could not tell two versions apart."""

from __future__ import annotations

import pytest

from benchmarks.harness import ROOT
from benchmarks.steps import counted_in, new_stores


@pytest.mark.parametrize("operation", ["verify_session", "verify_session_blocking"])
@pytest.mark.parametrize("server", ["valkey", "postgres"])
@pytest.mark.server
def test_a_count_comes_out_the_same_again(server: str, operation: str) -> None:
    with new_stores(server) as new_url:
        first, second = (counted_in(ROOT / "src", operation, new_url()) for _ in range(2))

    assert sum(first.values()) > 500
    assert sum(second.values()) == pytest.approx(sum(first.values()), rel=0.03)
    (verifying,) = (steps for name, steps in first.items() if name.endswith("SessionCommands.verify_session"))
    assert 10 < verifying < 200
