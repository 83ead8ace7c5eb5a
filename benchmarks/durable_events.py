"""What do durable events cost on a server, where many commands go on side by side?

Both sides are session-tokens with as many tasks on the same server, one on a store that keeps events, one on a store
that keeps none.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from benchmarks.harness import Measured, Options, Report, Row, Side, compare, per_second
from benchmarks.sides import postgres_side, valkey_side
from benchmarks.sides.valkey_native import PEPPER
from session_tokens import SessionTokens, Settings
from tests.helpers.servers.postgres import running_server
from tests.helpers.servers.valkey import ValkeyServer

SESSIONS = 960
TASKS = 96
GOAL = 0.8


def run(options: Options) -> Report:
    """Ask both sides on one server of each kind, started for this."""
    report = Report("durable_events", (__doc__ or "").split("\n", 1)[0])
    report.notes.append(f"{TASKS} tasks on sessions of their own; the peer of each row is the same without events")
    with ExitStack() as stack:
        valkey = ValkeyServer()
        stack.callback(valkey.remove)
        valkey.start()
        kept = valkey.url.removesuffix("/0") + "/1"
        _keep(f"{kept}?namespace=ours")
        kept_side = stack.enter_context(valkey_side("native", kept))
        _rows(options, report, "Valkey", 10_000, kept_side, stack.enter_context(valkey_side("native", valkey.url)))
    with ExitStack() as stack:
        postgres = stack.enter_context(running_server())
        kept = postgres.new_database()
        _keep(kept)
        kept_side = stack.enter_context(postgres_side("native", kept))
        plain_side = stack.enter_context(postgres_side("native", postgres.new_database()))
        _rows(options, report, "PostgreSQL", 3_000, kept_side, plain_side)
    return report


def _keep(url: str) -> None:
    """Have a store keep events: it is recorded with it, so that the side that opens it does."""
    SessionTokens.open(url, pepper=PEPPER, settings=Settings(events="durable"), sweep=False).close()


def _rows(options: Options, report: Report, server: str, count: int, kept: Side, plain: Side) -> None:
    sessions = options.scaled(SESSIONS, quick=TASKS)
    for side in (kept, plain):
        side.ask("prepare", sessions=sessions)
    for operation in ("change_session", "issue_token", "transfer_token"):
        calls = options.scaled(count, quick=TASKS)
        row = Row.between(f"{operation} on {server}, with events / without", kept, plain, "1/s", GOAL)
        turns = partial(_turn, kept, operation, calls), partial(_turn, plain, operation, calls)
        report.rows.append(compare(options, row, *turns))


def _turn(side: Side, operation: str, count: int) -> Measured:
    return per_second(side.ask("time_operation", operation=operation, count=count, tasks=TASKS), side.label)
