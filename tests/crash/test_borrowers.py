"""Borrowers whose processes are killed: every loan that was given lives with its log-in, and no other is counted."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from session_tokens import LimitReached, SessionTokens
from session_tokens.settings import LOANS_MAX
from tests.helpers.effort import PROVING, times
from tests.helpers.races.field import Field, field_of

ROOT = Path(__file__).parents[2]
PROCESSES = 2
BORROWERS = times(10, proving=10_000)
TOLD_MAX = 40 if PROVING else 14
"""Loans that a process tells of before it is killed, at the most."""

pytestmark = pytest.mark.process


@pytest.fixture(params=["sqlite", "valkey", "postgres", "mariadb"])
def shared(request: pytest.FixtureRequest) -> Iterator[Field]:
    """Every store that several processes share."""
    field = field_of(request.param, request)
    yield field
    field.close()


def killed(field: Field, token: str, name: str, rng: random.Random) -> list[dict[str, Any]]:
    """Let processes borrow at once, kill each after some of its loans, and return all that they had told."""
    words = [sys.executable, "-m", "tests.helpers.races.borrowing", token]
    environment = os.environ | {"RACE_URL": str(field.url)}
    told = []
    with ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen([*words, f"{name} {n}"], cwd=ROOT, env=environment, stdout=PIPE))
            for n in range(PROCESSES)
        ]
        for process in processes:
            stack.callback(process.kill)
        for process in processes:
            assert process.stdout is not None
            lines = list(itertools.islice(process.stdout, rng.randrange(2, TOLD_MAX)))
            process.kill()
            lines += process.stdout
            assert process.wait(60) == -signal.SIGKILL, "it ended by itself"
            told += [json.loads(line) for line in lines if line.endswith(b"}\n")]
    return told


def room(st: SessionTokens, token: str) -> int:
    """Return how many more loans can be given; they are taken back."""
    given = 0
    try:
        while True:
            st.lend_token(token, borrower="somebody else", until=3600)
            given += 1
    except LimitReached:
        st.recall_token(token, borrower="somebody else")
        return given


def test_no_loan_is_counted_that_does_not_live_and_none_is_lost(shared: Field) -> None:
    st, rng, gone = shared.api(), random.Random(7), 0
    for number in itertools.count():
        token = st.issue_token(st.open_session(f"lender {number}").id, transferable=bool(number % 2)).id
        told = killed(shared, token, f"round {number}", rng)
        loans = [each for each in told if "secret" in each]
        over = {each["ended"] for each in told if "ended" in each}
        living = [each for each in loans if each["session"] not in over]
        alive = [each for each in living if st.verify_token(each["secret"]) is not None]
        assert all(st.verify_token(each["secret"]) is None for each in loans if each["session"] in over)
        assert len(living) - len(alive) <= PROCESSES, "each was just logging one out"
        free = room(st, token)
        assert LOANS_MAX - len(alive) - PROCESSES <= free <= LOANS_MAX - len(alive), "each may have got one untold"

        half = alive[::2]
        for each in half:
            st.destroy_session(each["session"])
        assert [st.verify_token(each["secret"]) is None for each in alive] == [each in half for each in alive]
        assert room(st, token) == free + len(half)
        for process in range(PROCESSES):
            ours = [each for each in loans if each["owner"].startswith(f"round {number} {process} ")]
            for last in range(len(ours) + 2):
                st.destroy_sessions(f"round {number} {process} {last}")
        assert room(st, token) == LOANS_MAX
        gone += len(loans)
        if gone >= BORROWERS:
            break
