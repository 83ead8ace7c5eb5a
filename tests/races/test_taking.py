"""64 at once for what there is less of, from four processes: uses, jobs that wait, one offer; none twice, none lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.races.field import Field, field_of

ROOT = Path(__file__).parents[2]
PROCESSES, EACH = 4, 16

pytestmark = pytest.mark.process


@pytest.fixture(params=["sqlite", "valkey", "postgres", "mariadb"])
def shared(request: pytest.FixtureRequest) -> Iterator[Field]:
    """Every store that several processes share."""
    field = field_of(request.param, request)
    yield field
    field.close()


def outcomes_of(field: Field, command: str, subject: str) -> list[str]:
    """Let all threads of all processes want the same at once; return what came of each."""
    words = [sys.executable, "-m", "tests.helpers.races.taking", command, subject, str(EACH)]
    processes = [
        subprocess.Popen(
            [*words, f"process {number}"], cwd=ROOT, env=os.environ | {"RACE_URL": str(field.url)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in range(PROCESSES)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120)[0].split() for process in processes]
    assert [0] * PROCESSES == [process.returncode for process in processes]
    return [outcome for lines in said for outcome in lines]


def test_of_64_uses_as_many_succeed_as_are_left(shared: Field) -> None:
    st = shared.api()
    token = st.issue_token(None, uses=40)
    outcomes = outcomes_of(shared, "consume", token.id)

    assert [f"left:{left}" for left in range(40)] == sorted(
        (each for each in outcomes if each.startswith("left:")), key=lambda each: int(each[5:])
    )
    assert 24 == outcomes.count("LimitReached")
    assert st.verify_token(token.secret) is None


def test_of_64_who_accept_one_gets_the_token(shared: Field) -> None:
    st = shared.api()
    token = st.issue_token(st.open_session("ann").id, transferable=True)
    st.offer_token(token.id, price=5, currency="EUR")
    outcomes = outcomes_of(shared, "accept", token.id)
    kept = st.get_token(token.id)

    assert (1, 63) == (outcomes.count(token.id), outcomes.count("Conflict"))
    assert kept is not None
    assert 1 == kept.epoch


def test_of_64_who_claim_the_next_each_job_goes_to_one(shared: Field) -> None:
    st = shared.api()
    jobs = {st.issue_token(None, number, transferable=True, tag="job").id for number in range(50)}
    outcomes = outcomes_of(shared, "claim", "job")

    assert jobs == {outcome for outcome in outcomes if outcome.startswith("tok_")}
    assert 50 == sum(outcome.startswith("tok_") for outcome in outcomes)
    assert 14 == outcomes.count("None")
