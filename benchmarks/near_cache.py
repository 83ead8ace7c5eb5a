"""How many verifications a second does one process answer out of its near cache, beside asking the server for each?

Both sides are session-tokens on the same server, one call after another on one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from benchmarks.harness import Measured, Options, Report, Row, Samples, compare, per_second
from benchmarks.sides.valkey_native import PEPPER
from session_tokens import SessionTokens
from tests.helpers.servers.valkey import ValkeyServer
from tests.helpers.waiting import wait_until

SESSIONS = 1_000
GOAL = 20.0
BOUND_S = 2.0


def run(options: Options) -> Report:
    """Ask both on one server started for this."""
    report = Report("near_cache", (__doc__ or "").split("\n", 1)[0])
    sessions = options.scaled(SESSIONS, quick=20)
    report.notes.append(f"{sessions} sessions, all kept; a bound of {BOUND_S:g} s; goal also: 200,000 a second")
    with ExitStack() as stack:
        server = ValkeyServer()
        stack.callback(server.remove)
        server.start()
        near = stack.enter_context(SessionTokens.open(server.url, pepper=PEPPER, near_cache=BOUND_S, sweep=False))
        far = stack.enter_context(SessionTokens.open(server.url, pepper=PEPPER, sweep=False))
        issued = [far.open_session(f"owner {number}") for number in range(sessions)]
        tokens = [far.issue_token(each.id, "a value") for each in issued]
        for what, call, secrets in (
            ("verify_session", "verify_session", [each.secret for each in issued]),
            ("verify_token", "verify_token", [each.secret for each in tokens]),
        ):
            verify_near, verify_far = getattr(near, call), getattr(far, call)
            wait_until(lambda verify=verify_near, secrets=secrets: _all_kept(near, verify, secrets))
            row = Row(f"{what}, near / asking the server", Samples("near"), Samples("server"), "1/s", GOAL, True)
            count = options.scaled(100_000, quick=200)
            ours = partial(_turn, "near", verify_near, secrets, count)
            report.rows.append(compare(options, row, ours, partial(_turn, "server", verify_far, secrets, count // 20)))
    return report


def _all_kept(near: SessionTokens, verify: Callable[[str], object], secrets: list[str]) -> bool:
    cache = near.store.near_cache
    assert cache is not None
    before = cache.hits
    for secret in secrets:
        verify(secret)
    return cache.hits - before == len(secrets)


def _turn(label: str, verify: Callable[[str], object], secrets: list[str], count: int) -> Measured:
    right, began_s, cpu_s = 0, time.perf_counter(), time.process_time()
    for number in range(count):
        right += verify(secrets[number % len(secrets)]) is not None
    taken = {"operations": count, "right": right, "seconds": time.perf_counter() - began_s}
    return per_second({**taken, "cpu_seconds": time.process_time() - cpu_s}, label)
