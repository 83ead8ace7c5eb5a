"""How fast are the seed's names, in memory, beside the npm package on node?"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from benchmarks.harness import Measured, Options, Report, Row, Samples, Side, compare, per_operation_us
from benchmarks.peers import npm_side, peer_if_any
from benchmarks.sides import compiled_side, token_tables_side

# What is asked of our side, what of the peer, how often in a turn, and the goal (docs/explanation/performance.md).
OPERATIONS: list[tuple[str, str, str, int, float | None]] = [
    ("active_session", "active_session", "active_session", 100_000, 2.0),
    ("active_session, database only looks up", "active_session", "active_session_looked_up", 100_000, None),
    ("transition_token_is_active", "transition_token_is_active", "transition_token_is_active", 100_000, 0.6),
    ("from_token", "from_token", "from_token", 100_000, 0.5),
    ("add_session with token", "add_session", "add_session", 20_000, 1.0),
    ("transfer_token", "transfer_token", "transfer_token", 20_000, 1.3),
    ("destroy_session with 10 tokens", "destroy_session", "destroy_session", 2_000, 2.0),
]
SESSIONS = 10_000


def run(options: Options) -> Report:
    """Measure every operation on both sides, each with the same population."""
    report = Report("memory_token_tables", __doc__ or "")
    sessions = options.scaled(SESSIONS, quick=50)
    report.notes.append(f"{sessions} live sessions with a token each, in random order; arguments are fresh strings")
    report.notes.append("the npm package's 500 ms timer is stopped here, in its favour (see idle_million_sessions)")
    with ExitStack() as stack:
        ours = stack.enter_context(token_tables_side())
        peer = peer_if_any(npm_side, stack, report)
        ours.ask("prepare", sessions=sessions)
        compiled = peer_if_any(partial(compiled_side, "token_tables"), stack, report) if options.compiled else None
        if compiled is not None:
            compiled.ask("prepare", sessions=sessions)
        if peer is not None:
            peer.ask("prepare", sessions=sessions)
            report.versions.update(peer.ask("versions"))
        for what, ours_operation, peer_operation, count, goal in OPERATIONS:
            row = Row.between(what, ours, peer, "us", goal)
            measured = options.scaled(count, quick=100)
            ours_turn = partial(_time, ours, ours_operation, measured)
            peer_turn = partial(_time, peer, peer_operation, measured) if peer else None
            if compiled is None:
                report.rows.append(compare(options, row, ours_turn, peer_turn))
                continue
            quick = Row(f"{what}, compiled", Samples(compiled.label), row.peer, "us", goal)
            compiled_turn = partial(_time, compiled, ours_operation, measured)
            report.rows += [compare(options, row, ours_turn, peer_turn, (quick.ours, compiled_turn)), quick]
    return report


def _time(side: Side, operation: str, count: int) -> Measured:
    return per_operation_us(side.ask("time_operation", operation=operation, count=count), side.label)
