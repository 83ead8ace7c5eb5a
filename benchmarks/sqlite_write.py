"""How many durable writes a second do 50 concurrent writers get from a SQLite file, beside Django's `db` sessions?

Each writer changes one field of a session of its own and waits until the change is on the disk (`synchronous=FULL`):
`update_session_data` on our side, load, change and save on Django's. Django's writers are threads, each with its own
connection; ours are threads that share one `SessionTokens`, or tasks of one event loop.
Whether every write arrived is counted afterwards from the store.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks import machine
from benchmarks.harness import Measured, Options, Report, Row, Side, compare, per_second
from benchmarks.peers import django_side, peer_if_any
from benchmarks.sides import native_side

WRITERS = 50
SESSIONS = 1_000
GOAL = 10.0


def run(options: Options) -> Report:
    """Let the writers of each side run in turns."""
    report = Report("sqlite_write", (__doc__ or "").split("\n", 1)[0])
    writers = options.scaled(WRITERS, quick=4)
    sessions = options.scaled(SESSIONS, quick=10)
    tokens_each = options.scaled(40, quick=3)  # so few that one page lists what all turns made in a session
    ours_commands, peer_commands = options.scaled(200, quick=3), options.scaled(10, quick=2)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        report.notes.append(f"{writers} writers, {sessions} sessions, file system {machine.filesystem(folder)}")
        ours = stack.enter_context(native_side(f"sqlite:///{folder / 'ours.db'}"))
        peer = peer_if_any(partial(django_side, "wal", folder), stack, report)
        ours.ask("prepare", sessions=sessions, tokens=False, transferables=False)
        if peer is not None:
            peer.ask("prepare", sessions=sessions)
            report.versions["django"] = peer.ask("describe")["django"]
        cases = [
            ("update, 50 tasks", "tasks", "update_session_data", ours_commands, GOAL),
            ("update, 50 threads", "threads", "update_session_data", ours_commands, GOAL),
            ("issue a token, 50 tasks (Django: update)", "tasks", "issue_token", tokens_each, None),
        ]
        for what, how, change, commands, goal in cases:
            row = Row.between(what, ours, peer, "1/s", goal)
            ours_turn = partial(_write, ours, writers=writers, commands=commands, how=how, change=change)
            peer_turn = partial(_write, peer, writers=writers, commands=peer_commands) if peer else None
            report.rows.append(compare(options, row, ours_turn, peer_turn))
    return report


def _write(side: Side, **request: object) -> Measured:
    return per_second(side.ask("write", **request), side.label)
