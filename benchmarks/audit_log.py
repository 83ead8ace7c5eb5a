"""What does an audit log cost on a server, where many commands go on side by side?

Both sides are session-tokens with as many tasks on the same server, one with an audit log and its anchors in a file,
one without. With one chain for all commands the log let through 1 in 15 of what the server could do; each command has a
chain for itself now, so that what is left is the writing of entries.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.harness import Measured, Options, Report, Row, Side, compare, per_second
from benchmarks.sides import postgres_side, valkey_side
from tests.helpers.servers.postgres import running_server
from tests.helpers.servers.valkey import ValkeyServer

SESSIONS = 960
TASKS = 96
GOAL = 0.6


def run(options: Options) -> Report:
    """Ask both sides on one server of each kind, started for this."""
    report = Report("audit_log", (__doc__ or "").split("\n", 1)[0])
    report.notes.append(f"{TASKS} tasks on sessions of their own; the peer of each row is the same without a log")
    with ExitStack() as stack:
        anchors = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        valkey = ValkeyServer()
        stack.callback(valkey.remove)
        valkey.start()
        _rows(
            options, report, "Valkey", 10_000,
            stack.enter_context(valkey_side("native", valkey.url, str(anchors / "valkey"))),
            stack.enter_context(valkey_side("native", valkey.url)),
        )  # fmt: skip
    with ExitStack() as stack:
        anchors = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = stack.enter_context(running_server())
        _rows(
            options, report, "PostgreSQL", 3_000,
            stack.enter_context(postgres_side("native", postgres.new_database(), str(anchors / "postgres"))),
            stack.enter_context(postgres_side("native", postgres.new_database())),
        )  # fmt: skip
    return report


def _rows(options: Options, report: Report, server: str, count: int, logged: Side, plain: Side) -> None:
    sessions = options.scaled(SESSIONS, quick=TASKS)
    for side in (logged, plain):
        side.ask("prepare", sessions=sessions)
    for operation in ("change_session", "issue_token", "transfer_token"):
        calls = options.scaled(count, quick=TASKS)
        row = Row.between(f"{operation} on {server}, logged / not", logged, plain, "1/s", GOAL)
        report.rows.append(
            compare(options, row, partial(_turn, logged, operation, calls), partial(_turn, plain, operation, calls))
        )


def _turn(side: Side, operation: str, count: int) -> Measured:
    return per_second(side.ask("time_operation", operation=operation, count=count, tasks=TASKS), side.label)
