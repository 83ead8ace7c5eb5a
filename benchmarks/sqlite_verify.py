"""How many sessions a second does a SQLite file verify, beside Django's `db` session backend?

Both sides have one thread, the same number of sessions and a file of their own. "touch" is what a sliding idle timeout
asks for: a session that is in steady use is rewritten once in 1/16 of its window, so most verifications only read.
A store may remember what it read until something is committed; how fast it is when it has to look again is measured
with a commit (not timed) after every hundred verifications.
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

SESSIONS = 10_000
GOAL = 20.0
COMMIT_EVERY = 100
IDLE_TIMEOUT_S = 1800.0


def run(options: Options) -> Report:
    """Verify at random on both sides; Django in the journal mode it makes by itself and in WAL."""
    report = Report("sqlite_verify", (__doc__ or "").split("\n", 1)[0])
    sessions = options.scaled(SESSIONS, quick=50)
    ours_count, peer_count = options.scaled(20_000, quick=50), options.scaled(2_000, quick=20)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        report.notes.append(f"{sessions} sessions, one thread, file system {machine.filesystem(folder)}")
        plain = stack.enter_context(native_side(f"sqlite:///{folder / 'plain.db'}"))
        sliding = stack.enter_context(native_side(f"sqlite:///{folder / 'sliding.db'}", IDLE_TIMEOUT_S))
        wal = peer_if_any(partial(django_side, "wal", folder), stack, report)
        unasked = peer_if_any(partial(django_side, "delete", folder), stack, report)
        for ours in (plain, sliding):
            ours.ask("prepare", sessions=sessions, tokens=False, transferables=False)
        for django in filter(None, (wal, unasked)):
            django.ask("prepare", sessions=sessions)
            report.versions["django"] = django.ask("describe")["django"]
        cases = [
            ("verify, touch off", plain, False, None, wal),
            ("verify, touch on, idle timeout 30 min", sliding, True, None, wal),
            ("verify, a commit after every 100", plain, False, COMMIT_EVERY, wal),
            ("verify, touch off, Django's own journal mode", plain, False, None, unasked),
        ]
        for what, ours, touch, commit_every, peer in cases:
            row = Row.between(what, ours, peer, "1/s", GOAL)
            ours_turn = partial(_ours, ours, ours_count, touch, commit_every)
            peer_turn = partial(_peer, peer, peer_count) if peer else None
            report.rows.append(compare(options, row, ours_turn, peer_turn))
    return report


def _ours(side: Side, count: int, touch: bool, commit_every: int | None) -> Measured:
    request = {"operation": "verify_session", "count": count, "touch": touch, "commit_every": commit_every}
    answer = side.ask("time_operation", **request)
    return per_second(answer, side.label)


def _peer(side: Side, count: int) -> Measured:
    return per_second(side.ask("verify", count=count), side.label)
