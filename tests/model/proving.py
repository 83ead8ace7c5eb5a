"""How hard the state machines try: a short repeatable run by default, a long random one when asked to prove."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

PROVE = os.environ.get("SESSION_TOKENS_PROVE") == "1"


def effort(examples: int, *, proving: int) -> settings:
    """Answer the settings of a machine: `examples` runs in every test run, `proving` when SESSION_TOKENS_PROVE=1."""
    return settings(
        max_examples=proving if PROVE else examples,
        stateful_step_count=60 if PROVE else 40,
        deadline=None,
        derandomize=not PROVE,  # a test run must not fail by luck; luck is for proving
        database=None,
        print_blob=PROVE,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
