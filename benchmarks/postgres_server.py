"""How many verifications and durable commands a second does one process get from PostgreSQL, beside bare statements?

Both sides have one process, the same server, driver, number of connections and rows of the same columns and indexes.
The peer is what one would write by hand with psycopg: a verification is one SELECT by the same look-up key that brings
the row, its owner's entry and the server's clock; a command is one UPDATE of the row it judges, or, as the careful
write it, BEGIN, SELECT FOR UPDATE, UPDATE and COMMIT. A command of session-tokens reads, judges, and commits only if
nothing that it read has changed. The peer uses the driver's cursors, as one does; session-tokens uses the driver's
libpq, past them. The server waits for its disk at each commit (`synchronous_commit` and `fsync` on).
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from benchmarks.harness import Measured, Options, Report, Row, Side, compare, per_second
from benchmarks.sides import postgres_side
from tests.helpers.servers.postgres import running_server

SESSIONS = 2_000
TASKS = 20
GOAL, SEQUENTIAL_GOAL = 0.7, 0.8


def run(options: Options) -> Report:
    """Ask both sides on one server started for this."""
    report = Report("postgres_server", (__doc__ or "").split("\n", 1)[0])
    sessions = options.scaled(SESSIONS, quick=60)
    report.notes.append(f"{sessions} sessions, {TASKS} tasks, 10 connections a side, server on the same machine")
    with ExitStack() as stack:
        server = stack.enter_context(running_server())
        url = server.new_database()
        ours = stack.enter_context(postgres_side("native", url))
        by_hand = stack.enter_context(postgres_side("by_hand", url))
        ours.ask("prepare", sessions=sessions)
        by_hand.ask("prepare", sessions=sessions)
        report.versions.update(by_hand.ask("describe"))
        for what, operation, peer_operation, count, tasks, goal in (
            ("verify_session, 20 tasks / SELECT", "verify_session", "select", 5_000, TASKS, GOAL),
            ("verify_session, seen for the first time / …", "verify_session, unseen", "select", 2_000, TASKS, None),
            ("verify_token, 20 tasks / SELECT of a session", "verify_token", "select", 5_000, TASKS, None),
            ("change_session, 20 tasks / UPDATE", "change_session", "update", 1_500, TASKS, GOAL),
            ("change_session, 20 tasks / careful transaction", "change_session", "transaction", 1_500, TASKS, GOAL),
            ("issue_token, 20 tasks / INSERT", "issue_token", "insert", 1_500, TASKS, GOAL),
            ("transfer_token, 20 tasks / careful transaction", "transfer_token", "transaction", 1_500, TASKS, None),
            ("verify_session, sequential, asyncio / SELECT", "verify_session", "select", 1_000, 1, SEQUENTIAL_GOAL),
            (
                "verify_session, sequential, blocking / SELECT",
                "verify_session_blocking",
                "select_blocking",
                1_000,
                1,
                SEQUENTIAL_GOAL,
            ),
        ):
            calls = options.scaled(count, quick=40)
            row = Row.between(what, ours, by_hand, "1/s", goal)
            ours_turn = partial(_turn, ours, operation, calls, tasks)
            report.rows.append(compare(options, row, ours_turn, partial(_turn, by_hand, peer_operation, calls, tasks)))
    return report


def _turn(side: Side, operation: str, count: int, tasks: int) -> Measured:
    return per_second(side.ask("time_operation", operation=operation, count=count, tasks=tasks), side.label)
