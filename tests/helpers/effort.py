"""How hard the tests try: `make quick` a little, `make test` enough for each kind of fault, `make prove` for hours."""

from __future__ import annotations

import os
from collections.abc import Sequence
from zlib import crc32

from hypothesis import HealthCheck, settings

from tools.system_packages import may_install

EFFORT = os.environ.get("TESTS_EFFORT", "usual")
"""``quick``, ``usual`` or ``prove``; not named like variables of the library, of which the CLI refuses unknown ones."""
PROVING, QUICK = EFFORT == "prove", EFFORT == "quick"
# Where packages can be installed, or everything must be shown, a missing program is a failure and not an excuse.
INSISTING = PROVING or os.environ.get("CI") == "true" or may_install()
QUICK_PART = 5
PROVEN = 2_400
"""Examples of a state machine that make 100,000 steps of a store: of sixty each at the most, forty-eight on average."""


def times(usual: int, *, proving: int) -> int:
    """Return how often something is done: ``usual`` times, a fifth of it in a quick run, or ``proving`` times."""
    if PROVING:
        return proving
    return max(1, usual // QUICK_PART) if QUICK else usual


def one_of(choices: Sequence[str], test: str) -> str:
    """Return the choice that falls to a test by its name, the same one each time: all choices have tests."""
    return choices[crc32(test.encode()) % len(choices)]


def machine(examples: int, *, proving: int) -> settings:
    """Return the settings of a state machine that draws so many examples."""
    return settings(
        max_examples=times(examples, proving=proving),
        stateful_step_count=60 if PROVING else 40,
        deadline=None,
        derandomize=not PROVING,  # a test run must not fail by luck; luck is for proving
        database=None,
        print_blob=PROVING,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
