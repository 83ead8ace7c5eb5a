"""How many verifications and commands a second does one process get from Valkey, beside others on the same server?

Every side has one process and one event loop, the same server and the same number of sessions. starsessions loads a
session with one GET and saves it with one SET, whatever another request wrote meanwhile; a command of session-tokens
reads, judges and commits only if nothing that it read has changed, indexes included. "sequential" is one call after
another, beside a bare GET by the same client library. Where nothing else is said, our process has seen the sessions
before, as a process that has run for a while has.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from benchmarks.harness import Measured, Options, Report, Row, Side, compare, per_second
from benchmarks.peers import peer_if_any
from benchmarks.peers.starsessions import starsessions_side
from benchmarks.sides import valkey_side
from tests.helpers.servers.valkey import ValkeyServer

SESSIONS = 2_000
TASKS, PIPELINES = 50, 2
VERIFY_GOAL, COMMAND_GOAL, SEQUENTIAL_GOAL = 5.0, 3.0, 0.8


def run(options: Options) -> Report:
    """Ask all sides on one server started for this."""
    report = Report("valkey_server", (__doc__ or "").split("\n", 1)[0])
    sessions = options.scaled(SESSIONS, quick=60)
    report.notes.append(f"{sessions} sessions, {TASKS} tasks, server on the same machine without persistence")
    with ExitStack() as stack:
        server = ValkeyServer()
        stack.callback(server.remove)
        server.start()
        ours = stack.enter_context(valkey_side("native", server.url))
        bare = stack.enter_context(valkey_side("bare", server.url))
        peer = peer_if_any(partial(starsessions_side, server.url), stack, report)
        ours.ask("prepare", sessions=sessions)
        bare.ask("prepare", sessions=sessions)
        report.versions.update(bare.ask("describe"))
        if peer is not None:
            peer.ask("prepare", sessions=sessions)
            report.versions.update(peer.ask("describe"))
        for what, operation, peer_operation, goal in (
            ("verify_session, 50 tasks / starsessions load", "verify_session", "load", VERIFY_GOAL),
            ("verify_session, seen for the first time / … load", "verify_session, unseen", "load", None),
            ("verify_token, 50 tasks / … load", "verify_token", "load", VERIFY_GOAL),
            ("change_session, 50 tasks / … load + save", "change_session", "load_and_save", COMMAND_GOAL),
            ("issue_token, 50 tasks / … load + save", "issue_token", "load_and_save", COMMAND_GOAL),
            ("transfer_token, 50 tasks / … load + save", "transfer_token", "load_and_save", COMMAND_GOAL),
            ("change_session, seen for the first time", "change_session, unseen", "load_and_save", None),
            ("change_session, of two processes in turn", "change_session, in turn", "load_and_save", None),
        ):
            count, peer_count = options.scaled(20_000, quick=100), options.scaled(5_000, quick=100)
            if not operation.startswith("verify"):
                count, peer_count = count // 2, peer_count // 2
            row = Row.between(what, ours, peer, "1/s", goal)
            peer_turn = partial(_turn, peer, peer_operation, peer_count, TASKS) if peer else None
            report.rows.append(compare(options, row, partial(_turn, ours, operation, count, TASKS), peer_turn))
        report.rows.append(_floor(options, ours, bare))
        count = options.scaled(3_000, quick=30)
        for what, operation, bare_operation in (
            ("verify_session, sequential, asyncio / GET", "verify_session", "get"),
            ("verify_session, sequential, blocking / GET", "verify_session_blocking", "get_blocking"),
        ):
            row = Row.between(what, ours, bare, "1/s", SEQUENTIAL_GOAL)
            ours_turn, bare_turn = (
                partial(_turn, ours, operation, count, 1),
                partial(_turn, bare, bare_operation, count, 1),
            )
            report.rows.append(compare(options, row, ours_turn, bare_turn))
    return report


def _floor(options: Options, ours: Side, bare: Side) -> Row:
    """What is there at all: the words of a transfer, made beforehand, sent in pipelines by the client library."""
    row = Row.between("transfer_token, 50 tasks / its bare commit", ours, bare, "1/s")
    count = options.scaled(10_000, quick=100)
    ours_turn = partial(_turn, ours, "transfer_token", count, TASKS)
    return compare(options, row, ours_turn, partial(_turn, bare, "commit", count, PIPELINES))


def _turn(side: Side, operation: str, count: int, tasks: int) -> Measured:
    return per_second(side.ask("time_operation", operation=operation, count=count, tasks=tasks), side.label)
