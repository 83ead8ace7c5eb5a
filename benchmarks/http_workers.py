"""How many introspections a second by 32 connections of wrk, beside node's bare server, an earlier commit, two workers?

Over SQLite, a caller that is authenticated by a row for each request. Node's server checks one string and keeps nothing
on disk. `--commit` names the earlier commit. Two workers beside one are compared by the wall, which needs two
processors beside those of wrk, and by processor time.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.baseline import tree_at
from benchmarks.harness import Measured, NothingMeasured, Options, Report, Row, Side, compare, per_second
from benchmarks.peers import PeerMissing, npm_introspection
from benchmarks.sides import http_side

SESSIONS = 10_000
CONNECTIONS = 32
WORKERS = 2
OF_NODE, OF_THEN, OF_ONE = 0.6, 2.5, 1.35


def run(options: Options) -> Report:
    """Introspect one after another of all sessions, over 32 connections that are kept open."""
    report = Report("http_workers", (__doc__ or "").split("\n", 1)[0])
    if shutil.which("wrk") is None and not options.quick:
        raise NothingMeasured("wrk is not installed: apt-get install wrk")
    sessions = options.scaled(SESSIONS, quick=50)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        commit = tree_at(options.commit, folder / "tree")
        report.notes.append(f"{sessions} sessions; the earlier commit is {commit}")
        sides = {"one": {}, "two": {"workers": WORKERS}, "then": {"sources": folder / "tree"}}
        started = {}
        for label, given in sides.items():
            (folder / label).mkdir()
            side = http_side("session-tokens", folder / label, **given)
            started[label] = _prepared(stack, side, sessions)
        started["then"].label = "then"
        one, two = started["one"], started["two"]
        report.versions.update(one.ask("describe"))
        node = None
        try:
            npm_introspection(sessions)  # only to know whether it can be had
            node = _prepared(stack, http_side("node", folder), sessions)
        except PeerMissing as missing:
            report.notes.append(f"peer not measured: {missing}")
        for what, ours, peer, goal in (
            ("one worker, node", one, node, OF_NODE),
            ("one worker, then", one, started["then"], OF_THEN),
            ("two workers, one", two, one, OF_ONE),
        ):
            row = Row.between(what, ours, peer, "1/s", goal)
            turn = partial(_turn, options)
            report.rows.append(compare(options, row, partial(turn, ours), partial(turn, peer) if peer else None))
    return report


def _prepared(stack: ExitStack, side: Side, sessions: int) -> Side:
    stack.enter_context(side)
    side.ask("prepare", sessions=sessions)
    return side


def _turn(options: Options, side: Side) -> Measured:
    if options.quick:  # a smoke run needs no wrk
        return per_second(side.ask("introspect", count=200, connections=CONNECTIONS), side.label)
    return per_second(side.ask("wrk", seconds=3, connections=CONNECTIONS), side.label)
