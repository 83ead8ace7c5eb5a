"""How many introspections a second does one worker answer over SQLite, beside a FastAPI application doing the same?

Both servers have one process, the same number of sessions in a SQLite file of their own, and a caller that is
authenticated by a row for each request. The load comes over connections that are kept open.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.harness import Measured, Options, Report, Row, Side, compare, per_second
from benchmarks.peers import PeerMissing, peer_if_any
from benchmarks.sides import http_side

SESSIONS = 10_000
GOAL = 3.0
CONNECTIONS = (1, 32)


def run(options: Options) -> Report:
    """Introspect at random, one request at a time and with 32 under way."""
    report = Report("http_introspection", (__doc__ or "").split("\n", 1)[0])
    sessions, count = options.scaled(SESSIONS, quick=50), options.scaled(5_000, quick=50)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        ours = stack.enter_context(http_side("session-tokens", Path(name)))
        peer = peer_if_any(partial(_fastapi_side, Path(name)), stack, report)
        for side in filter(None, (ours, peer)):
            side.ask("prepare", sessions=sessions)
        report.versions.update(ours.ask("describe"))
        report.notes.append(
            f"{sessions} sessions; ours reads HTTP with its own protocol, the peer with uvicorn's choice"
        )
        for connections in CONNECTIONS:
            # With one request at a time, much of what is measured is the client; the goal is for a busy worker.
            goal = GOAL if connections > 1 else None
            row = Row.between(f"introspect, {connections} under way", ours, peer, "1/s", goal)
            peer_turn = partial(_turn, peer, count, connections) if peer else None
            report.rows.append(compare(options, row, partial(_turn, ours, count, connections), peer_turn))
    return report


def _turn(side: Side, count: int, connections: int) -> Measured:
    return per_second(side.ask("introspect", count=count, connections=connections), side.label)


def _fastapi_side(folder: Path) -> Side:
    try:
        import fastapi  # noqa: F401  # only to know whether it is here
    except ImportError:
        raise PeerMissing("FastAPI is not installed: make setup brings it") from None
    return http_side("fastapi", folder)
