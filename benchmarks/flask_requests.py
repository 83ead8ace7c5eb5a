"""How long does a request to a Flask application take with sessions on Valkey, beside Flask-Session?

The whole request is measured: a call of the WSGI application, which reads the session and, where it is changed, writes
it. Both sides have one process, one thread, the same server, the same views and the same sessions. A bare request of
the same application, which touches no session, is measured beside them.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from benchmarks.harness import Measured, Options, Report, Row, Samples, Side, compare, per_operation_us
from benchmarks.peers import flask_session_side, peer_if_any
from benchmarks.sides import flask_side
from tests.helpers.servers.valkey import ValkeyServer

SESSIONS = 500
CHANGE_GOAL, READ_GOAL, VISITOR_GOAL = 1.5, 2.0, 1.15


def run(options: Options) -> Report:
    """Call all sides on one server started for this."""
    report = Report("flask_requests", (__doc__ or "").split("\n", 1)[0])
    sessions, count = options.scaled(SESSIONS, quick=10), options.scaled(3_000, quick=20)
    report.notes.append(f"{sessions} sessions, one thread, server on the same machine without persistence")
    with ExitStack() as stack:
        server = ValkeyServer()
        stack.callback(server.remove)
        server.start()
        ours = stack.enter_context(flask_side("session-tokens", f"{server.url}?namespace=ours"))
        bare = stack.enter_context(flask_side("none", server.url))
        peer = peer_if_any(partial(flask_session_side, server.url), stack, report)
        near = stack.enter_context(flask_side("near", f"{server.url}?namespace=near"))
        for side in filter(None, (ours, near, peer)):
            side.ask("prepare", sessions=sessions)
        report.versions.update(
            ours.ask("describe") if peer is None else {**ours.ask("describe"), **peer.ask("describe")}
        )
        for what, request, goal in (
            ("load + change + save / Flask-Session", "change", CHANGE_GOAL),
            ("load / Flask-Session", "read", READ_GOAL),
        ):
            peer_turn = partial(_turn, peer, request, count) if peer else None
            for side, how in ((ours, ""), (near, ", with a near cache")):
                row = Row.between(what + how, side, peer, "us", goal)
                report.rows.append(compare(options, row, partial(_turn, side, request, count), peer_turn))
        wrapped = stack.enter_context(flask_side("wsgi", f"{server.url}?namespace=wrapped"))
        for what, side in (
            ("a visitor's request / without sessions", ours),
            ("a visitor's request through our middleware of WSGI / without", wrapped),
        ):
            row = Row(what, Samples(side.label), Samples(bare.label), "us", VISITOR_GOAL, goal_is_limit=True)
            report.rows.append(
                compare(options, row, *(partial(_turn, each, "visitor", count) for each in (side, bare)))
            )
    return report


def _turn(side: Side, request: str, count: int) -> Measured:
    return per_operation_us(side.ask("request", what=request, count=count), side.label)
