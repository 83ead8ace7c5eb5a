"""What do a million live sessions cost while nobody uses them?

The npm package counts every session down each 500 ms; deadlines need no such work. Measured are one tick or sweep by
hand, the share of a core over a fixed time with both sides' own background work running, and the writes to the store.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.harness import Measured, NothingMeasured, Options, Report, Row, Side, compare
from benchmarks.peers import npm_side, peer_if_any
from benchmarks.sides import native_side, token_tables_side

SESSIONS = 1_000_000
SHARED_SESSIONS = 100_000
WINDOW_S = 4.0
GOAL = 1000.0


def run(options: Options) -> Report:
    """Load each side, leave it alone, and watch it."""
    report = Report("idle_million_sessions", (__doc__ or "").split("\n", 1)[0])
    sessions = options.scaled(SESSIONS, quick=500)
    with ExitStack() as stack:
        ours = stack.enter_context(token_tables_side())
        peer = peer_if_any(npm_side, stack, report)
        ours.ask("prepare_idle", sessions=sessions)
        if peer is not None:
            peer.ask("prepare_idle", sessions=sessions, shared=False)
            report.versions.update(peer.ask("versions"))
        report.notes.append(f"{sessions} live sessions; the window is {_window_s(options)} s a turn")
        for what, measure, unit in (("one tick / sweep", _tick, "ms"), ("core time in 1 s", _share, "ms")):
            row = Row.between(what, ours, peer, unit, GOAL)
            ours_turn = partial(measure, ours, options)
            report.rows.append(compare(options, row, ours_turn, partial(measure, peer, options) if peer else None))
    report.rows.append(_store_writes(options, report))
    return report


def _store_writes(options: Options, report: Report) -> Row:
    """Watch a SQLite file with the sweeper on; the npm package writes each shared session at each tick."""
    sessions = options.scaled(SHARED_SESSIONS, quick=100)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        url = f"sqlite:///{Path(folder) / 'sessions.db'}"
        ours = stack.enter_context(native_side(url, sweep=True))
        peer = peer_if_any(npm_side, stack, report)
        ours.ask("prepare", sessions=sessions, tokens=False, transferables=False)
        what = f"store writes in 1 s, {sessions} shared sessions"
        row = Row.between(what, ours, peer, "writes")
        if peer is not None:
            peer.ask("prepare_idle", sessions=sessions, shared=True)
        ours_turn = partial(_writes, ours, options)
        return compare(options, row, ours_turn, partial(_writes, peer, options) if peer else None)


def _tick(side: Side, options: Options) -> Measured:
    answer = _idle(side, 0.0 if options.quick else 0.1)
    return Measured(float(answer["tick_s"]) * 1000, None, int(answer["alive"]))


def _share(side: Side, options: Options) -> Measured:
    answer = _idle(side, _window_s(options))
    return Measured(float(answer["cpu_s"]) / float(answer["window_s"]) * 1000, None, int(answer["alive"]))


def _writes(side: Side, options: Options) -> Measured:
    answer = _idle(side, _window_s(options))
    writes = answer["writes"] if "writes" in answer else int(bool(answer["wrote"]))
    return Measured(float(writes) / float(answer["window_s"]), None, int(answer["alive"]))


def _idle(side: Side, window_s: float) -> dict[str, float]:
    """Watch a side, and see that its sessions were alive at the end of it."""
    answer = side.ask("idle", window_s=window_s)
    if answer["alive"] != answer["asked"]:
        raise NothingMeasured(f"{side.label}: only {answer['alive']} of {answer['asked']} sessions stayed alive")
    return answer


def _window_s(options: Options) -> float:
    return 0.6 if options.quick else WINDOW_S
