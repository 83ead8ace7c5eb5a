"""A short choice of other projects' own tests passes with our sessions; `make suites` runs them whole.

What they need is fetched into the environment of the project once, and used again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.helpers.effort import INSISTING
from tools.suites import django
from tools.suites.listed import SUITES
from tools.suites.running import Run, Suite, SuiteMissing, run_pytest

PLACE = Path(sys.prefix) / "suites"
SHORT = [suite for suite in SUITES if suite.short]


def check(place: str, run: Callable[[Path], list[Run]]) -> None:
    try:
        (outcome,) = run(PLACE / place)
    except SuiteMissing as missing:
        if INSISTING:
            raise
        pytest.skip(str(missing))
    assert outcome.faults == []


@pytest.mark.share(3)
@pytest.mark.process
@pytest.mark.parametrize("suite", SHORT, ids=lambda suite: suite.project)
def test_their_tests_of_sessions_pass(suite: Suite) -> None:
    check(suite.project.lower(), partial(run_pytest, suite, short=True))


@pytest.mark.process
def test_django_finds_an_engine_as_it_wants_one() -> None:
    def run(place: Path) -> list[Run]:
        return list(django.run_django(place, django.SUPPORTED, sys.executable, short=True))

    check("django", run)


def outcome(tests: int = 3, failed: frozenset[str] = frozenset(), opened: int = 3, **cannot: str) -> Run:
    return Run("a suite", tests, failed, cannot, opened, "its last words")


def test_a_run_passes_only_if_it_says_what_it_should() -> None:
    assert outcome().faults == []
    assert outcome(failed=frozenset({"a"}), a="for a reason").faults == []
    assert outcome(failed=frozenset({"a", "b"}), a="for a reason").faults == ["b failed"]
    assert outcome(a="for a reason").faults == ["a passes, but is named as one that cannot"]
    assert outcome(tests=0).faults == ["no test ran: its last words"]
    assert outcome(opened=0).faults == ["no session of ours took part"]
